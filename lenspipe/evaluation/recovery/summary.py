"""Counts of what a search recovered of a catalogue: as numbers, text and figure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenspipe.evaluation.recovery.reasons import REASONS
from lenspipe.plotting.figures import BLUE, GREEN, GREY, ORANGE, save
from lenspipe.statistics.metrics import wilson_interval

__all__ = ["draw_recovery", "summarise", "summary_text"]

#: Order of groups; others come after, in their own order.
_ORDER = ("A", "B", "C", "ungraded", "D")

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")

#: What to count -> which values of the column trained_on.
_SIDES = {"all": (True, False, None), "yes": (True,), "no": (False,)}


def summarise(entries, label, scores, own):
    """Count entries and systems by group, side of the training and threshold.

    Parameters
    ----------
    entries : pandas.DataFrame
        As of `lenspipe.evaluation.recovery.published.compare`, with all its columns.
    label : str
        What the catalogue is called.
    scores : str
        What was compared with it.
    own : lenspipe.config.results.Recovery

    Returns
    -------
    dict
        Plain values; docs/outputs.md says which.
    """
    systems = _systems(entries)
    groups = sorted(set(entries["group"]), key=_place)
    # A galaxy graded D is no lens; it is in a row of its own.
    everything = [group for group in groups if own.by != "grade" or group != "D"]
    known = entries["trained_on"].notna().any()
    rows = []
    for group, those in {"all": everything, **{g: [g] for g in groups}}.items():
        for side in _SIDES if known else ["all"]:
            parts = [
                table[table["group"].isin(those) & table["trained_on"].isin(_SIDES[side])]
                for table in (entries, systems)
            ]
            for threshold in own.thresholds:
                row = {"group": group, "trained_on": side, "threshold": threshold}
                row |= _count(parts[0], threshold)
                row |= {f"systems_{k}": v for k, v in _count(parts[1], threshold).items()}
                rows.append(row)
    reasons = {}
    for reason in (reason for reason in REASONS if reason in set(entries["reason"])):
        own_rows = entries.loc[entries["reason"] == reason, "group"]
        counts = {group: int((own_rows == group).sum()) for group in groups}
        reasons[reason] = {"all": sum(counts[group] for group in everything), **counts}
    return {
        "catalogue": label,
        "scores": scores,
        "by": own.by,
        "radius_arcsec": own.radius_arcsec,
        "thresholds": list(own.thresholds),
        "n_entries": len(entries),
        "n_systems": len(systems),
        "n_duplicates": int(entries["duplicate_of"].notna().sum()),
        "n_several_matches": int((entries["n_matches"] > 1).sum()),
        "recovery": rows,
        "reasons": reasons,
    }


def _place(group):
    """Sorts grades from the best, then numbers, then other texts."""
    if group in _ORDER:
        return (0, _ORDER.index(group), "")
    number = pd.to_numeric(group, errors="coerce")
    return (1, number, "") if np.isfinite(number) else (2, 0, group)


def _systems(entries):
    """A row per system: scored and learnt if any of its entries is, with the best score of them.

    It counts in the group of the entry that stands for it.
    """
    ordered = entries.sort_values("duplicate_of", na_position="first", kind="stable")
    groups = ordered.groupby("system")
    systems = groups[["group", "scored", "best"]].agg(
        {"group": "first", "scored": "any", "best": "max"}
    )
    learnt = ordered["trained_on"]
    if learnt.notna().any():
        return systems.assign(trained_on=learnt.astype(bool).groupby(ordered["system"]).any())
    return systems.assign(trained_on=None)


def _count(table, threshold):
    """Numbers and completeness of some entries or systems at a threshold."""
    n, n_scored = len(table), int(table["scored"].sum())
    n_passed = int((table["best"].astype(np.float32) >= np.float32(threshold)).sum())
    counts = {"n": n, "n_scored": n_scored, "n_passed": n_passed}
    for name, total in (("of_scored", n_scored), ("of_all", n)):
        counts[name] = n_passed / total if total else None
        counts[f"{name}_low"], counts[f"{name}_high"] = wilson_interval(n_passed, total)
    return counts


def summary_text(summary):
    """Lay the counts out as a table for a terminal.

    Parameters
    ----------
    summary : dict
        As of `summarise`.

    Returns
    -------
    str
    """
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
            f"{_percent(row, 'systems_of_scored'):22}{_percent(row, 'systems_of_all'):22}"
            f"{row['n']:>6}{row['n_passed']:>8}"
        )
    width = max(map(len, summary["reasons"]))
    lines += ["", f"{'entries':{width}}" + "".join(f"  {group:>8}" for group in groups)]
    for reason, counts in summary["reasons"].items():
        cells = (f"  {counts[group]:>{max(8, len(group))}}" for group in groups)
        lines.append(f"{reason:{width}}" + "".join(cells))
    return "\n".join(lines)


def _percent(row, name):
    """A fraction with its interval, in per cent."""
    if row[name] is None:
        return "-"
    value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def draw_recovery(entries, summary, path):
    """Draw completeness of all systems against the threshold, beside what training has seen.

    Parameters
    ----------
    entries : pandas.DataFrame
        As of `lenspipe.evaluation.recovery.published.compare`.
    summary : dict
        As of `summarise`.
    path : str or path-like
        The PNG.
    """
    systems = _systems(entries)
    known = systems["trained_on"].notna().any()
    sides = {"not trained on": False, "trained on": True} if known else {"all": None}
    figure = Figure(figsize=(5 * len(sides), 4.4), layout="constrained")
    cuts = np.linspace(0, 1, 201)
    row = figure.subplots(1, len(sides), sharey=True, squeeze=False)[0]
    groups = sorted(set(systems["group"]), key=_place)
    for axes, (title, side) in zip(row, sides.items(), strict=True):
        those = systems[systems["trained_on"].isin([side])]
        for group, colour in zip(groups, _COLOURS, strict=False):
            best = those.loc[those["group"] == group, "best"].to_numpy()
            if len(best) == 0:
                continue
            passed = (best[:, None] >= cuts.astype(np.float32)).sum(axis=0)
            low, high = zip(*(wilson_interval(k, len(best)) for k in passed), strict=True)
            axes.fill_between(cuts, low, high, color=colour, alpha=0.15, lw=0)
            axes.plot(cuts, passed / len(best), color=colour, label=f"{group} ({len(best)})")
        for threshold in summary["thresholds"]:
            axes.axvline(threshold, color=GREY, ls="--", lw=0.8)
        axes.set(title=title, xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(color="0.92")
        if len(those):
            axes.legend(title=f"{summary['by']} (systems)", framealpha=0.9)
    row[0].set_ylabel("completeness, of all systems")
    figure.suptitle(summary["catalogue"])
    save(figure, path)
