"""Cutouts: stamps around the galaxies of the parent sample, cut from the survey's coadds.

A file holds a brick's cutouts and their catalogue, row by row. Its header carries a key of all that
it was made from, so that a brick that is done is not done again.
"""

import enum
import hashlib

import numpy as np
import pandas as pd
from astropy.io import fits

import lenspipe
from lenspipe.bricks import bricks_of_chunk, find_brick
from lenspipe.catalog import content_hash, left_out, parent_of_brick
from lenspipe.coadds import open_fits, read_geometry, read_stamps
from lenspipe.config import digest
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest, update_manifest, write_manifest
from lenspipe.paths import atomic
from lenspipe.progress import log, track
from lenspipe.survey import MASKBITS, PIXEL_SCALE_ARCSEC

__all__ = ["FLAGS", "cut_brick", "cut_chunk", "cut_one", "read_cutouts"]

#: Raised when the same input gives other cutouts, so that existing files are made again.
STAGE_VERSION = 1


class FLAGS(enum.IntFlag):
    """What is wrong with a cutout."""

    #: A configured band has no coadd in this brick; its pixels are NaN.
    MISSING_BAND = 1
    #: The stamp reaches over the edge of the coadd; pixels beyond are NaN.
    EDGE = 2
    #: More of it is masked than cutouts.max_masked_fraction (see `cut_brick`).
    MASKED = 4
    #: A pixel that should have a value is NaN or infinite.
    NONFINITE = 8
    #: The central pixel has no exposure in a band that the brick has.
    NO_EXPOSURE = 16


def cut_brick(settings, brick, region, parent):
    """Cut a brick's stamps and write them, unless the file is there and was made from the same.

    A stamp is centred on the pixel whose centre is nearest to the galaxy. A pixel counts as masked
    where the inverse variance of a band is not positive, or where the coadd of mask bits (releases
    from DR8 on) has BRIGHT, or SATUR or ALLMASK of a configured band. The masked fraction is of the
    stamp's pixels inside the coadd and over the bands that the brick has.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick, region : str
    parent : pandas.DataFrame
        The brick's rows of the parent sample.

    Returns
    -------
    dict
        Entry of the manifest: status ('done', or 'empty' without galaxies), count, hash (of pixels
        and catalogue) and, where the brick lacks bands, missing_bands.

    Raises
    ------
    LenspipeError
        The brick's coadds are missing, truncated or garbled.
    """
    path = settings.paths.cutouts(brick)
    sources = _find_coadds(settings, brick, region)
    missing = [band for band in settings.survey.bands if ("image", band) not in sources]
    extra = {"missing_bands": "".join(missing)} if missing else {}
    if missing:
        log.info("brick %s: no coadd in band %s", brick, ", ".join(missing))
    key = _key(settings, region, parent, sources)
    if (entry := _existing(path, key)) is not None:
        return entry | extra
    images, flags = _cut(settings, brick, parent, sources)
    catalog = parent.reset_index(drop=True).assign(flags=flags)
    content = hashlib.sha256(images.tobytes() + content_hash(catalog).encode()).hexdigest()[:16]
    header = fits.Header()
    header["BANDS"] = ("".join(settings.survey.bands), "bands, in order of the third axis")
    header["BUNIT"] = ("nanomaggy", "AB mag = 22.5 - 2.5 log10(nanomaggy)")
    header["PIXSCALE"] = (PIXEL_SCALE_ARCSEC, "[arcsec]")
    header["RELEASE"] = (settings.release.name, "data release")
    header["BRICKNAM"] = (brick, "brick")
    header["REGION"] = (region, "region")
    header["LPKEY"] = (key, "hash of what this file was made from")
    header["LPHASH"] = (content, "hash of pixels and catalogue")
    header["LPVERS"] = (lenspipe.__version__, "version of lenspipe")
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(images, header, name="IMAGE"),
        fits.BinTableHDU(_to_array(catalog), name="CATALOG"),
    ]
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)
    return _entry(len(parent), content) | extra


def cut_chunk(settings, chunk):
    """Cut all bricks of a chunk and write the manifest ``cutouts``.

    Bricks that are done are skipped, and a bad one does not keep the others from being cut.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        At the end, one line for each brick that can't be cut; with ``cutouts.skip_unreadable`` the
        manifest says 'failed' and why instead, and no cutouts of such a brick remain.
    """
    parent_path = settings.paths.parent(chunk)
    if not parent_path.exists():
        raise LenspipeError(f"{parent_path}: no such file; make the parent sample of {chunk} first")
    parent = pd.read_parquet(parent_path)
    before = read_manifest(settings.paths.manifest("parent", chunk))
    entries, problems = {}, []
    bricks = bricks_of_chunk(settings, chunk)
    for brick, region in track(bricks, f"cutouts of chunk {chunk}, bricks"):
        try:
            if before.get(brick, {}).get("status") == "failed":
                raise LenspipeError(before[brick]["reason"])
            rows = parent[parent.brick == brick]
            entries[brick] = cut_brick(settings, brick, region, rows)
        except LenspipeError as error:
            problems.append(f"brick {brick}: {error}")
            entries[brick] = {"status": "failed", "count": 0, "hash": "", "reason": str(error)}
    left_out(settings, problems)
    for brick, entry in entries.items():
        if entry["status"] == "failed":
            settings.paths.cutouts(brick).unlink(missing_ok=True)
    write_manifest(settings.paths.manifest("cutouts", chunk), entries)
    total = sum(entry["count"] for entry in entries.values())
    log.info("chunk %s: %d cutouts of %d bricks", chunk, total, len(bricks) - len(problems))


def cut_one(settings, brick):
    """Cut one brick, straight from the survey, and note it in its chunk's manifest if there is one.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick : str

    Raises
    ------
    LenspipeError
        The brick is not in the footprint, or its files can't be read.
    """
    chunk, region = find_brick(settings, brick)
    rows, _ = parent_of_brick(settings, brick, region)
    entry = cut_brick(settings, brick, region, rows)
    update_manifest(settings.paths.manifest("cutouts", chunk), {brick: entry})
    log.info("brick %s: %d cutouts", brick, entry["count"])


def read_cutouts(path):
    """Read a file of cutouts.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    images : (N, B, size, size) float32 array
        Nanomaggies per pixel, bands in the order of ``survey.bands``; NaN where there is no data.
    catalog : pandas.DataFrame
        `lenspipe.catalog.parent_columns` and ``flags`` (int32, bits of `FLAGS`), N rows.

    Raises
    ------
    LenspipeError
        The file is missing, truncated or of another kind.
    """
    with open_fits(path) as hdus:
        if [hdu.get_extname() for hdu in hdus][1:] != ["IMAGE", "CATALOG"]:
            raise LenspipeError(
                f"{path}: no complete file of cutouts; expected HDUs IMAGE and CATALOG; delete it "
                "and run again"
            )
        images, rows = hdus["IMAGE"].read(), hdus["CATALOG"].read()
    if images.ndim != 4 or len(images) != len(rows):
        raise LenspipeError(
            f"{path}: {len(rows)} rows for images of shape {images.shape}; delete it and run again"
        )
    catalog = pd.DataFrame(rows.astype(rows.dtype.newbyteorder("=")))
    return images.astype(np.float32, copy=False), catalog


def _find_coadds(settings, brick, region):
    """Paths of the brick's coadds that exist: (kind, band) -> path, band None for the mask bits."""
    survey = settings.survey_paths
    sources = {}
    for band in settings.survey.bands:
        image, invvar = (survey.coadd(region, brick, kind, band) for kind in ("image", "invvar"))
        if image.exists() != invvar.exists():
            found, absent = (image, invvar) if image.exists() else (invvar, image)
            raise LenspipeError(f"{absent}: no such file beside {found.name}; download it again")
        if image.exists():
            sources |= {("image", band): image, ("invvar", band): invvar}
    if not sources:
        folder = survey.coadd(region, brick, "image", settings.survey.bands[0]).parent
        what = "no image in any band" if folder.is_dir() else "no such folder"
        raise LenspipeError(f"{folder}: {what}; download the brick's coadds")
    if settings.release.maskbits:
        sources["maskbits", None] = survey.coadd(region, brick, "maskbits")
        if not sources["maskbits", None].exists():
            raise LenspipeError(f"{sources['maskbits', None]}: no such file; download it")
    return sources


def _key(settings, region, parent, sources):
    """Hash all that the cutouts are made from."""
    cutouts = settings.cutouts.model_dump(exclude={"skip_unreadable"})
    stats = [(path.name, path.stat()) for path in sources.values()]
    return digest(
        "cutouts",
        STAGE_VERSION,
        settings.survey.bands,
        settings.release.name,
        region,
        cutouts,
        content_hash(parent),
        [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats],
    )


def _existing(path, key):
    """Entry of a file that was made from the same, None if there is no such file."""
    if not path.exists():
        return None
    try:
        with open_fits(path) as hdus:
            header = hdus["IMAGE"].read_header()
    except LenspipeError as error:
        log.info("cutting again: %s", error)
        return None
    return _entry(header["NAXIS4"], header["LPHASH"]) if header.get("LPKEY") == key else None


def _entry(count, content):
    return {"status": "done" if count else "empty", "count": count, "hash": content}


def _cut(settings, brick, parent, sources):
    """Return images (N, B, size, size) and flags (N,) of the galaxies."""
    bands, size, number = settings.survey.bands, settings.cutouts.size, len(parent)
    images = np.full((number, len(bands), size, size), np.nan, np.float32)
    flags = np.zeros(number, np.int32)
    if not number:
        return images, flags
    wcs, (height, width) = read_geometry(next(iter(sources.values())))
    x, y = _central_pixels(wcs, parent, size)
    steps = np.arange(size) - size // 2
    in_x = (x[:, None] + steps >= 0) & (x[:, None] + steps < width)
    in_y = (y[:, None] + steps >= 0) & (y[:, None] + steps < height)
    inside = in_y[:, :, None] & in_x[:, None, :]
    flags[~inside.all(axis=(1, 2))] |= FLAGS.EDGE

    masked = np.zeros(inside.shape, bool)
    unfinished = np.zeros(number, int)
    for index, band in enumerate(bands):
        if ("image", band) not in sources:
            flags |= FLAGS.MISSING_BAND
            continue
        image = read_stamps(sources["image", band], x, y, size, np.nan)
        invvar = read_stamps(sources["invvar", band], x, y, size, 0)
        images[:, index] = image
        unfinished += (inside & ~np.isfinite(image)).sum(axis=(1, 2))
        # Written so that a NaN is no exposure, too.
        exposed = invvar > 0
        masked |= ~exposed
        flags[~exposed[:, size // 2, size // 2]] |= FLAGS.NO_EXPOSURE
    if ("maskbits", None) in sources:
        bits = read_stamps(sources["maskbits", None], x, y, size, 0)
        masked |= (bits & _bad_bits(bands)) != 0
    area = np.maximum(inside.sum(axis=(1, 2)), 1)
    fraction = (masked & inside).sum(axis=(1, 2)) / area
    flags[fraction > settings.cutouts.max_masked_fraction] |= FLAGS.MASKED
    flags[unfinished > 0] |= FLAGS.NONFINITE
    if unfinished.any():
        log.info(
            "brick %s: %d non-finite pixels in %d of %d cutouts",
            brick,
            unfinished.sum(),
            (unfinished > 0).sum(),
            number,
        )
    return images, flags


def _central_pixels(wcs, parent, size):
    """Columns and rows, from 0, of the pixels nearest to the galaxies; beyond any stamp if none."""
    x, y = wcs.all_world2pix(parent.ra.to_numpy(), parent.dec.to_numpy(), 0)
    pixels = np.floor(np.stack([x, y]) + 0.5)
    # A position off the projection's half of the sky has no pixel.
    return np.clip(np.nan_to_num(pixels, nan=-size), -size, 10**6).astype(int)


def _bad_bits(bands):
    names = [
        "BRIGHT",
        *(f"{kind}_{band.upper()}" for kind in ("SATUR", "ALLMASK") for band in bands),
    ]
    return sum(1 << MASKBITS[name] for name in names)


def _to_array(catalog):
    """Turn a table into a structured array for FITS, strings as ASCII."""
    columns = {
        name: values.to_numpy()
        if pd.api.types.is_numeric_dtype(values)
        else np.array(values.to_list(), "S")
        for name, values in catalog.items()
    }
    array = np.empty(len(catalog), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        array[name] = values
    return array
