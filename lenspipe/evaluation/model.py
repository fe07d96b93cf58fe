"""How well a trained model separates lenses from non-lenses on the held-out splits."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.evaluation.mistakes import draw_mistakes
from lenspipe.evaluation.model_metrics import measure_split
from lenspipe.evaluation.plots import (
    mark_mistakes,
    plot_figures,
    plot_nothing_to_measure,
    shown_split,
)
from lenspipe.evaluation.predictions import predict_splits
from lenspipe.products.files import write_json
from lenspipe.products.models import TRAINING_KEYS, read_training
from lenspipe.products.sample import read_images
from lenspipe.products.tables import read_table, write_table
from lenspipe.scoring.backends.choose import Backend, open_backend
from lenspipe.scoring.score import load_model_for_run
from lenspipe.statistics.calibration import fit_calibration, read_calibration, write_calibration
from lenspipe.utils.progress import log

__all__ = ["SPLITS", "assess", "predict_held_out", "show_mistakes"]

#: Held-out splits.
SPLITS = ("validation", "test")

_PREDICTIONS = "predictions.parquet"


def predict_held_out(settings: Settings) -> None:
    """Score the validation and test splits of the labelled sample with a model, and calibrate it.

    Writes ``calibration.json`` and ``predictions.parquet`` (a row per galaxy) below
    ``models/<name>/``.

    A network that was finally trained on the validation split as well (``training.refit``) scores
    it as it was before, from ``validated.keras``. An ensemble that was trained on that split,
    through such members or a stacker fitted to it, does not score it, and is not calibrated.

    Settings are those of the model, `Settings.of_model`; of section training only the name matters.

    Raises
    ------
    LenspipeError
        The model, the record of its training or the sample are missing or inconsistent.
    """
    paths, name, inference = settings.paths, settings.training.name, settings.inference
    bands, size = settings.survey.bands, settings.cutouts.size
    path = functools.partial(paths.model, name)
    path(_PREDICTIONS).unlink(missing_ok=True)
    notes = read_training(path("training.json"))
    files = dict.fromkeys(SPLITS[1:] if _used_validation(notes) else SPLITS, "model.keras")
    if notes["refit"] and "combine" not in notes:
        files["validation"] = "validated.keras"

    def open_file(file: str) -> Backend:
        return open_backend(load_model_for_run(path(file), bands, size), inference)

    shape = len(bands), size
    galaxies = predict_splits(paths, files, open_file, shape, inference.batch_size, name)
    validation = galaxies[galaxies["split"] == "validation"]
    calibration = fit_calibration(
        validation["label"], validation["p"], settings.evaluation.calibration
    )
    write_calibration(path("calibration.json"), calibration)
    calibrated = calibration.apply(galaxies["p"]) if calibration else np.nan
    galaxies["p_calibrated"] = np.float32(calibrated)
    write_table(path(_PREDICTIONS), galaxies.drop(columns=["shard", "row"]))


def assess(settings: Settings) -> dict:
    """Measure a model on its predictions for the validation and test splits.

    Writes below ``models/<name>/``: figures (``roc.png``, ``precision_recall.png``,
    ``threshold.png``, ``scores.png``, ``reliability.png``) and last ``metrics.json``. The numbers
    are explained in docs/evaluation.md. For an ensemble that was trained on the validation split
    only the AUC from its construction is given there.

    Settings are as for `predict_held_out`. Metrics that could not be measured are None.

    Raises
    ------
    LenspipeError
        The predictions, the calibration or the record of the training are missing.
    """
    name = settings.training.name
    path = functools.partial(settings.paths.model, name)
    path("metrics.json").unlink(missing_ok=True)
    notes, splits = read_training(path("training.json")), _read_splits(path(_PREDICTIONS))
    calibration = read_calibration(path("calibration.json"))
    threshold, source = settings.assessment_threshold
    log.info("assessment of %s: galaxies count as found from p = %g (%s)", name, threshold, source)
    metrics = {key: notes[key] for key in TRAINING_KEYS}
    metrics |= {
        "prior": settings.evaluation.prior,
        "threshold": threshold,
        "threshold_from": source,
        "temperature": calibration.temperature if calibration else None,
    }
    band = settings.survey.bands[-1]
    for split, rows in splits.items():
        measured = measure_split(rows, calibration, settings.evaluation, threshold, band)
        metrics |= {f"{split}_{key}": value for key, value in measured.items()}
    if _used_validation(notes):
        metrics["validation_auc"] = notes["val_auc"]
    plot_figures(name, splits, metrics, calibration, settings.evaluation.bins, path)
    write_json(path("metrics.json"), metrics)
    for split in SPLITS:
        _log_metrics(metrics, split)
    return metrics


def show_mistakes(settings: Settings) -> None:
    """Plot pages of the lenses that a model misses and of the non-lenses that it finds.

    Writes ``missed.png`` and ``false.png`` below ``models/<name>/``. Settings are as for
    `predict_held_out`.
    """
    name, bands = settings.training.name, settings.survey.bands
    path = functools.partial(settings.paths.model, name)
    splits = _read_splits(path(_PREDICTIONS))
    shown = shown_split(splits)
    if shown is None:
        plot_nothing_to_measure(["missed", "false"], path)
        return
    threshold, source = settings.assessment_threshold
    sample = read_table(settings.paths.sample, "sample", columns=["id", "shard", "row"])
    galaxies = splits[shown].merge(sample, on="id", how="left", validate="1:1")
    draw_mistakes(
        mark_mistakes(galaxies, threshold),
        functools.partial(
            read_images, settings.paths.sample, n_bands=len(bands), size=settings.cutouts.size
        ),
        path,
        title=f"{settings.run}, {name}, {shown} split",
        rule=f"p ≥ {threshold:g}" + (" (default)" if source == "default" else ""),
        mosaics=settings.mosaics,
        bands=bands,
        release=settings.release,
    )


def _used_validation(notes: Mapping[str, Any]) -> bool:
    """Whether an ensemble was trained on the validation split."""
    return "combine" in notes and (notes["refit"] or notes["combine"] == "stacker")


def _read_splits(path: Path) -> dict[str, pd.DataFrame]:
    galaxies = read_table(path, "predictions")
    return {split: galaxies[galaxies["split"] == split] for split in SPLITS}


def _log_metrics(metrics: dict, split: str) -> None:
    if not metrics[f"{split}_n_lenses"] or not metrics[f"{split}_n_nonlenses"]:
        log.info("assessment of %s: %s: not measured", metrics["name"], split)
        return
    log.info(
        "assessment of %s: %s: AUC %.4f from %d lenses and %d non-lenses",
        metrics["name"], split,
        *(metrics[f"{split}_{key}"] for key in ("auc", "n_lenses", "n_nonlenses")),
    )  # fmt: skip
    values = [metrics[f"{split}_completeness_fpr_1e-2{end}"] for end in ("", "_low", "_high")]
    if values[0] is not None:
        log.info(
            "assessment of %s: %s: completeness %.1f %% (95 %%: %.1f-%.1f) at 1 %% false positives",
            metrics["name"], split, *(100 * value for value in values),
        )  # fmt: skip
