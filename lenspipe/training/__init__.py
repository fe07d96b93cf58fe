"""Stage training: networks, ensembles, and sweeps of settings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data": ["count_classes", "TrainingData"],
        "devices": ["choose_devices"],
        "ensemble": ["combine"],
        "fitting": ["train"],
        "optimisation": ["make_optimizer"],
        "steps": ["Steps", "Ticker"],
        "sweep.plan": ["check_sweep", "made_from", "name_of_trial", "trials"],
        "sweep.summary": ["summarise_sweep"],
        "sweep.trial": ["run_trial"],
    },
)
