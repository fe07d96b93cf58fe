"""How many lenses a search should find, beside what it found."""

import itertools
import json

import numpy as np
import pandas as pd

from lenspipe.candidates.area import area_deg2, searched_bricks
from lenspipe.completeness.expected.graded import read_found
from lenspipe.completeness.expected.parent_fraction import kept_part
from lenspipe.completeness.expected.plots import draw_expected
from lenspipe.completeness.expected.summary import summary_text
from lenspipe.completeness.expected.tables import model_population, read_population, truth_of_run
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.products.truth import QUOTED_ARC_SNR, QUOTED_THETA_E_ARCSEC
from lenspipe.statistics.metrics import EDGES
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["by_galaxies", "compare", "expect", "expect_lenses"]

#: Quantity that is binned -> edges.
_BINNED = {"theta_e": EDGES["theta_e"], "mag": EDGES["mag"]}


def expect_lenses(settings):
    """Say how many lenses the search should find, and compare with what it found.

    Writes ``expected/expected.csv``, ``expected.png`` and, last, ``expected.json``; the summary
    goes to the log.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        Section ``expected`` says which population.

    Returns
    -------
    str
        The summary.

    Raises
    ------
    LenspipeError
        The run has no selection function, or is of targets; the population can't be read or drawn.
    """
    if settings.targets:
        raise LenspipeError(
            "config key targets: found a list of positions, expected a footprint: how many lenses "
            "to find follows from an area; leave section expected out"
        )
    paths = settings.paths
    path = paths.selection("selection.fits")
    if not path.exists():
        raise LenspipeError(
            f"{path}: no such file, expected the selection function; set selection.number above 0 "
            "and run the workflow"
        )
    function = SelectionFunction.read(path)
    kept = kept_part(settings)
    if settings.expected.population:
        own = settings.expected.population
        population = read_population(own, settings, function, kept["part"])
    elif settings.simulation:
        population = truth_of_run(settings)
    else:
        population = model_population(settings, kept["part"])
    bricks = searched_bricks(settings)
    if population.places:
        bricks = bricks[bricks["brick"].isin(population.bricks)]
    result = expect(function, population, area_deg2(bricks), settings.survey.bands)
    result["n_bricks"] = len(bricks)
    edges, band = _BINNED["mag"], settings.survey.bands[-1]
    found = read_found(settings, edges, bricks["brick"] if population.places else None)
    if not population.places:
        result["kept"] = kept
    # Only lenses painted as the real sky has them carry weights of it.
    if not population.places and settings.selection.lenses == "real":
        painted = pd.read_parquet(paths.selection("injected.parquet"))
        result["by_galaxies"] = by_galaxies(function, painted, found.searched, edges, band)
    compare(result, found, population)
    pd.DataFrame(result["bins"]).pipe(_write_csv, paths.expected("expected.csv"))
    draw_expected(result, paths.expected("expected.png"), band)
    with atomic(paths.expected("expected.json")) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    text = summary_text(result)
    for line in text.splitlines():
        log.info("expected: %s", line)
    return text


def _write_csv(table, path):
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def expect(function, population, area, bands):
    """Expect numbers of lenses found.

    Parameters
    ----------
    function : lenspipe.completeness.selection_function.SelectionFunction
    population : lenspipe.completeness.expected.tables.Population
    area : float
        That was searched, square degrees.
    bands : sequence of str
        Of the search.

    Returns
    -------
    dict
        As ``expected.json`` has it (docs/outputs.md), without what was found. Numbers are None
        where it is not known how many lenses the population's rows stand for.

    Raises
    ------
    LenspipeError
        The population lacks a quantity that the function depends on.
    """
    table, where = population.table, population.name
    searched = population.kept > 0
    result = {"population": population.name, "area_deg2": area}
    if not searched.any():
        raise LenspipeError(
            f"{where}: found no lens whose galaxy the search has, of {len(table)}, expected one at "
            "least; check magnitudes against config section parent"
        )
    seen = table[searched].reset_index(drop=True)
    weights = None if population.weights is None else (population.weights * population.kept)
    weights = weights if weights is None else weights[searched]
    completeness = function.completeness(seen, where=where)
    each = population.kept[searched] if weights is None else weights
    part = completeness.mul(each, axis=0).sum() / each.sum()
    result["completeness"] = {name: float(part[name]) for name in ("completeness", "low", "high")}
    result["extrapolated"] = float(part["extrapolated"])
    values = {"theta_e": seen["theta_e_arcsec"], "mag": seen[f"mag_{bands[-1]}"]}
    if weights is None and not population.places:
        kept = float(population.kept.mean())
        numbers = dict.fromkeys(("on_sky_per_deg2", "searched_per_deg2", "expected_per_deg2"))
        numbers |= {"expected": None, "visible": None, "bins": []}
        return result | numbers | {"part_searched": kept}
    if weights is None:
        result["on_sky_per_deg2"] = len(table) / area
        result["searched_per_deg2"] = len(seen) / area
    else:
        result["on_sky_per_deg2"] = population.on_sky
        result["searched_per_deg2"] = float(weights.sum())
    numbers = each * completeness["completeness"].to_numpy()
    others = {n: f[searched] for n, f in (population.alternatives or {}).items()}
    spread, result["systematic"] = _systematic(numbers, others, weights is not None)
    weights = weights if weights is None else weights * area
    result["bins"] = []
    for name, edges in _BINNED.items():
        place = np.clip(np.digitize(values[name], edges) - 1, 0, len(edges) - 2)
        predicted = function.predict_number(seen, weights, place, where=where)
        total = _ranges(predicted.loc["all"], spread)
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            row = {"quantity": name, "from": low, "to": high if np.isfinite(high) else None}
            nothing = {"n": 0.0, "expected": 0.0, "low": 0.0, "high": 0.0}
            own = predicted.loc[i] if i in predicted.index else nothing
            result["bins"].append(row | {"n": float(own["n"])} | _ranges(own, spread))
    result["expected_per_deg2"] = total["expected"] / area
    result["expected"] = total
    result["visible"] = _of_quoted(function, seen, weights, spread, where)
    return result


def _of_quoted(function, lenses, weights, spread, where):
    """Numbers of the lenses on which completeness is quoted, which the function knows best."""
    if "arc_snr" not in lenses:
        return None
    quoted = lenses["theta_e_arcsec"] >= QUOTED_THETA_E_ARCSEC
    quoted = (quoted & (lenses["arc_snr"] >= QUOTED_ARC_SNR)).to_numpy()
    if not quoted.any():
        return {"n": 0.0} | _ranges(dict.fromkeys(("expected", "low", "high"), 0.0), spread)
    own = None if weights is None else weights[quoted]
    predicted = function.predict_number(lenses[quoted], own, where=where).loc["all"]
    return {"n": float(predicted["n"])} | _ranges(predicted, spread)


def _ranges(predicted, spread):
    """A predicted number with its interval by chance, and with that and the choices."""
    number, low, high = (float(predicted[name]) for name in ("expected", "low", "high"))
    return {
        "expected": number,
        "low": low,
        "high": high,
        "systematic_low": low * (1 + spread[0]),
        "systematic_high": high * (1 + spread[1]),
    }


def _systematic(numbers, others, drawn):
    """Relative changes by the model's choices, added up in quadrature, and one by one."""
    total = numbers.sum()
    changes = {name: float(numbers @ factors / total - 1) for name, factors in others.items()}
    if drawn and others:
        chance = float(1.96 * np.sqrt((numbers**2).sum()) / total)
        changes |= {"chance of the draws lower": -chance, "chance of the draws higher": chance}
    ends = [0.0, 0.0]
    choices = {}
    for name, change in changes.items():
        choices.setdefault(name.rpartition(" ")[0], []).append(change)
    for own in choices.values():
        ends[0] += min(0.0, *own) ** 2
        ends[1] += max(0.0, *own) ** 2
    return (max(-np.sqrt(ends[0]), -1.0), np.sqrt(ends[1])), changes


def compare(result, found, population):
    """Add what was found to what is expected, and whether the two are consistent.

    They are where the intervals overlap: of the number expected, by chance and what is not known of
    the selection function, and of the lenses among the candidates.

    Parameters
    ----------
    result : dict
        As of `expect`; changed.
    found : lenspipe.completeness.expected.graded.Found
    population : lenspipe.completeness.expected.tables.Population
    """
    result["found"] = found.lenses() | {"graded": found.graded}
    truth = None
    if population.places:
        radii = population.table.set_index("id")["theta_e_arcsec"]
        # Of merged galaxies either may be the lens.
        truth = found.table["id"].map(radii).fillna(found.table["best_id"].map(radii))
        result["found"]["true"] = int(truth.notna().sum())
    counts = itertools.count()
    for row in result["bins"]:
        low, high = row["from"], np.inf if row["to"] is None else row["to"]
        if row["quantity"] == "mag":
            chosen = ((found.table["mag"] >= low) & (found.table["mag"] < high)).to_numpy()
            row |= found.lenses(chosen, next(counts))
        else:
            row |= dict.fromkeys(("candidates", "found", "found_low", "found_high"))
        if truth is not None:
            values = truth if row["quantity"] == "theta_e" else found.table["mag"]
            row["true"] = int((truth.notna() & (values >= low) & (values < high)).sum())
    result["verdict"] = _verdict(result["expected"], result["found"])


def _verdict(expected, found):
    if expected is None:
        return "not known"
    if _overlap(expected["low"], expected["high"], found):
        return "consistent"
    if _overlap(expected["systematic_low"], expected["systematic_high"], found):
        return "consistent within the population's uncertainty"
    few = found["found_high"] < expected["low"]
    return f"not consistent: {'fewer' if few else 'more'} found than expected"


def _overlap(low, high, found):
    # A part of a lens is no disagreement.
    return found["found_low"] <= np.ceil(high) and found["found_high"] >= np.floor(low)


def by_galaxies(function, painted, searched, edges, band):
    """Expect lenses from the search's own galaxies, which needs no velocity dispersion function.

    Each painted lens stands for the lenses like it behind its galaxy (``weight``) and behind the
    galaxies of its bin of magnitude, of which some were painted on.

    Parameters
    ----------
    function : lenspipe.completeness.selection_function.SelectionFunction
    painted : pandas.DataFrame
        The lenses that it was fitted to, with weight.
    searched : (M,) int array
        Galaxies searched, in bins of magnitude.
    edges : sequence of float
        Of these bins.
    band : str
        Of the magnitude.

    Returns
    -------
    dict
        ``theta_e_range`` (arcsec), ``lenses`` behind the galaxies, and how many of these to find:
        ``expected``, ``low``, ``high`` (95 %, as of `expect`, with the chance of the draws).
    """
    painted = painted[np.isfinite(painted["weight"]) & painted[f"mag_{band}"].notna()]
    place = np.clip(np.digitize(painted[f"mag_{band}"], edges) - 1, 0, len(edges) - 2)
    number = np.bincount(place, minlength=len(searched))
    weights = painted["weight"].to_numpy() * (searched / np.maximum(number, 1))[place]
    where = "painted lenses"
    found = weights * function.completeness(painted, where=where)["completeness"].to_numpy()
    own = function.predict_number(painted, weights, where=where).loc["all"]
    # A few lenses stand for many.
    chance = 1.96 * np.sqrt((found**2).sum())
    low, high = (
        own["expected"] + sign * np.hypot(own["expected"] - own[end], chance)
        for end, sign in (("low", -1), ("high", 1))
    )
    return {
        "theta_e_range": [float(f(painted["theta_e_arcsec"])) for f in (np.min, np.max)],
        "lenses": float(weights.sum()),
        "expected": float(own["expected"]),
        "low": float(max(low, 0)),
        "high": float(high),
    }
