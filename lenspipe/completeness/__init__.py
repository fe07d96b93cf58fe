"""Completeness: the selection function, measured with injected lenses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "expected.brightness": ["can_be_seen", "estimate_snr", "noise_of_depth"],
        "expected.numbers": ["expect_lenses"],
        "expected.population": ["alternatives", "draw_lenses"],
        "painting": ["paint"],
        "prediction": ["compare_planted"],
        "quantities": ["quantities_of"],
        "realism": ["measure_realism"],
        "search": ["measure_selection"],
        "selection_function": ["SelectionFunction"],
    },
)
