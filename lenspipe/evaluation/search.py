"""How well the search performs on galaxies not used in training."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats

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
from lenspipe.statistics.metrics import (
    PROPERTY_BINS,
    auc,
    completeness_at_fpr,
    completeness_interval,
    roc_curve,
    wilson_interval,
)
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["completeness_in_bins", "evaluate"]

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
    lenses) and false-positive rates are those of all non-lenses; ``fpr10``, ``fpr01`` and
    ``fpr001`` are rates of 10, 1 and 0.1 %. What could not be measured is null.

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
    metrics = _measure(galaxies, cuts.lowest, has_truth)
    lenses, visible, nonlenses = _scores(galaxies)
    curves = {f"all {len(lenses)} lenses": roc_curve(lenses, nonlenses)}
    if has_truth and len(visible):
        curves[f"{len(visible)} visible lenses"] = roc_curve(visible, nonlenses)
    figures.plot_roc(curves, paths.evaluation("roc.png"))
    figures.plot_scores(
        galaxies["p"],
        galaxies["kind"],
        metrics["threshold"],
        paths.evaluation("scores.png"),
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
        metrics["binned_at"],
        paths.evaluation("completeness.png"),
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
    """Spearman's rank correlation of the scores of non-lenses with the number of exposures."""
    scored = nonlenses[nonlenses["p"] != _UNSCORED]
    if len(scored) < 3 or scored["nobs"].nunique() == 1 or scored["p"].nunique() == 1:
        return {"spearman": None, "p_value": None, "n": len(scored)}
    correlation = scipy.stats.spearmanr(scored["p"], scored["nobs"])
    return {
        "spearman": float(correlation.statistic),
        "p_value": float(correlation.pvalue),
        "n": len(scored),
    }


def _scores(galaxies: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of lenses, of visible lenses and of non-lenses."""
    p, lens = galaxies["p"].to_numpy(), galaxies["lens"].to_numpy()
    return p[lens], p[galaxies["visible"].to_numpy()], p[~lens]


def _measure(galaxies: pd.DataFrame, lowest_cut: float, has_truth: bool) -> dict:
    """Compute all metrics; their threshold is the lowest cut of the candidates."""
    lenses, visible, nonlenses = _scores(galaxies)
    at = {fpr: completeness_at_fpr(visible, nonlenses, fpr) for fpr in (0.1, 0.01, 0.001)}
    cut = at[0.01][1]
    low, high = completeness_interval(visible, nonlenses, 0.01)
    above = galaxies["selected"] if cut is None else galaxies["p"] > cut
    selected, lens, seen = galaxies["selected"], galaxies["lens"], galaxies["visible"]
    n_selected = int(selected.sum())
    metrics: dict = {
        "judged_by": "truth" if has_truth else "labels",
        "auc": auc(lenses, nonlenses),
        "completeness_fpr01": at[0.01][0],
        "completeness_fpr01_low": low,
        "completeness_fpr01_high": high,
        "completeness_fpr10": at[0.1][0],
        "completeness_fpr001": at[0.001][0],
        "n_bricks": int(galaxies["brick"].nunique()),
        "n_lenses": len(lenses),
        "n_visible_lenses": len(visible),
        "n_nonlenses": len(nonlenses),
        "threshold": min(lowest_cut, 1.0),
        "completeness_threshold": float(selected[seen].mean()) if len(visible) else None,
        "n_above_threshold": n_selected,
        "purity_threshold": float(lens[selected].mean()) if n_selected else None,
        "false_positive_rate_threshold": float(selected[~lens].mean()),
        "scores_against_exposures": _correlate_with_exposures(galaxies[~lens]),
        "binned_at": "p ≥ threshold" if cut is None else "1 % false positives",
    }
    if not has_truth:
        del metrics["n_visible_lenses"]
        for name in ("mag", "nobs"):
            metrics[f"completeness_by_{name}"] = completeness_in_bins(
                galaxies[lens], name, above, PROPERTY_BINS[name]
            )
        return metrics
    metrics["auc_visible"] = auc(visible, nonlenses)
    metrics["false_positive_rate_by_kind"] = {
        str(kind): {
            "n": len(group),
            "threshold": float(group["selected"].mean()),
            "fpr01": None if cut is None else float((group["p"] > cut).mean()),
        }
        for kind, group in galaxies[~lens].groupby("kind")
    }
    for name, column in (("theta_e", "theta_e_arcsec"), ("arc_snr", "arc_snr")):
        metrics[f"completeness_by_{name}"] = completeness_in_bins(
            galaxies[seen], column, above, PROPERTY_BINS[name]
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
        n, n_found = len(inside), int(inside.sum())
        interval = wilson_interval(n_found, n) if n else (None, None)
        bins.append(
            {
                "from": low,
                "to": high if np.isfinite(high) else None,
                "n": n,
                "completeness": n_found / n if n else None,
                "low": interval[0],
                "high": interval[1],
            }
        )
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
        "evaluation: AUC %.4f from %d lenses and %d non-lenses",
        metrics["auc"],
        metrics["n_lenses"],
        metrics["n_nonlenses"],
    )
    if metrics["completeness_fpr01"] is None:
        log.info("evaluation: too few galaxies to measure completeness at 1 % false positives")
    else:
        log.info(
            "evaluation: completeness %.1f %% (95 %%: %.1f-%.1f) at 1 %% false positives",
            *(100 * metrics[f"completeness_fpr01{end}"] for end in ("", "_low", "_high")),
        )
    leak = metrics["scores_against_exposures"]
    if leak["spearman"] is not None:
        log.info(
            "evaluation: scores of %d non-lenses against exposures: Spearman %.3f (p %.2g)",
            leak["n"], leak["spearman"], leak["p_value"],
        )  # fmt: skip
