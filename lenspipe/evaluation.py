"""How well the search does on galaxies that training never saw."""

import itertools
import json

import numpy as np
import pandas as pd
import scipy.stats

from lenspipe import figures
from lenspipe.candidates import iau_name, rejected
from lenspipe.errors import LenspipeError
from lenspipe.mosaics import draw_page, read_images
from lenspipe.paths import atomic
from lenspipe.progress import log

__all__ = ["auc", "completeness_at_fpr", "evaluate", "roc_curve", "wilson_interval"]

#: A lens that a person could see: Einstein radius in arcsec and signal-to-noise of its arcs.
VISIBLE_THETA_E_ARCSEC, VISIBLE_ARC_SNR = 1.2, 10.0
_THETA_E_EDGES = (0, 0.6, 0.9, 1.2, 1.5, 1.8, 2.2, 2.6, 3.2, np.inf)
_ARC_SNR_EDGES = (0, 3, 5, 10, 20, 40, 80, 160, np.inf)
_MAG_EDGES = (0, 17, 17.5, 18, 18.5, 19, 19.5, 20, np.inf)
_NOBS_EDGES = (0, 2, 4, 6, 8, 10, 12, np.inf)
# Below every probability: a galaxy without a score is never found.
_UNSCORED = -1.0


def auc(lenses, others):
    """Area under the ROC curve: the chance that a lens scores above a non-lens, ties half.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores.

    Returns
    -------
    float or None
        None where either is empty.
    """
    if len(lenses) == 0 or len(others) == 0:
        return None
    ordered = np.sort(others)
    below = np.searchsorted(ordered, lenses, "left") + np.searchsorted(ordered, lenses, "right")
    return float(below.mean() / 2 / len(ordered))


def roc_curve(lenses, others):
    """The ROC curve.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores; neither is empty.

    Returns
    -------
    fpr, completeness : numpy.ndarray, shape (K,)
        From (0, 0) to (1, 1); one point for each score that occurs, cut at or above it.
    """
    cuts = np.unique(np.concatenate([lenses, others]))[::-1]

    def passing(scores):
        return 1 - np.searchsorted(np.sort(scores), cuts, "left") / len(scores)

    return np.append(0.0, passing(others)), np.append(0.0, passing(lenses))


def completeness_at_fpr(lenses, others, fpr):
    """Completeness at a false-positive rate.

    Parameters
    ----------
    lenses, others : array_like, shape (N,), (M,)
        Scores.
    fpr : float
        Largest part of the non-lenses that may pass.

    Returns
    -------
    completeness : float or None
        Part of the lenses above the cut; None where there are no lenses, or fewer than 1 / fpr
        non-lenses to measure the rate with.
    cut : float or None
        Scores *above* it pass: the lowest cut that lets no more than that part through.
    """
    allowed = int(np.floor(fpr * len(others) + 1e-9))
    if allowed < 1:
        return None, None
    cut = float(np.sort(others)[::-1][min(allowed, len(others) - 1)])
    completeness = float((np.asarray(lenses) > cut).mean()) if len(lenses) else None
    return completeness, cut


def wilson_interval(count, total, z=1.959964):
    """Interval of a fraction (Wilson 1927, J. Am. Stat. Assoc. 22, 209).

    Parameters
    ----------
    count, total : int
        Successes, trials.
    z : float
        Half width in standard deviations; 1.96 for 95 %.

    Returns
    -------
    low, high : float
        (0, 1) without trials.
    """
    if total == 0:
        return 0.0, 1.0
    part = count / total
    centre = part + z**2 / (2 * total)
    half = z * np.sqrt(part * (1 - part) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    # Exact at the ends, where rounding would leave 1e-17 or 1 - 1e-16.
    low = float((centre - half) / scale) if count else 0.0
    high = float((centre + half) / scale) if count < total else 1.0
    return low, high


def evaluate(settings):
    """Measure the search on galaxies that training never saw.

    On a simulated sky these are all galaxies of the test bricks, those without a row of another
    split in ``sample/sample.parquet``, judged by the sky's truth. Where ``sample.fractions`` leaves
    no test split the validation split takes its place. A lens
    counts as visible with an Einstein radius of at least 1.2 arcsec and arcs of signal-to-noise
    of at least 10. On real data they are the test split, judged by its labels.

    Writes below ``evaluation/``: ``roc.png``, ``scores.png``, ``completeness.png`` (against
    Einstein radius and arc signal-to-noise; against magnitude and exposures in the reddest band
    without truth), the most confident mistakes ``missed.png`` and ``false.png``, and last
    ``metrics.json``. There, completeness is of visible lenses (of all labelled lenses without
    truth) and false-positive rates are of all non-lenses; ``fpr10``, ``fpr01`` and ``fpr001`` are
    rates of 10, 1 and 0.1 %. What could not be measured is null.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    dict
        The metrics.

    Raises
    ------
    LenspipeError
        There are no lenses, or no non-lenses, to measure with.
    """
    paths = settings.paths
    paths.evaluation("metrics.json").unlink(missing_ok=True)
    galaxies = _with_truth(settings) if settings.simulation else _labelled(settings)
    galaxies = _with_conditions(settings, galaxies)
    unscored = galaxies["p"].isna()
    if unscored.any():
        log.info("evaluation: %d galaxies have no score; they count as not found", unscored.sum())
    galaxies["p"] = galaxies["p"].astype(np.float64).fillna(_UNSCORED)
    passes = galaxies["p"].astype(np.float32) >= np.float32(settings.candidates.threshold)
    galaxies["selected"] = passes & ~rejected(galaxies["flags"], settings)
    where = f"the {settings.held_out} {'bricks' if settings.simulation else 'split'}"
    for what, number in (("lens", galaxies["lens"].sum()), ("non-lens", (~galaxies["lens"]).sum())):
        if number == 0:
            raise LenspipeError(
                f"{paths.sample}: found no {what} among the {len(galaxies)} galaxies of {where}, "
                "expected at least one; enlarge config section footprint or the test part of "
                "sample.fractions"
            )
    metrics = _measure(galaxies, settings)
    lenses, visible, others = _scores(galaxies)
    curves = {f"all {len(lenses)} lenses": roc_curve(lenses, others)}
    if settings.simulation and len(visible):
        curves[f"{len(visible)} visible lenses"] = roc_curve(visible, others)
    figures.draw_roc(curves, paths.evaluation("roc.png"))
    figures.draw_scores(
        galaxies["p"],
        galaxies["kind"],
        settings.candidates.threshold,
        paths.evaluation("scores.png"),
    )
    figures.draw_completeness(
        [
            {
                "bins": metrics[f"completeness_by_{name}"],
                "label": label,
                "title": title,
                "log": log_,
            }
            for name, label, title, log_ in _panels(settings)
        ],
        metrics["binned_at"],
        paths.evaluation("completeness.png"),
    )
    _draw_mistakes(galaxies, settings)
    with atomic(paths.evaluation("metrics.json")) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    _report(metrics)
    return metrics


def _read_rows(settings, path_of_chunk, bricks):
    """Rows of some bricks from a table that each chunk has."""
    table = pd.read_parquet(settings.paths.bricks)
    chunks = sorted(table.loc[table["brick"].isin(bricks), "chunk"].unique())
    tables = [pd.read_parquet(path_of_chunk(chunk)) for chunk in chunks]
    rows = pd.concat(tables, ignore_index=True)
    return rows[rows["brick"].isin(bricks)].reset_index(drop=True)


def _with_truth(settings):
    """Galaxies of the test bricks with what the simulated sky knows of them."""
    paths = settings.paths
    sample = pd.read_parquet(paths.sample)
    seen = set(sample.loc[sample["split"] != settings.held_out, "brick"])
    test = set(pd.read_parquet(paths.bricks)["brick"]) - seen
    if not test:
        raise LenspipeError(
            f"{paths.sample}: found galaxies of other splits than {settings.held_out} in every "
            "brick, expected bricks that training never saw; enlarge config section footprint or "
            "the test part of sample.fractions, or lower sample.split_nside"
        )
    log.info("evaluation: %d %s bricks; training saw %d", len(test), settings.held_out, len(seen))
    truth = pd.read_parquet(paths.truth)
    columns = ["id", "kind", "theta_e_arcsec", "arc_snr"]
    # An object may be listed once in each region that has its brick.
    truth = truth[columns].drop_duplicates("id")
    galaxies = _read_rows(settings, paths.scores, test).merge(
        truth, on="id", how="left", validate="1:1"
    )
    galaxies["kind"] = galaxies["kind"].astype(object).fillna("other").astype(str)
    galaxies["lens"] = galaxies["kind"] == "lens"
    galaxies["visible"] = (
        galaxies["lens"]
        & (galaxies["theta_e_arcsec"] >= VISIBLE_THETA_E_ARCSEC)
        & (galaxies["arc_snr"] >= VISIBLE_ARC_SNR)
    )
    return galaxies


def _labelled(settings):
    """Galaxies of the labelled sample's test split."""
    sample = pd.read_parquet(settings.paths.sample)
    sample = sample.loc[
        (sample["split"] == settings.held_out) & (sample["class"] != "injected"),
        ["id", "brick", "label"],
    ]
    if sample.empty:
        raise LenspipeError(
            f"{settings.paths.sample}: found no labelled galaxy in the {settings.held_out} split, "
            "expected some; raise its part in config key sample.fractions"
        )
    scores = _read_rows(settings, settings.paths.scores, set(sample["brick"]))
    galaxies = sample.drop(columns="brick").merge(scores, on="id", validate="1:1")
    if len(galaxies) < len(sample):
        log.info("evaluation: %d of the test split were not scored", len(sample) - len(galaxies))
    galaxies["lens"] = galaxies["visible"] = galaxies["label"] > 0.5
    galaxies["kind"] = np.where(galaxies["lens"], "lens", "non-lens")
    return galaxies


def _with_conditions(settings, galaxies):
    """Galaxies with magnitude and exposures in the last band."""
    band = settings.survey.bands[-1]
    columns = {f"mag_{band}": "mag", f"nobs_{band}": "nobs"}
    parent = _read_rows(settings, settings.paths.parent, set(galaxies["brick"]))
    parent = parent[["id", *columns]].rename(columns=columns)
    return galaxies.merge(parent, on="id", how="left", validate="1:1")


def _depth_leak(others):
    """Whether scores of non-lenses follow the number of exposures (Spearman's rank correlation)."""
    scored = others[others["p"] != _UNSCORED]
    if len(scored) < 3 or scored["nobs"].nunique() == 1 or scored["p"].nunique() == 1:
        return {"spearman": None, "p_value": None, "n": len(scored)}
    found = scipy.stats.spearmanr(scored["p"], scored["nobs"])
    return {
        "spearman": float(found.statistic),
        "p_value": float(found.pvalue),
        "n": len(scored),
    }


def _scores(galaxies):
    """Scores of lenses, of visible lenses and of non-lenses."""
    p, lens = galaxies["p"].to_numpy(), galaxies["lens"].to_numpy()
    return p[lens], p[galaxies["visible"].to_numpy()], p[~lens]


def _measure(galaxies, settings):
    """All metrics."""
    lenses, visible, others = _scores(galaxies)
    at = {fpr: completeness_at_fpr(visible, others, fpr) for fpr in (0.1, 0.01, 0.001)}
    cut = at[0.01][1]
    above = galaxies["selected"] if cut is None else galaxies["p"] > cut
    selected, lens, seen = galaxies["selected"], galaxies["lens"], galaxies["visible"]
    n_selected = int(selected.sum())
    metrics = {
        "judged_by": "truth" if settings.simulation else "labels",
        "auc": auc(lenses, others),
        "completeness_fpr01": at[0.01][0],
        "completeness_fpr01_low": None,
        "completeness_fpr01_high": None,
        "completeness_fpr10": at[0.1][0],
        "completeness_fpr001": at[0.001][0],
        "n_bricks": int(galaxies["brick"].nunique()),
        "n_lenses": len(lenses),
        "n_visible_lenses": len(visible),
        "n_nonlenses": len(others),
        "threshold": settings.candidates.threshold,
        "completeness_threshold": float(selected[seen].mean()) if len(visible) else None,
        "n_above_threshold": n_selected,
        "purity_threshold": float(lens[selected].mean()) if n_selected else None,
        "false_positive_rate_threshold": float(selected[~lens].mean()),
    }
    if at[0.01][0] is not None:
        low, high = wilson_interval(int((visible > cut).sum()), len(visible))
        metrics |= {"completeness_fpr01_low": low, "completeness_fpr01_high": high}
    metrics["scores_against_exposures"] = _depth_leak(galaxies[~lens])
    metrics["binned_at"] = "p ≥ threshold" if cut is None else "1 % false positives"
    if not settings.simulation:
        del metrics["n_visible_lenses"]
        metrics["completeness_by_mag"] = _in_bins(galaxies[lens], "mag", above, _MAG_EDGES)
        metrics["completeness_by_nobs"] = _in_bins(galaxies[lens], "nobs", above, _NOBS_EDGES)
        return metrics
    metrics["auc_visible"] = auc(visible, others)
    metrics["false_positive_rate_by_kind"] = {
        str(kind): {
            "n": len(group),
            "threshold": float(group["selected"].mean()),
            "fpr01": None if cut is None else float((group["p"] > cut).mean()),
        }
        for kind, group in galaxies[~lens].groupby("kind")
    }
    bright = galaxies[lens & (galaxies["arc_snr"] >= VISIBLE_ARC_SNR)]
    wide = galaxies[lens & (galaxies["theta_e_arcsec"] >= VISIBLE_THETA_E_ARCSEC)]
    metrics["completeness_by_theta_e"] = _in_bins(bright, "theta_e_arcsec", above, _THETA_E_EDGES)
    metrics["completeness_by_arc_snr"] = _in_bins(wide, "arc_snr", above, _ARC_SNR_EDGES)
    return metrics


def _panels(settings):
    """What completeness is drawn against: name in the metrics, axis, title, logarithmic or not."""
    if settings.simulation:
        return [
            ("theta_e", "Einstein radius (arcsec)", "lenses with arc S/N ≥ 10", False),
            ("arc_snr", "arc signal-to-noise", 'lenses with θ$_E$ ≥ 1.2"', True),
        ]
    band = settings.survey.bands[-1]
    return [
        ("mag", f"{band} magnitude", "lenses of the test split", False),
        ("nobs", f"exposures in {band}", "lenses of the test split", False),
    ]


def _in_bins(lenses, column, found, edges):
    """Completeness with its 95 % interval in bins; the last bin has no upper edge (null)."""
    values, found = lenses[column], found[lenses.index]
    bins = []
    for low, high in itertools.pairwise(edges):
        inside = found[(values >= low) & (values < high)]
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


def _draw_mistakes(galaxies, settings):
    """Pages of the visible lenses with the lowest scores and the non-lenses with the highest."""
    threshold = settings.candidates.threshold
    missed = galaxies[galaxies["visible"] & ~galaxies["selected"]].sort_values(["p", "id"])
    false = galaxies[~galaxies["lens"] & galaxies["selected"]]
    false = false.sort_values(["p", "id"], ascending=[False, True])
    for file, table, title, order, message in (
        ("missed.png", missed, "lenses missed", "least probable first", "No lens was missed."),
        ("false.png", false, "non-lenses found", "most probable first", "No non-lens was found."),
    ):
        shown = table.head(settings.mosaics.columns * settings.mosaics.rows).reset_index(drop=True)
        shown["rank"] = np.arange(1, len(shown) + 1)
        shown["name"] = iau_name(shown["ra"], shown["dec"])
        shown["p"] = shown["p"].mask(shown["p"] == _UNSCORED)
        shown["note"] = [_note(row) for row in shown.to_dict("records")]
        draw_page(
            read_images(settings, shown),
            shown,
            settings.paths.evaluation(file),
            bands=settings.survey.bands,
            stretch=settings.mosaics.stretch,
            columns=settings.mosaics.columns,
            title=f"{settings.run}: {title} at p ≥ {threshold:g}",
            subtitle=f"{len(shown)} of {len(table)}, {order}; galaxies that training never saw",
            message=message,
        )


def _note(row):
    """What a mistake is: a lens's radius and signal-to-noise, or what else it is."""
    if row["lens"] and "theta_e_arcsec" in row:
        return f'θ {row["theta_e_arcsec"]:.1f}" S/N {row["arc_snr"]:.0f}'
    return row["kind"].replace("_", " ")


def _report(metrics):
    """Log the main figures."""
    at = metrics["completeness_fpr01"]
    log.info(
        "evaluation: AUC %.4f from %d lenses and %d non-lenses",
        metrics["auc"],
        metrics["n_lenses"],
        metrics["n_nonlenses"],
    )
    if at is None:
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
