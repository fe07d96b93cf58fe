"""All votes of all graders, in one SQLite file that only grows.

A vote is never changed: a later one of the same grader on the same image replaces it, and one with
an empty grade withdraws it. The database itself refuses changes.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lenspipe.products.schema import VOTES, names_of
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["GRADER_NAME", "TAGS", "Store", "damaged", "split_item"]

#: What a grader may say of an image beside the grade.
TAGS = ("ring", "spiral", "merger", "artefact", "group", "quasar", "other-survey")

#: Pattern of graders' names, which are part of addresses and files.
GRADER_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,38}[\w-])?", re.ASCII)

_TABLES = {
    "graders": "name TEXT PRIMARY KEY, token_sha256 TEXT",
    "votes": """
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        grader TEXT NOT NULL REFERENCES graders (name),
        stage INTEGER NOT NULL,
        item TEXT NOT NULL,
        grade TEXT NOT NULL CHECK (grade IN ('A', 'B', 'C', 'D', '')),
        comment TEXT NOT NULL,
        seconds REAL NOT NULL,
        time TEXT NOT NULL,
        tags TEXT NOT NULL DEFAULT ''""",
    "lists": """
        grader TEXT NOT NULL REFERENCES graders (name),
        stage INTEGER NOT NULL,
        place INTEGER NOT NULL,
        item TEXT NOT NULL,
        PRIMARY KEY (grader, stage, place),
        UNIQUE (grader, stage, item)""",
}

_SCHEMA = (
    *(f"CREATE TABLE {name} ({columns})" for name, columns in _TABLES.items()),
    "CREATE INDEX votes_of_grader ON votes (grader, stage, item)",
    *(
        f"CREATE TRIGGER {table}_{verb}_refused BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'votes are kept forever'); END"
        for table in ("votes", "lists")
        for verb in ("UPDATE", "DELETE")
    ),
)

_WARN_AFTER_S, _WARN_EVERY_S = 2, 30

#: Maximum time that a request waits for a locked file, seconds.
LOCK_TIMEOUT_S = 60


class Store:
    """The file of votes.

    Parameters
    ----------
    path
    create
        Whether a file that does not exist is created, and a damaged one is renamed, with the time
        in its new name, and a new one created. Otherwise both are errors.

    Attributes
    ----------
    identity : int
        Random number of the file, by which a page recognises it.

    Notes
    -----
    A vote is on the disk when `add_votes` returns: ``synchronous = FULL`` with a write-ahead log
    (https://www.sqlite.org/pragma.html#pragma_synchronous). There is one connection, used by one
    thread at a time; other programs may have the file open too.

    Raises
    ------
    LenspipeError
        The file cannot be opened or created, is empty, or is another program's database.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        self.path, self.create = path, create
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.stat().st_size:
                raise LenspipeError(
                    f"{path}: empty file, expected a database of votes; restore it from a copy, or "
                    "delete it to begin a new one"
                )
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise LenspipeError(
                    f"{path}: cannot be opened ({error}); give a folder that can be written"
                ) from None
            if not create:
                raise damaged(path, error) from None
            self._rename_damaged(error)
            self._connection = self._open()
        except OSError as error:
            raise LenspipeError(
                f"{path}: cannot be created ({error.strerror}); give a folder that can be written"
            ) from None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_WARN_AFTER_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._wait(lambda: self._prepare(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Nothing is written until the file is known to be sound and ours.
        if (problem := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(problem.splitlines()[-1])
        tables = _columns(connection)
        if tables or not self.create:
            self._check(tables)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not tables:
            connection.execute("BEGIN IMMEDIATE")
            # Another program may have created the tables in the meantime.
            if not _columns(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {1 + secrets.randbelow(2**31 - 1)}")
            connection.execute("COMMIT")
        elif "tags" not in tables["votes"]:
            connection.execute("BEGIN IMMEDIATE")
            if "tags" not in _columns(connection)["votes"]:
                connection.execute("ALTER TABLE votes ADD COLUMN tags TEXT NOT NULL DEFAULT ''")
            connection.execute("COMMIT")
        self.identity = connection.execute("PRAGMA user_version").fetchone()[0]

    def _check(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Make sure that a database has the tables of votes, and no others."""
        with contextlib.closing(sqlite3.connect(":memory:")) as memory:
            for statement in _SCHEMA:
                memory.execute(statement)
            expected = _columns(memory)
        # Files of earlier versions have no tags.
        earlier = {name: [c for c in columns if c != "tags"] for name, columns in expected.items()}
        if tables not in (expected, earlier):
            found = ", ".join(f"{name} ({', '.join(c)})" for name, c in tables.items())
            raise LenspipeError(
                f"{self.path}: not a database of votes: found {found or 'no tables'}, expected "
                f"{', '.join(expected)}; restore it from a copy, or move it elsewhere"
            )

    def _rename_damaged(self, error: Exception) -> None:
        """Keep a damaged file, with its log, under another name."""
        renamed = self.path.with_name(f"{self.path.stem}.damaged-{time.time_ns()}.sqlite")
        for suffix in ("-wal", "-shm", ""):
            if os.path.exists(f"{self.path}{suffix}"):
                os.rename(f"{self.path}{suffix}", f"{renamed}{suffix}")
        log.warning(
            "%s: damaged (%s); kept as %s, a new file is created", self.path, error, renamed.name
        )

    def _wait(self, action: Callable[[], Any], timeout_s: float | None = None) -> Any:
        """Perform an action on the file; warn and wait while another program has it locked."""
        begin, last_warning = time.monotonic(), 0.0
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - begin
                locked = "locked" in str(error) or "busy" in str(error)
                if not locked or (timeout_s and waited > timeout_s):
                    raise
                if not last_warning or waited - last_warning > _WARN_EVERY_S:
                    log.warning("%s: locked by another program; waiting for it", self.path)
                    last_warning = waited
                time.sleep(0.1)

    def _query(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._wait(
                lambda: self._connection.execute(text, values).fetchall(), LOCK_TIMEOUT_S
            )

    def _insert(self, text: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows in one transaction."""
        with self._lock:
            self._wait(lambda: self._connection.execute("BEGIN IMMEDIATE"), LOCK_TIMEOUT_S)
            try:
                self._connection.executemany(text, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file, merging its write-ahead log."""
        with self._lock:
            self._connection.close()

    def add_grader(self, name: str) -> None:
        """Add a grader, unless already known.

        Raises
        ------
        LenspipeError
            The name is not valid.
        """
        if not GRADER_NAME.fullmatch(name):
            raise LenspipeError(
                f"--grader: found {name!r}, expected 1 to 40 letters, digits, '-', '_' and '.', "
                "the first a letter or digit and the last not a '.'"
            )
        self._query("INSERT OR IGNORE INTO graders (name) VALUES (?)", (name,))

    def graders(self) -> list[str]:
        """Names of the graders, sorted."""
        return [name for (name,) in self._query("SELECT name FROM graders ORDER BY name")]

    def new_token(self, name: str) -> str:
        """Give a grader a new token of 256 random bits, which replaces any older one.

        Only its hash is stored.
        """
        token = secrets.token_urlsafe(32)
        self._query("UPDATE graders SET token_sha256 = ? WHERE name = ?", (_hash(token), name))
        return token

    def has_token(self, name: str) -> bool:
        """Whether a grader has a token."""
        rows = self._query("SELECT token_sha256 FROM graders WHERE name = ?", (name,))
        return bool(rows and rows[0][0])

    def admits(self, name: str, token: str, needed: bool) -> bool:
        """Whether somebody with this name and token may vote.

        Parameters
        ----------
        needed
            Whether graders without a token are refused. Those who have a token always need it.
        """
        rows = self._query("SELECT token_sha256 FROM graders WHERE name = ?", (name,))
        if not rows:
            return False
        stored = rows[0][0]
        return not needed if stored is None else hmac.compare_digest(stored, _hash(token))

    def list_of(self, grader: str, stage: int) -> list[str]:
        """Items of a grader's list, in order; the place of each is its index."""
        return [
            item
            for (item,) in self._query(
                "SELECT item FROM lists WHERE grader = ? AND stage = ? ORDER BY place",
                (grader, stage),
            )
        ]

    def extend_list(self, grader: str, stage: int, items: Iterable[str]) -> None:
        """Append items to a grader's list, all or none.

        If another program has done so in the meantime, its items remain and these are dropped.
        """
        first = len(self.list_of(grader, stage))
        rows = [(grader, stage, first + i, item) for i, item in enumerate(items)]
        with contextlib.suppress(sqlite3.IntegrityError):
            self._insert("INSERT INTO lists VALUES (?, ?, ?, ?)", rows)

    def add_votes(self, grader: str, stage: int, votes: Iterable[Mapping[str, Any]]) -> None:
        """Store votes, all or none; they are on the disk when this returns.

        Parameters
        ----------
        votes
            key: chosen by the browser, so that a vote that is sent twice is stored once; item;
            grade: A to D, or empty if withdrawn or not given yet; comment; seconds: spent on the
            image; tags, if any: several of `TAGS`.

        Raises
        ------
        sqlite3.Error
            The file remained locked for a minute, or cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            (v["key"], grader, stage, v["item"], v["grade"], v["comment"], v["seconds"], now,
             _tag_text(v.get("tags", ())))
            for v in votes
        ]  # fmt: skip
        self._insert(
            "INSERT OR IGNORE INTO votes (key, grader, stage, item, grade, comment, seconds, time, "
            "tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def votes(
        self, grader: str | None = None, stage: int | None = None, latest: bool = False
    ) -> list[dict[str, Any]]:
        """Read votes in the order in which they were given.

        Parameters
        ----------
        grader
            Only votes of this grader.
        stage
            Only votes of this stage.
        latest
            Whether to leave out votes that a later one replaces.

        Returns
        -------
        list of dict
            key, as in `add_votes`, and the columns of votes.csv (docs/outputs.md).
        """
        names = ["key", *names_of(VOTES)]
        inner = "WHERE n IN (SELECT max(n) FROM votes GROUP BY grader, stage, item)"
        text = (
            f"SELECT {', '.join(names)} FROM votes {inner if latest else 'WHERE true'} "
            "AND (?1 IS NULL OR grader = ?1) AND (?2 IS NULL OR stage = ?2) ORDER BY n"
        )
        rows = self._query(text, (grader, stage))
        return [dict(zip(names, row, strict=True)) for row in rows]


def split_item(item: str) -> tuple[str, str]:
    """Kind of an item of a list (candidate, repeat, known or injected) and the galaxy's id."""
    kind, colon, galaxy = item.partition(":")
    return (kind, galaxy) if colon else ("candidate", item)


def damaged(path: Path, error: Exception) -> LenspipeError:
    """Error of a file whose votes cannot be read."""
    reason = " ".join(str(error).split())
    return LenspipeError(
        f"{path}: damaged ({reason}), expected a database of votes; restore it from a copy"
    )


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Columns of each table of a database."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    return {
        name: [row[1] for row in connection.execute("SELECT * FROM pragma_table_info(?)", (name,))]
        for (name,) in connection.execute(query).fetchall()
    }


def _tag_text(tags: Iterable[str]) -> str:
    given = set(tags)
    return " ".join(tag for tag in TAGS if tag in given)


def _hash(token: str) -> str:
    # A slow hash is not needed, as a token has 256 random bits.
    return hashlib.sha256(token.encode()).hexdigest()
