"""Lists of positions and files of cutouts that a user wants to grade, made into a run's folder.

Nothing of a network is needed: candidates are in the order of the list and have no score.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits

from lenspipe import __version__
from lenspipe.candidates.catalogue import write_catalogues
from lenspipe.candidates.columns import order_columns
from lenspipe.candidates.find import find_candidates
from lenspipe.candidates.systems import make_systems
from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.paths import RunPaths
from lenspipe.config.runs import note_settings
from lenspipe.config.settings import Settings
from lenspipe.config.surveys.base import Release
from lenspipe.config.surveys.registry import default_release, find_release
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.cutouts.stacks import known_columns, open_stack, stack_header
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import write_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.products.tables import parent_columns, write_table
from lenspipe.scoring.unscored import list_chunk
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import read_user_table

__all__ = ["make_run_of_cutouts", "make_run_of_list"]

_DEFAULT_BANDS = {1: "r", 3: "grz", 4: "griz"}

#: Brick of cutouts whose positions are not known.
_NO_BRICK = "0000p000"


def make_run_of_list(settings: Settings) -> int:
    """Cut stamps of all targets of a run without a model, and list them as its candidates.

    What is there already stays. Return the number of candidates.

    Raises
    ------
    LenspipeError
        The list or the survey cannot be read, a name has a colon, or no target has a cutout.
    """
    plan = load_plan(settings)
    write_bricks(settings)
    merge_known(settings)
    failed = []
    for chunk in plan:
        parent_of_chunk(settings, chunk)
        cut_chunk(settings, chunk)
        list_chunk(settings.paths, chunk)
        entries = read_manifest(settings.paths.manifest("cutouts", chunk))
        failed += [each["reason"] for each in entries.values() if each["status"] == "failed"]
    table = find_candidates(settings)
    # Sheets look for the coadds of their finder charts.
    note_settings(settings)
    _refuse_colons(table["id"], settings.targets or "")
    if not len(table):
        raise LenspipeError(
            f"{settings.targets}: found no cutout of any position"
            + (f" ({failed[0]})" if failed else "")
            + "; correct the positions or the configuration, and run again"
        )
    if failed:
        log.warning("%d bricks failed, such as: %s; run again to retry", len(failed), failed[0])
    return len(table)


def make_run_of_cutouts(source: Path, paths: RunPaths, table: Path | None = None) -> int:
    """Copy a user's cutouts into a run's folder, and list them as its candidates.

    Parameters
    ----------
    source
        As for `lenspipe.cutouts.stacks.open_stack`. Its header may have BANDS and RELEASE, as that
        of a run's cutouts; without, three bands are g, r, z and four g, r, i, z.
    table
        Table with a row per cutout, in their order.

    Returns
    -------
    int
        Number of cutouts.

    Raises
    ------
    LenspipeError
        The file is not readable, its bands are unknown, an id has a colon or is there twice, or the
        folder holds another list.
    """
    from_table = read_user_table(table, "a row per cutout") if table else None
    with open_stack(source) as (shape, batches, beside):
        given = known_columns(table or source, from_table or beside, shape[0])
        images = np.concatenate(list(batches(500))).astype(np.float32)
    if images.shape[2] != images.shape[3]:
        images = images.transpose(0, 3, 1, 2)
    header = stack_header(source)
    release = find_release(header["RELEASE"]) if header.get("RELEASE") else default_release()
    n_bands = images.shape[1]
    bands = str(header.get("BANDS", "")).strip() or _DEFAULT_BANDS.get(n_bands, "")
    if len(bands) != n_bands or images.shape[2] != images.shape[3]:
        raise LenspipeError(
            f"{source}: found cutouts of shape {images.shape[1:]} with bands {bands or 'unknown'}, "
            "expected square ones of as many bands; name the bands in the header, such as BANDS = "
            "'grz'"
        )
    catalog = _catalogue(given, bands, release, source)
    digest = hashlib.sha256(images.tobytes()).hexdigest()[:16]
    mark = paths.inspection("source.txt")
    if mark.exists() and mark.read_text().split() != [digest]:
        raise LenspipeError(
            f"{paths.root}: found other cutouts than those of {source}; move the folder away, or "
            "rename the file"
        )
    for brick, rows in catalog.groupby("brick"):
        own = fits.Header()
        own["BANDS"], own["RELEASE"], own["BRICKNAM"] = bands, release.name, brick
        own["BUNIT"], own["LPHASH"] = "nanomaggy", digest
        write_cutouts(paths.cutouts(str(brick)), images[rows.index], rows, own)
    _write_bricks(catalog, release, paths)
    galaxies = catalog.assign(p=np.float32(np.nan), p_calibrated=np.float32(np.nan))
    none = pd.DataFrame({"ra": [], "dec": [], "grade": [], "references": []}, dtype=str)
    result = make_systems(
        galaxies,
        none,
        bands[-1],
        merge_radius_arcsec=None,
        match_radius_arcsec=0,
        hide_known=False,
    )
    result["name"] = result["id"].map(dict(zip(catalog["id"], given["name"], strict=True)))
    made_by = {"RUN": paths.root.name, "LPVERS": __version__}
    write_catalogues(order_columns(result, tuple(bands)), 1.0, made_by, 0.0, "", paths)
    with atomic(mark) as temporary:
        temporary.write_text(f"{digest}\n")
    log.info("%s: %d cutouts in %s", source, len(catalog), paths.root)
    return len(catalog)


def _catalogue(given: pd.DataFrame, bands: str, release: Release, source: Path) -> pd.DataFrame:
    """Rows of a catalogue of cutouts; fills in id and name of the table of the user."""
    number = np.arange(1, len(given) + 1)
    for name in ("id", "name"):
        if name not in given:
            given[name] = ""
        given[name] = given[name].fillna("").astype(str).str.strip()
    numbered = [f"cutout-{i:06d}" for i in number]
    given["id"] = given["id"].where(given["id"] != "", given["name"])
    given["id"] = given["id"].where(given["id"] != "", numbered)
    if given["id"].duplicated().any():
        raise LenspipeError(
            f"{source}: found {given['id'][given['id'].duplicated()].iloc[0]!r} twice, expected a "
            "different id or name for each cutout; rename one"
        )
    _refuse_colons(given["id"], source)
    for name in ("ra", "dec"):
        given[name] = given.get(name, np.nan)
    located = given[["ra", "dec"]].notna().all(axis=1)
    brick, brickid = np.full(len(given), _NO_BRICK, object), np.zeros(len(given), int)
    if located.any():
        ra, dec = (given.loc[located, name].to_numpy(float) for name in ("ra", "dec"))
        brick[located], brickid[located] = brick_grid(release.brick_deg).bricks_at(ra, dec)
        names = iau_name(ra, dec, release.name_prefix)
        unnamed = given["name"] == ""
        given.loc[located, "name"] = np.where(unnamed[located], names, given.loc[located, "name"])
    given["name"] = given["name"].where(given["name"] != "", given["id"])
    columns = parent_columns(bands)
    blank = {"str": "", "float32": np.nan, "float64": np.nan}
    data = {name: blank.get(kind, 0) for name, kind in columns.items()}
    data |= {name: given[name] for name in ("id", "ra", "dec")}
    data |= {"brick": brick, "brickid": brickid, "objid": number}
    table = pd.DataFrame(data, index=given.index).astype(columns)
    return table.assign(flags=np.asarray(given.get("flags", 0), np.int32))


def _write_bricks(catalog: pd.DataFrame, release: Release, paths: RunPaths) -> None:
    bricks = catalog.drop_duplicates("brick")[["brick", "brickid", "region"]]
    grid = brick_grid(release.brick_deg)
    centres = [(np.nan,) * 2 if b == _NO_BRICK else grid.centre(b) for b in bricks["brick"]]
    ra, dec = np.array(centres).T
    write_table(paths.bricks, bricks.assign(ra=ra, dec=dec, chunk="").reset_index(drop=True))


def _refuse_colons(ids: pd.Series, source: str | Path) -> None:
    if (bad := ids.str.contains(":")).any():
        raise LenspipeError(
            f"{source}: found the name {ids[bad].iloc[0]!r}, expected names without a colon; "
            "rename it"
        )
