"""The candidates as files: FITS, CSV, VOTable, DS9 regions, and a list for the sky viewer."""

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from astropy.io.votable.tree import CooSys, Info, VOTableFile
from astropy.table import Table

from lenspipe.candidates.columns import table_with_units
from lenspipe.config.paths import RunPaths
from lenspipe.plotting.galaxy_pages import format_probability
from lenspipe.products.described import write_described
from lenspipe.products.tables import write_table
from lenspipe.utils.files import atomic
from lenspipe.utils.table_formats import write_votable

__all__ = ["write_catalogues"]

_CIRCLE_ARCSEC = 5


def write_catalogues(
    table: pd.DataFrame,
    lowest: float,
    made_with: Mapping[str, str],
    merge_radius_arcsec: float,
    note: str,
    paths: RunPaths,
) -> None:
    """Write the candidates in all formats, ``candidates.fits`` last.

    The files' contents do not depend on the time of writing. Hidden known lenses are in the tables
    only, not among the regions or in the viewer's list. The table is that of
    `lenspipe.candidates.columns.order_columns`; the lowest cut, the merge radius, the note of the
    model, which may be empty, and what the candidates were made with, as
    `lenspipe.products.provenance.made_with` gives it, are for the headers.
    """
    path = paths.candidates
    shown = table[table["rank"] > 0]
    write_table(path.with_suffix(".csv"), table)
    with atomic(path.with_suffix(".reg")) as temporary:
        temporary.write_text(_format_regions(shown, note))
    meta: dict[str, Any] = {
        "EXTNAME": "CANDIDATES",
        **made_with,
        **({"MODEL": note} if note else {}),
    }
    write_described(paths.candidate_file("viewer.fits"), _viewer_list(shown, meta))
    meta |= {"THRESH": lowest, "MERGERAD": merge_radius_arcsec}
    content = table_with_units(table, meta)
    with atomic(path.with_suffix(".vot")) as temporary:
        temporary.write_text(_format_votable(content, note))
    write_described(path, content)


def _format_votable(content: Table, note: str) -> str:
    """Format a table as a VOTable, with UCDs, the coordinate system and the keywords as INFO."""
    bare = content.copy()
    bare.meta.clear()
    votable = VOTableFile.from_table(bare)
    run = f"run {content.meta['RUN']}"
    votable.description = f"Lens candidates of lenspipe {content.meta['LPVERS']}, {run}"
    if note:
        votable.description += f"; {note}"
    resource, element = votable.resources[0], votable.get_first_table()
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    element.ID, element.name = "candidates", "candidates"
    for name in sorted({*content.meta} - {"EXTNAME", "MODEL"}):
        resource.infos.append(Info(name=name, value=str(content.meta[name])))
    for field in element.fields:
        field.ucd = content[field.name].meta["ucd"]
        if field.name in ("ra", "dec"):
            field.ref = "icrs"
    file = io.BytesIO()
    write_votable(votable, file)
    # The writer breaks long descriptions into lines.
    return re.sub(
        r"<DESCRIPTION>(.*?)</DESCRIPTION>",
        lambda match: f"<DESCRIPTION>{' '.join(match[1].split())}</DESCRIPTION>",
        file.getvalue().decode(),
        flags=re.DOTALL,
    )


def _format_regions(table: pd.DataFrame, note: str) -> str:
    """Circles for DS9; known lenses in yellow (https://ds9.si.edu/doc/ref/region.html)."""
    lines = ["# Region file format: DS9 version 4.1"]
    lines += [f"# {note}"] if note else []
    lines += ["global color=cyan width=1", "icrs"]
    # A brace in a name would end the text.
    names = table["name"].str.replace(r"[{}]", "", regex=True)
    scores = [f" p {format_probability(p)}" if np.isfinite(p) else "" for p in table["p"]]
    lines += [
        f'circle({row.ra:.7f},{row.dec:.7f},{_CIRCLE_ARCSEC}") # text={{{row.name}{row.score}}}'
        + (" color=yellow" if row.known else "")
        for row in table.assign(name=names, score=scores).itertuples()
    ]
    return "\n".join(lines) + "\n"


def _viewer_list(table: pd.DataFrame, meta: Mapping[str, Any]) -> Table:
    """Columns that the sky viewer reads from an uploaded table: RA, DEC, NAME."""
    result = Table(meta=dict(meta))
    columns = table_with_units(table[["ra", "dec", "name"]], {})
    for name in columns.colnames:
        result[name.upper()] = columns[name]
    return result
