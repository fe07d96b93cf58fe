"""From scores to candidates: selected, merged, matched with known lenses, named and ranked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.candidates.catalogue import write_catalogues
from lenspipe.candidates.columns import order_columns
from lenspipe.candidates.forecast import expected_performance
from lenspipe.candidates.redshifts import add_redshifts
from lenspipe.candidates.systems import make_systems
from lenspipe.candidates.threshold import find_cuts
from lenspipe.catalogs.names import shown_names
from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Threshold
from lenspipe.config.settings import Settings
from lenspipe.products.cards import describe_model
from lenspipe.products.files import read_json, write_json
from lenspipe.products.models import read_held_out, read_unseen
from lenspipe.products.provenance import made_with
from lenspipe.products.scores import Cuts, iterate_scores
from lenspipe.products.tables import read_table
from lenspipe.statistics.intervals import format_percent
from lenspipe.utils.names import unique_names
from lenspipe.utils.progress import log

__all__ = ["find_candidates", "forecast"]


def find_candidates(settings: Settings) -> pd.DataFrame:
    """Select the galaxies above the threshold, merge them into systems, rank and write these.

    For a list of targets each target with a cutout is a candidate, whatever its probability and
    flags, and none are merged.

    Writes below ``candidates/``: ``cuts.json`` (the selection), ``candidates.csv``, ``.reg``,
    ``.vot``, ``viewer.fits`` and, last, ``candidates.fits``. Return the candidates, best first;
    hidden ones last.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy; the known lenses are not merged yet; the threshold
        cannot be determined, or a table of redshifts cannot be read.
    """
    paths, section, release = settings.paths, settings.candidates, settings.release
    targets, bands = settings.targets, settings.survey.bands
    cuts, n_searched = Cuts((), {}), dict[tuple[str, ...], int]()
    if not targets:
        cuts, n_searched = find_cuts(paths, section, settings.predictions)
    galaxies = _select(paths, None if targets else cuts, section.reject_flags)
    table = make_systems(
        galaxies,
        read_table(paths.lenses, "known"),
        bands[-1],
        merge_radius_arcsec=None if targets else section.merge_radius_arcsec,
        match_radius_arcsec=settings.sample.match_radius_arcsec,
        hide_known=section.known == "hide" and not targets,
    )
    names = shown_names(table, targets, release)
    table["name"] = unique_names(names, table["ra"], table["dec"])
    if section.redshifts:
        table = add_redshifts(table, section.redshifts, settings.retrieval, paths.hosts)
    if settings.survey.tree:
        table["viewer"] = [
            release.viewer_address(ra, dec)
            for ra, dec in zip(table["ra"], table["dec"], strict=True)
        ]
    table = order_columns(table, bands)
    threshold = None if targets else section.threshold
    record = _count(threshold, cuts, n_searched, galaxies, table)
    record["groups"] = _count_groups(cuts, n_searched, galaxies)
    _log_result(record, threshold)
    write_json(paths.cuts, record)
    lowest = min(cuts.lowest, 1.0)
    note = describe_model(settings.model_path)
    if note:
        log.info("candidates: %s", note)
    made_by = made_with(settings)
    write_catalogues(table, lowest, made_by, section.merge_radius_arcsec, note, paths)
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
    unseen = {} if settings.targets else read_unseen(settings.paths.purity("purity.json"), keys)
    expected = {
        key: expected_performance(held_out, cuts, threshold, prior, key, unseen)
        for key in (None, *keys)
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


def _select(paths: RunPaths, cuts: Cuts | None, reject_flags: Sequence[str]) -> pd.DataFrame:
    """Galaxies above the cuts and without rejected flags, joined with the parent sample.

    Without cuts, as for a list of targets, all galaxies.
    """
    counts = {"scored": 0, "unscored": 0, "flagged": 0}

    def count(scores: pd.DataFrame) -> pd.DataFrame:
        counts["scored"] += len(scores)
        counts["unscored"] += int(scores["p"].isna().sum())
        return scores

    def select(table: pd.DataFrame) -> pd.DataFrame:
        if cuts is None:
            return table
        table = table[cuts.passes(table)]
        bad = has_rejected_flag(table["flags"], reject_flags)
        counts["flagged"] += int(bad.sum())
        return table[~bad]

    if cuts is not None and "type" in cuts.per:
        # The type, on which the cut depends, is only known after the join.
        tables = [select(t) for t in iterate_scores(paths, "selecting", of_parent=count)]
    else:
        tables = list(iterate_scores(paths, "selecting", of_parent=lambda t: select(count(t))))
    log.info(
        "candidates: %d galaxies scored, %d without a score", counts["scored"], counts["unscored"]
    )
    if cuts is not None:
        log.info(
            "candidates: %d galaxies at or above the threshold rejected for their flags (%s)",
            counts["flagged"],
            ", ".join(reject_flags) or "none configured",
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
    expected = record["expected"]
    if expected["completeness"] is not None:
        log.info(
            "candidates: expected completeness %s, from %d lenses of %s; false-positive rate %s, "
            "from %d galaxies that no training saw",
            format_percent(expected, "completeness"), expected["n_lenses"], record["measured_on"],
            format_percent(expected, "false_positive_rate"), expected["n_nonlenses"],
        )  # fmt: skip
