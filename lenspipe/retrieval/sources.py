"""Where the survey's files come from: a folder, a web server or an object store."""

import contextlib

from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.remote import RemoteSource
from lenspipe.utils.files import is_remote

__all__ = ["open_source"]


@contextlib.contextmanager
def open_source(settings):
    """Open what the survey's files are read from.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Yields
    ------
    LocalSource or lenspipe.retrieval.remote.RemoteSource
        Their methods may be called by several threads.
    """
    survey = settings.survey
    sweeps = survey.sweeps if survey.catalogs == "sweeps" else None
    if not (is_remote(settings.survey_paths.tree) or is_remote(sweeps or "")):
        yield LocalSource()
        return

    with contextlib.closing(RemoteSource(settings.retrieval, settings.paths.hosts)) as source:
        yield source
