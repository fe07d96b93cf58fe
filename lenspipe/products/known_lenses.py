"""The merged table of known lenses."""

import pandas as pd

from lenspipe.utils.errors import LenspipeError

__all__ = ["read_known"]


def read_known(settings):
    """Read the table that `merge_known` has written.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    LenspipeError
        There is none.
    """
    path = settings.paths.lenses
    if not path.exists():
        raise LenspipeError(
            f"{path}: found no such file, expected a table; merge the catalogues of known lenses "
            "first"
        )
    return pd.read_parquet(path)
