"""The choice of bricks to search, and their chunks on the sky."""

from collections.abc import Iterable

import astropy.units as u
import numpy as np
import pandas as pd
from astropy_healpix import lonlat_to_healpix

from lenspipe.catalogs.known_lenses import merge_entries, read_catalogues
from lenspipe.catalogs.targets import read_targets, targets_without_data
from lenspipe.config.settings import Settings
from lenspipe.config.surveys.base import Release
from lenspipe.footprint.lenses import with_lenses
from lenspipe.footprint.regions import in_footprint, named_bricks
from lenspipe.footprint.targets import report_absent, with_targets
from lenspipe.products.tables import write_table
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.brick_tables import all_names, band_columns, survey_bricks
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["select_bricks", "write_bricks"]


def select_bricks(settings: Settings) -> pd.DataFrame:
    """Choose the bricks to search.

    They are chosen from the survey's own tables, where each brick counts in one region only; for a
    simulated sky, which is made from this list, from all bricks on the sky. With a list of targets,
    only those with a target are chosen; with ``footprint.known_lenses``, only those with a
    catalogued lens that can be seen from the ground, of the grades in ``sample.grades``, or these
    as well. The table is sorted by brick. Columns are brick (str), brickid (int32), region (str),
    ra, dec (float64, centre, degrees), chunk (str), and nexp_<band>, psfsize_<band> (float32;
    median number of exposures and seeing FWHM in arcsec; NaN if unknown) for each configured band.

    Raises
    ------
    LenspipeError
        A table is missing or unreadable, no brick is left, or a brick requested by name does not
        exist or has no data; a catalogue is unreadable.
    RetrievalError
        A remote survey's table could not be obtained.
    """
    if settings.simulation:
        boundary_dec, bands = settings.simulation.boundary_dec, settings.survey.bands
        return _choose(_simulated_bricks(settings.release, boundary_dec, bands), settings)
    return _choose(_survey_bricks(settings), settings)


def write_bricks(settings: Settings) -> None:
    """Write the table of the bricks to search, as the survey's own tables describe them.

    A simulated sky has to exist.

    Raises
    ------
    LenspipeError
        As in `select_bricks`.
    """
    table = _choose(_survey_bricks(settings), settings)
    if settings.targets:
        absent = targets_without_data(settings.targets, table["brick"], settings.release.brick_deg)
        report_absent(absent, settings.release.name)
    write_table(settings.paths.bricks, table)
    regions = ", ".join(f"{n} {region}" for region, n in table.region.value_counts().items())
    log.info("bricks: %d (%s) in %d chunks", len(table), regions, table.chunk.nunique())


def _survey_bricks(settings: Settings) -> pd.DataFrame:
    paths = settings.survey_paths
    with open_source(settings.retrieval, settings.paths.hosts, paths.tree) as source:
        return survey_bricks(source, paths, settings.survey.bands)


def _simulated_bricks(release: Release, boundary_dec: float, bands: Iterable[str]) -> pd.DataFrame:
    """Return all bricks of the sky with the region that the simulation assigns to them."""
    grid = brick_grid(release.brick_deg).table
    table = grid[["brickname", "brickid", "ra", "dec"]].rename(columns={"brickname": "brick"})
    table.insert(2, "region", np.where(table["dec"] >= boundary_dec, "north", "south"))
    for column in band_columns(bands):
        table[column] = np.float32(np.nan)
    return table


def _choose(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Select the bricks of the footprint, or those with targets, and add the chunks."""
    release, footprint = settings.release, settings.footprint
    if settings.targets:
        targets = read_targets(settings.targets, release.brick_deg)
        table = with_targets(table, targets, settings.targets, release.name)
    names = named_bricks(footprint)
    inside = table.brick.notna() & in_footprint(footprint, table.ra, table.dec)
    if names is not None:
        named = table.brick.isin(names)
        if missing := names - set(table.brick[named]):
            raise _missing_bricks(settings, missing)
        inside &= named
    if footprint.known_lenses != "add" and not inside.any():
        others = [key for key in ("polygon", "healpix", "moc") if getattr(footprint, key)]
        raise LenspipeError(
            f"config key footprint: no brick of {release.name} has its centre in "
            f"ra {list(footprint.ra)}, dec {list(footprint.dec)}"
            + "".join(f" and in {key}" for key in others)
            + (f" and a name among the {len(names)} given" if names is not None else "")
            + "; widen the ranges"
            + (f" or correct {', '.join(others)}" if others else "")
        )
    if footprint.known_lenses:
        sample, simulated = settings.sample, bool(settings.simulation)
        tables = read_catalogues(sample, settings.paths, settings.retrieval, simulated)
        lenses = merge_entries(tables, sample.merge_radius_arcsec)
        lenses = lenses[lenses["visible"]]
        if sample.grades is not None:
            lenses = lenses[lenses["grade"].isin(sample.grades)]
        inside = with_lenses(table, inside, lenses, footprint.known_lenses, release)
    table = table[inside].sort_values("brick", ignore_index=True)
    table.insert(5, "chunk", _chunk_names(table.ra, table.dec, settings.chunks.nside))
    return table


def _chunk_names(ra: pd.Series, dec: pd.Series, nside: int) -> list[str]:
    """Name the cells of the nested HEALPix grid that positions (degrees) are in."""
    lon, lat = np.asarray(ra) * u.deg, np.asarray(dec) * u.deg
    cells = lonlat_to_healpix(lon, lat, nside, order="nested")
    return [f"{nside}-{cell:06d}" for cell in cells]


def _missing_bricks(settings: Settings, missing: set[str]) -> LenspipeError:
    """Return an error that says why requested bricks are not in the table."""
    unknown = missing
    if not settings.simulation:
        paths = settings.survey_paths
        with open_source(settings.retrieval, settings.paths.hosts, paths.tree) as source:
            unknown = missing - (all_names(source, paths) or missing)
    problems = []
    if unknown:
        problems.append(f"{', '.join(sorted(unknown))}: no brick on the sky has this name")
    if empty := missing - unknown:
        problems.append(f"{', '.join(sorted(empty))}: no data in {settings.release.name}")
    key = "brick_list" if settings.footprint.brick_list else "bricks"
    return LenspipeError(
        f"config key footprint.{key}: {'; '.join(problems)}; correct or remove them"
    )
