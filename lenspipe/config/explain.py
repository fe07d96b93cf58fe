"""Error messages for wrong configurations."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

__all__ = ["explain"]


def explain(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Describe a validation error in a line: key, found, expected, what to do.

    Parameters
    ----------
    problem
        As in `pydantic.ValidationError.errors`.
    model
        The model of all settings.
    """
    where = [part for part in problem["loc"] if isinstance(part, str)]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section = _section(model, where[:-1])
        known = list(section.model_fields) if section else []
        close = difflib.get_close_matches(where[-1], known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"config key {key}: unknown; {hint} (config/README.md lists every key)"
    message = re.sub(r"^Value error, ", "", problem["msg"])
    if problem["type"] == "missing":
        return f"config key {key}: missing; {_description(model, where)} (config/README.md)"
    if not where:
        return f"config: {message}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        # The error of a whole section, whose message begins with the key if it concerns only one.
        named = re.match(r"[\w.]+: ", message)
        return f"config key {key}{'.' if named else ': '}{message} (See config/README.md)"
    message = message[0].lower() + message[1:]
    return (
        f"config key {key}: found {problem['input']!r}, {message} "
        f"({_description(model, where)} See config/README.md)"
    )


def _section(model: type[BaseModel], where: Sequence[str]) -> type[BaseModel] | None:
    """Return the model of the section at a path of keys."""
    for name in where:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        options = getattr(annotation, "__args__", (annotation,))
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not models:
            return None
        model = models[0]
    return model


def _description(model: type[BaseModel], where: Sequence[str]) -> str:
    section = _section(model, where[:-1]) if where else None
    field = section.model_fields.get(where[-1]) if section else None
    return (field.description or "").strip() if field else ""
