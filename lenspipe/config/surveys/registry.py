"""The available surveys, by name."""

import importlib
import pkgutil
from pathlib import Path

from lenspipe.config.data import Survey
from lenspipe.config.surveys.base import Release
from lenspipe.utils.errors import LenspipeError

__all__ = ["default_release", "find_release", "get_release", "survey_names"]

_NO_SURVEYS = {"base", "registry"}


def survey_names() -> list[str]:
    """Return the names of all surveys: the modules of this package that describe one."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted({module.name for module in modules} - _NO_SURVEYS)


def get_release(survey: str, name: str) -> Release:
    """Return a data release of a survey.

    Both names are as in the section ``survey``: ``legacy``, ``dr9``.

    Raises
    ------
    LenspipeError
        No such survey or release.

    Examples
    --------
    >>> release = get_release("legacy", "dr10")
    >>> release.bands, release.pixel_scale_arcsec
    (('g', 'r', 'i', 'z'), 0.262)
    """
    if survey not in survey_names():
        raise LenspipeError(
            f"config key survey.name: found {survey!r}, expected one of {', '.join(survey_names())}"
        )
    releases = importlib.import_module(f"{__package__}.{survey}").RELEASES
    if name not in releases:
        raise LenspipeError(
            f"config key survey.release: found {name!r}, expected one of {', '.join(releases)}"
        )
    return releases[name]


def default_release() -> Release:
    """Return the release that is searched by a configuration without section ``survey``."""
    survey = Survey()
    return get_release(survey.name, survey.release)


def find_release(name: str) -> Release:
    """Return the data release of that name, of any survey.

    Raises
    ------
    LenspipeError
        No survey has such a release.
    """
    modules = (importlib.import_module(f"{__package__}.{survey}") for survey in survey_names())
    releases = {key: value for module in modules for key, value in module.RELEASES.items()}
    if name not in releases:
        raise LenspipeError(f"release: found {name!r}, expected one of {', '.join(releases)}")
    return releases[name]
