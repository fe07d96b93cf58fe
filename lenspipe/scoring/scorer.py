"""A model as the search uses it: its backend, its calibration, and the columns that it fills."""

from pathlib import Path

import numpy as np

from lenspipe.models.contents import with_members
from lenspipe.scoring.backends.choose import open_backend
from lenspipe.statistics.calibration import read_calibration

__all__ = ["Scorer"]


class Scorer:
    """Turn batches of cutouts into columns of scores.

    Parameters
    ----------
    model : keras.Model
        As `lenspipe.scoring.score.load_model` returns it.
    path : str or path-like
        Where it is from; ``calibration.json`` beside it is applied if there is one.
    name : str
        Of the model, for its column.
    own : lenspipe.config.learning.Inference

    Attributes
    ----------
    columns : list of str
        Those of a batch: ``p_<member>`` of an ensemble, ``p_<name>``, p, p_calibrated.
    backend : callable
        As of `lenspipe.scoring.backends.choose.open_backend`.

    Raises
    ------
    LenspipeError
        The calibration can't be read, or as `lenspipe.scoring.backends.choose.open_backend`.
    """

    def __init__(self, model, path, name, own):
        calibration = Path(path).with_name("calibration.json")
        self._calibration = read_calibration(calibration) if calibration.exists() else None
        model, members = with_members(model)
        self.backend = open_backend(model, own)
        # Places in the backend's output; a member of the model's own name gives way to it.
        self._places = {f"p_{member}": 1 + i for i, member in enumerate(members)}
        self._places |= {f"p_{name}": 0, "p": 0}
        self.columns = [*self._places, "p_calibrated"]

    def __call__(self, images):
        """Score (N, B, S, S) cutouts: {column: float32 (N,)}."""
        scores = self.backend(images)
        p = scores[:, 0]
        calibrated = self._calibration.apply(p) if self._calibration else np.full(len(p), np.nan)
        columns = {name: scores[:, place] for name, place in self._places.items()}
        return columns | {"p_calibrated": calibrated.astype(np.float32)}
