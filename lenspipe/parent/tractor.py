"""The parent sample from a Tractor catalogue per brick."""

from lenspipe.parent.cuts import select_parent
from lenspipe.products.chunks import try_bricks
from lenspipe.retrieval.errors import fetched
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.tractor import catalog_columns, tractor_table
from lenspipe.utils.files import is_remote
from lenspipe.utils.fits import read_fits_table

__all__ = ["select_from_files", "tractor_of_brick"]


def select_from_files(settings, name, bricks):
    """Select from a Tractor file per brick."""
    with open_source(settings) as source:

        def work(brick, region):
            table = tractor_of_brick(settings, source, brick, region)
            selected, audit = select_parent(table, settings.parent, settings.release)
            return selected.sort_values("objid", ignore_index=True), audit

        return try_bricks(
            bricks,
            work,
            f"parent sample of {name}, bricks",
            threads=settings.retrieval.connections if is_remote(settings.survey_paths.tree) else 1,
            status=source.traffic,
        )


def tractor_of_brick(settings, source, brick, region):
    """Read the Tractor file of one brick, wherever the survey is.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    source : lenspipe.retrieval.local.LocalSource
        Or another, as from `lenspipe.retrieval.sources.open_source`.
    brick, region : str

    Returns
    -------
    pandas.DataFrame
        As of `lenspipe.survey.tractor.tractor_table`.

    Raises
    ------
    RetrievalError
        A server did not give the file.
    LenspipeError
        As in `lenspipe.survey.tractor.tractor_table`.
    """
    bands, survey = settings.survey.bands, settings.survey_paths
    path = survey.tractor(region, brick)
    with source.table(path, survey.checksums(region, brick)) as local, fetched(path):
        found = read_fits_table(local, *catalog_columns(bands))
    return tractor_table(found, path, settings.release, bands, region)
