"""Expected completeness and purity of a cut, from galaxies that the model was not trained on."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lenspipe.config.results import Threshold
from lenspipe.products.models import group_rows, random_nonlenses
from lenspipe.products.scores import Cuts
from lenspipe.statistics.intervals import fraction_interval, name_interval, purity_interval

__all__ = ["expected_performance"]


def expected_performance(
    table: pd.DataFrame | None,
    cuts: Cuts,
    threshold: Threshold | None,
    prior: float,
    key: tuple[str, ...] | None = None,
    unseen: Mapping[tuple[str, ...] | None, Mapping[str, Any]] | None = None,
) -> dict[str, float | None]:
    """Expected performance of a cut, with 95 % intervals.

    Completeness is the fraction of the held-out lenses that pass, the false-positive rate that of
    the random galaxies in bricks that training never saw, or else of the held-out random
    non-lenses, and purity follows from both and the prior. All are those at this cut, also where it
    was placed so that a requested fraction of the held-out non-lenses passes: its true rate is then
    another, in the interval of `lenspipe.statistics.intervals.estimate_fraction`. Keys are
    ``n_lenses``, ``n_nonlenses`` that were used; ``completeness``, ``false_positive_rate`` and
    ``purity``, each with its ``_low`` and ``_high``; None for what could not be measured.

    Parameters
    ----------
    table
        As returned by `lenspipe.products.models.read_held_out`.
    threshold
        None for a list of targets.
    prior
        Fraction of all galaxies that are lenses.
    key
        Group of galaxies; all of them if not given.
    unseen
        As returned by `lenspipe.products.models.read_unseen`.
    """
    if table is None:
        lenses = others = pd.DataFrame({name: [] for name in ("p", *cuts.per)})
    else:
        lenses, others = table[table["class"] == "lens"], random_nonlenses(table)
    if key is not None:
        lenses, others = (group_rows(rows, cuts.per, key) for rows in (lenses, others))
    completeness = fraction_interval(cuts.passes(lenses))
    n_others = len(others)
    if unseen and key in unseen:
        row = unseen[key]
        n_others, fpr = row["n"], (row["rate"], row["low"], row["high"])
    else:
        placed = 0
        if threshold and threshold.by == "false_positive_rate":
            placed = len(cuts.values) if key is None else 1
        fpr = fraction_interval(cuts.passes(others), placed)
    result: dict[str, float | None] = {"n_lenses": len(lenses), "n_nonlenses": n_others}
    result |= name_interval("completeness", completeness)
    result |= name_interval("false_positive_rate", fpr)
    return result | name_interval("purity", purity_interval(completeness, fpr, prior))
