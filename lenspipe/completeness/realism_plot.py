"""Figure of injected and real lenses side by side."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.style import BLUE, ORANGE, open_figure

__all__ = ["plot_realism"]

#: Cutouts shown of each population, and their side in pixels.
_N_SHOWN, _SIDE_PIXELS = 10, 61


def plot_realism(
    images: Sequence[np.ndarray],
    tables: Sequence[pd.DataFrame],
    features: np.ndarray,
    result: Mapping[str, Any],
    path: str | os.PathLike[str],
    bands: Sequence[str],
    stretch: str,
) -> None:
    """Plot some real and injected lenses, their scores, and the network's features.

    Parameters
    ----------
    images
        Cutouts of the real and of the injected lenses, float32, shapes (N, B, S, S) and
        (M, B, S, S).
    tables
        Likewise, with column p.
    features
        Of both, the real ones first, shape (N + M, K).
    result
        As returned by `lenspipe.completeness.realism.measure_realism`.
    """
    with open_figure(path, 12, 7.4) as figure:
        (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.5, 4])
        names, colours = ("real", "injected"), (BLUE, ORANGE)
        tiles = top.subplots(2, _N_SHOWN)
        for row, cutouts, name, colour in zip(tiles, images, names, colours, strict=True):
            shown = np.linspace(0, len(cutouts) - 1, _N_SHOWN).astype(int)
            rgb = colour_images(_crop(cutouts[shown]), bands, stretch)
            for axes in row:
                axes.axis("off")
            for axes, picture in zip(row, rgb, strict=False):
                axes.imshow(picture, origin="lower")
            row[0].set_title(name, loc="left", color=colour, fontsize=10)
        scores, plane = bottom.subplots(1, 2)
        for table, name, colour in zip(tables, names, colours, strict=True):
            p = np.sort(table["p"].to_numpy())
            fraction = np.arange(1, len(p) + 1) / len(p)
            scores.step(p, fraction, where="post", color=colour, label=f"{len(p)} {name}")
        scores.set(xlabel="p", ylabel="cumulative fraction", xlim=(0, 1), ylim=(0, 1.02))
        scores.set_title(f"KS distance {result['ks']:.2f}, p {result['ks_p']:.2g}", fontsize=10)
        scores.legend(loc="upper left")
        spread = features.std(axis=0)
        scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
        components = np.linalg.svd(scaled, full_matrices=False)[2]
        projected = scaled @ components[:2].T
        n_real = len(tables[0])
        for rows, name, colour in zip(
            (slice(None, n_real), slice(n_real, None)), names, colours, strict=True
        ):
            plane.plot(*projected[rows].T[:2], ".", color=colour, ms=5, alpha=0.6, label=name)
        plane.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
        if result["auc_features"] is not None:
            plane.set_title(
                "features before the network's last layer: AUC {auc_features:.2f} "
                "({auc_features_low:.2f} to {auc_features_high:.2f})".format(**result),
                fontsize=10,
            )
        plane.legend()


def _crop(images: np.ndarray) -> np.ndarray:
    """Central pixels of cutouts, where arcs are."""
    margin = max(0, (images.shape[-1] - _SIDE_PIXELS) // 2)
    return images[:, :, margin : images.shape[-2] - margin, margin : images.shape[-1] - margin]
