"""The cache of fetched files."""

import subprocess
import sys

import pytest

from lenspipe.retrieval.cache import Cache

#: Goes through ten files of which the cache holds three.
SCRIPT = """
import random, sys
from lenspipe.retrieval.cache import Cache
cache, rng = Cache(sys.argv[1], 300_000), random.Random(sys.argv[2])
for _ in range(300):
    name = f"http://host/{rng.randrange(10)}.fits"
    with cache.get(name, lambda path: path.write_text(name * (100_000 // len(name)))) as path:
        assert path.read_text() == name * (100_000 // len(name)), path
"""


def get(cache, name, content="x"):
    """Content of a file, and whether it was fetched."""
    fetched = []

    def fetch(path):
        fetched.append(name)
        path.write_text(content)

    with cache.get(name, fetch) as path:
        return path.read_text(), bool(fetched)


def test_a_file_is_fetched_once(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    assert get(cache, "http://a/file.fits", "one") == ("one", True)
    assert get(cache, "http://a/file.fits", "two") == ("one", False)
    assert get(cache, "http://b/file.fits", "two") == ("two", True)
    with cache.get("http://a/file.fits", None) as path:
        assert path.name.endswith("-file.fits")


def test_what_is_not_used_for_longest_goes(tmp_path):
    cache = Cache(tmp_path, 30)
    for name in "abc":
        get(cache, name, "x" * 10)
    get(cache, "a")
    get(cache, "d", "x" * 10)
    assert [get(cache, name, "x" * 10)[1] for name in "acdb"] == [False, False, False, True]


def test_what_is_in_use_stays(tmp_path):
    cache = Cache(tmp_path, 10)
    with cache.get("a", lambda path: path.write_text("x" * 10)) as path:
        get(cache, "b", "x" * 10)
        assert path.exists()
    get(cache, "c", "x" * 10)
    assert not path.exists()


def test_a_failed_fetch_leaves_nothing(tmp_path):
    cache = Cache(tmp_path, 10)

    def fail(path):
        path.write_text("half")
        raise ValueError

    with pytest.raises(ValueError), cache.get("a", fail):  # noqa: PT011
        pass
    assert list(tmp_path.glob("**/*")) == []


def test_many_processes(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(seed)]) for seed in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 400_000
