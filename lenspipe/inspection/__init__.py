"""Visual inspection: candidates graded by people in the browser."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["make_app"],
        "controls": ["check_files", "keep_injected", "keep_known"],
        "grades": ["export"],
        "guard": ["LOCAL_HOSTS"],
        "lists": ["Lists", "Mix"],
        "store": ["GRADER_NAME", "Store"],
    },
)
