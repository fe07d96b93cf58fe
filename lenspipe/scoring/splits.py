"""Scores of a split of the labelled sample."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.record_files import check_shards
from lenspipe.products.records import dataset
from lenspipe.scoring.backends.choose import Backend
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import track
from lenspipe.utils.tensorflow import tf

__all__ = ["score_batches", "score_split"]


def score_batches(
    batches: Iterable[dict[str, Any]],
    score: Callable[[np.ndarray], np.ndarray],
    progress: Callable[[int], object] | None = None,
) -> pd.DataFrame:
    """Score batches of records.

    The table has columns id (if the batches have it), label and p, in the order of the records.

    Parameters
    ----------
    batches
        As returned by `lenspipe.products.records.dataset`, with images and labels, and perhaps ids.
    score
        From images, float32 (N, B, S, S) nanomaggies, to probabilities, (N,).
    progress
        Called after each batch with the number of batches scored.
    """
    tables = []
    for batch in batches:
        ids = {"id": batch["id"].numpy().astype(str)} if "id" in batch else {}
        p = score(batch["image"].numpy())
        tables.append(pd.DataFrame(ids | {"label": batch["label"].numpy(), "p": p}))
        if progress:
            progress(len(tables))
    return pd.concat(tables, ignore_index=True)


def score_split(
    paths: RunPaths,
    split: str,
    open_backend: Callable[[], Backend],
    shape: tuple[int, int],
    batch_size: int,
    name: str,
) -> pd.DataFrame | None:
    """Score the galaxies of a split of the labelled sample.

    The table has columns id, label and p (float32) in the order of the records; None where the
    sample has no such split.

    Parameters
    ----------
    open_backend
        Opens what scores; not called where the sample has no such split.
    shape
        Number of bands and side of a cutout in pixels.
    """
    shards = check_shards(paths.records_manifest, split)
    if not shards:
        return None
    backend = open_backend()
    batches = dataset(shards, batch_size, *shape, columns=["id", "label", "image"])
    try:
        return score_batches(
            track(batches, f"{name}: batches of the {split} split scored"),
            lambda images: backend(images)[:, 0],
        )
    except tf.errors.OpError as error:
        raise LenspipeError(
            f"{shards[0].parent}: found a file of records that can't be read to its end "
            f"({type(error).__name__}), expected whole ones; delete {paths.sample} and "
            "run again to write the sample anew"
        ) from error
