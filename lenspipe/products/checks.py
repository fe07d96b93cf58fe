"""What a check finds: green, red, or not measured and why."""

from collections import Counter

__all__ = ["GREEN", "NOT_MEASURED", "RED", "not_measured", "result", "say_checks"]

GREEN, RED, NOT_MEASURED = "green", "red", "not measured"


def result(is_red, number, bar, what, why, parts=()):
    """Say what a check found.

    Parameters
    ----------
    is_red : bool
    number : float or None
        What was measured.
    bar : float
        Most that it may be.
    what : str
        What the number is.
    why : str
        What was found, in a sentence.
    parts : sequence of dict
        Plain values, a row of the check's table each.

    Returns
    -------
    dict
        As in checks.json, but for the name.
    """
    return {
        "status": RED if is_red else GREEN,
        "number": number,
        "bar": bar,
        "what": what,
        "why": why,
        "parts": list(parts),
    }


def not_measured(why, parts=()):
    """Say why a check could not be made.

    Parameters
    ----------
    why : str
    parts : sequence of dict

    Returns
    -------
    dict
        As of `result`, without number and bar.
    """
    empty = dict.fromkeys(("number", "bar", "what"))
    return {"status": NOT_MEASURED, **empty, "why": why, "parts": list(parts)}


def say_checks(report):
    """Sum the checks up in a few words.

    Parameters
    ----------
    report : dict
        What checks.json holds.

    Returns
    -------
    str
        Such as ``3 green, 1 not measured; RED: drift``.
    """
    counts = Counter(check["status"] for check in report["checks"])
    said = [f"{counts[status]} {status}" for status in (GREEN, NOT_MEASURED) if counts[status]]
    red = [f"RED: {', '.join(report['red'])}"] if report["red"] else []
    return "; ".join([", ".join(said), *red]).removeprefix("; ")
