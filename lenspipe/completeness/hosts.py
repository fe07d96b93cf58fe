"""Galaxies of the search to inject lenses into, none of which was trained on."""

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
from lenspipe.simulation.injection import lens_rates
from lenspipe.simulation.lenses import THETA_E_RANGE
from lenspipe.utils.crossmatch import is_near
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["HeldOutGalaxies", "choose_hosts"]

#: Mean number of lenses per brick, and minimum number of bricks: limits how many bricks are opened.
_LENSES_PER_BRICK, _MIN_BRICKS = 8, 40

#: Bins of magnitude with equal numbers of lenses; fraction of the galaxies left out at either end;
#: maximum number of lenses per galaxy; minimum rate of lenses that a galaxy counts with, relative
#: to the mean of its bin.
_N_MAG_BINS, _TAIL_FRACTION, _MAX_PER_GALAXY, _MIN_RATE = 20, 0.005, 25, 0.1


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
    numbers of lenses, unless a bin has too few galaxies even with 25 lenses on each. Within a bin
    galaxies are drawn in proportion to the number of sources that they lens: massive galaxies are
    the likelier lenses. Return rows of the parent sample with chunk, hash of the brick's cutouts,
    draw (int), which counts the lenses on a galaxy from 0, and share, the probability to draw the
    galaxy if all of its bin were equal over that with which it was drawn; ordered by brick, id and
    draw.

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
    if pool.empty:
        raise LenspipeError(
            f"{paths.splits}: found no galaxy in {len(bricks)} held-out bricks that is "
            "away from known lenses, expected some to inject lenses into; enlarge config section "
            "footprint, or set selection.number to 0"
        )
    rates = lens_rates(pool, THETA_E_RANGE)
    draws, share = _uniform_in_magnitude(pool[f"mag_{band}"].to_numpy(float), rates, number, rng)
    rows = np.repeat(np.arange(len(pool)), draws)
    hosts = pool.assign(share=share).iloc[rows].merge(bricks, on="brick", how="left")
    hosts["draw"] = hosts.groupby("id").cumcount()
    log.info(
        "selection: %d lenses on %d of %d galaxies in %d bricks, %s %.2f to %.2f",
        len(hosts), hosts["id"].nunique(), len(pool), len(bricks), band,
        hosts[f"mag_{band}"].min(), hosts[f"mag_{band}"].max(),
    )  # fmt: skip
    return hosts


def _uniform_in_magnitude(
    mag: np.ndarray, rates: np.ndarray, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lenses on each galaxy, (N,) int, that cover the range of magnitudes uniformly.

    Within a bin they go in proportion to the rates, (N,). Return also the expected number of lenses
    on each galaxy if the rates were equal over that with them, (N,).
    """
    low, high = np.quantile(mag, [_TAIL_FRACTION, 1 - _TAIL_FRACTION])
    bins = (mag - low) / (high - low).clip(1e-9) * _N_MAG_BINS
    bins = np.clip(bins, 0, _N_MAG_BINS - 1).astype(int)
    bins[(mag < low) | (mag > high)] = -1
    members = [np.flatnonzero(bins == i) for i in range(_N_MAG_BINS)]
    capacity = _MAX_PER_GALAXY * np.array([len(galaxies) for galaxies in members])
    numbers = np.zeros(_N_MAG_BINS, int)
    # What bins with few galaxies can't take is shared among the others.
    while (left := min(number, capacity.sum()) - numbers.sum()) > 0:
        free = rng.permutation(np.flatnonzero(numbers < capacity))
        numbers[free[:left]] += np.maximum(
            1, np.minimum(left // len(free), (capacity - numbers)[free[:left]])
        )
    draws, share = np.zeros(len(mag), int), np.ones(len(mag))
    for galaxies, n in zip(members, numbers, strict=True):
        if n:
            galaxies = rng.permutation(galaxies)
            expected = _proportional(rates[galaxies], n)
            # Systematic sampling: whole numbers next to those expected, which add up to n.
            edges = np.concatenate([[0.0], np.cumsum(expected)]) + rng.random()
            draws[galaxies] = np.diff(np.floor(edges + 1e-9).astype(int))
            share[galaxies] = n / len(galaxies) / expected
    return draws, share


def _proportional(rates: np.ndarray, number: int) -> np.ndarray:
    """Expected numbers of lenses in proportion to rates, with the maximum per galaxy.

    No galaxy counts less than a tenth of the mean: what the rates say of it is uncertain.
    """
    rates = np.maximum(rates, max(_MIN_RATE * rates.mean(), 1e-12))
    full = np.zeros(len(rates), bool)
    while True:
        left = number - _MAX_PER_GALAXY * full.sum()
        expected = np.where(full, _MAX_PER_GALAXY, left * rates / rates[~full].sum())
        more = expected > _MAX_PER_GALAXY
        if not more.any():
            return expected
        full |= more
        if full.all():
            return np.full(len(rates), float(_MAX_PER_GALAXY))
