"""The command line, and how the workflow runs its scripts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "main": ["main"],
        "job": ["job"],
    },
)
