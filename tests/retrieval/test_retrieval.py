"""Retrieval of coadds from servers: the right bytes, few of them, in few requests."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import fitsio
import numpy as np
import pytest
from conftest import write_coadd
from helpers.clock import Clock
from helpers.loopback import Fault, Loopback, RandomFaults, apache, find_program, nginx

from lenspipe.config.data import Retrieval
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.cutouts.brick import cut_brick
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.cutouts.stamps import CoaddStamps
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent.select import parent_of_brick, parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.retrieval import hosts, retry
from lenspipe.retrieval.errors import UnavailableError
from lenspipe.retrieval.http import HttpTransport
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.sources import open_source as open_trees
from lenspipe.survey.bricks import brick_wcs
from lenspipe.survey.coadds import read_stamps
from lenspipe.survey.sweeps import sweep_names
from lenspipe.utils.errors import LenspipeError, RetrievalError
from lenspipe.utils.fits import clip_boxes

SIZE = 101


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.002)
    monkeypatch.chdir(tmp_path)


def remote(url, **retrieval):
    """Settings of a search of the tree at an address."""
    few = {"contact": "me@example.org", "patience_s": 20, "timeout_s": 1, "min_kb_per_s": 1000}
    return load_settings(
        {
            "run": "tiny",
            "survey": {"release": "dr9", "tree": url},
            "sample": {"known_lenses": "known.csv"},
            "retrieval": few | retrieval,
        }
    )


def open_source(settings):
    return open_trees(settings.retrieval, settings.paths.hosts, settings.survey_paths.tree)


def cut(settings, source, brick, region, parent):
    """Cut a brick; return its entry in the manifest."""
    stamps = CoaddStamps(
        source, settings.survey_paths, settings.survey.bands, settings.cutouts.size
    )
    path = settings.paths.cutouts(brick)
    return cut_brick(path, stamps, brick, region, parent, settings.cutouts)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of images of every kind, small; path, and whole image by name."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(3)
    header = brick_wcs(150.0, 32.0, RELEASES["dr9"]).to_header()
    image = rng.normal(0, 1, (700, 900)).astype("f4")
    image[100:300, 200:400] = 0
    image[50, 60] = np.nan
    write_coadd(folder / "rice.fits.fz", image, header)
    with fitsio.FITS(folder / "gzip.fits.fz", "rw") as fits:
        fits.write(image, header=dict(header), compress="GZIP", tile_dims=[100, 100], qlevel=0)
    with fitsio.FITS(folder / "rows.fits.fz", "rw") as fits:
        fits.write(image, header=dict(header), compress="RICE", qlevel=4)
    with fitsio.FITS(folder / "odd.fits.fz", "rw") as fits:
        fits.write(image, header=dict(header), compress="RICE", tile_dims=[64, 130], qlevel=16)
    bits = rng.integers(0, 2, (700, 900)).astype("i2")
    with fitsio.FITS(folder / "bits.fits.fz", "rw") as fits:
        for plane in (bits, bits + 1, bits + 2):
            fits.write(
                plane, header=dict(header), compress="HCOMPRESS", tile_dims=[100, 100], qlevel=0
            )
    with fitsio.FITS(folder / "plain.fits", "rw") as fits:
        fits.write(image, header=dict(header))
    with fitsio.FITS(folder / "extension.fits", "rw") as fits:
        fits.write(None)
        fits.write(image.astype("f8"), header=dict(header))
    with fitsio.FITS(folder / "zipped.fits.gz", "rw") as fits:
        fits.write(image, header=dict(header))
    wholes = {}
    for path in folder.iterdir():
        with fitsio.FITS(path) as fits:
            wholes[path.name] = next(hdu for hdu in fits if len(hdu.get_dims()) == 2).read()
    return SimpleNamespace(folder=folder, wholes=wholes)


def positions(seed, number, shape=(700, 900)):
    rng = np.random.default_rng(seed)
    return rng.integers(-20, shape[1] + 20, number), rng.integers(-20, shape[0] + 20, number)


def expected(whole, x, y):
    """Stamps, sliced out of a whole image."""
    half = SIZE // 2
    padded = np.pad(whole, SIZE, constant_values=0)
    return np.stack(
        [
            padded[b + SIZE - half :, a + SIZE - half :][:SIZE, :SIZE]
            for a, b in zip(x.tolist(), y.tolist(), strict=True)
        ]
    )


def fetch(source, url, names, x, y):
    """Stamps of files, by name; None where there is no such file."""

    def boxes(_wcs, shape):
        return clip_boxes(x, y, SIZE, shape)

    with source.coadds({name: f"{url}/{name}" for name in names}, boxes) as local:
        return {name: path and read_stamps(path, x, y, SIZE, 0) for name, path in local.items()}


@pytest.mark.parametrize("ranges", ["multi", "apache", "single", "coalesce", "first", "none"])
def test_every_kind_of_file_from_every_kind_of_server(files, ranges):
    with Loopback(files.folder, ranges=ranges) as server:
        with open_source(remote(server.url)) as source:
            for seed, number in enumerate((1, 4, 30)):
                x, y = positions(seed, number)
                for name, stamps in fetch(source, server.url, files.wholes, x, y).items():
                    np.testing.assert_array_equal(
                        stamps, expected(files.wholes[name], x, y), err_msg=name
                    )
        agents = {request.headers["user-agent"] for request in server.requests}
    assert all(agent.startswith("lenspipe/") and "me@example.org" in agent for agent in agents)


@pytest.mark.parametrize(
    ("start", "programs"), [(nginx, ["nginx"]), (apache, ["apache2", "httpd"])]
)
def test_real_servers(files, start, programs, tmp_path):
    if find_program(*programs) is None:
        pytest.skip(f"{programs[0]} is not installed")
    with start(files.folder) as url, open_source(remote(url)) as source:
        for number in (5, 60):
            x, y = positions(number, number)
            for name, stamps in fetch(source, url, files.wholes, x, y).items():
                np.testing.assert_array_equal(stamps, expected(files.wholes[name], x, y))
        assert source.transport(url).host(url).ranges == "several"
        assert source.transport(url).requests <= 2 * (3 * len(files.wholes))


def test_cutouts_are_those_of_a_local_tree(tiny_tree, tiny_settings):
    brick, region = tiny_tree.brick, tiny_tree.region
    parent, _ = parent_of_brick(tiny_settings, brick, region)
    cut(tiny_settings, LocalSource(), brick, region, parent)
    images, catalog = read_cutouts(tiny_settings.paths.cutouts(brick))
    with Loopback(tiny_tree.tree) as server:
        settings = remote(server.url)
        again, _ = parent_of_brick(settings, brick, region)
        with open_source(settings) as source:
            entry = cut(settings, source, brick, region, again)
            count = len(server.requests)
            assert cut(settings, source, brick, region, again) == entry
            assert len(server.requests) == count
    assert entry["count"] == len(parent)
    found, rows = read_cutouts(settings.paths.cutouts(brick))
    np.testing.assert_array_equal(found, images)
    assert rows.equals(catalog)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A folder with an image as large as the survey's."""
    folder = tmp_path_factory.mktemp("deep")
    image = np.random.default_rng(0).normal(0, 1, (3600, 3600)).astype("f4")
    write_coadd(folder / "image.fits.fz", image, brick_wcs(150, 2, RELEASES["dr9"]).to_header())
    return folder


def test_few_bytes_in_two_requests(deep):
    with Loopback(deep) as server, open_source(remote(server.url)) as source:
        fetch(source, server.url, ["image.fits.fz"], *positions(0, 55, (3500, 3500)))
        assert [request.status for request in server.requests] == [206, 206]
        assert server.bytes_sent < 0.2 * (deep / "image.fits.fz").stat().st_size
        assert server.connections.opened == 1


def test_a_limit_of_ranges_is_remembered(deep):
    with Loopback(deep, max_ranges=60) as server, open_source(remote(server.url)) as source:
        for number in (5, 55, 55):
            fetch(source, server.url, ["image.fits.fz"], *positions(number, number, (3500, 3500)))
        statuses = [request.status for request in server.requests]
        assert statuses.count(200) == 1
        assert statuses[-1] == 206
        assert 8 < source.transport(server.url).host(server.url).most_ranges <= 60
        assert server.requests[-1].range.count(",") < 60


def test_what_a_server_answers_is_remembered_once_in_a_run(files, caplog):
    caplog.set_level("INFO", "lenspipe")
    x, y = positions(0, 3)
    with Loopback(files.folder, ranges="none") as server:
        for _ in range(2):
            with open_source(remote(server.url)) as source:
                fetch(source, server.url, ["rice.fits.fz"], x, y)
        assert [bool(request.range) for request in server.requests] == [True, False]
    assert sum("requesting whole files" in r.getMessage() for r in caplog.records) == 1


TRANSIENT = ["500", "502", "503", "429", "reset", "truncated", "drip", "silence", "close"]
TRANSIENT += ["redirect", "html", "whole", "short", "wrong-range", "wrong-bytes"]
TRANSIENT += ["missing-part", "shuffled"]
#: Of these, those that a reader gets along with.
HARMLESS = ("close", "redirect", "whole", "missing-part", "shuffled")


@pytest.mark.parametrize("seed", range(40))
def test_faults_that_pass(files, seed, monkeypatch):
    """Whatever goes wrong now and then: every stamp is right in the end."""
    monkeypatch.setattr(hosts, "_FIRST_PAUSE_S", 0.002)
    rng = random.Random(seed)
    ranges = rng.choice(["multi", "apache", "single", "first", "coalesce", "none"])
    kinds = [Fault(kind, pause_s=0.02) for kind in TRANSIENT]
    kinds += [Fault("503", retry_after=0), Fault("503", retry_after=0, http_date=True)]
    faults = RandomFaults(seed, 0.4, kinds, at_most_per_request=3, at_most_per_file=12)
    quick = {"timeout_s": 0.15, "attempts": 8, "connections": rng.randint(1, 6)}
    quick["min_kb_per_s"] = 5000  # a drip ends the sooner
    with Loopback(files.folder, ranges=ranges, faults=faults) as server:
        for turn in range(5):
            x, y = positions(100 * seed + turn, rng.randint(1, 20))
            names = rng.sample(sorted(files.wholes), 2)
            with open_source(remote(server.url, **quick)) as source:
                for name, stamps in fetch(source, server.url, names, x, y).items():
                    np.testing.assert_array_equal(
                        stamps, expected(files.wholes[name], x, y), err_msg=name
                    )
    assert sum(faults.drawn.values()) > 0


@pytest.mark.parametrize(
    ("kind", "transient"),
    [(kind, True) for kind in TRANSIENT if kind not in HARMLESS]
    + [("403", False), ("redirect-loop", False)],
)
def test_faults_that_stay(files, kind, transient):
    """Whatever goes wrong each time ends as an error that says whether it may pass."""
    quick = {"timeout_s": 0.2, "attempts": 3}
    with (
        Loopback(files.folder, faults=lambda _: Fault(kind, fraction=0.5)) as server,
        open_source(remote(server.url, **quick)) as source,
        pytest.raises(RetrievalError, match=r"http://127.*rice.fits.fz") as error,
    ):
        fetch(source, server.url, ["rice.fits.fz"], *positions(0, 3))
    assert error.value.transient is transient
    assert "\n" not in str(error.value)


def test_a_missing_file_is_none(files):
    with Loopback(files.folder) as server, open_source(remote(server.url)) as source:
        x, y = positions(0, 2)
        found = fetch(source, server.url, ["rice.fits.fz", "other.fits.fz"], x, y)
        asked = [request.path for request in server.requests]
    assert found["other.fits.fz"] is None
    assert found["rice.fits.fz"].shape == (2, SIZE, SIZE)
    assert asked.count("/other.fits.fz") == 1


@pytest.mark.parametrize("validators", [("etag", "last-modified"), ("last-modified",), ()])
@pytest.mark.parametrize("seed", range(6))
def test_a_file_replaced_meanwhile(files, tmp_path, validators, seed):
    """Stamps are of the one or of the other, never of both."""
    folder = tmp_path / "tree"
    folder.mkdir()
    names = ["rice.fits.fz", "odd.fits.fz"]
    versions = [files.folder / name for name in names]
    shutil.copy(versions[0], folder / "image.fits.fz")
    rng = random.Random(seed)
    moment, count = rng.randint(1, 3), [0]

    def replace():
        new = folder / "new"
        shutil.copy(versions[1], new)
        os.utime(new, (1e9, 1e9 + count[0]))
        os.replace(new, folder / "image.fits.fz")

    def faults(request):
        count[0] += 1
        return Fault("call", call=replace) if count[0] == moment else None

    x, y = positions(seed, 6)
    with (
        Loopback(folder, validators=validators, faults=faults) as server,
        open_source(remote(server.url)) as source,
    ):
        stamps = fetch(source, server.url, ["image.fits.fz"], x, y)["image.fits.fz"]
    choices = [expected(files.wholes[name], x, y) for name in names]
    assert any(np.array_equal(stamps, choice, equal_nan=True) for choice in choices)


def test_retry_after_is_honoured(files, caplog):
    caplog.set_level("INFO", "lenspipe")

    def faults(request):
        return Fault("503", retry_after=1) if request.number == 1 else None

    with (
        Loopback(files.folder, faults=faults) as server,
        open_source(remote(server.url)) as source,
    ):
        fetch(source, server.url, ["rice.fits.fz"], *positions(0, 2))
    lines = [r.getMessage() for r in caplog.records if "try 2 in 1.0 s" in r.getMessage()]
    assert len(lines) == 1
    assert "503 Service Unavailable" in lines[0]


def test_patience_ends_before_a_wait_that_is_too_long(files):
    with (
        Loopback(files.folder, faults=lambda _: Fault("503", retry_after=3600)) as server,
        open_source(remote(server.url, patience_s=5)) as source,
        pytest.raises(RetrievalError, match="503"),
    ):
        fetch(source, server.url, ["rice.fits.fz"], *positions(0, 2))
    assert len(server.requests) == 1


def waits_of(files, monkeypatch, fault, **retrieval):
    """How long a job waits for a server that always fails, by a clock that only sleep moves."""
    clock = Clock()
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 1.0)
    monkeypatch.setattr(retry.tenacity.nap, "time", clock)
    monkeypatch.setattr(hosts, "time", clock)
    with (
        Loopback(files.folder, faults=lambda _: fault) as server,
        open_source(remote(server.url, **retrieval)) as source,
        pytest.raises(RetrievalError) as error,
    ):
        fetch(source, server.url, ["rice.fits.fz"], *positions(0, 2))
    assert error.value.transient
    return clock.waits, server


@pytest.mark.parametrize("fault", ["503", "502", "html"])
@pytest.mark.parametrize("patience_s", [900, 7200])
def test_a_server_is_waited_for_as_long_as_patience_lasts(files, monkeypatch, fault, patience_s):
    waits, _ = waits_of(files, monkeypatch, Fault(fault), patience_s=patience_s)
    assert 0.6 * patience_s < sum(waits) <= patience_s
    assert len(waits) > 8
    assert all(later > earlier / 2 for earlier, later in itertools.pairwise(waits))
    assert 150 <= max(waits) <= 300


def test_a_server_that_is_given_up_is_asked_once_by_each_job(files, monkeypatch):
    waits_of(files, monkeypatch, Fault("503"), patience_s=900)
    clock = hosts.time
    before = clock.now
    again = Loopback(files.folder, faults=lambda _: Fault("503"))
    with again, contextlib.closing(HttpTransport(remote("x").retrieval, "hosts.json")) as transport:
        name = again.url.removeprefix("http://")
        known = json.loads(Path("results/tiny/hosts.json").read_text())
        Path("hosts.json").write_text(json.dumps({name: next(iter(known.values()))}))
        with pytest.raises(RetrievalError, match="503"), open("file", "wb") as file:
            transport.read(f"{again.url}/rice.fits.fz", None, file.fileno())
        assert len(again.requests) == 1
    assert clock.now == before


def test_too_many_requests_make_all_jobs_wait(files, monkeypatch):
    waits, server = waits_of(files, monkeypatch, Fault("429"), patience_s=100)
    assert 16 <= waits[0] <= 32
    assert sum(waits) <= 100
    waits, server = waits_of(files, monkeypatch, Fault("429", retry_after=90), patience_s=100)
    assert waits == pytest.approx([90], abs=0.1)
    assert len(server.requests) == 2
    url, started = f"{server.url}/rice.fits.fz", hosts.time.now
    other = hosts.Hosts("results/tiny/hosts.json", Retrieval(patience_s=100))
    assert other.wait_turn(url) == pytest.approx(started + 90, abs=0.1)
    other.note_failure(url, UnavailableError("", 50), hosts.time.now)
    with pytest.raises(RetrievalError, match=r"not asked before .*, as it requested"):
        hosts.Hosts("results/tiny/hosts.json", Retrieval(patience_s=1)).wait_turn(url)


def test_failures_of_one_moment_count_once(tmp_path):
    known = hosts.Hosts(tmp_path / "hosts.json", Retrieval())
    at = known.wait_turn("http://a/b")
    for _ in range(8):
        known.note_failure("http://a/b", UnavailableError(""), at)
    assert known.host("http://a/c").failures == 1
    known.note_success("http://a/d")
    assert hosts.Hosts(tmp_path / "hosts.json", Retrieval()).host("http://a").failures == 0


def test_a_name_that_no_one_knows_is_not_waited_for(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with (
        open_source(remote("http://nowhere.example")) as source,
        pytest.raises(RetrievalError, match="Name or service not known") as error,
    ):
        fetch(source, "http://nowhere.example", ["a.fits.fz"], *positions(0, 2))
    assert error.value.transient


#: Types under which servers send what is no file, and what they send.
PAGES = {
    "text/html": b"<!DOCTYPE html><html><title>Out of order</title></html>",
    "application/json": b'{"error": "too busy"}',
    "text/plain": b"<html>Out of order</html>",
    "application/octet-stream": b'{"detail": "not now"}',
}


@pytest.mark.parametrize("content_type", PAGES)
@pytest.mark.parametrize("name", ["table.fits", "list.csv"])
def test_pages_never_stay_in_the_cache(tmp_path, content_type, name):
    (tmp_path / "tree").mkdir()
    path = tmp_path / "tree" / name
    if name == "table.fits":
        fitsio.write(path, np.ones(1, [("a", "i4")]))
    else:
        path.write_text("ra,dec\n1,2\n")
    page = Fault("html", body=PAGES[content_type], content_type=content_type)
    with (
        Loopback(tmp_path / "tree", faults=lambda r: page if r.number < 3 else None) as server,
        open_source(remote(server.url, attempts=2)) as source,
    ):
        url = f"{server.url}/{name}"
        with pytest.raises(RetrievalError, match=name) as error, source.table(url):
            pass
        assert error.value.transient
        assert not [p for p in Path("results/cache").iterdir() if p.suffix != ".lock"]
        with source.table(url) as local:
            assert local.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("validators", [("etag", "last-modified"), ("last-modified",), ()])
@pytest.mark.parametrize("kind", ["truncated", "reset"])
def test_a_whole_file_over_a_line_that_breaks(tmp_path, validators, kind):
    (tmp_path / "tree").mkdir()
    content = random.Random(1).randbytes(1_000_000)
    (tmp_path / "tree" / "table.bin").write_bytes(content)
    with (
        Loopback(
            tmp_path / "tree", validators=validators, faults=lambda _: Fault(kind, after=100_000)
        ) as server,
        open_source(remote(server.url, attempts=1)) as source,
        source.table(f"{server.url}/table.bin") as local,
    ):
        assert local.read_bytes() == content
    assert server.bytes_sent < 1.1 * len(content)
    assert [r.headers.get("if-range") is None for r in server.requests[1:]] == [not validators] * (
        len(server.requests) - 1
    )


@pytest.mark.parametrize("validators", [("etag", "last-modified"), ("etag",)])
@pytest.mark.parametrize("answer", ["200", "206", "412", "416", "shorter"])
def test_a_whole_file_that_changes_while_a_line_breaks(tmp_path, validators, answer, monkeypatch):
    """Whatever the server says to the request for the rest, the new file is had, and no mixture."""
    (tmp_path / "tree").mkdir()
    path = tmp_path / "tree" / "table.bin"
    old, new = (random.Random(seed).randbytes(300_000) for seed in range(2))
    new = new[:50_000] if answer == "shorter" else new
    path.write_bytes(old)

    def replace():
        (tmp_path / "new").write_bytes(new)
        os.replace(tmp_path / "new", path)

    def faults(request):
        if request.number == 1:
            return Fault("truncated", after=100_000)
        if request.number > 2:
            return None
        if answer in ("412", "416"):
            replace()
            return Fault(answer)
        return Fault("unconditional" if answer in ("206", "shorter") else "call", call=replace)

    with (
        Loopback(tmp_path / "tree", validators=validators, faults=faults) as server,
        open_source(remote(server.url)) as source,
        source.table(f"{server.url}/table.bin") as local,
    ):
        assert local.read_bytes() == new
    assert server.requests[1].range == "bytes=100000-"
    assert len(server.requests) == (2 if answer == "200" else 3)


def test_a_server_without_ranges_whose_line_breaks(tmp_path):
    """It ends, and so does one whose file is sent whole in the end."""
    (tmp_path / "tree").mkdir()
    content = random.Random(1).randbytes(300_000)
    (tmp_path / "tree" / "table.bin").write_bytes(content)
    breaks = Fault("truncated", after=100_000)
    for last, attempts in ((10**9, 3), (4, 6)):
        with (
            Loopback(
                tmp_path / "tree",
                ranges="none",
                faults=lambda r, last=last: breaks if r.number < last else None,
            ) as server,
            open_source(remote(server.url, attempts=attempts)) as source,
        ):
            expects = (
                pytest.raises(RetrievalError, match="IncompleteRead")
                if last > 100
                else contextlib.nullcontext()
            )
            with expects, source.table(f"{server.url}/table.bin") as local:
                assert local.read_bytes() == content
        assert len(server.requests) <= attempts + 1


def test_coadds_over_a_line_that_breaks(deep):
    """Tiles that have arrived are not requested again."""
    x, y = positions(0, 400, (3500, 3500))
    with fitsio.FITS(deep / "image.fits.fz") as fits:
        whole = fits[1].read()
    for ranges in ("apache", "single", "none"):
        with (
            Loopback(
                deep, ranges=ranges, faults=lambda _: Fault("truncated", after=1_000_000)
            ) as server,
            open_source(remote(server.url, attempts=1)) as source,
        ):
            if ranges == "none":
                with pytest.raises(RetrievalError, match="IncompleteRead"):
                    fetch(source, server.url, ["image.fits.fz"], x, y)
                continue
            stamps = fetch(source, server.url, ["image.fits.fz"], x, y)["image.fits.fz"]
        np.testing.assert_array_equal(stamps, expected(whole, x, y))
        assert len(server.requests) > 5
        assert server.bytes_sent < 1.2 * (deep / "image.fits.fz").stat().st_size


def test_connections_are_limited_and_kept(files):
    with Loopback(files.folder, latency_s=0.02) as server:
        with open_source(remote(server.url, connections=3)) as source:
            for seed in range(3):
                fetch(source, server.url, files.wholes, *positions(seed, 5))
        assert server.connections.most_active <= 3
        assert server.connections.opened <= 3


def list_sums(tree, release, file, marker=" ", wrong=()):
    """Write the list of sums of a folder as the survey does; returns its path."""
    folder = file.relative_to(tree).parent
    path = file.with_name(f"legacysurvey_{release}_{'_'.join(folder.parts)}.sha256sum")
    files = [each for each in file.parent.iterdir() if each.is_file() and each != path]
    sums = {each: hashlib.sha256(each.read_bytes()).hexdigest() for each in files}
    sums |= dict.fromkeys(wrong, "0" * 64)
    path.write_text("".join(f"{sum} {marker}{each.name}\n" for each, sum in sums.items()))
    return path


@pytest.fixture
def tree(tiny_tree, tmp_path):
    return shutil.copytree(tiny_tree.tree, tmp_path / "tree")


def parent_and_cutouts(settings):
    """Make the only chunk; returns the entries of its brick in both manifests."""
    write_bricks(settings)
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)
    manifests = [settings.paths.manifest(stage, chunk) for stage in ("parent", "cutouts")]
    return [entry for path in manifests for entry in read_manifest(path).values()]


@pytest.mark.parametrize("marker", [" ", "*", "./", "south/tractor/150/"])
def test_sums_as_the_survey_publishes_them(tiny_tree, tree, marker):
    paths = RELEASES["dr9"].paths(tree)
    tractor = paths.tractor(tiny_tree.region, tiny_tree.brick)
    sums = list_sums(tree, "dr9", tractor, marker)
    assert sums == paths.checksums(tractor)
    image = paths.coadd("south", tiny_tree.brick, "image", "g")
    assert list_sums(tree, "dr9", image, marker) == paths.checksums(image)
    with Loopback(tree, ranges="none") as server:
        settings = remote(server.url, checksums=True, attempts=2)
        assert all("unchecked" not in entry for entry in parent_and_cutouts(settings))
        asked = [request.path for request in server.requests]
        assert f"/{sums.relative_to(tree)}" in asked
        # A file in the cache is checked as well.
        (cached,) = Path("results/cache").glob("*-tractor-*")
        size = cached.stat().st_size
        cached.write_bytes(b"x" * size)
        parent_of_brick(settings, tiny_tree.brick, "south")
        assert next(Path("results/cache").glob("*-tractor-*")).read_bytes() == tractor.read_bytes()


@pytest.mark.parametrize("kind", ["tractor", "coadd", "bricks", "sweep"])
def test_a_file_other_than_the_published_one_is_refused(tiny_tree, tree, kind):
    paths = RELEASES["dr9"].paths(tree)
    region, brick = tiny_tree.region, tiny_tree.brick
    sweep = tree / "south/sweep/9.0" / sweep_names(150.147, 32.0, RELEASES["dr9"])[1]
    sweep.parent.mkdir(parents=True)
    shutil.copy(paths.tractor(region, brick), sweep)
    file = {
        "tractor": paths.tractor(region, brick),
        "coadd": paths.coadd(region, brick, "invvar", "r"),
        "bricks": paths.bricks(region),
        "sweep": sweep,
    }[kind]
    list_sums(tree, "dr9", file, wrong=[file])
    with Loopback(tree, ranges="none") as server:
        settings = remote(server.url, checksums=True, attempts=2)
        if kind == "sweep":
            survey = settings.survey.model_copy(update={"catalogs": "sweeps"})
            settings = settings.model_copy(update={"survey": survey})
        wrong = rf"{file.name}: SHA-256 \w+\.\.\., published 00000000"
        if kind == "bricks":
            with pytest.raises(RetrievalError, match=wrong):
                write_bricks(settings)
            return
        entries = parent_and_cutouts(settings)
    assert entries[-1]["status"] == "failed"
    assert re.search(wrong, entries[-1]["reason"])
    assert entries[-1]["transient"]


@pytest.mark.parametrize("answer", ["absent", "page", "empty", "other"])
def test_what_is_not_checked_is_said(tiny_tree, tree, answer, caplog):
    caplog.set_level("INFO", "lenspipe")
    paths = RELEASES["dr9"].paths(tree)
    tractor = paths.tractor(tiny_tree.region, tiny_tree.brick)
    text = {"page": "<html>no list</html>", "empty": "", "other": f"{'0' * 64}  other.fits\n"}
    if answer != "absent":
        paths.checksums(tractor).write_text(text[answer])
    with Loopback(tree) as server:
        settings = remote(server.url, checksums=True, attempts=2)
        catalogue, cutouts = parent_and_cutouts(settings)
        asked = [r.path for r in server.requests if "150.sha256sum" in r.path]
    reason = {
        "absent": "no list of sums: .*tractor_150.sha256sum: 404 Not Found",
        "page": "no list of sums: .*tractor_150.sha256sum: found no SHA-256 sums",
        "empty": "no list of sums: .*tractor_150.sha256sum: found no SHA-256 sums",
        "other": "not listed in .*tractor_150.sha256sum",
    }[answer]
    assert catalogue["status"] == cutouts["status"] == "done"
    assert re.match(reason, catalogue["unchecked"])
    assert "only parts were read" in cutouts["unchecked"]
    assert len(asked) == (2 if answer in ("page", "empty") else 1)
    assert len(re.findall("catalogue not checked against published sums", caplog.text)) == 1
    assert len(re.findall("coadds not checked against published sums", caplog.text)) == 1
    # Cutouts that are kept say so again.
    with Loopback(tree) as server:
        assert parent_and_cutouts(remote(server.url, checksums=True))[1] is not None


def test_nothing_is_said_of_sums_that_are_not_to_be_checked(tiny_tree, tree):
    with Loopback(tree) as server:
        entries = parent_and_cutouts(remote(server.url))
        assert not [r for r in server.requests if "sha256" in r.path]
    assert all("unchecked" not in entry for entry in entries)


def test_bytes_that_are_no_image(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    fitsio.write(tree / "table.fits.fz", np.zeros(3, [("a", "i4")]))
    (tree / "text.fits.fz").write_text("no such thing" * 1000)
    (tree / "empty.fits.fz").touch()
    whole = tmp_path / "whole.fits.fz"
    write_coadd(
        whole,
        np.random.default_rng(1).normal(0, 1, (700, 900)).astype("f4"),
        brick_wcs(150, 2, RELEASES["dr9"]).to_header(),
    )
    (tree / "short.fits.fz").write_bytes(whole.read_bytes()[:-5760])
    with Loopback(tree) as server, open_source(remote(server.url, attempts=2)) as source:
        for path in tree.iterdir():
            with pytest.raises(LenspipeError, match=path.name):
                fetch(source, server.url, [path.name], *positions(0, 2))


def test_object_stores(files):
    import fsspec

    store = fsspec.filesystem("memory")
    for path in files.folder.iterdir():
        store.pipe(f"/tree/{path.name}", path.read_bytes())
    url = "memory://tree"
    with open_source(remote(url)) as source:
        for number in (1, 25):
            x, y = positions(number, number)
            for name, stamps in fetch(source, url, files.wholes, x, y).items():
                np.testing.assert_array_equal(stamps, expected(files.wholes[name], x, y))
        assert fetch(source, url, ["other.fits.fz"], x, y) == {"other.fits.fz": None}
    with (
        open_source(remote("nonsense://x")) as source,
        pytest.raises(LenspipeError, match=r"nonsense://x/a: .*config keys survey\.tree"),
    ):
        fetch(source, "nonsense://x", ["a"], x, y)


@pytest.mark.shared
def test_real_files(shared, tmp_path):
    """Sections of real coadds through a server are those that fitsio reads."""
    folder = shared / "realdata" / "dr6-coadd-0959p805"
    wholes = {path.name: fitsio.read(path, ext=1) for path in sorted(folder.glob("*.fz"))}
    x, y = positions(4, 40, (3600, 3600))
    for ranges in ("multi", "single", "none"):
        with Loopback(folder, ranges=ranges) as server, open_source(remote(server.url)) as source:
            for name, stamps in fetch(source, server.url, wholes, x, y).items():
                np.testing.assert_array_equal(stamps, expected(wholes[name], x, y))


@pytest.mark.shared
def test_a_real_truncated_file(shared):
    """Tiles before its end are there, but a file that is not whole is refused."""
    folder = shared / "realdata" / "dr9-brick-invvar"
    (path,) = folder.glob("*.fz")
    with (
        Loopback(folder) as server,
        open_source(remote(server.url, attempts=2)) as source,
        pytest.raises(RetrievalError, match=rf"{path.name}: .*truncated: "),
    ):
        fetch(source, server.url, [path.name], *positions(0, 3))
