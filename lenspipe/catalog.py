"""Tractor catalogues and the parent sample: which galaxies to look at, and why not the others."""

import hashlib

import numpy as np
import pandas as pd

from lenspipe.bricks import bricks_of_chunk, load_plan
from lenspipe.coadds import read_table
from lenspipe.errors import LenspipeError
from lenspipe.manifest import write_manifest
from lenspipe.paths import atomic
from lenspipe.progress import log, track
from lenspipe.survey import MASKBITS

__all__ = [
    "CUTS",
    "content_hash",
    "left_out",
    "merge_audits",
    "parent_columns",
    "parent_of_brick",
    "parent_of_chunk",
    "read_tractor",
    "select_parent",
]

#: Order of the bands in the vector columns of the earliest releases (``decam_flux``).
_DECAM_BANDS = "ugrizy"
#: Columns that must be there, besides those per band and those of shape and masks.
_NEEDED = ("brickid", "brickname", "objid", "ra", "dec", "type")
_SHAPE = ("r", "e1", "e2")


def parent_columns(bands):
    """Return the columns of a parent sample.

    Parameters
    ----------
    bands : iterable of str

    Returns
    -------
    dict
        Name -> dtype, in order. Degrees, AB magnitudes not corrected for extinction, arcsec.
    """
    bands = tuple(bands)
    columns = {"id": str, "release": "int16", "brickid": "int32", "objid": "int32"}
    columns |= {"brick": str, "region": str, "ra": "float64", "dec": "float64", "type": str}
    columns |= {f"mag_{band}": "float32" for band in dict.fromkeys((*bands, "z"))}
    columns |= dict.fromkeys(("sersic", "shape_r", "shape_e1", "shape_e2"), "float32")
    columns |= {f"nobs_{band}": "int16" for band in bands}
    columns |= {f"{kind}_{band}": "float32" for kind in ("galdepth", "psfsize") for band in bands}
    return columns | {"maskbits": "int32", "ebv": "float32"}


def read_tractor(path, release, bands, region=""):
    """Read a Tractor catalogue or sweep of any release into one form.

    To DR8 a shape is that of the type: de Vaucouleurs for DEV, exponential for EXP, REX and SIMP,
    the brighter of the two for COMP. Of the MASKBITS, DR7 knows BRIGHT only. The magnitude in z is
    there whatever the bands, since the parent sample is cut by it.

    Parameters
    ----------
    path : str or path-like
    release : lenspipe.survey.Release or None
        The release that the file must be of; None takes any, back to DR1, and does without masks
        where there are none.
    bands : iterable of str
        Bands to read.
    region : str
        Value of the column ``region``.

    Returns
    -------
    pandas.DataFrame
        `parent_columns`, then ``brick_primary`` (bool; all true in a sweep, which has primary
        objects only). NaN: magnitude of a flux that is not positive, ``sersic`` of other types
        than SER, and depth, seeing or reddening that the release does not give.

    Raises
    ------
    LenspipeError
        The file can't be read, is of another release, or lacks a column that is needed.
    """
    bands = tuple(bands)
    photometric = tuple(dict.fromkeys((*bands, "z")))
    optional = ["release", "brick_primary", "maskbits", "brightstarinblob", "fracdev", "sersic"]
    optional += ["ebv", "decam_flux", "decam_nobs", "decam_galdepth"]
    optional += [f"{name}_{part}" for name in ("shape", "shapedev", "shapeexp") for part in _SHAPE]
    optional += [f"flux_{band}" for band in photometric]
    optional += [f"{kind}_{band}" for kind in ("nobs", "galdepth", "psfsize") for band in bands]
    found = read_table(path, _NEEDED, optional)
    for kind in ("flux", "nobs", "galdepth"):
        if (vector := found.get(f"decam_{kind}")) is not None:
            for index, band in enumerate(_DECAM_BANDS):
                found[f"{kind}_{band}"] = vector[:, index]
    _require(path, found, release, bands, photometric)

    number = len(found["objid"])
    blank = np.full(number, np.nan, np.float32)
    kinds = np.char.strip(found["type"])
    data = {name: found[name] for name in ("brickid", "objid", "ra", "dec")}
    data["release"] = found.get("release", np.zeros(number, np.int16))
    data |= {"brick": np.char.strip(found["brickname"]), "region": region, "type": kinds}
    with np.errstate(divide="ignore", invalid="ignore"):
        for band in photometric:
            flux = found[f"flux_{band}"]
            data[f"mag_{band}"] = np.where(flux > 0, 22.5 - 2.5 * np.log10(flux), np.nan)
    data |= _shapes(found, kinds)
    data["sersic"] = np.where(kinds == "SER", found.get("sersic", blank), np.nan)
    for band in bands:
        data[f"nobs_{band}"] = found[f"nobs_{band}"]
        for kind in ("galdepth", "psfsize"):
            data[f"{kind}_{band}"] = found.get(f"{kind}_{band}", blank)
    bright = found.get("brightstarinblob", np.zeros(number, bool)).astype(bool)
    data["maskbits"] = found.get("maskbits", bright * (1 << MASKBITS["BRIGHT"]))
    data["ebv"] = found.get("ebv", blank)
    identity = zip(data["release"], found["brickid"], found["objid"], strict=True)
    data["id"] = [f"{a}-{b}-{c}" for a, b, c in identity]
    columns = parent_columns(bands)
    table = pd.DataFrame(data, index=range(number))[list(columns)].astype(columns)
    table["brick_primary"] = found.get("brick_primary", np.ones(number, bool)).astype(bool)
    return table


def _require(path, found, release, bands, photometric):
    """Refuse a catalogue of another release, or one without what the cuts need."""
    needed = [f"flux_{band}" for band in photometric] + [f"nobs_{band}" for band in bands]
    shape = release.shape if release else ("sersic" if "shape_r" in found else "devexp")
    if shape == "sersic":
        needed += ["sersic", *(f"shape_{part}" for part in _SHAPE)]
    else:
        needed += [f"{name}_{part}" for name in ("shapedev", "shapeexp") for part in _SHAPE]
        needed += ["fracdev"]
    if release and "maskbits" not in found:
        needed += ["maskbits" if release.maskbits else "brightstarinblob"]
    absent = [name for name in needed if name not in found]
    if absent:
        raise LenspipeError(
            f"{path}: no column {', '.join(absent)}; expected a catalogue of "
            f"{release.name if release else 'the Legacy Surveys'}; check config key survey.release"
        )
    if release:
        # 9010, 9011 and 9012 are DR9, 10000 and above DR10.
        others = set(found.get("release", ())) - {0}
        others = {number for number in others if f"dr{number // 1000}" != release.name}
        if others:
            raise LenspipeError(
                f"{path}: found release {min(others)}, expected {release.name}; check config keys "
                "survey.release and survey.tree"
            )


def _shapes(found, kinds):
    """Return half-light radius (arcsec) and ellipticities, whichever way the release has them."""
    if "shape_r" in found:
        return {f"shape_{part}": found[f"shape_{part}"] for part in _SHAPE}
    dev = (kinds == "DEV") | ((kinds == "COMP") & (found["fracdev"] >= 0.5))
    return {
        f"shape_{part}": np.where(dev, found[f"shapedev_{part}"], found[f"shapeexp_{part}"])
        for part in _SHAPE
    }


def _has_exposures(table, parent):
    nobs = table[[name for name in table.columns if name.startswith("nobs_")]]
    return (nobs >= parent.min_exposures).all(axis=1)


def _is_unmasked(table, parent):
    mask = sum(1 << MASKBITS[name] for name in parent.maskbits)
    return (table.maskbits & mask) == 0


#: The cuts in order: name -> function (table, `lenspipe.config.Parent`) -> rows that pass.
CUTS = {
    "brick_primary": lambda table, parent: table.brick_primary,
    "type": lambda table, parent: table.type.isin(parent.types),
    "sersic_min": lambda table, parent: (
        ~(table.type == "SER") | (table.sersic >= parent.sersic_min)
    ),
    "mag_z_max": lambda table, parent: table.mag_z <= parent.mag_z_max,
    "min_exposures": _has_exposures,
    "maskbits": _is_unmasked,
}


def select_parent(table, parent):
    """Apply the cuts of the parent sample, one after the other.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `read_tractor`.
    parent : lenspipe.config.Parent
        Its section of the settings.

    Returns
    -------
    selected : pandas.DataFrame
        The rows that pass, without ``brick_primary``.
    audit : pandas.DataFrame
        One row per cut in order: cut (str), before, after, removed (int64).
    """
    rows = []
    for cut, passes in CUTS.items():
        before = len(table)
        table = table[passes(table, parent)]
        rows.append((cut, before, len(table), before - len(table)))
    audit = pd.DataFrame(rows, columns=["cut", "before", "after", "removed"])
    return table.drop(columns="brick_primary"), audit


def content_hash(table):
    """Hash a table's names and values.

    Parameters
    ----------
    table : pandas.DataFrame
        Of numbers and strings.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256.
    """
    sha = hashlib.sha256()
    for name, values in table.items():
        text = not pd.api.types.is_numeric_dtype(values)
        sha.update(f"{name} {'text' if text else values.dtype}\n".encode())
        sha.update("\n".join(values).encode() if text else values.to_numpy().tobytes())
    return sha.hexdigest()[:16]


def left_out(settings, problems):
    """Stop for bricks that can't be read or, if the settings say so, log them and go on.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    problems : list of str
        A line for each such brick.

    Raises
    ------
    LenspipeError
        There are problems and ``cutouts.skip_unreadable`` is not set.
    """
    if problems and not settings.cutouts.skip_unreadable:
        advice = "to go on without these bricks set config key cutouts.skip_unreadable: true"
        raise LenspipeError("\n".join([*problems, advice]))
    for problem in problems:
        log.info("left out: %s", problem)


def parent_of_brick(settings, brick, region):
    """Select the parent sample of one brick.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick, region : str

    Returns
    -------
    selected, audit : pandas.DataFrame
        As of `select_parent`; sorted by objid.

    Raises
    ------
    LenspipeError
        As in `read_tractor`.
    """
    path = settings.survey_paths.tractor(region, brick)
    table = read_tractor(path, settings.release, settings.survey.bands, region)
    selected, audit = select_parent(table, settings.parent)
    return selected.sort_values("objid", ignore_index=True), audit


def parent_of_chunk(settings, chunk):
    """Write the parent sample of a chunk, what each cut removed, and the stage's manifest.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        One line for each brick whose catalogue can't be used; with ``cutouts.skip_unreadable``
        such a brick is left out instead, and its reason is in the manifest ``parent``.
    """
    columns = parent_columns(settings.survey.bands)
    tables = [pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})]
    audit = pd.DataFrame({"cut": list(CUTS), "before": 0, "after": 0, "removed": 0})
    entries, problems = {}, []
    bricks = bricks_of_chunk(settings, chunk)
    for brick, region in track(bricks, f"parent sample of chunk {chunk}, bricks"):
        try:
            selected, removed = parent_of_brick(settings, brick, region)
        except LenspipeError as error:
            problems.append(f"brick {brick}: {error}")
            entries[brick] = {"status": "failed", "count": 0, "hash": "", "reason": str(error)}
            continue
        tables.append(selected)
        audit.iloc[:, 1:] += removed.iloc[:, 1:]
        status = "done" if len(selected) else "empty"
        count = len(selected)
        entries[brick] = {"status": status, "count": count, "hash": content_hash(selected)}
    left_out(settings, problems)
    # Each is sorted by objid already; an empty table among others only takes part in the types.
    table = pd.concat([part for part in tables if len(part)] or tables, ignore_index=True)
    with atomic(settings.paths.parent(chunk)) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic(settings.paths.parent_audit(chunk)) as temporary:
        audit.to_csv(temporary, index=False)
    write_manifest(settings.paths.manifest("parent", chunk), entries)
    log.info("chunk %s: %d galaxies of %d sources", chunk, len(table), audit.before.iloc[0])


def merge_audits(settings):
    """Add up what each cut removed in all chunks.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Raises
    ------
    LenspipeError
        A chunk's audit is missing, or no galaxy is left.
    """
    total = pd.DataFrame({"cut": list(CUTS), "before": 0, "after": 0, "removed": 0})
    for chunk in load_plan(settings):
        path = settings.paths.parent_audit(chunk)
        if not path.exists():
            raise LenspipeError(f"{path}: no such file; make the parent sample of {chunk} first")
        total.iloc[:, 1:] += pd.read_csv(path).iloc[:, 1:]
    for row in total.itertuples():
        log.info(
            "cut %s: %d before, %d removed, %d left", row.cut, row.before, row.removed, row.after
        )
    if not total.after.iloc[-1]:
        raise LenspipeError(_why_nothing(settings, total))
    with atomic(settings.paths.audit) as temporary:
        total.to_csv(temporary, index=False)


def _why_nothing(settings, total):
    if not total.before.iloc[0]:
        return (
            f"{settings.survey_paths.tree}: no sources in the catalogues of the footprint; choose "
            "another footprint or check config key survey.tree"
        )
    worst = total.loc[total.removed.idxmax()]
    advice = {
        "brick_primary": "the catalogues hold no primary objects; check config key survey.tree",
        "type": f"add to config key parent.types, now {list(settings.parent.types)}",
        "sersic_min": f"lower config key parent.sersic_min, now {settings.parent.sersic_min:g}",
        "mag_z_max": f"raise config key parent.mag_z_max, now {settings.parent.mag_z_max:g}",
        "min_exposures": "lower config key parent.min_exposures, now "
        f"{settings.parent.min_exposures}",
        "maskbits": f"take from config key parent.maskbits, now {list(settings.parent.maskbits)}",
    }
    return (
        f"parent sample: no galaxy left of {total.before.iloc[0]} sources; the cut {worst.cut} "
        f"removed most ({worst.removed} of {worst.before}): {advice[worst.cut]}"
    )
