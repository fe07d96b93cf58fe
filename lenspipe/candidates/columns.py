"""Columns of the candidates: descriptions, units and UCDs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table

__all__ = ["order_columns", "table_with_units"]

# Column or its prefix -> description, unit, UCD (https://www.ivoa.net/documents/UCD1+/).
_COLUMNS = {
    "rank": ("Rank in order of p, from 1; 0 for a hidden known lens", None, "meta.code"),
    "name": (
        "IAU-style name from the truncated position; the given name of a target if it has one",
        None,
        "meta.id;meta.main",
    ),
    "id": (
        "release-brickid-objid of the galaxy that gives the name; the name of a target",
        None,
        "meta.id",
    ),
    "ra": ("Right ascension, J2000", "deg", "pos.eq.ra;meta.main"),
    "dec": ("Declination, J2000", "deg", "pos.eq.dec;meta.main"),
    "p": ("Probability of being a lens, the maximum over its galaxies", None, "stat.probability"),
    "p_calibrated": (
        "Probability after calibration on the labelled sample; NaN: not calibrated",
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
    "best_id": (
        "Its most probable galaxy, from which the scores are",
        None,
        "meta.id.cross",
    ),
    "flags": ("Problems of the cutout, bitmask; 0 if none", None, "meta.code.qual"),
    "z": ("Redshift; NaN: none", None, "src.redshift"),
    "z_err": ("Error of the redshift; NaN: none", None, "stat.error;src.redshift"),
    "z_kind": ("spec (spectroscopic) or phot (photometric)", None, "meta.code"),
    "z_source": ("Table from which the redshift is", None, "meta.ref"),
    "known": ("Whether a known lens is within the matching radius", None, "meta.code"),
    "known_grade": (
        "Best grade of the nearest known lens, A to C; empty if there is none",
        None,
        "meta.code.qual",
    ),
    "known_as": ("Catalogues of the nearest known lens, each with its grade", None, "meta.bib"),
    "viewer": ("The position in the sky viewer", None, "meta.ref.url"),
}


def _entry(name: str) -> tuple[str, str | None, str]:
    """Description, unit and UCD of a column."""
    prefix, _, rest = name.partition("_")
    description, unit, ucd = _COLUMNS[name] if name in _COLUMNS else _COLUMNS[f"{prefix}_"]
    return description.format(rest), unit, ucd


def order_columns(table: pd.DataFrame, bands: Sequence[str]) -> pd.DataFrame:
    """Select and order the columns that are written.

    Parameters
    ----------
    table
        As returned by `lenspipe.candidates.systems.make_systems`, with redshifts and viewer where
        available.
    """
    models = [name for name in table if name.startswith("p_")]
    per_band = [f"{prefix}_{band}" for prefix in ("mag", "nobs", "psfsize") for band in bands]
    names = ["rank", "name", "id", "ra", "dec", "p", *models, "type", *per_band, "brick", "region"]
    names += ["n_members", "best_id", "flags", "z", "z_err", "z_kind", "z_source"]
    names += ["known", "known_grade", "known_as", "viewer"]
    return table[[name for name in names if name in table]]


def table_with_units(table: pd.DataFrame, meta: Mapping[str, Any]) -> Table:
    """Make a table with units and descriptions; UCDs are in the columns' ``meta``.

    Parameters
    ----------
    table
        As returned by `order_columns`.
    meta
        Of the table.
    """
    result = Table(meta=dict(meta))
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
