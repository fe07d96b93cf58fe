"""Predictions for galaxies that the model never saw in training."""

import pandas as pd

__all__ = ["group_rows", "random_nonlenses", "read_held_out"]


def read_held_out(settings):
    """Read the held-out galaxies that a threshold is judged by: the test split, else validation.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

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
    return group_rows(table[table["class"] == "random"], per, key)


def group_rows(table, per, key):
    """Select the rows of one group: those whose columns `per` have the values `key`."""
    for column, value in zip(per, key, strict=True):
        table = table[table[column] == value]
    return table
