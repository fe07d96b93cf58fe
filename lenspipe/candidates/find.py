"""From scores to candidates: selected, merged, matched with known lenses, named and ranked."""

from typing import Any

import numpy as np
import pandas as pd

from lenspipe.candidates.catalogue import write_catalogues
from lenspipe.candidates.columns import order_columns
from lenspipe.candidates.forecast import expected_performance
from lenspipe.candidates.page import write_html_page
from lenspipe.candidates.redshifts import add_redshifts
from lenspipe.candidates.systems import make_systems
from lenspipe.candidates.threshold import find_cuts
from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.results import Threshold
from lenspipe.config.settings import Settings
from lenspipe.products.candidates import page_numbers, read_candidates
from lenspipe.products.files import read_json, write_json
from lenspipe.products.models import read_held_out
from lenspipe.products.scores import Cuts, iterate_scores
from lenspipe.utils.progress import log

__all__ = ["find_candidates", "forecast", "list_candidates"]


def find_candidates(settings: Settings) -> pd.DataFrame:
    """Select the galaxies above the threshold, merge them into systems, rank and write these.

    For a list of targets each target with a cutout is a candidate, whatever its probability and
    flags, and none are merged.

    Writes below ``candidates/``: ``cuts.json`` (the selection), ``candidates.csv``, ``.reg``,
    ``.vot``, ``viewer.fits`` and, last, ``candidates.fits``.

    Returns
    -------
    pandas.DataFrame
        The candidates, best first; hidden ones last.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy; the known lenses are not merged yet; the threshold
        cannot be determined, or a table of redshifts cannot be read.
    """
    cuts, n_searched = (Cuts((), {}), {}) if settings.targets else find_cuts(settings)
    galaxies = _select(settings, cuts)
    table = make_systems(galaxies, settings)
    if settings.candidates.redshifts:
        table = add_redshifts(table, settings)
    if settings.survey.tree:
        table["viewer"] = [
            settings.release.viewer_address(ra, dec)
            for ra, dec in zip(table["ra"], table["dec"], strict=True)
        ]
    table = order_columns(table, settings.survey.bands)
    threshold = None if settings.targets else settings.candidates.threshold
    record = _count(threshold, cuts, n_searched, galaxies, table)
    record["groups"] = _count_groups(cuts, n_searched, galaxies)
    _log_result(record, threshold)
    write_json(settings.paths.cuts, record)
    write_catalogues(
        table,
        min(cuts.lowest, 1.0),
        settings.run,
        settings.candidates.merge_radius_arcsec,
        settings.paths,
    )
    return table


def forecast(settings: Settings) -> None:
    """Estimate completeness and purity of the candidates.

    Writes ``candidates/threshold.json``, the selection and its expected performance.
    """
    record, prior = read_json(settings.paths.cuts, "cuts"), settings.evaluation.prior
    threshold = None if settings.targets else settings.candidates.threshold
    held_out, measured_on = (
        (None, None) if settings.targets else read_held_out(settings.predictions)
    )
    groups, per = record.pop("groups"), tuple(record["per"])
    keys = [tuple(group[name] for name in per) for group in groups]
    values = [np.inf if group["cut"] is None else group["cut"] for group in groups]
    cuts = Cuts(per, dict(zip(keys, values, strict=True)))
    expected = {
        key: expected_performance(held_out, cuts, threshold, prior, key) for key in (None, *keys)
    }
    record |= {
        "measured_on": None if held_out is None else measured_on,
        "prior": prior,
        "expected": expected[None],
        "groups": [
            group | {"expected": expected[key]} for key, group in zip(keys, groups, strict=True)
        ],
    }
    _log_forecast(record)
    write_json(settings.paths.threshold, record)


def list_candidates(settings: Settings) -> None:
    """Write ``candidates/candidates.html``, a table with links to the pages of the mosaics."""
    record = read_json(settings.paths.threshold, "threshold")
    threshold = None if settings.targets else settings.candidates.threshold
    table = read_candidates(settings.paths.candidates)
    pages = page_numbers(table, settings.mosaics, settings.survey.bands)
    write_html_page(table, pages, record, settings.run, threshold, settings.paths)


def _select(settings: Settings, cuts: Cuts) -> pd.DataFrame:
    """Galaxies above the threshold and without rejected flags, joined with the parent sample."""
    paths, counts = settings.paths, {"scored": 0, "unscored": 0, "flagged": 0}

    def count(scores: pd.DataFrame) -> pd.DataFrame:
        counts["scored"] += len(scores)
        counts["unscored"] += int(scores["p"].isna().sum())
        return scores

    def select(table: pd.DataFrame) -> pd.DataFrame:
        if settings.targets:
            return table
        table = table[cuts.passes(table)]
        bad = has_rejected_flag(table["flags"], settings)
        counts["flagged"] += int(bad.sum())
        return table[~bad]

    if "type" in cuts.per:
        # The type, on which the cut depends, is only known after the join.
        tables = [select(t) for t in iterate_scores(paths, "selecting", of_parent=count)]
    else:
        tables = list(iterate_scores(paths, "selecting", of_parent=lambda t: select(count(t))))
    log.info(
        "candidates: %d galaxies scored, %d without a score", counts["scored"], counts["unscored"]
    )
    if not settings.targets:
        log.info(
            "candidates: %d galaxies at or above the threshold rejected for their flags (%s)",
            counts["flagged"],
            ", ".join(settings.candidates.reject_flags) or "none configured",
        )
    return pd.concat([rows for rows in tables if len(rows)] or tables[:1], ignore_index=True)


def _count(
    threshold: Threshold | None,
    cuts: Cuts,
    n_searched: dict[tuple[str, ...], int],
    galaxies: pd.DataFrame,
    table: pd.DataFrame,
) -> dict[str, Any]:
    """The threshold and overall numbers for ``cuts.json``; no threshold for targets."""
    return {
        "by": threshold.by if threshold else "targets",
        "value": threshold.value if threshold else None,
        "per": list(cuts.per),
        "n_searched": sum(n_searched.values()) if threshold else len(galaxies),
        "n_above": len(galaxies),
        "n_candidates": len(table),
        "n_known": int(table["known"].sum()),
        "n_hidden": int((table["rank"] == 0).sum()),
    }


def _count_groups(
    cuts: Cuts, n_searched: dict[tuple[str, ...], int], galaxies: pd.DataFrame
) -> list[dict[str, Any]]:
    """Cut and numbers of each group for ``cuts.json``."""
    columns = [galaxies[name] for name in cuts.per]
    keys = list(zip(*columns, strict=True)) if columns else [()] * len(galaxies)
    n_above = pd.Series(keys, dtype=object).value_counts()
    return [
        dict(zip(cuts.per, key, strict=True))
        | {
            "cut": None if np.isinf(cut) else cut,
            "n_searched": n_searched[key],
            "n_above": int(n_above.get(key, 0)),
        }
        for key, cut in cuts.values.items()
    ]


def _log_result(record: dict[str, Any], threshold: Threshold | None) -> None:
    """Log the numbers of candidates."""
    n_candidates, groups = record["n_candidates"], record["groups"]
    log.info(
        "candidates: %d, of %d %s; %d are known lenses%s",
        n_candidates,
        record["n_above"],
        f"galaxies ({threshold})" if threshold else "targets",
        record["n_known"],
        ", hidden" if record["n_hidden"] else "",
    )
    for group in groups:
        log.info(
            "candidates: cut %s%s: %d of %d galaxies",
            "above all" if group["cut"] is None else f"p >= {group['cut']:.9g}",
            "".join(f", {group[name]}" for name in record["per"]),
            group["n_above"], group["n_searched"],
        )  # fmt: skip
    if threshold and threshold.by == "inspect":
        extra = n_candidates - threshold.value * len(groups)
        if extra > 0:
            log.info("candidates: %d more than requested, with tied scores", extra)


def _log_forecast(record: dict[str, Any]) -> None:
    """Log the expected completeness."""
    expected = record["expected"]
    if expected["completeness"] is not None:
        log.info(
            "candidates: expected completeness %.1f %% (95 %%: %.1f-%.1f), from %d lenses of %s",
            *(100 * expected[f"completeness{end}"] for end in ("", "_low", "_high")),
            expected["n_lenses"], record["measured_on"],
        )  # fmt: skip
