"""Scores of the labelled sample's galaxies, joined with their properties."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.schema import PREDICTED, band_values, names_of
from lenspipe.products.tables import read_table
from lenspipe.products.truth import lenses_shown
from lenspipe.scoring.backends.choose import Backend
from lenspipe.scoring.splits import score_split
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["predict_splits"]

_TRUTH = ["id", "theta_e_arcsec", "arc_snr"]


def predict_splits(
    paths: RunPaths,
    files: Mapping[str, str],
    open_backend: Callable[[str], Backend],
    shape: tuple[int, int],
    batch_size: int,
    name: str,
) -> pd.DataFrame:
    """Score the galaxies of some splits with a model; a split that the sample lacks has no rows.

    There is a row per galaxy with the columns in docs/outputs.md, except ``p_calibrated``, and
    ``shard`` and ``row`` of its record. Lenses of a simulated sky that no catalogue lists, and
    sources near the images of a lens, which the sample labels as non-lenses, are left out: a good
    network finds them, and at low rates they alone would dominate the false positives.

    Parameters
    ----------
    files
        Split -> file of the model that scores it.
    open_backend
        Opens such a file; one that scores both splits is opened once.
    shape, batch_size, name
        As for `lenspipe.scoring.splits.score_split`.

    Raises
    ------
    LenspipeError
        Model, records and sample are inconsistent.
    """
    sample = read_table(paths.sample, "sample")
    sample = sample[sample["split"].isin(files)]
    empty = pd.DataFrame({"id": pd.Series(dtype=str), "label": [], "p": pd.Series(dtype="f4")})
    get_backend = functools.cache(open_backend)
    scores = [empty]
    for split, file in files.items():
        backend = functools.partial(get_backend, file)
        scores.append(score_split(paths, split, backend, shape, batch_size, name))
    table = _join(sample, pd.concat(scores, ignore_index=True), paths.sample)
    table = _add_truth(table, [path for path in (paths.injected, paths.truth) if path.exists()])
    unlisted = (table["label"] == 0) & table["theta_e_arcsec"].notna()
    if paths.truth.exists():
        unlisted |= (table["label"] == 0) & table["id"].isin(lenses_shown(paths.truth))
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
