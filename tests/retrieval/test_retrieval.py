"""Retrieval of coadds from servers: the right bytes, few of them, in few requests."""

import hashlib
import os
import random
import shutil
from types import SimpleNamespace

import fitsio
import numpy as np
import pytest
from conftest import write_coadd
from helpers.loopback import Fault, Loopback, RandomFaults, apache, find_program, nginx

from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.cutouts.chunk import cut_brick
from lenspipe.cutouts.stamps import CoaddStamps
from lenspipe.parent.select import parent_of_brick
from lenspipe.products.cutouts import read_cutouts
from lenspipe.retrieval import retry
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.sources import open_source as open_trees
from lenspipe.survey.bricks import brick_wcs
from lenspipe.survey.coadds import read_stamps
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
    rng = random.Random(seed)
    ranges = rng.choice(["multi", "apache", "single", "first", "coalesce", "none"])
    kinds = [Fault(kind, pause_s=0.02) for kind in TRANSIENT]
    kinds += [Fault("503", retry_after=0), Fault("503", retry_after=0, http_date=True)]
    faults = RandomFaults(seed, 0.4, kinds, at_most_per_request=3, at_most_per_file=12)
    quick = {"timeout_s": 0.15, "attempts": 8, "connections": rng.randint(1, 6)}
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
    lines = [r.getMessage() for r in caplog.records if "try 2 of 6 in 1.0 s" in r.getMessage()]
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


def test_connections_are_limited_and_kept(files):
    with Loopback(files.folder, latency_s=0.02) as server:
        with open_source(remote(server.url, connections=3)) as source:
            for seed in range(3):
                fetch(source, server.url, files.wholes, *positions(seed, 5))
        assert server.connections.most_active <= 3
        assert server.connections.opened <= 3


def test_sums_are_checked_where_whole_files_are_taken(tiny_tree, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(tiny_tree.tree, tree)
    settings = remote("http://127.0.0.1:1")
    path = settings.survey_paths.tractor(tiny_tree.region, tiny_tree.brick)
    name = path.removeprefix(settings.survey_paths.tree + "/")
    sums = settings.survey_paths.checksums(path)
    sums = tree / sums.removeprefix(settings.survey_paths.tree + "/")
    right = hashlib.sha256((tree / name).read_bytes()).hexdigest()
    with Loopback(tree) as server:
        config = remote(server.url, checksums=True, attempts=2)
        survey = config.survey_paths
        tractor = survey.tractor(tiny_tree.region, tiny_tree.brick)
        arguments = (tractor, survey.checksums(tractor))
        with open_source(config) as source, source.table(*arguments) as local:
            assert hashlib.sha256(local.read_bytes()).hexdigest() == right
        shutil.rmtree(config.retrieval.cache)
        sums.write_text(f"{right}  {name.rpartition('/')[2]}\n")
        with open_source(config) as source, source.table(*arguments):
            pass
        shutil.rmtree(config.retrieval.cache)
        sums.write_text(f"{'0' * 64}  {name.rpartition('/')[2]}\n")
        with (
            open_source(config) as source,
            pytest.raises(RetrievalError, match=r"SHA-256 .* published 00000000"),
            source.table(*arguments),
        ):
            pass


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
