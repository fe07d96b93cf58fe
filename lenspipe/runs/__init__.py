"""A run for people: as a Python object, and as a page."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "example": ["write_example_run"],
        "galaxy": ["Galaxy"],
        "index": ["write_index"],
        "opened": ["Run", "open_run"],
        "samp": ["send_table"],
    },
)
