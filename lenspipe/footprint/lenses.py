"""Bricks with a known lens."""

from typing import Literal

import pandas as pd

from lenspipe.config.surveys.base import Release
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["with_lenses"]


def with_lenses(
    table: pd.DataFrame,
    inside: pd.Series,
    lenses: pd.DataFrame,
    known_lenses: Literal["only", "add"],
    release: Release,
) -> pd.Series:
    """Choose bricks by the catalogued lenses in them.

    The table has bricks with data, with the column brick; `inside` tells which of them are in the
    footprint; lenses have columns ra and dec, degrees. `known_lenses` is as in the section
    ``footprint``: ``only`` those bricks of the footprint with a lens, or ``add`` all bricks with a
    lens to those of the footprint.

    Raises
    ------
    LenspipeError
        No brick is left.
    """
    names = set(brick_grid(release.brick_deg).bricks_at(lenses["ra"], lenses["dec"])[0])
    has_lens = table["brick"].isin(names)
    chosen = inside & has_lens if known_lenses == "only" else inside | has_lens
    log.info(
        "footprint: %d bricks, %d of them with a known lens; known lenses are in %d bricks, %d of "
        "them with data",
        *(chosen.sum(), (chosen & has_lens).sum(), len(names), has_lens.sum()),
    )
    if not chosen.any():
        raise LenspipeError(
            f"config key footprint.known_lenses: no brick of the footprint with data of "
            f"{release.name} has a lens of sample.known_lenses; widen the footprint or give other "
            "catalogues"
        )
    return chosen
