"""The survey's portal on the loopback: real names, header cards and lists of sums, and its moods.

`write_tree` makes a few bricks in the layout of a release, and `Portal` serves them as the portal
at NERSC does, when that is in good shape and when it is not.
"""

import contextlib
import hashlib
import re
from pathlib import Path

import fitsio
import numpy as np
from conftest import make_small_survey, write_fits_table
from helpers.loopback import Fault, Loopback

from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.survey.bricks import brick_grid

#: Folder of the releases below the portal's address.
ROOT = "cfs/cosmo/data/legacysurvey"

#: Number of the release in catalogues and headers, and type of the mask bits.
NUMBERS = {"dr9": 9010, "dr10": 10000, "dr11": 11000}
MASK_TYPES = {"dr9": "i2", "dr10": "i4", "dr11": "i4"}

#: Of the g, r, i and z filters: what headers say.
FILTERS = {
    "g": "g DECam SDSS c0001 4720.0 1520.0",
    "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0",
    "z": "z DECam SDSS c0004 9260.0 1520.0",
}


def cards(release, brick, brickid, ra, dec, band, kind):
    """Cards of a coadd's header besides its world coordinates, in the survey's order and types.

    Some are longer than a card, some have a string where others have a number, and comments stand
    between them.
    """
    hours, degrees = ra / 15, abs(dec)
    sexagesimal = [
        f"{int(value):02d}:{int(value * 60 % 60):02d}:{value * 3600 % 60:06.3f}"
        for value in (hours, degrees)
    ]
    number = release.removeprefix("dr")
    entries = [
        ("LEGPIPEV", f"DR{number}.0.1", "legacypipe git version"),
        ("LSDIR", "/".join(["", "folder"] * 20), "$LEGACY_SURVEY_DIR directory"),
        ("LSDR", f"DR{number}", "Data release number"),
        ("RUNDATE", "2022-06-14T00:31:22.294200", "runbrick.py run time"),
        ("SURVEY", "DECaLS+BASS+MzLS", "The LegacySurveys"),
        ("DRVERSIO", NUMBERS[release], "LegacySurveys Data Release number"),
        *[(f"DEPNAM{i:02d}", f"package{i}", "") for i in range(16)],
        *[(f"DEPVER{i:02d}", f"{i}.0-{'a' * 70}", "") for i in range(16)],
        ("CMDLINE", f"runbrick.py --brick {brick} " + "--stage writecat " * 10, "command-line"),
        ("BRICK", brick, "LegacySurveys brick RRRr[pm]DDd"),
        ("BRICKID", brickid, "LegacySurveys brick id"),
        ("RAMIN", ra - 0.125, "Brick RA min (deg)"),
        ("RA", sexagesimal[0], "Brick center RA (hms)"),
        ("DEC", ("-" if dec < 0 else "+") + sexagesimal[1], "Brick center DEC (dms)"),
        ("CENTRA", ra, "Brick center RA (deg)"),
        (
            "BANDS",
            "".join(RELEASES[release].bands_of_regions["south"]),
            "Bands touching this brick",
        ),
        ("COMMENT", "DCHISQ array model names", ""),
        ("EQUINOX", 2000.0, "WCS epoch"),
        ("OBSERVAT", "CTIO", "Observatory name"),
        ("OBS-LAT", -30.16606, "Latitude (deg)"),
        ("IMTYPE", kind, "LegacySurveys image type"),
        ("PRODTYPE", kind, "NOAO image type"),
    ]
    if band:
        entries += [
            ("FILTER", FILTERS[band], "Filter name"),
            ("MJD_MIN", 56537.2579032026, "Earliest MJD in coadd (TAI)"),
            ("DATEOBS1", "2013-09-02T06:10:47.837", "DATE-OBS for the first image"),
            ("MAGZERO", 22.5, "Magnitude zeropoint"),
            ("BUNIT", "nanomaggy" if kind == "image" else "1/nanomaggy^2", ""),
            (f"COSKY_{band.upper()}", -7.88914476288483e-05, "Sky level estimated"),
        ]
    return [{"name": name, "value": value, "comment": text} for name, value, text in entries]


def write_tree(folder, release, n_bricks=2):
    """Write bricks of 400 x 400 pixels as the survey publishes them, with their lists of sums.

    The tables of bricks also have bricks elsewhere, of which there are no files. Returns an object
    with tree and bricks, as `conftest.make_small_survey`, whose pixels and catalogues these are.
    """
    tree = Path(folder, ROOT, release)
    bands = RELEASES[release].bands_of_regions["south"]
    ra = 150.0 + 0.3 * np.arange(n_bricks)
    survey = make_small_survey(tree, release, bands, ra)
    paths = RELEASES[release].paths(tree)
    for number, brick in enumerate(survey.bricks):
        place = brick, 1000 + number, ra[number], 2.125
        for band in bands:
            for kind in ("image", "invvar"):
                path = paths.coadd("south", brick, kind, band)
                dither = {"qmethod": "SUBTRACTIVE_DITHER_2", "dither_seed": 1}
                options = {"compress": "RICE", "qlevel": 16, **(dither if kind == "image" else {})}
                _rewrite(path, cards(release, *place, band, kind), 1, "f4", options)
        path = paths.coadd("south", brick, "maskbits")
        options = {"compress": "HCOMPRESS", "qlevel": 0}
        header = cards(release, *place, None, "maskbits")
        _rewrite(path, header, 3, MASK_TYPES[release], options)
    _write_brick_tables(paths)
    for path in sorted({path.parent for path in tree.rglob("*.fits*")}):
        list_sums(tree, release, path)
    return survey


def _write_brick_tables(paths):
    """Write the tables of all regions, with the columns that have the most bytes, compressed."""
    rng, grid = np.random.default_rng(3), brick_grid(0.25)
    others = np.unique(grid.bricks_at(*np.mgrid[0:360:0.5, 40:42:0.25].reshape(2, -1))[0])
    ra, dec = np.transpose([grid.centre(brick) for brick in others.tolist()])
    number, release = len(others), paths.release
    for region, bands in release.bands_of_regions.items():
        columns = {"brickname": others, "ra": ra, "dec": dec}
        columns |= {"survey_primary": np.full(number, True)}
        columns |= {"brickid": np.arange(500_000, 500_000 + number, dtype="i4")}
        columns |= {f"nexp_{band}": np.full(number, 5, "i2") for band in bands}
        if paths.bricks(region).exists():
            first = fitsio.read(str(paths.bricks(region)))
            columns = {name: np.append(first[name], columns[name]) for name in columns}
        number_of_rows = len(columns["brickname"])
        for name in ("psfsize", "psfdepth", "galdepth", "trans", "cosky"):
            values = rng.normal(1, 0.1, (len(bands), number_of_rows)).astype("f4")
            columns |= {f"{name}_{band}": each for band, each in zip(bands, values, strict=True)}
        write_fits_table(paths.bricks(region), columns)


def _rewrite(path, header, planes, dtype, options):
    """Write an image again, with more cards and as many planes, one after the other."""
    with fitsio.FITS(str(path)) as fits:
        image, wcs = fits[-1].read().astype(dtype), fits[-1].read_header()
    world = [r for r in wcs.records() if re.match("C(TYPE|RVAL|RPIX|DELT|UNIT|D)|PC", r["name"])]
    with fitsio.FITS(str(path), "rw", clobber=True) as fits:
        for plane in range(planes):
            pixels = image * np.array(plane == 0, dtype)
            fits.write(pixels, header=[*world, *header], tile_dims=[100, 100], **options)


def list_sums(tree, release, folder, wrong=()):
    """Write the list of sums of a folder; files that are `wrong` get others' sums."""
    parts = Path(folder).relative_to(tree).parts
    path = Path(folder) / f"{'_'.join(['legacysurvey', release, *parts])}.sha256sum"
    files = sorted(each for each in folder.iterdir() if each.is_file() and each != path)
    sums = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files}
    sums |= dict.fromkeys(wrong, hashlib.sha256(b"other").hexdigest())
    path.write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))
    return path


class Portal:
    """Faults of the portal, for `helpers.loopback.Loopback`.

    Parameters
    ----------
    limited : iterable of int
        Numbers of the requests, from 1, that are answered with 429.
    retry_after : int or None
        What these answers ask for, seconds.
    stops_after : int or None
        Number of bytes of a body after which every connection stops.
    """

    def __init__(self, limited=(), retry_after=1, stops_after=None):
        self.limited, self.retry_after, self.stops_after = set(limited), retry_after, stops_after

    def __call__(self, request):
        if request.number in self.limited:
            return Fault("429", retry_after=self.retry_after)
        if self.stops_after:
            return Fault("truncated", after=self.stops_after)
        return None


@contextlib.contextmanager
def serve(folder, release, portal=None):
    """Serve a tree as Apache does; yields the server and the address of the release."""
    with Loopback(folder, ranges="apache", max_ranges=200, faults=portal) as server:
        yield server, f"{server.url}/{ROOT}/{release}"
