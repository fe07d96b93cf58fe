"""Lists that users give: positions, known lenses, targets, confusing galaxies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["read_raw"],
        "lists": ["read_list"],
        "known_lenses": [
            "merge_entries",
            "merge_known",
            "read_catalogues",
            "read_confusing",
            "read_entries",
            "read_graded_lists",
        ],
        "names": ["shown_names"],
        "targets": ["read_targets", "targets_without_data"],
        "versions": ["hash_list", "list_version"],
    },
)
