"""Mining: galaxies with the highest scores that are in no sample and no catalogue."""

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

__all__ = ["mine"]


def mine(settings: Settings) -> pd.DataFrame:
    """Select the galaxies with the highest scores that are in no sample or list, to be graded.

    Only bricks of the training split are searched, because mined galaxies may enter the next sample
    and the other splits should stay as drawn. Writes ``mined/version-<n>.csv`` with its pages and,
    last, ``mined/pages.json``; n is the version of the sample. Return at most ``sample.mined`` rows
    of the scores.
    """
    paths, section = settings.paths, settings.sample
    retrieval, simulated = settings.retrieval, bool(settings.simulation)
    split = read_table(paths.splits, "splits").set_index("brick")["split"]
    tables = [read_table(paths.scores(chunk), "scores") for chunk in read_plan(paths.plan)]
    scores = pd.concat(tables, ignore_index=True)
    rejected = has_rejected_flag(scores["flags"], settings.candidates.reject_flags)
    scores = scores[(scores["brick"].map(split) == "train") & ~rejected]
    unused = scores[~scores["id"].isin(ids_in_all_versions(paths.sample_version(1).parent))]
    unknown = unused
    for entries, radius in (
        (read_table(paths.lenses, "known"), section.exclusion_arcsec),
        (read_graded_lists(section.graded, retrieval, paths.hosts), section.match_radius_arcsec),
        (read_confusing(section, paths, retrieval, simulated), section.match_radius_arcsec),
    ):
        unknown = unknown[~is_near(unknown, entries, radius)]
    mined = unknown.nlargest(section.mined, "p")
    log.info(
        "mining: of %d galaxies in bricks of the training split %d were in no sample, %d of them "
        "are in no list; the %d with the highest scores are selected", len(scores), len(unused),
        len(unknown), len(mined),
    )  # fmt: skip
    path = paths.mined(sample_version(paths.records_manifest))
    cutouts = CutoutFiles.of(settings)
    pages = write_for_grading(mined, path, cutouts, settings.mosaics, settings.run, "mined")
    write_json(paths.mined_index, {"list": path.name, "pages": [page.name for page in pages]})
    return mined
