"""Follow-up: sheets on single candidates and tables of targets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "choice": ["choose_candidates", "read_arrows", "read_graded"],
        "sheets": ["make_sheets"],
    },
)
