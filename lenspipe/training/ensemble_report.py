"""Gain of an ensemble: members and combinations compared on galaxies never trained on."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special
import scipy.stats
from matplotlib.axes import Axes

from lenspipe.plotting.style import BLUE, GREEN, ORANGE, open_figure, plot_points
from lenspipe.statistics.gain import measure_gain
from lenspipe.statistics.intervals import name_interval
from lenspipe.statistics.metrics import (
    auc,
    auc_interval,
    completeness_at_fpr,
    completeness_at_true_rate,
)
from lenspipe.utils.progress import log

__all__ = ["compare", "plot_report"]

#: False-positive rates of the comparison, by their names in ensemble.json.
RATES = {"1e-1": 0.1, "1e-2": 0.01, "1e-3": 0.001}


def compare(
    members: list[str], how: str, galaxies: pd.DataFrame, combined: pd.DataFrame, seed: int
) -> dict[str, Any]:
    """Compare members, and combinations with the best of them.

    Return the content of ensemble.json, docs/networks.md; None for what could not be measured.

    Parameters
    ----------
    how
        Name of the combination that the ensemble uses.
    galaxies
        Columns split, label and one with each member's name. The comparison is on the test split,
        or on the validation split where there is no test split.
    combined
        A column for each combination (mean, median, stacker), aligned with `galaxies`.
    """
    splits = set(galaxies["split"])
    judged_on = next((split for split in ("test", "validation") if split in splits), None)
    held_out = galaxies["split"] == judged_on
    is_lens = galaxies["label"] > 0.5
    scores = galaxies[members].join(combined.add_prefix("combined."))
    lenses, nonlenses = scores[held_out & is_lens], scores[held_out & ~is_lens]
    validation = galaxies["split"] == "validation"
    chosen_on = "validation" if (validation & is_lens).any() else judged_on
    mask = galaxies["split"] == chosen_on
    best = max(members, key=lambda name: _merit(scores[name], mask & is_lens, mask & ~is_lens))
    report: dict[str, Any] = {
        "members": members,
        "combine": how,
        "judged_on": judged_on,
        "n_lenses": len(lenses),
        "n_nonlenses": len(nonlenses),
        "best_member": best,
        "best_member_chosen_on": chosen_on,
        "of_members": {name: _measure(lenses[name], nonlenses[name]) for name in members},
        "of_combinations": {},
        "gain_over_best_member": {},
        "agreement": [
            _agreement(lenses, nonlenses, first, second)
            for first, second in itertools.combinations(members, 2)
        ],
    }
    for name in combined:
        column = f"combined.{name}"
        report["of_combinations"][name] = _measure(lenses[column], nonlenses[column])
        report["gain_over_best_member"][name] = measure_gain(
            lenses[[best, column]].to_numpy(), nonlenses[[best, column]].to_numpy(), RATES, seed
        )
    _log_gains(report)
    return report


def plot_report(report: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Plot what `compare` returned: completeness, and correlations between members."""
    members = report["members"]
    combinations = report["of_combinations"]
    models = report["of_members"] | {f"{name} of all": combinations[name] for name in combinations}
    with open_figure(path, 10, 2.4 + 0.4 * len(models)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[2, 1])
        _plot_completeness(left, models)
        left.set_title(
            f"{report['judged_on'] or 'no'} split: {report['n_lenses']} lenses, "
            f"{report['n_nonlenses']} non-lenses",
            fontsize=10,
        )
        left.axhline(len(members) - 0.5, color="0.7", lw=1)
        if left.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower left", ncols=3, fontsize=8)
        _plot_correlations(right, members, report["agreement"])


def _plot_completeness(axes: Axes, models: dict[str, dict[str, Any]]) -> None:
    y = np.arange(len(models))
    for i, (rate, colour) in enumerate(zip(RATES, (GREEN, BLUE, ORANGE), strict=True)):
        columns = np.array(
            [
                [model[f"completeness_fpr_{rate}{end}"] for end in ("", "_low", "_high")]
                for model in models.values()
            ],
            float,
        ).T
        if np.isfinite(columns[0]).any():
            label = f"at a false-positive rate of {rate}"
            offset = 0.18 * (i - 1)
            plot_points(axes, y + offset, *columns, colour=colour, horizontal=True, label=label)
    axes.set_yticks(range(len(models)), models)
    axes.set(ylim=(len(models) - 0.5, -0.5), xlim=(-0.02, 1.02), xlabel="completeness")
    axes.grid()


def _plot_correlations(axes: Axes, members: list[str], agreement: list[dict[str, Any]]) -> None:
    matrix = np.full((len(members), len(members)), np.nan)
    for pair in agreement:
        i, j = (members.index(name) for name in pair["members"])
        for cell, of in (((i, j), "lenses"), ((j, i), "others")):
            value = pair[of]["spearman"]
            if value is not None:
                matrix[cell] = value
                axes.text(cell[1], cell[0], f"{value:.2f}", ha="center", va="center")
    axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", alpha=0.6)
    axes.set_facecolor("0.95")
    axes.set_xticks(range(len(members)), members, rotation=30, ha="right")
    axes.set_yticks(range(len(members)), members)
    axes.set_title("rank correlation:\nlenses above, non-lenses below", fontsize=10)


def _merit(p: pd.Series, lenses: pd.Series, nonlenses: pd.Series) -> tuple[float, ...]:
    """Order of the members: by completeness at a rate of 1 %, then by area."""
    measured = completeness_at_fpr(p[lenses], p[nonlenses], 0.01)[0], auc(p[lenses], p[nonlenses])
    return tuple(-1 if value is None else value for value in measured)


def _measure(lenses: Sequence[float], nonlenses: Sequence[float]) -> dict[str, float | None]:
    """Area under the ROC curve, and completeness at each true rate, with 95 % intervals."""
    measured = name_interval("auc", auc_interval(lenses, nonlenses))
    for name, rate in RATES.items():
        completeness = completeness_at_true_rate(lenses, nonlenses, rate)
        measured |= name_interval(f"completeness_fpr_{name}", completeness)
    return measured


def _agreement(
    lenses: pd.DataFrame, nonlenses: pd.DataFrame, first: str, second: str
) -> dict[str, Any]:
    """How alike two members are: correlations, and the lenses that both miss."""
    cuts = [completeness_at_fpr(lenses[n], nonlenses[n], 0.01)[1] for n in (first, second)]
    missed = dict.fromkeys(("missed_by_first", "missed_by_second", "missed_by_both", "shared"))
    if None not in cuts:
        one, other = lenses[first] <= cuts[0], lenses[second] <= cuts[1]
        both, either = int((one & other).sum()), int((one | other).sum())
        missed = {
            "missed_by_first": int(one.sum()),
            "missed_by_second": int(other.sum()),
            "missed_by_both": both,
            "shared": both / either if either else None,
        }
    return {
        "members": [first, second],
        "lenses": _correlation(lenses[first], lenses[second]),
        "others": _correlation(nonlenses[first], nonlenses[second]),
        "missed_fpr_1e-2": missed,
    }


def _correlation(first: pd.Series, second: pd.Series) -> dict[str, float | None]:
    """Spearman's rank correlation, and Pearson's correlation of the logits."""
    logits = [
        scipy.special.logit(np.clip(p.to_numpy(float), 1e-7, 1 - 1e-7)) for p in (first, second)
    ]
    if len(first) < 3 or any(np.ptp(values) == 0 for values in logits):
        return {"spearman": None, "pearson_logit": None}
    return {
        "spearman": float(scipy.stats.spearmanr(first, second).statistic),
        "pearson_logit": float(scipy.stats.pearsonr(*logits).statistic),
    }


def _log_gains(report: dict[str, Any]) -> None:
    key = "completeness_fpr_1e-2"
    for name, gain in report["gain_over_best_member"].items():
        if gain[key] is not None:
            log.info(
                "ensemble: %s: completeness %.1f %% at 1 %% false positives, %+.1f (95 %%: %+.1f "
                "to %+.1f) over %s",
                name, 100 * report["of_combinations"][name][key],
                *(100 * gain[key + end] for end in ("", "_low", "_high")), report["best_member"],
            )  # fmt: skip
