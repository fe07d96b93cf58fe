"""What describes a trained model."""

import json

from lenspipe.products.sample import SPLITS
from lenspipe.utils.errors import LenspipeError

__all__ = ["TRAINING_KEYS", "learnt_splits", "read_notes"]

#: What metrics.json says of the model's training.
TRAINING_KEYS = ("name", "network", "parameters", "sample_version", "refit")


def read_notes(settings):
    """Read what a training noted of its model.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the model.

    Returns
    -------
    dict
        The content of ``training.json``.

    Raises
    ------
    LenspipeError
        There is no such file, or it lacks something.
    """
    path = settings.paths.model(settings.training.name, "training.json")
    if not path.exists():
        raise LenspipeError(f"{path}: no such file; train the model first")
    try:
        notes = json.loads(path.read_text())
        lacking = [key for key in (*TRAINING_KEYS, "val_auc") if key not in notes]
    except (ValueError, TypeError) as error:
        raise LenspipeError(f"{path}: can't be read as JSON ({error}); train again") from None
    if lacking:
        raise LenspipeError(
            f"{path}: lacks {lacking[0]}, expected it of every training; train again"
        )
    return notes


def learnt_splits(models):
    """Splits that a run's models have learnt from: validation, too, where one was refitted."""
    notes = [json.loads(path.read_text()) for path in sorted(models.glob("*/training.json"))]
    both = any(note.get("refit") or note.get("combine") == "stacker" for note in notes)
    return SPLITS[:2] if both else SPLITS[:1]
