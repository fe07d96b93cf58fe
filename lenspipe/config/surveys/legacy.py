"""The DESI Legacy Imaging Surveys (https://www.legacysurvey.org; Dey et al. 2019).

The coadds' geometry, the layout of the files and the mask bits are those of
https://www.legacysurvey.org/dr9/files/ and https://www.legacysurvey.org/dr9/bitmasks/, and of the
same pages of each release; the bits from SATUR_I on are those of legacypipe's ``bits.py``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.utils.files import is_remote, path_part

__all__ = ["RELEASES", "LegacyPaths", "LegacyRelease"]

_MASK_BITS = {
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
}

_MASK_BITS_DR10 = _MASK_BITS | {"SATUR_I": 14, "ALLMASK_I": 15, "SUB_BLOB": 16}

_MASK_BITS_DR11 = _MASK_BITS_DR10 | {"RESOLVED": 17, "MCLOUDS": 18, "WISE_GAIA": 19}


class LegacyPaths(SurveyPaths):
    """Paths of a release's files; from DR8 on there is a folder per region."""

    def _of_region(self, region: str, name: str) -> str | Path:
        return self.below(f"{region}/{name}" if self.release.has_region_folders else name)

    def all_bricks(self) -> str | Path:
        """Table of all bricks on the sky."""
        return self.below("survey-bricks.fits.gz")

    def bricks(self, region: str) -> str | Path:
        """Table of the bricks with data in a region."""
        suffix = f"-{region}" if self.release.has_region_folders else ""
        return self._of_region(region, f"survey-bricks-{self.release.name}{suffix}.fits.gz")

    def tractor(self, region: str, brick: str) -> str | Path:
        """Tractor catalogue of a brick."""
        return self._of_region(region, f"tractor/{brick[:3]}/tractor-{path_part(brick)}.fits")

    def checksums(self, path: str | Path, folder: str | None = None) -> str | Path:
        """List of SHA-256 sums; see `SurveyPaths`.

        Each folder has one that is named after it:
        ``south/tractor/000/legacysurvey_dr10_south_tractor_000.sha256sum``.
        """
        beside = str(path).rpartition("/")[0]
        folder = folder or beside.removeprefix(str(self.tree)).strip("/")
        parts = filter(None, ["legacysurvey", self.release.name, *folder.split("/")])
        name = "_".join(parts) + ".sha256sum"
        return f"{beside}/{name}" if is_remote(path) else Path(beside, name)

    def coadd(self, region: str, brick: str, kind: str, band: str | None = None) -> str | Path:
        """Coadd of a brick; see `SurveyPaths`."""
        suffix = f"-{band}" if band else ""
        packed = self.release.maskbits_packed if kind == "maskbits" else "fz"
        name = f"legacysurvey-{path_part(brick)}-{kind}{suffix}.fits.{packed}"
        return self._of_region(region, f"coadd/{brick[:3]}/{brick}/{name}")


class LegacyRelease(Release):
    """A data release of the Legacy Surveys."""

    def paths(self, tree: str | Path) -> LegacyPaths:
        """Return the paths of the release's files below a folder or an address."""
        return LegacyPaths(tree, self)

    def bad_pixels(self, bands: Iterable[str]) -> int:
        """Mask with BRIGHT, and SATUR and ALLMASK of some bands."""
        bands = tuple(bands)
        names = [f"{name}_{band.upper()}" for name in ("SATUR", "ALLMASK") for band in bands]
        return self.mask(("BRIGHT", *names))

    def sweep_folder(self, region: str) -> str:
        """Folder of a region's sweep files below the tree."""
        return f"{region}/{self.sweeps}" if self.has_region_folders else self.sweeps

    def northern_boundary_dec(self) -> float:
        """Declination from which on the north galactic cap belongs to region north, degrees.

        Taken from ``survey_primary`` of later releases
        (https://www.legacysurvey.org/dr9/description/); the tables of DR8 have no such column.
        """
        return 32.375

    def viewer_layer(self, region: str) -> str:
        """Layer of the sky viewer and its cutout service that shows a region: ``ls-dr9-north``."""
        if self.has_region_folders:
            return f"ls-{self.name}-{region}"
        return f"decals-{self.name}"

    def viewer_address(self, ra: float, dec: float) -> str:
        """Address of a position (degrees) in the sky viewer."""
        prefix = "decals" if self.name == "dr7" else "ls"
        return (
            f"https://www.legacysurvey.org/viewer?ra={ra:.5f}&dec={dec:.5f}"
            f"&layer={prefix}-{self.name}&zoom=16"
        )


def _tap_tables(schema: str, **conditions: str) -> Mapping[str, Mapping[str, str]]:
    """Return the Data Lab's tables of regions, given conditions for the table of all regions.

    The table of a region has the primary rows of its Tractor files; the joint one lacks objects
    that both regions have.
    """
    return {
        region: {f"{schema}.tractor_{region[0]}": ""}
        | ({f"{schema}.tractor": condition} if condition else {})
        for region, condition in conditions.items()
    }


def _release(name: str, **differences: Any) -> LegacyRelease:
    number = 1000 * int(name.removeprefix("dr"))
    common: dict[str, Any] = {
        "survey": "DESI Legacy Imaging Surveys",
        "name": name,
        # https://www.legacysurvey.org/release/: 9010, 9011 and 9012 are DR9.
        "numbers": range(number, number + 1000),
        "bands_of_regions": {"north": ("g", "r", "z"), "south": ("g", "r", "z")},
        "has_region_folders": True,
        "types": ("REX", "EXP", "DEV", "SER"),
        "shape": "sersic",
        "maskbits": True,
        "mask_bits": _MASK_BITS,
        "vector_bands": "ugrizy",
        "pixel_scale_arcsec": 0.262,
        "brick_deg": 0.25,
        "brick_pixels": 3600,
        "zero_point_mag": 22.5,
        "quantization_step": 1e-4,
        "name_prefix": "DESI",
        "sweep_box_deg": (10, 5),
    }
    return LegacyRelease(**common | differences)


RELEASES = {
    "dr7": _release(
        "dr7",
        bands_of_regions={"south": ("g", "r", "z")},
        has_region_folders=False,
        types=("REX", "EXP", "DEV", "COMP"),
        shape="devexp",
        maskbits=False,
        # From the column brightstarinblob.
        catalog_bits=("BRIGHT",),
        maskbits_packed="gz",
        sweeps="sweep/7.1",
    ),
    "dr8": _release(
        "dr8",
        types=("REX", "EXP", "DEV", "COMP"),
        shape="devexp",
        sweeps="sweep/8.0",
        tap_tables=_tap_tables("ls_dr8", north="release = 8001", south="release = 8000"),
    ),
    "dr9": _release(
        "dr9",
        numbers=range(9000, 9999),
        sweeps="sweep/9.0",
        tap_tables=_tap_tables("ls_dr9", north="release = 9011", south="release IN (9010, 9012)"),
    ),
    "dr10": _release(
        "dr10",
        # The page lists 9999, 10000 and 10300.
        numbers=range(9999, 11000),
        bands_of_regions={"south": ("g", "r", "i", "z")},
        mask_bits=_MASK_BITS_DR10,
        sweeps="sweep/10.1",
        sweep_box_deg=(5, 5),
        tap_tables=_tap_tables("ls_dr10", south="release BETWEEN 9999 AND 10999"),
    ),
    # Resolved against the survey's documents and legacypipe only, not against the servers.
    "dr11": _release(
        "dr11",
        bands_of_regions={"north": ("g", "r", "z"), "south": ("g", "r", "i", "z")},
        mask_bits=_MASK_BITS_DR11,
        sweeps="sweep/11.0",
        sweep_box_deg=(5, 5),
        # The regions' numbers in the joint table are not documented.
        tap_tables=_tap_tables("ls_dr11", north="", south=""),
    ),
}
