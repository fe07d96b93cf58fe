"""Redshifts of candidates from photometric and spectroscopic tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.catalogs.files import read_raw
from lenspipe.catalogs.positions import DEC, RA, find_columns, name_and_unit, read_positions
from lenspipe.config.data import Retrieval
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import stem
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable, normalised, parse_numbers

__all__ = ["MATCH_RADIUS_ARCSEC", "add_redshifts"]

#: Maximum separation of a table's position from a candidate.
MATCH_RADIUS_ARCSEC = 1.0

#: Redshifts above it stand for none (9.99, 99, 1e20), or are something else.
MAX_REDSHIFT = 9.0

#: Numbers from here on stand for a magnitude or redshift that is missing.
_FAINTEST_MAG = 90.0

#: Rows that are so near each other are spectra of the same target.
_SAME_TARGET_ARCSEC = 0.1

_ID = ("release", "brickid", "objid")

#: Columns of positions; the first pair that is present is used.
_POSITIONS: tuple[tuple[Sequence[str], Sequence[str]], ...] = (
    (RA, DEC),
    (("target_ra",), ("target_dec",)),
    (("plug_ra", "plugra"), ("plug_dec", "plugdec")),
)

#: Column names of redshifts and of their errors; the first that is present is used.
_COLUMNS = {
    "spec": (("z_spec", "zspec", "z"), ("zerr", "z_err", "z_spec_err", "zspec_err")),
    "phot": (
        ("z_phot_median", "z_phot", "zphot", "photo_z", "photoz"),
        ("z_phot_std", "z_phot_err", "zphot_err", "photo_z_err", "photoz_err"),
    ),
}

#: Columns that say which spectra to use: warning, 0 for none; whether it is the target's best
#: spectrum; class of the object; type of the target; how much better than the next the best fit is.
_WARNING = ("zwarn", "zwarning")
_PRIMARY = ("zcat_primary", "specprimary", "sciprimary")
_CLASS = ("spectype", "class")
_TYPE = ("objtype",)
_MARGIN = ("deltachi2",)

_TRUE = ("true", "t", "1", "1.0", "yes", "y")

#: Types of fibres that are on no target.
_NO_TARGETS = ("SKY", "BAD", "NON")

#: What stands for no unit.
_NO_UNITS = ("", "-", "none", "dimensionless", "1", "redshift")

#: Columns beside which a column z is the magnitude in that band.
_BANDS = ("u", "g", "r", "i", "y")

_NEEDED = {
    *_ID, *_WARNING, *_PRIMARY, *_CLASS, *_TYPE, *_MARGIN, *_BANDS,
    *(name for pair in _POSITIONS for names in pair for name in names),
    *(name for pair in _COLUMNS.values() for names in pair for name in names),
}  # fmt: skip


#: Rows that are matched at a time.
_BLOCK = 1_000_000


def add_redshifts(
    table: pd.DataFrame, files: Sequence[str], retrieval: Retrieval, hosts: Path
) -> pd.DataFrame:
    """Add redshifts from tables, those of ``candidates.redshifts``; the first take precedence.

    A row is matched to a candidate by release, brickid and objid, or else by position: the nearest
    row within 1 arcsec. Of several spectra of a target the one with the largest DELTACHI2 counts,
    then that with the smallest error. Ignored are redshifts of 0 and below or above 9, and spectra
    that have a ZWARN, are not ZCAT_PRIMARY, or are of stars or of the sky. A column z that is a
    magnitude, by its unit, its values or the columns g, r, i beside it, is no redshift. The table
    has columns id, ra, dec (degrees) and gets z, z_err (float32, NaN where there is none), z_kind
    (``spec``, ``phot`` or empty) and z_source (name of the file).

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
    raw = read_raw(
        path,
        "candidates.redshifts",
        retrieval,
        hosts,
        lambda name: name_and_unit(name)[0] in _NEEDED,
    )
    raw.refuse_broken()
    key, positions = _match_columns(raw)
    redshifts = {}
    for kind, (names, error_names) in _COLUMNS.items():
        number = _redshift_column(raw, names)
        if number is None:
            continue
        z = _numbers(raw, number)
        usable, ignored = _usable(raw, z, kind)
        error_number = raw.find(*error_names)
        error = np.full(len(z), np.nan) if error_number is None else _numbers(raw, error_number)
        error = np.where(error >= 0, error, np.nan)
        order = np.lexsort((np.where(error > 0, error, np.inf), -_margin(raw)))
        rows = _match(table, order[usable[order]], key, positions)
        # Row -1, where there is no match, is the NaN that is appended.
        z, error = (np.append(values, np.nan)[rows].astype(np.float32) for values in (z, error))
        redshifts[kind] = z, error
        if ignored:
            log.info("redshifts: %s: %s: rows ignored: %s", path, kind, ignored)
    if not redshifts:
        expected = ", ".join(name for names, _ in _COLUMNS.values() for name in names)
        raise LenspipeError(
            f"{path}: found no column of redshifts, expected one of {expected} (z is taken for a "
            "magnitude if its unit, its values or columns g, r, i beside it say so); rename it, or "
            "correct config key candidates.redshifts"
        )
    return redshifts


def _redshift_column(raw: UserTable, names: Sequence[str]) -> int | None:
    """Number of the first of some columns that holds redshifts."""
    for name in names:
        number = raw.find(name)
        if number is None:
            continue
        unit = raw.units[number] or normalised(raw.names[number])[1]
        values = _numbers(raw, number)
        values = values[np.isfinite(values) & (values > 0) & (values < _FAINTEST_MAG)]
        if unit.lower() not in _NO_UNITS:
            reason = f"its unit is {unit}"
        elif name == "z" and (beside := [band for band in _BANDS if raw.find(band) is not None]):
            reason = f"it is beside {', '.join(beside)}"
        elif len(values) and np.median(values) > MAX_REDSHIFT:
            reason = f"its median is {np.median(values):.4g}"
        else:
            return number
        log.info("redshifts: %s: column %s is no redshift: %s", raw.path, raw.names[number], reason)
    return None


def _usable(raw: UserTable, z: np.ndarray, kind: str) -> tuple[np.ndarray, str]:
    """Which rows count (bool), and the number of others for each reason."""
    bad = {f"redshift not between 0 and {MAX_REDSHIFT:g}": ~((z > 0) & (z <= MAX_REDSHIFT))}
    if kind == "spec":
        if (number := raw.find(*_WARNING)) is not None:
            bad["warning"] = _numbers(raw, number) != 0
        if (number := raw.find(*_PRIMARY)) is not None:
            bad["not the primary spectrum"] = ~raw.text(number).str.lower().isin(_TRUE).to_numpy()
        if (number := raw.find(*_CLASS)) is not None:
            bad["star"] = (raw.text(number).str.upper() == "STAR").to_numpy()
        if (number := raw.find(*_TYPE)) is not None:
            bad["no target"] = raw.text(number).str.upper().isin(_NO_TARGETS).to_numpy()
    usable, ignored = np.ones(len(z), bool), []
    for reason, mask in bad.items():
        if number := int((mask & usable).sum()):
            ignored.append(f"{number} {reason}")
        usable &= ~mask
    return usable, ", ".join(ignored)


def _margin(raw: UserTable) -> np.ndarray:
    """By how much the best fit of each spectrum is better than the next; 0 if unknown."""
    number = raw.find(*_MARGIN)
    return np.zeros(len(raw)) if number is None else np.nan_to_num(_numbers(raw, number))


def _match_columns(raw: UserTable) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Identifiers and positions (N, 2), degrees, of the rows; None for what the table lacks."""
    key = positions = None
    numbers = [number for name in _ID if (number := raw.find(name)) is not None]
    if len(numbers) == len(_ID):
        key = _key(*(_numbers(raw, number) for number in numbers))
    for ra, dec in _POSITIONS:
        columns = find_columns(raw, {"ra": ra, "dec": dec})
        if len(columns) == 2:
            found = read_positions(raw, columns)
            positions = np.stack([found.ra, found.dec], axis=1)
            positions[found.outside] = np.nan
            break
    if key is None and positions is None:
        raise LenspipeError(
            f"{raw.path}: found neither columns release, brickid and objid nor ra and dec, "
            "expected either; rename them, or correct config key candidates.redshifts"
        )
    return key, positions


def _numbers(raw: UserTable, column: int) -> np.ndarray:
    """Numbers of a column; cells that are none are reported in the log, and NaN."""
    values, unreadable = parse_numbers(raw.columns[column])
    if unreadable.any():
        log.info(
            "redshifts: %s: %d rows ignored, no number in %s: %s",
            raw.path, unreadable.sum(), raw.names[column], raw.where(np.flatnonzero(unreadable)),
        )  # fmt: skip
    return values


def _match(
    table: pd.DataFrame, usable: np.ndarray, key: np.ndarray | None, positions: np.ndarray | None
) -> np.ndarray:
    """Row of each candidate, by identifier or else the nearest; -1 for none.

    `usable` are the rows that may be matched, the best first; `key` and `positions` are those of
    all rows.
    """
    rows = np.full(len(table), -1, np.int64)
    if key is not None:
        numbers = table["id"].str.extract(r"^(\d{1,5})-(\d{1,6})-(\d{1,7})$").astype(float)
        named = usable[key[usable] >= 0]
        named = named[~pd.Index(key[named]).duplicated()]
        places = pd.Index(key[named]).get_indexer(_key(*numbers.to_numpy().T))
        rows[places >= 0] = named[places[places >= 0]]
    unmatched = np.flatnonzero(rows < 0)
    if positions is None or not len(unmatched):
        return rows
    sky = Sky(table["ra"].iloc[unmatched], table["dec"].iloc[unmatched], MATCH_RADIUS_ARCSEC)
    pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for start in range(0, len(usable), _BLOCK):
        block = usable[start : start + _BLOCK]
        places, entries, separation = sky.pairs(*positions[block].T)
        pairs.append((start + places, entries, separation))
    places, entries, separation = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    nearest = np.full(len(unmatched), np.inf)
    np.minimum.at(nearest, entries, separation)
    of_target = separation <= nearest[entries] + _SAME_TARGET_ARCSEC
    best = np.full(len(unmatched), len(usable))
    np.minimum.at(best, entries[of_target], places[of_target])
    matched = best < len(usable)
    rows[unmatched[matched]] = usable[best[matched]]
    return rows


def _key(release: np.ndarray, brickid: np.ndarray, objid: np.ndarray) -> np.ndarray:
    """Identifiers as one integer each; -1 where a number is missing, negative or no integer."""
    numbers = np.stack([release, brickid, objid])
    are_whole = (np.isfinite(numbers) & (numbers == np.floor(numbers))).all(axis=0)
    whole = np.where(are_whole, numbers, 0).astype(np.int64)
    key = whole[0] << 44 | whole[1] << 24 | whole[2]
    return np.where(are_whole & (whole >= 0).all(axis=0), key, -1)
