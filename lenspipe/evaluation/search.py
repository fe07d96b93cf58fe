"""How well the search performs on galaxies not used in training."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.evaluation.mistakes import draw_mistakes
from lenspipe.plotting import figures
from lenspipe.products.candidates import read_cuts
from lenspipe.products.files import write_json
from lenspipe.products.tables import read_table
from lenspipe.products.truth import read_rows_of_bricks, read_scores_with_truth
from lenspipe.statistics.association import correlate_within_strata
from lenspipe.statistics.intervals import (
    format_percent,
    fraction_interval,
    name_interval,
    named_interval,
)
from lenspipe.statistics.metrics import (
    PROPERTY_BINS,
    auc_interval,
    completeness_at_true_rate,
    roc_curve,
)
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["completeness_in_bins", "evaluate"]

#: Names of the false-positive rates at which searches are compared.
_RATES = {"fpr10": 0.1, "fpr01": 0.01, "fpr001": 0.001}

# Below every probability: a galaxy without a score is never found.
_UNSCORED = -1.0


def evaluate(settings: Settings) -> dict:
    """Measure the search on galaxies not used in training.

    On a simulated sky these are all galaxies of the test bricks, those without a row of another
    split in ``sample/sample.parquet``, compared with the sky's truth. Where ``sample.fractions``
    leaves no test split the validation split takes its place. Which lenses are visible the truth
    says. Other sources near the images of a visible lens are neither lenses nor non-lenses: the
    lens is found if one of them is. On real data they are the test split, compared with its labels.

    Writes below ``evaluation/``: ``roc.png``, ``scores.png``, ``completeness.png`` (against
    Einstein radius and arc signal-to-noise; without truth against magnitude and exposures in the
    reddest band), the most confident mistakes ``missed.png`` and ``false.png``, and last
    ``metrics.json``. There, completeness is that of visible lenses (without truth, of all labelled
    lenses) and false-positive rates are those of all non-lenses; ``_threshold`` means at the cut of
    the candidates, ``fpr10``, ``fpr01`` and ``fpr001`` at true rates of 10, 1 and 0.1 %. What could
    not be measured is null.

    Raises
    ------
    LenspipeError
        There are no lenses, or no non-lenses.
    """
    paths, band = settings.paths, settings.survey.bands[-1]
    has_truth = settings.simulation is not None
    paths.evaluation("metrics.json").unlink(missing_ok=True)
    held_out, section = settings.held_out, settings.candidates
    galaxies = (read_scores_with_truth if has_truth else _read_labelled)(paths, held_out)
    galaxies = _add_conditions(galaxies, paths, band)
    unscored = galaxies["p"].isna()
    if unscored.any():
        log.info("evaluation: %d galaxies have no score; they count as not found", unscored.sum())
    galaxies["p"] = galaxies["p"].astype(np.float64).fillna(_UNSCORED)
    cuts = read_cuts(paths.cuts, section.threshold)
    rejected = has_rejected_flag(galaxies["flags"], section.reject_flags)
    galaxies["selected"] = cuts.passes(galaxies) & ~rejected
    if has_truth:
        galaxies = _merge_shown(galaxies)
    where = f"the {held_out} {'bricks' if has_truth else 'split'}"
    for name, n in (("lens", galaxies["lens"].sum()), ("non-lens", (~galaxies["lens"]).sum())):
        if n == 0:
            raise LenspipeError(
                f"{paths.sample}: found no {name} among the {len(galaxies)} galaxies of {where}, "
                "expected at least one; enlarge config section footprint or the test fraction of "
                "sample.fractions"
            )
    # A cut at a false-positive rate was placed among these non-lenses.
    placed = len(cuts.values) if section.threshold.by == "false_positive_rate" else 0
    metrics = _measure(galaxies, cuts.lowest, placed, has_truth)
    lenses, visible, nonlenses = _scores(galaxies)
    curves = {f"all {len(lenses)} lenses": roc_curve(lenses, nonlenses)}
    if has_truth and len(visible):
        curves[f"{len(visible)} visible lenses"] = roc_curve(visible, nonlenses)
    fpr, completeness = (
        named_interval(metrics, f"{name}_threshold")
        for name in ("false_positive_rate", "completeness")
    )
    at_cut = (str(section.threshold), fpr, completeness)
    title = f"{settings.run}, {where}: {len(lenses)} lenses, {len(nonlenses)} non-lenses"
    figures.plot_roc(curves, paths.evaluation("roc.png"), cut=at_cut, title=title)
    figures.plot_scores(
        galaxies["p"],
        galaxies["kind"],
        metrics["threshold"],
        paths.evaluation("scores.png"),
        title,
    )
    figures.plot_completeness(
        [
            {
                "bins": metrics[f"completeness_by_{name}"],
                "label": label,
                "title": title,
                "log": log_,
            }
            for name, label, title, log_ in _panels(has_truth, band)
        ],
        str(section.threshold),
        paths.evaluation("completeness.png"),
        f"{settings.run}, {where}: lenses found, of the number above each bin (95 % intervals)",
    )
    cutouts = CutoutFiles.of(settings)
    draw_mistakes(
        _mark_mistakes(galaxies),
        lambda rows: cutouts.read(rows)[0],
        paths.evaluation,
        title=settings.run,
        rule=str(section.threshold),
        mosaics=settings.mosaics,
        bands=cutouts.bands,
        release=cutouts.release,
    )
    write_json(paths.evaluation("metrics.json"), metrics)
    _log_metrics(metrics)
    return metrics


def _merge_shown(galaxies: pd.DataFrame) -> pd.DataFrame:
    """Give lenses the best score of the sources that show them, and leave these out."""
    shows = galaxies["shows"] != ""
    lens = galaxies["id"].where(~shows, galaxies["shows"])
    by_lens = galaxies.groupby(lens)[["p", "selected"]].max()
    others = galaxies[~shows].copy()
    for name in by_lens:
        others[name] = by_lens.loc[others["id"], name].to_numpy()
    return others


def _read_labelled(paths: RunPaths, held_out: str | None) -> pd.DataFrame:
    """Galaxies of the labelled sample's held-out split, with their scores."""
    sample = read_table(paths.sample, "sample")
    sample = sample.loc[
        (sample["split"] == held_out) & (sample["class"] != "injected"),
        ["id", "brick", "label"],
    ]
    if sample.empty:
        raise LenspipeError(
            f"{paths.sample}: found no labelled galaxy in the {held_out} split, expected some; "
            "raise its fraction in config key sample.fractions"
        )
    scores = read_rows_of_bricks(paths.bricks, paths.scores, "scores", set(sample["brick"]))
    galaxies = sample.drop(columns="brick").merge(scores, on="id", validate="1:1")
    if len(galaxies) < len(sample):
        log.info("evaluation: %d of the test split were not scored", len(sample) - len(galaxies))
    galaxies["lens"] = galaxies["visible"] = galaxies["label"] > 0.5
    galaxies["kind"] = np.where(galaxies["lens"], "lens", "non-lens")
    return galaxies


def _add_conditions(galaxies: pd.DataFrame, paths: RunPaths, band: str) -> pd.DataFrame:
    columns = {f"mag_{band}": "mag", f"nobs_{band}": "nobs", "type": "type"}
    parent = read_rows_of_bricks(paths.bricks, paths.parent, "parent", set(galaxies["brick"]))
    parent = parent[["id", *columns]].rename(columns=columns)
    return galaxies.merge(parent, on="id", how="left", validate="1:1")


def _correlate_with_exposures(nonlenses: pd.DataFrame) -> dict:
    """Spearman's rank correlation of the scores of non-lenses with the number of exposures.

    Its error is from sums over bricks; ``min_p_value`` is the lowest p that so few can give.
    """
    scored = nonlenses[(nonlenses["p"] != _UNSCORED) & nonlenses["nobs"].notna()]
    scores, exposures = (scored[name].rank() for name in ("p", "nobs"))
    bricks, no_strata = scored["brick"], np.zeros(len(scored))
    r, p, min_p = correlate_within_strata(scores, exposures, no_strata, bricks)
    return {
        "spearman": r,
        "p_value": p,
        "min_p_value": min_p,
        "n": len(scored),
        "n_bricks": int(scored["brick"].nunique()),
    }


def _scores(galaxies: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of lenses, of visible lenses and of non-lenses."""
    p, lens = galaxies["p"].to_numpy(), galaxies["lens"].to_numpy()
    return p[lens], p[galaxies["visible"].to_numpy()], p[~lens]


def _measure(galaxies: pd.DataFrame, lowest_cut: float, cuts_placed: int, has_truth: bool) -> dict:
    """Compute all metrics; their threshold is the lowest cut of the candidates.

    Keys that end with ``_threshold`` are those at the cut in use, ``completeness_fpr01`` and so on
    those at a true false-positive rate. `cuts_placed` is the number of cuts that were placed so
    that a fraction of the non-lenses passes.
    """
    lenses, visible, nonlenses = _scores(galaxies)
    selected, lens, seen = galaxies["selected"], galaxies["lens"], galaxies["visible"]
    bricks = galaxies["brick"].to_numpy()
    metrics: dict = {"judged_by": "truth" if has_truth else "labels"}
    metrics |= name_interval("auc", auc_interval(lenses, nonlenses, (bricks[lens], bricks[~lens])))
    metrics |= {
        "n_bricks": int(galaxies["brick"].nunique()),
        "n_lenses": len(lenses),
        "n_visible_lenses": len(visible),
        "n_nonlenses": len(nonlenses),
        "threshold": min(lowest_cut, 1.0),
        "n_above_threshold": int(selected.sum()),
    }
    for name, passes, placed in (
        ("completeness", selected[seen], 0),
        ("false_positive_rate", selected[~lens], cuts_placed),
        ("purity", lens[selected], 0),
    ):
        metrics |= name_interval(f"{name}_threshold", fraction_interval(passes, placed))
    for name, rate in _RATES.items():
        completeness = completeness_at_true_rate(visible, nonlenses, rate)
        metrics |= name_interval(f"completeness_{name}", completeness)
    metrics["scores_against_exposures"] = _correlate_with_exposures(galaxies[~lens])
    if not has_truth:
        del metrics["n_visible_lenses"]
        for name in ("mag", "nobs"):
            metrics[f"completeness_by_{name}"] = completeness_in_bins(
                galaxies[lens], name, selected, PROPERTY_BINS[name]
            )
        return metrics
    area = auc_interval(visible, nonlenses, (bricks[seen], bricks[~lens]))
    metrics |= name_interval("auc_visible", area)
    metrics["false_positive_rate_by_kind"] = {
        str(kind): {"n": len(group)}
        | name_interval("threshold", fraction_interval(group["selected"]))
        for kind, group in galaxies[~lens].groupby("kind")
    }
    for name, column in (("theta_e", "theta_e_arcsec"), ("arc_snr", "arc_snr")):
        metrics[f"completeness_by_{name}"] = completeness_in_bins(
            galaxies[seen], column, selected, PROPERTY_BINS[name]
        )
    return metrics


def _panels(has_truth: bool, band: str) -> list[tuple[str, str, str, bool]]:
    """Panels of completeness: name in the metrics, axis label, title, whether logarithmic."""
    if has_truth:
        return [
            ("theta_e", "Einstein radius (arcsec)", "visible lenses", False),
            ("arc_snr", "arc signal-to-noise", "visible lenses", True),
        ]
    return [
        ("mag", f"{band} magnitude", "lenses of the test split", False),
        ("nobs", f"exposures in {band}", "lenses of the test split", False),
    ]


def completeness_in_bins(
    lenses: pd.DataFrame, column: str, above: pd.Series, edges: Sequence[float]
) -> list[dict]:
    """Completeness with its 95 % interval in bins; the last bin has no upper edge (null)."""
    values, above = lenses[column], above[lenses.index]
    bins = []
    for low, high in itertools.pairwise(edges):
        inside = above[(values >= low) & (values < high)]
        found = zip(("completeness", "low", "high"), fraction_interval(inside), strict=True)
        ends = {"from": low, "to": high if np.isfinite(high) else None}
        bins.append(ends | {"n": len(inside)} | dict(found))
    return bins


def _mark_mistakes(galaxies: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of `lenspipe.evaluation.mistakes`; only visible lenses can be missed."""
    return galaxies.assign(
        missed=galaxies["visible"] & ~galaxies["selected"],
        false=~galaxies["lens"] & galaxies["selected"],
        p=galaxies["p"].mask(galaxies["p"] == _UNSCORED),
        note=[_describe(row) for row in galaxies.to_dict("records")],
    )


def _describe(row: dict) -> str:
    """Einstein radius and signal-to-noise of a lens, or kind of a non-lens."""
    if row["lens"] and "theta_e_arcsec" in row:
        return f'θ {row["theta_e_arcsec"]:.1f}" S/N {row["arc_snr"]:.0f}'
    return row["kind"].replace("_", " ")


def _log_metrics(metrics: dict) -> None:
    log.info(
        "evaluation: AUC %.4f (95 %%: %.4f-%.4f) from %d lenses and %d non-lenses",
        *(metrics[key] for key in ("auc", "auc_low", "auc_high", "n_lenses", "n_nonlenses")),
    )
    log.info(
        "evaluation: at the cut of the candidates: completeness %s, false-positive rate %s",
        *(
            format_percent(metrics, f"{name}_threshold")
            for name in ("completeness", "false_positive_rate")
        ),
    )
    leak = metrics["scores_against_exposures"]
    if leak["spearman"] is not None:
        log.info(
            "evaluation: scores of %d non-lenses in %d bricks against exposures: Spearman %.3f "
            "(p %.2g; so few bricks give at least %.2g)",
            *(leak[key] for key in ("n", "n_bricks", "spearman", "p_value", "min_p_value")),
        )  # fmt: skip
