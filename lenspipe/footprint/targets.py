"""Bricks that hold a target."""

from lenspipe.catalogs.targets import read_targets, targets_without_data
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["report_absent", "with_targets"]


def with_targets(settings, table):
    """Keep the bricks that hold a target.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table : pandas.DataFrame
        Of bricks with data, with the column brick.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    LenspipeError
        No brick is left; as in `read_targets`.
    """
    targets = read_targets(settings.targets)
    table = table[table["brick"].isin(set(targets["brick"]))]
    if table.empty:
        raise LenspipeError(
            f"{settings.targets}: none of its {len(targets)} positions is in a brick of "
            f"{settings.release.name} with data; check config keys targets, survey.release and "
            "survey.tree"
        )
    return table


def report_absent(settings, table):
    """Name in the log each target that the survey has no data for.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table : pandas.DataFrame
        Of bricks with data, with the column brick.
    """
    absent = targets_without_data(settings.targets, table["brick"])
    for row in absent.itertuples():
        log.info(
            "target %s (ra %.5f, dec %+.5f): no data of %s in its brick, %s",
            *(row.id, row.ra, row.dec, settings.release.name, row.brick),
        )
    if len(absent):
        log.info("targets: %d without data", len(absent))
