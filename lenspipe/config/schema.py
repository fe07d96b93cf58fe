"""The JSON schema of the configuration, ``config/schema.json``, for completion in editors.

``python -m lenspipe.config.schema > config/schema.json`` updates it.
"""

import json
from typing import Any

from lenspipe.config.settings import Settings

__all__ = ["config_schema"]


def config_schema() -> dict[str, Any]:
    """Return the schema of a configuration as it may be written, short forms included.

    It knows types, ranges and names of keys. Conditions on several keys are checked by
    `lenspipe.config.settings.load_settings` alone.
    """
    schema = Settings.model_json_schema()
    sections = schema["$defs"]
    for section in (schema, *sections.values()):
        for name, field in section.get("properties", {}).items():
            section["properties"][name] = _with_single_entry(field)
    short: dict[tuple[str, str], list[dict[str, Any]]] = {
        ("Candidates", "threshold"): [{"type": "number"}],
        ("Sample", "fractions"): [
            {"type": "null"},
            {"const": "none"},
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        ],
    }
    for (section, name), forms in short.items():
        properties = sections[section]["properties"]
        properties[name] = _or(properties[name], forms)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of a lenspipe run",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _with_single_entry(field: dict[str, Any]) -> dict[str, Any]:
    """Allow a list of texts or maps to be given as its only entry, and an entry as its path."""
    options = field.get("anyOf", [field])
    lists = [option for option in options if option.get("type") == "array" and "items" in option]
    forms = []
    for item in (option["items"] for option in lists):
        if "$ref" in item:
            forms += [item, _TEXT, {"type": "array", "items": _or(item, [_TEXT])}]
        elif item and item.get("type") == "string":
            forms.append(item)
    return _or(field, forms) if forms else field


_TEXT = {"type": "string"}


def _or(field: dict[str, Any], forms: list[dict[str, Any]]) -> dict[str, Any]:
    about = {key: value for key, value in field.items() if key in ("description", "default")}
    rest = {key: value for key, value in field.items() if key not in about}
    return {"anyOf": [*rest.pop("anyOf", [rest] if rest else []), *forms], **about}


if __name__ == "__main__":
    print(json.dumps(config_schema(), indent=1, ensure_ascii=False))
