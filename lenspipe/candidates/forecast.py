"""Expected completeness and purity of a cut, from galaxies that the model was not trained on."""

import numpy as np
import pandas as pd

from lenspipe.config.results import Threshold
from lenspipe.products.models import group_rows, random_nonlenses
from lenspipe.products.scores import Cuts
from lenspipe.statistics.metrics import completeness_interval, fraction_interval, purity_interval

__all__ = ["expected_performance"]


def expected_performance(
    table: pd.DataFrame | None,
    cuts: Cuts,
    threshold: Threshold | None,
    prior: float,
    key: tuple[str, ...] | None = None,
) -> dict[str, float | None]:
    """Expected performance of a cut, with 95 % intervals.

    Completeness is the fraction of the held-out lenses that pass, the false-positive rate that of
    the random non-lenses, and purity follows from both and the prior. A false-positive rate that
    was requested is taken to be the true one; the interval of completeness then includes the
    uncertainty of the cut (`lenspipe.statistics.metrics.completeness_interval`). Keys are
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
    """
    if table is None:
        lenses = others = pd.DataFrame({name: [] for name in ("p", *cuts.per)})
    else:
        lenses, others = table[table["class"] == "lens"], random_nonlenses(table)
    if key is not None:
        lenses, others = (group_rows(rows, cuts.per, key) for rows in (lenses, others))
    completeness, fpr = (fraction_interval(cuts.passes(rows)) for rows in (lenses, others))
    has_one_cut = key is not None or not cuts.per
    if threshold and threshold.by == "false_positive_rate" and has_one_cut and len(lenses):
        interval = completeness_interval(
            lenses["p"].to_numpy(), others["p"].to_numpy(), threshold.value
        )
        completeness = (completeness[0], *interval)
        fpr = (threshold.value,) * 3
    result: dict[str, float | None] = {"n_lenses": len(lenses), "n_nonlenses": len(others)}
    for name, values in (
        ("completeness", completeness),
        ("false_positive_rate", fpr),
        ("purity", purity_interval(completeness, fpr, prior)),
    ):
        for end, value in zip(("", "_low", "_high"), values, strict=True):
            result[name + end] = None if value is None or np.isnan(value) else value
    return result
