"""Scores of the labelled sample's galaxies, beside all that is known of each."""

import functools

import numpy as np
import pandas as pd

from lenspipe._tensorflow import tf
from lenspipe.backends import open_backend
from lenspipe.errors import LenspipeError
from lenspipe.inference import load_fitting
from lenspipe.progress import log, track
from lenspipe.recordfiles import check_shards
from lenspipe.records import dataset

__all__ = ["predict_splits", "score_split"]

_COLUMNS = ["id", "split", "label", "class", "grade", "type", "region", "brick", "ra", "dec"]
_CONDITIONS = ("mag_", "nobs_")
_TRUTH = ["id", "theta_e_arcsec", "arc_snr"]


def predict_splits(settings, splits, is_refit=False):
    """Score the galaxies of some splits with a model.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        Of the model.
    splits : sequence of str
        Names; a split that the sample lacks adds nothing.
    is_refit : bool
        Whether the model was trained on the validation split once more: those galaxies are scored
        by ``validated.keras``, the model before.

    Returns
    -------
    pandas.DataFrame
        A row per galaxy with columns as in docs/outputs.md, but for ``p_calibrated``, and
        ``shard`` and ``row`` of its record. On a simulated sky lenses that no catalogue lists, and
        that the sample so takes for non-lenses, are left out: a good network finds them, and at low
        rates they alone would count as false positives.

    Raises
    ------
    LenspipeError
        Model, records and sample don't fit together.
    """
    sample = pd.read_parquet(settings.paths.sample)
    sample = sample[sample["split"].isin(splits)]
    empty = pd.DataFrame({"id": pd.Series(dtype=str), "label": [], "p": pd.Series(dtype="f4")})
    files = dict.fromkeys(splits, "model.keras")
    if is_refit:
        files["validation"] = "validated.keras"
    # A file that scores both splits is opened once.
    opened = functools.cache(functools.partial(_open, settings))
    scores = [empty]
    scores += [score_split(settings, split, functools.partial(opened, files[split]))
               for split in splits]  # fmt: skip
    table = _join(settings, sample, pd.concat(scores, ignore_index=True))
    table = _with_truth(settings, table)
    unlisted = (table["label"] == 0) & table["theta_e_arcsec"].notna()
    if unlisted.any():
        log.info("left out %d lenses that no catalogue lists", unlisted.sum())
    return table[~unlisted].reset_index(drop=True)


def _open(settings, file="model.keras"):
    """What scores the search: in bfloat16 other numbers come out than in float32."""
    path = settings.paths.model(settings.training.name, file)
    return open_backend(load_fitting(settings, path), settings.inference)


def score_split(settings, split, open_model=None):
    """Score the galaxies of a split with a model.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        Of the model.
    split : {"validation", "test"}
    open_model : callable, optional
        Gives the backend that scores, as of `lenspipe.backends.open_backend`; the model's own file
        if not given.

    Returns
    -------
    pandas.DataFrame or None
        Columns id, label and p (float32) in the order of the records; None where the sample has no
        such split.
    """
    own, name = settings.inference, settings.training.name
    shards = check_shards(settings, split)
    shape = len(settings.survey.bands), settings.cutouts.size
    if not shards:
        return None
    backend = open_model() if open_model else _open(settings)
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


def _join(settings, sample, scores):
    """Scores with what the sample's table says of the same galaxies, in its order."""
    conditions = [column for column in sample if column.startswith(_CONDITIONS)]
    sample = sample[[*_COLUMNS, *conditions, "shard", "row"]]
    table = sample.merge(scores, on="id", how="left", suffixes=("", "_record"), validate="1:1")
    odd = table.loc[table["label"] != table["label_record"], "id"].tolist()
    odd += sorted(set(scores["id"]) - set(sample["id"]))
    if odd:
        raise LenspipeError(
            f"{settings.paths.sample}: found {len(odd)} galaxies (first {odd[0]}) that only it or "
            "its records hold, or that they label otherwise, expected the same in both; delete it "
            "and run again to write the sample anew"
        )
    return table.drop(columns="label_record")


def _with_truth(settings, table):
    """Add Einstein radius and signal-to-noise of the arcs where they are known."""
    known = [p for p in (settings.paths.injected, settings.paths.truth) if p.exists()]
    truth = pd.concat(
        [pd.DataFrame({"id": pd.Series(dtype=str), "theta_e_arcsec": [], "arc_snr": []})]
        + [pd.read_parquet(path, columns=_TRUTH) for path in known],
        ignore_index=True,
    )
    # An object of a simulated sky may be listed once in each region that has its brick.
    truth = truth.drop_duplicates("id")
    table = table.merge(truth, on="id", how="left", validate="1:1")
    return table.astype(dict.fromkeys(_TRUTH[1:], np.float32))
