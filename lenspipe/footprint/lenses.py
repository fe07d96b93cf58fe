"""Bricks that hold a known lens."""

from lenspipe.catalogs.known_lenses import merge_entries, read_catalogues
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["with_lenses"]


def with_lenses(settings, table, inside):
    """Choose bricks by the catalogued lenses in them, as ``footprint.known_lenses`` says.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        If ``sample.grades`` are given, other lenses don't count.
    table : pandas.DataFrame
        Of bricks with data, with the column brick.
    inside : pandas.Series of bool
        Which of them are in the footprint.

    Returns
    -------
    pandas.Series of bool
        Those of them that hold a lens; or, to ``add``, all that do or are in the footprint.

    Raises
    ------
    LenspipeError
        No brick is left; as in `merge_known`.
    """
    systems = merge_entries(read_catalogues(settings), settings)
    if settings.sample.grades is not None:
        systems = systems[systems["grade"].isin(settings.sample.grades)]
    grid = brick_grid(settings.release.brick_deg)
    names = set(grid.bricks_at(systems["ra"], systems["dec"])[0])
    holds = table["brick"].isin(names)
    chosen = inside & holds if settings.footprint.known_lenses == "only" else inside | holds
    log.info(
        "footprint: %d bricks, %d of them with a known lens; known lenses are in %d bricks, %d of "
        "them with data", chosen.sum(), (chosen & holds).sum(), len(names), holds.sum(),
    )  # fmt: skip
    if not chosen.any():
        raise LenspipeError(
            "config key footprint.known_lenses: no brick of the footprint with data of "
            f"{settings.release.name} holds a lens of sample.known_lenses; widen the footprint or "
            "give other catalogues"
        )
    return chosen
