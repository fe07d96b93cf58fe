"""The parent sample from a Tractor catalogue per brick."""

from collections.abc import Iterable

import pandas as pd

from lenspipe.config.data import Parent
from lenspipe.config.surveys.base import SurveyPaths
from lenspipe.parent.cuts import Selection, check_sources, select_parent
from lenspipe.products.chunks import try_bricks
from lenspipe.retrieval.errors import fetched
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.tractor import catalog_columns, tractor_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import read_fits_table, reading

__all__ = ["select_from_files", "tractor_of_brick"]


def select_from_files(
    bricks: list[tuple[str, str]],
    source: LocalSource,
    paths: SurveyPaths,
    bands: Iterable[str],
    parent: Parent,
    *,
    name: str,
    threads: int,
) -> Selection:
    """Select the parent sample of bricks from their Tractor files.

    Parameters
    ----------
    bricks
        (brick, region).
    name
        Of the chunk or brick, for the log.
    threads
        Number of bricks that are read at a time.
    """

    def select(brick: str, region: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        table = tractor_of_brick(source, paths, brick, region, bands)
        selected, audit = select_parent(table, parent, paths.release)
        return selected.sort_values("objid", ignore_index=True), audit

    description = f"parent sample of {name}, bricks"
    return try_bricks(bricks, select, description, threads=threads, status=source.traffic)


def tractor_of_brick(
    source: LocalSource, paths: SurveyPaths, brick: str, region: str, bands: Iterable[str]
) -> pd.DataFrame:
    """Read the Tractor file of one brick, local or remote.

    Return the table of `lenspipe.survey.tractor.tractor_table`. The source is that of
    `lenspipe.retrieval.sources.open_source`.

    Raises
    ------
    RetrievalError
        A server did not deliver the file.
    LenspipeError
        As in `lenspipe.survey.tractor.tractor_table`; or there are no sources, or as in
        `lenspipe.parent.cuts.check_sources`.
    """
    path = paths.tractor(region, brick)
    with source.table(path, paths.checksums(path)) as local, fetched(path), reading(path):
        columns = read_fits_table(local, *catalog_columns(bands))
        table = tractor_table(columns, path, paths.release, bands, region)
        if table.empty:
            raise LenspipeError(f"{path}: found no sources, expected some; download it again")
        check_sources(table, brick, path)
    return table
