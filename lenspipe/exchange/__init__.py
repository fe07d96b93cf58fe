"""Candidates and cutouts for other projects, and grades that other projects have given."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "datasets": ["write_dataset"],
        "votes": ["add_foreign_votes", "read_grades"],
        "zooniverse": ["read_classifications", "write_subjects"],
    },
)
