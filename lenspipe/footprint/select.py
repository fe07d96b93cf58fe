"""The choice of bricks to search, and their chunks on the sky."""

import astropy.units as u
import numpy as np
from astropy_healpix import lonlat_to_healpix

from lenspipe.footprint.lenses import with_lenses
from lenspipe.footprint.regions import in_footprint, named_bricks
from lenspipe.footprint.targets import report_absent, with_targets
from lenspipe.products.tables import write_table
from lenspipe.survey.brick_tables import all_names, band_columns, survey_bricks
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["select_bricks", "write_bricks"]


def select_bricks(settings):
    """Choose the bricks to search.

    Real data: the survey's own tables, where each brick counts in one region only. Simulated sky:
    all bricks of the footprint, as it is made from this list. With a list of targets, of either
    those bricks that hold one. As ``footprint.known_lenses`` says, also or only those that hold a
    lens of the catalogues, of the grades in ``sample.grades``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Sorted by brick. Columns brick (str), brickid (int32), region (str), ra, dec (float64,
        centre, degrees), chunk (str), and nexp_<band>, psfsize_<band> (float32; median number of
        exposures and seeing FWHM in arcsec; NaN where not known) for each configured band.

    Raises
    ------
    LenspipeError
        No or an unreadable table, no brick left, or bricks asked for by name that don't exist or
        have no data; a catalogue is unreadable.
    RetrievalError
        A remote survey's table could not be had.
    """
    return _choose(
        _simulated(settings) if settings.simulation else survey_bricks(settings), settings
    )


def write_bricks(settings):
    """Write the table of the bricks to search, as the survey's own tables describe them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        A simulated sky has to exist.

    Raises
    ------
    LenspipeError
        As in `select_bricks`.
    """
    table = _choose(survey_bricks(settings), settings)
    if settings.targets:
        report_absent(settings, table)
    write_table(settings.paths.bricks, table)
    regions = ", ".join(f"{n} {region}" for region, n in table.region.value_counts().items())
    log.info("bricks: %d (%s) in %d chunks", len(table), regions, table.chunk.nunique())


def _simulated(settings):
    """All bricks of the sky with the region that the simulation gives them."""
    grid = brick_grid(settings.release.brick_deg).table
    table = grid[["brickname", "brickid", "ra", "dec"]].rename(columns={"brickname": "brick"})
    north = table["dec"] >= settings.simulation.boundary_dec
    table.insert(2, "region", np.where(north, "north", "south"))
    for column in band_columns(settings):
        table[column] = np.float32(np.nan)
    return table


def _choose(table, settings):
    """Cut a table of bricks to the footprint, or to the targets, and add the chunks."""
    if settings.targets:
        table = with_targets(settings, table)

    footprint, names = settings.footprint, named_bricks(settings.footprint)
    inside = table.brick.notna() & in_footprint(footprint, table.ra, table.dec)
    if names is not None:
        _check_names(settings, names - set(table.brick))
        inside &= table.brick.isin(names)
    if footprint.known_lenses != "add" and not inside.any():
        others = [key for key in ("polygon", "healpix", "moc") if getattr(footprint, key)]
        raise LenspipeError(
            f"config key footprint: no brick of {settings.release.name} has its centre in "
            f"ra {list(footprint.ra)}, dec {list(footprint.dec)}"
            + "".join(f" and in {key}" for key in others)
            + (f" and a name among the {len(names)} given" if names is not None else "")
            + "; widen the ranges"
            + (f" or correct {', '.join(others)}" if others else "")
        )
    if footprint.known_lenses:
        inside = with_lenses(settings, table, inside)
    table = table[inside].sort_values("brick", ignore_index=True)
    table.insert(5, "chunk", _chunk_names(table.ra, table.dec, settings.chunks.nside))
    return table


def _chunk_names(ra, dec, nside):
    """Name the cells of the nested HEALPix grid that hold the positions (degrees)."""
    lon, lat = np.asarray(ra) * u.deg, np.asarray(dec) * u.deg
    cells = lonlat_to_healpix(lon, lat, nside, order="nested")
    return [f"{nside}-{cell:06d}" for cell in cells]


def _check_names(settings, missing):
    """Refuse bricks asked for by name that are not in the table: say which and why."""
    if not missing:
        return

    wrong = missing if settings.simulation else missing - (all_names(settings) or missing)
    problems = []
    if wrong:
        problems.append(f"{', '.join(sorted(wrong))}: no brick on the sky has this name")
    if empty := missing - wrong:
        problems.append(f"{', '.join(sorted(empty))}: no data in {settings.release.name}")
    key = "brick_list" if settings.footprint.brick_list else "bricks"
    raise LenspipeError(f"config key footprint.{key}: {'; '.join(problems)}; correct or drop them")
