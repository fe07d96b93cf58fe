"""Several networks as one model."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.models.contents import count_parameters
from lenspipe.models.layers import Median
from lenspipe.products.files import write_json
from lenspipe.products.models import read_training
from lenspipe.products.sample import sample_version
from lenspipe.products.tables import read_table
from lenspipe.scoring.score import load_model_for_run
from lenspipe.statistics.metrics import auc, cross_entropy
from lenspipe.training.ensemble_report import compare, plot_report
from lenspipe.training.results import code_version, sample_hashes, write_model, write_notes
from lenspipe.training.stacking import MIN_PER_CLASS, fit_stacker
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import keras

__all__ = ["combine", "join"]

#: Maximum number of galaxies that the stacker is applied to at once, roughly.
_AT_ONCE = 65536

_KEYS = ["id", "split", "label"]


def combine(settings: Settings) -> dict[str, Any]:
    """Combine the ensemble's members into one model, and measure what this gains.

    Leaves in ``models/<training.name>/``: ensemble.json and ensemble.png (comparison of members and
    combinations, docs/networks.md), config.yaml (all settings of the run), training.json, and
    finally model.keras, which does not depend on the members' files.

    A stacker is fitted to the members' predictions for the validation split only. Predictions are
    means over the orientations of ``inference.symmetries``. Scoring averages in the other order: it
    combines the members for each orientation first. For a mean the result is the same, for a median
    or a stacker nearly so. Return the content of training.json.

    Raises
    ------
    LenspipeError
        A member or its predictions are missing, members don't fit together, or there are too few
        lenses to fit a stacker to.
    """
    begin = time.monotonic()
    ensemble, paths, names = settings.ensemble, settings.paths, settings.models
    name = settings.training.name
    notes = {member: read_training(paths.model(member, "training.json")) for member in names}
    shape = settings.survey.bands, settings.cutouts.size
    members = {member: load_model_for_run(paths.model(member), *shape) for member in names}
    galaxies = read_predictions({n: paths.model(n, "predictions.parquet") for n in names})
    validation = galaxies[galaxies["split"] == "validation"]
    stacker, steps = None, None
    if ensemble.combine == "stacker" or _can_fit_stacker(validation["label"]):
        log.info("ensemble %s: fitting a stacker to %d validation galaxies", name, len(validation))
        stacker, left_out, steps = fit_stacker(
            validation[names].to_numpy(), validation["label"], ensemble.hidden, settings.seed
        )
    combined = {
        "mean": galaxies[names].mean(axis=1),
        "median": galaxies[names].median(axis=1),
    }
    if stacker is not None:
        parts = np.array_split(galaxies[names].to_numpy(), 1 + len(galaxies) // _AT_ONCE)
        p = np.concatenate([stacker(part).numpy()[:, 0] for part in parts])
        combined["stacker"] = pd.Series(p, galaxies.index)
        # It may have memorised the galaxies that it was fitted to.
        combined["stacker"].loc[validation.index] = left_out
    report = compare(names, ensemble.combine, galaxies, pd.DataFrame(combined), settings.seed)
    model = join(members, ensemble.combine, stacker)
    is_lens = validation["label"] > 0.5
    p = combined[ensemble.combine][validation.index]
    summary = {
        "name": name,
        "network": f"{ensemble.combine} of {', '.join(names)}",
        "parameters": count_parameters(model),
        "lenspipe": code_version(),
        "sample_version": sample_version(paths.records_manifest),
        "sample_frames_crc32": sample_hashes(paths.records_manifest),
        "epochs": None,
        "kept_epoch": None,
        "val_auc": auc(p[is_lens], p[~is_lens]),
        "val_loss": cross_entropy(is_lens, p),
        "counts": notes[names[0]].get("counts"),
        "refit": any(member["refit"] for member in notes.values()),
        "seconds": round(time.monotonic() - begin, 1),
        "images_per_s": None,
        "device": None,
        "mixed_precision": False,
        "members": names,
        "combine": ensemble.combine,
        "stacker_steps": steps,
    }
    write_json(paths.model(name, "ensemble.json"), report)
    plot_report(report, paths.model(name, "ensemble.png"))
    write_notes(paths.model(name).parent, settings, summary)
    write_model(paths.model(name), model)
    return summary


def read_predictions(files: Mapping[str, Path]) -> pd.DataFrame:
    """Read the members' predictions for the galaxies held out from training.

    The files are named by member. Columns are id, split, label and one with each member's name
    (float32), sorted by id.

    Raises
    ------
    LenspipeError
        A member has no predictions, or not for the same galaxies as another.
    """
    first = next(iter(files))
    galaxies = None
    for name, path in files.items():
        table = read_table(path, "predictions", columns=["id", "split", "label", "p"])
        table = table.rename(columns={"p": name}).sort_values("id", ignore_index=True)
        if galaxies is None:
            galaxies = table
        elif table[_KEYS].equals(galaxies[_KEYS]):
            galaxies[name] = table[name]
        else:
            raise LenspipeError(
                f"{path}: found {len(table)} galaxies other than the {len(galaxies)} of "
                f"{files[first]}, expected the same; assess both models on the same sample"
            )
    return galaxies


def join(
    members: Mapping[str, keras.Model], how: str, stacker: keras.Model | None = None
) -> keras.Model:
    """Join several models into one.

    The result maps cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).

    Parameters
    ----------
    members
        Name -> model, all for the same cutouts. They become layers with these names.
    how : {"mean", "median", "stacker"}
        How their probabilities are combined.
    stacker
        Only where it combines them.
    """
    # Names with a dot can't clash with those of members.
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
        assert stacker is not None
        stacker.name = "ensemble.stacker"
        p = stacker(keras.layers.Concatenate(name="ensemble.members")(outputs))
    return keras.Model(inputs, p, name="ensemble")


def _can_fit_stacker(label: pd.Series) -> bool:
    n_lenses = int((label > 0.5).sum())
    return min(n_lenses, len(label) - n_lenses) >= MIN_PER_CLASS
