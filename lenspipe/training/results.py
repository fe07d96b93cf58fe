"""Files that a training leaves."""

import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import lenspipe
from lenspipe.config.settings import Settings
from lenspipe.plotting.style import open_figure
from lenspipe.products.files import read_json, write_json
from lenspipe.products.tables import write_table
from lenspipe.utils.files import atomic
from lenspipe.utils.tensorflow import keras

__all__ = ["code_version", "sample_hashes", "write_history", "write_model", "write_notes"]


def code_version() -> str:
    """Version of this code, such as ``0.1.0+g1a2b3c4``.

    The package's version, and the commit where it runs from a checkout; ``-dirty`` where files
    differ from the commit.
    """
    folder = Path(lenspipe.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        # Outside a checkout of lenspipe the folder is ignored, and has no commit.
        subprocess.run([*command[:3], "ls-files", "--error-unmatch", "__init__.py"],
                       check=True, capture_output=True)  # fmt: skip
        commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return lenspipe.__version__
    return f"{lenspipe.__version__}+g{commit}"


def sample_hashes(manifest: Path) -> dict[str, str]:
    """CRC-32 of the frames of each file of records, from the sample's manifest."""
    shards = read_json(manifest, "records_manifest")["shards"]
    return {name: entry["frames_crc32"] for name, entry in shards.items()}


def write_history(folder: Path, history: pd.DataFrame, kept_epoch: int) -> None:
    """Write ``history.csv`` (a row per epoch) and ``history.png``."""
    write_table(folder / "history.csv", history)
    title = f"{folder.name}: {len(history)} epochs, the model of epoch {kept_epoch} kept"
    with open_figure(folder / "history.png", 9, 4, title) as figure:
        left, right = figure.subplots(1, 2)
        left.semilogy(history["epoch"], history["loss"], label="training (weighted, augmented)")
        if validated := bool(history["val_loss"].notna().any()):
            left.semilogy(history["epoch"], history["val_loss"], label="validation")
        left.set(xlabel="epoch", ylabel="loss")
        if validated:
            right.plot(history["epoch"], history["val_auc"], label="_validation")
        right.axvline(kept_epoch, color="0.6", lw=1, label="kept")
        right.set(xlabel="epoch", ylabel="area under the ROC curve, validation")
        handles = [*left.lines, *right.lines[-1:]]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def write_notes(folder: Path, settings: Settings, notes: dict[str, Any]) -> None:
    """Write ``config.yaml``, all settings of the run, and ``training.json``, the notes."""
    with atomic(folder / "config.yaml") as temporary:
        plain = settings.model_dump(mode="json")
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False))
    write_json(folder / "training.json", notes)


def write_model(path: Path, model: keras.Model) -> None:
    """Write a model in Keras' format."""
    with atomic(path) as temporary:
        model.save(temporary)
