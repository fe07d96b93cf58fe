"""Stage parent: which galaxies are searched, and what each cut removes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cuts": ["CUTS"],
        "select": ["merge_audits", "parent_of_brick", "parent_of_chunk"],
        "tractor": ["tractor_of_brick"],
    },
)
