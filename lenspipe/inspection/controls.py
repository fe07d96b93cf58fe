"""Lenses slipped into the graders' lists: simulated ones of the run, known ones of one's choice.

Each kind is a file of cutouts beside the votes, made once and then kept, as lists name its rows.
"""

import shutil

import numpy as np
from astropy.io import fits

from lenspipe.inspection.images import Cutouts
from lenspipe.products.tables import read_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import tf

__all__ = ["check_files", "keep_injected", "keep_known"]


def check_files(paths):
    """Files of what is slipped in: kind (known or injected) -> path, of those that are there."""
    files = {kind: paths.inspection(f"{kind}.fits") for kind in ("known", "injected")}
    return {kind: path for kind, path in files.items() if path.exists()}


def keep_known(paths, source):
    """Keep a file of cutouts of known lenses, in the layout of a run's cutouts, beside the votes.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    source : pathlib.Path

    Raises
    ------
    LenspipeError
        It is no such file.
    """
    Cutouts().rows(source)
    target = paths.inspection("known.fits")
    if target.exists():
        log.info("%s: kept; delete it to take another", target)
        return
    with atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def keep_injected(paths, number, seed):
    """Take simulated lenses out of the run's labelled sample: arcs painted on its own galaxies.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    number : int
        How many; all if there are fewer.
    seed : int

    Raises
    ------
    LenspipeError
        The run has none.
    """
    target = paths.inspection("injected.fits")
    if target.exists():
        log.info("%s: kept; delete it to draw others", target)
        return
    if not paths.injected.exists():
        raise LenspipeError(
            f"--injected: found no {paths.injected}, expected simulated lenses; search with "
            "config key sample.injected_per_lens, or leave --injected out"
        )
    ids = "injected:" + read_table(paths.injected, "injected")["id"].str.removeprefix("injected:")
    chosen = set(np.random.default_rng([seed, 31]).permutation(np.sort(ids))[:number])
    images, rows = _find(sorted(paths.sample_shards("train").parent.glob("train-*")), chosen)
    if not images:
        raise LenspipeError(
            f"{paths.sample_shards('train')}: found none of the {len(ids)} simulated lenses of "
            f"{paths.injected}; make the sample again"
        )
    dtype = [("id", f"S{max(len(row[0]) for row in rows)}"), ("ra", "f8"), ("dec", "f8")]
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.stack(images).astype(np.float32), name="IMAGE"),
        fits.BinTableHDU(np.array(rows, dtype), name="CATALOG"),
    ]
    with atomic(target) as temporary:
        fits.HDUList(hdus).writeto(temporary)
    log.info("%s: %d simulated lenses", target, len(images))


def _find(shards, chosen):
    """Images and (id, ra, dec) of some examples of the labelled sample."""
    images, rows = [], []
    for shard in shards:
        for record in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            id_ = feature["id"].bytes_list.value[0].decode()
            if id_ in chosen:
                dtype = feature["dtype"].bytes_list.value[0].decode()
                image = np.frombuffer(
                    feature["image"].bytes_list.value[0], f"<{np.dtype(dtype).str[1:]}"
                )
                images.append(image.reshape(list(feature["shape"].int64_list.value)))
                position = np.frombuffer(feature["position"].bytes_list.value[0], "<f8")
                rows.append((id_.removeprefix("injected:").encode(), *position))
    return images, rows
