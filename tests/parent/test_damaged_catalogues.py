"""Damaged Tractor catalogues: the brick fails with one line, or rows are removed and counted."""

import re
import shutil

import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from conftest import make_small_survey, write_fits_table

from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import merge_audits, parent_of_chunk
from lenspipe.products.manifests import read_manifest

BRICK, OTHER = "1501p022", "1503p022"


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_small_survey(
        tmp_path_factory.mktemp("two"), "dr9", "grz", ra=np.array([150.1, 150.4])
    )


@pytest.fixture
def settings(survey, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(survey.tree, "tree")
    config = {"run": "two", "survey": {"tree": "tree"}, "chunks": {"nside": 4}}
    return load_settings(config | {"sample": {"known_lenses": "known.csv"}})


def rewrite(settings, **changes):
    """Write the catalogue of the brick with other columns; None removes one."""
    path = settings.survey_paths.tractor("south", BRICK)
    rows = fitsio.read(path)
    columns = {name: rows[name] for name in rows.dtype.names} | changes
    write_fits_table(path, {name: values for name, values in columns.items() if values is not None})
    return path


def outcome(settings):
    """Select the chunk; return the brick's entry and its rows."""
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    entries = read_manifest(settings.paths.manifest("parent", chunk))
    table = pd.read_parquet(settings.paths.parent(chunk))
    assert (entries[OTHER]["status"], entries[OTHER]["count"]) == ("done", 4)
    assert (table["brick"] == OTHER).sum() == 4
    return entries[BRICK], table[table["brick"] == BRICK]


def reason(settings):
    entry, rows = outcome(settings)
    assert entry["status"] == "failed"
    assert rows.empty
    assert f"tractor-{BRICK}.fits" in entry["reason"]
    assert "\n" not in entry["reason"]
    return entry["reason"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ra": ["150.1"] * 4}, r"found column ra of type <U5, expected numbers"),
        ({"flux_z": np.ones((4, 3), "f4")}, r"column flux_z of type float32 in the shape \(4, 3\)"),
        ({"type": np.ones(4)}, "found column type of type float64, expected text"),
        ({"objid": np.arange(4.0)}, "found column objid of type float64, expected whole numbers"),
        ({"nobs_r": np.ones(4, "f4")}, "found column nobs_r of type float32, expected whole"),
        ({"objid": np.arange(4) + 2**40}, "found column objid with values from 1099511627776 to"),
        ({"type": np.array([b"DEV", b"\xe9\xff", b"DEV", b"DEV"])}, "UnicodeDecodeError"),
        ({"dec": None}, "no column dec"),
        ({"flux_z": None}, "no column flux_z"),
        ({"objid": np.array([0, 1, 1, 3])}, f"found objid 1 of brick {BRICK} more than once"),
        ({"brickname": [OTHER] * 4}, f"found brickname '{OTHER}', expected {BRICK}"),
        ({"brickname": ["../../x", *[BRICK] * 3]}, "found brickname '../../x', expected"),
        ({"brickid": np.array([1000, 1000, 1001, 1000], "i4")}, "found brickids 1000, 1001"),
    ],
)
def test_columns(settings, changes, message):
    rewrite(settings, **changes)
    assert re.search(message, reason(settings))


def test_no_rows_and_no_data(settings):
    path = settings.survey_paths.tractor("south", BRICK)
    with fits.open(path) as hdus:
        rows = hdus[1].data[:0].copy()
    fits.BinTableHDU(rows).writeto(path, overwrite=True)
    assert "found no sources" in reason(settings)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU()]).writeto(path, overwrite=True)
    assert re.search("no column|not a readable", reason(settings))
    fits.PrimaryHDU().writeto(path, overwrite=True)
    assert "found no table" in reason(settings)


def test_checksums(settings):
    path = settings.survey_paths.tractor("south", BRICK)
    with fitsio.FITS(path, "rw") as hdus:
        hdus[1].write_checksum()
    assert outcome(settings)[0]["status"] == "done"
    data = bytearray(path.read_bytes())
    data[data.rindex(b"DEV")] = ord("X")
    path.write_bytes(data)
    assert "found data checksum failed" in reason(settings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["ra", "dec", "flux_g", "flux_z"])
def test_rows_without_position_or_flux_are_removed_and_counted(settings, column, value):
    rows = fitsio.read(settings.survey_paths.tractor("south", BRICK))
    values = rows[column].copy()
    values[1] = value
    rewrite(settings, **{column: values})
    entry, selected = outcome(settings)
    assert (entry["status"], entry["count"]) == ("done", 3)
    assert selected["objid"].tolist() == [0, 2, 3]
    merge_audits(settings)
    audit = pd.read_csv(settings.paths.audit).set_index("cut")
    # A flux in z that is no positive number is no magnitude.
    cut = "mag_z_max" if column == "flux_z" and value != np.inf else "valid"
    assert audit["removed"].to_dict() == dict.fromkeys(audit.index, 0) | {cut: 1}
    assert audit["after"].iloc[-1] == 7


@pytest.mark.parametrize(
    ("column", "value"), [("dec", 90.5), ("dec", -1e300), ("ra", 361), ("ra", -1)]
)
def test_positions_that_are_not_on_the_sky(settings, column, value):
    rows = fitsio.read(settings.survey_paths.tractor("south", BRICK))
    values = rows[column].copy()
    values[1] = value
    rewrite(settings, **{column: values})
    assert outcome(settings)[1]["objid"].tolist() == [0, 2, 3]
