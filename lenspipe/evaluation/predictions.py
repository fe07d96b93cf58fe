"""Scores of the labelled sample's galaxies, beside all that is known of each."""

import numpy as np
import pandas as pd

from lenspipe.products.schema.declarations import names_of
from lenspipe.products.schema.learning import PREDICTED
from lenspipe.products.schema.registry import band_values
from lenspipe.products.tables import read_table
from lenspipe.scoring.splits import score_split
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["predict_splits"]

_TRUTH = ["id", "theta_e_arcsec", "arc_snr"]


def predict_splits(settings, splits, is_refit=False):
    """Score the galaxies of some splits with a model.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
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
    sample = read_table(settings.paths.sample, "sample")
    sample = sample[sample["split"].isin(splits)]
    empty = pd.DataFrame({"id": pd.Series(dtype=str), "label": [], "p": pd.Series(dtype="f4")})
    files = dict.fromkeys(splits, "model.keras")
    if is_refit:
        files["validation"] = "validated.keras"
    scores = [empty, *(score_split(settings, split, files[split]) for split in splits)]
    table = _join(settings, sample, pd.concat(scores, ignore_index=True))
    table = _with_truth(settings, table)
    unlisted = (table["label"] == 0) & table["theta_e_arcsec"].notna()
    if unlisted.any():
        log.info("left out %d lenses that no catalogue lists", unlisted.sum())
    return table[~unlisted].reset_index(drop=True)


def _join(settings, sample, scores):
    """Scores with what the sample's table says of the same galaxies, in its order."""
    columns = names_of(PREDICTED, **band_values(settings.survey.bands))
    sample = sample[[*columns, "shard", "row"]]
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
