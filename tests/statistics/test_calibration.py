"""Tests of lenspipe.statistics.calibration."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from lenspipe.statistics.calibration import fit_calibration, read_calibration, write_calibration
from lenspipe.statistics.metrics import expected_calibration_error
from lenspipe.utils.errors import LenspipeError


def overconfident(n, temperature, seed=0):
    """Labels drawn with known probabilities, and the scores of a model that is too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, n)
    label = rng.uniform(size=n) < 1 / (1 + np.exp(-logits))
    return label.astype(float), 1 / (1 + np.exp(-logits * temperature))


def test_the_temperature_is_found():
    label, p = overconfident(20000, 2.5)
    calibration = fit_calibration(label, p, "temperature")
    assert calibration.temperature == pytest.approx(2.5, rel=0.05)
    assert (calibration.n_lenses, calibration.n_nonlenses) == (label.sum(), (1 - label).sum())


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_probabilities_are_what_they_say(method):
    label, p = overconfident(5000, 2.5)
    calibration = fit_calibration(label, p, method)
    label, p = overconfident(20000, 2.5, seed=1)
    before = expected_calibration_error(label, p, 15)
    after = expected_calibration_error(label, calibration.apply(p), 15)
    assert before > 0.08
    assert after < 0.02


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0, 0.1, 0.3, 0.5, 0.8, 1])), min_size=2
    ).filter(lambda pairs: len({label for label, _ in pairs}) == 2)
)
def test_isotonic_agrees_with_scikit_learn(pairs):
    label, p = np.array(pairs, float).T
    calibration = fit_calibration(label, p, "isotonic")
    at = np.linspace(0, 1, 41)
    expected = IsotonicRegression(out_of_bounds="clip").fit(p, label).predict(at)
    np.testing.assert_allclose(calibration.apply(at), expected, atol=1e-6)


def test_order_is_kept_and_ends_stay():
    label, p = overconfident(500, 2)
    calibration = fit_calibration(label, p, "temperature")
    at = np.float32([0, 1e-12, 0.3, 0.5, 0.9, 1])
    assert (np.diff(calibration.apply(at)) >= 0).all()
    assert calibration.apply(0.5) == pytest.approx(0.5)
    assert (np.diff(calibration.apply(at, "isotonic")) >= 0).all()


def test_classes_that_scores_divide_leave_a_finite_temperature():
    calibration = fit_calibration([1, 1, 0, 0], [0.9, 0.8, 0.3, 0.1], "temperature")
    assert calibration.temperature == pytest.approx(0.02, rel=0.01)
    assert np.isfinite(calibration.apply([0, 0.5, 1])).all()
    # Scores that are worse than none become alike.
    calibration = fit_calibration([0, 0, 1, 1], [0.9, 0.8, 0.3, 0.1], "temperature")
    assert calibration.temperature == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize("label", [[], [1, 1], [0, 0, 0]])
def test_one_class_alone_gives_none(label, tmp_path):
    calibration = fit_calibration(label, np.full(len(label), 0.5), "isotonic")
    assert calibration is None
    write_calibration(tmp_path / "calibration.json", calibration)
    assert json.loads((tmp_path / "calibration.json").read_text()) is None
    assert read_calibration(tmp_path / "calibration.json") is None


def test_it_comes_back_from_its_file(tmp_path):
    calibration = fit_calibration(*overconfident(300, 2), "isotonic")
    write_calibration(tmp_path / "calibration.json", calibration)
    assert read_calibration(tmp_path / "calibration.json") == calibration


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "calibration.json"
    with pytest.raises(LenspipeError, match="no such file, expected a calibration"):
        read_calibration(path)
    for content in ("{", '{"temperature": 1}', "[1]", '"x"'):
        path.write_text(content)
        with pytest.raises(LenspipeError, match=r"calibration\.json: can't be read"):
            read_calibration(path)
