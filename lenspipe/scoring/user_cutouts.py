"""Stacks, cutouts in a user's file, scored batch by batch."""

import math
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lenspipe.config.learning import Inference
from lenspipe.config.paths import model_file
from lenspipe.cutouts.stacks import known_columns, open_stack
from lenspipe.models.contents import normalisation
from lenspipe.products.described import write_with_units
from lenspipe.products.schema import PRODUCTS, expand
from lenspipe.scoring.score import load_model
from lenspipe.scoring.scorer import Scorer
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track
from lenspipe.utils.tables import check_output
from lenspipe.utils.user_tables import read_user_table

__all__ = ["score_stack"]


def score_stack(
    model: str | os.PathLike[str],
    cutouts: str | os.PathLike[str],
    output: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    inference: Inference | None = None,
) -> int:
    """Score the cutouts of a file and write a table.

    Columns: row, from 0; name, id, release, brickid, objid, brick, region, ra, dec and flags where
    the table beside the cutouts has them; of an ensemble ``p_<member>``; p; p_calibrated (NaN if
    the model has no calibration); of a model with a card, model, which says what it is. Return the
    number of cutouts.

    Parameters
    ----------
    model
        File model.keras, or the folder that holds it; or ``shipped``.
    cutouts
        As for `lenspipe.cutouts.stacks.open_stack`.
    output
        CSV, Parquet or FITS, by its suffix.
    table
        Table with a row per cutout, in their order, as read by
        `lenspipe.utils.user_tables.read_user_table`.
    inference
        The defaults if not given.

    Raises
    ------
    LenspipeError
        Something can't be read, or model, cutouts and table don't fit together.
    """
    inference = inference or Inference()
    check_output(output)
    path = model_file(model)
    network = load_model(path)
    bands, shape = normalisation(network)[0].bands, network.input_shape[1:]
    with open_stack(cutouts) as (array_shape, batches, beside):
        axes = _axes(cutouts, array_shape, shape, bands)
        given = read_user_table(table, "a row per cutout") if table else beside
        rows = known_columns(table or cutouts, given, array_shape[0])
        scorer = Scorer(network, path, "model", inference)
        parts, steps = [], math.ceil(array_shape[0] / inference.batch_size)
        for images in track(batches(inference.batch_size), f"{cutouts}: batches scored", steps):
            images = images.transpose(axes).astype(np.float32)
            parts.append(pd.DataFrame(scorer(np.ascontiguousarray(images))))
    # The file has no name for the model; column p holds the same scores.
    scores = pd.concat(parts, ignore_index=True).drop(columns=f"p_{scorer.name}")
    if scorer.note:
        scores["model"] = scorer.note
    members = [name.removeprefix("p_") for name in scores if name.startswith("p_")]
    columns = expand(PRODUCTS["scores"].columns, {"member": members})
    write_with_units(output, pd.concat([rows, scores], axis=1), columns)
    log.info("%s: scored %d cutouts", cutouts, len(rows))
    return len(rows)


def _axes(
    path: str | os.PathLike[str],
    stack_shape: tuple[int, ...],
    shape: tuple[int, ...],
    bands: Sequence[str],
) -> tuple[int, int, int, int]:
    """Order of axes that turns the stack into (N, B, S, S)."""
    if stack_shape[1:] == shape:
        return 0, 1, 2, 3
    if stack_shape[1:] == (*shape[1:], shape[0]):
        return 0, 3, 1, 2
    raise LenspipeError(
        f"{path}: found cutouts of shape {stack_shape[1:]}, expected {shape} or "
        f"{(*shape[1:], shape[0])}: the model was made for bands {','.join(bands)} and {shape[1]} "
        "pixels; make cutouts of that shape"
    )
