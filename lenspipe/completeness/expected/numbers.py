"""How many lenses a search should find, and how many it found."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.candidates.area import area_deg2, searched_bricks
from lenspipe.completeness.expected.graded import GradedCandidates, read_graded_candidates
from lenspipe.completeness.expected.parent_fraction import parent_fraction
from lenspipe.completeness.expected.plots import plot_expected
from lenspipe.completeness.expected.summary import format_summary
from lenspipe.completeness.expected.tables import (
    Population,
    model_population,
    read_conditions,
    read_population,
    simulated_population,
)
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.config.settings import Settings
from lenspipe.products.files import require, write_json
from lenspipe.products.tables import read_table, write_table
from lenspipe.products.truth import held_out_bricks
from lenspipe.statistics.intervals import Z_SCORE
from lenspipe.statistics.metrics import PROPERTY_BINS
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = [
    "compare_with_candidates",
    "expect_lenses",
    "expected_from_galaxies",
    "expected_numbers",
]

#: Edges of the bins of each quantity that numbers are given by.
_BIN_EDGES = {"theta_e": PROPERTY_BINS["theta_e"], "mag": PROPERTY_BINS["mag"]}


def expect_lenses(settings: Settings, folder: Path | None = None) -> str:
    """Predict how many lenses the search should find, and compare with how many it found.

    The population is that of config section ``expected``. Writes ``expected.csv``,
    ``expected.png`` and, last, ``expected.json`` in a folder, ``expected/`` of the run if not
    given; the returned summary is also logged.

    Raises
    ------
    LenspipeError
        The run has no selection function, or is of targets; the population can't be read or drawn.
    """
    if settings.targets:
        raise LenspipeError(
            "config key targets: found a list of positions, expected a footprint: the expected "
            "number of lenses requires an area; leave section expected out"
        )
    paths, bands = settings.paths, settings.survey.bands
    path = paths.selection("selection.fits")
    require(path, "selection_function", "set selection.number above 0 if it is 0")
    function = SelectionFunction.read(path, settings.release.zero_point_mag)
    fraction = parent_fraction(paths.audit, settings.parent.types, settings.release.types)
    population = _choose_population(settings, function, fraction["part"])
    bricks = searched_bricks(paths, brick_grid(settings.release.brick_deg))
    if population.has_positions:
        bricks = bricks[bricks["brick"].isin(population.bricks)]
    area = area_deg2(bricks, settings.release.brick_deg)
    result = expected_numbers(function, population, area, bands)
    result["n_bricks"] = len(bricks)
    candidates = read_graded_candidates(
        paths,
        bands[-1],
        _BIN_EDGES["mag"],
        settings.candidates.reject_flags,
        bricks["brick"] if population.has_positions else None,
    )
    if not population.has_positions:
        result["kept"] = fraction
        injected = read_table(paths.selection("injected.parquet"), "injected_lenses")
        result["by_galaxies"] = expected_from_galaxies(
            function, injected, candidates.n_searched, _BIN_EDGES["mag"], bands[-1]
        )
    compare_with_candidates(result, candidates, population)
    folder = folder or paths.expected("")
    write_table(folder / "expected.csv", pd.DataFrame(result["bins"]))
    plot_expected(result, folder / "expected.png", bands[-1])
    write_json(folder / "expected.json", result)
    text = format_summary(result)
    for line in text.splitlines():
        log.info("expected: %s", line)
    return text


def _choose_population(
    settings: Settings, function: SelectionFunction, fraction: float
) -> Population:
    """The user's table, the truth of a simulated sky, or else the model."""
    paths, bands, path = settings.paths, settings.survey.bands, settings.expected.population
    if path is None and settings.simulation:
        return simulated_population(paths, bands, held_out_bricks(paths, settings.held_out))
    release = settings.release
    hosts = read_conditions(paths, bands, settings.seed, release.zero_point_mag)
    if path is None:
        return model_population(
            hosts,
            bands,
            seed=settings.seed,
            draws=settings.expected.draws,
            size=settings.cutouts.size,
            release=release,
            parent_fraction=fraction,
            mag_max=settings.parent.mag_z_max,
        )
    return read_population(
        path,
        function,
        hosts,
        bands,
        seed=settings.seed,
        parent_fraction=fraction,
        mag_max=settings.parent.mag_z_max if bands[-1] == "z" else np.inf,
        area_deg2=settings.expected.area_deg2,
    )


def expected_numbers(
    function: SelectionFunction, population: Population, area: float, bands: Sequence[str]
) -> dict[str, Any]:
    """Compute the expected numbers of lenses found in an area, square degrees.

    Return the content of ``expected.json`` (docs/outputs.md) without numbers found. Numbers are
    None if it is unknown how many lenses the population's rows stand for.

    Raises
    ------
    LenspipeError
        The population lacks a quantity that the function depends on.
    """
    table, where = population.table, population.name
    searched = population.in_parent > 0
    result: dict[str, Any] = {"population": population.name, "area_deg2": area}
    if not searched.any():
        raise LenspipeError(
            f"{where}: found no lens whose galaxy the search includes, of {len(table)}, expected "
            "at least one; check magnitudes against config section parent"
        )
    lenses = table[searched].reset_index(drop=True)
    weights = None
    if population.weights is not None:
        weights = (population.weights * population.in_parent)[searched]
    completeness = function.completeness(lenses, where=where)
    per_row = population.in_parent[searched] if weights is None else weights
    together = np.zeros(len(lenses), int)
    mean = function.mean_completeness(lenses, together, per_row, where).loc[0]
    result["completeness"] = {name: float(mean[name]) for name in ("completeness", "low", "high")}
    result["extrapolated"] = float(completeness["extrapolated"] @ per_row / per_row.sum())
    if weights is None and not population.has_positions:
        keys = ("on_sky_per_deg2", "searched_per_deg2", "expected_per_deg2", "expected", "visible")
        part_searched = float(population.in_parent.mean())
        return result | dict.fromkeys(keys) | {"bins": [], "part_searched": part_searched}
    if weights is None:
        result["on_sky_per_deg2"] = len(table) / area
        result["searched_per_deg2"] = len(lenses) / area
    else:
        result["on_sky_per_deg2"] = population.on_sky
        result["searched_per_deg2"] = float(weights.sum())
    numbers = per_row * completeness["completeness"].to_numpy()
    factors = {name: f[searched] for name, f in (population.alternatives or {}).items()}
    result["systematic"] = _relative_changes(numbers, factors, weights is not None)

    def spread(rows: np.ndarray | slice) -> tuple[float, float]:
        """Relative changes of the number of some lenses by all assumptions, down and up."""
        own = {name: factor[rows] for name, factor in factors.items()}
        return _combine(_relative_changes(numbers[rows], own, weights is not None))

    weights = None if weights is None else weights * area
    values = {"theta_e": lenses["theta_e_arcsec"], "mag": lenses[f"mag_{bands[-1]}"]}
    result["bins"] = []
    for name, edges in _BIN_EDGES.items():
        bins = np.clip(np.digitize(values[name], edges) - 1, 0, len(edges) - 2)
        predicted = function.predict_number(lenses, weights, bins, where=where)
        total = _with_systematics(predicted.loc["all"], spread(slice(None)))
        empty = {"n": 0.0, "expected": 0.0, "low": 0.0, "high": 0.0}
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            row = {"quantity": name, "from": low, "to": high if np.isfinite(high) else None}
            in_bin = predicted.loc[i] if i in predicted.index else empty
            row |= {"n": float(in_bin["n"])} | _with_systematics(in_bin, spread(bins == i))
            result["bins"].append(row)
    result["expected_per_deg2"] = total["expected"] / area
    result["expected"] = total
    result["visible"] = _expect_visible(function, lenses, weights, spread, where)
    return result


def _expect_visible(
    function: SelectionFunction,
    lenses: pd.DataFrame,
    weights: np.ndarray | None,
    spread: Callable[[np.ndarray], tuple[float, float]],
    where: str,
) -> dict[str, float] | None:
    """Expected number of visible lenses, which the function describes best."""
    if "visible" not in lenses:
        return None
    visible = lenses["visible"].to_numpy(bool)
    if not visible.any():
        zero = dict.fromkeys(("expected", "low", "high"), 0.0)
        return {"n": 0.0} | _with_systematics(zero, (0.0, 0.0))
    weights = None if weights is None else weights[visible]
    predicted = function.predict_number(lenses[visible], weights, where=where).loc["all"]
    return {"n": float(predicted["n"])} | _with_systematics(predicted, spread(visible))


def _with_systematics(
    predicted: Mapping[str, float], systematic: tuple[float, float]
) -> dict[str, float]:
    """A predicted number with its interval by chance, and with that and the systematics."""
    number, low, high = (float(predicted[name]) for name in ("expected", "low", "high"))
    return {
        "expected": number,
        "low": low,
        "high": high,
        "systematic_low": low * (1 + systematic[0]),
        "systematic_high": high * (1 + systematic[1]),
    }


def _relative_changes(
    numbers: np.ndarray, factors: Mapping[str, np.ndarray], has_weights: bool
) -> dict[str, float]:
    """Relative change of the expected number with each assumption, and by the finite draws."""
    total = numbers.sum()
    if not total:
        return {}
    changes = {name: float(numbers @ f / total - 1) for name, f in factors.items()}
    if has_weights and factors:
        chance = float(Z_SCORE * np.sqrt((numbers**2).sum()) / total)
        changes |= {"chance of the draws lower": -chance, "chance of the draws higher": chance}
    return changes


def _combine(changes: Mapping[str, float]) -> tuple[float, float]:
    """Relative changes added in quadrature, downwards and upwards."""
    assumptions: dict[str, list[float]] = {}
    for name, change in changes.items():
        # Names that differ only in their last word are the two directions of one assumption.
        assumptions.setdefault(name.rpartition(" ")[0], []).append(change)
    low2, high2 = 0.0, 0.0
    for both in assumptions.values():
        low2 += min(0.0, *both) ** 2
        high2 += max(0.0, *both) ** 2
    return max(-np.sqrt(low2), -1.0), np.sqrt(high2)


def compare_with_candidates(
    result: dict[str, Any], candidates: GradedCandidates, population: Population
) -> None:
    """Add the numbers found to those expected, and whether the two are consistent.

    They are if the intervals overlap: that of the number expected, from chance and the uncertainty
    of the selection function, and that of the lenses among the candidates. `result`, as returned by
    `expected_numbers`, is modified.
    """
    result["found"] = candidates.count_lenses() | {"graded": candidates.graded}
    table = candidates.table
    true_radii = None
    if population.has_positions:
        radii = population.table.set_index("id")["theta_e_arcsec"]
        # Either of two merged galaxies may be the lens.
        true_radii = table["id"].map(radii).fillna(table["best_id"].map(radii))
        result["found"]["true"] = int(true_radii.notna().sum())
    mag_bins = itertools.count()
    for row in result["bins"]:
        low, high = row["from"], np.inf if row["to"] is None else row["to"]
        if row["quantity"] == "mag":
            in_bin = ((table["mag"] >= low) & (table["mag"] < high)).to_numpy()
            row |= candidates.count_lenses(in_bin, next(mag_bins))
        else:
            row |= dict.fromkeys(("candidates", "found", "found_low", "found_high"))
        if true_radii is not None:
            values = true_radii if row["quantity"] == "theta_e" else table["mag"]
            row["true"] = int((true_radii.notna() & (values >= low) & (values < high)).sum())
    result["verdict"] = _verdict(result["expected"], result["found"])


def _verdict(expected: Mapping[str, float] | None, found: Mapping[str, Any]) -> str:
    if expected is None:
        return "not known"
    if _overlap(expected["low"], expected["high"], found):
        return "consistent"
    if _overlap(expected["systematic_low"], expected["systematic_high"], found):
        return "consistent within the population's uncertainty"
    few = found["found_high"] < expected["low"]
    return f"not consistent: {'fewer' if few else 'more'} found than expected"


def _overlap(low: float, high: float, found: Mapping[str, Any]) -> bool:
    # A difference of less than one lens is no disagreement.
    return found["found_low"] <= np.ceil(high) and found["found_high"] >= np.floor(low)


def expected_from_galaxies(
    function: SelectionFunction,
    injected: pd.DataFrame,
    n_searched: np.ndarray,
    edges: Sequence[float],
    band: str,
) -> dict[str, Any]:
    """Predict lenses from the search's own galaxies, without a velocity dispersion function.

    Each injected lens stands for the lenses like it behind a galaxy of its magnitude (``weight``),
    and its galaxy for all galaxies of its bin of magnitude. Keys are ``theta_e_range`` (arcsec),
    ``lenses`` behind the galaxies, and how many of these should be found: ``expected``, ``low``,
    ``high`` (95 %, including the scatter of the finite sample of injected lenses).

    Parameters
    ----------
    injected
        The lenses that the function was fitted to, with weight.
    n_searched
        Galaxies searched, in bins of magnitude in the band.
    edges
        Of these bins.
    """
    injected = injected[np.isfinite(injected["weight"]) & injected[f"mag_{band}"].notna()]
    bins = np.clip(np.digitize(injected[f"mag_{band}"], edges) - 1, 0, len(edges) - 2)
    n_injected = np.bincount(bins, minlength=len(n_searched))
    weights = injected["weight"].to_numpy() * (n_searched / np.maximum(n_injected, 1))[bins]
    where = "injected lenses"
    numbers = weights * function.completeness(injected, where=where)["completeness"].to_numpy()
    predicted = function.predict_number(injected, weights, where=where).loc["all"]
    # A few injected lenses stand for many.
    scatter = Z_SCORE * np.sqrt((numbers**2).sum())
    low, high = (
        predicted["expected"] + sign * np.hypot(predicted["expected"] - predicted[end], scatter)
        for end, sign in (("low", -1), ("high", 1))
    )
    return {
        "theta_e_range": [float(f(injected["theta_e_arcsec"])) for f in (np.min, np.max)],
        "lenses": float(weights.sum()),
        "expected": float(predicted["expected"]),
        "low": float(max(low, 0)),
        "high": float(high),
    }
