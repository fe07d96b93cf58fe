"""Fraction of the lens galaxies that a search has in its parent sample."""

import os
from collections.abc import Collection

from lenspipe.products.tables import read_table

__all__ = ["parent_fraction"]

#: Tractor types fitted to published lenses of this survey, and their fractions
#: (docs/simulated-sky.md). Releases before DR9 have COMP in place of SER.
LENS_TYPES = {"SER": 0.60, "DEV": 0.26, "REX": 0.11, "EXP": 0.03}

#: Cuts that remove areas of the sky rather than types of galaxies.
_AREA_CUTS = ("min_exposures", "maskbits")


def parent_fraction(
    audit_path: str | os.PathLike[str],
    parent_types: Collection[str],
    release_types: Collection[str],
) -> dict[str, float]:
    """Fraction of the lens galaxies that pass all cuts but that in magnitude.

    Exposures and masks remove the same fraction of lenses as of galaxies of the same types and
    magnitudes, which the audit counts. Types are weighted as those of lenses. The cut in Sersic
    index is left out: lens galaxies are ellipticals. Keys are ``places`` (by area), ``types`` and
    their product ``part``.
    """
    audit = read_table(audit_path, "audit").set_index("cut")
    before, after = audit.loc[_AREA_CUTS[0], "before"], audit.loc[_AREA_CUTS[-1], "after"]
    by_area = after / before if before else 1.0
    fractions = dict(LENS_TYPES)
    if "SER" not in release_types:
        fractions["COMP"] = fractions.pop("SER")
    by_type = sum(fraction for name, fraction in fractions.items() if name in parent_types)
    return {"places": float(by_area), "types": float(by_type), "part": float(by_area * by_type)}
