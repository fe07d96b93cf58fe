"""Several networks as one model."""

import json
import time

import numpy as np
import pandas as pd
import yaml

from lenspipe.models.layers import Median
from lenspipe.products.models import read_training
from lenspipe.products.sample import sample_version
from lenspipe.scoring.score import load_fitting
from lenspipe.statistics.metrics import auc, cross_entropy
from lenspipe.training.ensemble_report import compare, draw
from lenspipe.training.results import code_version, sample_hashes, write_model
from lenspipe.training.stacking import LEAST, fit_stacker
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras

__all__ = ["combine", "join"]


def combine(settings):
    """Make one model of the ensemble's members, and measure what combining them adds.

    Leaves in ``models/<training.name>/``: ensemble.json and ensemble.png (members and combinations
    compared, docs/networks.md), config.yaml (all settings of the run), training.json, and last
    model.keras, which needs no file of its members.

    A stacker is fitted to the members' predictions for the validation split and to nothing else.
    Predictions are means over the orientations of ``inference.symmetries``. Scoring averages the
    other way round, each orientation being combined first: for a mean that is the same, for a
    median or a stacker nearly so.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings.

    Returns
    -------
    dict
        The content of training.json.

    Raises
    ------
    LenspipeError
        A member or its predictions are missing, members don't fit together, or there are too few
        lenses to fit a stacker to.
    """
    begin = time.monotonic()
    own, path, names = settings.ensemble, settings.paths.model, settings.models
    name = settings.training.name
    notes = {member: read_training(path(member, "training.json")) for member in names}
    members = {member: load_fitting(settings, path(member)) for member in names}
    galaxies = read_predictions(settings)
    validation = galaxies[galaxies["split"] == "validation"]
    stacked, steps = None, None
    if own.combine == "stacker" or _enough(validation):
        log.info("ensemble %s: fitting a stacker to %d validation galaxies", name, len(validation))
        p, label = validation[names].to_numpy(), validation["label"].to_numpy()
        stacked, left_out, steps = fit_stacker(p, label, own.hidden, settings.seed)
    combined = {
        "mean": galaxies[names].mean(axis=1),
        "median": galaxies[names].median(axis=1),
    }
    if stacked is not None:
        parts = np.array_split(galaxies[names].to_numpy(), 1 + len(galaxies) // 65536)
        p = np.concatenate([stacked(part).numpy()[:, 0] for part in parts])
        combined["stacker"] = pd.Series(p, galaxies.index)
        # What it was fitted to it may know by heart.
        combined["stacker"].loc[validation.index] = left_out
    report = compare(settings, galaxies, pd.DataFrame(combined))
    model = join(members, own.combine, stacked)
    is_lens = validation["label"] > 0.5
    p = combined[own.combine][validation.index]
    first = notes[names[0]]
    summary = {
        "name": name,
        "network": f"{own.combine} of {', '.join(names)}",
        "parameters": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
        "lenspipe": code_version(),
        "sample_version": sample_version(settings.paths.records_manifest),
        "sample_frames_crc32": sample_hashes(settings),
        "epochs": None,
        "kept_epoch": None,
        "val_auc": auc(p[is_lens], p[~is_lens]),
        "val_loss": cross_entropy(is_lens, p),
        "counts": first.get("counts"),
        "refit": any(member["refit"] for member in notes.values()),
        "seconds": round(time.monotonic() - begin, 1),
        "images_per_s": None,
        "device": None,
        "mixed_precision": False,
        "members": names,
        "combine": own.combine,
        "stacker_steps": steps,
    }
    _write(path(name, "ensemble.json"), report)
    with atomic(path(name, "ensemble.png")) as temporary:
        draw(report).savefig(temporary, dpi=120, metadata={"Software": None})
    with atomic(path(name, "config.yaml")) as temporary:
        plain = settings.model_dump(mode="json")
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False))
    _write(path(name, "training.json"), summary)
    write_model(path(name), model)
    return summary


def read_predictions(settings):
    """Read the members' predictions for the galaxies that training did not see.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings.

    Returns
    -------
    pandas.DataFrame
        Columns id, split, label and one of each member's name (float32), sorted by id.

    Raises
    ------
    LenspipeError
        A member has no predictions, or not of the same galaxies as another.
    """
    galaxies, first = None, None
    for name in settings.models:
        path = settings.paths.model(name, "predictions.parquet")
        if not path.exists():
            raise LenspipeError(f"{path}: no such file; assess the model {name} first")
        table = pd.read_parquet(path, columns=["id", "split", "label", "p"])
        table = table.rename(columns={"p": name}).sort_values("id", ignore_index=True)
        keys = table[["id", "split", "label"]]
        if galaxies is None:
            galaxies, first = table, path
        elif keys.equals(galaxies[["id", "split", "label"]]):
            galaxies[name] = table[name]
        else:
            raise LenspipeError(
                f"{path}: found {len(table)} galaxies other than the {len(galaxies)} of {first}, "
                "expected the same; assess both models on the same sample"
            )
    return galaxies


def join(members, how, stacked=None):
    """Make one model of several.

    Parameters
    ----------
    members : dict
        Name -> keras.Model, all for the same cutouts. They become layers of these names.
    how : {"mean", "median", "stacker"}
        How their probabilities become one.
    stacked : keras.Model, optional
        The stacker.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).
    """
    # Members may be called anything but what has a dot in it.
    inputs = keras.Input(next(iter(members.values())).input_shape[1:], name="ensemble.image")
    outputs = []
    for name, member in members.items():
        member.name = name
        outputs.append(member(inputs))
    if how == "mean":
        p = keras.layers.Average(name="ensemble.mean")(outputs)
    elif how == "median":
        p = Median(name="ensemble.median")(outputs)
    else:
        stacked.name = "ensemble.stacker"
        p = stacked(keras.layers.Concatenate(name="ensemble.members")(outputs))
    return keras.Model(inputs, p, name="ensemble")


def _enough(validation):
    n_lenses = int((validation["label"] > 0.5).sum())
    return min(n_lenses, len(validation) - n_lenses) >= LEAST


def _write(path, content):
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
