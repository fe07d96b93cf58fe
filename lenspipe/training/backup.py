"""State of a training after each epoch, so that a killed one can go on."""

import json
import shutil

from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["Backup"]


class Backup:
    """State of a training: weights, optimiser, history.

    keras.callbacks.BackupAndRestore is not used: it writes in place (killed while it writes, it
    leaves what it can't read) and knows neither the history nor the best weights. The order of the
    sample depends on the epoch alone, so that the number of epochs is its position.

    Parameters
    ----------
    folder : pathlib.Path
        Where the state is. Where several machines train together all see it, and one writes.
    key : str
        Of settings and sample; the state of another key is not used. None: only to remove it.
    """

    def __init__(self, folder, key=None):
        self.folder, self.key = folder, key
        self.state = folder / "state.json"
        self.best = None

    def restore(self, model):
        """Load the last state into a compiled model.

        Returns
        -------
        history : list of dict
            Empty where there is no state.
        seconds : float
            Time spent on them.
        """
        state = json.loads(self.state.read_text()) if self.state.exists() else {}
        if state.get("key") != self.key:
            return [], 0.0
        log.info("going on after epoch %d", len(state["history"]))
        model.load_weights(self.folder / state["weights"])
        self.best = state["best"]
        return state["history"], state["seconds"]

    def save(self, model, history, seconds, is_best):
        """Save the state; only the renaming of state.json makes it the one that counts."""
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

    def load_best(self, model):
        """Load the weights of the epoch that was saved last as the best."""
        model.load_weights(self.folder / self.best)

    def remove(self):
        """Delete the state."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
