"""Which objects to look at."""

import numpy as np
import pytest

from lenspipe.statistics.choice import choose_diverse, disagreement, share_out


def test_disagreement_is_the_mutual_information():
    p = np.array([[0.5, 0.5], [0.0, 1.0], [0.9, 0.9], [0.2, 0.6]])
    values = disagreement(p)

    def entropy(x):
        return -x * np.log(x) - (1 - x) * np.log(1 - x)

    expected = entropy(0.4) - (entropy(0.2) + entropy(0.6)) / 2
    assert values == pytest.approx([0, np.log(2), 0, expected], abs=1e-12)


def test_k_centre_takes_the_farthest_each_time():
    # On a line, and of unit variance whatever the scale.
    x = 7.0 * np.array([[0.0], [1.0], [2.0], [10.0], [6.5]])
    assert choose_diverse(x, 3, covered=np.array([0])).tolist() == [3, 4, 2]
    # Nothing is looked at anyway: the first is the farthest from the mean.
    assert choose_diverse(x, 2).tolist() == [3, 0]


def test_k_centre_covers_within_twice_the_best_radius():
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 100, (6, 4))
    x = np.repeat(centres, 50, axis=0) + rng.normal(0, 1, (300, 4))
    rows = choose_diverse(x, 6)
    # One of each cluster.
    assert sorted(rows // 50) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("covered", [None, np.array([1, 2])])
def test_k_centre_takes_no_more_than_there_are(covered):
    x = np.arange(5.0)[:, None]
    rows = choose_diverse(x, 9, covered)
    assert sorted(rows) == ([0, 1, 2, 3, 4] if covered is None else [0, 3, 4])


def test_shares_add_up():
    assert share_out(200, (0.8, 0.1, 0.1)) == [160, 20, 20]
    assert share_out(7, (0.5, 0.5, 0)) == [4, 3, 0]
    assert share_out(1, (0.2, 0.3, 0.5)) == [0, 0, 1]
