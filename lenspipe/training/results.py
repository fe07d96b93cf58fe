"""What a training leaves."""

import subprocess
from pathlib import Path

import matplotlib.figure
import yaml

import lenspipe
from lenspipe.products.files import read_json, write_json
from lenspipe.products.tables import write_table
from lenspipe.utils.files import atomic

__all__ = ["code_version", "sample_hashes", "write_model", "write_notes"]


def code_version():
    """Version of this code: the package's, and the commit where it runs from a checkout.

    Returns
    -------
    str
        Such as ``0.1.0+g1a2b3c4``; ``-dirty`` where files differ from the commit.
    """
    folder = Path(lenspipe.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        # Elsewhere than in a checkout of its own the folder is ignored, and has no commit.
        subprocess.run([*command[:3], "ls-files", "--error-unmatch", "__init__.py"],
                       check=True, capture_output=True)  # fmt: skip
        commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return lenspipe.__version__
    return f"{lenspipe.__version__}+g{commit}"


def sample_hashes(settings):
    """Checksums of the sample's files, as in its manifest.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        Name of a file of records -> CRC-32 of its frames.
    """
    manifest = read_json(settings.paths.records_manifest, "records_manifest")
    return {name: entry["frames_crc32"] for name, entry in manifest["shards"].items()}


def write_notes(settings, history, notes):
    """Write what describes a model: ``history.csv``, ``history.png``, ``config.yaml``, and last
    ``training.json``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the model, `Settings.of_model`.
    history : pandas.DataFrame
        A row per epoch.
    notes : dict
        Content of ``training.json``.
    """
    path = lambda file: settings.paths.model(settings.training.name, file)  # noqa: E731
    write_table(path("history.csv"), history)
    with atomic(path("history.png")) as temporary:
        _plot(history, notes).savefig(temporary, dpi=120, metadata={"Software": None})
    with atomic(path("config.yaml")) as temporary:
        plain = settings.model_dump(mode="json")
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False))
    write_json(path("training.json"), notes)


def write_model(path, model):
    """Write a model in Keras' format.

    Parameters
    ----------
    path : pathlib.Path
    model : keras.Model
    """
    with atomic(path) as temporary:
        model.save(temporary)


def _plot(history, notes):
    figure = matplotlib.figure.Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(history["epoch"], history["loss"], label="training (weighted, augmented)")
    if validated := bool(history["val_loss"].notna().any()):
        left.semilogy(history["epoch"], history["val_loss"], label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    if validated:
        right.plot(history["epoch"], history["val_auc"])
    right.axvline(notes["kept_epoch"], color="0.6", lw=1, label="kept")
    right.set(xlabel="epoch", ylabel="area under the ROC curve, validation")
    right.legend()
    return figure
