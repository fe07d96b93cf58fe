"""Expected numbers as a few lines of text."""

from collections.abc import Mapping
from typing import Any

__all__ = ["format_summary"]


def format_summary(result: Mapping[str, Any]) -> str:
    """Format the content of ``expected.json`` for a terminal."""
    completeness, area = result["completeness"], result["area_deg2"]
    lines = [
        f"{result['population']}, {area:.4g} square degrees in {result['n_bricks']} bricks",
        "completeness of lenses whose galaxies are searched: "
        f"{_percent(completeness['completeness'])} (95 %: {_percent(completeness['low'])} to "
        f"{_percent(completeness['high'])}); {_percent(result['extrapolated'])} are outside the "
        "range of the injected lenses",
    ]
    if result["expected"] is None:
        lines.append(
            "the table has no weights and no area is given (expected.area_deg2): the number of "
            "lenses is unknown"
        )
    else:
        lines += [
            f"lenses per square degree: {result['on_sky_per_deg2']:.3g} on the sky, "
            f"{result['searched_per_deg2']:.3g} whose galaxies are searched, "
            f"{result['expected_per_deg2']:.3g} expected to be found",
            f"expected: {_number(result['expected'])}",
        ]
        if visible := result["visible"]:
            lines.append(f"of these visible to people: {_number(visible)} of {visible['n']:.1f}")
    if by_galaxies := result.get("by_galaxies"):
        low, high = by_galaxies["theta_e_range"]
        lines.append(
            f"from the galaxies searched: {by_galaxies['expected']:.1f} (95 %: "
            f"{by_galaxies['low']:.0f} to {by_galaxies['high']:.0f}) of "
            f"{by_galaxies['lenses']:.0f} lenses, theta_E {low:.1f} to {high:.1f} arcsec"
        )
    found = result["found"]
    number = "unknown" if found["found"] is None else f"{found['found']:.1f}"
    true = f"; {found['true']} true lenses" if "true" in found else ""
    method = "graded A to C" if found["graded"] else "minus expected false positives"
    lines.append(
        f"found: {found['candidates']} candidates, lenses ({method}): {number} "
        f"({found['found_low']:.0f} to {found['found_high']:.0f}){true}"
    )
    return "\n".join([*lines, result["verdict"]])


def _number(expected: Mapping[str, float]) -> str:
    low, high = expected["systematic_low"], expected["systematic_high"]
    wider = f"; with the population's uncertainty {low:.0f} to {high:.0f}"
    wider = wider if (low, high) != (expected["low"], expected["high"]) else ""
    interval = f"95 %: {expected['low']:.0f} to {expected['high']:.0f}{wider}"
    return f"{expected['expected']:.1f} ({interval})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
