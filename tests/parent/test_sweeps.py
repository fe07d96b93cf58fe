"""The parent sample from sweep files, and the work on a chunk's bricks that all sources share."""

import re

import fitsio
import numpy as np
import pandas as pd
import pytest
from conftest import write_fits_table
from helpers import three_sources

from lenspipe.config.data import Failures
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent.cuts import CUTS
from lenspipe.parent.select import parent_of_brick, parent_of_chunk
from lenspipe.products.chunks import try_bricks
from lenspipe.products.manifests import failed_entries, failure_in, read_manifest
from lenspipe.retrieval.errors import fetched
from lenspipe.survey.sweeps import sweep_names, sweep_path
from lenspipe.utils.errors import DiskFullError, LenspipeError, RetrievalError
from lenspipe.utils.tables import content_hash


@pytest.fixture
def survey(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return three_sources.write_survey(tmp_path / "tree")


def make(survey, catalogs, **changes):
    config = survey.config | {"run": catalogs}
    config["survey"] = config["survey"] | {"catalogs": catalogs} | changes
    settings = load_settings(config)
    write_bricks(settings)
    return settings


def run(settings):
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    table = pd.read_parquet(settings.paths.parent(chunk))
    audit = pd.read_csv(settings.paths.parent_audit(chunk))
    return table, audit, read_manifest(settings.paths.manifest("parent", chunk))


@pytest.mark.parametrize("block", [10**6, 31])
def test_same_as_files(survey, monkeypatch, block):
    table, audit, manifest = run(make(survey, "tractor"))
    monkeypatch.setattr("lenspipe.survey.sweeps._BLOCK_ROWS", block)
    found, its_audit, its_manifest = run(make(survey, "sweeps"))
    pd.testing.assert_frame_equal(found, table, check_exact=True)
    assert content_hash(found) == content_hash(table)
    assert its_manifest == manifest
    # What is not primary isn't there to be counted.
    counts = ["cut", "before", "after", "removed"]
    pd.testing.assert_frame_equal(its_audit[counts][1:], audit[counts][1:])
    assert its_audit.cut.tolist() == list(CUTS)
    assert its_audit.iloc[0, 1:].tolist() == [
        *(audit.after[0], audit.after[0], 0),
        "objects that are not primary: sweeps have none",
    ]
    assert its_audit.not_counted[1:].isna().all()
    assert audit.not_counted.isna().all()


def test_one_brick(survey):
    files, light = make(survey, "tractor"), make(survey, "sweeps")
    found, _ = parent_of_brick(light, "1499p325", "north")
    wanted, _ = parent_of_brick(files, "1499p325", "north")
    pd.testing.assert_frame_equal(found, wanted)


def test_names():
    dr9, dr10 = RELEASES["dr9"], RELEASES["dr10"]
    assert sweep_names(315.1, -2.5, dr9) == ["sweep-310m005-320p000.fits"]
    assert sweep_names(317.1, -2.5, dr10) == ["sweep-315m005-320p000.fits"]
    assert sweep_names(0.0, 0.0, dr9) == [
        "sweep-000m005-010p000.fits",
        "sweep-000p000-010p005.fits",
        "sweep-350m005-360p000.fits",
        "sweep-350p000-360p005.fits",
    ]
    # Bricks that end at an edge of a box have nothing beyond it.
    _, ra, dec, _ = three_sources.BRICKS["1498p320"]
    assert sweep_names(ra, dec, dr9) == ["sweep-140p030-150p035.fits"]
    assert len(sweep_names(0.0, 90.0, dr9)) == 36


def test_paths(survey):
    settings = make(survey, "sweeps")
    name = "sweep-140p030-150p035.fits"
    paths = settings.survey_paths
    assert sweep_path(paths, None, "north", name) == survey.folder / "north/sweep/9.0" / name
    address = "s3://bucket/{region}/sweep/9.0/"
    assert sweep_path(paths, address, "south", name) == f"s3://bucket/south/sweep/9.0/{name}"


def test_folder_of_its_own(survey):
    table, *_ = run(make(survey, "tractor"))
    (survey.folder / "south/sweep/9.0").rename(survey.folder / "south-light")
    (survey.folder / "north/sweep/9.0").rename(survey.folder / "north-light")
    elsewhere = str(survey.folder / "{region}-light")
    found, *_ = run(make(survey, "sweeps", sweeps=elsewhere))
    pd.testing.assert_frame_equal(found, table)


def test_absent_file(survey):
    settings = make(survey, "sweeps")
    north = survey.folder / "north/sweep/9.0"
    whole, _, _ = run(settings)
    (north / "sweep-150p030-160p035.fits").unlink()
    part, _, manifest = run(settings)
    assert manifest["1499p325"]["status"] == "done"
    assert set(whole[~whole.id.isin(part.id)].ra > 150) == {True}
    (north / "sweep-140p030-150p035.fits").unlink()
    entry = run(settings)[2]["1499p325"]
    assert entry["status"] == "failed"
    assert re.search(r"sweep-140.*: no such file", entry["reason"])


def test_bad_file(survey):
    settings = make(survey, "sweeps")
    path = survey.folder / "north/sweep/9.0/sweep-150p030-160p035.fits"
    content = path.read_bytes()
    path.write_bytes(content[:-2880])
    assert re.search(r"sweep-150.*truncated", run(settings)[2]["1499p325"]["reason"])
    write_fits_table(path, {"BRICKID": [1, 2]})
    reason = run(settings)[2]["1499p325"]["reason"]
    assert "no column brickname, objid, ra, dec, type;" in reason


@pytest.mark.parametrize("block", [10**6, 31])
@pytest.mark.parametrize(
    ("column", "message"), [("OBJID", "more than once"), ("BRICKNAME", "found brickname 'x'")]
)
def test_sources_that_cannot_be_told_apart(survey, monkeypatch, block, column, message):
    settings = make(survey, "sweeps")
    monkeypatch.setattr("lenspipe.survey.sweeps._BLOCK_ROWS", block)
    path = survey.folder / "north/sweep/9.0/sweep-140p030-150p035.fits"
    rows = fitsio.read(path)
    table, _, _ = run(settings)
    first, *_, last = table.loc[(table.brick == "1499p325") & (table.ra < 150), "objid"]
    index = np.flatnonzero((rows["OBJID"] == last) & (rows["BRICKNAME"] == "1499p325"))
    rows[column][index] = first if column == "OBJID" else "x"
    write_fits_table(path, {name: rows[name] for name in rows.dtype.names})
    entries = run(settings)[2]
    assert [brick for brick in entries if entries[brick]["status"] == "failed"] == ["1499p325"]
    assert re.search(f"sweep-140.*{message}", entries["1499p325"]["reason"])


BRICKS = [(f"{number:04d}p000", "south") for number in range(12)]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_in_order(threads):
    results, failures = try_bricks(BRICKS, lambda brick, _: brick[:4], "test", threads)
    assert list(results.items()) == [(brick, brick[:4]) for brick, _ in BRICKS]
    assert failures == {}


@pytest.mark.parametrize("threads", [1, 3])
def test_five_in_a_row(threads):
    bad, gone, tried = {2, 4, 5, 6, 7, 8}, {3}, []

    def work(brick, region):
        number = int(brick[:4])
        tried.append(number)
        if number in bad | gone:
            raise RetrievalError("503" if number in bad else "404", transient=number in bad)
        return number

    results, failures = try_bricks(BRICKS, work, "test", threads)
    assert list(results.values()) == [0, 1]
    assert failures["0003p000"].transient is False
    assert max(tried) <= 8 + 2 * threads - 1
    for number in (9, 10, 11):
        error = failures[f"{number:04d}p000"]
        assert error.transient
        assert str(error) == "not tried: 5 bricks in a row failed, the last with 503"


@pytest.mark.parametrize("threads", [1, 3])
def test_full_disk_ends_at_once(threads):
    def work(brick, region):
        if brick == "0001p000":
            raise DiskFullError("full")

    with pytest.raises(DiskFullError):
        try_bricks(BRICKS, work, "test", threads)


def test_entries_of_failures(tmp_path, monkeypatch, caplog, survey):
    caplog.set_level("INFO", "lenspipe")
    settings = make(survey, "tractor")
    failures = {
        "a": RetrievalError("503", transient=True),
        "b": RetrievalError("503", transient=True),
    }
    entries = failed_entries(failures, settings.failures.strict)
    wanted = {"status": "failed", "count": 0, "hash": "", "reason": "503", "transient": True}
    assert entries == {"a": wanted, "b": wanted}
    assert "left out: brick a and 1 more: 503" in caplog.text
    error = failure_in(entries["a"])
    assert (str(error), error.transient) == ("503", True)
    assert failure_in({"status": "done"}) is None
    failures |= {"c": LenspipeError("bad")}
    local = failure_in(failed_entries(failures, settings.failures.strict)["c"])
    assert str(local) == "bad"
    assert not isinstance(local, RetrievalError)
    strict = settings.model_copy(update={"failures": Failures(strict=True)})
    with pytest.raises(LenspipeError, match=r"brick a and 1 more: 503\nbrick c: bad\n.*strict"):
        failed_entries(failures, strict.failures.strict)


def test_damage_of_what_was_fetched():
    text = r"https://a/b: the fetched file cannot be read \(c\)"
    with pytest.raises(RetrievalError, match=text) as info, fetched("https://a/b"):
        raise LenspipeError("c")
    assert info.value.transient is False
    with pytest.raises(LenspipeError, match=r"^c$"), fetched("/a/b"):
        raise LenspipeError("c")
    with pytest.raises(DiskFullError), fetched("https://a/b"):
        raise DiskFullError("full")
