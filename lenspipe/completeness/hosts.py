"""Galaxies of the search to inject lenses into, none of which was trained on."""

import os
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.config.quality import Selection
from lenspipe.config.settings import Settings
from lenspipe.products.sample import ids_in_all_versions
from lenspipe.products.tables import read_table
from lenspipe.products.truth import held_out_bricks
from lenspipe.simulation.lensing import detection_probability
from lenspipe.utils.crossmatch import is_near
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["HeldOutGalaxies", "choose_hosts", "select_like_planted"]

#: Mean number of lenses per brick, and minimum number of bricks: limits how many bricks are opened.
_LENSES_PER_BRICK, _MIN_BRICKS = 8, 40

#: Bins of magnitude with equal numbers of lenses; fraction of the galaxies left out at either end;
#: maximum number of lenses per galaxy.
_N_MAG_BINS, _TAIL_FRACTION, _MAX_PER_GALAXY = 20, 0.005, 25


@dataclass(frozen=True)
class HeldOutGalaxies:
    """Galaxies of a search that its model was not trained on, and that are away from lenses.

    Attributes
    ----------
    split
        The split that was held out (`Settings.held_out`); None where none was.
    knows_training
        Whether galaxies that were ever in the labelled sample were trained on, as no split was held
        out.
    is_simulated
        Whether all lenses are known, as they are on a simulated sky.
    exclusion_arcsec
        Minimum distance from a lens.
    """

    paths: RunPaths
    split: str | None
    knows_training: bool
    is_simulated: bool
    exclusion_arcsec: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the run that the settings describe."""
        split = settings.held_out
        return cls(
            settings.paths,
            split,
            not (split or settings.inference.model),
            bool(settings.simulation),
            settings.sample.exclusion_arcsec,
        )

    def bricks(self) -> pd.DataFrame:
        """Their bricks, as `lenspipe.products.truth.held_out_bricks` returns them."""
        return held_out_bricks(self.paths, self.split)

    def lens_positions(self) -> pd.DataFrame:
        """Positions (ra, dec, degrees) of known lenses; on a simulated sky of all lenses in it."""
        known = read_table(self.paths.lenses, "known")[["ra", "dec"]]
        if not self.is_simulated:
            return known
        truth = read_table(self.paths.truth, "truth", columns=["ra", "dec", "kind"])
        planted = truth.loc[truth["kind"] == "lens", ["ra", "dec"]]
        return pd.concat([known, planted], ignore_index=True)

    def trained_on(self) -> set[str]:
        """Ids of all galaxies that were ever in the labelled sample; none if a split was held out.

        None either if the model was given, which was trained elsewhere.
        """
        versions = self.paths.sample_version(1).parent
        return ids_in_all_versions(versions) if self.knows_training else set()

    def read_pool(self, bricks: pd.DataFrame) -> pd.DataFrame:
        """Read those in some of the bricks: rows of the parent sample, ordered by brick and id."""
        trained_on = self.trained_on()
        tables = []
        for chunk, names in track(list(bricks.groupby("chunk")["brick"]), "hosts: chunks read"):
            filters = [("brick", "in", [*names])]
            table = read_table(self.paths.parent(chunk), "parent", filters=filters)
            tables.append(table[~table["id"].isin(trained_on)])
        pool = pd.concat(tables)
        pool = pool[~is_near(pool, self.lens_positions(), self.exclusion_arcsec)]
        return pool.sort_values(["brick", "id"], ignore_index=True)


def choose_hosts(
    galaxies: HeldOutGalaxies, selection: Selection, band: str, seed: int
) -> pd.DataFrame:
    """Choose galaxies to inject lenses into, uniformly in magnitude in a band.

    Bricks are drawn at random, so that no more are opened than needed. The range of magnitudes,
    without half a per cent of the galaxies at either end, is divided into 20 bins. They have equal
    numbers of lenses, unless a bin has too few galaxies even with 25 lenses on each. Return rows of
    the parent sample with chunk, hash of the brick's cutouts, and draw (int), which counts the
    lenses on a galaxy from 0; ordered by brick, id and draw.

    Raises
    ------
    LenspipeError
        There is no suitable galaxy.
    """
    number, paths = selection.number, galaxies.paths
    rng = np.random.default_rng([seed, 31])
    bricks = galaxies.bricks()
    n_bricks = min(len(bricks), max(_MIN_BRICKS, number // _LENSES_PER_BRICK))
    bricks = bricks.iloc[np.sort(rng.permutation(len(bricks))[:n_bricks])]
    pool = galaxies.read_pool(bricks)
    pool = pool[np.isfinite(pool[f"mag_{band}"])]
    if selection.lenses == "planted":
        pool = select_like_planted(pool, paths.truth, rng)
    if pool.empty:
        raise LenspipeError(
            f"{paths.splits}: found no galaxy in {len(bricks)} held-out bricks that is "
            "away from known lenses, expected some to inject lenses into; enlarge config section "
            "footprint, or set selection.number to 0"
        )
    rows = _uniform_in_magnitude(pool[f"mag_{band}"].to_numpy(np.float64), number, rng)
    hosts = pool.iloc[np.sort(rows)].merge(bricks, on="brick", how="left")
    hosts["draw"] = hosts.groupby("id").cumcount()
    log.info(
        "selection: %d lenses on %d of %d galaxies in %d bricks, %s %.2f to %.2f",
        len(hosts), hosts["id"].nunique(), len(pool), len(bricks), band,
        hosts[f"mag_{band}"].min(), hosts[f"mag_{band}"].max(),
    )  # fmt: skip
    return hosts


def select_like_planted(
    pool: pd.DataFrame, truth_path: str | os.PathLike[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Select galaxies that the simulated sky could have made lenses of.

    They are ellipticals, each kept with the probability that its light does not drown the arcs. The
    pool has columns id and mag_g.
    """
    truth = read_table(truth_path, "truth", columns=["id", "kind"])
    ellipticals = truth.loc[truth["kind"] == "elliptical", "id"]
    probability = detection_probability(pool["mag_g"].fillna(-np.inf))
    return pool[pool["id"].isin(ellipticals) & (rng.random(len(pool)) < probability)]


def _uniform_in_magnitude(mag: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of galaxies, some repeated, that cover the range of magnitudes uniformly."""
    low, high = np.quantile(mag, [_TAIL_FRACTION, 1 - _TAIL_FRACTION])
    rows = np.flatnonzero((mag >= low) & (mag <= high))
    rows = rng.permutation(rows)
    bins = (mag[rows] - low) / (high - low).clip(1e-9) * _N_MAG_BINS
    bins = np.clip(bins, 0, _N_MAG_BINS - 1).astype(int)
    members = [rows[bins == i] for i in range(_N_MAG_BINS)]
    capacity = _MAX_PER_GALAXY * np.array([len(galaxies) for galaxies in members])
    numbers = np.zeros(_N_MAG_BINS, int)
    # What bins with few galaxies can't take is shared among the others.
    while (left := min(number, capacity.sum()) - numbers.sum()) > 0:
        free = rng.permutation(np.flatnonzero(numbers < capacity))
        numbers[free[:left]] += np.maximum(
            1, np.minimum(left // len(free), (capacity - numbers)[free[:left]])
        )
    return np.concatenate(
        [np.resize(galaxies, n) for galaxies, n in zip(members, numbers, strict=True)]
    )
