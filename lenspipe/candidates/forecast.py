"""What a cut promises: completeness and purity, from galaxies that the model never learnt from."""

import numpy as np
import pandas as pd

from lenspipe.products.predictions import group_rows, random_nonlenses
from lenspipe.statistics.metrics import completeness_interval, part_interval, purity_interval

__all__ = ["expect"]


def expect(settings, table, cuts, key=None):
    """Say what a cut is expected to find, with 95 % intervals.

    Completeness is the part of the held-out lenses that pass, the false-positive rate that of the
    random non-lenses, and purity what they give where ``evaluation.prior`` of all galaxies are
    lenses. Where a false-positive rate was asked for, it is taken for the true one, and
    completeness has the interval that includes what is not known of the cut
    (`lenspipe.statistics.metrics.completeness_interval`).

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table : pandas.DataFrame or None
        As of `read_held_out`.
    cuts : lenspipe.products.scores.Cuts
    key : tuple of str, optional
        The group that is meant; all without it.

    Returns
    -------
    dict
        ``n_lenses``, ``n_nonlenses`` measured with; ``completeness``, ``false_positive_rate`` and
        ``purity``, each with its ``_low`` and ``_high``; None for what could not be measured.
    """
    if table is None:
        lenses = others = pd.DataFrame({name: [] for name in ("p", *cuts.per)})
    else:
        lenses, others = table[table["class"] == "lens"], random_nonlenses(table)
    if key is not None:
        lenses, others = (group_rows(part, cuts.per, key) for part in (lenses, others))
    completeness, fpr = (part_interval(cuts.passes(part)) for part in (lenses, others))
    own = settings.candidates.threshold
    is_one_cut = key is not None or not cuts.per
    if own.by == "false_positive_rate" and is_one_cut and len(lenses):
        ends = completeness_interval(
            *(part["p"].to_numpy() for part in (lenses, others)), own.value
        )
        completeness, fpr = (completeness[0], *ends), (own.value,) * 3
    purity = purity_interval(completeness, fpr, settings.evaluation.prior)
    found = {"n_lenses": len(lenses), "n_nonlenses": len(others)}
    for name, values in (
        ("completeness", completeness),
        ("false_positive_rate", fpr),
        ("purity", purity),
    ):
        for end, value in zip(("", "_low", "_high"), values, strict=True):
            found[name + end] = None if value is None or np.isnan(value) else value
    return found
