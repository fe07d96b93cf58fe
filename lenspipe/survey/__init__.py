"""The survey itself: bricks, Tractor catalogues, coadds, sweeps and the cutout service."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "brick_tables": ["all_names", "band_columns", "survey_bricks"],
        "bricks": ["brick_grid", "brick_wcs"],
        "coadds": ["BrickCoadds", "read_geometry", "read_stamps"],
        "photometry": ["to_flux", "to_magnitude"],
        "service": ["CutoutService"],
        "sweeps": ["read_sweep", "sweep_names", "sweep_path"],
        "tractor": ["absent_columns", "catalog_columns", "tractor_table"],
    },
)
