"""Rounds: people look at a few galaxies, and a network is trained again with their grades."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "begin": ["begin_round"],
        "comparison": ["compare_networks"],
        "finish": ["finish_round"],
    },
)
