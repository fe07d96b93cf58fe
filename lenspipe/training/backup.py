"""State of a training after each epoch, so that an interrupted training can be resumed."""

import json
import shutil
from pathlib import Path
from typing import Any

from lenspipe.utils.files import atomic, read_kept
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras

__all__ = ["Backup"]


class Backup:
    """State of a training: weights, optimiser, history.

    keras.callbacks.BackupAndRestore is not used: it writes in place, so a file cut off by a kill
    can't be read, and it stores neither the history nor the best weights. The order of the sample
    depends on the epoch alone, so the number of epochs is the position in it.

    Parameters
    ----------
    folder
        Folder of the state. Where several machines train together, all see it and one writes.
    key
        Hash of settings and sample; a state with another key is not used. None: only to remove it.
    """

    def __init__(self, folder: Path, key: str | None = None) -> None:
        self.folder, self.key = folder, key
        self.state = folder / "state.json"
        self.best: str | None = None

    def restore(self, model: keras.Model) -> tuple[list[dict[str, Any]], float]:
        """Load the last state into a compiled model.

        Return the history, a row per epoch (empty where there is no state), and the seconds spent.
        """
        state = read_kept(self.state) or {}
        if state.get("key") != self.key:
            return [], 0.0
        log.info("resuming after epoch %d", len(state["history"]))
        model.load_weights(self.folder / state["weights"])
        self.best = state["best"]
        return state["history"], state["seconds"]

    def save(
        self, model: keras.Model, history: list[dict[str, Any]], seconds: float, is_best: bool
    ) -> None:
        """Save the state; it becomes the valid one only when state.json is renamed."""
        weights = f"epoch-{len(history)}.weights.h5"
        with atomic(self.folder / weights) as temporary:
            model.save_weights(temporary)
        self.best = weights if is_best else self.best
        state = {
            "key": self.key, "weights": weights, "best": self.best, "history": history,
            "seconds": seconds,
        }  # fmt: skip
        with atomic(self.state) as temporary:
            temporary.write_text(json.dumps(state))
        for old in self.folder.glob("epoch-*.weights.h5"):
            if old.name not in (weights, self.best):
                old.unlink()

    def load_best(self, model: keras.Model) -> None:
        """Load the weights of the last epoch that was saved as the best."""
        assert self.best is not None
        model.load_weights(self.folder / self.best)

    def remove(self) -> None:
        """Delete the state."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
