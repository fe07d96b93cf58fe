"""How well a trained model tells lenses from others, on the splits that it never saw."""

import json

import numpy as np

from lenspipe.evaluation.model_metrics import measure
from lenspipe.evaluation.plots import draw_figures
from lenspipe.evaluation.predictions import predict_splits
from lenspipe.products.models import TRAINING_KEYS, read_training
from lenspipe.statistics.calibration import fit_calibration, write_calibration
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["SPLITS", "assess"]

#: Splits that are held out.
SPLITS = ("validation", "test")


def assess(settings):
    """Measure a model on the validation and test split of the labelled sample.

    Writes below ``models/<name>/``: ``predictions.parquet`` (a row per galaxy),
    ``calibration.json``, figures (``roc.png``, ``precision_recall.png``, ``threshold.png``,
    ``scores.png``, ``reliability.png``; mistakes ``missed.png`` and ``false.png``) and last
    ``metrics.json``. What each number means: docs/evaluation.md.

    On the validation split a network that was trained on it once more (``training.refit``) is
    judged as it was before, by ``validated.keras``. An ensemble that has seen that split, through
    such members or a stacker that was fitted to it, is not judged on it: only the AUC of its making
    is given, and there is no calibration.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the model, `Settings.of_model`; of section training only the name matters.

    Returns
    -------
    dict
        The metrics; None for what could not be measured.

    Raises
    ------
    LenspipeError
        The model, the notes on its training or the sample are missing or don't fit together.
    """
    path = settings.paths.model
    name = settings.training.name
    path(name, "metrics.json").unlink(missing_ok=True)
    notes = read_training(settings.paths.model(settings.training.name, "training.json"))
    seen = "combine" in notes and (notes["refit"] or notes["combine"] == "stacker")
    is_refit = notes["refit"] and "combine" not in notes
    galaxies = predict_splits(settings, SPLITS[1:] if seen else SPLITS, is_refit)
    parts = {split: galaxies[galaxies["split"] == split] for split in SPLITS}
    calibration = fit_calibration(
        parts["validation"]["label"], parts["validation"]["p"], settings.evaluation.calibration
    )
    write_calibration(path(name, "calibration.json"), calibration)
    calibrated = calibration.apply(galaxies["p"]) if calibration else np.nan
    galaxies["p_calibrated"] = np.float32(calibrated)
    with atomic(path(name, "predictions.parquet")) as temporary:
        columns = [column for column in galaxies if column not in ("shard", "row")]
        galaxies[columns].to_parquet(temporary, index=False)
    metrics = {key: notes[key] for key in TRAINING_KEYS}
    metrics |= {
        "prior": settings.evaluation.prior,
        "threshold": settings.candidates.threshold.assumed,
        "temperature": calibration.temperature if calibration else None,
    }
    for split, part in parts.items():
        found = measure(part, calibration, settings)
        metrics |= {f"{split}_{key}": value for key, value in found.items()}
    if seen:
        metrics["validation_auc"] = notes["val_auc"]
    draw_figures(settings, parts, metrics, calibration)
    with atomic(path(name, "metrics.json")) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    for split in SPLITS:
        _report(metrics, split)
    return metrics


def _report(metrics, split):
    """Log a split's main figures."""
    if not metrics[f"{split}_n_lenses"] or not metrics[f"{split}_n_nonlenses"]:
        log.info("assessment of %s: the %s split can't be judged on", metrics["name"], split)
        return
    log.info(
        "assessment of %s: %s: AUC %.4f from %d lenses and %d non-lenses",
        metrics["name"], split,
        *(metrics[f"{split}_{key}"] for key in ("auc", "n_lenses", "n_nonlenses")),
    )  # fmt: skip
    found = [metrics[f"{split}_completeness_fpr_1e-2{end}"] for end in ("", "_low", "_high")]
    if found[0] is not None:
        log.info(
            "assessment of %s: %s: completeness %.1f %% (95 %%: %.1f-%.1f) at 1 %% false positives",
            metrics["name"], split, *(100 * part for part in found),
        )  # fmt: skip
