"""Stage footprint: which bricks are searched, in which chunks of the sky."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "plan": ["load_plan", "load_plan_apart"],
        "select": ["select_bricks", "write_bricks"],
    },
)
