"""Galaxies above the cut as systems: merged, named, compared with known lenses, ranked."""

import numpy as np
from astropy.coordinates import SkyCoord

from lenspipe.catalogs.names import shown_names
from lenspipe.products.known_lenses import read_known
from lenspipe.utils.crossmatch import friends_of_friends
from lenspipe.utils.names import unique_names

__all__ = ["make_systems"]


def make_systems(galaxies, settings):
    """Merge galaxies into systems and rank these.

    Neighbours linked by steps of at most ``candidates.merge_radius_arcsec`` are one system. The
    brightest of them in the reddest band, likely the lens itself, names it and gives its position,
    magnitudes and the like; its scores are those of its most probable galaxy. A system is known if
    any of its galaxies lies within ``sample.match_radius_arcsec`` of a known lens. Targets are not
    merged.

    Parameters
    ----------
    galaxies : pandas.DataFrame
        Rows of the scores joined with the parent sample.
    settings : lenspipe.config.settings.Settings

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
    by_light = galaxies.sort_values([red, "p", "id"], ascending=[True, False, True])
    table = by_light.drop_duplicates("group").reset_index(drop=True)
    best = best.loc[table["group"]].reset_index(drop=True)
    table[scores], table["best_id"] = best[scores], best["id"]
    lenses = _known_of_groups(galaxies, settings).reindex(table["group"]).reset_index(drop=True)
    table["known"] = lenses["grade"].notna()
    table["known_grade"] = lenses["grade"].fillna("")
    table["known_as"] = lenses["references"].fillna("")
    hide = settings.candidates.known == "hide" and not settings.targets
    table["hidden"] = table["known"] & hide
    order = ["hidden", "p", red, "id"]
    table = table.sort_values(order, ascending=[True, False, True, True], ignore_index=True)
    table["rank"] = np.arange(1, len(table) + 1, dtype=np.int32)
    table["rank"] = table["rank"].where(~table["hidden"], np.int32(0))
    table["name"] = unique_names(shown_names(table, settings.targets), table["ra"], table["dec"])
    return table.drop(columns=["group", "hidden"])


def _known_of_groups(galaxies, settings):
    """Grade and references of the known lens nearest to a group, for groups that have one."""
    known = read_known(settings.paths.lenses)
    if known.empty or galaxies.empty:
        return known[["grade", "references"]].iloc[:0]
    lenses = SkyCoord(known["ra"], known["dec"], unit="deg")
    positions = SkyCoord(galaxies["ra"], galaxies["dec"], unit="deg")
    index, separation, _ = positions.match_to_catalog_sky(lenses)
    nearest = known.iloc[index][["grade", "references"]].reset_index(drop=True)
    nearest = nearest.assign(group=galaxies["group"].to_numpy(), arcsec=separation.arcsec)
    nearest = nearest[nearest["arcsec"] <= settings.sample.match_radius_arcsec]
    nearest = nearest.sort_values("arcsec", kind="stable").drop_duplicates("group")
    return nearest.set_index("group")[["grade", "references"]]
