"""Redshifts of candidates from tables of photometric and spectroscopic ones."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from lenspipe.catalogs.files import read_raw
from lenspipe.utils.crossmatch import unit_vectors
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import stem
from lenspipe.utils.progress import log

__all__ = ["MATCH_RADIUS_ARCSEC", "add_redshifts"]

#: How far a position in a table may be from a candidate's.
MATCH_RADIUS_ARCSEC = 1.0

_ID = ("release", "brickid", "objid")

_POSITION = (("ra", "dec"), ("target_ra", "target_dec"))

#: Names of a redshift and of its error, of each kind; the first that is there counts.
_KINDS = {
    "spec": (("z_spec", "zspec", "z"), ("zerr", "z_err", "z_spec_err", "zspec_err")),
    "phot": (
        ("z_phot_median", "z_phot", "zphot", "photo_z", "photoz"),
        ("z_phot_std", "z_phot_err", "zphot_err", "photo_z_err", "photoz_err"),
    ),
}

_WANTED = {*_ID, "zwarn", *sum(_POSITION, ()), *sum(sum(_KINDS.values(), ()), ())}

_BLOCK = 1_000_000


def add_redshifts(table, settings):
    """Give candidates the redshifts that ``candidates.redshifts`` has for them.

    A row is a candidate's if it has its release, brickid and objid, or else lies within 1 arcsec
    and nearer than others. Redshifts of 0 and below, and those with a ZWARN, count as none.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns id, ra, dec (degrees).
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        With z, z_err (float32, NaN where there is none), z_kind (``spec``, ``phot`` or empty) and
        z_source (the table's name).

    Raises
    ------
    LenspipeError
        A table can't be read, or lacks what it is matched by or redshifts.
    """
    table = table.assign(z=np.float32(np.nan), z_err=np.float32(np.nan), z_kind="", z_source="")
    # Of one table after the other only what is a candidate's is kept: they hold millions of rows.
    paths = settings.candidates.redshifts
    found = [(path, _of_candidates(path, table, settings)) for path in paths]
    for kind in _KINDS:
        for path, own in found:
            if kind not in own:
                continue
            z, error = own[kind]
            new = np.isfinite(z) & (table["z_kind"] == "").to_numpy()
            table.loc[new, "z"], table.loc[new, "z_err"] = z[new], error[new]
            table.loc[new, ["z_kind", "z_source"]] = kind, stem(path)
            log.info("redshifts: %s: %s. of %d candidates", path, kind, new.sum())
    return table


def _of_candidates(path, table, settings):
    """Kind -> redshift and error of each candidate in a table, (N,) float32, NaN for none."""
    raw = read_raw(path, "candidates.redshifts", settings.retrieval, settings.paths.hosts, _WANTED)
    columns = {name.strip().lower(): raw.table[i] for i, name in enumerate(raw.names)}

    def number(name):
        return pd.to_numeric(columns[name], errors="coerce").to_numpy(np.float64)

    key = _key(*map(number, _ID)) if all(name in columns for name in _ID) else None
    pair = next((pair for pair in _POSITION if all(name in columns for name in pair)), None)
    positions = unit_vectors(*map(number, pair)) if pair else None
    if key is None and positions is None:
        raise LenspipeError(
            f"{path}: found neither columns release, brickid and objid nor ra and dec, expected "
            "either; rename them, or correct config key candidates.redshifts"
        )
    found = {}
    for kind, (values, errors) in _KINDS.items():
        value = next((name for name in values if name in columns), None)
        if value is None:
            continue
        z = number(value)
        # Catalogues write -99 for none, and stars are near to 0.
        usable = np.isfinite(z) & (z > 0)
        if kind == "spec" and "zwarn" in columns:
            usable &= number("zwarn") == 0
        rows = _match(table, np.flatnonzero(usable), key, positions)
        error = next((name for name in errors if name in columns), None)
        error = number(error) if error else np.full(len(z), np.nan)
        picked = [np.append(own, np.nan)[rows] for own in (z, np.where(error >= 0, error, np.nan))]
        found[kind] = [own.astype(np.float32) for own in picked]
    if not found:
        names = [name for values, _ in _KINDS.values() for name in values]
        raise LenspipeError(
            f"{path}: found no column of redshifts, expected one of {', '.join(names)}; rename it, "
            "or correct config key candidates.redshifts"
        )
    return found


def _match(table, usable, key, positions):
    """Row of each candidate among some of a table's, by identifier, else the nearest; -1 for none.

    `key` and `positions` are of all rows; either may be None.
    """
    rows = np.full(len(table), -1, np.int64)
    if key is not None:
        parts = table["id"].str.extract(r"^(\d{1,5})-(\d{1,6})-(\d{1,7})$").astype(float)
        named = usable[key[usable] >= 0]
        named = named[~pd.Index(key[named]).duplicated()]
        places = pd.Index(key[named]).get_indexer(_key(*parts.to_numpy().T))
        rows[places >= 0] = named[places[places >= 0]]
    if positions is None:
        return rows
    left = np.flatnonzero(rows < 0)
    points = unit_vectors(table["ra"].to_numpy()[left], table["dec"].to_numpy()[left])
    nearest = np.full(len(left), 2 * np.sin(np.radians(MATCH_RADIUS_ARCSEC / 3600) / 2))
    usable = usable[np.isfinite(positions[usable]).all(axis=1)]
    for start in range(0, len(usable), _BLOCK):
        block = usable[start : start + _BLOCK]
        distance, place = cKDTree(positions[block]).query(
            points, distance_upper_bound=nearest.max(initial=0)
        )
        nearer = distance < nearest
        nearest[nearer], rows[left[nearer]] = distance[nearer], block[place[nearer]]
    return rows


def _key(release, brickid, objid):
    """Identifiers as one number each; -1 where there is none or a part is negative."""
    parts = np.stack([release, brickid, objid])
    whole = np.where(np.isfinite(parts).all(axis=0), parts, 0).astype(np.int64)
    key = whole[0] << 44 | whole[1] << 24 | whole[2]
    return np.where(np.isfinite(parts).all(axis=0) & (whole >= 0).all(axis=0), key, -1)
