"""The simulated sky, and simulated arcs injected into real cutouts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conditions": ["BANDS"],
        "grade": ["grade_by_truth"],
        "injection": [
            "arc_snr",
            "check_bands",
            "gain",
            "inject",
            "SIGMA_STAR",
            "sky_noise",
            "spot_snr",
        ],
        "lensing": [
            "blurred_arcs",
            "detection_probability",
            "comoving_distance",
            "einstein_radius_sis",
        ],
        "population": ["CONFUSING", "draw_population", "mag_star"],
        "sky": ["simulate"],
        "sources": ["draw_sizes", "draw_sources", "redshift_scale", "SOURCE_DENSITY"],
    },
)
