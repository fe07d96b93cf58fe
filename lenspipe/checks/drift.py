"""Bricks and chunks whose scores differ from those of their neighbours."""

import math

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import norm, t

from lenspipe.config.quality import Checks
from lenspipe.products.checks import not_measured, result
from lenspipe.products.schema import DRIFT, names_of
from lenspipe.utils.crossmatch import unit_vectors

__all__ = ["Drift"]

#: Minimum numbers for a measurement: galaxies of a brick, bricks and chunks of a region.
_MIN_GALAXIES, _MIN_BRICKS, _MIN_CHUNKS = 20, 5, 3

#: Number of nearest chunks, itself included, with which a chunk is compared.
_CHUNKS_AROUND = 9

#: Ratio of the standard deviation to the median of absolute deviations, and the efficiency of that
#: estimator relative to the root mean square.
_MAD, _EFFICIENCY = 1.4826, 0.37

_MIN_DEGREES_OF_FREEDOM = 3


class Drift:
    """Scores of bricks, accumulated chunk by chunk: four numbers for each brick.

    Each score is replaced by the normal deviate of its rank among a random subset of all scores.
    The mean (``level``) and the variance (``spread``) of these are kept for each brick. `scores`
    are those of the subset (float32), sorted.
    """

    def __init__(self, checks: Checks, scores: np.ndarray) -> None:
        self._checks, self._scores = checks, scores
        self._tables: list[pd.DataFrame] = []
        self._normal = norm.ppf((np.arange(2 * len(scores) + 1) + 0.5) / (2 * len(scores) + 1))

    def add(self, chunk: str, table: pd.DataFrame) -> None:
        """Add the scores of a chunk: columns brick and p; rows without a score don't count."""
        table = table[table["p"].notna()]
        p = table["p"].to_numpy(np.float32)
        # Equal scores share the middle one of their ranks.
        rank = np.searchsorted(self._scores, p) + np.searchsorted(self._scores, p, side="right")
        z = self._normal[rank]
        values = pd.DataFrame({"brick": table["brick"].to_numpy(), "level": z, "spread": z**2})
        sums = values.groupby("brick").agg(
            n=("level", "size"), level=("level", "mean"), spread=("spread", "mean")
        )
        sums["spread"] -= sums["level"] ** 2
        self._tables.append(sums.reset_index().assign(chunk=chunk))

    def result(self, bricks: pd.DataFrame) -> tuple[dict, pd.DataFrame]:
        """Compare bricks (columns brick, region, ra, dec) and chunks with their neighbours.

        Return the dict of `lenspipe.products.checks.result`, and the outliers, with the columns of
        drift.csv; brick is empty for a whole chunk.
        """
        checks, outliers = self._checks, pd.DataFrame(columns=names_of(DRIFT))
        table = pd.concat(self._tables, ignore_index=True).merge(bricks, on="brick")
        table = table[table["n"] >= _MIN_GALAXIES]
        enough = table.groupby("region")["brick"].transform("size") >= _MIN_BRICKS
        table = table[enough].reset_index(drop=True)
        if table.empty:
            return not_measured(
                f"no region has {_MIN_BRICKS} bricks of {_MIN_GALAXIES} scored galaxies"
            ), outliers
        rows = pd.concat([_compare(table, name, checks.neighbours) for name in ("level", "spread")])
        is_outlier = (rows["p"] < checks.level / len(rows)) & (
            rows["deviation"].abs() > checks.max_drift
        )
        outliers = rows.loc[is_outlier, names_of(DRIFT)].sort_values(
            "z", key=np.abs, ascending=False
        )
        outliers = outliers.reset_index(drop=True)
        # Each brick and each chunk has two rows, one for each statistic.
        n_chunks = int((rows["brick"] == "").sum() // 2)
        compared = f"{len(table)} bricks and {n_chunks} chunks"
        names = [row.brick or f"chunk {row.chunk}" for row in outliers.itertuples()]
        names = list(dict.fromkeys(names))
        listed = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
        largest = float(rows["deviation"].abs().max())
        why = f"none of {compared} differs strongly; the largest deviation is {largest:.2f}"
        if names:
            why = f"{len(names)} of {compared} differ strongly from their neighbours: {listed}"
        regions = [
            {
                "region": region,
                "bricks": int((group["brick"] != "").sum() // 2),
                "chunks": int((group["brick"] == "").sum() // 2),
                "largest_deviation": float(group["deviation"].abs().max()),
            }
            for region, group in rows.groupby("region")
        ]
        return result(
            bool(names),
            len(names),
            0,
            f"bricks and chunks that deviate by more than {checks.max_drift:g} from their "
            "neighbours",
            why,
            regions,
        ), outliers


def _compare(table: pd.DataFrame, statistic: str, neighbours: int) -> pd.DataFrame:
    """Deviation of each brick and of each chunk, where a region has several, with z and p."""
    table = table.assign(value=table[statistic], statistic=statistic)
    table["deviation"] = np.nan
    for _, rows in table.groupby("region").groups.items():
        group = table.loc[rows]
        table.loc[rows, "deviation"] = group["value"] - _neighbour_median(group, neighbours + 1)
    # Variance of the mean, or of the variance, of n normal numbers.
    table["chance"] = (1 if statistic == "level" else 2) / table["n"]
    scatter = _robust_std(table["deviation"])
    intrinsic = max(0.0, scatter**2 - table["chance"].median())
    table["error"] = np.sqrt(intrinsic + table["chance"])
    chunks = _compare_chunks(table, intrinsic)
    degrees = max(_MIN_DEGREES_OF_FREEDOM, _EFFICIENCY * len(table))
    both = pd.concat([table, chunks], ignore_index=True)
    both["z"] = both["deviation"] / both["error"]
    return both.assign(p=2 * t.sf(both["z"].abs(), degrees))


def _compare_chunks(table: pd.DataFrame, intrinsic: float) -> pd.DataFrame:
    """Deviation of each chunk and its error, from the median of its bricks.

    `intrinsic` is the variance between bricks beyond that of chance.
    """
    chunks = table.groupby(["region", "chunk", "statistic"], as_index=False).agg(
        ra=("ra", "first"), dec=("dec", "first"), n=("n", "sum"), bricks=("n", "size"),
        value=("value", "median"), chance=("chance", "median"),
    )  # fmt: skip
    enough = chunks.groupby("region")["chunk"].transform("size") >= _MIN_CHUNKS
    chunks = chunks[enough].assign(brick="", deviation=0.0)
    for _, rows in chunks.groupby("region").groups.items():
        group = chunks.loc[rows]
        chunks.loc[rows, "deviation"] = group["value"] - _neighbour_median(group, _CHUNKS_AROUND)
    # The variance of a median is pi / 2 times that of a mean.
    error = np.sqrt((intrinsic + chunks["chance"]) * math.pi / 2 / chunks["bricks"])
    # The scatter between chunks can't be measured from few of them.
    if len(chunks) >= _CHUNKS_AROUND:
        error = np.maximum(error, _robust_std(chunks["deviation"]))
    return chunks.assign(error=error)


def _neighbour_median(group: pd.DataFrame, number: int) -> np.ndarray:
    """Median value of the nearest rows, including the row itself."""
    positions = unit_vectors(group["ra"], group["dec"])
    number = min(number, len(group))
    _, rows = cKDTree(positions).query(positions, k=number)
    return np.median(group["value"].to_numpy()[rows.reshape(len(group), number)], axis=1)


def _robust_std(deviation: pd.Series) -> float:
    """Standard deviation that is insensitive to a few outliers."""
    return _MAD * float(np.median(np.abs(deviation)))
