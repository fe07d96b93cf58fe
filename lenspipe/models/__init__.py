"""Networks, their layers, and what may be in a model file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "activations": ["features", "stages"],
        "contents": [
            "count_parameters",
            "find_foreign",
            "normalisation",
            "synchronise",
            "with_member_outputs",
        ],
        "layers": ["Median"],
        "registry": ["build"],
    },
)
