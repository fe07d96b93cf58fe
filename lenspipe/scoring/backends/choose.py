"""What runs a trained network: TensorFlow, or OpenVINO on CPUs where it is installed and faster.

A backend is a function with a ``name``, from cutouts, float32 (N, B, S, S) nanomaggies, to scores,
float32 (N, K). It is made for one model, which must not change any more.
"""

import time

import numpy as np

from lenspipe.scoring.backends.tensorflow import TensorFlow
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus

__all__ = ["Auto", "open_backend"]

#: Cutouts of a trial, and how often each backend scores them.
_TRIED, _TIMES = 32, 2

#: Most by which float32 scores of two backends may differ.
_TOLERANCE = 1e-4


def open_backend(model, own):
    """Make what scores cutouts with a model.

    Parameters
    ----------
    model : keras.Model
        From (N, B, S, S) nanomaggies to (N, K).
    own : lenspipe.config.learning.Inference
        Its keys backend, precision, batch_size and symmetries.

    Returns
    -------
    callable
        From ndarray of float32, (N, B, S, S), to ndarray of float32, (N, K); N may be 0.

    Raises
    ------
    LenspipeError
        OpenVINO is asked for by name, but not installed, or it can't take the model.

    Notes
    -----
    With ``auto``, a GPU is TensorFlow's. On a CPU whichever was faster over the first cutouts
    scores all; where fewer than 32 come at once no trial would pay, and TensorFlow scores them. In
    bfloat16 scores differ in the third digit, so there no clock decides: OpenVINO takes them where
    it can.
    """

    def other():
        return _openvino(model, own)

    if own.backend == "openvino":
        return other()
    if own.backend == "auto" and own.precision == "bfloat16" and not gpus:
        try:
            found = other()
        except LenspipeError as error:
            log.info("scoring with TensorFlow in float32: %s", error)
        else:
            if found.precision == "bfloat16":
                return found
    usual = TensorFlow(model, own.batch_size, own.symmetries)
    return usual if own.backend == "tensorflow" or gpus else Auto(usual, other)


def _openvino(model, own):
    try:
        from lenspipe.scoring.backends.openvino import OpenVINO
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise LenspipeError(
            "openvino: not installed; config key inference.backend needs it: pip install "
            "'lenspipe[openvino]'"
        ) from None
    return OpenVINO(model, own.symmetries, own.precision)


class Auto:
    """The faster of two backends, found out on the first cutouts.

    Parameters
    ----------
    usual : callable
        A backend.
    make_other : callable
        Makes the other one, which has to agree with the usual one; not called without a trial.
    """

    def __init__(self, usual, make_other):
        self._usual, self._make_other = usual, make_other
        self._chosen = None

    @property
    def name(self):
        """Name of the backend in use."""
        return (self._chosen or self._usual).name

    def __call__(self, images):
        """Score (N, B, S, S) cutouts."""
        if self._chosen is None and len(images) >= _TRIED:
            self._chosen = self._try(images[:_TRIED])
        return (self._chosen or self._usual)(images)

    def _try(self, images):
        usual = self._usual
        try:
            other = self._make_other()
        except LenspipeError as error:
            log.info("scoring with %s: %s", usual.name, error)
            return usual
        scores = {backend.name: backend(images) for backend in (usual, other)}  # and warm up
        difference = float(np.abs(scores[usual.name] - scores[other.name]).max())
        if not difference <= _TOLERANCE:
            log.info(
                "scoring with %s: scores of %s differ by up to %.2g", usual.name, other.name,
                difference,
            )  # fmt: skip
            return usual
        seconds = {usual.name: [], other.name: []}
        for backend in (usual, other) * _TIMES:
            begin = time.perf_counter()
            backend(images)
            seconds[backend.name].append(time.perf_counter() - begin)
        rates = {name: len(images) / min(times) for name, times in seconds.items()}
        chosen = other if rates[other.name] > rates[usual.name] else usual
        text = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        log.info("scoring with %s; tried, cutouts per second: %s", chosen.name, text)
        return chosen
