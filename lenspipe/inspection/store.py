"""Every vote of every grader, in one SQLite file that only grows.

A vote is never changed: a later one of the same grader on the same image stands in its place, and
one with an empty grade takes it back. The table itself refuses changes.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
import time
from datetime import UTC, datetime

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["GRADER_NAME", "Store"]

#: Names of graders: they are in addresses and in files.
GRADER_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,38}[\w-])?", re.ASCII)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS graders (name TEXT PRIMARY KEY, token_sha256 TEXT);
CREATE TABLE IF NOT EXISTS votes (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    grader TEXT NOT NULL REFERENCES graders (name),
    stage INTEGER NOT NULL,
    item TEXT NOT NULL,
    grade TEXT NOT NULL CHECK (grade IN ('A', 'B', 'C', 'D', '')),
    comment TEXT NOT NULL,
    seconds REAL NOT NULL,
    time TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS lists (
    grader TEXT NOT NULL REFERENCES graders (name),
    stage INTEGER NOT NULL,
    place INTEGER NOT NULL,
    item TEXT NOT NULL,
    PRIMARY KEY (grader, stage, place),
    UNIQUE (grader, stage, item)
);
CREATE INDEX IF NOT EXISTS votes_of_grader ON votes (grader, stage, item);
"""

_FOR_EVER = """
CREATE TRIGGER IF NOT EXISTS {table}_{verb}_refused BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'votes are kept for ever'); END;
"""

#: Seconds: before a wait for a lock is said, between two lines about it, and at most for a request.
_SAY_AFTER, _SAY_AGAIN, PATIENCE = 2, 30, 60


class Store:
    """The file of votes.

    A damaged file is put aside under a name with the time in it, and a new one begun.

    Parameters
    ----------
    path : pathlib.Path
        Made if it isn't there.

    Attributes
    ----------
    identity : int
        Random number of the file, by which a page knows that it talks to the same one.

    Notes
    -----
    A vote is on the disk when `add_votes` returns: ``synchronous = FULL`` with a write-ahead log
    (https://www.sqlite.org/pragma.html#pragma_synchronous). One connection, used by one thread at a
    time; other programs may have the file open too.
    """

    def __init__(self, path):
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise LenspipeError(
                    f"{path}: can't be opened ({error}); give a folder that can be written"
                ) from None
            self._put_aside(error)
            self._connection = self._open()
        except OSError as error:
            raise LenspipeError(
                f"{path}: can't be made ({error.strerror}); give a folder that can be written"
            ) from None

    def _open(self):
        connection = sqlite3.connect(
            self.path, timeout=_SAY_AFTER, isolation_level=None, check_same_thread=False
        )
        try:
            self._wait(lambda: self._prepare(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if (problem := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(problem.splitlines()[0])
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(_SCHEMA)
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            connection.execute(f"PRAGMA user_version = {1 + secrets.randbelow(2**31 - 1)}")
        self.identity = connection.execute("PRAGMA user_version").fetchone()[0]
        for table in ("votes", "lists"):
            for verb in ("UPDATE", "DELETE"):
                connection.executescript(_FOR_EVER.format(table=table, verb=verb))

    def _put_aside(self, error):
        """Keep a damaged file, with its log, under another name."""
        aside = self.path.with_name(f"{self.path.stem}.damaged-{time.time_ns()}.sqlite")
        for suffix in ("-wal", "-shm", ""):
            if os.path.exists(f"{self.path}{suffix}"):
                os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        log.warning("%s: damaged (%s); kept as %s, a new one begun", self.path, error, aside.name)

    def _wait(self, work, patience=None):
        """Do what needs the file; say so and wait while another program has it locked."""
        begin, said = time.monotonic(), 0.0
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - begin
                locked = "locked" in str(error) or "busy" in str(error)
                if not locked or (patience and waited > patience):
                    raise
                if not said or waited - said > _SAY_AGAIN:
                    log.warning("%s: locked by another program; waiting for it", self.path)
                    said = waited
                time.sleep(0.1)

    def _query(self, text, values=()):
        with self._lock:
            return self._wait(lambda: self._connection.execute(text, values).fetchall(), PATIENCE)

    def _insert(self, text, rows):
        """Insert rows in one transaction."""
        with self._lock:
            self._wait(lambda: self._connection.execute("BEGIN IMMEDIATE"), PATIENCE)
            try:
                self._connection.executemany(text, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self):
        """Close the file; what is committed goes from the log into it."""
        with self._lock:
            self._connection.close()

    def add_grader(self, name):
        """Let a grader in, who may be there already.

        Raises
        ------
        LenspipeError
            A name that can't be one.
        """
        if not GRADER_NAME.fullmatch(name):
            raise LenspipeError(
                f"--grader: found {name!r}, expected 1 to 40 letters, digits, '-', '_' and '.', "
                "the first a letter or digit and the last no '.'"
            )
        self._query("INSERT OR IGNORE INTO graders (name) VALUES (?)", (name,))

    def graders(self):
        """Names of the graders, sorted."""
        return [name for (name,) in self._query("SELECT name FROM graders ORDER BY name")]

    def new_token(self, name):
        """Give a grader a new token, in place of any older; only its hash is kept.

        Returns
        -------
        str
            256 random bits.
        """
        token = secrets.token_urlsafe(32)
        self._query("UPDATE graders SET token_sha256 = ? WHERE name = ?", (_hash(token), name))
        return token

    def has_token(self, name):
        """Whether a grader has a token."""
        rows = self._query("SELECT token_sha256 FROM graders WHERE name = ?", (name,))
        return bool(rows and rows[0][0])

    def admits(self, name, token, needed):
        """Whether somebody who gives this name and token may vote.

        Parameters
        ----------
        name, token : str
        needed : bool
            Whether a grader without a token is kept out. One who has a token always has to show it.

        Returns
        -------
        bool
        """
        rows = self._query("SELECT token_sha256 FROM graders WHERE name = ?", (name,))
        if not rows:
            return False
        kept = rows[0][0]
        return not needed if kept is None else hmac.compare_digest(kept, _hash(token))

    def list_of(self, grader, stage):
        """Items of a grader's list in order; the place of each is its index."""
        return [
            item
            for (item,) in self._query(
                "SELECT item FROM lists WHERE grader = ? AND stage = ? ORDER BY place",
                (grader, stage),
            )
        ]

    def extend_list(self, grader, stage, items):
        """Put items at the end of a grader's list, all or none.

        If another program did so meanwhile, its items remain and these are left out.
        """
        first = len(self.list_of(grader, stage))
        rows = [(grader, stage, first + i, item) for i, item in enumerate(items)]
        with contextlib.suppress(sqlite3.IntegrityError):
            self._insert("INSERT INTO lists VALUES (?, ?, ?, ?)", rows)

    def add_votes(self, grader, stage, votes):
        """Keep votes, all or none; they are on the disk when this returns.

        Parameters
        ----------
        grader : str
        stage : int
        votes : list of dict
            key: made up by the browser, so that a vote that is sent twice is kept once; item;
            grade: A to D, or empty where it is taken back or not given yet; comment; seconds: spent
            on the image.

        Raises
        ------
        sqlite3.Error
            The file remained locked for a minute, or can't be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            (v["key"], grader, stage, v["item"], v["grade"], v["comment"], v["seconds"], now)
            for v in votes
        ]
        self._insert(
            "INSERT OR IGNORE INTO votes (key, grader, stage, item, grade, comment, seconds, time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def votes(self, grader=None, stage=None, latest=False):
        """Read votes.

        Parameters
        ----------
        grader : str, optional
            Of this one only.
        stage : int, optional
            Of this one only.
        latest : bool
            Only those that no later one stands in the place of.

        Returns
        -------
        list of dict
            In the order in which they were given: n, key, grader, stage, item, grade, comment,
            seconds, time (UTC, ISO 8601).
        """
        names = ("n", "key", "grader", "stage", "item", "grade", "comment", "seconds", "time")
        inner = "WHERE n IN (SELECT max(n) FROM votes GROUP BY grader, stage, item)"
        text = (
            f"SELECT {', '.join(names)} FROM votes {inner if latest else 'WHERE true'} "
            "AND (?1 IS NULL OR grader = ?1) AND (?2 IS NULL OR stage = ?2) ORDER BY n"
        )
        rows = self._query(text, (grader, stage))
        return [dict(zip(names, row, strict=True)) for row in rows]


def _hash(token):
    # A token has 256 random bits: nothing to be gained from a slow hash.
    return hashlib.sha256(token.encode()).hexdigest()
