"""Visual inspection: candidates graded by people in the browser."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["make_app"],
        "controls": ["control_files", "copy_known_controls", "draw_injected_controls"],
        "grades": ["export_grades"],
        "guard": ["LOCAL_HOSTS"],
        "lists": ["Lists", "Mix"],
        "store": ["GRADER_NAME", "Store"],
    },
)
