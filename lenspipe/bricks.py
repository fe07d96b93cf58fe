"""Bricks: the table of a survey, the choice of a footprint, and chunks on the sky.

The Snakefile asks for the plan whenever it is parsed, on every node of a cluster; so whatever takes
long to import (numpy, pandas, astropy, desiutil) is imported by the functions that need it.
"""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

from lenspipe.config import digest
from lenspipe.errors import LenspipeError
from lenspipe.paths import atomic, is_remote
from lenspipe.plan import Plan
from lenspipe.progress import log
from lenspipe.survey import BRICK_PIXELS, PIXEL_SCALE_ARCSEC

__all__ = [
    "BRICK_DEG",
    "brick_wcs",
    "bricks_of_chunk",
    "find_brick",
    "list_version",
    "load_plan",
    "select_bricks",
    "sky_grid",
    "write_bricks",
]

#: Height of a brick, and its width at most, degrees.
BRICK_DEG = 0.25
#: Of the layout of the plan's file.
_PLAN_VERSION = 2


def brick_wcs(ra, dec):
    """Return the world coordinates of a coadd.

    Parameters
    ----------
    ra, dec : float
        Centre of the brick, degrees.

    Returns
    -------
    astropy.wcs.WCS
        Tangent plane, 3600 x 3600 pixels of 0.262 arcsec, reference pixel 1800.5 (counted from 1),
        north up, east left.
    """
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(BRICK_PIXELS + 1) / 2] * 2
    wcs.wcs.cd = [[-PIXEL_SCALE_ARCSEC / 3600, 0], [0, PIXEL_SCALE_ARCSEC / 3600]]
    wcs.array_shape = (BRICK_PIXELS, BRICK_PIXELS)
    return wcs


def select_bricks(settings):
    """Choose the bricks to search.

    Real data: the survey's own tables, where each brick counts in one region only. Simulated sky:
    all bricks of the footprint, as it is made from this list. With a list of targets, of either
    those bricks that hold one. As ``footprint.known_lenses`` says, also or only those that hold a
    lens of the catalogues, of the grades in ``sample.grades``.

    Parameters
    ----------
    settings : lenspipe.config.Settings

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
    from lenspipe.bricktables import survey_bricks

    return _choose(
        _simulated(settings) if settings.simulation else survey_bricks(settings), settings
    )


def write_bricks(settings):
    """Write the table of the bricks to search, as the survey's own tables describe them.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        A simulated sky has to exist.

    Raises
    ------
    LenspipeError
        As in `select_bricks`.
    """
    from lenspipe.bricktables import survey_bricks

    table = _choose(survey_bricks(settings), settings)
    if settings.targets:
        from lenspipe.targets import report_absent

        report_absent(settings, table)
    with atomic(settings.paths.bricks) as temporary:
        table.to_parquet(temporary, index=False)
    regions = ", ".join(f"{n} {region}" for region, n in table.region.value_counts().items())
    log.info("bricks: %d (%s) in %d chunks", len(table), regions, table.chunk.nunique())


def load_plan(settings):
    """Return which bricks each chunk holds, from the run's plan or, if it is out of date, anew.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    lenspipe.plan.Plan
        Chunk -> list of ``{"brick": str, "region": str}``, sorted.

    Raises
    ------
    LenspipeError
        As in `select_bricks`.
    """
    path, key = settings.paths.plan, _plan_key(settings)
    plan = Plan.read(path, key)
    if plan is None:
        plan = Plan.of(select_bricks(settings))
        plan.write(path, key)
    return plan


def bricks_of_chunk(settings, chunk):
    """Return the bricks of a chunk.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunk : str

    Returns
    -------
    list of tuple
        (brick, region), sorted.

    Raises
    ------
    LenspipeError
        No such chunk in this run.
    """
    plan = load_plan(settings)
    if chunk not in plan:
        raise LenspipeError(
            f"chunk {chunk}: not in run {settings.run}; expected one that {settings.paths.plan} "
            f"lists, such as {next(iter(plan))}"
        )
    return [(entry["brick"], entry["region"]) for entry in plan[chunk]]


def find_brick(settings, brick):
    """Return the chunk and the region of a brick.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick : str

    Returns
    -------
    chunk, region : str

    Raises
    ------
    LenspipeError
        The brick is not in the footprint.
    """
    if found := load_plan(settings).find(brick):
        return found
    raise LenspipeError(
        f"brick {brick}: not in run {settings.run}; expected one that {settings.paths.plan} lists; "
        "correct the name or widen config key footprint"
    )


def list_version(path):
    """Return what changes when a catalogue of known lenses does.

    Parameters
    ----------
    path : str
        As of ``sample.known_lenses``.

    Returns
    -------
    str or None
        SHA-256 of a local file; the version of ``lenscat``; None for an address, which stands for
        itself, and for a package of unknown version.

    Raises
    ------
    LenspipeError
        There is no such file.
    """
    if path == "lenscat":
        try:
            return importlib.metadata.version(path)
        except importlib.metadata.PackageNotFoundError:
            return None
    return None if is_remote(path) else _hash_list(path, "sample.known_lenses")


def _hash_list(path, key):
    """Hash a list of positions."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise LenspipeError(
            f"{path}: can't be read ({error.strerror}); expected a list with ra, dec in degrees; "
            f"correct config key {key}"
        ) from None


def _hash_file(path):
    """Hash a file of the footprint; one that can't be read is refused where it is needed."""
    path = Path(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _plan_key(settings):
    """Hash all that the plan is made from; of a remote survey only its address."""
    stats, lists = [], []
    if not settings.simulation and not is_remote(settings.survey_paths.tree):
        paths = [settings.survey_paths.bricks(region) for region in settings.release.regions]
        stats = [path.stat() for path in paths if path.exists()]
    if settings.targets:
        lists = [_hash_list(settings.targets, "targets")]
    lists += [_hash_file(path) for path in settings.footprint.files]
    if settings.footprint.known_lenses:
        sample = settings.sample
        lists += [*sample.known_lenses, sample.grades, sample.merge_radius_arcsec]
        lists += [list_version(catalogue.path) for catalogue in sample.known_lenses]
    return digest(
        _PLAN_VERSION,
        settings.survey,
        settings.footprint,
        settings.chunks,
        settings.simulation,
        [(stat.st_size, stat.st_mtime_ns) for stat in stats],
        *lists,
    )


@functools.cache
def sky_grid():
    """Return the table of all bricks of the sky; made once in a process, in 4 s."""
    from desiutil.brick import Bricks

    return Bricks(bricksize=BRICK_DEG).to_table()


def _simulated(settings):
    """All bricks of the sky with the region that the simulation gives them."""
    import numpy as np
    import pandas as pd

    from lenspipe.bricktables import band_columns

    grid = sky_grid()
    dec = np.asarray(grid["DEC"])
    table = pd.DataFrame(
        {
            "brick": np.asarray(grid["BRICKNAME"]).astype(str),
            "brickid": np.asarray(grid["BRICKID"]).astype(np.int32),
            "region": np.where(dec >= settings.simulation.boundary_dec, "north", "south"),
            "ra": np.asarray(grid["RA"], np.float64),
            "dec": dec.astype(np.float64),
        }
    )
    for column in band_columns(settings):
        table[column] = np.float32(np.nan)
    return table


def _choose(table, settings):
    """Cut a table of bricks to the footprint, or to the targets, and add the chunks."""
    if settings.targets:
        from lenspipe.targets import with_targets

        table = with_targets(settings, table)
    from lenspipe.footprint import in_footprint, named_bricks

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
        from lenspipe.known import with_lenses

        inside = with_lenses(settings, table, inside)
    table = table[inside].sort_values("brick", ignore_index=True)
    table.insert(5, "chunk", _chunk_names(table.ra, table.dec, settings.chunks.nside))
    return table


def _chunk_names(ra, dec, nside):
    """Name the cells of the nested HEALPix grid that hold the positions (degrees)."""
    import astropy.units as u
    import numpy as np
    from astropy_healpix import lonlat_to_healpix

    lon, lat = np.asarray(ra) * u.deg, np.asarray(dec) * u.deg
    cells = lonlat_to_healpix(lon, lat, nside, order="nested")
    return [f"{nside}-{cell:06d}" for cell in cells]


def _check_names(settings, missing):
    """Refuse bricks asked for by name that are not in the table: say which and why."""
    if not missing:
        return
    from lenspipe.bricktables import all_names

    wrong = missing if settings.simulation else missing - (all_names(settings) or missing)
    problems = []
    if wrong:
        problems.append(f"{', '.join(sorted(wrong))}: no brick on the sky has this name")
    if empty := missing - wrong:
        problems.append(f"{', '.join(sorted(empty))}: no data in {settings.release.name}")
    key = "brick_list" if settings.footprint.brick_list else "bricks"
    raise LenspipeError(f"config key footprint.{key}: {'; '.join(problems)}; correct or drop them")
