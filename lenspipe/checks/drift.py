"""Bricks and chunks whose scores are unlike those of their neighbours."""

import math

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import norm, t

from lenspipe.products.checks import not_measured, result
from lenspipe.products.schema.declarations import names_of
from lenspipe.products.schema.results import DRIFT
from lenspipe.products.tables import read_table
from lenspipe.utils.crossmatch import unit_vectors

__all__ = ["Drift"]

#: Galaxies of a brick, bricks of a region, chunks of a region without which there is no answer.
_FEWEST, _FEWEST_BRICKS, _FEWEST_CHUNKS = 20, 5, 3

#: Chunks with which a chunk is compared, itself included: those around it.
_CHUNKS_AROUND = 9

#: From the median of absolute deviations to a standard deviation, and how much less the median
#: knows than the mean of squares.
_MAD, _EFFICIENCY = 1.4826, 0.37

_FEWEST_DEGREES = 3


class Drift:
    """Scores of bricks, added up chunk by chunk: four numbers a brick.

    A score counts by its rank among a random part of all, as the normal number of that rank. Of a
    brick are kept the mean (``level``) and the variance (``spread``) of these.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    scores : numpy.ndarray of float32, shape (M,)
        Of random galaxies, sorted.
    """

    def __init__(self, settings, scores):
        self.settings, self._scores, self._parts = settings, scores, []
        self._normal = norm.ppf((np.arange(2 * len(scores) + 1) + 0.5) / (2 * len(scores) + 1))

    def add(self, chunk, table):
        """Count a chunk.

        Parameters
        ----------
        chunk : str
        table : pandas.DataFrame
            Its scores, with brick and p; rows without a score don't count.
        """
        table = table[table["p"].notna()]
        p = table["p"].to_numpy(np.float32)
        # Of equal scores each has the rank in their middle.
        rank = np.searchsorted(self._scores, p) + np.searchsorted(self._scores, p, side="right")
        z = self._normal[rank]
        values = pd.DataFrame({"brick": table["brick"].to_numpy(), "level": z, "spread": z**2})
        sums = values.groupby("brick").agg(
            n=("level", "size"), level=("level", "mean"), spread=("spread", "mean")
        )
        sums["spread"] -= sums["level"] ** 2
        self._parts.append(sums.reset_index().assign(chunk=chunk))

    def result(self):
        """Say what was found.

        Returns
        -------
        dict
            As of `lenspipe.products.checks.result`.
        pandas.DataFrame
            Rows of drift.csv, those that are off; brick is empty where it is a whole chunk.
        """
        settings, off = self.settings, pd.DataFrame(columns=names_of(DRIFT))
        if settings.targets:
            return not_measured("the run looks at a list of targets"), off
        columns = ["brick", "region", "ra", "dec"]
        bricks = read_table(settings.paths.bricks, "bricks", columns=columns)
        table = pd.concat(self._parts, ignore_index=True).merge(bricks, on="brick")
        table = table[table["n"] >= _FEWEST]
        enough = table.groupby("region")["brick"].transform("size") >= _FEWEST_BRICKS
        table = table[enough].reset_index(drop=True)
        if table.empty:
            return not_measured(
                f"no region has {_FEWEST_BRICKS} bricks of {_FEWEST} scored galaxies"
            ), off
        rows = pd.concat([_compare(table, name, settings.checks) for name in ("level", "spread")])
        is_off = (rows["p"] < settings.checks.level / len(rows)) & (
            rows["deviation"].abs() > settings.checks.max_drift
        )
        off = rows.loc[is_off, names_of(DRIFT)].sort_values("z", key=np.abs, ascending=False)
        off = off.reset_index(drop=True)
        # Each brick and chunk has a row for either statistic.
        n_chunks = int((rows["brick"] == "").sum() // 2)
        what = f"{len(table)} bricks and {n_chunks} chunks"
        found = [f"{row.brick or 'chunk ' + row.chunk}" for row in off.itertuples()]
        found = list(dict.fromkeys(found))
        names = ", ".join(found[:5]) + ", ..." * (len(found) > 5)
        largest = float(rows["deviation"].abs().max())
        why = f"none of {what} is far off; the largest deviation is {largest:.2f}"
        if found:
            why = f"{len(found)} of {what} are far off their neighbours: {names}"
        parts = [
            {
                "region": region,
                "bricks": int((group["brick"] != "").sum() // 2),
                "chunks": int((group["brick"] == "").sum() // 2),
                "largest_deviation": float(group["deviation"].abs().max()),
            }
            for region, group in rows.groupby("region")
        ]
        return result(
            bool(found),
            len(found),
            0,
            f"bricks and chunks more than {settings.checks.max_drift:g} off their neighbours",
            why,
            parts,
        ), off


def _compare(table, name, own):
    """Deviation of each brick and each chunk of several in a region, with z and p."""
    table = table.assign(value=table[name], statistic=name)
    table["deviation"] = np.nan
    for _, rows in table.groupby("region").groups.items():
        group = table.loc[rows]
        table.loc[rows, "deviation"] = group["value"] - _around(group, own.neighbours + 1)
    # What chance does to mean and variance of n normal numbers.
    table["chance"] = (1 if name == "level" else 2) / table["n"]
    size = _scatter(table["deviation"])
    more = max(0.0, size**2 - table["chance"].median())
    table["error"] = np.sqrt(more + table["chance"])
    chunks = _of_chunks(table, more)
    degrees = max(_FEWEST_DEGREES, _EFFICIENCY * len(table))
    both = pd.concat([table, chunks], ignore_index=True)
    both["z"] = both["deviation"] / both["error"]
    return both.assign(p=2 * t.sf(both["z"].abs(), degrees))


def _of_chunks(table, more):
    """The same of chunks, by the median over their bricks."""
    chunks = table.groupby(["region", "chunk", "statistic"], as_index=False).agg(
        ra=("ra", "first"), dec=("dec", "first"), n=("n", "sum"), bricks=("n", "size"),
        value=("value", "median"), chance=("chance", "median"),
    )  # fmt: skip
    several = chunks.groupby("region")["chunk"].transform("size") >= _FEWEST_CHUNKS
    chunks = chunks[several].assign(brick="", deviation=0.0)
    for _, rows in chunks.groupby("region").groups.items():
        group = chunks.loc[rows]
        chunks.loc[rows, "deviation"] = group["value"] - _around(group, _CHUNKS_AROUND)
    # The variance of a median is pi / 2 times that of a mean.
    error = np.sqrt((more + chunks["chance"]) * math.pi / 2 / chunks["bricks"])
    # Few chunks say nothing of how much chunks differ.
    if len(chunks) >= _CHUNKS_AROUND:
        error = np.maximum(error, _scatter(chunks["deviation"]))
    return chunks.assign(error=error)


def _around(group, number):
    """Median of the nearest rows' values, a row's own among them."""
    where = unit_vectors(group["ra"], group["dec"])
    number = min(number, len(group))
    _, rows = cKDTree(where).query(where, k=number)
    return np.median(group["value"].to_numpy()[rows.reshape(len(group), number)], axis=1)


def _scatter(deviation):
    """Standard deviation, whatever a few are like."""
    return _MAD * float(np.median(np.abs(deviation)))
