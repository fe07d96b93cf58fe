"""Control lenses in the graders' lists: simulated ones of the run, and known ones.

Each kind is a file of cutouts beside the votes. It is made once and then kept, as the lists refer
to its galaxies.
"""

import shutil
from pathlib import Path

import numpy as np
from astropy.io import fits

from lenspipe.config.paths import RunPaths
from lenspipe.inspection.images import Cutouts
from lenspipe.products.cutouts import write_cutouts
from lenspipe.products.sample import read_by_id
from lenspipe.products.tables import read_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["control_files", "copy_known_controls", "draw_injected_controls"]


def control_files(paths: RunPaths) -> dict[str, Path]:
    """Existing files of control lenses: kind (known or injected) -> path."""
    files = {kind: paths.inspection(f"{kind}.fits") for kind in ("known", "injected")}
    return {kind: path for kind, path in files.items() if path.exists()}


def copy_known_controls(paths: RunPaths, source: Path) -> None:
    """Copy a file of cutouts of known lenses, in the format of a run's cutouts, beside the votes.

    Raises
    ------
    LenspipeError
        The source is not a file of cutouts.
    """
    Cutouts().rows(source)
    target = paths.inspection("known.fits")
    if target.exists():
        log.info("%s: kept; delete it to use another file", target)
        return
    with atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def draw_injected_controls(paths: RunPaths, number: int, seed: int) -> None:
    """Draw simulated lenses, arcs added to the run's own galaxies, from the labelled sample.

    Parameters
    ----------
    number
        How many; all if there are fewer.

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
    shards = sorted(paths.sample_shards("train").parent.glob("train-*"))
    images, table = read_by_id(shards, chosen)
    if not images:
        raise LenspipeError(
            f"{paths.sample_shards('train')}: found none of the {len(ids)} simulated lenses of "
            f"{paths.injected}; make the sample again"
        )
    rows = table[["id", "ra", "dec"]].assign(id=table["id"].str.removeprefix("injected:"))
    write_cutouts(target, np.stack(images), rows, fits.Header())
    log.info("%s: %d simulated lenses", target, len(images))
