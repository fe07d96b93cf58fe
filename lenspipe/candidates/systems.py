"""Galaxies above the cut as systems: merged, named, matched with known lenses, ranked."""

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.utils.crossmatch import friends_of_friends

__all__ = ["make_systems"]


def make_systems(
    galaxies: pd.DataFrame,
    known: pd.DataFrame,
    band: str,
    *,
    merge_radius_arcsec: float | None,
    match_radius_arcsec: float,
    hide_known: bool,
) -> pd.DataFrame:
    """Merge galaxies into systems and rank these.

    Galaxies linked by steps of at most the merge radius are one system. The brightest of them in
    the reddest band, probably the lens itself, gives the system its position and magnitudes; the
    scores are those of the most probable galaxy. A system is known if any of its galaxies lies
    within the match radius of a known lens. Systems are ordered by score, the best first; known
    lenses that are hidden are last, with rank 0. Targets without scores keep their order.

    Parameters
    ----------
    galaxies
        Rows of the scores joined with the parent sample.
    known
        As returned by `lenspipe.catalogs.known_lenses.merge_known`.
    merge_radius_arcsec
        None: each galaxy is a system.
    """
    red = f"mag_{band}"
    galaxies = galaxies.reset_index(drop=True)
    if merge_radius_arcsec is None:
        galaxies["group"] = np.arange(len(galaxies))
    else:
        galaxies["group"] = friends_of_friends(galaxies["ra"], galaxies["dec"], merge_radius_arcsec)
    galaxies["n_members"] = galaxies.groupby("group")["id"].transform("size").astype(np.int32)
    scores = [name for name in galaxies if name == "p" or name.startswith("p_")]
    by_score = galaxies.sort_values(["p", red, "id"], ascending=[False, True, True])
    best = by_score.drop_duplicates("group").set_index("group")[[*scores, "id"]]
    by_brightness = galaxies.sort_values([red, "p", "id"], ascending=[True, False, True])
    table = by_brightness.drop_duplicates("group").reset_index(drop=True)
    best = best.loc[table["group"]].reset_index(drop=True)
    table[scores], table["best_id"] = best[scores], best["id"]
    lenses = _known_of_groups(galaxies, known, match_radius_arcsec)
    lenses = lenses.reindex(table["group"]).reset_index(drop=True)
    table["known"] = lenses["grade"].notna()
    table["known_grade"] = lenses["grade"].fillna("")
    table["known_as"] = lenses["references"].fillna("")
    table["hidden"] = table["known"] & hide_known
    order = ["hidden", "p", red, "id"]
    ascending = [True, False, True, True]
    if galaxies["p"].isna().all():
        # Without a model, in the order of the list.
        order, ascending = ["objid"], [True]
    table = table.sort_values(order, ascending=ascending, ignore_index=True)
    table["rank"] = np.arange(1, len(table) + 1, dtype=np.int32)
    table["rank"] = table["rank"].where(~table["hidden"], np.int32(0))
    return table.drop(columns=["group", "hidden"])


def _known_of_groups(
    galaxies: pd.DataFrame, known: pd.DataFrame, radius_arcsec: float
) -> pd.DataFrame:
    """Grade and references of the nearest known lens, for groups that have one."""
    if known.empty or galaxies.empty:
        return known[["grade", "references"]].iloc[:0]
    lenses = SkyCoord(known["ra"], known["dec"], unit="deg")
    positions = SkyCoord(galaxies["ra"], galaxies["dec"], unit="deg")
    index, separation, _ = positions.match_to_catalog_sky(lenses)
    nearest = known.iloc[index][["grade", "references"]].reset_index(drop=True)
    nearest = nearest.assign(group=galaxies["group"].to_numpy(), arcsec=separation.arcsec)
    nearest = nearest[nearest["arcsec"] <= radius_arcsec]
    nearest = nearest.sort_values("arcsec", kind="stable").drop_duplicates("group")
    return nearest.set_index("group")[["grade", "references"]]
