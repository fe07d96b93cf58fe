"""Mining: galaxies with the highest scores that are in no sample and no catalogue."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import pandas as pd

from lenspipe.catalogs.known_lenses import read_confusing, read_graded_lists
from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.products.files import write_json
from lenspipe.products.plan import read_plan
from lenspipe.products.sample import ids_in_all_versions, sample_version
from lenspipe.products.tables import read_table
from lenspipe.sample.grading_lists import write_for_grading
from lenspipe.utils.crossmatch import is_near
from lenspipe.utils.progress import log

__all__ = ["highest", "mine", "unknown_galaxies"]

_COLUMNS = ("id", "brick", "ra", "dec", "flags", "p")


def mine(settings: Settings) -> pd.DataFrame:
    """Select the galaxies with the highest scores that are in no sample or list, to be graded.

    Only bricks of the training split are searched, because mined galaxies may enter the next sample
    and the other splits should stay as drawn. Writes ``mined/version-<n>.csv`` with its pages and,
    last, ``mined/pages.json``; n is the version of the sample. Return at most ``sample.mined`` rows
    of the scores.
    """
    paths = settings.paths
    mined = highest(unknown_galaxies(settings, "mining"), settings.sample.mined)
    path = paths.mined(sample_version(paths.records_manifest))
    cutouts = CutoutFiles.of(settings)
    pages = write_for_grading(mined, path, cutouts, settings.mosaics, settings.run, "mined")
    write_json(paths.mined_index, {"list": path.name, "pages": [page.name for page in pages]})
    return mined


def unknown_galaxies(
    settings: Settings,
    description: str,
    seen: Collection[str] = (),
    columns: Sequence[str] = (),
    everywhere: bool = False,
) -> Iterator[pd.DataFrame]:
    """Read the scores of the galaxies in no version of the sample and near no entry of a list.

    Scores are read one chunk after the other, so that memory does not grow with their number.

    Parameters
    ----------
    description
        Of the work, for the log.
    seen
        Ids of further galaxies to leave out.
    columns
        Of the scores, besides id, brick, ra, dec, flags and p.
    everywhere
        Whether galaxies of all bricks are meant, not only of those of the training split.

    Yields
    ------
    pandas.DataFrame
        Those of a chunk, perhaps none.
    """
    paths, section = settings.paths, settings.sample
    retrieval, simulated = settings.retrieval, bool(settings.simulation)
    reject_flags = settings.candidates.reject_flags
    if not everywhere:
        split = read_table(paths.splits, "splits").set_index("brick")["split"]
    used = ids_in_all_versions(paths.sample_version(1).parent) | set(seen)
    lists = (
        (read_table(paths.lenses, "known"), section.exclusion_arcsec),
        (read_graded_lists(section.graded, retrieval, paths.hosts), section.match_radius_arcsec),
        (read_confusing(section, paths, retrieval, simulated), section.match_radius_arcsec),
    )
    n_all = n_unused = n_unknown = 0
    for chunk in read_plan(paths.plan):
        galaxies = read_table(paths.scores(chunk), "scores", columns=[*_COLUMNS, *columns])
        galaxies = galaxies[~has_rejected_flag(galaxies["flags"], reject_flags)]
        if not everywhere:
            galaxies = galaxies[galaxies["brick"].map(split) == "train"]
        n_all += len(galaxies)
        galaxies = galaxies[~galaxies["id"].isin(used)]
        n_unused += len(galaxies)
        for entries, radius in lists:
            galaxies = galaxies[~is_near(galaxies, entries, radius)]
        n_unknown += len(galaxies)
        yield galaxies
    log.info(
        "%s: of %d galaxies in %s %d were in no sample, %d of them are in no list",
        description, n_all, "all bricks" if everywhere else "bricks of the training split",
        n_unused, n_unknown,
    )  # fmt: skip


def highest(tables: Iterable[pd.DataFrame], number: int, column: str = "p") -> pd.DataFrame:
    """Select the rows with the highest values of a column, first ones among equals.

    Tables are read one after the other; only `number` rows are kept.
    """
    best: pd.DataFrame | None = None
    for table in tables:
        best = (table if best is None else pd.concat([best, table], ignore_index=True)).nlargest(
            number, column
        )
    return pd.DataFrame() if best is None else best.reset_index(drop=True)
