"""False-positive rates of a search, and the purity of its candidates: measured and written."""

import functools
import json

import numpy as np
import pandas as pd

from lenspipe.evaluation.purity.counting import above, count_search, rate_interval
from lenspipe.evaluation.purity.plots import draw_purity
from lenspipe.evaluation.purity.yields import (
    expected_above,
    graded_above,
    graded_in_bins,
    shown,
    verdict_on,
)
from lenspipe.evaluation.random_galaxies import FATES, RandomGalaxies, read_grades
from lenspipe.products.candidates import read_cuts
from lenspipe.products.predictions import read_held_out
from lenspipe.statistics.calibration import read_calibration
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["measure_purity", "purity_text"]

#: False-positive rates that thresholds are given for, as far as the galaxies allow.
_RATES = tuple(10.0**-power for power in range(1, 8))

_COLUMNS = ["group", "value", "threshold", "n", "passed", "rate", "low", "high"]


def measure_purity(settings):
    """Measure how many random galaxies of the search pass, and what its candidates hold.

    Writes ``purity/purity.csv``, ``purity.png`` and, last, ``purity.json``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        What ``purity.json`` holds; docs/outputs.md says which.

    Raises
    ------
    LenspipeError
        A table is missing, unreadable or lacks a galaxy.
    """
    cuts = read_cuts(settings.paths.threshold, settings.candidates.threshold)
    grades = read_grades(settings)
    population = RandomGalaxies(settings, grades)
    search = count_search(settings, cuts, population, _to_sky(settings))
    table = _rates(search.random, [shown(t) for t in search.thresholds])
    held_out, where = read_held_out(settings.predictions)
    found = _summary(settings, search, population, cuts)
    found["at_cuts"] = [
        _row(group, value, None, int(counts.sum()), int(counts[1]))
        for group, value, counts in search.at_cuts.groups()
    ]
    rates = [(None,) * 3] * len(search.thresholds)
    if found["n_random"]:
        own = table[table["group"] == "all"]
        rates = list(zip(own["rate"], own["low"], own["high"], strict=True))
    else:
        log.info(
            "purity: no galaxy of the search is left to measure a false-positive rate with: %s",
            found["left_out"],
        )
    prior = settings.evaluation.prior
    found |= {"measured_on": None if held_out is None else where, "prior": prior}
    found["yield"] = expected_above(search, held_out, rates, prior)
    found["at_rates"] = _at_rates(found["yield"], found["n_random"])
    found["graded"] = None if grades is None else _graded(search, grades, found["yield"], cuts)
    with atomic(settings.paths.purity("purity.csv")) as temporary:
        table.to_csv(temporary, index=False)
    draw_purity(table, found, settings.paths.purity("purity.png"), settings.survey.bands[-1])
    with atomic(settings.paths.purity("purity.json")) as temporary:
        temporary.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    for line in purity_text(found).splitlines():
        log.info("purity: %s", line)
    return found


def _to_sky(settings):
    """Function from scores to probabilities on the sky; None for a model without calibration."""
    path = settings.predictions.with_name("calibration.json")
    calibration = read_calibration(path) if path.exists() else None
    if calibration is None:
        log.info("purity: %s: the model has no calibration, and so no probabilities", path)
        return None
    return functools.partial(calibration.on_sky, prior=settings.evaluation.prior)


def _row(group, value, threshold, n, passed):
    rate, low, high = rate_interval(passed, n)
    return dict(zip(_COLUMNS, (group, value, threshold, n, passed, rate, low, high), strict=True))


def _rates(random, thresholds):
    """The table of `purity.csv`."""
    rows = [
        _row(group, value, threshold, int(counts.sum()), int(passed))
        for group, value, counts in random.groups()
        for threshold, passed in zip(thresholds, above(counts), strict=True)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _summary(settings, search, population, cuts):
    """What was counted, and where the run's cuts lie."""
    n_random = int(search.fates[0])
    own = set(cuts.values.values())
    cut = own.pop() if len(own) == 1 else np.inf
    return {
        "n_searched": int(search.searched.sum()),
        "n_random": n_random,
        "left_out": dict(zip(FATES[1:], search.fates[1:].tolist(), strict=True)),
        "knows_training": population.knows_training,
        "lowest_rate": 1 / n_random if n_random else None,
        "upper_limit_if_none": rate_interval(0, n_random)[2],
        "rule": str(settings.candidates.threshold),
        "cut": shown(cut) if np.isfinite(cut) else None,
    }


def _at_rates(rows, n_random):
    """The lowest threshold that lets no more than each rate pass, and what it gives."""
    found = []
    for rate in _RATES:
        below = [row for row in rows if row["rate"] is not None and row["rate"] <= rate]
        # With fewer galaxies than 1 / rate none passes, be the true rate higher or not.
        if below and n_random * rate >= 1 - 1e-9:
            row = below[0]
            names = [name for name in row if name.startswith(("completeness", "rate"))]
            found.append(
                {"asked": rate, "threshold": row["threshold"]} | {name: row[name] for name in names}
            )
    return found


def _graded(search, grades, rows, cuts):
    """What people found, in bins and, added to the yields, above each threshold."""
    # Below the highest cut the list lacks candidates.
    highest = np.float32(max(cuts.values.values(), default=0.0))
    for row in (row for row in rows if np.float32(row["threshold"]) >= highest):
        row |= graded_above(grades, row["threshold"])
        row["verdict"] = verdict_on(row)
    bins = graded_in_bins(search, grades)
    known = [b for b in bins if b["n_graded"] and b["sky_probability"] is not None]
    n = sum(b["n_graded"] for b in known)
    error = sum(b["n_graded"] * abs(b["part_ABC"] - b["sky_probability"]) for b in known)
    return graded_above(grades, 0.0) | {"ece": error / n if n else None, "bins": bins}


def purity_text(found):
    """Lay the main figures out for a terminal.

    Parameters
    ----------
    found : dict
        As of `measure_purity`.

    Returns
    -------
    str
    """
    left = ", ".join(f"{n:,} {name}" for name, n in found["left_out"].items() if n)
    lines = [f"{found['n_random']:,} random galaxies; left out: {left or 'none'}"]
    if not found["n_random"]:
        return lines[0]
    lines.append(
        f"lowest rate that they measure: {found['lowest_rate']:.2g}; if none passes, it is below "
        f"{found['upper_limit_if_none']:.2g} (95 %)"
    )
    lines += ["", f"at the candidates' cut ({found['rule']})"]
    lines.append(f"{'':32}{'galaxies':>10}{'passed':>9}   rate (95 %)")
    for row in found["at_cuts"]:
        name = row["value"] if row["group"] == "all" else f"{row['group']} {row['value']}"
        lines.append(f"{name:32}{row['n']:>10,}{row['passed']:>9,}   {_ends(row, 'rate', '')}")
    row = next((row for row in found["yield"] if row["threshold"] == found["cut"]), None)
    if row:
        lines += ["", f"p >= {row['threshold']:g}: {row['n']:,} galaxies, {row['n_known']:,} known"]
        for name, label in (
            ("held_out_rate", "rate of the held-out random non-lenses"),
            ("lenses", "expected lenses"),
            ("false", "expected false positives"),
            ("purity", "expected purity"),
            ("purity_of_search", "expected purity, by the search's rate"),
            ("part_ABC", "graded A to C, of those graded"),
        ):
            if row.get(name) is not None or row.get(f"{name}_high") is not None:
                lines.append(f"{label:42}{_ends(row, name, name)}")
        if row["sky_lenses"] is not None:
            lines.append(f"{'sum of probabilities on the sky':42}{row['sky_lenses']:.3g}")
        if row.get("verdict"):
            lines.append(f"{'grades against the expected purity':42}{row['verdict']}")
    return "\n".join(lines)


def _ends(row, name, prefix):
    """A value with its interval."""
    low, high = (row[f"{prefix}_{end}".lstrip("_")] for end in ("low", "high"))
    value = "not measured" if row[name] is None else f"{row[name]:.3g}"
    return f"{value} ({low or 0:.3g} to {high:.3g})"
