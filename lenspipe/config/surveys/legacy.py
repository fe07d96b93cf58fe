"""The DESI Legacy Imaging Surveys (https://www.legacysurvey.org; Dey et al. 2019).

The coadds' geometry, the layout of the files and the mask bits are those of
https://www.legacysurvey.org/dr9/files/ and https://www.legacysurvey.org/dr9/bitmasks/.
"""

from pathlib import Path
from typing import Any

from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.utils.files import path_part

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
    "SATUR_I": 14,
    "ALLMASK_I": 15,
    "SUB_BLOB": 16,
}


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

    def checksums(self, region: str, brick: str) -> str | Path:
        """SHA-256 sums of a brick's files."""
        return self._of_region(region, f"tractor/{brick[:3]}/brick-{path_part(brick)}.sha256sum")

    def coadd(self, region: str, brick: str, kind: str, band: str | None = None) -> str | Path:
        """Coadd of a brick; see `SurveyPaths`."""
        suffix = f"-{band}" if band else ""
        name = f"legacysurvey-{path_part(brick)}-{kind}{suffix}.fits.fz"
        return self._of_region(region, f"coadd/{brick[:3]}/{brick}/{name}")


class LegacyRelease(Release):
    """A data release of the Legacy Surveys."""

    def paths(self, tree: str | Path) -> LegacyPaths:
        """Return the paths of the release's files below a folder or an address."""
        return LegacyPaths(tree, self)

    def has_number(self, number: int) -> bool:
        """Whether the catalogue's column ``release`` has this number in this release.

        9010, 9011 and 9012 are DR9, 10000 and above DR10 (https://www.legacysurvey.org/release/).
        """
        return f"dr{number // 1000}" == self.name

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


def _release(name: str, **differences: Any) -> LegacyRelease:
    common: dict[str, Any] = {
        "survey": "DESI Legacy Imaging Surveys",
        "name": name,
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
        "name_prefix": "DESI",
        "sweep_width_deg": 10,
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
        sweeps="sweep/7.1",
    ),
    "dr8": _release(
        "dr8",
        types=("REX", "EXP", "DEV", "COMP"),
        shape="devexp",
        sweeps="sweep/8.0",
        tap_schema="ls_dr8",
        tap_conditions={"north": "release = 8001", "south": "release = 8000"},
    ),
    "dr9": _release(
        "dr9",
        sweeps="sweep/9.0",
        tap_schema="ls_dr9",
        tap_conditions={"north": "release = 9011", "south": "release IN (9010, 9012)"},
    ),
    "dr10": _release(
        "dr10",
        bands_of_regions={"south": ("g", "r", "i", "z")},
        sweeps="sweep/10.1",
        sweep_width_deg=5,
        tap_schema="ls_dr10",
        tap_conditions={"south": "release BETWEEN 10000 AND 10999"},
    ),
}
