"""Cutouts: stamps around the galaxies of the parent sample, cut from the survey's coadds.

A file holds a brick's cutouts and their catalogue, row by row. Its header carries a key of all that
it was made from, so that a brick that is done is not done again.
"""

import hashlib

import numpy as np
import pandas as pd
from astropy.io import fits

import lenspipe
from lenspipe.config.flags import FLAGS
from lenspipe.cutouts.stamps import ask_service, coadd_paths, cut_stamps, flag_stamps
from lenspipe.parent.select import parent_of_brick
from lenspipe.products.chunks import try_bricks
from lenspipe.products.cutouts import native_array
from lenspipe.products.manifests import (
    failed_entries,
    failure_in,
    read_manifest,
    update_manifest,
    write_manifest,
)
from lenspipe.products.plan import bricks_of_chunk, find_brick
from lenspipe.retrieval.errors import fetched
from lenspipe.retrieval.sources import open_source
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic, is_remote
from lenspipe.utils.fits import open_fits
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log
from lenspipe.utils.tables import content_hash

__all__ = ["cut_brick", "cut_chunk", "cut_one", "cutouts_at", "discard_chunk"]

#: Raised when the same input gives other cutouts, so that existing files are made again.
STAGE_VERSION = 2

#: Bricks of a remote tree that are worked on together: while one is cut, another is fetched.
_BRICKS_AT_ONCE = 2


def cut_brick(settings, source, brick, region, parent):
    """Cut a brick's stamps and write them, unless the file is there and was made from the same.

    A stamp is centred on the pixel whose centre is nearest to the galaxy.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    source : lenspipe.retrieval.local.LocalSource
        Or another, as from `lenspipe.retrieval.sources.open_source`.
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
    asks = settings.cutouts.source == "service"
    coadds = coadd_paths(settings, brick, region).values()
    files = [settings.survey.service] if asks else source.key(coadds)
    key = _key(settings, region, parent, files)
    if (entry := _existing(path, key)) is not None:
        return entry
    if asks:
        stamps = ask_service(settings, brick, region, parent)
    else:
        stamps = cut_stamps(settings, source, brick, region, parent)
    flags = flag_stamps(settings, stamps)
    catalog = parent.reset_index(drop=True).assign(flags=flags)
    lacking = stamps.present.any(axis=0) < (len(parent) > 0)
    missing = "".join(np.array(settings.survey.bands)[lacking])
    _say(brick, flags, missing)
    content = hashlib.sha256(stamps.images.tobytes() + content_hash(catalog).encode())
    content = content.hexdigest()[:16]
    header = fits.Header()
    header["BANDS"] = ("".join(settings.survey.bands), "bands, in order of the third axis")
    header["MISSING"] = (missing, "bands without coadd in this brick")
    header["BUNIT"] = (
        "nanomaggy",
        f"AB mag = {settings.release.zero_point_mag} - 2.5 log10(nanomaggy)",
    )
    header["PIXSCALE"] = (settings.release.pixel_scale_arcsec, "[arcsec]")
    header["RELEASE"] = (settings.release.name, "data release")
    header["BRICKNAM"] = (brick, "brick")
    header["REGION"] = (region, "region")
    header["LPKEY"] = (key, "hash of what this file was made from")
    header["LPHASH"] = (content, "hash of pixels and catalogue")
    header["LPVERS"] = (lenspipe.__version__, "version of lenspipe")
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(stamps.images, header, name="IMAGE"),
        fits.BinTableHDU(native_array(catalog), name="CATALOG"),
    ]
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)
    return _entry(len(parent), content, missing)


def cut_chunk(settings, chunk):
    """Cut all bricks of a chunk and write the manifest ``cutouts``.

    Bricks that are done are skipped, and a bad one does not keep the others from being cut.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        With ``failures.strict``, at the end, if there are bricks that can't be read or had;
        otherwise the manifest says 'failed' and why. No cutouts of such a brick remain.
    """
    parent_path = settings.paths.parent(chunk)
    if not parent_path.exists():
        raise LenspipeError(f"{parent_path}: no such file; make the parent sample of {chunk} first")
    parent = pd.read_parquet(parent_path)
    before = read_manifest(settings.paths.manifest("parent", chunk))
    bricks = bricks_of_chunk(settings.paths.plan, chunk)
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
    settings : lenspipe.config.settings.Settings
    brick : str

    Raises
    ------
    LenspipeError
        The brick is not in the footprint, or its files can't be read.
    """
    chunk, region = find_brick(settings.paths.plan, brick)
    rows, _ = parent_of_brick(settings, brick, region)
    with open_source(settings) as source:
        entry = cut_brick(settings, source, brick, region, rows)
    update_manifest(settings.paths.manifest("cutouts", chunk), {brick: entry})
    log.info("brick %s: %d cutouts", brick, entry["count"])


def discard_chunk(settings, chunk):
    """Delete the cutouts of a chunk that is scored, and write the manifest ``discard``.

    `cutouts_at` cuts them again.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunk : str

    Raises
    ------
    LenspipeError
        The chunk has no scores.
    """
    scores = settings.paths.scores(chunk)
    if not scores.exists():
        raise LenspipeError(f"{scores}: no such file; score chunk {chunk} before its cutouts go")
    entries = read_manifest(settings.paths.manifest("cutouts", chunk))
    manifest = settings.paths.manifest("discard", chunk)
    # Its folder says that cutouts have gone, also if this job does not come to its end.
    manifest.parent.mkdir(parents=True, exist_ok=True)
    for brick in entries:
        settings.paths.cutouts(brick).unlink(missing_ok=True)
    gone = {b: entry | {"status": "deleted"} for b, entry in entries.items() if entry["hash"]}
    write_manifest(manifest, gone)
    log.info("chunk %s: deleted the cutouts of %d bricks", chunk, len(gone))


def cutouts_at(settings, brick):
    """Where a brick's cutouts are; if they were deleted once scored, they are cut again first.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    brick : str

    Returns
    -------
    pathlib.Path
        There is no such file if the brick never had cutouts, or somebody else deleted them.

    Raises
    ------
    LenspipeError
        As in `cut_brick`.
    """
    paths = settings.paths
    path = paths.cutouts(brick)
    if path.exists() or not paths.manifest("discard", "").parent.exists():
        return path
    chunk, region = find_brick(settings.paths.plan, brick)
    manifest = paths.manifest("cutouts", chunk)
    if read_manifest(manifest).get(brick, {}).get("status") not in ("done", "empty"):
        return path
    parent = pd.read_parquet(paths.parent(chunk), filters=[("brick", "==", brick)])
    with open_source(settings) as source:
        entry = cut_brick(settings, source, brick, region, parent)
    update_manifest(manifest, {brick: entry})
    log.info("brick %s: %d cutouts, deleted once scored, cut again", brick, entry["count"])
    return path


def _key(settings, region, parent, files):
    """Hash all that the cutouts are made from."""
    return digest(
        "cutouts",
        STAGE_VERSION,
        settings.survey.bands,
        settings.release.name,
        region,
        settings.cutouts,
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


def _say(brick, flags, missing):
    """Note in the log what is wrong with a brick's pixels."""
    if missing:
        log.info("brick %s: no coadd in band %s", brick, ", ".join(missing))
    if number := np.count_nonzero(flags & int(FLAGS.NONFINITE)):
        log.info("brick %s: non-finite pixels in %d of %d cutouts", brick, number, len(flags))
