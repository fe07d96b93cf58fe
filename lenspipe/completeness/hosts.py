"""Galaxies to paint lenses onto: of the search itself, and never learnt from."""

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.products.known_lenses import read_known
from lenspipe.products.sample import used_before
from lenspipe.products.truth import held_out_bricks
from lenspipe.simulation.lensing import chance_undrowned
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["choose_hosts", "known_positions", "learnt_by_all", "like_planted", "read_pool"]

#: Lenses to a brick on average, and least bricks: so that few of many bricks are opened.
_PER_BRICK, _LEAST_BRICKS = 8, 40

#: Bins of magnitude that get as many lenses each; part of the galaxies left out at either end; most
#: lenses on one galaxy.
_BINS, _TAIL, _MOST_EACH = 20, 0.005, 25


def known_positions(settings):
    """Positions of all known lenses; on a simulated sky of all lenses in it, listed or not.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Columns ra, dec; degrees.
    """
    known = read_known(settings.paths.lenses)[["ra", "dec"]]
    if not settings.simulation:
        return known
    truth = pd.read_parquet(settings.paths.truth, columns=["ra", "dec", "kind"])
    return pd.concat([known, truth.loc[truth["kind"] == "lens", ["ra", "dec"]]], ignore_index=True)


def learnt_by_all(settings):
    """Galaxies that were ever in the labelled sample, where no split of it was held out.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    set of str
    """
    if settings.held_out or settings.inference.model:
        return set()
    return used_before(settings.paths.sample_version(1).parent)


def read_pool(settings, bricks):
    """Read the galaxies of bricks that lenses may be painted onto.

    Left out are galaxies nearer to a lens than ``sample.exclusion_arcsec``; and where no split was
    held out, those that were ever in the labelled sample.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    bricks : pandas.DataFrame
        As of `held_out_bricks`.

    Returns
    -------
    pandas.DataFrame
        Rows of the parent sample, ordered by brick and id.
    """
    lenses = known_positions(settings)
    there = SkyCoord(lenses["ra"], lenses["dec"], unit="deg")
    learnt = learnt_by_all(settings)
    tables = []
    for chunk, names in track(list(bricks.groupby("chunk")["brick"]), "hosts: chunks read"):
        table = pd.read_parquet(settings.paths.parent(chunk), filters=[("brick", "in", [*names])])
        table = table[~table["id"].isin(learnt)]
        if len(table) and len(lenses):
            here = SkyCoord(table["ra"], table["dec"], unit="deg")
            distance = here.match_to_catalog_sky(there)[1].arcsec
            table = table[distance >= settings.sample.exclusion_arcsec]
        tables.append(table)
    return pd.concat(tables).sort_values(["brick", "id"], ignore_index=True)


def choose_hosts(settings):
    """Choose galaxies to paint lenses onto, evenly in magnitude in the last band.

    Bricks are drawn at random, so that no more are opened than needed. The range of magnitudes, but
    for half a per cent of the galaxies at either end, is divided into 20 bins with as many lenses
    each, as far as 25 on each galaxy make up for few galaxies.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Rows of the parent sample with chunk, hash, of the brick's cutouts, and draw (int), which
        counts the lenses on a galaxy from 0; ordered by brick, id and draw.

    Raises
    ------
    LenspipeError
        There is no galaxy to be had.
    """
    number, band = settings.selection.number, settings.survey.bands[-1]
    rng = np.random.default_rng([settings.seed, 31])
    bricks = held_out_bricks(settings.paths, settings.held_out)
    wanted = min(len(bricks), max(_LEAST_BRICKS, number // _PER_BRICK))
    bricks = bricks.iloc[np.sort(rng.permutation(len(bricks))[:wanted])]
    pool = read_pool(settings, bricks)
    pool = pool[np.isfinite(pool[f"mag_{band}"])]
    if settings.selection.lenses == "planted":
        pool = like_planted(settings, pool, rng)
    if pool.empty:
        raise LenspipeError(
            f"{settings.paths.splits}: found no galaxy in {len(bricks)} held-out bricks that is "
            "away from known lenses, expected some to paint lenses onto; enlarge config section "
            "footprint, or set selection.number to 0"
        )
    rows = _spread(pool[f"mag_{band}"].to_numpy(np.float64), number, rng)
    hosts = pool.iloc[np.sort(rows)].merge(bricks, on="brick", how="left")
    hosts["draw"] = hosts.groupby("id").cumcount()
    log.info(
        "selection: %d lenses on %d of %d galaxies in %d bricks, %s %.2f to %.2f",
        len(hosts), hosts["id"].nunique(), len(pool), len(bricks), band,
        hosts[f"mag_{band}"].min(), hosts[f"mag_{band}"].max(),
    )  # fmt: skip
    return hosts


def like_planted(settings, pool, rng):
    """Choose galaxies that the simulated sky might have made lenses of.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    pool : pandas.DataFrame
        Columns id and mag_g.
    rng : numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        Rows of ellipticals, with the chance that their light drowns no arcs.
    """
    truth = pd.read_parquet(settings.paths.truth, columns=["id", "kind"])
    ellipticals = truth.loc[truth["kind"] == "elliptical", "id"]
    chance = chance_undrowned(pool["mag_g"].fillna(-np.inf))
    return pool[pool["id"].isin(ellipticals) & (rng.random(len(pool)) < chance)]


def _spread(mag, number, rng):
    """Places of galaxies, some more than once, that cover the range of magnitudes evenly."""
    edges = np.quantile(mag, [_TAIL, 1 - _TAIL])
    within = np.flatnonzero((mag >= edges[0]) & (mag <= edges[1]))
    within = rng.permutation(within)
    place = np.clip((mag[within] - edges[0]) / np.ptp(edges).clip(1e-9) * _BINS, 0, _BINS - 1)
    members = [within[place.astype(int) == i] for i in range(_BINS)]
    room = _MOST_EACH * np.array([len(rows) for rows in members])
    shares = np.zeros(_BINS, int)
    # What bins with few galaxies can't take goes to the others.
    while (left := min(number, room.sum()) - shares.sum()) > 0:
        free = rng.permutation(np.flatnonzero(shares < room))
        shares[free[:left]] += np.maximum(
            1, np.minimum(left // len(free), (room - shares)[free[:left]])
        )
    return np.concatenate(
        [np.resize(rows, share) for rows, share in zip(members, shares, strict=True)]
    )
