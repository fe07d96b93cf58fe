"""Ticks that are numbers, legends beside the panels, equal axes, and probabilities alike."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from lenspipe.completeness.expected.plots import plot_expected
from lenspipe.evaluation.mistakes import page_columns
from lenspipe.plotting import figures, model_figures, style
from lenspipe.plotting.galaxy_pages import format_probability
from lenspipe.statistics.metrics import reliability


@pytest.fixture
def saved(monkeypatch):
    """Figures in the state in which they are saved."""
    result = []

    def keep(figure, path):
        figure.canvas.draw()
        result.append(figure)

    monkeypatch.setattr(style, "save", keep)
    return result


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels() if label.get_text()]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.97314, "0.973"), (0.5, "0.500"), (0.9994, "0.999"), (0.99951, ">0.999"), (1, ">0.999"),
        (0, "<0.001"), (0.0004, "<0.001"), (0.0006, "0.001"), (np.nan, "no score"),
    ],
)  # fmt: skip
def test_probabilities_have_three_decimals(p, text):
    assert format_probability(p) == text


def test_ticks_of_logarithmic_axes_are_numbers(saved):
    with style.open_figure("narrow", 4, 3) as figure:
        axes = figure.subplots()
        axes.set(xscale="log", xlim=(15, 350), yscale="log", ylim=(1e-4, 1))
    # Versions of matplotlib differ in how far beyond the limits they place ticks.
    assert "20, 50, 100, 200" in ", ".join(ticks(saved[0].axes[0].xaxis))
    labels = ticks(saved[0].axes[0].yaxis)
    assert {"0.01", "1"} <= set(labels)
    assert not any("$" in label for label in labels)
    assert [style.format_tick(value) for value in (0, 1e-5, 2e5, 3e6, 1e-7, -20)] == [
        "0", "0.00001", "200000", "3e6", "1e-7", "-20",
    ]  # fmt: skip


def test_legends_lie_beside_the_panels(saved):
    rng = np.random.default_rng(1)
    label = rng.random(400) < 0.4
    p = np.clip(np.where(label, 0.7, 0.3) + rng.normal(0, 0.2, 400), 0, 1)
    curve = np.linspace(0, 1, 20)
    figures.plot_roc({"all": (curve, np.sqrt(curve))}, "roc", title="net, test split")
    figures.plot_scores(p, np.where(label, "lens", "spiral"), 0.5, "scores", "net, test split")
    model_figures.plot_reliability(label, {"scores": p}, 8, "net", "reliability")
    model_figures.plot_precision_recall(p[label], p[~label], 0.01, 0.5, "net", "purity")
    model_figures.plot_threshold(p[label], p[~label], 0.01, 0.5, "net", "threshold")
    assert len(saved) == 5
    for figure in saved:
        assert figure.get_suptitle().startswith("net")
        assert [axes.get_legend() for axes in figure.axes] == [None] * len(figure.axes)
        legend = figure.legends[0].get_window_extent()
        assert not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_bins_of_reliability_have_equal_numbers():
    rng = np.random.default_rng(2)
    p = rng.random(1003) ** 4
    rows = reliability(rng.random(1003) < p, p, 10, equal_numbers=True)
    assert {row["n"] for row in rows} <= {100, 101}
    assert sum(row["n"] for row in rows) == 1003
    assert (rows[0]["from"], rows[-1]["to"]) == (0, 1)
    # Galaxies with the same probability share a bin.
    tied = reliability([0, 1, 0, 1], [0.25, 0.25, 0.25, 1.0], 4, equal_numbers=True)
    assert [(row["n"], row["p"]) for row in tied] == [(3, 0.25), (1, 1.0)]
    assert reliability([], [], 4, equal_numbers=True) == []


def test_panels_of_expected_numbers_share_an_axis_that_holds_all(saved):
    rows = [
        {"quantity": name, "from": start, "expected": top, "low": top - 1, "high": top + 1,
         "systematic_low": top - 1, "systematic_high": top + 1, "n": 2 * top, "true": top,
         "found": None, "found_low": None, "found_high": None}
        for name, top in (("theta_e", 10), ("mag", 40)) for start in (1, 2, 3)
    ]  # fmt: skip
    result = {"population": "a model", "verdict": "consistent", "bins": rows}
    plot_expected(result, "expected", "z")
    left, right = saved[0].axes
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] == 0
    assert left.get_ylim()[1] >= 80
    assert saved[0].get_suptitle() == ("Lenses expected and found: consistent\npopulation: a model")


def test_pages_of_few_galaxies_are_nearly_square():
    assert [page_columns(n, 6) for n in (0, 1, 5, 10, 22, 40)] == [3, 3, 3, 4, 5, 6]
    assert page_columns(30, 2) == 2


def test_all_figures_have_one_style(saved):
    with style.open_figure("any", 3, 2) as figure:
        assert isinstance(figure, Figure)
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"][0] == style.BLUE
    assert matplotlib.rcParams["axes.titlesize"] != 10
