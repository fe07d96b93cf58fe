"""Displayed names of galaxies."""

import numpy as np
import pandas as pd

from lenspipe.catalogs.targets import read_targets
from lenspipe.config.surveys.base import Release
from lenspipe.utils.names import iau_name

__all__ = ["shown_names"]


def shown_names(table: pd.DataFrame, targets: str | None, release: Release) -> np.ndarray:
    """Return the names of galaxies as given in a list of targets, or else IAU names.

    Parameters
    ----------
    table
        Columns id, ra and dec.
    targets
        Path of the list, if there is one.
    release
        Of the survey.

    Returns
    -------
    numpy.ndarray of str, shape (N,)
    """
    names = iau_name(table["ra"], table["dec"], release.name_prefix)
    names = pd.Series(names, index=table.index, dtype=object)
    if targets:
        listed = read_targets(targets, release.brick_deg).set_index("id")["name"]
        given = table["id"].map(listed[listed != ""])
        names = given.where(given.notna(), names)
    return names.to_numpy(dtype=str)
