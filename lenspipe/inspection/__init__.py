"""Visual inspection: candidates graded by people in the browser."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["make_app"],
        "around": ["Around"],
        "controls": ["control_files", "copy_known_controls", "draw_injected_controls"],
        "given": ["make_run_of_cutouts", "make_run_of_list"],
        "grades": ["export_grades"],
        "guard": ["LOCAL_HOSTS"],
        "lists": ["Lists", "Mix"],
        "posterior": ["Retirement", "estimate_posterior"],
        "queue": ["Queue"],
        "training": ["TrainingList", "draw_examples", "draw_training_set"],
        "store": ["GRADER_NAME", "Store"],
    },
)
