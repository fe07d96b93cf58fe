"""What a cut promises: completeness and purity, from galaxies that the model never learnt from."""

import numpy as np
import pandas as pd

from lenspipe.metrics import completeness_interval, part_interval, purity_interval

__all__ = ["expect", "random_nonlenses", "read_held_out"]


def read_held_out(settings):
    """Read the held-out galaxies that a threshold is judged by: the test split, else validation.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    table : pandas.DataFrame or None
        Columns label, class, type, region, p; None without the file.
    where : str
        What was read, for messages.
    """
    path = settings.predictions
    if not path.exists():
        return None, str(path)
    table = pd.read_parquet(path, columns=["split", "label", "class", "type", "region", "p"])
    split = "test" if (table["split"] == "test").any() else "validation"
    return table[table["split"] == split], f"{path} ({split} split)"


def random_nonlenses(table, per=(), key=()):
    """Non-lenses drawn at random, without those chosen because they confuse.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `read_held_out`.
    per, key : sequence of str
        Columns, and their values in the group that is meant.

    Returns
    -------
    pandas.DataFrame
    """
    return _of_group(table[table["class"] == "random"], per, key)


def _of_group(table, per, key):
    for column, value in zip(per, key, strict=True):
        table = table[table[column] == value]
    return table


def expect(settings, table, cuts, key=None):
    """Say what a cut is expected to find, with 95 % intervals.

    Completeness is the part of the held-out lenses that pass, the false-positive rate that of the
    random non-lenses, and purity what they give where ``evaluation.prior`` of all galaxies are
    lenses. Where a false-positive rate was asked for, it is taken for the true one, and
    completeness has the interval that includes what is not known of the cut
    (`lenspipe.metrics.completeness_interval`).

    Parameters
    ----------
    settings : lenspipe.config.Settings
    table : pandas.DataFrame or None
        As of `read_held_out`.
    cuts : lenspipe.candidates.stream.Cuts
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
        lenses, others = (_of_group(part, cuts.per, key) for part in (lenses, others))
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
