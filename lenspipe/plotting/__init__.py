"""Colour images, residuals, pages of galaxies, and figures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "colour": ["BAND_SCALES", "colour_images"],
        "figures": ["BLUE", "GREEN", "GREY", "ORANGE", "save"],
        "galaxy_pages": ["draw_page", "key_of", "say_p", "say_redshift"],
        "model_figures": ["draw_activations", "draw_note"],
        "residual": ["residual_images"],
    },
)
