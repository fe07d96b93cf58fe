"""Imaging surveys: a module for each, with what differs between surveys and their releases."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Release", "SurveyPaths"],
        "registry": ["get_release", "survey_names"],
    },
)
