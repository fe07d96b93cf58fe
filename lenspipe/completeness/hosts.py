"""Galaxies of the search to inject lenses into, none of which was trained on."""

import os

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.config.settings import Settings
from lenspipe.products.sample import ids_in_all_versions
from lenspipe.products.tables import read_table
from lenspipe.products.truth import held_out_bricks
from lenspipe.simulation.lensing import detection_probability
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = [
    "choose_hosts",
    "galaxies_trained_on",
    "lens_positions",
    "read_host_pool",
    "remove_near",
    "select_like_planted",
]

#: Mean number of lenses per brick, and minimum number of bricks: limits how many bricks are opened.
_LENSES_PER_BRICK, _MIN_BRICKS = 8, 40

#: Bins of magnitude with equal numbers of lenses; fraction of the galaxies left out at either end;
#: maximum number of lenses per galaxy.
_N_MAG_BINS, _TAIL_FRACTION, _MAX_PER_GALAXY = 20, 0.005, 25


def lens_positions(settings: Settings) -> pd.DataFrame:
    """Positions (ra, dec, degrees) of known lenses; on a simulated sky of all lenses in it."""
    known = read_table(settings.paths.lenses, "known")[["ra", "dec"]]
    if not settings.simulation:
        return known
    truth = read_table(settings.paths.truth, "truth", columns=["ra", "dec", "kind"])
    return pd.concat([known, truth.loc[truth["kind"] == "lens", ["ra", "dec"]]], ignore_index=True)


def galaxies_trained_on(settings: Settings) -> set[str]:
    """Ids of all galaxies that were ever in the labelled sample; none if a split was held out."""
    if settings.held_out or settings.inference.model:
        return set()
    return ids_in_all_versions(settings.paths.sample_version(1).parent)


def read_host_pool(settings: Settings, bricks: pd.DataFrame) -> pd.DataFrame:
    """Read the galaxies in bricks that lenses may be injected into.

    Galaxies within ``sample.exclusion_arcsec`` of a lens are left out and, if no split was held
    out, those that were ever in the labelled sample.

    Parameters
    ----------
    bricks
        As returned by `lenspipe.products.truth.held_out_bricks`.

    Returns
    -------
    pandas.DataFrame
        Rows of the parent sample, ordered by brick and id.
    """
    trained_on = galaxies_trained_on(settings)
    tables = []
    for chunk, names in track(list(bricks.groupby("chunk")["brick"]), "hosts: chunks read"):
        filters = [("brick", "in", [*names])]
        table = read_table(settings.paths.parent(chunk), "parent", filters=filters)
        tables.append(table[~table["id"].isin(trained_on)])
    pool, lenses = pd.concat(tables), lens_positions(settings)
    pool = remove_near(pool, lenses, settings.sample.exclusion_arcsec)
    return pool.sort_values(["brick", "id"], ignore_index=True)


def remove_near(
    galaxies: pd.DataFrame, positions: pd.DataFrame, radius_arcsec: float
) -> pd.DataFrame:
    """Remove galaxies within a radius of any position; both tables have ra and dec in degrees."""
    if galaxies.empty or positions.empty:
        return galaxies
    excluded = SkyCoord(positions["ra"], positions["dec"], unit="deg")
    sky = SkyCoord(galaxies["ra"], galaxies["dec"], unit="deg")
    return galaxies[sky.match_to_catalog_sky(excluded)[1].arcsec >= radius_arcsec]


def choose_hosts(settings: Settings) -> pd.DataFrame:
    """Choose galaxies to inject lenses into, uniformly in magnitude in the last band.

    Bricks are drawn at random, so that no more are opened than needed. The range of magnitudes,
    without half a per cent of the galaxies at either end, is divided into 20 bins. They have equal
    numbers of lenses, unless a bin has too few galaxies even with 25 lenses on each.

    Returns
    -------
    pandas.DataFrame
        Rows of the parent sample with chunk, hash of the brick's cutouts, and draw (int), which
        counts the lenses on a galaxy from 0; ordered by brick, id and draw.

    Raises
    ------
    LenspipeError
        There is no suitable galaxy.
    """
    number, band = settings.selection.number, settings.survey.bands[-1]
    rng = np.random.default_rng([settings.seed, 31])
    bricks = held_out_bricks(settings.paths, settings.held_out)
    n_bricks = min(len(bricks), max(_MIN_BRICKS, number // _LENSES_PER_BRICK))
    bricks = bricks.iloc[np.sort(rng.permutation(len(bricks))[:n_bricks])]
    pool = read_host_pool(settings, bricks)
    pool = pool[np.isfinite(pool[f"mag_{band}"])]
    if settings.selection.lenses == "planted":
        pool = select_like_planted(pool, settings.paths.truth, rng)
    if pool.empty:
        raise LenspipeError(
            f"{settings.paths.splits}: found no galaxy in {len(bricks)} held-out bricks that is "
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

    Parameters
    ----------
    pool
        Columns id and mag_g.
    truth_path
        Truth of the simulated sky.

    Returns
    -------
    pandas.DataFrame
        Rows of ellipticals, each kept with the probability that its light does not drown the arcs.
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
