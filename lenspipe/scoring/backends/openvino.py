"""Scoring with OpenVINO, on CPUs: an optional dependency, imported by this module alone."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.scoring.backends.tensorflow import freeze
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import as_if_missing, keras

# Where it is installed, each model that is converted is reported to OpenVINO's makers, by a copy of
# this process that waits for a server: seconds for nothing on a node without the internet.
with as_if_missing("openvino_telemetry"):
    import openvino

__all__ = ["OpenVINO"]


class OpenVINO:
    """A trained network in OpenVINO.

    Parameters
    ----------
    model
        From (N, B, S, S) nanomaggies to (N, K).
    symmetries : {1, 8}
        Orientations whose scores are averaged.
    precision : {"float32", "bfloat16"}
        bfloat16 where the CPU has instructions for it, else float32.

    Raises
    ------
    LenspipeError
        OpenVINO can't run the model.

    Notes
    -----
    Cutouts are processed one by one, as many in parallel as suits the cores: the feature maps of
    one fit into a core's cache, those of a batch do not, which costs a third of the speed.
    """

    name = "OpenVINO"

    def __init__(self, model: keras.Model, symmetries: int, precision: str) -> None:
        self.precision, self._symmetries = precision, symmetries
        self._outputs = model.output_shape[1]
        core = openvino.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and "BF16" not in capabilities:
            log.info("this CPU has no bfloat16; scoring in float32")
            self.precision = "float32"
        # One cutout at a time. The graph goes through a file, because `openvino.convert_model` does
        # not accept a function of TensorFlow in Python 3.13.
        frozen = freeze(lambda images: model(images, training=False), (1, *model.input_shape[1:]))
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.precision],
        }
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.pb")
                path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
                network = core.read_model(path)
            self._queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", hints))
        except RuntimeError as error:
            raise LenspipeError(
                f"model: OpenVINO can't run it ({' '.join(str(error).split())[:200]}); set "
                "inference.backend to tensorflow"
            ) from None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Score (N, B, S, S) cutouts."""
        scores = np.empty((len(images), self._symmetries, self._outputs), np.float32)

        def keep(request: Any, place: tuple[int, int]) -> None:
            scores[place] = request.get_output_tensor(0).data[0]

        self._queue.set_callback(keep)
        for i in range(len(images)):
            for orientation in range(self._symmetries):
                oriented = np.ascontiguousarray(_orient(images[i], orientation))
                self._queue.start_async({0: oriented[None]}, userdata=(i, orientation))
        self._queue.wait_all()
        return scores.mean(axis=1)


def _orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """One of the 8 orientations of (B, S, S), numbered as in the TensorFlow backend."""
    image = image[:, ::-1] if orientation & 1 else image
    image = image[:, :, ::-1] if orientation & 2 else image
    return image.transpose(0, 2, 1) if orientation & 4 else image
