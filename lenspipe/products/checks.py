"""The result of a check: green, red, or not measured and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["GREEN", "NOT_MEASURED", "RED", "describe_checks", "not_measured", "result"]

GREEN, RED, NOT_MEASURED = "green", "red", "not measured"


def result(
    is_red: bool,
    number: float | None,
    bar: float,
    what: str,
    why: str,
    parts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the result of a check as in checks.json, without the name.

    The number measured, `what` it is and the maximum allowed (`bar`); `why`, the finding in a
    sentence; and `parts`, the rows of the check's table.
    """
    return {
        "status": RED if is_red else GREEN,
        "number": number,
        "bar": bar,
        "what": what,
        "why": why,
        "parts": list(parts),
    }


def not_measured(why: str, parts: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the result of a check that could not be made, and why, in the form of `result`."""
    empty = dict.fromkeys(("number", "bar", "what"))
    return {"status": NOT_MEASURED, **empty, "why": why, "parts": list(parts)}


def describe_checks(report: Mapping[str, Any]) -> str:
    """Summarise the content of checks.json: ``3 green, 1 not measured; RED: drift``."""
    counts = Counter(check["status"] for check in report["checks"])
    numbers = [f"{counts[status]} {status}" for status in (GREEN, NOT_MEASURED) if counts[status]]
    red = [f"RED: {', '.join(report['red'])}"] if report["red"] else []
    return "; ".join([", ".join(numbers), *red]).removeprefix("; ")
