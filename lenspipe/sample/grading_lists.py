"""Lists of galaxies to be graded by visual inspection, with pages of their cutouts.

The user fills in column grade of the list (A to C for a lens, D for a non-lens) and adds the list
to config key ``sample.graded``; the next sample reads it. Until then the galaxies are kept out of
the sample.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.results import Mosaics
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.grades import grades_of
from lenspipe.products.schema import RANKING, names_of
from lenspipe.products.tables import write_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import read_user_table

__all__ = ["write_for_grading"]


def write_for_grading(
    table: pd.DataFrame,
    path: Path,
    cutouts: CutoutFiles,
    mosaics: Mosaics,
    run: str,
    description: str,
    note: str = "",
    columns: Sequence[str] = (),
) -> list[Path]:
    """Write a list to be graded, highest score first, and pages of its galaxies beside it.

    Grades already in the file are kept, and so are columns that somebody has added, and graded
    galaxies that are not in the table. Return the pages. The table has columns id, ra, dec
    (degrees), brick, p and `columns`, which are written as well; `note` is what the model says of
    these. The pages are ``<name of the CSV>-page-0001.png`` and so on.

    Raises
    ------
    LenspipeError
        The file that is there can't be read, or has two grades for a galaxy; it is left as it is.
    """
    release = cutouts.release
    table = table.sort_values(["p", "id"], ascending=[False, True])
    table = table[["id", "ra", "dec", "brick", "p", *columns]].assign(grade="", name="")
    others: list[str] = []
    if path.exists():
        before = _read_list(path)
        others = [name for name in before if name not in (*names_of(RANKING), *columns)]
        entries = before.set_index("id")[["grade", *others]]
        # Entries without id are nobody's.
        entries = entries[entries.index != ""]
        table[entries.columns] = entries.reindex(table["id"]).fillna("").to_numpy()
        mined = before["id"].isin(table["id"])
        edited = (before[["grade", *others]] != "").any(axis=1)
        table = pd.concat([table, before[~mined & edited]])
    table = table.reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1)
    placed = table["ra"].notna() & table["dec"].notna()
    names = iau_name(table["ra"][placed], table["dec"][placed], release.name_prefix)
    table.loc[placed, "name"] = names
    written = [*names_of(RANKING), *columns, *others]
    write_table(path, table[written].round({"ra": 7, "dec": 7, "p": 6}))
    # What somebody added has no cutout.
    table = table[(table["id"] != "") & (table["brick"] != "")]
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
            note=note,
        )
        pages.append(page)
    log.info("%s: %d galaxies to be graded in %s", description, len(table), path)
    return pages


def _read_list(path: Path) -> pd.DataFrame:
    """Read a list that somebody has graded: the columns of `RANKING`, and others as text."""
    given = read_user_table(path, "a list of galaxies with columns id and grade")
    given.refuse_repeated()
    known = {name: given.find(name) for name in names_of(RANKING)}
    if known["id"] is None:
        raise LenspipeError(
            f"{path}: found columns {', '.join(given.names)}, expected id and grade, as written by "
            "mining and cleaning; correct or delete it"
        )
    grades = grades_of(given, any_word=True).set_index("row")
    table = pd.DataFrame(
        {name: given.text(known[name]) for name in ("name", "id", "brick")}, range(len(given))
    )
    for name in ("rank", "ra", "dec", "p"):
        number = known[name]
        table[name] = np.nan if number is None else given.numbers(number)
    for number, name in enumerate(given.names):
        if number not in known.values():
            table[name] = given.text(number)
    return table.assign(grade=grades["grade"]).loc[grades.index].reset_index(drop=True)
