"""Cutouts: stamps around the galaxies of the parent sample, cut from the survey's coadds.

A file holds a brick's cutouts and their catalogue, row by row. Its header carries a key of all that
it was made from, so that a brick that is done is not done again.
"""

import enum
import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy.io import fits

import lenspipe
from lenspipe.bricks import bricks_of_chunk, find_brick
from lenspipe.catalog import content_hash, parent_of_brick
from lenspipe.chunkwork import failed_entries, failure_in, fetched, try_bricks
from lenspipe.coadds import clip_boxes, open_fits, read_geometry, read_stamps
from lenspipe.config import digest
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest, update_manifest, write_manifest
from lenspipe.paths import atomic, is_remote
from lenspipe.progress import log
from lenspipe.retrieval import open_source
from lenspipe.survey import MASKBITS, PIXEL_SCALE_ARCSEC

__all__ = ["FLAGS", "coadd_paths", "cut_brick", "cut_chunk", "cut_one", "read_cutouts"]

#: Raised when the same input gives other cutouts, so that existing files are made again.
STAGE_VERSION = 2
#: Bricks of a remote tree that are worked on together: while one is cut, another is fetched.
_BRICKS_AT_ONCE = 2


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


def cut_brick(settings, source, brick, region, parent):
    """Cut a brick's stamps and write them, unless the file is there and was made from the same.

    A stamp is centred on the pixel whose centre is nearest to the galaxy. A pixel counts as masked
    where the inverse variance of a band is not positive, or where the coadd of mask bits (releases
    from DR8 on) has BRIGHT, or SATUR or ALLMASK of a configured band. The masked fraction is of the
    stamp's pixels inside the coadd and over the bands that the brick has. The cutout service gives
    no mask bits.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    source : lenspipe.retrieval.LocalSource
        Or another, as from `lenspipe.retrieval.open_source`.
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
    RetrievalError
        A server didn't give them.
    """
    path = settings.paths.cutouts(brick)
    wanted = coadd_paths(settings, brick, region)
    asks = settings.cutouts.source == "service"
    files = [settings.survey.service] if asks else source.key(wanted.values())
    key = _key(settings, region, parent, files)
    if (entry := _existing(path, key)) is not None:
        return entry
    if asks:
        stamps = _ask_service(settings, brick, region, parent)
    else:
        stamps = _cut(settings, source, brick, region, parent, wanted)
    flags = _flags(settings, stamps)
    catalog = parent.reset_index(drop=True).assign(flags=flags)
    lacking = stamps.present.any(axis=0) < (len(parent) > 0)
    missing = "".join(np.array(settings.survey.bands)[lacking])
    _say(brick, flags, missing)
    content = hashlib.sha256(stamps.images.tobytes() + content_hash(catalog).encode())
    content = content.hexdigest()[:16]
    header = fits.Header()
    header["BANDS"] = ("".join(settings.survey.bands), "bands, in order of the third axis")
    header["MISSING"] = (missing, "bands without coadd in this brick")
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
        fits.ImageHDU(stamps.images, header, name="IMAGE"),
        fits.BinTableHDU(_to_array(catalog), name="CATALOG"),
    ]
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)
    return _entry(len(parent), content, missing)


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
        At the end, one line for each brick whose local files can't be read; with
        ``cutouts.skip_unreadable`` the manifest says 'failed' and why instead, as it does for what
        a server did not give. No cutouts of such a brick remain.
    """
    parent_path = settings.paths.parent(chunk)
    if not parent_path.exists():
        raise LenspipeError(f"{parent_path}: no such file; make the parent sample of {chunk} first")
    parent = pd.read_parquet(parent_path)
    before = read_manifest(settings.paths.manifest("parent", chunk))
    bricks = bricks_of_chunk(settings, chunk)
    tree, stamps = settings.survey_paths.tree, 0

    with open_source(settings) as source:

        def work(brick, region):
            nonlocal stamps
            if error := failure_in(before.get(brick, {})):
                raise error
            with fetched(tree):
                entry = cut_brick(settings, source, brick, region, parent[parent.brick == brick])
            stamps += entry["count"]
            return entry

        entries, failures = try_bricks(
            bricks,
            work,
            f"cutouts of chunk {chunk}, bricks",
            threads=_BRICKS_AT_ONCE if is_remote(tree) else 1,
            status=lambda: f"{stamps} stamps{source.traffic()}",
        )
    for brick in failures:
        settings.paths.cutouts(brick).unlink(missing_ok=True)
    entries |= failed_entries(settings, failures)
    write_manifest(settings.paths.manifest("cutouts", chunk), entries)
    log.info("chunk %s: %d cutouts of %d bricks", chunk, stamps, len(bricks) - len(failures))


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
    with open_source(settings) as source:
        entry = cut_brick(settings, source, brick, region, rows)
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


@dataclass
class _Stamps:
    """Pixels of N galaxies in B bands, as they come.

    Attributes
    ----------
    images, invvar : (N, B, size, size) float32 array
        NaN and 0 where there is nothing.
    masked : (N, size, size) bool array
        By the coadd of mask bits.
    inside : (N, size, size) bool array
        Whether a pixel is inside the coadd.
    present : (N, B) bool array
        Whether there is a coadd in the band.
    """

    images: np.ndarray
    invvar: np.ndarray
    masked: np.ndarray
    inside: np.ndarray
    present: np.ndarray


def coadd_paths(settings, brick, region):
    """Return the coadds that cutouts are made from, as a brick that has all would have them.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    brick, region : str

    Returns
    -------
    dict
        (kind, band) -> path; the band of the mask bits is None.
    """
    survey = settings.survey_paths
    wanted = {
        (kind, band): survey.coadd(region, brick, kind, band)
        for band in settings.survey.bands
        for kind in ("image", "invvar")
    }
    if settings.release.maskbits:
        wanted["maskbits", None] = survey.coadd(region, brick, "maskbits")
    return wanted


def _key(settings, region, parent, files):
    """Hash all that the cutouts are made from."""
    return digest(
        "cutouts",
        STAGE_VERSION,
        settings.survey.bands,
        settings.release.name,
        region,
        settings.cutouts.model_dump(exclude={"skip_unreadable"}),
        content_hash(parent),
        files,
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
    if header.get("LPKEY") != key:
        return None
    return _entry(header["NAXIS4"], header["LPHASH"], header["MISSING"].strip())


def _entry(count, content, missing):
    entry = {"status": "done" if count else "empty", "count": count, "hash": content}
    return entry | ({"missing_bands": missing} if missing else {})


def _empty_stamps(settings, number):
    bands, size = len(settings.survey.bands), settings.cutouts.size
    return _Stamps(
        np.full((number, bands, size, size), np.nan, np.float32),
        np.zeros((number, bands, size, size), np.float32),
        np.zeros((number, size, size), bool),
        np.ones((number, size, size), bool),
        np.ones((number, bands), bool),
    )


def _cut(settings, source, brick, region, parent, wanted):
    """Return the stamps of a brick's galaxies from its coadds."""
    size, bands = settings.cutouts.size, settings.survey.bands
    stamps = _empty_stamps(settings, len(parent))
    if parent.empty:
        return stamps

    def boxes(wcs, shape):
        return clip_boxes(*_central_pixels(wcs, parent, size), size, shape)

    checksums = settings.survey_paths.checksums(region, brick)
    with source.coadds(wanted, boxes, checksums) as files:
        x = None
        for index, band in enumerate(bands):
            image, invvar = files["image", band], files["invvar", band]
            if bool(image) != bool(invvar):
                absent = wanted["invvar" if image else "image", band]
                raise LenspipeError(f"{absent}: no such file beside the other; download it again")
            stamps.present[:, index] = image is not None
            if image is None:
                continue
            if x is None:
                wcs, shape = read_geometry(image)
                x, y = _central_pixels(wcs, parent, size)
                stamps.inside = _inside(x, y, size, boxes(wcs, shape))
            stamps.images[:, index] = read_stamps(image, x, y, size, np.nan)
            stamps.invvar[:, index] = read_stamps(invvar, x, y, size, 0)
        if x is None:
            folder = str(wanted["image", bands[0]]).rpartition("/")[0]
            raise LenspipeError(f"{folder}: no image in any band; download the brick's coadds")
        if settings.release.maskbits:
            if files["maskbits", None] is None:
                raise LenspipeError(f"{wanted['maskbits', None]}: no such file; download it")
            bits = read_stamps(files["maskbits", None], x, y, size, 0)
            stamps.masked = (bits.astype(np.int64) & _bad_bits(bands)) != 0
    return stamps


def _inside(x, y, size, boxes):
    """Which pixels of stamps are inside the image, (N, size, size) bool."""
    x0, x1, y0, y1 = (edge[:, None] for edge in boxes.T)
    columns, rows = (pixel[:, None] - size // 2 + np.arange(size) for pixel in (x, y))
    in_x, in_y = (columns >= x0) & (columns < x1), (rows >= y0) & (rows < y1)
    return in_y[:, :, None] & in_x[:, None, :]


def _ask_service(settings, brick, region, parent):
    """Return the stamps of a brick's galaxies from the cutout service."""
    from lenspipe.retrieval.service import fetch_stamps

    stamps = _empty_stamps(settings, len(parent))
    if parent.empty:
        return stamps
    ra, dec = parent.ra.to_numpy(), parent.dec.to_numpy()
    answer = fetch_stamps(settings, brick, region, ra, dec)
    stamps.images, stamps.invvar, stamps.inside = answer
    stamps.present = np.isfinite(stamps.images).any(axis=(2, 3))
    return stamps


def _flags(settings, stamps):
    """Say what is wrong with each of N stamps, (N,) int32."""
    size = settings.cutouts.size
    inside, present = stamps.inside, stamps.present[:, :, None, None]
    flags = np.zeros(len(inside), np.int32)
    flags[~stamps.present.all(axis=1)] |= FLAGS.MISSING_BAND
    flags[~inside.all(axis=(1, 2))] |= FLAGS.EDGE
    # Written so that a NaN is no exposure, too.
    unexposed = ~(stamps.invvar > 0) & present
    flags[unexposed[:, :, size // 2, size // 2].any(axis=1)] |= FLAGS.NO_EXPOSURE
    masked = (stamps.masked | unexposed.any(axis=1)) & inside
    fraction = masked.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1)
    flags[fraction > settings.cutouts.max_masked_fraction] |= FLAGS.MASKED
    unfinished = ~np.isfinite(stamps.images) & present & inside[:, None]
    flags[unfinished.any(axis=(1, 2, 3))] |= FLAGS.NONFINITE
    return flags


def _say(brick, flags, missing):
    """Note in the log what is wrong with a brick's pixels."""
    if missing:
        log.info("brick %s: no coadd in band %s", brick, ", ".join(missing))
    if number := np.count_nonzero(flags & int(FLAGS.NONFINITE)):
        log.info("brick %s: non-finite pixels in %d of %d cutouts", brick, number, len(flags))


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
