"""Scores of a split of the labelled sample."""

import pandas as pd

from lenspipe.products.record_files import check_shards
from lenspipe.products.records import dataset
from lenspipe.scoring.backends.choose import open_backend
from lenspipe.scoring.score import load_fitting
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import track
from lenspipe.utils.tensorflow import tf

__all__ = ["score_split"]


def score_split(settings, split, file="model.keras"):
    """Score the galaxies of a split with a model.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the model.
    split : {"validation", "test"}
    file : str
        Which file of the model's folder.

    Returns
    -------
    pandas.DataFrame or None
        Columns id, label and p (float32) in the order of the records; None where the sample has no
        such split.
    """
    own, name = settings.inference, settings.training.name
    shards = check_shards(settings.paths.records_manifest, split)
    shape = len(settings.survey.bands), settings.cutouts.size
    if not shards:
        return None
    # What scores the search: in bfloat16 other numbers come out than in float32.
    backend = open_backend(load_fitting(settings, settings.paths.model(name, file)), own)
    tables = []
    batches = dataset(shards, own.batch_size, *shape, columns=["id", "label", "image"])
    what = f"{name}: batches of the {split} split scored"
    try:
        for batch in track(batches, what):
            p = backend(batch["image"].numpy())[:, 0]
            ids, label = batch["id"].numpy().astype(str), batch["label"].numpy()
            tables.append(pd.DataFrame({"id": ids, "label": label, "p": p}))
    except tf.errors.OpError as error:
        raise LenspipeError(
            f"{shards[0].parent}: found a file of records that can't be read to its end "
            f"({type(error).__name__}), expected whole ones; delete {settings.paths.sample} and "
            "run again to write the sample anew"
        ) from error
    return pd.concat(tables, ignore_index=True)
