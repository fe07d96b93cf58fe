"""Trained models: their descriptions, and their scores of galaxies not trained on."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lenspipe.products.files import read_json
from lenspipe.products.sample import SPLITS
from lenspipe.products.tables import read_table
from lenspipe.utils.errors import LenspipeError

__all__ = [
    "TRAINING_KEYS",
    "group_rows",
    "random_nonlenses",
    "read_held_out",
    "read_training",
    "read_unseen",
    "training_splits",
]

#: Keys of the description of a training that metrics.json repeats.
TRAINING_KEYS = ("name", "network", "parameters", "sample_version", "refit")


def read_training(path: Path) -> dict[str, Any]:
    """Read the description of a training, ``training.json`` of a model.

    Raises
    ------
    LenspipeError
        There is no such file, or it lacks a key.
    """
    training = read_json(path, "training")
    lacking = [key for key in (*TRAINING_KEYS, "val_auc") if key not in training]
    if lacking:
        raise LenspipeError(
            f"{path}: lacks {lacking[0]}, expected it of every training; train again"
        )
    return training


def training_splits(models: Path) -> tuple[str, ...]:
    """Splits that models below a folder were trained on: validation, too, by refit or stacker."""
    trainings = [read_json(path, "training") for path in sorted(models.glob("*/training.json"))]
    both = any(t.get("refit") or t.get("combine") == "stacker" for t in trainings)
    return SPLITS[:2] if both else SPLITS[:1]


def read_held_out(path: Path) -> tuple[pd.DataFrame | None, str]:
    """Read a model's scores of the galaxies that judge a threshold: the test split, or validation.

    Returns
    -------
    table
        Columns label, class, type, region, p; None if there is no file.
    source
        Description of what was read, for messages.
    """
    if not path.exists():
        return None, str(path)
    columns = ["split", "label", "class", "type", "region", "p"]
    table = read_table(path, "predictions", columns=columns)
    split = "test" if (table["split"] == "test").any() else "validation"
    return table[table["split"] == split], f"{path} ({split} split)"


def random_nonlenses(
    table: pd.DataFrame, per: Sequence[str] = (), key: Sequence[str] = ()
) -> pd.DataFrame:
    """Select non-lenses drawn at random, without those chosen because they resemble lenses.

    Parameters
    ----------
    table
        As returned by `read_held_out`.
    per, key
        Columns, and their values in the group to which the selection is restricted.
    """
    return group_rows(table[table["class"] == "random"], per, key)


def read_unseen(path: Path, keys: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...] | None, dict]:
    """Read how many random galaxies in bricks that training never saw pass the cuts of a search.

    `path` is that of ``purity.json``, `keys` are the groups that have cuts of their own. Values
    have the keys n, passed, rate, low, high; the key of all galaxies is None. There are none where
    it is not known which galaxies the model was trained on, or no rates were measured.
    """
    if not path.exists():
        return {}
    rows = read_json(path, "purity")["at_cuts"]
    of_groups = {row["value"]: row for row in rows if row["group"] == "cut"}
    unseen = {key: of_groups[" ".join(key)] for key in keys if " ".join(key) in of_groups}
    of_all = [row for row in rows if row["value"] == "never trained on"]
    # A single cut is that of the group of all galaxies.
    whole = [None, *(key for key in keys if not key)]
    return unseen | {key: row for row in of_all for key in whole}


def group_rows(table: pd.DataFrame, per: Sequence[str], key: Sequence[str]) -> pd.DataFrame:
    """Select the rows of one group: those whose columns `per` have the values `key`."""
    for column, value in zip(per, key, strict=True):
        table = table[table[column] == value]
    return table
