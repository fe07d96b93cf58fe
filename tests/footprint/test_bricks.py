"""Bricks: tables of the releases, footprints, chunks, the plan."""

import contextlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_fits_table
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.catalogs.versions import list_version
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.footprint.plan import load_plan, load_plan_apart
from lenspipe.footprint.select import select_bricks, write_bricks
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.survey.bricks import brick_wcs
from lenspipe.utils.errors import LenspipeError, NotFoundError

NAMES = ["0001p320", "1501p320", "1504p330", "3598p330", "2600m010"]
RA = [0.15, 150.15, 150.45, 359.85, 260.05]
DEC = [32.0, 32.0, 33.0, 33.0, -1.0]


def make_tree(folder, release, upper=False, primary=True, ids=True, everything=True):
    """Write brick tables of a release: the first four bricks in every region, the fifth south."""
    paths = RELEASES[release].paths(folder)
    case = str.upper if upper else str.lower
    if everything:
        columns = {"BRICKNAME": NAMES, "BRICKID": np.arange(5, dtype="i4") + 500000}
        write_fits_table(paths.all_bricks(), columns)
    for region in paths.release.regions:
        rows = slice(0, 5 if region == "south" else 4)
        columns = {"brickname": NAMES[rows], "ra": RA[rows], "dec": DEC[rows]}
        for number, band in enumerate("grz", start=3):
            columns[f"nexp_{band}"] = np.full(5, number, "i2")[rows]
        if ids:
            columns["brickid"] = np.arange(5, dtype="i4")[rows] + 500000
        if primary:
            columns["survey_primary"] = ((np.array(DEC) > 32.375) == (region == "north"))[rows]
        write_fits_table(paths.bricks(region), {case(name): v for name, v in columns.items()})


def settings_of(folder, release="dr9", sample=None, **footprint):
    return load_settings(
        {
            "run": "test",
            "survey": {"release": release, "tree": str(folder)},
            "parent": {"types": ["DEV"], "maskbits": ["BRIGHT"]},
            "footprint": footprint,
            "sample": sample or {"known_lenses": "known.csv"},
        }
    )


@pytest.mark.parametrize("upper", [False, True])
def test_one_region_per_brick(tmp_path, upper):
    make_tree(tmp_path, "dr9", upper=upper)
    table = select_bricks(settings_of(tmp_path))
    assert table.brick.tolist() == sorted(NAMES)
    regions = dict(zip(table.brick, table.region, strict=True))
    assert regions["1504p330"] == regions["3598p330"] == "north"
    assert regions["1501p320"] == regions["0001p320"] == regions["2600m010"] == "south"
    assert table.brickid.dtype == np.int32
    assert table.nexp_z.dtype == np.float32
    assert (table.nexp_z == 5).all()
    assert table.psfsize_g.isna().all()


def test_dr8_has_no_primary_and_no_ids(tmp_path):
    # 3598p330 is in the south galactic cap, where the southern survey goes further north.
    make_tree(tmp_path, "dr8", primary=False, ids=False)
    table = select_bricks(settings_of(tmp_path, "dr8")).set_index("brick")
    assert table.index.is_unique
    assert table.region["1504p330"] == "north"
    assert table.region["3598p330"] == "south"
    assert table.brickid[NAMES].tolist() == [500000 + i for i in range(5)]


def test_dr7_has_no_regions(tmp_path):
    make_tree(tmp_path, "dr7", primary=False, ids=False)
    assert set(select_bricks(settings_of(tmp_path, "dr7")).region) == {"south"}


def test_ids_need_a_table(tmp_path):
    make_tree(tmp_path, "dr7", ids=False, everything=False)
    with pytest.raises(LenspipeError, match=r"survey-bricks\.fits\.gz: no such file"):
        select_bricks(settings_of(tmp_path, "dr7"))


def test_a_mirror_of_one_region_will_do(tmp_path, caplog):
    caplog.set_level("INFO", "lenspipe")
    make_tree(tmp_path, "dr9")
    (tmp_path / "north/survey-bricks-dr9-north.fits.gz").unlink()
    assert set(select_bricks(settings_of(tmp_path)).region) == {"south"}
    assert "no table for region north" in caplog.text


def test_no_tables(tmp_path):
    with pytest.raises(LenspipeError, match=r"survey\.tree"):
        select_bricks(settings_of(tmp_path))


class Mirror:
    """Files of a folder, as if they were at an address; keeps what was asked for."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    @contextlib.contextmanager
    def table(self, path, checksums=None):
        self.asked.append(path)
        local = self.folder / path.removeprefix("https://mirror.example/dr9/")
        if not local.exists():
            raise NotFoundError(f"{path}: 404")
        yield local


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror of a tree, and settings that search it."""
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path / "far", "dr9", ids=False)
    mirror = Mirror(tmp_path / "far")
    opened = contextlib.nullcontext(mirror)
    monkeypatch.setattr("lenspipe.footprint.select.open_source", lambda *_: opened)
    config = {"run": "test", "survey": {"tree": "https://mirror.example/dr9"}}
    config |= {"sample": {"known_lenses": "known.csv"}, "retrieval": {"contact": "me@example.org"}}
    return mirror, config


def test_a_remote_survey_is_asked_once(mirror):
    mirror, config = mirror
    settings = load_settings(config)
    plan = load_plan(settings)
    assert sorted(e["brick"] for entries in plan.values() for e in entries) == sorted(NAMES)
    assert f"{config['survey']['tree']}/north/survey-bricks-dr9-north.fits.gz" in mirror.asked
    count = len(mirror.asked)
    assert load_plan(settings) == plan
    assert len(mirror.asked) == count


def test_what_a_remote_survey_lacks(mirror):
    mirror, config = mirror
    (mirror.folder / "north/survey-bricks-dr9-north.fits.gz").unlink()
    assert set(select_bricks(load_settings(config)).region) == {"south"}
    named = load_settings(config | {"footprint": {"bricks": ["2600m010", "9999p999"]}})
    with pytest.raises(LenspipeError, match="9999p999: no brick on the sky has this name"):
        select_bricks(named)
    (mirror.folder / "survey-bricks.fits.gz").unlink()
    with pytest.raises(LenspipeError, match=r"dr9/survey-bricks\.fits\.gz: no such file; it gives"):
        select_bricks(load_settings(config))
    (mirror.folder / "south/survey-bricks-dr9-south.fits.gz").unlink()
    with pytest.raises(LenspipeError, match=r"check config key survey\.tree"):
        select_bricks(load_settings(config))


def test_truncated_table(tmp_path):
    make_tree(tmp_path, "dr9")
    path = tmp_path / "south/survey-bricks-dr9-south.fits.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LenspipeError, match=r"survey-bricks-dr9-south\.fits\.gz"):
        select_bricks(settings_of(tmp_path))


def test_footprint_wraps(tmp_path):
    make_tree(tmp_path, "dr9")
    assert select_bricks(settings_of(tmp_path, ra=[350, 10])).brick.tolist() == [NAMES[0], NAMES[3]]
    only = select_bricks(settings_of(tmp_path, ra=[350, 10], dec=[32.5, 40]))
    assert only.brick.tolist() == [NAMES[3]]
    with pytest.raises(LenspipeError, match="widen the ranges"):
        select_bricks(settings_of(tmp_path, ra=[1, 2]))


def test_unknown_names_are_all_named(tmp_path):
    make_tree(tmp_path, "dr9")
    (tmp_path / "south/survey-bricks-dr9-south.fits.gz").unlink()
    settings = settings_of(tmp_path, bricks=["1504p330", "2600m010", "9999p999", "0000p001"])
    with pytest.raises(LenspipeError) as caught:
        select_bricks(settings)
    assert "0000p001, 9999p999: no brick on the sky" in str(caught.value)
    assert "2600m010: no data in dr9" in str(caught.value)
    assert "1504p330" not in str(caught.value)


def test_simulated_sky_is_known_before_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {
        "run": "sky",
        "simulation": {},
        "footprint": {"ra": [150, 150.8], "dec": [31.9, 32.8]},
    }
    table = select_bricks(load_settings(config))
    assert len(table) > 6
    assert (table.region == np.where(table.dec >= 32.375, "north", "south")).all()
    assert table.nexp_g.isna().all()
    # Number of that brick in the survey's own files.
    assert dict(zip(table.brick, table.brickid, strict=True))["1501p320"] == 506100
    config["footprint"]["bricks"] = ["1501p321"]
    with pytest.raises(LenspipeError, match="1501p321: no brick on the sky"):
        select_bricks(load_settings(config))


def test_plan_is_kept_until_something_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tree("tree", "dr9")
    settings = settings_of("tree")
    plan = load_plan(settings)
    bricks = [entry["brick"] for entries in plan.values() for entry in entries]
    assert sorted(bricks) == sorted(NAMES)
    written = settings.paths.plan.stat().st_mtime_ns
    assert load_plan(settings) == plan
    assert settings.paths.plan.stat().st_mtime_ns == written
    assert len(load_plan(settings_of("tree", bricks=NAMES[:1]))) == 1
    make_tree("tree", "dr9", primary=False)
    load_plan(settings)
    assert settings.paths.plan.stat().st_mtime_ns != written


def test_chunks_do_not_depend_on_other_bricks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tree("tree", "dr9")
    whole, part = load_plan(settings_of("tree")), load_plan(settings_of("tree", dec=[30, 40]))
    assert {chunk: whole[chunk] for chunk in part} == part
    assert all(len(chunk.split("-")[1]) == 6 for chunk in whole)


def test_finding_bricks_and_chunks(tiny_settings, tiny_tree):
    path = tiny_settings.paths.plan
    with pytest.raises(LenspipeError, match=r"plan\.json: no such file"):
        find_brick(path, tiny_tree.brick)
    load_plan(tiny_settings)
    chunk, region = find_brick(path, tiny_tree.brick)
    assert bricks_of_chunk(path, chunk) == [(tiny_tree.brick, region)]
    with pytest.raises(LenspipeError, match="brick 1504p320: not in this run; expected one that"):
        find_brick(path, "1504p320")
    with pytest.raises(LenspipeError, match="chunk 16-000000: not in this run; expected one that"):
        bricks_of_chunk(path, "16-000000")


KNOWN = "ra,dec,grade\n150.15,32,A\n-0.15,33,C\n80,80,A\n"


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A tree, and a list with lenses in the second and the fourth brick and in one not there."""
    monkeypatch.chdir(tmp_path)
    make_tree("tree", "dr9")
    (tmp_path / "known.csv").write_text(KNOWN)
    return tmp_path / "known.csv"


def chosen(**footprint):
    return select_bricks(settings_of("tree", **footprint)).brick.tolist()


def test_no_bricks_for_lenses_that_are_not_seen_from_the_ground(known):
    assert len(chosen(known_lenses="only")) == 2
    lines = known.read_text().splitlines()
    lines = [f"{line},Talbot et al. (2020)" for line in lines]
    lines[0] = lines[0].replace("Talbot et al. (2020)", "ref")
    known.write_text("\n".join(lines).replace(",Talbot et al. (2020)", ",ours", 1))
    assert len(chosen(known_lenses="only")) == 1


def test_bricks_with_known_lenses_only_or_besides(known, caplog):
    caplog.set_level("INFO", "lenspipe")
    lensed = [NAMES[1], NAMES[3]]
    assert chosen(known_lenses="only") == lensed
    assert caplog.messages[-1] == (
        "footprint: 2 bricks, 2 of them with a known lens; known lenses are in 3 bricks, 2 of them "
        "with data"
    )
    assert chosen(known_lenses="only", dec=[30, 32.5]) == [NAMES[1]]
    assert chosen(known_lenses="only", bricks=NAMES[2:]) == [NAMES[3]]
    assert chosen(known_lenses="add", dec=[-10, 10]) == [*lensed[:1], NAMES[4], *lensed[1:]]
    assert chosen(known_lenses="add", ra=[1, 2]) == lensed
    good = {"known_lenses": "known.csv", "grades": ["A", "B"]}
    assert chosen(known_lenses="only", sample=good) == [NAMES[1]]
    with pytest.raises(LenspipeError, match=r"footprint\.known_lenses: no brick of the footprint"):
        chosen(known_lenses="only", dec=[-10, 10])
    known.unlink()
    with pytest.raises(LenspipeError, match=r"known\.csv: can't be read .*sample\.known_lenses"):
        load_plan(settings_of("tree", known_lenses="only"))


def test_the_plan_follows_the_catalogues(known, monkeypatch):
    settings = settings_of("tree", known_lenses="only")
    plan, path = load_plan(settings), settings.paths.plan
    written = path.stat().st_mtime_ns
    known.write_text(KNOWN)
    assert load_plan(settings) == plan
    assert path.stat().st_mtime_ns == written
    known.write_text(KNOWN.replace("-0.15,33", "0.15,32"))
    assert {e["brick"] for entries in load_plan(settings).values() for e in entries} == {*NAMES[:2]}
    whole = settings_of("tree")
    load_plan(whole)
    written = path.stat().st_mtime_ns
    known.write_text(KNOWN)
    load_plan(whole)
    assert path.stat().st_mtime_ns == written


def test_versions_of_catalogues(known, monkeypatch):
    assert len(list_version("known.csv")) == 64
    assert list_version("https://example.org/known.csv") is None
    versions = {"lenscat": "1.2.3"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions[name])
    assert list_version("lenscat") == "1.2.3"

    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", unknown)
    assert list_version("lenscat") is None


def test_a_simulated_sky_of_bricks_with_known_lenses(known):
    config = {"run": "sky", "simulation": {}, "sample": {"known_lenses": "known.csv"}}
    config["footprint"] = {"ra": [150, 150.8], "dec": [31.9, 32.8], "known_lenses": "only"}
    assert select_bricks(load_settings(config)).brick.tolist() == ["1501p320"]
    config["footprint"]["known_lenses"] = "add"
    assert {"1501p320", "1504p320", "3598p330"} < set(select_bricks(load_settings(config)).brick)


@pytest.mark.parametrize(("known_lenses", "exists"), [(None, True), ("add", True), ("add", False)])
def test_a_plan_brings_in_nothing_heavy(tiny_settings, tiny_tree, known_lenses, exists):
    Path("known.csv").write_text(KNOWN)
    config = tiny_tree.config | {"footprint": {"known_lenses": known_lenses}}
    settings = load_settings(config)
    load_plan(settings)
    content = settings.paths.plan.read_bytes()
    if not exists:
        settings.paths.plan.unlink()
    script = (
        "import json, sys\n"
        "from lenspipe.footprint.plan import load_plan_apart\n"
        "from lenspipe.config.settings import load_settings\n"
        "plan = load_plan_apart(load_settings(json.load(sys.stdin)))\n"
        "heavy = {'numpy', 'pandas', 'astropy', 'fitsio', 'tensorflow'} & set(sys.modules)\n"
        "print(len(plan), sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "1 []"
    assert settings.paths.plan.read_bytes() == content


def test_a_plan_that_can_not_be_made_apart(tiny_tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nowhere = load_settings(tiny_tree.config | {"footprint": {"ra": [1, 2]}})
    errors = []
    for load in (load_plan, load_plan_apart):
        with pytest.raises(LenspipeError, match="has its centre in ra") as error:
            load(nowhere)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


def test_write_bricks(tiny_settings, tiny_tree):
    write_bricks(tiny_settings)
    table = pd.read_parquet(tiny_settings.paths.bricks)
    columns = ["brick", "brickid", "region", "ra", "dec", "chunk", "nexp_g", "nexp_r", "nexp_z"]
    assert table.columns.tolist()[:9] == columns
    assert table.brick.tolist() == [tiny_tree.brick]
    assert table.brickid.tolist() == [tiny_tree.brickid]


@given(
    st.floats(0, 360, exclude_max=True),
    st.floats(-85, 85),
    st.lists(st.floats(0, 3599), min_size=2, max_size=2),
)
def test_brick_wcs_there_and_back(ra, dec, pixel):
    wcs = brick_wcs(ra, dec, RELEASES["dr9"])
    sky = wcs.all_pix2world([pixel], 0)
    assert wcs.all_world2pix(sky, 0)[0] == pytest.approx(pixel, abs=1e-5)
    centre = wcs.all_world2pix([[ra, dec]], 1)[0]
    assert centre == pytest.approx([1800.5, 1800.5], abs=1e-6)
    north, east = wcs.all_pix2world([[1799.5, 1809.5], [1789.5, 1799.5]], 0)
    assert north[1] > dec
    assert (east[0] - ra + 180) % 360 - 180 > 0
