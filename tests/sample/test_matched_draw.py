from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.sample.matched_draw import BIN, bin_names, draw_matched, matched_ratio


def galaxies(bins, priority=2):
    return pd.DataFrame(bins, columns=BIN).assign(priority=priority)


def everything(rows):
    return rows


def draw(pool, lenses, ratio, accept=everything, seed=0):
    drawn, short = draw_matched(pool, lenses, ratio, accept, np.random.default_rng(seed))
    return pd.concat([pool.iloc[:0], *drawn]), short


BINS = st.tuples(st.sampled_from(["DEV", "SER"]), st.sampled_from(["north", "south"]),
                 st.integers(3, 6))  # fmt: skip


@given(st.lists(BINS, min_size=1, max_size=30), st.floats(0.3, 5), st.integers(0, 5))
def test_with_enough_galaxies_every_bin_has_the_same_ratio(lenses, ratio, seed):
    lenses = galaxies(lenses)
    pool = pd.concat([lenses] * 7, ignore_index=True)
    drawn, short = draw(pool, lenses, ratio, seed=seed)
    assert short == 0
    assert drawn.index.is_unique
    assert abs(len(drawn) - ratio * len(lenses)) <= 0.5
    got, wanted = (table.groupby(BIN).size() for table in (drawn, lenses))
    assert (got.sub(ratio * wanted, fill_value=0).abs() <= 1 + 1e-9).all()


def test_a_bin_that_lacks_galaxies_takes_from_its_neighbours():
    lenses = galaxies([("SER", "south", 5)] * 10)
    pool = galaxies(
        [("SER", "south", 5)] * 4 + [("SER", "south", 7)] * 2 + [("SER", "south", 4)] * 3
        + [("DEV", "south", 5)] * 5 + [("SER", "north", 5)] * 50
    )  # fmt: skip
    drawn, short = draw(pool, lenses, 1.0)
    assert Counter(bin_names(drawn)) == {
        "SER south 5": 4, "SER south 4": 3, "SER south 7": 2, "DEV south 5": 1
    }  # fmt: skip
    assert short == 0
    # Never from the other region.
    assert draw(pool, lenses, 2.0)[1] == 20 - 14


def test_graded_then_confusing_galaxies_come_first():
    key = ("DEV", "south", 3)
    pool = galaxies([key] * 30, priority=[2] * 20 + [1] * 6 + [0] * 4)
    drawn, _ = draw(pool, galaxies([key] * 4), 3.0)
    assert Counter(drawn["priority"]) == {0: 4, 1: 6, 2: 2}
    orders = [draw(pool, galaxies([key] * 4), 3.0, seed=seed)[0].index.tolist() for seed in (1, 2)]
    assert orders[0] != orders[1]


def test_rejected_galaxies_are_replaced_and_checked_once():
    key, asked = ("DEV", "south", 3), []

    def odd(rows):
        asked.extend(rows.index)
        return rows[rows.index % 2 == 1]

    drawn, short = draw(galaxies([key] * 40), galaxies([key] * 5), 3.0, odd)
    assert len(drawn) == 15
    assert short == 0
    assert len(asked) == len(set(asked)) < 40
    assert draw(galaxies([key] * 40), galaxies([key] * 5), 5.0, odd)[1] == 5


@pytest.mark.parametrize(
    ("lenses", "supply", "ratio"),
    [
        ([500, 500], [50000, 50000], 33.0),
        ([500, 500], [1000, 1000], 2 / 0.95),
        ([500, 500], [0, 0], 0.0),
        # One bin lacks all of its: they are 5 % of the whole.
        ([50, 950], [0, 50000], 33.0),
        ([100, 900], [0, 50000], 0.0),
        ([500, 500], [500, 50000], 1 / 0.9),
        # Of four lenses half may be elsewhere, by chance.
        ([2, 2], [0, 300], 33.0),
        ([3, 1], [0, 300], 0.0),
    ],
)
def test_ratio_is_what_all_bins_can_have(lenses, supply, ratio):
    assert matched_ratio(lenses, supply, 33.0) == pytest.approx(ratio, abs=1e-6)
