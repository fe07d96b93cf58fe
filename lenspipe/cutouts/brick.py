"""Cutouts of a brick: stamps around its galaxies, cut from the survey's coadds.

A file holds the cutouts of a brick and their catalogue, row by row. Its header carries a hash of
what its pixels were made from, so that a brick that is done is not cut again.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits

import lenspipe
from lenspipe.config.data import Cutouts
from lenspipe.config.flags import FLAGS
from lenspipe.config.stages import STAGES
from lenspipe.cutouts.stamps import StampSource, flag_stamps
from lenspipe.products.cutouts import read_catalog, read_header, replace_catalog, write_cutouts
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["cut_brick"]


def cut_brick(
    path: Path,
    source: StampSource,
    brick: str,
    region: str,
    parent: pd.DataFrame,
    cutouts: Cutouts,
) -> dict[str, Any]:
    """Cut the stamps of a brick and write them, unless there is a file made from the same input.

    A stamp is centred on the pixel whose centre is nearest to the galaxy. If only other columns of
    the parent sample have changed, a file keeps its pixels and gets a new catalogue. Return the
    entry of the manifest: status (``done``, or ``empty`` without galaxies), count, hash (of pixels
    and catalogue), missing_bands if the brick lacks some, and unchecked if coadds should have been
    checked against published sums but were not. `parent` has the brick's rows of the parent sample.

    Raises
    ------
    LenspipeError
        The brick's coadds are missing, truncated or garbled.
    RetrievalError
        A server did not deliver them.
    """
    bands, release = source.bands, source.release
    key = _key(source, brick, region, parent, cutouts)
    header, existing = _read_existing(path, key)
    if header is None or existing is None:
        stamps = source.read(brick, region, parent)
        images, flags = stamps.images, flag_stamps(stamps, cutouts.max_masked_fraction)
        lacking = stamps.present.any(axis=0) < (len(parent) > 0)
        missing = "".join(np.array(bands)[lacking])
        unchecked = source.unchecked(brick, region)
        pixels = hashlib.sha256(images.tobytes()).hexdigest()[:16]
        _log_problems(brick, flags, missing, unchecked)
    else:
        missing, unchecked = header["MISSING"].strip(), header.get("NOSUMS", "").strip()
        if content_hash(existing.drop(columns="flags")) == content_hash(parent):
            return _entry(len(parent), header["LPHASH"], missing, unchecked)
        images, flags, pixels = None, existing["flags"], header["LPPIXELS"]
        log.info("brick %s: kept the pixels, the parent sample has other columns", brick)
    catalog = parent.reset_index(drop=True).assign(flags=flags)
    content = digest(pixels, content_hash(catalog))
    header = fits.Header()
    header["BANDS"] = ("".join(bands), "bands, in their order")
    header["MISSING"] = (missing, "bands without coadd in this brick")
    header["BUNIT"] = ("nanomaggy", f"AB mag = {release.zero_point_mag} - 2.5 log10(nanomaggy)")
    header["PIXSCALE"] = (release.pixel_scale_arcsec, "[arcsec]")
    header["RELEASE"] = (release.name, "data release")
    header["BRICKNAM"] = (brick, "brick")
    header["REGION"] = (region, "region")
    header["LPKEY"] = (key, "hash of what this file was made from")
    header["LPPIXELS"] = (pixels, "hash of pixels before compression")
    header["LPHASH"] = (content, "hash of pixels and catalogue")
    header["LPVERS"] = (lenspipe.__version__, "version of lenspipe")
    if unchecked:
        header["NOSUMS"] = unchecked
    if images is None:
        replace_catalog(path, catalog, header)
    else:
        write_cutouts(path, images, catalog, header, release.quantization_step)
    return _entry(len(parent), content, missing, unchecked)


def _key(
    source: StampSource, brick: str, region: str, parent: pd.DataFrame, cutouts: Cutouts
) -> str:
    """Hash everything on which pixels and flags depend, and which galaxy is in which row.

    Other columns of the parent sample are left out, so that a new one does not require new cutouts.
    """
    return digest(
        "cutouts",
        STAGES["cutouts"].version,
        source.bands,
        source.release.name,
        region,
        cutouts,
        content_hash(parent[["id", "ra", "dec"]]),
        source.key(brick, region),
    )


def _read_existing(
    path: Path, key: str
) -> tuple[Mapping[str, Any], pd.DataFrame] | tuple[None, None]:
    """Read header and catalogue of a file that has the key; None if there is no such file."""
    if not path.exists():
        return None, None
    try:
        header = read_header(path)
        if header.get("LPKEY") == key:
            return header, read_catalog(path)
    except LenspipeError as error:
        log.info("cutting again: %s", error)
    return None, None


def _entry(count: int, content: str, missing: str, unchecked: str) -> dict[str, Any]:
    entry = {"status": "done" if count else "empty", "count": count, "hash": content}
    entry |= {"missing_bands": missing} if missing else {}
    return entry | ({"unchecked": unchecked} if unchecked else {})


def _log_problems(brick: str, flags: np.ndarray, missing: str, unchecked: str) -> None:
    if unchecked:
        log.info("brick %s: coadds not checked against published sums: %s", brick, unchecked)
    if missing:
        log.info("brick %s: no coadd in band %s", brick, ", ".join(missing))
    if number := np.count_nonzero(flags & int(FLAGS.NONFINITE)):
        log.info("brick %s: non-finite pixels in %d of %d cutouts", brick, number, len(flags))
