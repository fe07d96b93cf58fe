"""Lists of galaxies to be graded by visual inspection, with pages of their cutouts.

The user fills in column grade of the list (A to C for a lens, D for a non-lens) and adds the list
to config key ``sample.graded``; the next sample reads it. Until then the galaxies are kept out of
the sample.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.results import Mosaics
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.schema import RANKING, names_of
from lenspipe.products.tables import write_table
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log

__all__ = ["write_for_grading"]


def write_for_grading(
    table: pd.DataFrame,
    path: Path,
    cutouts: CutoutFiles,
    mosaics: Mosaics,
    run: str,
    description: str,
) -> list[Path]:
    """Write a list to be graded, highest score first, and pages of its galaxies beside it.

    Grades already in the file are kept, and so are graded galaxies that are not in the table.
    Return the pages. The table has columns id, ra, dec (degrees), brick and p; the pages are
    ``<name of the CSV>-page-0001.png`` and so on.
    """
    release = cutouts.release
    table = table.sort_values(["p", "id"], ascending=[False, True])
    table = table[["id", "ra", "dec", "brick", "p"]].assign(grade="")
    if path.exists():
        before = pd.read_csv(path, dtype={"id": str, "brick": str, "grade": str})
        before = before[before["grade"].notna()]
        table["grade"] = table["id"].map(before.set_index("id")["grade"]).fillna("")
        table = pd.concat([table, before[~before["id"].isin(table["id"])]])
    table["rank"] = np.arange(1, len(table) + 1)
    table["name"] = iau_name(table["ra"], table["dec"], release.name_prefix)
    write_table(path, table[names_of(RANKING)].round({"ra": 7, "dec": 7, "p": 6}))
    per_page, pages = mosaics.columns * mosaics.rows, []
    for number, first in enumerate(range(0, len(table), per_page), 1):
        rows = table.iloc[first : first + per_page]
        page = path.with_name(f"{path.stem}-page-{number:04d}.png")
        draw_page(
            cutouts.read(rows)[0],
            rows.assign(note=rows["grade"]),
            page,
            bands=cutouts.bands,
            pixel_scale_arcsec=release.pixel_scale_arcsec,
            stretch=mosaics.stretch,
            columns=mosaics.columns,
            title=f"{run}: {description}, page {number}",
            subtitle=f"{len(table)} in {path.name}: enter a grade for each there, A to C or D",
        )
        pages.append(page)
    log.info("%s: %d galaxies to be graded in %s", description, len(table), path)
    return pages
