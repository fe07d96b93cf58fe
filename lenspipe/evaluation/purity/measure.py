"""False-positive rates of a search and the purity of its candidates, measured and written."""

import functools
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.evaluation.purity.counting import Search, Tally, above, count_search
from lenspipe.evaluation.purity.plots import plot_purity
from lenspipe.evaluation.purity.yields import (
    expected_above,
    graded_above,
    graded_in_bins,
    held_out_lenses,
    shown,
    verdict_on,
)
from lenspipe.evaluation.random_galaxies import FATES, RandomGalaxies, find_training_sample
from lenspipe.products.candidates import read_cuts
from lenspipe.products.files import write_json
from lenspipe.products.grades import read_grades
from lenspipe.products.models import read_held_out
from lenspipe.products.schema import PURITY, names_of
from lenspipe.products.scores import Cuts, scores_note
from lenspipe.products.tables import chunks_of, write_table
from lenspipe.statistics.calibration import read_calibration
from lenspipe.statistics.intervals import Estimate, estimate_fraction, name_interval
from lenspipe.statistics.metrics import completeness_of_counts
from lenspipe.utils.progress import log

__all__ = ["format_purity", "measure_purity"]

#: False-positive rates for which thresholds are given, if there are enough galaxies.
_RATES = tuple(10.0**-power for power in range(1, 8))

_COLUMNS = names_of(PURITY)


def measure_purity(settings: Settings, folder: Path | None = None) -> dict:
    """Measure the rate of random galaxies that pass, and the purity of the candidates.

    Writes ``purity.csv``, ``purity.png`` and, last, ``purity.json``, whose content
    (docs/outputs.md) is returned, in a folder: ``purity/`` of the run if not given.

    Raises
    ------
    LenspipeError
        A table is missing, unreadable or lacks a galaxy.
    """
    paths, section, band = settings.paths, settings.candidates, settings.survey.bands[-1]
    cuts = read_cuts(paths.cuts, section.threshold)
    prior = settings.evaluation.prior
    graded = paths.inspection("grades.csv")
    grades = read_grades(graded, needed=("ra", "dec", "p")) if graded.exists() else None
    training = find_training_sample(
        settings.recovery.sample, settings.inference.model, paths.sample, settings.training_splits
    )
    population = RandomGalaxies.read(
        paths,
        training,
        settings.sample,
        section.reject_flags,
        simulated=bool(settings.simulation),
        grades=grades,
    )
    to_sky = _read_sky_probability(settings.predictions.with_name("calibration.json"), prior)
    search = count_search(paths, band, cuts, population, to_sky)
    # Cuts that were placed at scores of non-lenses.
    placed = [*cuts.values.values()] if section.threshold.by == "false_positive_rate" else []
    table = _rates(search.random, [shown(t) for t in search.thresholds], placed)
    held_out, where = read_held_out(settings.predictions)
    summary = _summarise(search, cuts, str(section.threshold), population.knows_training)
    summary["at_cuts"] = [
        _row(group, value, None, counts, len(placed))
        for group, value, counts in search.at_cuts.groups()
    ]
    rates: list[Estimate] = [(None, None, None)] * len(search.thresholds)
    if summary["n_random"]:
        total = table[table["group"] == "all"]
        rates = list(zip(total["rate"], total["low"], total["high"], strict=True))
    else:
        log.info(
            "purity: no galaxy of the search is left to measure a false-positive rate with: %s",
            summary["left_out"],
        )
    summary |= {"measured_on": None if held_out is None else where, "prior": prior}
    summary["yield"] = expected_above(search, held_out, rates, prior, placed)
    summary["at_rates"] = _at_rates(summary["yield"], search, held_out)
    summary["graded"] = (
        None if grades is None else _add_grades(summary["yield"], search, grades, cuts)
    )
    folder = folder or paths.purity("")
    write_table(folder / "purity.csv", table)
    plot_purity(table, summary, folder / "purity.png", band)
    write_json(folder / "purity.json", summary)
    if note := scores_note(map(paths.scores, chunks_of(paths.bricks))):
        log.info("purity: scores of the %s", note)
    for line in format_purity(summary).splitlines():
        log.info("purity: %s", line)
    return summary


def _read_sky_probability(path: Path, prior: float) -> Callable[[np.ndarray], np.ndarray] | None:
    """Function from scores to probabilities on the sky; None for a model without calibration."""
    calibration = read_calibration(path) if path.exists() else None
    if calibration is None:
        log.info("purity: %s: the model has no calibration, hence no probabilities", path)
        return None
    return functools.partial(calibration.on_sky, prior=prior)


def _row(
    group: str, value: str, threshold: float | None, counts: Iterable[int], cuts_placed: int
) -> dict:
    """Rate of a group, from its numbers below and at or above a threshold.

    `cuts_placed` is as in `lenspipe.statistics.intervals.estimate_fraction`. Only groups that hold
    all galaxies that placed the cut know of it.
    """
    failed, passed = map(int, counts)
    placed = 1 if group == "cut" else cuts_placed
    whole = group in ("all", "cut") or value == "never trained on"
    rate = estimate_fraction(passed, failed + passed, placed if cuts_placed and whole else 0)
    values = (group, value, threshold, failed + passed, passed, *rate)
    return dict(zip(_COLUMNS, values, strict=True))


def _rates(random: Tally, thresholds: list[float], placed: Collection[float]) -> pd.DataFrame:
    """Rows of ``purity.csv``; `placed` are the thresholds placed at scores of non-lenses."""
    cuts = {shown(cut) for cut in placed}
    rows = [
        _row(group, value, threshold, (counts.sum() - passed, passed), threshold in cuts)
        for group, value, counts in random.groups()
        for threshold, passed in zip(thresholds, above(counts), strict=True)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _summarise(search: Search, cuts: Cuts, rule: str, knows_training: bool) -> dict:
    """Total counts, and the run's cut if there is a single one."""
    n_random = int(search.fates[FATES.index("random")])
    values = set(cuts.values.values())
    cut = values.pop() if len(values) == 1 else np.inf
    return {
        "n_searched": int(search.searched.sum()),
        "n_random": n_random,
        "left_out": dict(zip(FATES[1:], search.fates[1:].tolist(), strict=True)),
        "knows_training": knows_training,
        "lowest_rate": 1 / n_random if n_random else None,
        "upper_limit_if_none": estimate_fraction(0, n_random)[2],
        "rule": rule,
        "cut": shown(cut) if np.isfinite(cut) else None,
    }


def _at_rates(rows: list[dict], search: Search, held_out: pd.DataFrame | None) -> list[dict]:
    """The lowest threshold at which each rate is not exceeded, with what is known of it.

    ``completeness`` and ``rate`` are those at this threshold, ``completeness_at_rate`` is the
    completeness at the true rate.
    """
    n_random = int(search.fates[FATES.index("random")])
    passed = np.zeros(len(rows), int)
    for group, _, counts in search.random.groups():
        if group == "all":
            passed = above(counts)
    lenses = held_out_lenses(held_out)
    found = np.array([int((lenses >= t).sum()) for t in search.thresholds])
    thresholds = []
    for rate in _RATES:
        # With fewer galaxies than 1 / rate none may pass even if the true rate is higher.
        below = np.flatnonzero(passed <= rate * n_random + 1e-9)
        if not len(below) or n_random * rate < 1 - 1e-9:
            continue
        row = rows[below[0]]
        entry = {"asked": rate, "threshold": row["threshold"]}
        entry |= {name: row[name] for name in row if name.startswith("completeness")}
        entry |= name_interval("rate", estimate_fraction(int(passed[below[0]]), n_random, 1))
        at_rate: Estimate = None, None, None
        if len(lenses):
            ends = completeness_of_counts(found, passed, len(lenses), n_random, rate)
            at_rate = row["completeness"], *ends
        thresholds.append(entry | name_interval("completeness_at_rate", at_rate))
    return thresholds


def _add_grades(rows: list[dict], search: Search, grades: pd.DataFrame, cuts: Cuts) -> dict:
    """Add counts of grades to the rows of the yield; return those of all candidates and by bin."""
    # Below the highest cut the list of candidates is incomplete.
    highest = np.float32(max(cuts.values.values(), default=0.0))
    for row in (row for row in rows if np.float32(row["threshold"]) >= highest):
        row |= graded_above(grades, row["threshold"])
        row["verdict"] = verdict_on(row)
    bins = graded_in_bins(search, grades)
    known = [b for b in bins if b["n_graded"] and b["sky_probability"] is not None]
    n = sum(b["n_graded"] for b in known)
    error = sum(b["n_graded"] * abs(b["part_ABC"] - b["sky_probability"]) for b in known)
    return graded_above(grades, 0.0) | {"ece": error / n if n else None, "bins": bins}


def format_purity(summary: dict) -> str:
    """Format the main results of `measure_purity` for a terminal."""
    left_out = ", ".join(f"{n:,} {name}" for name, n in summary["left_out"].items() if n)
    lines = [f"{summary['n_random']:,} random galaxies; left out: {left_out or 'none'}"]
    if not summary["n_random"]:
        return lines[0]
    lines.append(
        f"lowest rate they can measure: {summary['lowest_rate']:.2g}; if none passes, the rate is "
        f"below {summary['upper_limit_if_none']:.2g} (95 %)"
    )
    lines += ["", f"at the candidates' cut ({summary['rule']})"]
    lines.append(f"{'':32}{'galaxies':>10}{'passed':>9}   rate (95 %)")
    for row in summary["at_cuts"]:
        name = row["value"] if row["group"] == "all" else f"{row['group']} {row['value']}"
        rate = _format_interval(row["rate"], row["low"], row["high"])
        lines.append(f"{name:32}{row['n']:>10,}{row['passed']:>9,}   {rate}")
    row = next((row for row in summary["yield"] if row["threshold"] == summary["cut"]), None)
    if row:
        lines += ["", f"p >= {row['threshold']:g}: {row['n']:,} galaxies, {row['n_known']:,} known"]
        for name, label in (
            ("held_out_rate", "rate of the held-out random non-lenses"),
            ("lenses", "expected lenses"),
            ("false", "expected false positives"),
            ("purity", "expected purity"),
            ("purity_of_search", "expected purity, from the search's rate"),
            ("part_ABC", "graded A to C, of those graded"),
        ):
            value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
            if value is not None or high is not None:
                lines.append(f"{label:42}{_format_interval(value, low, high)}")
        if row["sky_lenses"] is not None:
            lines.append(f"{'sum of probabilities on the sky':42}{row['sky_lenses']:.3g}")
        if row.get("verdict"):
            lines.append(f"{'grades compared with the expected purity':42}{row['verdict']}")
    return "\n".join(lines)


def _format_interval(value: float | None, low: float | None, high: float | None) -> str:
    text = "not measured" if value is None else f"{value:.3g}"
    return f"{text} ({low or 0:.3g} to {high:.3g})"
