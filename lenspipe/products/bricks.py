"""The table of the bricks searched, and which chunks there are."""

import pandas as pd

from lenspipe.utils.errors import LenspipeError

__all__ = ["brick_table", "chunks_of"]


def brick_table(settings, bricks):
    """Look up where bricks are.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    bricks : iterable of str

    Returns
    -------
    pandas.DataFrame
        A row for each, in their order: index brick; brickid (int32), ra, dec (degrees).

    Raises
    ------
    LenspipeError
        The run's table of bricks isn't there.
    """
    path = settings.paths.bricks
    if not path.exists():
        raise LenspipeError(f"{path}: no such file; make the table of bricks first")
    table = pd.read_parquet(path, columns=["brick", "brickid", "ra", "dec"])
    return table.set_index("brick").loc[list(bricks)]


def chunks_of(settings):
    """Names of the run's chunks, in order.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    list of str
    """
    return sorted(pd.read_parquet(settings.paths.bricks, columns=["chunk"])["chunk"].unique())
