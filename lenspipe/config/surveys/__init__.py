"""Imaging surveys: one module each, which says what differs between them and their releases."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Release", "SurveyPaths"],
        "registry": ["get_release", "survey_names"],
    },
)
