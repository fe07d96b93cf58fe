"""Stage sample: the labelled sample that networks are trained on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "build": ["build_sample"],
        "mining": ["mine"],
        "report": ["report_sample"],
        "splits": ["cells_of_bricks", "near_lens_of_other_split"],
    },
)
