"""Stage mosaics: PNG pages of candidates and bricks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pages": ["brick_mosaic", "brick_mosaics_of_chunk", "candidate_pages"],
    },
)
