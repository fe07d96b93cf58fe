"""Redshifts of candidates from photometric and spectroscopic tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from lenspipe.catalogs.files import read_raw
from lenspipe.config.data import Retrieval
from lenspipe.utils.crossmatch import chord, unit_vectors
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import stem
from lenspipe.utils.progress import log

__all__ = ["MATCH_RADIUS_ARCSEC", "add_redshifts"]

#: Maximum separation of a table's position from a candidate.
MATCH_RADIUS_ARCSEC = 1.0

_ID = ("release", "brickid", "objid")
_POSITION = (("ra", "dec"), ("target_ra", "target_dec"))

# Column names of redshifts and of their errors; the first that is present is used.
_COLUMNS = {
    "spec": (("z_spec", "zspec", "z"), ("zerr", "z_err", "z_spec_err", "zspec_err")),
    "phot": (
        ("z_phot_median", "z_phot", "zphot", "photo_z", "photoz"),
        ("z_phot_std", "z_phot_err", "zphot_err", "photo_z_err", "photoz_err"),
    ),
}

_NEEDED = {*_ID, "zwarn", *sum(_POSITION, ()), *sum(sum(_COLUMNS.values(), ()), ())}
_BLOCK = 1_000_000


def add_redshifts(
    table: pd.DataFrame, files: Sequence[str], retrieval: Retrieval, hosts: Path
) -> pd.DataFrame:
    """Add redshifts from tables, those of ``candidates.redshifts``; the first take precedence.

    A row is matched to a candidate by release, brickid and objid, or else by position: the nearest
    row within 1 arcsec. Redshifts of 0 and below, and those with a ZWARN, are ignored. The table
    has columns id, ra, dec (degrees) and gets z, z_err (float32, NaN where there is none), z_kind
    (``spec``, ``phot`` or empty) and z_source (name of the file). Files are read as by
    `lenspipe.catalogs.files.read_raw`.

    Raises
    ------
    LenspipeError
        A table cannot be read, or lacks redshifts, or identifiers and positions.
    """
    table = table.assign(z=np.float32(np.nan), z_err=np.float32(np.nan), z_kind="", z_source="")
    # Tables may have millions of rows: only the candidates' redshifts are kept of each.
    matched = [(path, _of_candidates(path, table, retrieval, hosts)) for path in files]
    for kind in _COLUMNS:
        for path, redshifts in matched:
            if kind not in redshifts:
                continue
            z, error = redshifts[kind]
            new = np.isfinite(z) & (table["z_kind"] == "").to_numpy()
            table.loc[new, "z"], table.loc[new, "z_err"] = z[new], error[new]
            table.loc[new, ["z_kind", "z_source"]] = kind, stem(path)
            log.info("redshifts: %s: %s. of %d candidates", path, kind, new.sum())
    return table


def _of_candidates(
    path: str, table: pd.DataFrame, retrieval: Retrieval, hosts: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Redshifts and errors of the candidates by kind, float32, NaN where there are none."""
    raw = read_raw(path, "candidates.redshifts", retrieval, hosts, _NEEDED)
    columns = {name.strip().lower(): raw.table[i] for i, name in enumerate(raw.names)}
    key, positions = _match_columns(columns, path)
    redshifts = {}
    for kind, (names, error_names) in _COLUMNS.items():
        name = next((name for name in names if name in columns), None)
        if name is None:
            continue
        z = _numbers(columns[name])
        # Catalogues use -99 for none, and stars are near 0.
        usable = np.isfinite(z) & (z > 0)
        if kind == "spec" and "zwarn" in columns:
            usable &= _numbers(columns["zwarn"]) == 0
        rows = _match(table, np.flatnonzero(usable), key, positions)
        error_name = next((name for name in error_names if name in columns), None)
        error = _numbers(columns[error_name]) if error_name else np.full(len(z), np.nan)
        error = np.where(error >= 0, error, np.nan)
        # Row -1, where there is no match, is the NaN that is appended.
        z, error = (np.append(values, np.nan)[rows].astype(np.float32) for values in (z, error))
        redshifts[kind] = z, error
    if not redshifts:
        expected = ", ".join(name for names, _ in _COLUMNS.values() for name in names)
        raise LenspipeError(
            f"{path}: found no column of redshifts, expected one of {expected}; rename it, or "
            "correct config key candidates.redshifts"
        )
    return redshifts


def _match_columns(
    columns: Mapping[str, pd.Series], path: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Identifiers and unit vectors of the rows; None for what the table lacks."""
    key = positions = None
    if all(name in columns for name in _ID):
        key = _key(*(_numbers(columns[name]) for name in _ID))
    for ra, dec in _POSITION:
        if ra in columns and dec in columns:
            positions = unit_vectors(_numbers(columns[ra]), _numbers(columns[dec]))
            break
    if key is None and positions is None:
        raise LenspipeError(
            f"{path}: found neither columns release, brickid and objid nor ra and dec, expected "
            "either; rename them, or correct config key candidates.redshifts"
        )
    return key, positions


def _numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)


def _match(
    table: pd.DataFrame, usable: np.ndarray, key: np.ndarray | None, positions: np.ndarray | None
) -> np.ndarray:
    """Row of each candidate, by identifier or else the nearest; -1 for none.

    `usable` are the rows that may be matched; `key` and `positions` are those of all rows.
    """
    rows = np.full(len(table), -1, np.int64)
    if key is not None:
        numbers = table["id"].str.extract(r"^(\d{1,5})-(\d{1,6})-(\d{1,7})$").astype(float)
        named = usable[key[usable] >= 0]
        named = named[~pd.Index(key[named]).duplicated()]
        places = pd.Index(key[named]).get_indexer(_key(*numbers.to_numpy().T))
        rows[places >= 0] = named[places[places >= 0]]
    if positions is None:
        return rows
    unmatched = np.flatnonzero(rows < 0)
    points = unit_vectors(table["ra"].to_numpy()[unmatched], table["dec"].to_numpy()[unmatched])
    nearest = np.full(len(unmatched), chord(MATCH_RADIUS_ARCSEC))
    usable = usable[np.isfinite(positions[usable]).all(axis=1)]
    for start in range(0, len(usable), _BLOCK):
        block = usable[start : start + _BLOCK]
        distance, place = cKDTree(positions[block]).query(
            points, distance_upper_bound=nearest.max(initial=0)
        )
        nearer = distance < nearest
        nearest[nearer], rows[unmatched[nearer]] = distance[nearer], block[place[nearer]]
    return rows


def _key(release: np.ndarray, brickid: np.ndarray, objid: np.ndarray) -> np.ndarray:
    """Identifiers as one integer each; -1 where a number is missing or negative."""
    numbers = np.stack([release, brickid, objid])
    finite = np.isfinite(numbers).all(axis=0)
    whole = np.where(finite, numbers, 0).astype(np.int64)
    key = whole[0] << 44 | whole[1] << 24 | whole[2]
    return np.where(finite & (whole >= 0).all(axis=0), key, -1)
