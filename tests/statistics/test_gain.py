"""Gain of one model over another."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lenspipe.statistics.gain import measure_gain


def test_gains_are_those_of_the_second_model_on_the_same_galaxies():
    rng = np.random.default_rng(5)
    signal = rng.normal(1.5, 1, (400, 1)), rng.normal(0, 1, (2000, 1))
    # The second model has half the noise of the first.
    noise = np.array([1.0, 0.5])
    lenses, nonlenses = (x + noise * rng.normal(size=(len(x), 2)) for x in signal)
    gain = measure_gain(lenses, nonlenses, {"01": 0.01}, seed=1)
    label = np.repeat([1, 0], [400, 2000])
    first, second = (
        roc_auc_score(label, np.concatenate([lenses[:, i], nonlenses[:, i]])) for i in (0, 1)
    )
    assert gain["auc"] == pytest.approx(second - first)
    found = [
        (lenses[:, i] > np.sort(nonlenses[:, i])[-21]).mean()
        for i in (0, 1)
    ]  # fmt: skip
    assert gain["completeness_fpr_01"] == pytest.approx(found[1] - found[0])
    # The error of the difference by the jackknife's placements, as for paired ROC curves.
    above = [(lenses[:, i, None] > nonlenses[:, i]) for i in (0, 1)]
    of_lenses = above[1].mean(axis=1) - above[0].mean(axis=1)
    of_others = above[1].mean(axis=0) - above[0].mean(axis=0)
    error = np.sqrt(of_lenses.var(ddof=1) / 400 + of_others.var(ddof=1) / 2000)
    assert gain["auc_high"] - gain["auc_low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert gain["auc_low"] < gain["auc"] < gain["auc_high"]
    loss = measure_gain(lenses[:, ::-1], nonlenses[:, ::-1], {"01": 0.01}, seed=1)
    assert loss["auc"] == -gain["auc"] < 0
    assert loss["completeness_fpr_01"] == -gain["completeness_fpr_01"] < 0


def test_what_cannot_be_measured_is_null():
    nothing = measure_gain(np.zeros((0, 2)), np.zeros((5, 2)), {"01": 0.01}, seed=1)
    assert set(nothing.values()) == {None}
    few = measure_gain(np.ones((3, 2)), np.zeros((5, 2)), {"01": 0.01}, seed=1)
    assert few["auc"] == few["auc_low"] == few["auc_high"] == 0
    assert few["completeness_fpr_01"] is few["completeness_fpr_01_low"] is None
