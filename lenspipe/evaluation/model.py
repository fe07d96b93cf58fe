"""How well a trained model separates lenses from non-lenses on the held-out splits."""

import functools

import numpy as np

from lenspipe.config.settings import Settings
from lenspipe.evaluation.mistakes import draw_mistakes
from lenspipe.evaluation.model_metrics import measure_split
from lenspipe.evaluation.plots import mark_mistakes, plot_figures, shown_split
from lenspipe.evaluation.predictions import predict_splits
from lenspipe.products.files import write_json
from lenspipe.products.models import TRAINING_KEYS, read_training
from lenspipe.products.sample import read_images
from lenspipe.products.tables import write_table
from lenspipe.statistics.calibration import fit_calibration, write_calibration
from lenspipe.utils.progress import log

__all__ = ["SPLITS", "assess"]

#: Held-out splits.
SPLITS = ("validation", "test")


def assess(settings: Settings) -> dict:
    """Measure a model on the validation and test splits of the labelled sample.

    Writes below ``models/<name>/``: ``predictions.parquet`` (a row per galaxy),
    ``calibration.json``, figures (``roc.png``, ``precision_recall.png``, ``threshold.png``,
    ``scores.png``, ``reliability.png``; mistakes ``missed.png`` and ``false.png``) and last
    ``metrics.json``. The numbers are explained in docs/evaluation.md.

    A network that was finally trained on the validation split as well (``training.refit``) is
    evaluated on it as it was before, from ``validated.keras``. An ensemble that was trained on that
    split, through such members or a stacker fitted to it, is not evaluated on it: only the AUC from
    its construction is given, and there is no calibration.

    Settings are those of the model, `Settings.of_model`; of section training only the name matters.
    Metrics that could not be measured are None.

    Raises
    ------
    LenspipeError
        The model, the record of its training or the sample are missing or inconsistent.
    """
    name = settings.training.name
    path = functools.partial(settings.paths.model, name)
    path("metrics.json").unlink(missing_ok=True)
    notes = read_training(path("training.json"))
    used_validation = "combine" in notes and (notes["refit"] or notes["combine"] == "stacker")
    is_refit = notes["refit"] and "combine" not in notes
    galaxies = predict_splits(settings, SPLITS[1:] if used_validation else SPLITS, is_refit)
    splits = {split: galaxies[galaxies["split"] == split] for split in SPLITS}
    validation = splits["validation"]
    calibration = fit_calibration(
        validation["label"], validation["p"], settings.evaluation.calibration
    )
    write_calibration(path("calibration.json"), calibration)
    calibrated = calibration.apply(galaxies["p"]) if calibration else np.nan
    galaxies["p_calibrated"] = np.float32(calibrated)
    write_table(path("predictions.parquet"), galaxies.drop(columns=["shard", "row"]))
    threshold, bands = settings.candidates.threshold.assumed, settings.survey.bands
    metrics = {key: notes[key] for key in TRAINING_KEYS}
    metrics |= {
        "prior": settings.evaluation.prior,
        "threshold": threshold,
        "temperature": calibration.temperature if calibration else None,
    }
    for split, rows in splits.items():
        measured = measure_split(rows, calibration, settings.evaluation, threshold, bands[-1])
        metrics |= {f"{split}_{key}": value for key, value in measured.items()}
    if used_validation:
        metrics["validation_auc"] = notes["val_auc"]
    plot_figures(name, splits, metrics, calibration, settings.evaluation.bins, path)
    if shown := shown_split(splits):
        draw_mistakes(
            mark_mistakes(splits[shown], threshold),
            functools.partial(
                read_images,
                settings.paths.sample,
                n_bands=len(bands),
                size=settings.cutouts.size,
            ),
            path,
            title=f"{settings.run}, {name}, {shown} split",
            rule=f"p ≥ {threshold:g}",
            mosaics=settings.mosaics,
            bands=bands,
        )
    write_json(path("metrics.json"), metrics)
    for split in SPLITS:
        _log_metrics(metrics, split)
    return metrics


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
