"""Strong gravitational lenses in imaging surveys: from catalogue to graded candidates."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "candidates",
        "catalogs",
        "checks",
        "completeness",
        "config",
        "cutouts",
        "evaluation",
        "followup",
        "footprint",
        "inspection",
        "models",
        "mosaics",
        "parent",
        "plotting",
        "products",
        "retrieval",
        "runs",
        "sample",
        "scoring",
        "simulation",
        "statistics",
        "status",
        "survey",
        "training",
        "utils",
    ],
    submod_attrs={"runs.opened": ["Run", "open_run"], "runs.galaxy": ["Galaxy"]},
)
