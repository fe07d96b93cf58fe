"""The reference of the configuration, ``config/README.md``, written from the settings' models.

``python -m lenspipe.config.reference > config/README.md`` writes it anew.
"""

import json

from lenspipe.config.settings import Settings

__all__ = ["config_reference"]

_HEAD = """\
# Configuration

A run is described by one YAML file. `config.yaml` here is the demo; `dr7.yaml`, `dr8.yaml`,
`dr9.yaml` and `dr10.yaml` are searches of real data with the recipes of published searches. To use
a file of your own:

```
cp config/dr9.yaml my.yaml
snakemake --cores 8 --configfile my.yaml
snakemake results/my-run/bricks.parquet --cores 8 --configfile my.yaml
```

The first `snakemake` line makes everything, the second one file and what it needs. Targets stand
*before* `--configfile`, which takes all that follows it for further files. Your file takes the
demo's place: a key that it doesn't give has the default below, not the demo's value. With several
files, later ones change single keys of earlier ones. Two runs need two names in `run`.

Unknown keys and values out of range stop the run before it begins, one line for each, all at once.
Beyond what the tables say:

- Give either `survey.tree` (real data) or `simulation` (a simulated sky, `simulation: {}` for its
  defaults), not both. A simulated sky is always of `dr9` and of at most 100 square degrees.
- `survey.bands` and `parent.types` must exist in the release: bands g, r, z (`dr10` also i); types
  REX, EXP, DEV and COMP to `dr8`, REX, EXP, DEV and SER from `dr9` on.
- Real data need `sample.known_lenses`, or a trained model in `inference.model`.
- `targets` needs `inference.model` and takes the place of `footprint`.
- All conditions of `footprint` hold together, and a brick meets them if its centre does; where both
  `bricks` and `brick_list` are given, it has to be in both.
- What is fetched over HTTP needs `retrieval.contact`.
- `training.recipe` takes the place of the defaults of section `training`. A member of
  `ensemble.members` starts from section `training`, or from its own recipe alone.
- `training.refit`, `sweep.settings` and `ensemble.combine: stacker` need a validation split.
- `candidates.threshold: 0.9` stands for `{by: probability, value: 0.9}`.
- Where lists are asked for one entry may stand alone: `known_lenses: lenses.csv`.
- `sample.fractions` add up to 1, `cutouts.size` is odd, `chunks.nside` is a power of two.

Where a table says None, write `null` or leave the key out. A change of a key makes again what
depends on it, and nothing else, when the run is started again.

This file is written by `python -m lenspipe.config.reference > config/README.md`; a test fails where
it differs from the settings' models. Edit those (`lenspipe/config/`) or the head (in
`lenspipe/config/reference.py`) instead.
"""

#: Keys of sections that are sections themselves.
_NESTED = ("augmentation", "healpix", "threshold")


def config_reference():
    """Describe every key of the configuration.

    Returns
    -------
    str
        Markdown: a head and a table for each section with key, type, default, range and meaning.
    """
    schema = Settings.model_json_schema()
    sections = schema["$defs"]
    top, below = {}, []
    for name, field in schema["properties"].items():
        if section := _section(field):
            below.append((name, sections[section]))
        else:
            top[name] = field
    parts = [_HEAD, "## Top level\n", _table("", top, schema["required"])]
    for name, section in below:
        parts += [f"## {name}\n", f"{section['description']}\n"]
        plain = {k: v for k, v in section["properties"].items() if k not in _NESTED}
        parts.append(_table(f"{name}.", plain, section.get("required", [])))
        for key, field in section["properties"].items():
            if key in _NESTED:
                part = sections[_section(field)]
                parts += [f"### {name}.{key}\n", f"{part['description']}\n"]
                needed = part.get("required", [])
                parts.append(_table(f"{name}.{key}.", part["properties"], needed))
            if entry := sections.get(_section(field.get("items", {}))):
                parts += [f"### An entry of `{name}.{key}`\n", f"{entry['description']}\n"]
                parts.append(_table("", entry["properties"], entry.get("required", [])))
    return "\n".join(parts)


def _section(field):
    """Name of the model of a key that is a section, None for a plain key."""
    for option in (field, *field.get("anyOf", [])):
        if "$ref" in option:
            return option["$ref"].rpartition("/")[2]
    return None


def _table(prefix, fields, required):
    lines = ["| key | type | default | range | what |", "|---|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if name in required else f"`{json.dumps(field.get('default', {}))}`"
        cells = [f"`{prefix}{name}`", _type(field), default, _range(field), field["description"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(field):
    """A key's type in words."""
    if "$ref" in field:
        return "map or text"
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if field["type"] == "array":
        if items := field.get("prefixItems"):
            return f"list of {len(items)} ({_type(items[0])})"
        return f"list ({_type(field['items'])})" if field["items"] else "list"
    if field["type"] == "object":
        values = field.get("additionalProperties", True)
        return "map" if values is True else f"map to {_type(values)}"
    names = {"string": "text", "boolean": "true or false", "null": "null"}
    return names.get(field["type"], field["type"])


def _range(field):
    """Which values a key may have, in words; empty where its type says all."""
    if options := field.get("anyOf"):
        return next(filter(None, map(_range, options)), "")
    if "$ref" in field:
        return ""
    if field["type"] == "array":
        if items := field.get("prefixItems"):
            ranges = [_range(item) for item in items]
            same = len(set(ranges)) == 1
            return (f"each {ranges[0]}" if ranges[0] else "") if same else ", ".join(ranges)
        each = _range(field["items"])
        return f"each {each}" if each else ""
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    if "pattern" in field:
        return f"`{field['pattern']}`"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " and ".join(f"{sign} {field[name]}" for name, sign in signs.items() if name in field)


if __name__ == "__main__":
    print(config_reference(), end="")
