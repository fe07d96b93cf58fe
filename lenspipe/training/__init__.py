"""Training of networks and ensembles, and sweeps over training settings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data": ["count_classes", "TrainingData"],
        "devices": ["choose_devices"],
        "ensemble": ["combine"],
        "fitting": ["train"],
        "optimisation": ["make_optimizer"],
        "steps": ["ProgressLogger", "Steps"],
        "sweep.plan": ["check_sweep", "trial_name", "trial_parameters", "trials"],
        "sweep.summary": ["summarise_sweep"],
        "sweep.trial": ["run_trial"],
    },
)
