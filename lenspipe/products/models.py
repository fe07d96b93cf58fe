"""Descriptions of trained models."""

from pathlib import Path
from typing import Any

from lenspipe.products.files import read_json
from lenspipe.products.sample import SPLITS
from lenspipe.utils.errors import LenspipeError

__all__ = ["TRAINING_KEYS", "read_training", "training_splits"]

#: Keys of the description of a training that metrics.json repeats.
TRAINING_KEYS = ("name", "network", "parameters", "sample_version", "refit")


def read_training(path: Path) -> dict[str, Any]:
    """Read the description of a training.

    Parameters
    ----------
    path
        ``training.json`` of a model.

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
    """Splits that the models of a run were trained on: validation, too, by refit or a stacker.

    Parameters
    ----------
    models
        Folder of the models.
    """
    trainings = [read_json(path, "training") for path in sorted(models.glob("*/training.json"))]
    both = any(t.get("refit") or t.get("combine") == "stacker" for t in trainings)
    return SPLITS[:2] if both else SPLITS[:1]
