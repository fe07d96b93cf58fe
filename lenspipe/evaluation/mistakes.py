"""Pages of missed lenses and false positives."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.results import Mosaics
from lenspipe.config.surveys.base import Release
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.utils.names import iau_name

__all__ = ["draw_mistakes", "page_columns"]

#: Fewer columns leave no room for the title.
_MIN_COLUMNS = 3


def draw_mistakes(
    galaxies: pd.DataFrame,
    read_images: Callable[[pd.DataFrame], np.ndarray],
    path: Callable[[str], Path],
    *,
    title: str,
    rule: str,
    mosaics: Mosaics,
    bands: Sequence[str],
    release: Release,
) -> None:
    """Plot pages of the lenses with the lowest scores and of the non-lenses with the highest.

    Parameters
    ----------
    galaxies
        Columns ``missed`` and ``false`` (bool), ``p`` (NaN where there is none), ``note``, ``id``,
        ``ra``, ``dec`` (degrees) and those that `read_images` needs.
    read_images
        From some of these rows to their cutouts, (N, B, S, S) nanomaggies.
    path
        From ``missed.png`` and ``false.png`` to the files.
    title, rule
        What was scored, and what counts as found, such as ``p ≥ 0.9``.
    release
        Of the images, for scale bars and names.
    """
    missed = galaxies[galaxies["missed"]].sort_values(["p", "id"], na_position="first")
    false = galaxies[galaxies["false"]].sort_values(["p", "id"], ascending=[False, True])
    for file, table, name, order, message in (
        ("missed.png", missed, "lenses missed", "lowest score first", "No lens was missed."),
        ("false.png", false, "non-lenses found", "highest score first", "No non-lens was found."),
    ):
        shown = table.head(mosaics.columns * mosaics.rows).reset_index(drop=True)
        shown["rank"] = np.arange(1, len(shown) + 1)
        shown["name"] = iau_name(shown["ra"], shown["dec"], release.name_prefix)
        draw_page(
            read_images(shown) if len(shown) else (),
            shown,
            path(file),
            bands=bands,
            pixel_scale_arcsec=release.pixel_scale_arcsec,
            stretch=mosaics.stretch,
            columns=page_columns(len(shown), mosaics.columns),
            title=f"{title}: {name} at {rule}",
            subtitle=f"{len(shown)} of {len(table)}, {order}; galaxies not used in training",
            message=message,
        )


def page_columns(number: int, columns: int) -> int:
    """Columns of a page with a number of galaxies: about as many as rows, at most `columns`."""
    return min(columns, max(_MIN_COLUMNS, math.ceil(math.sqrt(number))))
