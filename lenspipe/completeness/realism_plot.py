"""The figure of painted and real lenses side by side."""

import numpy as np
from matplotlib.figure import Figure

from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.figures import BLUE, ORANGE, save

__all__ = ["draw_realism"]

_SHOWN, _SIDE = 10, 61


def draw_realism(settings, images, tables, features, result, path):
    """Draw some real and painted lenses, their scores, and what the network makes of them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    images : tuple of (N, B, S, S) float32 arrays
        Of the real and of the painted lenses.
    tables : sequence of pandas.DataFrame
        Likewise, with column p.
    features : (N + M, K) float array
        Of both, the real ones first.
    result : dict
        What `lenspipe.completeness.realism.measure_realism` gives.
    path : str or path-like
        The PNG.
    """
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.5, 4])
    names, colours = ("real", "painted"), (BLUE, ORANGE)
    tiles = top.subplots(2, _SHOWN)
    for row, pixels, name, colour in zip(tiles, images, names, colours, strict=True):
        few = np.linspace(0, len(pixels) - 1, _SHOWN).astype(int)
        rgb = colour_images(_middle(pixels[few]), settings.survey.bands, settings.mosaics.stretch)
        for axes in row:
            axes.axis("off")
        for axes, picture in zip(row, rgb, strict=False):
            axes.imshow(picture, origin="lower")
        row[0].set_title(name, loc="left", color=colour, fontsize=10)
    scores, plane = bottom.subplots(1, 2)
    for table, name, colour in zip(tables, names, colours, strict=True):
        p = np.sort(table["p"].to_numpy())
        part = np.arange(1, len(p) + 1) / len(p)
        scores.step(p, part, where="post", color=colour, label=f"{len(p)} {name}")
    scores.set(xlabel="p", ylabel="part at or below", xlim=(0, 1), ylim=(0, 1.02))
    scores.set_title(f"distance {result['ks']:.2f}, p {result['ks_p']:.2g}", fontsize=10)
    scores.legend(loc="upper left")
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    axes_of = np.linalg.svd(scaled, full_matrices=False)[2]
    first = scaled @ axes_of[:2].T
    for rows, name, colour in zip(
        (slice(None, len(tables[0])), slice(len(tables[0]), None)), names, colours, strict=True
    ):
        plane.plot(*first[rows].T[:2], ".", color=colour, ms=5, alpha=0.6, label=name)
    plane.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
    if result["auc_features"] is not None:
        plane.set_title(
            "before the network's last layer: told apart with AUC {auc_features:.2f} "
            "({auc_features_low:.2f} to {auc_features_high:.2f})".format(**result),
            fontsize=10,
        )
    plane.legend()
    save(figure, path)


def _middle(images):
    """The middle of cutouts, where arcs are."""
    cut = max(0, (images.shape[-1] - _SIDE) // 2)
    return images[:, :, cut : images.shape[-2] - cut, cut : images.shape[-1] - cut]
