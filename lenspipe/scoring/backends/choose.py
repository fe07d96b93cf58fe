"""Choice of the backend: TensorFlow, or OpenVINO on CPUs where it is installed and faster.

A backend is a callable with a ``name``, from cutouts, float32 (N, B, S, S) nanomaggies, to scores,
float32 (N, K). It is made for one model, which must not change afterwards.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lenspipe.config.learning import Inference
from lenspipe.scoring.backends.tensorflow import TensorFlow
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, keras

if TYPE_CHECKING:
    from lenspipe.scoring.backends.openvino import OpenVINO

__all__ = ["AutoBackend", "Backend", "open_backend"]

#: Cutouts of a trial, and number of times that each backend scores them.
_TRIAL_SIZE, _REPEATS = 32, 2

#: Maximum difference of float32 scores between two backends.
_TOLERANCE = 1e-4


class Backend(Protocol):
    """What scores cutouts."""

    @property
    def name(self) -> str:
        """Name for the log."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Score (N, B, S, S) cutouts; N may be 0."""


def open_backend(model: keras.Model, inference: Inference) -> Backend:
    """Open the backend for a model.

    The model maps (N, B, S, S) nanomaggies to (N, K).

    Raises
    ------
    LenspipeError
        OpenVINO is requested by name, but not installed, or it can't run the model.

    Notes
    -----
    With ``auto``, TensorFlow is used on a GPU. On a CPU the backend that is faster for the first
    cutouts scores everything; if fewer than 32 come at once a trial would not pay, and TensorFlow
    scores them. In bfloat16 scores differ in the third digit, so the choice must not depend on
    timing: OpenVINO is used whenever it can run the model.
    """

    def open_openvino() -> Backend:
        return _openvino(model, inference)

    if inference.backend == "openvino":
        return open_openvino()
    if inference.backend == "auto" and inference.precision == "bfloat16" and not gpus:
        try:
            backend = _openvino(model, inference)
        except LenspipeError as error:
            log.info("scoring with TensorFlow in float32: %s", error)
        else:
            if backend.precision == "bfloat16":
                return backend
    tensorflow = TensorFlow(model, inference.batch_size, inference.symmetries)
    if inference.backend == "tensorflow" or gpus:
        return tensorflow
    return AutoBackend(tensorflow, open_openvino)


def _openvino(model: keras.Model, inference: Inference) -> "OpenVINO":
    try:
        from lenspipe.scoring.backends.openvino import OpenVINO
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise LenspipeError(
            "openvino: not installed; config key inference.backend needs it: pip install "
            "'lenspipe[openvino]'"
        ) from None
    return OpenVINO(model, inference.symmetries, inference.precision)


class AutoBackend:
    """The faster of two backends, as measured on the first cutouts.

    `open_other` opens the other backend, whose scores have to agree; it is not called without a
    trial.
    """

    def __init__(self, default: Backend, open_other: Callable[[], Backend]) -> None:
        self._default, self._open_other = default, open_other
        self._chosen: Backend | None = None

    @property
    def name(self) -> str:
        """Name of the backend in use."""
        return (self._chosen or self._default).name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Score (N, B, S, S) cutouts."""
        if self._chosen is None and len(images) >= _TRIAL_SIZE:
            self._chosen = self._choose(images[:_TRIAL_SIZE])
        return (self._chosen or self._default)(images)

    def _choose(self, images: np.ndarray) -> Backend:
        default = self._default
        try:
            other = self._open_other()
        except LenspipeError as error:
            log.info("scoring with %s: %s", default.name, error)
            return default
        scores = {backend.name: backend(images) for backend in (default, other)}  # also warms up
        difference = float(np.abs(scores[default.name] - scores[other.name]).max())
        if not difference <= _TOLERANCE:
            log.info(
                "scoring with %s: scores of %s differ by up to %.2g", default.name, other.name,
                difference,
            )  # fmt: skip
            return default
        seconds: dict[str, list[float]] = {default.name: [], other.name: []}
        for backend in (default, other) * _REPEATS:
            begin = time.perf_counter()
            backend(images)
            seconds[backend.name].append(time.perf_counter() - begin)
        rates = {name: len(images) / min(times) for name, times in seconds.items()}
        chosen = other if rates[other.name] > rates[default.name] else default
        text = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        log.info("scoring with %s; tried, cutouts per second: %s", chosen.name, text)
        return chosen
