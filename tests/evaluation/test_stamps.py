"""Tests of lenspipe.evaluation.stamps."""

import numpy as np
import pandas as pd
import pytest

from lenspipe.evaluation.stamps import _measure


@pytest.fixture
def result():
    nonlenses = pd.DataFrame({"p": np.linspace(0, 0.5, 1000), "kind": ["disk", "ring"] * 500})
    lenses = pd.DataFrame(
        {
            "p": [0.9] * 30 + [0.1] * 10,
            "theta_e_arcsec": [2.0] * 20 + [4.0] * 20,
            "arc_snr": [100.0] * 10 + [20.0] * 10 + [100.0] * 5 + [20.0] * 15,
        }
    )
    return _measure(lenses, nonlenses)


def in_bin(bins, low):
    (one,) = [each for each in bins if each["from"] == low]
    return one["n"], one["completeness"]


def test_completeness_by_radius_and_by_signal_to_noise(result):
    assert result["completeness_fpr01"] == 0.75
    by_radius = result["completeness_by_theta_e_arcsec"]
    assert in_bin(by_radius, 1.75) == (20, 1.0)
    assert in_bin(by_radius, 3.5) == (20, 0.5)
    assert in_bin(result["completeness_by_arc_snr"], 14.0) == (25, 0.6)


def test_bright_arcs_apart(result):
    bright = result["completeness_of_bright_arcs_by_theta_e_arcsec"]
    assert in_bin(bright, 1.75) == (10, 1.0)
    assert in_bin(bright, 3.5) == (5, 1.0)
    assert sum(each["n"] for each in bright) == 15


def test_kinds_of_false_positives(result):
    kinds = result["false_positive_rate_by_kind"]
    assert {kind: entry["n"] for kind, entry in kinds.items()} == {"disk": 500, "ring": 500}
    assert sum(entry["fpr01"] for entry in kinds.values()) == pytest.approx(0.02)
