"""From scores to candidates: chosen, merged, compared with known lenses, named and ranked."""

import json

import numpy as np
import pandas as pd

from lenspipe.candidates.catalogue import viewer_address, write_catalogues
from lenspipe.candidates.columns import ordered
from lenspipe.candidates.forecast import expect
from lenspipe.candidates.page import write_page
from lenspipe.candidates.redshifts import add_redshifts
from lenspipe.candidates.systems import make_systems
from lenspipe.candidates.threshold import find_cuts
from lenspipe.config.flags import rejected
from lenspipe.products.predictions import read_held_out
from lenspipe.products.scores import Cuts, iterate_scores
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["find_candidates"]


def find_candidates(settings):
    """Choose the galaxies above the threshold, merge them into systems, rank and write these.

    Of a list of targets each with a cutout is a candidate, whatever its probability and flags, and
    none are merged.

    Writes below ``candidates/``: ``threshold.json`` (what was chosen and what to expect),
    ``candidates.csv``, ``.reg``, ``.vot``, ``.html``, ``viewer.fits`` and, last,
    ``candidates.fits``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        The candidates, best first; hidden ones last.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy; the known lenses are not merged yet; the threshold
        can't be found, or a table of redshifts can't be read.
    """
    cuts, n_searched = (Cuts((), {}), {}) if settings.targets else find_cuts(settings)
    galaxies = _select(settings, cuts)
    table = make_systems(galaxies, settings)
    if settings.candidates.redshifts:
        table = add_redshifts(table, settings)
    if settings.survey.tree:
        table["viewer"] = [
            viewer_address(ra, dec, settings)
            for ra, dec in zip(table["ra"], table["dec"], strict=True)
        ]
    table = ordered(table, settings.survey.bands)
    record = _record(settings, cuts, n_searched, galaxies, table)
    _report(record, galaxies, table, settings)
    with atomic(settings.paths.threshold) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    write_page(table, record, settings)
    write_catalogues(table, min(cuts.lowest, 1.0), settings)
    return table


def _select(settings, cuts):
    """Galaxies that pass threshold and flags, with what the parent sample knows of them."""
    seen = {"scored": 0, "unscored": 0, "flagged": 0}

    def choose(scores):
        seen["scored"] += len(scores)
        seen["unscored"] += int(scores["p"].isna().sum())
        return scores

    def above(table):
        if settings.targets:
            return table
        table = table[cuts.passes(table)]
        bad = rejected(table["flags"], settings)
        seen["flagged"] += int(bad.sum())
        return table[~bad]

    if "type" in cuts.per:
        # The type, which the cut depends on, is only known after the join.
        tables = [above(t) for t in iterate_scores(settings.paths, "choosing", of_parent=choose)]
    else:
        tables = list(
            iterate_scores(settings.paths, "choosing", of_parent=lambda t: above(choose(t)))
        )
    log.info("candidates: %d galaxies scored, %d without a score", seen["scored"], seen["unscored"])
    if not settings.targets:
        log.info(
            "candidates: %d galaxies at or above the threshold rejected for their flags (%s)",
            seen["flagged"],
            ", ".join(settings.candidates.reject_flags) or "none asked for",
        )
    return pd.concat([rows for rows in tables if len(rows)] or tables[:1], ignore_index=True)


def _record(settings, cuts, n_searched, galaxies, table):
    """Content of ``threshold.json``."""
    own = settings.candidates.threshold
    held_out, where = (None, None) if settings.targets else read_held_out(settings.predictions)
    above = [galaxies[name] for name in cuts.per]
    keys = list(zip(*above, strict=True)) if above else [()] * len(galaxies)
    n_above = pd.Series(keys, dtype=object).value_counts()
    groups = [
        dict(zip(cuts.per, key, strict=True))
        | {
            "cut": None if np.isinf(cut) else cut,
            "n_searched": n_searched[key],
            "n_above": int(n_above.get(key, 0)),
            "expected": expect(settings, held_out, cuts, key),
        }
        for key, cut in cuts.values.items()
    ]
    return {
        "by": "targets" if settings.targets else own.by,
        "value": None if settings.targets else own.value,
        "per": list(cuts.per),
        "n_searched": sum(n_searched.values()) if not settings.targets else len(galaxies),
        "n_above": len(galaxies),
        "n_candidates": len(table),
        "n_known": int(table["known"].sum()),
        "n_hidden": int((table["rank"] == 0).sum()),
        "measured_on": None if held_out is None else where,
        "prior": settings.evaluation.prior,
        "expected": expect(settings, held_out, cuts),
        "groups": groups,
    }


def _report(record, galaxies, table, settings):
    """Log what was chosen and what to expect of it."""
    log.info(
        "candidates: %d, of %d %s; %d are known lenses%s",
        len(table),
        len(galaxies),
        "targets" if settings.targets else f"galaxies ({settings.candidates.threshold})",
        record["n_known"],
        ", hidden" if record["n_hidden"] else "",
    )
    for group in record["groups"]:
        log.info(
            "candidates: cut %s%s: %d of %d galaxies",
            "above all" if group["cut"] is None else f"p >= {group['cut']:.9g}",
            "".join(f", {group[name]}" for name in record["per"]),
            group["n_above"], group["n_searched"],
        )  # fmt: skip
    if settings.candidates.threshold.by == "inspect" and not settings.targets:
        limit = settings.candidates.threshold.value * len(record["groups"])
        if len(table) > limit:
            log.info("candidates: %d more than asked for score alike", len(table) - limit)
    expected = record["expected"]
    if expected["completeness"] is not None:
        log.info(
            "candidates: expected completeness %.1f %% (95 %%: %.1f-%.1f), from %d lenses of %s",
            *(100 * expected[f"completeness{end}"] for end in ("", "_low", "_high")),
            expected["n_lenses"], record["measured_on"],
        )  # fmt: skip
