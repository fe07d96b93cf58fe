"""Figures of a model's assessment."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.evaluation.model_metrics import FPRS
from lenspipe.plotting import figures, model_figures
from lenspipe.statistics.calibration import Calibration
from lenspipe.statistics.intervals import named_interval
from lenspipe.statistics.metrics import roc_curve

__all__ = ["mark_mistakes", "plot_figures", "plot_nothing_to_measure", "shown_split"]

_FIGURES = ("roc", "precision_recall", "threshold", "scores", "reliability")


def shown_split(splits: Mapping[str, pd.DataFrame]) -> str | None:
    """Name of the split that figures show: the last one with both lenses and non-lenses."""
    return next(reversed(_with_both_classes(splits)), None)


def _with_both_classes(splits: Mapping[str, pd.DataFrame]) -> list[str]:
    return [split for split, rows in splits.items() if (rows["label"] > 0.5).nunique() == 2]


def plot_figures(
    name: str,
    splits: Mapping[str, pd.DataFrame],
    metrics: dict,
    calibration: Calibration | None,
    bins: int,
    path: Callable[[str], Path],
) -> None:
    """Plot all figures of a model except its mistakes.

    Most show the test split, or the validation split where there is no test split; without either
    each figure says so.

    Parameters
    ----------
    name
        Of the model.
    splits
        Split -> its rows, as returned by `lenspipe.evaluation.predictions.predict_splits`.
    metrics
        Content of ``metrics.json``.
    bins
        Number of bins of probability.
    path
        From a figure's file name to its path.
    """
    shown = shown_split(splits)
    if shown is None:
        plot_nothing_to_measure(_FIGURES, path)
        return
    scores = {
        split: (rows.loc[rows["label"] > 0.5, "p"], rows.loc[rows["label"] <= 0.5, "p"])
        for split, rows in splits.items()
    }
    lenses, nonlenses = scores[shown]
    galaxies, threshold, prior = splits[shown], metrics["threshold"], metrics["prior"]
    points = [
        (rate, *named_interval(metrics, f"{shown}_completeness_fpr_{key}"))
        for key, rate in FPRS.items()
    ]
    fpr, completeness = (
        named_interval(metrics, f"{shown}_{name}_threshold") for name in ("fpr", "completeness")
    )
    figures.plot_roc(
        {
            f"{split}: {_format_counts(*scores[split])}": roc_curve(*scores[split])
            for split in _with_both_classes(splits)
        },
        path("roc.png"),
        points=[point for point in points if point[1] is not None],
        cut=(f"p ≥ {threshold:g}", fpr, completeness),
        title=f"{name}: completeness and false positives of each split",
    )
    title = f"{name}, {shown} split: {_format_counts(lenses, nonlenses)}"
    at = title + (
        f"; p ≥ {threshold:g} (default)" if metrics["threshold_from"] == "default" else ""
    )
    model_figures.plot_precision_recall(
        lenses, nonlenses, prior, threshold, at, path("precision_recall.png")
    )
    model_figures.plot_threshold(lenses, nonlenses, prior, threshold, at, path("threshold.png"))
    figures.plot_scores(galaxies["p"], _classes(galaxies), threshold, path("scores.png"), title)
    model_figures.plot_reliability(
        galaxies["label"],
        _probabilities(galaxies["p"], calibration),
        bins,
        title + ("; calibration fitted to it" if calibration and shown == "validation" else ""),
        path("reliability.png"),
    )


def plot_nothing_to_measure(names: Iterable[str], path: Callable[[str], Path]) -> None:
    """Plot figures that say that no split can be measured."""
    for name in names:
        model_figures.plot_note(
            "Nothing to measure: no split that the model\nwas not trained on has lenses and "
            "non-lenses",
            path(f"{name}.png"),
        )


def mark_mistakes(galaxies: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Add the columns ``missed``, ``false`` and ``note`` of `lenspipe.evaluation.mistakes`."""
    lens, passes = galaxies["label"] > 0.5, galaxies["p"] >= threshold
    return galaxies.assign(
        missed=lens & ~passes,
        false=~lens & passes,
        note=[_describe(row) for row in galaxies.to_dict("records")],
    )


def _classes(galaxies: pd.DataFrame) -> pd.Series:
    """Class of each galaxy in a word: ``lens``, or the kind of a confusing galaxy."""
    name = galaxies["class"].str.rpartition(":")[2]
    return name.mask(galaxies["label"] > 0.5, "lens")


def _format_counts(lenses: pd.Series, nonlenses: pd.Series) -> str:
    return f"{len(lenses)} lenses, {len(nonlenses)} non-lenses"


def _probabilities(p: pd.Series, calibration: Calibration | None) -> dict[str, np.ndarray]:
    """Scores and calibrated probabilities by their labels in the figure."""
    if calibration is None:
        return {"scores": p}
    return {
        "scores": p,
        f"temperature {calibration.temperature:.2f}": calibration.apply(p, "temperature"),
        "isotonic": calibration.apply(p, "isotonic"),
    }


def _describe(row: dict) -> str:
    """Grade and Einstein radius of a lens, or class of a non-lens."""
    if row["label"] <= 0.5:
        return row["class"].rpartition(":")[2].replace("_", " ")
    radius = f'θ {row["theta_e_arcsec"]:.1f}"' if row["theta_e_arcsec"] > 0 else ""
    return ", ".join(filter(None, (row["grade"], radius)))
