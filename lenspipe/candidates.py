"""From scores to candidates: threshold, merge, cross-match, name, rank."""

import html

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from lenspipe import __version__
from lenspipe.errors import LenspipeError
from lenspipe.known import read_known
from lenspipe.match import friends_of_friends
from lenspipe.paths import atomic
from lenspipe.progress import log, track
from lenspipe.stamps import FLAGS
from lenspipe.targets import read_targets

__all__ = [
    "find_candidates",
    "iau_name",
    "page_numbers",
    "page_order",
    "read_candidates",
    "rejected",
    "shown_names",
]


def iau_name(ra, dec):
    """Names from positions, truncated as the IAU asks: ``DESI-011.5084-01.9412``.

    Parameters
    ----------
    ra, dec : float or array_like, shape (N,)
        Degrees.

    Returns
    -------
    numpy.ndarray of str, shape (N,)
        A position given with four decimals keeps them, whatever its binary form.
    """
    ra = np.mod(np.atleast_1d(np.asarray(ra, dtype=np.float64)), 360)
    dec = np.atleast_1d(np.asarray(dec, dtype=np.float64))
    ra_units = _truncate(ra) % 3_600_000
    names = [
        f"DESI-{r // 10000:03d}.{r % 10000:04d}{sign}{d // 10000:02d}.{d % 10000:04d}"
        for r, sign, d in zip(
            ra_units, np.where(dec < 0, "-", "+"), _truncate(np.abs(dec)), strict=True
        )
    ]
    return np.array(names, dtype=str)


def _truncate(value):
    """Whole units of 0.0001 in a value >= 0.

    ``units / 1e4`` is the double nearest to that decimal, so comparing with it is exact, where
    ``floor(value * 1e4)`` would take 11.5084 for 115083.99...
    """
    units = np.rint(value * 1e4).astype(np.int64)
    return units - (units / 1e4 > value)


def rejected(flags, settings):
    """Which cutouts have a flag of ``candidates.reject_flags``.

    Parameters
    ----------
    flags : array_like of int, shape (N,)
        As in the cutout files.
    settings : lenspipe.config.Settings

    Returns
    -------
    numpy.ndarray of bool, shape (N,)
    """
    mask = sum(int(FLAGS[name]) for name in set(settings.candidates.reject_flags))
    return (np.asarray(flags, dtype=np.int64) & mask) != 0


def page_order(table, settings):
    """Order of the candidates on the mosaics' pages, as ``mosaics.sort`` has it.

    Parameters
    ----------
    table : pandas.DataFrame
        Candidates: columns rank, name and the magnitudes.
    settings : lenspipe.config.Settings

    Returns
    -------
    numpy.ndarray of int, shape (N,)
        Places in the table.
    """
    columns = {"p": [], "mag": [f"mag_{settings.survey.bands[-1]}"], "name": ["name"]}
    keys = [*columns[settings.mosaics.sort], "rank"]
    return np.lexsort([table[name].to_numpy() for name in reversed(keys)])


def page_numbers(table, settings):
    """Page of the mosaics that shows each candidate; pages count from 1.

    Parameters and order are those of `page_order`.
    """
    places = np.empty(len(table), int)
    places[page_order(table, settings)] = np.arange(len(table))
    return places // settings.mosaics.per_page + 1


def read_candidates(settings):
    """Read the run's candidates, best first.

    Returns
    -------
    pandas.DataFrame
        Columns of ``candidates/candidates.fits``.
    """
    table = Table.read(settings.paths.candidates, format="fits", character_as_bytes=False)
    return table.to_pandas()


def shown_names(table, settings):
    """Names under which galaxies are shown: of a list of targets its own, else IAU names.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns id, ra and dec.
    settings : lenspipe.config.Settings

    Returns
    -------
    numpy.ndarray of str, shape (N,)
    """
    names = pd.Series(iau_name(table["ra"], table["dec"]), index=table.index, dtype=object)
    if settings.targets:
        listed = read_targets(settings).set_index("id")["name"]
        own = table["id"].map(listed[listed != ""])
        names = own.where(own.notna(), names)
    return names.to_numpy(dtype=str)


def find_candidates(settings):
    """Select, merge, name and rank the candidates of a run.

    A candidate is a group of galaxies, each at or above ``candidates.threshold`` and without a
    flag of ``candidates.reject_flags``, linked by steps of at most
    ``candidates.merge_radius_arcsec``. Its best galaxy stands for it: the most probable, among
    equals the brightest in the reddest band. It is ``known`` if any of its galaxies lies within
    ``sample.match_radius_arcsec`` of a known lens. Of a list of targets each with a cutout is a
    candidate, whatever its probability and flags, and none are merged.

    Writes ``candidates/candidates.csv``, ``.html`` and, last, ``.fits``.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    pandas.DataFrame
        The candidates, best first.

    Raises
    ------
    LenspipeError
        A table is missing or lacks a galaxy; the known lenses are not merged yet.
    """
    galaxies = _select(settings)
    bands = settings.survey.bands
    if settings.targets:
        galaxies["group"] = np.arange(len(galaxies))
    else:
        galaxies["group"] = friends_of_friends(
            galaxies["ra"], galaxies["dec"], settings.candidates.merge_radius_arcsec
        )
    groups = galaxies.groupby("group")
    galaxies["n_members"] = groups["id"].transform("size").astype(np.int32)
    ranked = galaxies.sort_values(["p", f"mag_{bands[-1]}", "id"], ascending=[False, True, True])
    table = ranked.drop_duplicates("group").reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1, dtype=np.int32)
    table["name"] = shown_names(table, settings)
    models = [name for name in table.columns if name.startswith("p_")]
    per_band = [f"{kind}_{band}" for kind in ("mag", "nobs", "psfsize") for band in bands]
    lenses = _known_of_groups(galaxies, settings).reindex(table["group"]).reset_index(drop=True)
    table["known"] = lenses["grade"].notna()
    table["known_grade"] = lenses["grade"].fillna("")
    table["known_as"] = lenses["references"].fillna("")
    first = ["rank", "name", "id", "ra", "dec", "p"]
    last = ["n_members", "flags", "known", "known_grade", "known_as"]
    table = table[[*first, *models, "type", *per_band, "brick", "region", *last]]
    log.info(
        "candidates: %d, of %d %s; %d are known lenses",
        len(table),
        len(galaxies),
        "targets" if settings.targets else f"galaxies at p >= {settings.candidates.threshold:g}",
        table["known"].sum(),
    )
    _write(table, settings)
    return table


def _select(settings):
    """Galaxies that pass threshold and flags, with what the parent sample knows of them."""
    paths, threshold = settings.paths, np.float32(settings.candidates.threshold)
    chunks = sorted(pd.read_parquet(paths.bricks, columns=["chunk"])["chunk"].unique())
    selected, n_galaxies, n_unscored, n_flagged = [], 0, 0, 0
    for chunk in track(chunks, "reading scores of chunks"):
        scores = _read(paths.scores(chunk), "score this chunk first")
        parent = _read(paths.parent(chunk), "make this chunk's parent sample first")
        n_galaxies += len(scores)
        n_unscored += int(scores["p"].isna().sum())
        above = scores[scores["p"].astype(np.float32) >= threshold]
        bad = rejected(above["flags"], settings)
        if settings.targets:
            above, bad = scores, np.zeros(len(scores), bool)
        n_flagged += int(bad.sum())
        # Of columns in both tables the scores' are kept.
        extra = parent[["id", *parent.columns.difference(scores.columns)]]
        rows = above[~bad].merge(extra, on="id", how="left", validate="1:1", indicator="found")
        if lost := list(rows.loc[rows["found"] == "left_only", "id"]):
            raise LenspipeError(
                f"{paths.parent(chunk)}: found no galaxy {lost[0]} ({len(lost)} of {len(rows)} "
                f"missing), expected all of {paths.scores(chunk)}; score this chunk again"
            )
        selected.append(rows.drop(columns="found"))
    log.info("candidates: %d galaxies scored, %d without a score", n_galaxies, n_unscored)
    if not settings.targets:
        log.info(
            "candidates: %d galaxies at or above the threshold rejected for their flags (%s)",
            n_flagged,
            ", ".join(settings.candidates.reject_flags) or "none asked for",
        )
    return pd.concat([rows for rows in selected if len(rows)] or selected[:1], ignore_index=True)


def _read(path, remedy):
    """Read a table that an earlier step should have made."""
    if not path.exists():
        raise LenspipeError(f"{path}: found no such file, expected a table; {remedy}")
    return pd.read_parquet(path)


def _known_of_groups(galaxies, settings):
    """Grade and references of the known lens nearest to a group, for groups that have one."""
    known = read_known(settings)
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


_DESCRIPTIONS = {
    "rank": "Place in the order of p, from 1",
    "name": "IAU-style name from the position, truncated; a target's own if it has one",
    "id": "release-brickid-objid of the galaxy that stands for the candidate; a target's name",
    "ra": "Right ascension, J2000",
    "dec": "Declination, J2000",
    "p": "Probability of being a lens",
    "type": "Tractor type",
    "brick": "Name of the brick",
    "region": "Region of the survey: north or south",
    "n_members": "Galaxies merged into this candidate",
    "flags": "What is wrong with the cutout, bitmask; 0 if nothing",
    "known": "Whether a known lens is within the matching radius",
    "known_grade": "Best grade of the nearest known lens, A to C; empty if it has none",
    "known_as": "Catalogues of the nearest known lens, each with its grade",
    "p_calibrated": "Probability after calibration on the labelled sample; NaN without",
    "p_": "Probability from the model {}",
    "mag_": "AB magnitude in {}, not corrected for extinction",
    "nobs_": "Exposures in {} at the centre",
    "psfsize_": "Seeing in {}, FWHM",
}
_UNITS = {"ra": "deg", "dec": "deg", "mag_": "mag", "psfsize_": "arcsec"}


def _write(table, settings):
    path = settings.paths.candidates
    with atomic(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False)
    with atomic(path.with_suffix(".html")) as temporary:
        temporary.write_text(_page(table, settings))
    with atomic(path) as temporary:
        _fits_hdu(table, settings).writeto(temporary)


def _fits_hdu(table, settings):
    """The candidates with units and descriptions; nothing in it depends on the time."""
    result = Table(
        meta={
            "EXTNAME": "CANDIDATES",
            "RUN": settings.run,
            "THRESH": settings.candidates.threshold,
            "MERGERAD": settings.candidates.merge_radius_arcsec,
            "LPVERS": __version__,
        }
    )
    descriptions = []
    for name in table.columns:
        values = table[name].to_numpy()
        if values.dtype == object or table[name].dtype in ("str", "string"):
            # FITS has no strings of length 0, not even in a table without rows.
            values = values.astype(str) if len(values) else np.zeros(0, "U1")
        kind, _, rest = name.partition("_")
        key = name if name in _DESCRIPTIONS else f"{kind}_"
        result[name] = values
        result[name].unit = _UNITS.get(key)
        descriptions.append(_DESCRIPTIONS[key].format(rest))
    hdu = fits.table_to_hdu(result)
    for i, description in enumerate(descriptions, 1):
        hdu.header[f"TCOMM{i}"] = description
    return hdu


def _page(table, settings):
    """The candidates as a plain HTML table."""
    rows = []
    for row, number in zip(table.itertuples(), page_numbers(table, settings), strict=True):
        page = f"../mosaics/{settings.paths.mosaic_page(number).name}"
        links = f'<a href="{page}">page {number}</a>'
        if settings.survey.tree:
            prefix = "decals" if settings.survey.release == "dr7" else "ls"
            viewer = (
                f"https://www.legacysurvey.org/viewer?ra={row.ra:.5f}&dec={row.dec:.5f}"
                f"&layer={prefix}-{settings.survey.release}&zoom=16"
            )
            links += f' <a href="{html.escape(viewer)}">sky viewer</a>'
        rows.append(
            f'<tr><td>{row.rank}<td class="name">{html.escape(row.name)}<td>{row.p:.4f}'
            f"<td>{row.ra:.5f}<td>{row.dec:+.5f}<td>{html.escape(row.known_as)}<td>{links}"
        )
    body = "\n".join(rows) or '<tr><td colspan="7">No galaxy passed the threshold.'
    what = "Targets" if settings.targets else "Lens candidates"
    title = html.escape(f"{what} of {settings.run}")
    count = (
        f"{len(table)} targets, most probable first"
        if settings.targets
        else f"{len(table)} candidates at p &ge; {settings.candidates.threshold:g}"
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: 0.2em 0.9em; text-align: right; border-bottom: 1px solid #ddd; }}
.name {{ font-family: monospace; }}
</style>
<h1>{title}</h1>
<p>{count}.</p>
<table>
<tr><th>rank<th>name<th>p<th>RA (deg)<th>Dec (deg)<th>known lens<th>see
{body}
</table>
</html>
"""
