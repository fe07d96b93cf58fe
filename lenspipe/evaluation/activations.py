"""Activation maps of a network for a lens and a non-lens, stage by stage."""

from pathlib import Path

import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.models.activations import stages
from lenspipe.models.contents import count_parameters
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.model_figures import plot_activations, plot_note
from lenspipe.products.sample import read_images
from lenspipe.products.tables import read_table
from lenspipe.scoring.score import load_model_for_run
from lenspipe.utils.errors import LenspipeError

__all__ = ["show_activations"]


def show_activations(settings: Settings) -> None:
    """Plot a network and its activation maps for two galaxies, as ``activations.png``.

    They are the lens with the highest and the non-lens with the lowest score of the test split, or
    of the validation split where there is no test split; without either the page says so. The
    settings are those of the model, which has been assessed.

    Raises
    ------
    LenspipeError
        The model or its predictions are missing, or belong to another sample.
    """
    name, bands, paths = settings.training.name, settings.survey.bands, settings.paths
    path = paths.model(name, "activations.png")
    chosen = _choose_galaxies(paths.model(name, "predictions.parquet"), paths.sample)
    if chosen is None:
        plot_note("No split that the model was not trained on\nhas lenses and non-lenses", path)
        return
    size = settings.cutouts.size
    model = load_model_for_run(paths.model(name), bands, size)
    images = read_images(paths.sample, chosen, len(bands), size)
    maps = stages(model, images)
    if not maps:
        plot_note(f"{name}: no layer of this network has activation maps", path)
        return
    trainable = count_parameters(model)
    rgb = colour_images(images, bands, settings.mosaics.stretch)
    plot_activations(
        maps,
        images.shape[1:],
        rgb,
        [
            f"{label}, p = {p:.4g}"
            for label, p in zip(("lens", "non-lens"), chosen["p"], strict=True)
        ],
        f"{name}: {trainable:,} trainable parameters",
        path,
    )


def _choose_galaxies(path: Path, sample_path: Path) -> pd.DataFrame | None:
    """Rows of the sample, with their scores, of the two galaxies; None without a split."""
    predictions = read_table(path, "predictions", columns=["id", "split", "label", "p"])
    for split in ("test", "validation"):
        table = predictions[predictions["split"] == split].sort_values(["p", "id"])
        lenses, nonlenses = table[table["label"] > 0.5], table[table["label"] <= 0.5]
        if len(lenses) and len(nonlenses):
            chosen = pd.concat([lenses.tail(1), nonlenses.head(1)])[["id", "p"]]
            sample = read_table(sample_path, "sample", columns=["id", "shard", "row"])
            rows = chosen.merge(sample, on="id")
            if len(rows) == len(chosen):
                return rows
            raise LenspipeError(
                f"{path}: found galaxies that {sample_path} lacks, expected galaxies of this "
                "sample; assess the model again"
            )
    return None
