"""The list of candidates, its cuts, and the order of its pages."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from astropy.table import Table

from lenspipe.config.results import Mosaics, Threshold
from lenspipe.products.files import read_json, require, unreadable
from lenspipe.products.scores import Cuts
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import is_brick_name

__all__ = ["model_note", "page_numbers", "page_order", "read_candidates", "read_cuts"]

_NEEDED = ("id", "ra", "dec", "brick")


def page_order(table: pd.DataFrame, mosaics: Mosaics, bands: Sequence[str]) -> np.ndarray:
    """Order of the candidates on the pages of the mosaics, by ``mosaics.sort``.

    Parameters
    ----------
    table
        Candidates: columns rank, name and the magnitudes.

    Returns
    -------
    numpy.ndarray of int, shape (N,)
        Row numbers of the table.
    """
    columns = {"p": [], "mag": [f"mag_{bands[-1]}"], "name": ["name"]}
    keys = [*columns[mosaics.sort], "rank"]
    return np.lexsort([table[name].to_numpy() for name in reversed(keys)])


def page_numbers(table: pd.DataFrame, mosaics: Mosaics, bands: Sequence[str]) -> np.ndarray:
    """Page of the mosaics that shows each candidate, from 1; parameters as in `page_order`."""
    places = np.empty(len(table), int)
    places[page_order(table, mosaics, bands)] = np.arange(len(table))
    return places // mosaics.per_page + 1


def model_note(table: pd.DataFrame) -> str:
    """What the model of a table of scores or candidates says of itself; empty if nothing."""
    return str(table["model"].iloc[0]) if "model" in table and len(table) else ""


def read_candidates(path: str | os.PathLike[str], hidden: bool = False) -> pd.DataFrame:
    """Read the run's candidates, best first.

    Parameters
    ----------
    path
        ``candidates/candidates.fits``.
    hidden
        Whether to include those that ``candidates.known`` hides, at the end with rank 0.

    Raises
    ------
    LenspipeError
        There is no such file, it is damaged or lacks a column, or it has an id twice or a brick
        that is none.
    """
    path = require(path, "candidates")
    try:
        table = Table.read(path, format="fits", character_as_bytes=False).to_pandas()
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(path, "candidates", error) from None
    if missing := [name for name in _NEEDED if name not in table]:
        raise LenspipeError(
            f"{path}: found no column {', '.join(missing)}, expected {', '.join(_NEEDED)}; make "
            "the candidates again"
        )
    table["id"], table["brick"] = table["id"].astype(str), table["brick"].astype(str)
    for problem, bad in (
        ("a duplicate id", table["id"].duplicated()),
        ("an invalid brick", ~table["brick"].map(is_brick_name).astype(bool)),
    ):
        if bad.any():
            row = table[bad].iloc[0]
            raise LenspipeError(
                f"{path}: found {problem} ({row['id']!r}, brick {row['brick']!r}), expected ids of "
                "galaxies and names of bricks; make the candidates again"
            )
    if hidden or "rank" not in table:
        return table
    return table[table["rank"] > 0].reset_index(drop=True)


def read_cuts(path: str | os.PathLike[str], threshold: Threshold) -> Cuts:
    """Read the cut of each group of galaxies.

    ``candidates/cuts.json`` is not read if the cut is a given probability.

    Raises
    ------
    LenspipeError
        The candidates have not been selected yet.
    """
    if threshold.by == "probability":
        return Cuts((), {(): threshold.value})
    record = read_json(path, "cuts")
    values = {}
    for group in record["groups"]:
        key = tuple(group[name] for name in record["per"])
        values[key] = np.inf if group["cut"] is None else group["cut"]
    return Cuts(record["per"], values)
