"""Which part of the lenses' galaxies a search has in its parent sample."""

from lenspipe.products.tables import read_table

__all__ = ["kept_part"]

#: Tractor types that published lenses of this survey were fitted with, and their parts
#: (docs/simulated-sky.md). Releases before DR9 have COMP in place of SER.
LENS_TYPES = {"SER": 0.60, "DEV": 0.26, "REX": 0.11, "EXP": 0.03}

#: Cuts that remove places on the sky rather than kinds of galaxies.
_PLACES = ("min_exposures", "maskbits")


def kept_part(settings):
    """Part of the lenses' galaxies that no cut but that in magnitude removes.

    Exposures and masks remove as many lenses as galaxies of the same types and magnitudes, which
    the audit counts. Of types those count that lenses have. The cut in Sersic index is left out:
    lenses' galaxies are ellipticals.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        ``places``, ``types`` and their product ``part``.
    """
    audit = read_table(settings.paths.audit, "audit").set_index("cut")
    before, after = audit.loc[_PLACES[0], "before"], audit.loc[_PLACES[-1], "after"]
    places = after / before if before else 1.0
    parts = dict(LENS_TYPES)
    if "SER" not in settings.release.types:
        parts["COMP"] = parts.pop("SER")
    types = sum(part for name, part in parts.items() if name in settings.parent.types)
    return {"places": float(places), "types": float(types), "part": float(places * types)}
