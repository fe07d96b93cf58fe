"""Bricks with a target."""

import pandas as pd

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["report_absent", "with_targets"]


def with_targets(
    table: pd.DataFrame, targets: pd.DataFrame, path: str, release_name: str
) -> pd.DataFrame:
    """Select the bricks with a target.

    The table has bricks with data, with the column brick; targets are those of
    `lenspipe.catalogs.targets.read_targets`, and `path` is that of their list, for errors.

    Raises
    ------
    LenspipeError
        No brick is left.
    """
    table = table[table["brick"].isin(set(targets["brick"]))]
    if table.empty:
        raise LenspipeError(
            f"{path}: none of its {len(targets)} positions is in a brick of {release_name} with "
            "data; check config keys targets, survey.release and survey.tree"
        )
    return table


def report_absent(absent: pd.DataFrame, release_name: str) -> None:
    """Name in the log each target without data.

    They are those of `lenspipe.catalogs.targets.targets_without_data`.
    """
    for row in absent.itertuples():
        log.info(
            "target %s (ra %.5f, dec %+.5f): no data of %s in its brick, %s",
            *(row.id, row.ra, row.dec, release_name, row.brick),
        )
    if len(absent):
        log.info("targets: %d without data", len(absent))
