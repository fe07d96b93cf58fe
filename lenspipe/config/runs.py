"""The settings of a run, found by the run's folder or by its configuration."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lenspipe.config.base import merged
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings, load_settings, read_config
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["note_settings", "read_run", "settings_file"]


def read_run(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    changes: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings of a run.

    Parameters
    ----------
    given
        The folder of a run, ``results/<run>``, or its configuration: files of which later ones
        override keys of earlier ones. In the folder the settings are in ``config.yaml``, as they
        were when Snakemake last ran, or else beside one of its models. Relative paths in it are
        relative to the folder in which Snakemake ran.
    changes
        Keys that differ: section -> key -> value.

    Raises
    ------
    LenspipeError
        There is no such folder or file, or the configuration is wrong.
    """
    paths = [Path(path) for path in ([given] if isinstance(given, str | os.PathLike) else given)]
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        if missing := [path for path in paths if not path.exists() and not path.suffix]:
            raise LenspipeError(
                f"{missing[0]}: no such folder, expected that of a run, results/<run>, or the "
                "run's configuration (.yaml)"
            )
        return load_settings(merged(read_config(paths), dict(changes or {})))
    folder = folders[0]
    if len(paths) > 1:
        raise LenspipeError(
            f"{folder}: found a folder among several names, expected the folder of one run, or "
            "configuration files"
        )
    file = settings_file(folder)
    if file is None:
        raise LenspipeError(
            f"{folder}: found no config.yaml, expected the folder of a run, results/<run>; give "
            "the run's configuration instead, or start its workflow"
        )
    config = merged(read_config([file]), dict(changes or {}))
    return load_settings(config).at(folder)


def settings_file(folder: Path) -> Path | None:
    """Find the settings of the run in a folder: ``config.yaml``, or that beside a model."""
    noted = RunPaths.at(folder).config
    return (
        noted if noted.is_file() else next(iter(sorted(folder.glob("models/*/config.yaml"))), None)
    )


def note_settings(settings: Settings) -> None:
    """Write the run's settings to ``config.yaml`` in its folder, unless they are there."""
    path = settings.paths.config
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    if not path.is_file() or path.read_text() != text:
        with atomic(path) as temporary:
            temporary.write_text(text)
