"""Tests of which row of a table of redshifts counts, and of what is a redshift."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import Table

from lenspipe.candidates.redshifts import add_redshifts
from lenspipe.config.settings import load_settings
from lenspipe.utils.errors import LenspipeError

CANDIDATES = pd.DataFrame(
    {"id": ["9010-506100-12", "9010-506100-13"], "ra": [150.1, 150.2], "dec": [32.0, 32.1]}
)
TARGETS = {"TARGET_RA": [150.1, 150.1, 150.2], "TARGET_DEC": [32.0, 32.0, 32.1]}


@pytest.fixture
def redshifts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def redshifts(columns, name="t.fits"):
        table = columns if isinstance(columns, Table) else Table(columns)
        table.write(name, overwrite=True)
        config = {"run": "x", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
        settings = load_settings(config | {"candidates": {"redshifts": name}})
        files, paths = settings.candidates.redshifts, settings.paths
        return add_redshifts(CANDIDATES, files, settings.retrieval, paths.hosts)

    return redshifts


@pytest.mark.parametrize(
    "columns",
    [
        {"ZWARN": [0, 0, 0], "ZCAT_PRIMARY": [False, True, True]},
        {"ZWARN": [4, 0, 0]},
        {"DELTACHI2": [9.0, 900.0, 50.0]},
        {"SPECTYPE": ["STAR", "GALAXY", "GALAXY"]},
        {"ZERR": [0.1, 1e-4, 1e-4]},
        {"ZWARNING": [4, 0, 0]},
        {"SPECPRIMARY": [0, 1, 1]},
        {"SPECPRIMARY": ["0.0", "1.0", "1"]},
        {"OBJTYPE": ["SKY", "TGT", "TGT"]},
    ],
)
@pytest.mark.parametrize("name", ["t.fits", "t.csv", "t.ecsv"])
def test_the_best_spectrum_of_a_target_counts(redshifts, columns, name):
    table = redshifts(TARGETS | {"Z": [1.35, 0.45, 0.6]} | columns, name)
    np.testing.assert_allclose(table["z"], [0.45, 0.6], rtol=1e-6)
    assert table["z_kind"].tolist() == ["spec", "spec"]


def test_so_it_does_by_identifier(redshifts):
    ids = {"RELEASE": [9010] * 3, "BRICKID": [506100] * 3, "OBJID": [12, 12, 13]}
    table = redshifts(ids | {"Z": [1.35, 0.45, 0.6], "DELTACHI2": [9.0, 900.0, 50.0]})
    np.testing.assert_allclose(table["z"], [0.45, 0.6], rtol=1e-6)
    table = redshifts(ids | {"OBJID": [12.5, 12, 13], "Z": [1.35, 0.45, 0.6]})
    np.testing.assert_allclose(table["z"], [0.45, 0.6], rtol=1e-6)


def test_positions_in_radians(redshifts):
    table = Table({"RA": [150.1, 150.2] * u.deg, "DEC": [32.0, 32.1] * u.deg, "z_spec": [0.4, 0.5]})
    table["RA"], table["DEC"] = table["RA"].to(u.rad), table["DEC"].to(u.rad)
    np.testing.assert_allclose(redshifts(table)["z"], [0.4, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "columns",
    [
        {"g": [21.0, 22], "r": [19.5, 20], "z": [0.7, 0.8]},
        {"z": [18.7, 19.1]},
        {"z": [0.7, 0.8] * u.mag},
    ],
)
def test_a_magnitude_is_no_redshift(redshifts, columns):
    positions = {"RA": [150.1, 150.2], "DEC": [32.0, 32.1]}
    table = redshifts(positions | columns | {"z_phot": [0.45, 0.6]})
    np.testing.assert_allclose(table["z"], [0.45, 0.6], rtol=1e-6)
    assert table["z_kind"].tolist() == ["phot", "phot"]
    with pytest.raises(LenspipeError, match=r"found no column of redshifts, .*magnitude"):
        redshifts(positions | columns)


def test_numbers_that_stand_for_none(redshifts, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    for none in (9.99, 99.0, -99.0, 999.0, 1e20, 0.0, np.nan):
        table = redshifts({"RA": [150.1, 150.2], "DEC": [32.0, 32.1], "z": [none, 0.5]})
        np.testing.assert_allclose(table["z"], [np.nan, 0.5], rtol=1e-6)
    assert "rows ignored: 1 redshift not between 0 and 9" in caplog.text
