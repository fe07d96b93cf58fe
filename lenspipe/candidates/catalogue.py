"""The candidates as files: FITS, CSV, VOTable, DS9 regions, and a list for the sky viewer."""

import pandas as pd
from astropy.io import fits
from astropy.io.votable.tree import CooSys, VOTableFile
from astropy.table import Column, Table

from lenspipe import __version__
from lenspipe.candidates.columns import table_with_units
from lenspipe.config.paths import RunPaths
from lenspipe.products.tables import write_table
from lenspipe.utils.files import atomic
from lenspipe.utils.tables import fits_values

__all__ = ["write_catalogues"]

_CIRCLE_ARCSEC = 5


def write_catalogues(
    table: pd.DataFrame,
    lowest: float,
    run: str,
    merge_radius_arcsec: float,
    note: str,
    paths: RunPaths,
) -> None:
    """Write the candidates in all formats, ``candidates.fits`` last.

    The files' contents do not depend on the time of writing. Hidden known lenses are in the tables
    only, not among the regions or in the viewer's list. The table is that of
    `lenspipe.candidates.columns.order_columns`; the lowest cut, the name of the run, the merge
    radius and the note of the model, which may be empty, are for the headers.
    """
    path = paths.candidates
    shown = table[table["rank"] > 0]
    write_table(path.with_suffix(".csv"), table)
    with atomic(path.with_suffix(".reg")) as temporary:
        temporary.write_text(_format_regions(shown, note))
    with atomic(paths.candidate_file("viewer.fits")) as temporary:
        _to_hdu(_viewer_list(shown, note)).writeto(temporary)
    meta = {
        "EXTNAME": "CANDIDATES",
        "RUN": run,
        "THRESH": lowest,
        "MERGERAD": merge_radius_arcsec,
        "LPVERS": __version__,
        **({"MODEL": note} if note else {}),
    }
    content = table_with_units(table, meta)
    with atomic(path.with_suffix(".vot")) as temporary:
        _to_votable(content, run, note).to_xml(str(temporary))
    with atomic(path) as temporary:
        _to_hdu(content).writeto(temporary)


def _to_hdu(content: Table) -> fits.BinTableHDU:
    """Convert a table to FITS: texts in ASCII, descriptions as comments of the columns."""
    content = content.copy()
    for name in content.colnames:
        if content[name].dtype.kind == "U":
            column = content[name]
            texts = fits_values(pd.Series(column.tolist(), dtype=str))
            content[name] = Column(texts, unit=column.unit, description=column.description)
    hdu = fits.table_to_hdu(content)
    for i, column in enumerate(content.columns.values(), 1):
        hdu.header[f"TCOMM{i}"] = column.description
    return hdu


def _to_votable(content: Table, run: str, note: str) -> VOTableFile:
    """Convert a table to a VOTable, with UCDs and the coordinate system."""
    bare = content.copy()
    bare.meta.clear()
    votable = VOTableFile.from_table(bare)
    votable.description = f"Lens candidates of lenspipe {__version__}, run {run}"
    if note:
        votable.description += f"; {note}"
    resource, element = votable.resources[0], votable.get_first_table()
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    element.ID, element.name = "candidates", "candidates"
    for field in element.fields:
        field.ucd = content[field.name].meta["ucd"]
        if field.name in ("ra", "dec"):
            field.ref = "icrs"
    return votable


def _format_regions(table: pd.DataFrame, note: str) -> str:
    """Circles for DS9; known lenses in yellow (https://ds9.si.edu/doc/ref/region.html)."""
    lines = ["# Region file format: DS9 version 4.1"]
    lines += [f"# {note}"] if note else []
    lines += ["global color=cyan width=1", "icrs"]
    # A brace in a name would end the text.
    names = table["name"].str.replace(r"[{}]", "", regex=True)
    lines += [
        f'circle({row.ra:.7f},{row.dec:.7f},{_CIRCLE_ARCSEC}") # text={{{row.name} p={row.p:.4f}}}'
        + (" color=yellow" if row.known else "")
        for row in table.assign(name=names).itertuples()
    ]
    return "\n".join(lines) + "\n"


def _viewer_list(table: pd.DataFrame, note: str) -> Table:
    """Columns that the sky viewer reads from an uploaded table: RA, DEC, NAME."""
    result = Table(meta={"EXTNAME": "CANDIDATES", **({"MODEL": note} if note else {})})
    columns = table_with_units(table[["ra", "dec", "name"]], {})
    for name in columns.colnames:
        result[name.upper()] = columns[name]
    return result
