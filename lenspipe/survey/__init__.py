"""The survey itself: bricks, Tractor catalogues, coadds, sweeps and the cutout service."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "brick_tables": ["all_names", "band_columns", "survey_bricks"],
        "bricks": [
            "BRICK_DEG",
            "brick_grid",
            "brick_wcs",
            "brick_widths",
            "brickids_at",
            "bricks_at",
        ],
        "coadds": ["read_geometry", "read_stamps"],
        "service": ["CutoutService"],
        "sweeps": ["read_sweep", "sweep_names", "sweep_path"],
        "tractor": ["absent_columns", "catalog_columns", "magnitude", "tractor_table"],
    },
)
