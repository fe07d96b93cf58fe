"""Odd and wrong configurations, given to the functions that read them."""

import contextlib
import copy
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lenspipe.config.settings import load_settings, read_config
from lenspipe.config.texts import parse_arguments
from lenspipe.utils.errors import LenspipeError

BASE = {"run": "x", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}

#: Values of any type, for any key.
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 8, 0.5, 1e30, float("nan"), float("inf"), "", "null", "~", "1"),
    *(
        "8",
        "0.7",
        "yes",
        "1e-3",
        "[1, 2]",
        "{a: 1}",
        "{",
        "a.csv",
        "~/a",
        "$HOME/a",
        "$NOT_THERE/a",
    ),
    *("~nobody-here/a", "../x", "a\0b", "a/b", "Größe", "x" * 5000, [], [None], [1, "a"], [[]], {}),
    *({"a": 1}, {1: 2}, {"path": None}, [{"path": "a.csv", "grade": "E"}], [150, 151], ["g", "r"]),
    *({"by": "number", "value": 20}, {"number": "300"}, [[1, 2], [3, 4]], [[1, 2]] * 3, 10**30),
]


ODD_LINES = [
    *("\tx: 1", "- a", "{", "a: b: c", "&a *a", "<<: 1", "? [a]\n: b"),
    "!!python/object:os.system {}",
]


def _sections() -> dict[str, list[str]]:
    """Keys of each section of the settings; the section "" has those at the top."""
    sections: dict[str, list[str]] = {"": []}
    from lenspipe.config.settings import Settings

    for name, field in Settings.model_fields.items():
        options = getattr(field.annotation, "__args__", (field.annotation,))
        fields = [list(o.model_fields) for o in options if hasattr(o, "model_fields")]
        sections[""].append(name)
        if fields:
            sections[name] = fields[0]
    return sections


def _change(rng: np.random.Generator, config: dict[str, Any], sections: dict) -> None:
    """Set a key, known or not, to any value."""
    section = str(rng.choice(list(sections)))
    key = str(rng.choice([*sections[section], "unknown"]))
    value = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    if not section:
        config[key] = value
        return
    place = config.setdefault(section, {})
    if isinstance(place, dict):
        place[key] = value


def _spoil(rng: np.random.Generator, text: str) -> bytes:
    """Write a file as people do, and damage it now and then."""
    lines = text.splitlines()
    dice = rng.random()
    if dice < 0.15:
        lines.insert(int(rng.integers(len(lines) + 1)), lines[int(rng.integers(len(lines)))])
    elif dice < 0.2:
        lines.insert(int(rng.integers(len(lines) + 1)), str(rng.choice(ODD_LINES)))
    elif dice < 0.25:
        lines = lines[: int(rng.integers(len(lines)))]
    elif dice < 0.27:
        lines = ["[" * 5000]
    content = str(rng.choice(["\n", "\r\n"])).join([*lines, ""])
    encoded = content.encode(
        str(rng.choice(["utf-8"] * 4 + ["utf-8-sig", "utf-16", "latin-1"])), "replace"
    )
    if rng.random() < 0.05 and encoded:
        array = np.frombuffer(encoded, np.uint8).copy()
        array[rng.integers(0, len(array), 5)] = rng.integers(0, 256, 5)
        return array.tobytes()
    return encoded


def _twice(text: str) -> bool:
    """Whether a section stands twice at the top."""
    names = [line.partition(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    return len(set(names)) < len(names)


def fuzz_config(seed: int, number: int) -> list[str]:
    """Read many odd configurations.

    Returns
    -------
    list of str
        A line for each stack trace (anything but a `LenspipeError`), and for each section that
        stands twice and is read.
    """
    problems, sections = [], _sections()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        for i in range(number):
            rng = np.random.default_rng([seed, i])
            config = copy.deepcopy(BASE)
            for _ in range(int(rng.integers(0, 4))):
                _change(rng, config, sections)
            title = f"{seed}/{i}"
            problems += _try(title, lambda config=config: load_settings(config))
            content = _spoil(rng, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
            path.write_bytes(content)
            problems += _try(title, lambda: load_settings(read_config([path])))
            text = content.decode("utf-8", "replace")
            if _twice(text):
                with contextlib.suppress(LenspipeError):
                    read_config([path])
                    problems.append(f"{title}: a section that stands twice is read")
            arguments = [f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}"
                         for key, value in config.items()]  # fmt: skip
            if rng.random() < 0.2:
                arguments[0] = arguments[0][: int(rng.integers(len(arguments[0])))]
            problems += _try(title, lambda given=arguments: load_settings(parse_arguments(given)))
    return problems


def _try(title: str, read: Any) -> list[str]:
    try:
        read()
    except LenspipeError:
        return []
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {str(error)[:150]}"
        return [f"{title}: {reason} ({where.filename}:{where.lineno})"]
    return []
