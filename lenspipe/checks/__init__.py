"""Standing checks: what may be wrong with a run without any error."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "depth": ["check_depth", "check_regions"],
        "drift": ["Drift"],
        "duplicates": ["Duplicates"],
        "galaxies": ["draw_galaxies"],
        "run": ["run_checks"],
    },
)
