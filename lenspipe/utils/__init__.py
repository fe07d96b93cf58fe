"""Foundations without astronomy of their own: errors, files, tables, crossmatching, progress."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "crossmatch": ["chord", "friends_of_friends", "match_tables", "Sky", "unit_vectors"],
        "errors": ["DiskFullError", "LenspipeError", "NotFoundError", "RetrievalError"],
        "files": ["atomic", "is_remote", "room_to_write", "stem"],
        "fits": [
            "check_sums",
            "clip_boxes",
            "create_fits",
            "open_fits",
            "open_unzipped",
            "read_fits_table",
            "reading",
            "touched_tiles",
            "wcs_of",
        ],
        "hashing": ["digest"],
        "html": ["write_html"],
        "names": ["iau_name", "unique_names"],
        "progress": ["configure_logging", "end_with", "log", "track"],
        "tables": ["ascii_text", "check_output", "content_hash", "fits_values", "write_table"],
        "tensorflow": ["gpus", "keras", "tf"],
        "user_tables": ["read_user_table", "UserTable"],
    },
)
