"""The candidates as files: FITS, CSV, VOTable, regions of DS9, a list for the sky viewer."""

from astropy.io import fits
from astropy.io.votable.tree import CooSys, VOTableFile
from astropy.table import Table

from lenspipe import __version__
from lenspipe.candidates.columns import with_units
from lenspipe.products.tables import write_table
from lenspipe.utils.files import atomic

__all__ = ["viewer_address", "write_catalogues"]

_CIRCLE_ARCSEC = 5


def viewer_address(ra, dec, settings):
    """Address of a place in the sky viewer, in the images of the run's release.

    Parameters
    ----------
    ra, dec : float
        Degrees.
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    str
    """
    prefix = "decals" if settings.survey.release == "dr7" else "ls"
    return (
        f"https://www.legacysurvey.org/viewer?ra={ra:.5f}&dec={dec:.5f}"
        f"&layer={prefix}-{settings.survey.release}&zoom=16"
    )


def write_catalogues(table, lowest, settings):
    """Write the candidates in all formats, ``candidates.fits`` last.

    Nothing in a file depends on the time. Hidden known lenses are in the tables only, not among the
    regions or in the viewer's list.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `lenspipe.candidates.columns.ordered`.
    lowest : float
        Lowest cut, for the headers.
    settings : lenspipe.config.settings.Settings
    """
    path = settings.paths.candidates
    shown = table[table["rank"] > 0]
    write_table(path.with_suffix(".csv"), table)
    with atomic(path.with_suffix(".reg")) as temporary:
        temporary.write_text(_regions(shown))
    with atomic(settings.paths.candidate_file("viewer.fits")) as temporary:
        _as_hdu(_viewer_list(shown)).writeto(temporary)
    meta = {
        "EXTNAME": "CANDIDATES",
        "RUN": settings.run,
        "THRESH": lowest,
        "MERGERAD": settings.candidates.merge_radius_arcsec,
        "LPVERS": __version__,
    }
    content = with_units(table, meta)
    with atomic(path.with_suffix(".vot")) as temporary:
        _votable(content, settings).to_xml(str(temporary))
    with atomic(path) as temporary:
        _as_hdu(content).writeto(temporary)


def _as_hdu(content):
    """A table as FITS; descriptions are comments of the columns."""
    hdu = fits.table_to_hdu(content)
    for i, column in enumerate(content.columns.values(), 1):
        hdu.header[f"TCOMM{i}"] = column.description
    return hdu


def _votable(content, settings):
    """A table as the Virtual Observatory has them, with UCDs and the system of coordinates."""
    bare = content.copy()
    bare.meta.clear()
    votable = VOTableFile.from_table(bare)
    votable.description = f"Lens candidates of lenspipe {__version__}, run {settings.run}"
    resource, found = votable.resources[0], votable.get_first_table()
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    found.ID, found.name = "candidates", "candidates"
    for field in found.fields:
        field.ucd = content[field.name].meta["ucd"]
        if field.name in ("ra", "dec"):
            field.ref = "icrs"
    return votable


def _regions(table):
    """Circles for DS9; known lenses in yellow (https://ds9.si.edu/doc/ref/region.html)."""
    lines = ["# Region file format: DS9 version 4.1", "global color=cyan width=1", "icrs"]
    # A name that holds braces would end the text.
    names = table["name"].str.replace(r"[{}]", "", regex=True)
    lines += [
        f'circle({row.ra:.7f},{row.dec:.7f},{_CIRCLE_ARCSEC}") # text={{{row.name} p={row.p:.4f}}}'
        + (" color=yellow" if row.known else "")
        for row in table.assign(name=names).itertuples()
    ]
    return "\n".join(lines) + "\n"


def _viewer_list(table):
    """What the sky viewer draws of an uploaded table: RA, DEC, NAME."""
    result = Table(meta={"EXTNAME": "CANDIDATES"})
    columns = with_units(table[["ra", "dec", "name"]], {})
    for name in columns.colnames:
        result[name.upper()] = columns[name]
    return result
