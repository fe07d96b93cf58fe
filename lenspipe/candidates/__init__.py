"""Stage candidates: threshold, merging, crossmatch with known lenses, names, ranks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "area": ["area_deg2", "searched_bricks"],
        "find": ["find_candidates"],
        "skymap": ["write_sky_map"],
    },
)
