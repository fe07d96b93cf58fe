"""Progress of a run: what is done, what failed, how long it takes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "disk": ["disk_lines"],
        "failures": ["reopen", "what_failed"],
        "page": ["status_text", "write_status_page"],
        "read": ["read_status", "STAGES"],
        "summary": ["summarise"],
    },
)
