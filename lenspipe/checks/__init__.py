"""Standing checks for problems of a run that raise no error."""

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
