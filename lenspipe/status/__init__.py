"""Progress of a run: finished work, failures, speed, disk space."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "disk": ["describe_disk_space"],
        "failures": ["describe_failures", "reopen"],
        "page": ["conclude_run", "format_status", "write_status_page"],
        "read": ["read_status", "STAGES"],
        "summary": ["summarise"],
    },
)
