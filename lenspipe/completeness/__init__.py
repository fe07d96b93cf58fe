"""Completeness: the selection function, measured with injected lenses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "expected.brightness": ["estimate_snr", "trace_arcs"],
        "expected.numbers": ["expect_lenses"],
        "expected.population": ["alternative_weights", "draw_lenses"],
        "painting": ["inject_and_score"],
        "prediction": ["compare_planted"],
        "quantities": ["selection_quantities"],
        "realism": ["measure_realism"],
        "measure": ["measure_selection_function"],
        "selection_function": ["SelectionFunction"],
    },
)
