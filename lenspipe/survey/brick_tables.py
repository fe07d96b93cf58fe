"""The survey's tables of bricks, below a folder or an address."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.retrieval.sources import open_source
from lenspipe.utils.errors import LenspipeError, NotFoundError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import read_fits_table
from lenspipe.utils.progress import log

__all__ = ["all_names", "band_columns", "survey_bricks"]


def survey_bricks(settings):
    """Read all bricks that the survey has data for, each in its primary region.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Columns as of `lenspipe.footprint.select.select_bricks`, without chunk.

    Raises
    ------
    LenspipeError
        No table, or one that can't be read.
    RetrievalError
        A server did not give a table.
    """
    paths = {region: settings.survey_paths.bricks(region) for region in settings.release.regions}
    tables = {}
    with open_source(settings) as source:
        for region, path in paths.items():
            try:
                if is_remote(path) or path.exists():
                    tables[region] = _read_region(settings, source, region, path)
            except NotFoundError:
                continue
    if not tables:
        raise LenspipeError(
            f"{' and '.join(str(path) for path in paths.values())}: no such file; expected the "
            f"table of bricks of {settings.release.name}; check config key survey.tree"
        )
    # A mirror may hold one region only.
    for region in paths.keys() - tables.keys():
        log.info("bricks: no table for region %s; searching %s", region, ", ".join(tables))
    return pd.concat(tables.values(), ignore_index=True)


def _read_region(settings, source, region, path):
    with source.table(path) as local:
        columns = read_fits_table(
            local,
            ["brickname", "ra", "dec"],
            optional=["brickid", "survey_primary", *band_columns(settings)],
        )
    names = np.char.strip(columns["brickname"])
    table = pd.DataFrame(
        {
            "brick": names,
            "brickid": _brick_ids(settings, source, path, names, columns.get("brickid")),
            "region": region,
            "ra": columns["ra"].astype(np.float64),
            "dec": columns["dec"].astype(np.float64),
        }
    )
    for column in band_columns(settings):
        table[column] = np.float32(columns.get(column, np.nan))
    if "survey_primary" in columns:
        return table[columns["survey_primary"].astype(bool)]
    if len(settings.release.regions) > 1:
        north = _is_north(table.ra, table.dec, settings.release.northern_boundary_dec())
        return table[north == (region == "north")]
    return table


def _is_north(ra, dec, boundary_dec):
    """Whether the northern region is primary there, for releases whose tables don't say (DR8)."""
    cap = SkyCoord(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg).galactic.b.deg > 0
    return cap & (np.asarray(dec) >= boundary_dec)


def _brick_ids(settings, source, path, names, ids):
    """Return the bricks' numbers: from the table itself, or from the table of all bricks.

    The tables up to DR8 have none, and 16 bits, as documented for DR9, are too few for 662,174.
    """
    if ids is not None and ids.dtype.itemsize > 2:
        return ids.astype(np.int32)
    everything = settings.survey_paths.all_bricks()
    columns = _read_all(source, everything, ["brickname", "brickid"])
    if columns is None:
        raise LenspipeError(
            f"{everything}: no such file; it gives the numbers of the bricks, which "
            f"{Path(path).name} lacks; download it from the top folder of the release"
        )
    numbers = pd.Series(columns["brickid"].astype(np.int32), np.char.strip(columns["brickname"]))
    unknown = sorted(set(names) - set(numbers.index))
    if unknown:
        raise LenspipeError(
            f"{everything}: {len(unknown)} bricks of {Path(path).name} are not in it, first "
            f"{unknown[0]}; download both again"
        )
    return numbers[names].to_numpy()


def _read_all(source, path, columns):
    """Read the table of all bricks; None if there is none."""
    if not is_remote(path) and not path.exists():
        return None
    try:
        with source.table(path) as local:
            return read_fits_table(local, columns)
    except NotFoundError:
        return None


def all_names(settings):
    """Read the names of all bricks on the sky.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    set of str
        Empty where the survey's tree lacks that table.
    """
    with open_source(settings) as source:
        columns = _read_all(source, settings.survey_paths.all_bricks(), ["brickname"])
    return set(np.char.strip(columns["brickname"])) if columns else set()


def band_columns(settings):
    """Return the names of the columns that a table of bricks has for each band.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    list of str
    """
    return [f"{kind}_{band}" for kind in ("nexp", "psfsize") for band in settings.survey.bands]
