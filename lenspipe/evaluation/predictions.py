"""Scores of the labelled sample's galaxies, joined with their properties."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.products.schema import PREDICTED, band_values, names_of
from lenspipe.products.tables import read_table
from lenspipe.scoring.splits import open_model, score_split
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["predict_splits"]

_TRUTH = ["id", "theta_e_arcsec", "arc_snr"]


def predict_splits(
    settings: Settings, splits: Sequence[str], is_refit: bool = False
) -> pd.DataFrame:
    """Score the galaxies of some splits with a model; a split that the sample lacks has no rows.

    Parameters
    ----------
    settings
        Of the model.
    is_refit
        Whether the model was finally trained on the validation split as well: those galaxies are
        scored with the model before that, ``validated.keras``.

    Returns
    -------
    pandas.DataFrame
        A row per galaxy with the columns in docs/outputs.md, except ``p_calibrated``, and ``shard``
        and ``row`` of its record. Lenses of a simulated sky that no catalogue lists, which the
        sample labels as non-lenses, are left out: a good network finds them, and at low rates they
        alone would dominate the false positives.

    Raises
    ------
    LenspipeError
        Model, records and sample are inconsistent.
    """
    paths = settings.paths
    sample = read_table(paths.sample, "sample")
    sample = sample[sample["split"].isin(splits)]
    empty = pd.DataFrame({"id": pd.Series(dtype=str), "label": [], "p": pd.Series(dtype="f4")})
    files = dict.fromkeys(splits, "model.keras")
    if is_refit:
        files["validation"] = "validated.keras"
    # A file that scores both splits is opened once.
    get_backend = functools.cache(functools.partial(open_model, settings))
    scores = [empty]
    for split in splits:
        scores.append(score_split(settings, split, functools.partial(get_backend, files[split])))
    table = _join(sample, pd.concat(scores, ignore_index=True), paths.sample)
    table = _add_truth(table, [path for path in (paths.injected, paths.truth) if path.exists()])
    unlisted = (table["label"] == 0) & table["theta_e_arcsec"].notna()
    if unlisted.any():
        log.info("left out %d lenses that no catalogue lists", unlisted.sum())
    return table[~unlisted].reset_index(drop=True)


def _join(sample: pd.DataFrame, scores: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Join scores with the rows of the sample's table, in its order; `path` is for messages."""
    bands = [name.removeprefix("nobs_") for name in sample if name.startswith("nobs_")]
    sample = sample[[*names_of(PREDICTED, **band_values(bands)), "shard", "row"]]
    table = sample.merge(scores, on="id", how="left", suffixes=("", "_record"), validate="1:1")
    differing = table.loc[table["label"] != table["label_record"], "id"].tolist()
    differing += sorted(set(scores["id"]) - set(sample["id"]))
    if differing:
        raise LenspipeError(
            f"{path}: found {len(differing)} galaxies (first {differing[0]}) that only the table "
            "or only its records contain, or with different labels, expected the same in both; "
            "delete it and run again to write the sample again"
        )
    return table.drop(columns="label_record")


def _add_truth(table: pd.DataFrame, paths: Sequence[Path]) -> pd.DataFrame:
    """Add Einstein radius and signal-to-noise of the arcs where they are known."""
    truth = pd.concat(
        [pd.DataFrame({"id": pd.Series(dtype=str), "theta_e_arcsec": [], "arc_snr": []})]
        + [pd.read_parquet(path, columns=_TRUTH) for path in paths],
        ignore_index=True,
    )
    # An object of a simulated sky is listed in each region that has its brick.
    truth = truth.drop_duplicates("id")
    table = table.merge(truth, on="id", how="left", validate="1:1")
    return table.astype(dict.fromkeys(_TRUTH[1:], np.float32))
