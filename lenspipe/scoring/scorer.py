"""A model as the search uses it: its backend, its calibration, and the columns that it fills."""

import os
from pathlib import Path

import numpy as np

from lenspipe.config.learning import Inference
from lenspipe.models.contents import with_member_outputs
from lenspipe.products.cards import CARD, find_card
from lenspipe.scoring.backends.choose import open_backend
from lenspipe.statistics.calibration import read_calibration
from lenspipe.utils.hashing import file_hash
from lenspipe.utils.tensorflow import keras

__all__ = ["Scorer", "hash_model"]


def hash_model(path: Path, *others: Path) -> list[str]:
    """Hash what the scores of a model depend on: its file, others, its calibration and card."""
    files = [path, *others, path.with_name("calibration.json"), path.with_name(CARD)]
    return [file_hash(file) for file in files if file.exists()]


class Scorer:
    """Turns batches of cutouts into columns of scores.

    Parameters
    ----------
    model
        As returned by `lenspipe.scoring.score.load_model`.
    path
        File of the model; ``calibration.json`` beside it is applied if it exists.
    name
        Name of the model, for its column; that of its card if there is one.

    Attributes
    ----------
    columns : list of str
        Columns of a batch: ``p_<member>`` of an ensemble, ``p_<name>``, p, p_calibrated.
    name
    note : str
        What the model's card says of its scores; empty without a card.
    backend : lenspipe.scoring.backends.choose.Backend

    Raises
    ------
    LenspipeError
        The calibration can't be read, or as `lenspipe.scoring.backends.choose.open_backend`.
    """

    def __init__(
        self, model: keras.Model, path: str | os.PathLike[str], name: str, inference: Inference
    ) -> None:
        calibration = Path(path).with_name("calibration.json")
        self._calibration = read_calibration(calibration) if calibration.exists() else None
        card = find_card(path)
        self.name, self.note = (card.name, card.note) if card else (name, "")
        model, members = with_member_outputs(model)
        self.backend = open_backend(model, inference)
        # Columns of the backend's output; the model takes precedence over a member of its name.
        self._places = {f"p_{member}": 1 + i for i, member in enumerate(members)}
        self._places |= {f"p_{self.name}": 0, "p": 0}
        self.columns = [*self._places, "p_calibrated"]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Score (N, B, S, S) cutouts: {column: float32 (N,)}."""
        scores = self.backend(images)
        p = scores[:, 0]
        calibrated = self._calibration.apply(p) if self._calibration else np.full(len(p), np.nan)
        columns = {name: scores[:, place] for name, place in self._places.items()}
        return columns | {"p_calibrated": calibrated.astype(np.float32)}
