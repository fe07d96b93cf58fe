"""Stage mosaics: PNG pages of candidates and bricks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pages": ["draw_brick_mosaic", "draw_candidate_pages", "draw_chunk_mosaics"],
    },
)
