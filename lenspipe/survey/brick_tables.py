"""The survey's tables of bricks, in a folder or at an address."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.config.surveys.base import SurveyPaths
from lenspipe.retrieval.local import LocalSource
from lenspipe.utils.errors import LenspipeError, NotFoundError
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import read_fits_table, reading
from lenspipe.utils.names import is_brick_name
from lenspipe.utils.progress import log

__all__ = ["all_names", "band_columns", "survey_bricks"]


def survey_bricks(source: LocalSource, paths: SurveyPaths, bands: Iterable[str]) -> pd.DataFrame:
    """Read all bricks of regions with these bands, each in its primary region.

    Parameters
    ----------
    source
        As returned by `lenspipe.retrieval.sources.open_source`.

    Returns
    -------
    pandas.DataFrame
        Columns as returned by `lenspipe.footprint.select.select_bricks`, without chunk.

    Raises
    ------
    LenspipeError
        There is no table, or one that cannot be read.
    RetrievalError
        A server did not deliver a table.
    """
    bands = tuple(bands)
    columns = band_columns(bands)
    regions = paths.release.regions_with(bands)
    if others := [region for region in paths.release.regions if region not in regions]:
        log.info("bricks: %s not searched, since it lacks a band of survey.bands", *others)
    files = {region: paths.bricks(region) for region in regions}
    tables = {}
    for region, file in files.items():
        try:
            if is_remote(file) or Path(file).exists():
                tables[region] = _read_region(source, paths, region, columns)
        except NotFoundError:
            continue
    if not tables:
        raise LenspipeError(
            f"{' and '.join(str(file) for file in files.values())}: no such file; expected the "
            f"table of bricks of {paths.release.name}; check config key survey.tree"
        )
    # A mirror may hold one region only.
    for region in files.keys() - tables.keys():
        log.info("bricks: no table for region %s; searching %s", region, ", ".join(tables))
    return pd.concat(tables.values(), ignore_index=True)


def _read_region(
    source: LocalSource, paths: SurveyPaths, region: str, band_columns: list[str]
) -> pd.DataFrame:
    file = paths.bricks(region)
    with source.table(file, paths.checksums(file)) as local:
        columns = read_fits_table(
            local,
            ["brickname", "ra", "dec"],
            optional=["brickid", "survey_primary", *band_columns],
        )
    with reading(file):
        return _to_frame(source, paths, region, file, columns, band_columns)


def _to_frame(
    source: LocalSource,
    paths: SurveyPaths,
    region: str,
    file: str | Path,
    columns: Mapping[str, np.ndarray],
    band_columns: list[str],
) -> pd.DataFrame:
    names = np.char.strip(columns["brickname"])
    # Files are named after bricks.
    if wrong := [name for name in names.tolist() if not is_brick_name(name)]:
        raise LenspipeError(
            f"{file}: found brickname {wrong[0]!r}, expected names such as 0001p000; download it "
            "again"
        )
    if len(unique := set(names.tolist())) < len(names):
        raise LenspipeError(
            f"{file}: found {len(names)} rows of {len(unique)} bricks, expected one for each; "
            "download it again"
        )
    on_sky = np.isfinite(columns["ra"]) & (np.abs(columns["dec"]) <= 90)
    if not on_sky.all():
        raise LenspipeError(
            f"{file}: found brick {names[~on_sky][0]} without a position on the sky; download it "
            "again"
        )
    brickids = columns.get("brickid")
    # The tables up to DR8 have no numbers, and the 16 bits documented for DR9 are too few for
    # 662,174 bricks.
    if brickids is not None and brickids.dtype.itemsize > 2:
        brickids = brickids.astype(np.int32)
    else:
        brickids = _look_up_brickids(source, paths, file, names)
    table = pd.DataFrame(
        {
            "brick": names,
            "brickid": brickids,
            "region": region,
            "ra": columns["ra"].astype(np.float64),
            "dec": columns["dec"].astype(np.float64),
        }
    )
    for column in band_columns:
        table[column] = np.float32(columns.get(column, np.nan))
    if "survey_primary" in columns:
        return table[columns["survey_primary"].astype(bool)]
    if len(paths.release.regions) > 1:
        north = _is_north(table.ra, table.dec, paths.release.northern_boundary_dec())
        return table[north == (region == "north")]
    return table


def _is_north(ra: pd.Series, dec: pd.Series, boundary_dec: float) -> np.ndarray:
    """Whether the northern region is primary there, for releases whose tables do not say (DR8)."""
    cap = SkyCoord(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg).galactic.b.deg > 0
    return cap & (np.asarray(dec) >= boundary_dec)


def _look_up_brickids(
    source: LocalSource, paths: SurveyPaths, file: str | Path, names: np.ndarray
) -> np.ndarray:
    """Look up the numbers of the bricks named in a file in the table of all bricks."""
    all_bricks = paths.all_bricks()
    columns = _read_all(source, paths, ["brickname", "brickid"])
    if columns is None:
        raise LenspipeError(
            f"{all_bricks}: no such file; it gives the numbers of the bricks, which "
            f"{Path(file).name} lacks; download it from the top folder of the release"
        )
    numbers = pd.Series(columns["brickid"].astype(np.int32), np.char.strip(columns["brickname"]))
    unknown = sorted(set(names) - set(numbers.index))
    if unknown:
        raise LenspipeError(
            f"{all_bricks}: {len(unknown)} bricks of {Path(file).name} are not in it, first "
            f"{unknown[0]}; download both again"
        )
    return numbers[names].to_numpy()


def _read_all(
    source: LocalSource, paths: SurveyPaths, columns: list[str]
) -> dict[str, np.ndarray] | None:
    """Read the table of all bricks; None if there is none."""
    path = paths.all_bricks()
    if not is_remote(path) and not Path(path).exists():
        return None
    try:
        with source.table(path, paths.checksums(path)) as local:
            return read_fits_table(local, columns)
    except NotFoundError:
        return None


def all_names(source: LocalSource, paths: SurveyPaths) -> set[str]:
    """Read the names of all bricks on the sky; none if the survey's tree lacks that table."""
    columns = _read_all(source, paths, ["brickname"])
    return set(np.char.strip(columns["brickname"])) if columns else set()


def band_columns(bands: Iterable[str]) -> list[str]:
    """Return the names of the columns that a table of bricks has for each band."""
    return [f"{quantity}_{band}" for quantity in ("nexp", "psfsize") for band in bands]
