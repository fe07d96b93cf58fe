"""Galaxies above the cut as systems: merged, named, matched with known lenses, ranked."""

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.catalogs.names import shown_names
from lenspipe.config.settings import Settings
from lenspipe.products.tables import read_table
from lenspipe.utils.crossmatch import friends_of_friends
from lenspipe.utils.names import unique_names

__all__ = ["make_systems"]


def make_systems(galaxies: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Merge galaxies into systems and rank these.

    Galaxies linked by steps of at most ``candidates.merge_radius_arcsec`` are one system. The
    brightest of them in the reddest band, probably the lens itself, gives the system its name,
    position and magnitudes; the scores are those of the most probable galaxy. A system is known if
    any of its galaxies lies within ``sample.match_radius_arcsec`` of a known lens. Targets are not
    merged.

    Parameters
    ----------
    galaxies
        Rows of the scores joined with the parent sample.

    Returns
    -------
    pandas.DataFrame
        Best first; known lenses that ``candidates.known`` hides are last, with rank 0.
    """
    red = f"mag_{settings.survey.bands[-1]}"
    galaxies = galaxies.reset_index(drop=True)
    if settings.targets:
        galaxies["group"] = np.arange(len(galaxies))
    else:
        galaxies["group"] = friends_of_friends(
            galaxies["ra"], galaxies["dec"], settings.candidates.merge_radius_arcsec
        )
    galaxies["n_members"] = galaxies.groupby("group")["id"].transform("size").astype(np.int32)
    scores = [name for name in galaxies if name == "p" or name.startswith("p_")]
    by_score = galaxies.sort_values(["p", red, "id"], ascending=[False, True, True])
    best = by_score.drop_duplicates("group").set_index("group")[[*scores, "id"]]
    by_brightness = galaxies.sort_values([red, "p", "id"], ascending=[True, False, True])
    table = by_brightness.drop_duplicates("group").reset_index(drop=True)
    best = best.loc[table["group"]].reset_index(drop=True)
    table[scores], table["best_id"] = best[scores], best["id"]
    known = read_table(settings.paths.lenses, "known")
    lenses = _known_of_groups(galaxies, known, settings.sample.match_radius_arcsec)
    lenses = lenses.reindex(table["group"]).reset_index(drop=True)
    table["known"] = lenses["grade"].notna()
    table["known_grade"] = lenses["grade"].fillna("")
    table["known_as"] = lenses["references"].fillna("")
    hide = settings.candidates.known == "hide" and not settings.targets
    table["hidden"] = table["known"] & hide
    order = ["hidden", "p", red, "id"]
    table = table.sort_values(order, ascending=[True, False, True, True], ignore_index=True)
    table["rank"] = np.arange(1, len(table) + 1, dtype=np.int32)
    table["rank"] = table["rank"].where(~table["hidden"], np.int32(0))
    table["name"] = unique_names(
        shown_names(table, settings.targets, settings.release), table["ra"], table["dec"]
    )
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
