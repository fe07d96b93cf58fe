"""Tests of lenspipe.inspection.store: no vote is lost."""

import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from helpers.portal import Grader, Started, make_run, vote

from lenspipe.inspection.store import Store
from lenspipe.utils.errors import LenspipeError


def put(store, item, grade, grader="anna", stage=1, key=None, comment=""):
    key = key or f"{grader} {item} {time.monotonic_ns()}"
    row = {"key": key, "item": item, "grade": grade, "comment": comment, "seconds": 1.0}
    store.add_votes(grader, stage, [row])


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "inspection" / "grades.sqlite")
    store.add_grader("anna")
    store.add_grader("ben")
    yield store
    store.close()


def test_later_votes_stand_and_earlier_ones_remain(store):
    put(store, "x", "A")
    put(store, "x", "", comment="wait")
    put(store, "x", "B")
    put(store, "x", "C", grader="ben")
    assert [v["grade"] for v in store.votes()] == ["A", "", "B", "C"]
    assert [(v["grader"], v["grade"]) for v in store.votes(latest=True)] == [
        ("anna", "B"), ("ben", "C")
    ]  # fmt: skip
    assert [v["grade"] for v in store.votes("anna", 1, latest=True)] == ["B"]
    assert store.votes(stage=2) == []


def test_a_vote_sent_twice_is_kept_once(store):
    put(store, "x", "A", key="the same")
    put(store, "x", "A", key="the same")
    assert len(store.votes()) == 1


def test_of_several_votes_all_or_none_are_kept(store):
    good = {"key": "1", "item": "x", "grade": "A", "comment": "", "seconds": 1.0}
    with pytest.raises(sqlite3.Error):
        store.add_votes("anna", 1, [good, good | {"key": None}, good | {"key": "3", "item": {}}])
    assert store.votes() == []
    put(store, "x", "A")
    assert len(store.votes()) == 1


@pytest.mark.parametrize("change", ["UPDATE votes SET grade = 'A'", "DELETE FROM votes"])
def test_the_table_refuses_changes(store, change):
    put(store, "x", "D")
    with sqlite3.connect(store.path) as other, pytest.raises(sqlite3.Error, match="forever"):
        other.execute(change)
    other.close()
    assert [v["grade"] for v in store.votes()] == ["D"]


@pytest.mark.parametrize("name", ["", "../anna", "a/b", ".hidden", "a b", "é", "x" * 41, "a."])
def test_names_that_are_none_are_refused(store, name):
    with pytest.raises(LenspipeError, match="expected 1 to 40 letters"):
        store.add_grader(name)
    assert store.graders() == ["anna", "ben"]


def test_tokens_are_kept_as_hashes(store):
    token = store.new_token("anna")
    assert token.encode() not in store.path.read_bytes()
    assert store.admits("anna", token, needed=True)
    assert not store.admits("anna", "", needed=False)
    assert not store.admits("ben", token, needed=True)
    assert store.admits("ben", "", needed=False)
    assert not store.admits("carl", "", needed=False)
    assert store.new_token("anna") != token
    assert not store.admits("anna", token, needed=True)


@pytest.mark.parametrize("where", [0, 0.5])
def test_a_damaged_file_is_kept_aside(tmp_path, caplog, where):
    path = tmp_path / "grades.sqlite"
    store = Store(path)
    store.add_grader("anna")
    for i in range(300):
        put(store, f"item {i}", "A")
    store.close()
    content = bytearray(path.read_bytes())
    begin = int(where * len(content))
    content[begin : begin + 9000] = b"\xff" * 9000
    path.write_bytes(content)
    again = Store(path)
    assert again.votes() == []
    assert again.identity != store.identity
    again.close()
    (aside,) = tmp_path.glob("grades.damaged-*.sqlite")
    assert aside.read_bytes() == content
    assert f"kept as {aside.name}" in caplog.text


def test_an_empty_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LenspipeError, match="give a folder that can be written"):
        Store(tmp_path / "file" / "grades.sqlite")


def test_it_waits_for_a_lock_and_says_so(store, caplog, monkeypatch):
    store._connection.execute("PRAGMA busy_timeout = 100")
    other = sqlite3.connect(store.path, check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def release():
        time.sleep(0.6)
        other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=release)
    thread.start()
    put(store, "x", "A")
    thread.join()
    assert [v["grade"] for v in store.votes()] == ["A"]
    assert caplog.text.count("locked by another program; waiting for it") == 1


def test_a_lock_that_stays_ends_in_an_error(store, monkeypatch):
    monkeypatch.setattr("lenspipe.inspection.store.LOCK_TIMEOUT_S", 0.3)
    store._connection.execute("PRAGMA busy_timeout = 100")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        put(store, "x", "A")
    other.execute("ROLLBACK")
    other.close()
    put(store, "x", "B")
    assert [v["grade"] for v in store.votes()] == ["B"]


def test_two_programs_write_at_once(tmp_path):
    path = tmp_path / "grades.sqlite"
    Store(path).close()
    code = (
        "import sys, pathlib; from lenspipe.inspection.store import Store\n"
        "s, me = Store(pathlib.Path(sys.argv[1])), sys.argv[2]; s.add_grader(me)\n"
        "for i in range(50):\n"
        "    s.add_votes(me, 1, [dict(key=f'{me} {i}', item=str(i), grade='A', comment='',"
        " seconds=1.0)])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("anna", "ben")
    ]
    assert [process.wait() for process in running] == [0, 0]
    store = Store(path)
    assert len(store.votes("anna")) == len(store.votes("ben")) == 50
    store.close()


def test_votes_that_were_acknowledged_outlive_kills(tmp_path):
    paths, port = make_run(tmp_path, n=20), 0
    names, acknowledged = ("anna", "ben", "carl"), []
    for round_ in range(2):
        options = [word for name in names for word in ("--grader", name)]
        with Started(paths, *options, port=port) as portal:
            port = portal.port
            stop = threading.Event()

            def work(name, address=portal.address, round_=round_, stop=stop):
                grader = Grader(address, name)
                about = grader.list()
                for number in range(1000):
                    sent = vote(number % 20, "ABCD"[(number + round_) % 4])
                    try:
                        if stop.is_set() or grader.post(about, [sent]).status_code != 200:
                            return
                    except OSError:
                        return
                    acknowledged.append(sent["key"])

            threads = [threading.Thread(target=work, args=(name,)) for name in names]
            before = len(acknowledged)
            for thread in threads:
                thread.start()
            begin = time.monotonic()
            while len(acknowledged) < before + 30:
                assert time.monotonic() - begin < 60
                time.sleep(0.01)
            portal.kill()
            stop.set()
            for thread in threads:
                thread.join()
    store = Store(paths.inspection())
    kept = {v["key"] for v in store.votes()}
    store.close()
    assert len(acknowledged) >= 60
    assert set(acknowledged) <= kept
    # A vote on its way may be kept without having been acknowledged: one of each grader.
    assert len(kept) <= len(acknowledged) + 2 * len(names)


def test_a_file_without_tags_stays_readable(store):
    put(store, "x", "A")
    store.close()
    with sqlite3.connect(store.path) as earlier:
        earlier.execute("ALTER TABLE votes DROP COLUMN tags")
    earlier.close()
    again = Store(store.path, create=False)
    assert [(v["grade"], v["tags"]) for v in again.votes()] == [("A", "")]
    row = {"key": "2", "item": "x", "grade": "A", "comment": "", "seconds": 0.0, "tags": ["ring"]}
    again.add_votes("anna", 1, [row])
    assert again.votes("anna", latest=True)[0]["tags"] == "ring"
    again.close()
