"""A page of chosen galaxies of a run."""

from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.candidates import model_note
from lenspipe.runs.listing import library, listing
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.html import write_html

__all__ = ["show_galaxies"]


def show_galaxies(settings: Settings, table: pd.DataFrame, path: Path, title: str = "") -> Path:
    """Write a page of galaxies with their images, and return its path.

    The images are in ``<name of the page>-0001.png`` and so on beside it.

    Parameters
    ----------
    table
        Columns id and brick, and any others.

    Raises
    ------
    LenspipeError
        The page exists, its name does not end in .html, or a galaxy has no cutout.
    """
    if path.suffix != ".html":
        raise LenspipeError(f"{path}: found suffix {path.suffix!r}, expected .html")
    if path.exists():
        raise LenspipeError(f"{path}: exists; choose another output, or delete it")
    mosaics, cutouts = settings.mosaics, CutoutFiles.of(settings)
    note = model_note(table)
    table = table.reset_index(drop=True)
    if "name" not in table:
        table["name"] = table["id"]
    if "rank" not in table:
        table.insert(0, "rank", np.arange(1, len(table) + 1))
    files: list[str] = []
    for first in range(0, len(table), mosaics.per_page):
        rows = table.iloc[first : first + mosaics.per_page]
        images, catalog = cutouts.read(rows)
        more = catalog[catalog.columns.difference(rows.columns)]
        rows = rows.assign(**{name: values.to_numpy() for name, values in more.items()})
        file = path.with_name(f"{path.stem}-{len(files) + 1:04d}.png")
        draw_page(
            images, rows, file, bands=cutouts.bands,
            pixel_scale_arcsec=cutouts.release.pixel_scale_arcsec, stretch=mosaics.stretch,
            columns=mosaics.per_row, panels=mosaics.panels,
            title=title or settings.run, note=note,
        )  # fmt: skip
        files.append(file.name)
    content = listing(
        table, files, mosaics.per_page, np.arange(len(table)), bands=cutouts.bands,
        columns=mosaics.per_row, panels=mosaics.panels, note=note,
    )  # fmt: skip
    write_html(
        path,
        "runs/shown.html",
        title=title or f"Galaxies of {settings.run}",
        note=note,
        number=f"{len(table):,}",
        run=settings.run,
        library=library(),
        content=content,
    )
    return path
