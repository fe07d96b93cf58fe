"""What differs between releases of the Legacy Surveys: regions, bands, columns, mask bits."""

from dataclasses import dataclass

from lenspipe.utils.errors import LenspipeError

__all__ = ["BRICK_PIXELS", "MASKBITS", "PIXEL_SCALE_ARCSEC", "RELEASES", "Release", "get_release"]

#: Pixel scale of the coadds, arcsec.
PIXEL_SCALE_ARCSEC = 0.262

#: Side of a coadd, pixels.
BRICK_PIXELS = 3600

#: Bits of MASKBITS (https://www.legacysurvey.org/dr9/bitmasks/).
MASKBITS = {
    "NPRIMARY": 0,
    "BRIGHT": 1,
    "SATUR_G": 2,
    "SATUR_R": 3,
    "SATUR_Z": 4,
    "ALLMASK_G": 5,
    "ALLMASK_R": 6,
    "ALLMASK_Z": 7,
    "WISEM1": 8,
    "WISEM2": 9,
    "BAILOUT": 10,
    "MEDIUM": 11,
    "GALAXY": 12,
    "CLUSTER": 13,
    "SATUR_I": 14,
    "ALLMASK_I": 15,
    "SUB_BLOB": 16,
}


@dataclass(frozen=True)
class Release:
    """What lenspipe has to know of one data release.

    Attributes
    ----------
    name : str
        As in file names, such as ``dr9``.
    regions : tuple of str
        Regions, each reduced on its own.
    region_folders : bool
        Whether the tree has a folder per region.
    bands : tuple of str
        Optical bands that may be asked for.
    types : tuple of str
        Tractor types of extended sources in this release.
    shape : {'sersic', 'devexp'}
        ``shape_r``, ``shape_e1``, ``shape_e2`` and ``sersic``, or ``shapedev_*``/``shapeexp_*``.
    maskbits : bool
        Whether the catalogue has a ``maskbits`` column.
    """

    name: str
    regions: tuple
    region_folders: bool
    bands: tuple
    types: tuple
    shape: str
    maskbits: bool


RELEASES = {
    "dr7": Release(
        "dr7", ("south",), False, tuple("grz"), ("REX", "EXP", "DEV", "COMP"), "devexp", False
    ),
    "dr8": Release(
        "dr8", ("north", "south"), True, tuple("grz"), ("REX", "EXP", "DEV", "COMP"), "devexp", True
    ),
    "dr9": Release(
        "dr9", ("north", "south"), True, tuple("grz"), ("REX", "EXP", "DEV", "SER"), "sersic", True
    ),
    "dr10": Release(
        "dr10", ("south",), True, tuple("griz"), ("REX", "EXP", "DEV", "SER"), "sersic", True
    ),
}


def get_release(name):
    """Return the release of that name.

    Parameters
    ----------
    name : str
        Such as ``dr9``.

    Returns
    -------
    Release

    Raises
    ------
    LenspipeError
        No such release.
    """
    try:
        return RELEASES[name]
    except KeyError:
        raise LenspipeError(
            f"config key survey.release: found {name!r}, expected one of {', '.join(RELEASES)}"
        ) from None
