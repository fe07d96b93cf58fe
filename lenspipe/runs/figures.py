"""Title, category, caption and galaxies of every result that is shown to people.

The Snakefile reads this table for Snakemake's report, so this module imports nothing heavy.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import yaml
from jinja2 import Template

from lenspipe.config.settings import Settings
from lenspipe.config.stages import STAGES, makes_files

__all__ = ["Figure", "Shown", "figures", "figures_of_run"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """A result of a run, as ``figures.yaml`` describes it.

    Attributes
    ----------
    file
        Below the run's folder; ``<model>`` and ``<catalogue>`` stand for each of them.
    stage
        That makes it.
    question
        That it answers, on the page of the run.
    galaxies
        Key of a row of `lenspipe.runs.numbers.describe_numbers`.
    caption
        File of the caption, reStructuredText with placeholders of Jinja.
    report
        Whether it is in Snakemake's report only.
    """

    key: str
    file: str
    stage: str
    category: str
    title: str
    question: str = ""
    galaxies: str = ""
    caption: str = ""
    report: bool = False

    @property
    def caption_path(self) -> Path:
        """File of the caption."""
        return _FOLDER / "captions" / f"{self.caption or self.key}.rst"

    def caption_text(self, model: str = "") -> str:
        """Return the caption in plain text."""
        job = SimpleNamespace(wildcards=SimpleNamespace(model=model))
        text = Template(self.caption_path.read_text()).render(snakemake=job)
        return re.sub(r"``(.+?)``", r"\1", text).strip()


class Shown(NamedTuple):
    """A figure of a run: what it is, its file below the run's folder, model or catalogue."""

    figure: Figure
    file: str
    of: str


@functools.cache
def figures() -> dict[str, Figure]:
    """Read the table: key -> figure, in order."""
    content = yaml.safe_load((_FOLDER / "figures.yaml").read_text())
    return {str(key): Figure(str(key), **entry) for key, entry in content.items()}


def figures_of_run(settings: Settings) -> Iterator[Shown]:
    """Yield the figures on the page of a run with these settings, in order."""
    for figure in figures().values():
        if figure.report or not makes_files(STAGES[figure.stage], settings):
            continue
        if figure.key == "prediction" and not (settings.simulation and settings.held_out):
            continue
        for name in _names(figure, settings):
            file = figure.file.replace("<model>", name).replace("<catalogue>", name)
            yield Shown(figure, file, name)


def _names(figure: Figure, settings: Settings) -> list[str]:
    if "<catalogue>" in figure.file:
        return [catalogue.label for catalogue in settings.recovery.catalogs]
    if "<model>" not in figure.file:
        return [""]
    if not settings.trains or (figure.key == "ensemble" and not settings.ensemble.members):
        return []
    if figure.key == "ensemble":
        return [settings.training.name]
    trained_only = figure.stage in ("train", "activations")
    return sorted({*settings.models, *([] if trained_only else [settings.training.name])})
