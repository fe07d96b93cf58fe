"""What is given to the eye to be graded, and kept apart until it is: a list and its pages.

A person fills in column grade of the list (A to C for a lens, D for none) and names the list in
config key ``sample.graded``; the next sample reads it.
"""

import numpy as np
import pandas as pd

from lenspipe.cutouts.reading import read_images
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.schema.columns import RANKING
from lenspipe.products.schema.declarations import names_of
from lenspipe.products.tables import write_table
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log

__all__ = ["write_for_grading"]


def write_for_grading(settings, table, path, what):
    """Write a list to be graded, best first, and pages of its galaxies beside it.

    Grades that the file has already are kept: a galaxy keeps its grade, and a graded one that is
    not in the table stays.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table : pandas.DataFrame
        Columns id, ra, dec (degrees), brick and p.
    path : pathlib.Path
        The CSV; pages are ``<its name>-page-0001.png`` and so on.
    what : str
        What the galaxies are, for titles and the log.

    Returns
    -------
    list of pathlib.Path
        The pages.
    """
    table = table.sort_values(["p", "id"], ascending=[False, True])
    table = table[["id", "ra", "dec", "brick", "p"]].assign(grade="")
    if path.exists():
        before = pd.read_csv(path, dtype={"id": str, "brick": str, "grade": str})
        before = before[before["grade"].notna()]
        table["grade"] = table["id"].map(before.set_index("id")["grade"]).fillna("")
        table = pd.concat([table, before[~before["id"].isin(table["id"])]])
    table["rank"] = np.arange(1, len(table) + 1)
    table["name"] = iau_name(table["ra"], table["dec"])
    write_table(path, table[names_of(RANKING)].round({"ra": 7, "dec": 7, "p": 6}))
    per_page, pages = settings.mosaics.columns * settings.mosaics.rows, []
    for number, first in enumerate(range(0, len(table), per_page), 1):
        rows = table.iloc[first : first + per_page]
        page = path.with_name(f"{path.stem}-page-{number:04d}.png")
        draw_page(
            read_images(settings, rows),
            rows.assign(note=rows["grade"]),
            page,
            bands=settings.survey.bands,
            stretch=settings.mosaics.stretch,
            columns=settings.mosaics.columns,
            title=f"{settings.run}: {what}, page {number}",
            subtitle=f"{len(table)} in {path.name}: give each a grade there, A to C or D",
        )
        pages.append(page)
    log.info("%s: %d to be graded in %s", what, len(table), path)
    return pages
