"""Columns of the candidates: what they are, their units, and their UCDs."""

import numpy as np
from astropy.table import Table

__all__ = ["ordered", "with_units"]

#: Column or its beginning -> description, unit, UCD (https://www.ivoa.net/documents/UCD1+/).
_COLUMNS = {
    "rank": ("Place in the order of p, from 1; 0 for a hidden known lens", None, "meta.code"),
    "name": (
        "IAU-style name from the position, truncated; a target's own if it has one",
        None,
        "meta.id;meta.main",
    ),
    "id": ("release-brickid-objid of the galaxy that names it; a target's name", None, "meta.id"),
    "ra": ("Right ascension, J2000", "deg", "pos.eq.ra;meta.main"),
    "dec": ("Declination, J2000", "deg", "pos.eq.dec;meta.main"),
    "p": ("Probability of being a lens, the highest of its galaxies", None, "stat.probability"),
    "p_calibrated": (
        "Probability after calibration on the labelled sample; NaN without",
        None,
        "stat.probability",
    ),
    "p_": ("Probability from the model {}", None, "stat.probability"),
    "type": ("Tractor type", None, "src.morph.type"),
    "mag_": ("AB magnitude in {}, not corrected for extinction", "mag", "phot.mag;em.opt"),
    "nobs_": ("Exposures in {} at the centre", None, "meta.number;obs"),
    "psfsize_": ("Seeing in {}, FWHM", "arcsec", "instr.obsty.seeing"),
    "brick": ("Name of the brick", None, "meta.id;obs.field"),
    "region": ("Region of the survey: north or south", None, "meta.id;obs"),
    "n_members": ("Galaxies merged into this candidate", None, "meta.number"),
    "best_id": ("The most probable of its galaxies, whose scores these are", None, "meta.id.cross"),
    "flags": ("What is wrong with the cutout, bitmask; 0 if nothing", None, "meta.code.qual"),
    "z": ("Redshift; NaN without", None, "src.redshift"),
    "z_err": ("Error of the redshift; NaN without", None, "stat.error;src.redshift"),
    "z_kind": ("spec or phot, for spectroscopic or photometric", None, "meta.code"),
    "z_source": ("Table that the redshift is from", None, "meta.ref"),
    "known": ("Whether a known lens is within the matching radius", None, "meta.code"),
    "known_grade": (
        "Best grade of the nearest known lens, A to C; empty if it has none",
        None,
        "meta.code.qual",
    ),
    "known_as": ("Catalogues of the nearest known lens, each with its grade", None, "meta.bib"),
    "viewer": ("The place in the sky viewer", None, "meta.ref.url"),
}


def _entry(name):
    """Description, unit and UCD of a column."""
    kind, _, rest = name.partition("_")
    description, unit, ucd = _COLUMNS[name] if name in _COLUMNS else _COLUMNS[f"{kind}_"]
    return description.format(rest), unit, ucd


def ordered(table, bands):
    """Choose and order the columns that are written.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `lenspipe.candidates.systems.make_systems`, with redshifts and viewer where there are.
    bands : sequence of str

    Returns
    -------
    pandas.DataFrame
    """
    models = [name for name in table if name.startswith("p_")]
    per_band = [f"{kind}_{band}" for kind in ("mag", "nobs", "psfsize") for band in bands]
    names = ["rank", "name", "id", "ra", "dec", "p", *models, "type", *per_band, "brick", "region"]
    names += ["n_members", "best_id", "flags", "z", "z_err", "z_kind", "z_source"]
    names += ["known", "known_grade", "known_as", "viewer"]
    return table[[name for name in names if name in table]]


def with_units(table, meta):
    """Make a table with units and descriptions; UCDs are in the columns' ``meta``.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `ordered`.
    meta : dict
        Of the whole.

    Returns
    -------
    astropy.table.Table
    """
    result = Table(meta=meta)
    for name in table.columns:
        values = table[name].to_numpy()
        if values.dtype == object or table[name].dtype in ("str", "string"):
            # FITS has no strings of length 0, not even in a table without rows.
            values = values.astype(str) if len(values) else np.zeros(0, "U1")
        result[name] = values
        description, unit, ucd = _entry(name)
        result[name].unit, result[name].description = unit, description
        result[name].meta["ucd"] = ucd
    return result
