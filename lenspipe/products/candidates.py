"""The list of candidates and the order of its pages."""

import json

import numpy as np
from astropy.table import Table

from lenspipe.products.scores import Cuts
from lenspipe.utils.errors import LenspipeError

__all__ = ["page_numbers", "page_order", "read_candidates", "read_cuts"]


def page_order(table, settings):
    """Order of the candidates on the mosaics' pages, as ``mosaics.sort`` has it.

    Parameters
    ----------
    table : pandas.DataFrame
        Candidates: columns rank, name and the magnitudes.
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    numpy.ndarray of int, shape (N,)
        Places in the table.
    """
    columns = {"p": [], "mag": [f"mag_{settings.survey.bands[-1]}"], "name": ["name"]}
    keys = [*columns[settings.mosaics.sort], "rank"]
    return np.lexsort([table[name].to_numpy() for name in reversed(keys)])


def page_numbers(table, settings):
    """Page of the mosaics that shows each candidate; pages count from 1.

    Parameters and order are those of `page_order`.
    """
    places = np.empty(len(table), int)
    places[page_order(table, settings)] = np.arange(len(table))
    return places // settings.mosaics.per_page + 1


def read_candidates(settings, hidden=False):
    """Read the run's candidates, best first.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    hidden : bool
        Whether also those that ``candidates.known`` hides, at the end with rank 0.

    Returns
    -------
    pandas.DataFrame
        Columns of ``candidates/candidates.fits``.
    """
    table = Table.read(settings.paths.candidates, format="fits", character_as_bytes=False)
    table = table.to_pandas()
    return table if hidden else table[table["rank"] > 0].reset_index(drop=True)


def read_cuts(settings):
    """Read where the cut of each group of galaxies lies.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    lenspipe.products.scores.Cuts

    Raises
    ------
    LenspipeError
        The candidates were not chosen yet.
    """
    path, own = settings.paths.threshold, settings.candidates.threshold
    if own.by == "probability":
        return Cuts((), {(): own.value})
    if not path.exists():
        raise LenspipeError(f"{path}: found no such file; choose the candidates first")
    record = json.loads(path.read_text())
    values = {}
    for group in record["groups"]:
        key = tuple(group[name] for name in record["per"])
        values[key] = np.inf if group["cut"] is None else group["cut"]
    return Cuts(record["per"], values)
