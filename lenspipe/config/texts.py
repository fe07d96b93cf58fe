"""Values of a configuration as YAML means them: in files, and as texts from a command line."""

import itertools
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from lenspipe.config.base import Section, merged
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.texts import decode_text

__all__ = ["as_meant", "parse_arguments", "read_yaml"]


#: Maximum number of values in a file; a list of all bricks has 662,174.
_MAX_VALUES = 2_000_000


class _Loader(yaml.SafeLoader):
    """Refuses a map with a key that occurs twice, of which YAML's own reader loses the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise ValueError(
                        f"key {key.value} occurs twice, in lines {lines[name]} and {line}; merge "
                        "the two"
                    )
                lines[name] = line
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Count the values of a node, those of an alias as often as it occurs.

    Raises
    ------
    ValueError
        They are too many, or an alias stands within what it stands for.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    number = counts.get(id(node))
    if number is None:
        counts[id(node)] = 0
        parts = itertools.chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        number = counts[id(node)] = 1 + sum(_count(part, counts) for part in parts)
    elif not number:
        raise ValueError(f"line {node.start_mark.line + 1}: an alias stands within its own value")
    if number > _MAX_VALUES:
        raise ValueError(f"aliases make more than {_MAX_VALUES} values; write fewer of them")
    return number


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a map from a file.

    Raises
    ------
    LenspipeError
        The file is missing, is not a map in YAML, or has a key twice.
    """
    try:
        content = _load(decode_text(path.read_bytes())[0])
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise LenspipeError(f"{path}: can't be read as YAML ({reason})") from None
    if not isinstance(content, dict):
        raise LenspipeError(f"{path}: found no keys, expected those of config/README.md")
    return content


def _load(text: str) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, TypeError, OverflowError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def parse_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """Read what follows Snakemake's ``--config``: ``key=value``, of which the value is YAML.

    Raises
    ------
    LenspipeError
        A value is not YAML.
    """
    config: dict[str, Any] = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        try:
            config = merged(config, {key: _load(text)})
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise LenspipeError(
                f"--config {argument}: can't be read as YAML ({reason}); correct it"
            ) from None
    return config


def as_meant(value: Any, annotation: Any) -> Any:
    """Replace texts by what YAML means with them, where the type does not take them as they are.

    Snakemake passes on what is nested in its ``--config`` as text: ``inference={symmetries: 8}``.

    Parameters
    ----------
    value
        Of a key.
    annotation
        Type of the key.
    """
    options = _options(annotation)
    if isinstance(value, str):
        value = _parsed(value, options)
    if isinstance(value, Mapping):
        for option in options:
            if isinstance(option, type) and issubclass(option, Section):
                fields = option.model_fields
                return {
                    key: as_meant(item, fields[key].annotation) if key in fields else item
                    for key, item in value.items()
                }
            if get_origin(option) is dict:
                return {key: as_meant(item, get_args(option)[1]) for key, item in value.items()}
    if isinstance(value, list):
        for option in options:
            if get_origin(option) in (tuple, list):
                types_ = [item for item in get_args(option) if item is not Ellipsis]
                return [
                    as_meant(item, types_[min(i, len(types_) - 1)]) for i, item in enumerate(value)
                ]
    return value


def _options(annotation: Any) -> list[Any]:
    """Alternatives of a type, without its metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for item in get_args(annotation) for option in _options(item)]
    return [annotation]


def _parsed(text: str, options: list[Any]) -> Any:
    try:
        value = _load(text)
    except ValueError:
        return text
    literals = [word for o in options if get_origin(o) is Literal for word in get_args(o)]
    if text in literals or Any in options:
        return text
    if value is None:
        # In a list, which may be left out, it stands for an empty one.
        takes_none = type(None) in options or str not in options
        return None if takes_none else text
    takes_text = any(_takes_text(option) for option in options)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return text
    if isinstance(value, list | dict):
        return text if str in options else value
    if isinstance(value, bool | int | float) and not takes_text:
        return value
    return text


def _takes_text(option: Any) -> bool:
    """Whether a type, or the items of a list, can be text."""
    if get_origin(option) in (tuple, list):
        return any(_takes_text(o) for item in get_args(option) for o in _options(item))
    return option is str
