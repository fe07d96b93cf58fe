"""Model cards: what a model was trained on, how well it does, and what it must not be used for."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from lenspipe.config.base import Section
from lenspipe.config.training import ShippedTraining
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.hashing import file_hash

__all__ = ["CARD", "Card", "describe_model", "find_card", "format_card", "write_card"]

#: Name of the card, in the folder of its model.
CARD = "card.json"

#: Figures of a card: key, and its name in words.
_FIGURES = {
    "auc": "area under the ROC curve",
    "completeness10": "completeness at 10 % false positives",
    "completeness1": "completeness at 1 % false positives",
    "auc_red": "area under the ROC curve, lenses against red galaxies",
    "auc_all": "the same, against all non-lenses",
    "auc_group": "the same, against groups",
    "completeness10_red": "completeness at 10 % false positives among red galaxies",
    "completeness10_all": "the same, among all non-lenses",
}


class Card(Section):
    """Model card, ``card.json`` beside a model.

    Attributes
    ----------
    version
        Of the model, which is not that of the code.
    simulated
        Figures on held-out simulated stamps, by the number of orientations that were averaged
        (``inference.symmetries``).
    real
        Figures on real stamps, as written by ``benchmarks/real_stamps.py --json``; None until they
        are measured.
    sha256
        Of the file of the model.
    """

    name: str
    version: str
    trained_on: str
    purpose: str
    not_for: tuple[str, ...]
    command: str
    code: str
    bands: tuple[str, ...]
    size_pixels: int
    parameters: int
    training: ShippedTraining
    counts: dict[str, int]
    simulated: dict[str, dict[str, float | None]]
    real: dict[str, Any] | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def note(self) -> str:
        """Sentence that marks the scores of the model wherever people see them."""
        return (
            f"{self.name} model {self.version}, trained on simulated lenses only; probabilities "
            "are not calibrated on real data"
        )


def find_card(model: str | os.PathLike[str]) -> Card | None:
    """Read the card beside a model's file; None if it has none.

    Raises
    ------
    LenspipeError
        The card can't be read, or is that of another model.
    """
    path = Path(model).with_name(CARD)
    if not path.is_file():
        return None
    try:
        card = Card.model_validate_json(path.read_text())
    except (OSError, ValidationError, ValueError) as error:
        wrong = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = ": ".join([*map(str, wrong["loc"]), wrong["msg"]]) if wrong else error
        raise LenspipeError(
            f"{path}: can't be read as a model card ({reason}); write it again with `lenspipe "
            "train-shipped`, or delete it if the model beside it is your own"
        ) from None
    if Path(model).is_file() and card.sha256 != file_hash(model):
        raise LenspipeError(
            f"{path}: found the card of another model than {Path(model).name} beside it, expected "
            "its SHA-256; copy both files again, or delete the card if the model is your own"
        )
    return card


def describe_model(model: str | os.PathLike[str]) -> str:
    """Describe a model with a card in the sentence that marks its scores; empty without a card."""
    card = find_card(model)
    return card.note if card else ""


def write_card(card: Card, folder: Path) -> None:
    """Write a card as ``card.md`` and ``card.json``."""
    with atomic(folder / "card.md") as temporary:
        temporary.write_text(format_card(card))
    with atomic(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card.model_dump(mode="json"), indent=1) + "\n")


def format_card(card: Card) -> str:
    """Format a card as Markdown."""
    training = card.training
    members = f"{training.members} networks whose probabilities are averaged, "
    lines = [
        f"# The {card.name} model, version {card.version}",
        "",
        f"**{card.note[0].upper()}{card.note[1:]}.**",
        "",
        card.purpose,
        "",
        "## What it must not be used for",
        "",
        *(f"- {text}" for text in card.not_for),
        "",
        "## What it is",
        "",
        f"CMU DeepLens (arXiv:1703.02642), {'' if training.members == 1 else members}"
        f"{card.parameters:,} parameters in all, for cutouts of {card.size_pixels} pixels in the "
        f"bands {', '.join(card.bands)}, of which it sees the central {training.crop}. "
        f"SHA-256 of model.keras: `{card.sha256}`.",
        "",
        "## What it was trained on",
        "",
        f"{card.trained_on} {card.counts['lenses']:,} lenses and {card.counts['non_lenses']:,} "
        f"non-lenses, drawn with seed {training.seed} by lenspipe {card.code}, "
        f"{training.epochs} epochs. To train it again:",
        "",
        "```sh",
        card.command,
        "```",
        "",
        "## How well it does",
        "",
        f"On {card.counts['held_out_lenses']:,} simulated lenses and "
        f"{card.counts['held_out_non_lenses']:,} simulated non-lenses that it was not trained on "
        "(95 % intervals):",
        "",
    ]
    for symmetries, figures in card.simulated.items():
        lines += [f"With `inference.symmetries: {symmetries}`:", "", *_rows(figures), ""]
    if card.real is None:
        lines += ["On real stamps of the survey: not measured."]
    else:
        lines += ["On real stamps of the survey, on none of which it was trained:", ""]
        lines += _rows(card.real)
    return "\n".join(lines) + "\n"


def _rows(figures: dict[str, Any]) -> list[str]:
    """Rows of a table of figures, with their intervals where these are known."""
    rows = ["| | value | 95 % interval |", "|---|---|---|"]
    for key, name in _FIGURES.items():
        value = figures.get(key)
        if value is None:
            continue
        ends = [figures.get(f"{key}_{end}") for end in ("low", "high")]
        interval = "" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"
        rows.append(f"| {name} | {value:.3f} | {interval} |")
    return rows
