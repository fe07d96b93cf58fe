"""Expected numbers as a few lines of text."""

from lenspipe.products.truth import QUOTED_ARC_SNR, QUOTED_THETA_E_ARCSEC

__all__ = ["summary_text"]


def summary_text(result):
    """Lay the numbers out for a terminal.

    Parameters
    ----------
    result : dict
        As ``expected.json`` has it.

    Returns
    -------
    str
    """
    part, area = result["completeness"], result["area_deg2"]
    lines = [
        f"{result['population']}, {area:.4g} square degrees in {result['n_bricks']} bricks",
        f"found of the lenses whose galaxies are searched: {_percent(part['completeness'])} "
        f"(95 %: {_percent(part['low'])} to {_percent(part['high'])}); "
        f"{_percent(result['extrapolated'])} are outside what was painted",
    ]
    if result["expected"] is None:
        lines.append(
            "the table has no weights and no area is given (expected.area_deg2): no number follows"
        )
    else:
        lines += [
            f"lenses per square degree: {result['on_sky_per_deg2']:.3g} on the sky, "
            f"{result['searched_per_deg2']:.3g} whose galaxies are searched, "
            f"{result['expected_per_deg2']:.3g} expected to be found",
            f"expected: {_number(result['expected'])}",
        ]
        if own := result["visible"]:
            lines.append(
                f"of these with theta_E >= {QUOTED_THETA_E_ARCSEC:g} arcsec and arc signal to "
                f"noise >= {QUOTED_ARC_SNR:g}: {_number(own)} of {own['n']:.1f}"
            )
    if own := result.get("by_galaxies"):
        low, high = own["theta_e_range"]
        lines.append(
            f"from the galaxies searched: {own['expected']:.1f} (95 %: {own['low']:.0f} to "
            f"{own['high']:.0f}) of {own['lenses']:.0f} lenses, theta_E {low:.1f} to {high:.1f} "
            "arcsec"
        )
    found = result["found"]
    number = "unknown" if found["found"] is None else f"{found['found']:.1f}"
    true = f"; {found['true']} are, by the truth" if "true" in found else ""
    how = "graded A to C" if found["graded"] else "without expected false positives"
    lines.append(
        f"found: {found['candidates']} candidates, lenses ({how}): {number} "
        f"({found['found_low']:.0f} to {found['found_high']:.0f}){true}"
    )
    return "\n".join([*lines, result["verdict"]])


def _number(own):
    """A number with its intervals."""
    low, high = own["systematic_low"], own["systematic_high"]
    wider = f"; with the population's uncertainty {low:.0f} to {high:.0f}"
    wider = wider if (low, high) != (own["low"], own["high"]) else ""
    return f"{own['expected']:.1f} (95 %: {own['low']:.0f} to {own['high']:.0f}{wider})"


def _percent(part):
    return f"{100 * part:.1f} %"
