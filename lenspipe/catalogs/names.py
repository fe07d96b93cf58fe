"""Names under which galaxies are shown."""

import pandas as pd

from lenspipe.catalogs.targets import read_targets
from lenspipe.utils.names import iau_name

__all__ = ["shown_names"]


def shown_names(table, settings):
    """Names under which galaxies are shown: of a list of targets its own, else IAU names.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns id, ra and dec.
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    numpy.ndarray of str, shape (N,)
    """
    names = iau_name(table["ra"], table["dec"], settings.release.name_prefix)
    names = pd.Series(names, index=table.index, dtype=object)
    if settings.targets:
        listed = read_targets(settings).set_index("id")["name"]
        own = table["id"].map(listed[listed != ""])
        names = own.where(own.notna(), names)
    return names.to_numpy(dtype=str)
