"""What is wrong with a configuration, in words."""

import difflib
import re

from pydantic import BaseModel

__all__ = ["explain"]


def explain(problem, model):
    """Put one of pydantic's findings into a line: key, found, expected, what to do.

    Parameters
    ----------
    problem : dict
        As of `pydantic.ValidationError.errors`.
    model : type
        The model of all settings.

    Returns
    -------
    str
    """
    where = [part for part in problem["loc"] if isinstance(part, str)]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _keys(model, where[:-1])
        close = difflib.get_close_matches(where[-1], known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"config key {key}: unknown; {hint} (config/README.md lists every key)"
    message = re.sub(r"^Value error, ", "", problem["msg"])
    if problem["type"] == "missing":
        return f"config key {key}: missing; {_description(model, where)} (config/README.md)"
    if not where:
        return f"config: {message}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        # Of a whole section, whose check names the key itself where it is one.
        named = re.match(r"[\w.]+: ", message)
        return f"config key {key}{'.' if named else ': '}{message} (See config/README.md)"
    message = message[0].lower() + message[1:]
    return (
        f"config key {key}: found {problem['input']!r}, {message} "
        f"({_description(model, where)} See config/README.md)"
    )


def _section(model, where):
    """Return the model that describes the section at a path of keys."""
    for name in where:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        options = getattr(annotation, "__args__", (annotation,))
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return None
    return model


def _keys(model, where):
    section = _section(model, where)
    return list(section.model_fields) if section else []


def _description(model, where):
    section = _section(model, where[:-1]) if where else None
    field = section.model_fields.get(where[-1]) if section else None
    return (field.description or "").strip() if field else ""
