"""What a network makes of a lens and of another galaxy, stage after stage."""

import pandas as pd

from lenspipe.models.activations import stages
from lenspipe.models.contents import count_parameters
from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.model_figures import draw_activations, draw_note
from lenspipe.products.sample import read_images
from lenspipe.scoring.score import load_fitting
from lenspipe.utils.errors import LenspipeError

__all__ = ["show_activations"]


def show_activations(settings):
    """Draw a network, and below it the maps in it for two galaxies, as ``activations.png``.

    They are the lens with the highest and the other galaxy with the lowest score of the test split,
    or of the validation split where there is no test; without either the page says so.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the model, which has been assessed.

    Raises
    ------
    LenspipeError
        The model or its predictions are missing, or are not of this sample.
    """
    name, bands = settings.training.name, settings.survey.bands
    path = settings.paths.model(name, "activations.png")
    chosen = _choose(settings)
    if chosen is None:
        draw_note("No split that the model has not seen\nholds lenses and non-lenses", path)
        return
    model = load_fitting(settings, settings.paths.model(name))
    images = read_images(settings, chosen)
    found = stages(model, images)
    if not found:
        draw_note(f"{name}: no layer of this network makes maps", path)
        return
    trainable = count_parameters(model)
    rgb = colour_images(images, bands, settings.mosaics.stretch)
    draw_activations(
        found,
        images.shape[1:],
        rgb,
        [f"{what}, p = {p:.4g}" for what, p in zip(("lens", "no lens"), chosen["p"], strict=True)],
        f"{name}: {trainable:,} trainable parameters",
        path,
    )


def _choose(settings):
    """Rows of the sample, with their scores, of the two galaxies; None without a split."""
    path = settings.paths.model(settings.training.name, "predictions.parquet")
    if not path.exists():
        raise LenspipeError(f"{path}: no such file; assess the model first")
    predictions = pd.read_parquet(path, columns=["id", "split", "label", "p"])
    for split in ("test", "validation"):
        part = predictions[predictions["split"] == split].sort_values(["p", "id"])
        lenses, others = part[part["label"] > 0.5], part[part["label"] <= 0.5]
        if len(lenses) and len(others):
            chosen = pd.concat([lenses.tail(1), others.head(1)])[["id", "p"]]
            sample = pd.read_parquet(settings.paths.sample, columns=["id", "shard", "row"])
            rows = chosen.merge(sample, on="id")
            if len(rows) == len(chosen):
                return rows
            raise LenspipeError(
                f"{path}: found galaxies that {settings.paths.sample} lacks, expected its own; "
                "assess the model again"
            )
    return None
