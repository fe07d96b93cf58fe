"""Evaluation of models and of searches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "activations": ["show_activations"],
        "model": ["assess", "predict_held_out", "show_mistakes"],
        "purity.measure": ["measure_purity"],
        "random_galaxies": ["FATES", "RandomGalaxies"],
        "recovery.comparison": ["match_scores", "measure_recovery", "recovery_of"],
        "search": ["evaluate"],
    },
)
