"""The survey's tables of bricks, and the centres that names stand for."""

import numpy as np
import pytest
from conftest import write_fits_table

from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.brick_tables import survey_bricks
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError


def test_centres_of_names():
    grid = brick_grid(0.25)
    some = grid.table.iloc[[0, 1, 2, -1, -2, *np.random.default_rng(0).choice(662_174, 500)]]
    centres = [grid.centre(name) for name in some["brickname"]]
    np.testing.assert_allclose(centres, some[["ra", "dec"]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["0001p001", "9999p000", "0001x000", "../../etc", "", "00012p000"])
def test_names_that_no_brick_has(name):
    with pytest.raises(LenspipeError, match=f"brick {name}: no brick of the survey's grid"):
        brick_grid(0.25).centre(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brickname": ["0001p000", "../../x"]}, r"found brickname '../../x', expected names such"),
        ({"brickname": ["0001p000", ""]}, "found brickname '', expected"),
        ({"brickname": np.arange(2)}, "not a readable FITS file"),
        ({"brickname": np.array([b"0001p000", b"\xff\xfe"])}, "not a readable FITS file"),
        ({"brickname": ["0001p000"] * 2}, "found 2 rows of 1 bricks, expected one for each"),
        ({"ra": [0.125, np.nan]}, "found brick 0003p000 without a position"),
        ({"dec": [0, np.inf]}, "found brick 0003p000 without a position"),
        ({"dec": ["a", "b"]}, "not a readable FITS file"),
    ],
)
def test_damaged_tables_are_named_in_one_line(tmp_path, changes, message):
    paths = RELEASES["dr9"].paths(tmp_path)
    columns = {"brickname": ["0001p000", "0003p000"], "ra": [0.125, 0.375], "dec": [0.0, 0.0]}
    columns |= {"brickid": np.array([1, 2], "i4"), "survey_primary": [True, True]}
    write_fits_table(paths.bricks("south"), columns)
    assert len(survey_bricks(LocalSource(), paths, "grz")) == 2
    write_fits_table(paths.bricks("south"), columns | changes)
    with pytest.raises(LenspipeError, match=message) as caught:
        survey_bricks(LocalSource(), paths, "grz")
    assert paths.bricks("south").name in str(caught.value)
    assert "\n" not in str(caught.value)
