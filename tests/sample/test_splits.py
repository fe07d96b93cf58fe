import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.config.settings import load_settings
from lenspipe.sample.splits import (
    assign_cells,
    cells_of_bricks,
    near_lens_of_other_split,
    split_bricks,
)

THIRDS = np.array([0.6, 0.15, 0.25])


def some_settings(**sample):
    return load_settings({"run": "r", "simulation": {}, "footprint": {"ra": [1, 2], "dec": [1, 2]},
                          "sample": sample})  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 300)), min_size=1, max_size=60),
    st.integers(0, 9),
)
def test_cells_divide_as_the_fractions_say(cells, seed):
    lenses, galaxies = (np.array(column)[:, None] for column in zip(*cells, strict=True))
    split = assign_cells(lenses, galaxies, THIRDS, np.random.default_rng(seed))
    assert np.isin(split, [0, 1, 2]).all()
    got = np.bincount(split, lenses[:, 0], minlength=3)
    # No split gets more than its fraction and one cell.
    assert (got <= THIRDS * lenses.sum() + lenses.max() + 1e-9).all()


def test_every_grade_and_region_has_the_same_fractions():
    rng = np.random.default_rng(1)
    # Few of one kind, many of another, in 300 cells.
    lenses = rng.poisson([0.1, 1.0, 0.3, 3.0], (300, 4))
    split = assign_cells(lenses, np.ones((300, 2)), THIRDS, rng)
    for kind in lenses.T:
        got = np.bincount(split, kind, minlength=3) / kind.sum()
        np.testing.assert_allclose(got, THIRDS, atol=0.04)
    by_chance = [
        np.abs(np.bincount(rng.choice(3, 300, p=THIRDS), lenses[:, 0], 3) / lenses[:, 0].sum()
               - THIRDS).max() for _ in range(50)
    ]  # fmt: skip
    assert np.median(by_chance) > 0.05


@given(st.integers(0, 20))
def test_a_split_of_fraction_zero_gets_no_cell(seed):
    rng = np.random.default_rng(seed)
    lenses = rng.poisson(2.0, (12, 2))
    split = assign_cells(lenses, rng.poisson(9.0, (12, 1)), (0.7, 0.3, 0.0), rng)
    assert 2 not in split
    assert set(assign_cells(lenses, lenses, (1.0, 0.0, 0.0), rng)) == {0}


def test_bricks_of_a_cell_stay_together_and_more_galaxies_change_nothing():
    rng = np.random.default_rng(3)
    bricks = pd.DataFrame({"brick": [f"b{i}" for i in range(200)]})
    bricks = bricks.assign(ra=150 + rng.uniform(0, 8, 200), dec=rng.uniform(0, 8, 200))
    lenses = pd.DataFrame({"brick": rng.choice(bricks["brick"], 90)})
    lenses = lenses.assign(grade=rng.choice(list("ABC"), 90), region="south")
    galaxies = pd.DataFrame({"brick": bricks["brick"], "region": "south"})
    fractions = some_settings().sample.fractions
    split = split_bricks(cells_of_bricks(bricks, 64), galaxies, lenses, fractions, 1)
    assert set(split) == set(bricks["brick"])
    twice = pd.concat([galaxies, galaxies])
    shuffled = cells_of_bricks(bricks.sample(frac=1, random_state=1), 64)
    assert split_bricks(shuffled, twice, lenses, fractions, 1) == split
    from astropy import units as u
    from astropy_healpix import HEALPix

    cells = HEALPix(64, order="nested").lonlat_to_healpix(
        bricks["ra"].to_numpy() * u.deg, bricks["dec"].to_numpy() * u.deg
    )
    n_splits = bricks["brick"].map(split).groupby(cells).nunique()
    assert (n_splits == 1).all()
    assert len(n_splits) < 150
    assert set(split.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(("arcsec", "found"), [(18, True), (19, False)])
def test_a_lens_of_another_split_in_the_corner_of_a_cutout_is_found(arcsec, found):
    # Half the diagonal of 101 pixels is 18.7 arcsec.
    lenses = pd.DataFrame({"ra": [0.0, 50.0], "dec": [60.0, 0.0], "split": ["train", "test"]})
    offset = arcsec / 3600 / np.cos(np.radians(60))
    table = pd.DataFrame({"ra": [360 - offset] * 2, "dec": 60.0, "split": ["test", "train"]})
    assert near_lens_of_other_split(table, lenses, 101 * 0.262).tolist() == [found, False]


def test_shorthands_of_the_fractions():
    assert some_settings(fractions="none").sample.fractions == (1, 0, 0)
    assert some_settings(fractions=[0.7, 0.3]).sample.fractions == (0.7, 0.3, 0)
    assert some_settings(fractions=[0.7, 0.2, 0.1]).held_out == "test"
    assert some_settings(fractions=[0.7, 0.3]).held_out == "validation"
    assert some_settings(fractions="none").held_out is None
