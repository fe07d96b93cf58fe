"""Counts of the entries of a catalogue that a search recovered: as numbers, text and figure."""

import os

import numpy as np
import pandas as pd

from lenspipe.config.results import Recovery
from lenspipe.evaluation.recovery.reasons import REASONS
from lenspipe.plotting.style import COLOURS, GREY, mark_threshold, open_figure, plot_band
from lenspipe.statistics.intervals import binomial_interval

__all__ = ["GRADE_ORDER", "format_summary", "plot_recovery", "summarise"]

#: Order of groups; all others follow, sorted.
GRADE_ORDER = ("A", "B", "C", "ungraded", "D")

#: Value of the summary's trained_on -> values of the column trained_on.
_TRAINED_ON = {"all": (True, False, None), "yes": (True,), "no": (False,)}


def summarise(entries: pd.DataFrame, label: str, scores: str, recovery: Recovery) -> dict:
    """Count entries and systems by group, use in training and threshold (docs/outputs.md).

    Entries are those of `lenspipe.evaluation.recovery.comparison.compare`, with all its columns;
    `label` and `scores` name the catalogue and what was compared with it.
    """
    systems = _systems(entries)
    groups = sorted(set(entries["group"]), key=_sort_key)
    # Galaxies graded D are not lenses and are counted in a separate row only.
    lens_groups = [group for group in groups if recovery.by != "grade" or group != "D"]
    known = entries["trained_on"].notna().any()
    rows = []
    for group, members in {"all": lens_groups, **{g: [g] for g in groups}}.items():
        for trained_on in _TRAINED_ON if known else ["all"]:
            some_entries, some_systems = (
                table[
                    table["group"].isin(members) & table["trained_on"].isin(_TRAINED_ON[trained_on])
                ]
                for table in (entries, systems)
            )
            for threshold in recovery.thresholds:
                row = {"group": group, "trained_on": trained_on, "threshold": threshold}
                row |= _count(some_entries, threshold)
                row |= {f"systems_{k}": v for k, v in _count(some_systems, threshold).items()}
                rows.append(row)
    reasons = {}
    for reason in (reason for reason in REASONS if reason in set(entries["reason"])):
        group_of = entries.loc[entries["reason"] == reason, "group"]
        counts = {group: int((group_of == group).sum()) for group in groups}
        reasons[reason] = {"all": sum(counts[group] for group in lens_groups), **counts}
    return {
        "catalogue": label,
        "scores": scores,
        "by": recovery.by,
        "radius_arcsec": recovery.radius_arcsec,
        "thresholds": list(recovery.thresholds),
        "n_entries": len(entries),
        "n_systems": len(systems),
        "n_duplicates": int(entries["duplicate_of"].notna().sum()),
        "n_several_matches": int((entries["n_matches"] > 1).sum()),
        "recovery": rows,
        "reasons": reasons,
    }


def _sort_key(group: str) -> tuple[int, float, str]:
    """Sort grades from the best, then numbers, then other texts."""
    if group in GRADE_ORDER:
        return (0, GRADE_ORDER.index(group), "")
    number = pd.to_numeric(group, errors="coerce")
    return (1, number, "") if np.isfinite(number) else (2, 0, group)


def _systems(entries: pd.DataFrame) -> pd.DataFrame:
    """A row per system: scored and trained on if any of its entries is, with their best score.

    It counts in the group of the entry that represents it.
    """
    ordered = entries.sort_values("duplicate_of", na_position="first", kind="stable")
    groups = ordered.groupby("system")
    systems = groups[["group", "scored", "best"]].agg(
        {"group": "first", "scored": "any", "best": "max"}
    )
    trained_on = ordered["trained_on"]
    if trained_on.notna().any():
        trained_on = trained_on.astype(bool).groupby(ordered["system"]).any()
        return systems.assign(trained_on=trained_on)
    return systems.assign(trained_on=None)


def _count(table: pd.DataFrame, threshold: float) -> dict:
    """Numbers and completeness of entries or systems at a threshold."""
    n, n_scored = len(table), int(table["scored"].sum())
    n_passed = int((table["best"].astype(np.float32) >= np.float32(threshold)).sum())
    counts: dict = {"n": n, "n_scored": n_scored, "n_passed": n_passed}
    for name, total in (("of_scored", n_scored), ("of_all", n)):
        counts[name] = n_passed / total if total else None
        counts[f"{name}_low"], counts[f"{name}_high"] = map(
            float, binomial_interval(n_passed, total)
        )
    return counts


def format_summary(summary: dict) -> str:
    """Format the counts of `summarise` as tables for a terminal."""
    groups = list(next(iter(summary["reasons"].values())))
    wide = max(len(name) for name in (summary["by"], *groups))
    lines = [
        f"{summary['catalogue']}: {summary['n_entries']} entries, {summary['n_systems']} systems; "
        f"galaxies of {summary['scores']} within {summary['radius_arcsec']:g} arcsec",
        "",
        f"{summary['by']:>{wide}} trained on  p >=   systems  scored  passed   "
        "of scored (95 %)      of all (95 %)        entries  passed",
    ]
    for row in summary["recovery"]:
        lines.append(
            f"{row['group']:>{wide}}{row['trained_on']:>11}{row['threshold']:>6g}"
            f"{row['systems_n']:>10}{row['systems_n_scored']:>8}{row['systems_n_passed']:>8}   "
            f"{_format_percent(row, 'systems_of_scored'):22}"
            f"{_format_percent(row, 'systems_of_all'):22}"
            f"{row['n']:>6}{row['n_passed']:>8}"
        )
    width = max(map(len, summary["reasons"]))
    lines += ["", f"{'entries':{width}}" + "".join(f"  {group:>8}" for group in groups)]
    for reason, counts in summary["reasons"].items():
        cells = (f"  {counts[group]:>{max(8, len(group))}}" for group in groups)
        lines.append(f"{reason:{width}}" + "".join(cells))
    return "\n".join(lines)


def _format_percent(row: dict, name: str) -> str:
    if row[name] is None:
        return "-"
    value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def plot_recovery(entries: pd.DataFrame, summary: dict, path: str | os.PathLike[str]) -> None:
    """Plot completeness of all systems against the threshold, separated by use in training.

    Entries and summary are those of `lenspipe.evaluation.recovery.comparison.compare`.
    """
    systems = _systems(entries)
    known = systems["trained_on"].notna().any()
    panels = {"not trained on": False, "trained on": True} if known else {"all": None}
    cuts = np.linspace(0, 1, 201)
    groups = sorted(set(systems["group"]), key=_sort_key)
    with open_figure(path, 5 * len(panels), 4.4, summary["catalogue"]) as figure:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, trained_on) in zip(row, panels.items(), strict=True):
            shown = systems[systems["trained_on"].isin([trained_on])]
            for group, colour in zip(groups, COLOURS, strict=False):
                best = shown.loc[shown["group"] == group, "best"].to_numpy()
                n = len(best)
                if n == 0:
                    continue
                passed = (best[:, None] >= cuts.astype(np.float32)).sum(axis=0)
                low, high = binomial_interval(passed, n)
                plot_band(axes, cuts, passed / n, low, high, colour=colour, label=f"{group} ({n})")
            for threshold in summary["thresholds"]:
                mark_threshold(axes, threshold, "", GREY)
            axes.set(title=title, xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
            axes.grid()
            if len(shown):
                axes.legend(title=f"{summary['by']} (systems)")
        row[0].set_ylabel("completeness, of all systems")
