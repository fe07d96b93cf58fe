"""Figures of an assessment."""

from lenspipe.evaluation.mistakes import draw_mistakes
from lenspipe.evaluation.model_metrics import FPRS
from lenspipe.plotting import figures, model_figures
from lenspipe.products.sample import read_images
from lenspipe.statistics.metrics import roc_curve

__all__ = ["draw_figures", "kinds"]

_FIGURES = ("roc", "precision_recall", "threshold", "scores", "reliability", "missed", "false")


def draw_figures(settings, parts, metrics, calibration):
    """Draw all figures into the model's folder.

    Most are of the test split, or of the validation split where there is no test; without either
    each says so.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Of the model.
    parts : dict
        Split -> its rows, as of `lenspipe.evaluation.predictions.predict_splits`.
    metrics : dict
        Content of ``metrics.json``.
    calibration : lenspipe.statistics.calibration.Calibration or None
    """

    def path(file):
        return settings.paths.model(settings.training.name, file)

    scores = {
        split: (part.loc[part["label"] > 0.5, "p"], part.loc[part["label"] <= 0.5, "p"])
        for split, part in parts.items()
    }
    judged = [split for split, pair in scores.items() if all(map(len, pair))]
    if not judged:
        for name in _FIGURES:
            model_figures.draw_note(
                "Nothing to judge by: no split that the model\nhas not seen holds lenses and "
                "non-lenses",
                path(f"{name}.png"),
            )
        return
    shown = judged[-1]
    lenses, others = scores[shown]
    galaxies, threshold = parts[shown], settings.candidates.threshold.assumed
    points = [
        (fpr, *(metrics[f"{shown}_completeness_fpr_{name}{end}"] for end in ("", "_low", "_high")))
        for name, fpr in FPRS.items()
    ]
    figures.draw_roc(
        {f"{split}: {_count(*scores[split])}": roc_curve(*scores[split]) for split in judged},
        path("roc.png"),
        points=[point for point in points if point[1] is not None],
    )
    title = f"{settings.training.name}, {shown} split: {_count(lenses, others)}"
    prior = settings.evaluation.prior
    model_figures.draw_precision_recall(
        lenses, others, prior, threshold, title, path("precision_recall.png")
    )
    model_figures.draw_threshold(lenses, others, prior, threshold, title, path("threshold.png"))
    figures.draw_scores(galaxies["p"], kinds(galaxies), threshold, path("scores.png"))
    model_figures.draw_reliability(
        galaxies["label"],
        _calibrated(galaxies["p"], calibration),
        settings.evaluation.bins,
        title + ("; fitted to it" if calibration and shown == "validation" else ""),
        path("reliability.png"),
    )
    lens, passes = galaxies["label"] > 0.5, galaxies["p"] >= threshold
    mistakes = galaxies.assign(
        missed=lens & ~passes,
        false=~lens & passes,
        note=[_note(row) for row in galaxies.to_dict("records")],
    )
    title = f"{settings.run}, {title.split(':')[0]}"

    def read(settings, rows):
        bands, size = settings.survey.bands, settings.cutouts.size
        return read_images(settings.paths.sample, rows, len(bands), size)

    draw_mistakes(settings, mistakes, read, path, title, f"p ≥ {threshold:g}")


def kinds(galaxies):
    """Return what each galaxy is, in a word: its class, or kind of a confusing one.

    Parameters
    ----------
    galaxies : pandas.DataFrame
        Columns class and label.

    Returns
    -------
    pandas.Series of str
        ``lens`` for every lens.
    """
    kind = galaxies["class"].str.rpartition(":")[2]
    return kind.mask(galaxies["label"] > 0.5, "lens")


def _count(lenses, others):
    return f"{len(lenses)} lenses, {len(others)} others"


def _calibrated(p, calibration):
    """What is drawn as probability, by its name in the figure."""
    if calibration is None:
        return {"scores": p}
    return {
        "scores": p,
        f"temperature {calibration.temperature:.2f}": calibration.apply(p, "temperature"),
        "isotonic": calibration.apply(p, "isotonic"),
    }


def _note(row):
    """What a mistake is: a lens's grade and radius, or what else it is."""
    if row["label"] <= 0.5:
        return row["class"].rpartition(":")[2].replace("_", " ")
    radius = f'θ {row["theta_e_arcsec"]:.1f}"' if row["theta_e_arcsec"] > 0 else ""
    return ", ".join(filter(None, (row["grade"], radius)))
