"""Settings, paths, data releases and flags."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["merged"],
        "data": ["Parent", "Simulation"],
        "flags": ["BAD_FLAGS", "flag_note", "FLAGS", "MEANINGS", "has_rejected_flag"],
        "learning": ["Catalogue", "Inference"],
        "paths": ["network_source", "RunPaths", "SkyPaths"],
        "results": ["Recovery"],
        "settings": ["load_settings", "nested", "read_config", "Settings"],
        "surveys.base": ["Release"],
        "surveys.legacy": ["RELEASES"],
        "surveys.registry": ["default_release", "find_release"],
        "training": ["Range"],
    },
)
