"""The simulated sky, and simulated arcs injected into real cutouts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "exposures": ["BANDS"],
        "grade": ["grade_by_truth"],
        "injection": ["check_bands", "gain", "inject", "noise_from_depth", "sky_noise"],
        "lenses": ["arc_snr", "draw_lenses", "is_visible", "SIGMA_STAR"],
        "lensing": ["blurred_arcs", "comoving_distance", "einstein_radius_sis"],
        "population": ["draw_population"],
        "sky": ["simulate"],
        "sources": ["draw_sizes", "draw_sources", "redshift_scale", "SOURCE_DENSITY"],
    },
)
