"""Colour images, residuals, pages of galaxies, and figures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "colour": ["BAND_SCALES", "colour_images"],
        "galaxy_pages": ["draw_page", "format_probability", "format_redshift", "page_key"],
        "model_figures": ["plot_activations", "plot_note"],
        "residual": ["residual_images"],
        "style": [
            "BLUE",
            "COLOURS",
            "GREEN",
            "GREY",
            "ORANGE",
            "mark_threshold",
            "open_figure",
            "plot_band",
            "plot_points",
            "save",
        ],
    },
)
