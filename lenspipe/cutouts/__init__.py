"""Stage cutouts: images of the parent sample's galaxies, a file per brick."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "chunk": ["cut_chunk", "cut_one", "discard_chunk"],
        "files": ["CutoutFiles"],
    },
)
