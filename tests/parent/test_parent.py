"""Tractor catalogues of all releases and the cuts of the parent sample."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import write_fits_table
from helpers import three_sources
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.config.data import Failures, Parent
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.footprint.plan import load_plan
from lenspipe.parent import select as catalog
from lenspipe.parent.cuts import CUTS, select_parent
from lenspipe.parent.select import merge_audits, parent_of_brick, parent_of_chunk
from lenspipe.products.manifests import read_manifest
from lenspipe.products.plan import bricks_of_chunk
from lenspipe.products.tables import parent_columns
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.tractor import catalog_columns, tractor_table
from lenspipe.utils.errors import DiskFullError, LenspipeError, NotFoundError, RetrievalError
from lenspipe.utils.fits import read_fits_table
from lenspipe.utils.tables import content_hash

GRZ = ("g", "r", "z")


def read_tractor(path, release, bands, region=""):
    """Read a Tractor catalogue; None takes any release."""
    columns = read_fits_table(path, *catalog_columns(bands))
    any_release = release is None
    return tractor_table(columns, path, release or RELEASES["dr9"], bands, region, any_release)


def old_catalog(**changes):
    """Columns of a catalogue of DR7, one row of each type."""
    kinds = ["PSF ", "REX ", "EXP ", "DEV ", "COMP", "COMP"]
    count = len(kinds)
    columns = {
        "release": np.full(count, 7000, "i2"),
        "brickid": np.full(count, 42, "i4"),
        "brickname": ["0001p001"] * count,
        "objid": np.arange(count, dtype="i4"),
        "brick_primary": [True] * count,
        "brightstarinblob": [False, True, False, False, False, False],
        "type": kinds,
        "ra": np.linspace(0, 0.1, count),
        "dec": np.linspace(0, 0.1, count),
        "fracdev": np.array([0, 0, 0, 1, 0.4, 0.6], "f4"),
    }
    for band in GRZ:
        columns[f"flux_{band}"] = np.array([1, 10, 100, 0, -1, 1000], "f4")
        columns[f"nobs_{band}"] = np.full(count, 3, "i2")
    for part in ("r", "e1", "e2"):
        columns[f"shapedev_{part}"] = np.full(count, 2, "f4")
        columns[f"shapeexp_{part}"] = np.full(count, 1, "f4")
    return columns | changes


def test_old_release_in_the_form_of_the_new(tmp_path):
    path = tmp_path / "tractor-0001p001.fits"
    write_fits_table(path, old_catalog())
    table = read_tractor(path, RELEASES["dr7"], GRZ, "south")
    assert list(table.columns) == [*parent_columns(GRZ), "brick_primary", "valid"]
    for name, kind in parent_columns(GRZ).items():
        assert table[name].dtype == pd.Series(dtype=kind).dtype, name
    assert table.type.tolist() == ["PSF", "REX", "EXP", "DEV", "COMP", "COMP"]
    assert table.shape_r.tolist() == [1, 1, 1, 2, 1, 2]
    assert table.maskbits.tolist() == [0, 1 << RELEASES["dr9"].mask_bits["BRIGHT"], 0, 0, 0, 0]
    assert table.mag_z[:3].tolist() == [22.5, 20, 17.5]
    assert table.mag_z[3:5].isna().all()
    assert table.id[5] == "7000-42-5"
    assert set(table.region) == {"south"}
    assert table[["sersic", "psfsize_r", "galdepth_g", "ebv"]].isna().all(axis=None)


def test_upper_case_is_the_same(tmp_path):
    write_fits_table(tmp_path / "lower.fits", old_catalog())
    write_fits_table(
        tmp_path / "upper.fits", {name.upper(): value for name, value in old_catalog().items()}
    )
    lower, upper = (
        read_tractor(tmp_path / f"{case}.fits", RELEASES["dr7"], GRZ) for case in ("lower", "upper")
    )
    pd.testing.assert_frame_equal(lower, upper)


@pytest.mark.parametrize("column", ["flux_r", "nobs_g", "objid", "fracdev", "brightstarinblob"])
def test_absent_column_is_named(tmp_path, column):
    path = tmp_path / "tractor-0001p001.fits"
    columns = old_catalog()
    del columns[column]
    write_fits_table(path, columns)
    with pytest.raises(LenspipeError, match=rf"tractor-0001p001\.fits: no column {column};"):
        read_tractor(path, RELEASES["dr7"], GRZ)


def test_wrong_release(tmp_path):
    path = tmp_path / "tractor-0001p001.fits"
    write_fits_table(path, old_catalog(maskbits=np.zeros(6, "i2")))
    with pytest.raises(LenspipeError, match=r"no column sersic, shape_r"):
        read_tractor(path, RELEASES["dr9"], GRZ)
    with pytest.raises(LenspipeError, match="found release 7000, expected dr8"):
        read_tractor(path, RELEASES["dr8"], GRZ)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:9000], lambda data: b"<html>", lambda d: b""]
)
def test_unreadable(tmp_path, damage):
    path = tmp_path / "tractor-0001p001.fits"
    write_fits_table(path, old_catalog())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LenspipeError, match=r"tractor-0001p001\.fits: (truncated|not a readable)"):
        read_tractor(path, RELEASES["dr7"], GRZ)


@pytest.mark.shared
def test_real_catalogues(shared):
    paths = sorted((shared / "realdata/tractor").glob("*.fits"))
    assert len(paths) == 9
    for path in paths:
        table = read_tractor(path, None, GRZ)
        assert list(table.columns) == [*parent_columns(GRZ), "brick_primary", "valid"], path.name
        assert len(table) == (1 if "1054p567" in path.name else 6)
        release = path.name.split("release")[1].split("-")[0]
        assert set(table.release) == {0 if release == "None" else int(release)}
        assert table.brick.str.fullmatch(r"\d{4}[pm]\d{3}").all()
        assert table.type.isin(["PSF", "SIMP", "REX", "EXP", "DEV", "COMP", "SER"]).all()
        assert (table.mag_z.isna() | table.mag_z.between(10, 30)).all()
        extended = table[table.type.isin(["EXP", "DEV"])]
        assert (extended.shape_r > 0).all(), path.name
        assert table.nobs_r.max() > 0
        assert table.brick_primary.all() or path.name.startswith("tractor")


@pytest.mark.shared
def test_real_catalogue_values(shared):
    table = read_tractor(
        shared / "realdata/tractor/tractor-release9011-1054p567.fits", RELEASES["dr9"], GRZ
    )
    row = table.iloc[0]
    assert row.id == "9011-607466-2657"
    assert (row.type, row.brick, row.nobs_g) == ("REX", "1054p567", 4)
    assert row.mag_z == pytest.approx(22.5 - 2.5 * np.log10(8.337608), abs=1e-5)
    assert row.psfsize_g == pytest.approx(2.6065404)
    assert np.isnan(row.sersic)


def passes(row, parent, cut):
    """One cut of one row, said as plainly as can be."""
    if cut == "brick_primary":
        return row["brick_primary"]
    if cut == "type":
        return row["type"] in parent.types
    if cut == "sersic_min":
        return row["type"] != "SER" or row["sersic"] >= np.float32(parent.sersic_min)
    if cut == "mag_z_max":
        return row["mag_z"] <= np.float32(parent.mag_z_max)
    if cut == "min_exposures":
        return min(row["nobs_g"], row["nobs_r"], row["nobs_z"]) >= parent.min_exposures
    if cut == "valid":
        return row["valid"]
    return not any(
        row["maskbits"] >> RELEASES["dr9"].mask_bits[name] & 1 for name in parent.maskbits
    )


FIELDS = {
    "brick_primary": st.booleans(),
    "type": st.sampled_from(["PSF", "REX", "DEV", "SER"]),
    "sersic": st.sampled_from([0.5, 1.999, 2.0, 4.0]),
    "mag_z": st.sampled_from([18.0, 20.0, 20.001, float("nan")]),
    "nobs_g": st.integers(1, 4),
    "nobs_r": st.integers(2, 4),
    "nobs_z": st.integers(2, 4),
    "maskbits": st.integers(0, 2**17 - 1) | st.just(0),
    "valid": st.booleans(),
}
ROWS = st.fixed_dictionaries(FIELDS)
PARENTS = st.builds(
    Parent,
    types=st.sampled_from([("DEV",), ("DEV", "SER"), ("REX", "SER")]),
    sersic_min=st.sampled_from([0, 2.0, 3.0]),
    mag_z_max=st.sampled_from([18.0, 20.0, 21]),
    min_exposures=st.integers(0, 3),
    maskbits=st.lists(st.sampled_from(sorted(RELEASES["dr9"].mask_bits)), max_size=3).map(tuple),
)


@settings(max_examples=60)
@given(st.lists(ROWS, max_size=25), PARENTS)
def test_cuts_against_row_by_row(rows, parent):
    kinds = {"sersic": "float32", "mag_z": "float32", "type": str}
    kinds |= {"brick_primary": bool, "valid": bool}
    table = pd.DataFrame(rows, columns=list(FIELDS)).astype(kinds)
    selected, audit = select_parent(table, parent, RELEASES["dr9"])
    left = list(range(len(rows)))
    records = table.to_dict("records")
    for cut, line in zip(CUTS, audit.itertuples(), strict=True):
        kept = [index for index in left if passes(records[index], parent, cut)]
        assert (line.cut, line.before, line.after) == (cut, len(left), len(kept))
        assert line.removed == len(left) - len(kept)
        left = kept
    assert selected.index.tolist() == left
    assert "brick_primary" not in selected


def test_parent_of_chunk(tiny_settings, tiny_tree):
    (chunk,) = load_plan(tiny_settings)
    parent_of_chunk(tiny_settings, chunk)
    table = pd.read_parquet(tiny_settings.paths.parent(chunk))
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {
        name: str(pd.Series(dtype=kind).dtype) for name, kind in parent_columns(GRZ).items()
    }
    assert table.objid.tolist() == [0, 1, 2, 3, 4, 5]
    brick, _ = parent_of_brick(tiny_settings, tiny_tree.brick, tiny_tree.region)
    pd.testing.assert_frame_equal(table, brick)
    assert content_hash(table) == content_hash(brick)
    entry = read_manifest(tiny_settings.paths.manifest("parent", chunk))[tiny_tree.brick]
    assert (entry["status"], entry["count"]) == ("done", 6)
    merge_audits(tiny_settings)
    audit = pd.read_csv(tiny_settings.paths.audit)
    assert audit.cut.tolist() == list(CUTS)
    assert (audit.before - audit.removed == audit.after).all()
    assert audit.after.iloc[-1] == 6


def test_content_hash_sees_every_value():
    table = pd.DataFrame({"id": ["a", "b"], "x": np.float32([1, 2])})
    assert content_hash(table) == content_hash(table.copy())
    changed = [
        table.assign(x=np.float32([1, 3])),
        table.assign(id=["a", "c"]),
        table.rename(columns={"x": "y"}),
        table.astype({"x": "float64"}),
        table.iloc[:1],
    ]
    assert len({content_hash(other) for other in [table, *changed]}) == 6


def test_nothing_left_says_which_cut(tiny_tree, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lenspipe")
    monkeypatch.chdir(tmp_path)
    none = load_settings(tiny_tree.config | {"parent": {"mag_z_max": 10.0}})
    (chunk,) = load_plan(none)
    with pytest.raises(
        LenspipeError, match=rf"audit/{chunk}\.csv: no such file, expected an audit"
    ):
        merge_audits(none)
    parent_of_chunk(none, chunk)
    empty = pd.read_parquet(none.paths.parent(chunk))
    assert len(empty) == 0
    assert {name: str(kind) for name, kind in empty.dtypes.items()} == {
        name: str(pd.Series(dtype=kind).dtype) for name, kind in parent_columns(GRZ).items()
    }
    with pytest.raises(LenspipeError, match=r"mag_z_max removed most \(6 of 6\): raise config key"):
        merge_audits(none)
    assert "cut mag_z_max: 6 before, 6 removed, 0 left" in caplog.text


def test_bad_catalogue_stops_or_is_left_out(own_tree, tiny_tree, caplog):
    caplog.set_level("INFO", "lenspipe")
    (chunk,) = load_plan(own_tree)
    path = own_tree.survey_paths.tractor(tiny_tree.region, tiny_tree.brick)
    path.write_bytes(path.read_bytes()[:9000])
    strict = own_tree.model_copy(update={"failures": Failures(strict=True)})
    with pytest.raises(LenspipeError, match=rf"brick {tiny_tree.brick}: .*truncated.*\n.*strict"):
        parent_of_chunk(strict, chunk)
    parent_of_chunk(own_tree, chunk)
    entry = read_manifest(own_tree.paths.manifest("parent", chunk))[tiny_tree.brick]
    assert entry["status"] == "failed"
    assert "truncated" in entry["reason"]
    assert f"left out: brick {tiny_tree.brick}" in caplog.text
    with pytest.raises(LenspipeError, match=rf"all 1 bricks .* {tiny_tree.brick}: .*trunc"):
        merge_audits(own_tree)


class Remote:
    """Stands for a remote source: fails for the bricks that it is told to."""

    is_remote = True

    def __init__(self, errors):
        self.errors, self.asked = errors, []

    @contextlib.contextmanager
    def table(self, path, checksums=None):
        self.asked.append((path, checksums))
        brick = path.split("tractor-")[1].removesuffix(".fits")
        if brick in self.errors:
            raise self.errors[brick]
        yield self.folder / path.split("/dr9/")[1]

    def traffic(self):
        return ""


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A survey of three bricks below an address."""
    monkeypatch.chdir(tmp_path)
    survey = three_sources.write_survey(tmp_path / "tree", number=60)
    local = load_settings(survey.config)
    plan = load_plan(local)
    table = {"tree": "https://example.org/dr9"}
    config = survey.config | {"survey": survey.config["survey"] | table, "run": "far"}
    far = load_settings(config | {"retrieval": {"contact": "someone@example.org"}})
    bricks = bricks_of_chunk(local.paths.plan, *plan)
    monkeypatch.setattr(catalog, "bricks_of_chunk", lambda *_: bricks)
    source = Remote({})
    source.folder = survey.folder
    opened = contextlib.nullcontext(source)
    monkeypatch.setattr(catalog, "open_source", lambda *_: opened)
    return SimpleNamespace(far=far, local=local, source=source, chunk=next(iter(plan)))


def test_remote_files_give_the_same(remote):
    tables = []
    for run in (remote.far, remote.local):
        if run is remote.local:
            remote.source.is_remote = False
            remote.source.table = LocalSource().table
        parent_of_chunk(run, remote.chunk)
        tables.append(pd.read_parquet(run.paths.parent(remote.chunk)))
    pd.testing.assert_frame_equal(*tables)
    path, sums = remote.source.asked[0]
    assert path.startswith("https://example.org/dr9/south/tractor/149/tractor-")
    folder = "https://example.org/dr9/south/tractor/149"
    assert sums == f"{folder}/legacysurvey_dr9_south_tractor_149.sha256sum"


def test_remote_bricks_that_fail_are_left_out(remote, caplog):
    caplog.set_level("INFO", "lenspipe")
    remote.source.errors = {
        "1498p320": RetrievalError("503", transient=True),
        "1499p325": NotFoundError("404"),
    }
    damaged = remote.source.folder / "south/tractor/150/tractor-1500p300.fits"
    damaged.write_bytes(damaged.read_bytes()[:9000])
    parent_of_chunk(remote.far, remote.chunk)
    manifest = read_manifest(remote.far.paths.manifest("parent", remote.chunk))
    assert {brick: (e["status"], e.get("transient")) for brick, e in manifest.items()} == {
        "1498p320": ("failed", True),
        "1499p325": ("failed", False),
        "1500p300": ("failed", False),
        "1501p320": ("empty", None),
    }
    assert "the fetched file cannot be read" in manifest["1500p300"]["reason"]
    assert "left out: brick 1498p320: 503" in caplog.text
    with pytest.raises(RetrievalError, match="503"):
        parent_of_brick(remote.far, "1498p320", "south")


def test_full_disk_ends_the_chunk(remote):
    remote.source.errors = {"1499p325": DiskFullError("no space left")}
    with pytest.raises(DiskFullError, match="no space"):
        parent_of_chunk(remote.far, remote.chunk)
    assert not remote.far.paths.parent(remote.chunk).exists()
