"""Measure how often the 95 % intervals that lenspipe prints contain the truth, by simulation.

Each quantity is simulated for a small, a middle and a large sample: scores of lenses and non-lenses
from normal distributions, counts from binomial ones, grades of images by a latent quality with
errors of each grader, and lenses injected into galaxies in bricks, with a smooth function and
shifts that galaxies share. True rates are drawn anew each time, so that coverage is an average over
them. `--draws` is the number of samples for each; selection functions are fitted to a tenth of that
number. `--json` prints one flat object, with the lowest coverage as ``worst_coverage``;
otherwise the table of docs/statistics.md. Takes about ten minutes on one core.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator

if __name__ != "__main__":
    # Numba uses the package of this name where it is installed; scripts beside this one find this.
    raise ImportError("benchmarks/coverage.py is a script, not the package coverage")

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.special import expit  # noqa: E402
from scipy.stats import norm  # noqa: E402

from lenspipe.completeness.cells import measure_cells  # noqa: E402
from lenspipe.completeness.expected.graded import GradedCandidates  # noqa: E402
from lenspipe.completeness.quantities import selection_quantities  # noqa: E402
from lenspipe.completeness.selection_function import SelectionFunction  # noqa: E402
from lenspipe.evaluation.purity.counting import above, thresholds_with  # noqa: E402
from lenspipe.inspection.agreement import krippendorff_alpha  # noqa: E402
from lenspipe.products.scores import Cuts  # noqa: E402
from lenspipe.statistics.intervals import (  # noqa: E402
    Estimate,
    estimate_fraction,
    fraction_interval,
    purity_at,
    purity_interval,
)
from lenspipe.statistics.metrics import (  # noqa: E402
    auc_interval,
    completeness_at_fpr,
    completeness_at_true_rate,
    completeness_of_counts,
)

SIZES = ("small", "middle", "large")

#: Standard deviations between scores of lenses and of non-lenses.
_SEPARATION = 2.5

_PRIOR = 1e-4

#: Relative width of the range of true values, in either direction.
_RANGE = 0.7

#: A result: whether the interval contains the truth, and its width.
Result = tuple[bool, float]

Rng = np.random.Generator


def _result(interval: Estimate, truth: float) -> Result:
    _, low, high = interval
    if low is None or high is None:
        return True, np.nan
    return bool(low - 1e-12 <= truth <= high + 1e-12), high - low


def _around(rng: Rng, value: float) -> float:
    return float(value * np.exp(rng.uniform(-_RANGE, _RANGE)))


def rate_at_cut(rng: Rng, n: int, rate: float) -> Result:
    """False-positive rate at a given cut."""
    truth = _around(rng, rate)
    return _result(estimate_fraction(int(rng.binomial(n, truth)), n), truth)


def completeness_at_cut(rng: Rng, n: int, value: float) -> Result:
    """Completeness at a given cut, and with it the yield."""
    truth = rng.uniform(value - 0.1, value + 0.1)
    return _result(estimate_fraction(int(rng.binomial(n, truth)), n), truth)


def rate_at_placed_cut(rng: Rng, n: int, rate: float) -> Result:
    """False-positive rate at a cut that a requested part of the non-lenses passes."""
    scores = rng.normal(size=n)
    _, cut = completeness_at_fpr([], scores, rate)
    assert cut is not None
    return _result(fraction_interval(scores > cut, 1), norm.sf(cut))


def purity_at_cut(rng: Rng, m: int, n: int, rate: float) -> Result:
    """Purity at a given cut."""
    c, f = rng.uniform(0.6, 0.9), _around(rng, rate)
    found, passed = int(rng.binomial(m, c)), int(rng.binomial(n, f))
    rates = estimate_fraction(found, m), estimate_fraction(passed, n)
    return _purity(rates, c, f)


def purity_at_placed_cut(rng: Rng, m: int, n: int, rate: float) -> Result:
    """Purity at a cut that a requested part of the non-lenses passes."""
    lenses, nonlenses = rng.normal(_SEPARATION, 1, m), rng.normal(size=n)
    _, cut = completeness_at_fpr([], nonlenses, rate)
    rates = fraction_interval(lenses > cut), fraction_interval(nonlenses > cut, 1)
    return _purity(rates, norm.sf(cut - _SEPARATION), norm.sf(cut))


def _purity(rates: tuple[Estimate, Estimate], c: float, f: float) -> Result:
    value, low, high = purity_interval(*rates, _PRIOR)
    assert low is not None
    assert high is not None
    return _result((value or 0.0, low, high), purity_at(c, f, _PRIOR))


def completeness_at_rate(rng: Rng, m: int, n: int, rate: float) -> Result:
    """Completeness at a true false-positive rate, and with it purity there."""
    lenses, nonlenses = rng.normal(_SEPARATION, 1, m), rng.normal(size=n)
    truth = norm.sf(norm.isf(rate) - _SEPARATION)
    return _result(completeness_at_true_rate(lenses, nonlenses, rate), truth)


def _binned(rng: Rng, m: int, n: int, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds of purity.json, and the lenses and non-lenses at or above each."""
    thresholds = thresholds_with(Cuts((), {})).astype(float)
    scores = (expit(2 * rng.normal(x, 1, size) - 4) for x, size in ((_SEPARATION, m), (0, n)))
    counts = (np.histogram(p, [-1, *thresholds, 2])[0] for p in scores)
    return (thresholds, *map(above, counts))


def rate_at_threshold(rng: Rng, m: int, n: int, rate: float) -> Result:
    """Rate of a search's galaxies at the threshold that was chosen for a requested rate."""
    thresholds, _, passed = _binned(rng, m, n, rate)
    i = np.flatnonzero(passed <= rate * n + 1e-9)[0]
    p = thresholds[i]
    truth = norm.sf((np.log(p / (1 - p)) + 4) / 2)
    return _result(estimate_fraction(int(passed[i]), n, 1), truth)


def completeness_at_rate_of_search(rng: Rng, m: int, n: int, rate: float) -> Result:
    """Completeness at a true rate of a search's galaxies, from counts."""
    _, found, passed = _binned(rng, m, n, rate)
    truth = norm.sf(norm.isf(rate) - _SEPARATION)
    return _result((0.0, *completeness_of_counts(found, passed, m, n, rate)), truth)


def area(rng: Rng, m: int, n: int, separation: float) -> Result:
    """Area under the ROC curve, galaxies independent."""
    interval = auc_interval(rng.normal(separation, 1, m), rng.normal(size=n))
    return _result(interval, norm.cdf(separation / np.sqrt(2)))


def area_by_bricks(rng: Rng, bricks: int, per_brick: int) -> Result:
    """Area under the ROC curve, where bricks shift the scores of lenses by 0.5."""
    of_lenses, others = (np.repeat(np.arange(bricks), k * per_brick) for k in (1, 4))
    shift = rng.normal(0, 0.5, bricks)
    lenses = rng.normal(2, 1, len(of_lenses)) + shift[of_lenses]
    interval = auc_interval(lenses, rng.normal(size=len(others)), (of_lenses, others))
    return _result(interval, norm.cdf(2 / np.sqrt(2 + 0.25)))


_GRADE_EDGES = (0.2, 0.9, 1.6)


def _draw_grades(rng: Rng, n: int, graders: int, error: float) -> np.ndarray:
    seen = rng.normal(size=(n, 1)) + rng.normal(0, error, (n, graders))
    grades = np.searchsorted(_GRADE_EDGES, seen)
    return np.stack([(grades == i).sum(axis=1) for i in range(4)], axis=1)


_TRUE_ALPHA: dict[tuple[int, float], float] = {}


def agreement(rng: Rng, n: int, graders: int, error: float) -> Result:
    """Krippendorff's alpha of grades."""
    if (key := (graders, error)) not in _TRUE_ALPHA:
        alpha, _, _ = krippendorff_alpha(_draw_grades(rng, 200_000, *key))
        assert alpha is not None
        _TRUE_ALPHA[key] = alpha
    return _result(krippendorff_alpha(_draw_grades(rng, n, graders, error)), _TRUE_ALPHA[key])


def lenses_among_candidates(rng: Rng, n: int, searched: int, rate: float) -> Result:
    """Lenses among candidates, less the false positives of a rate measured on n galaxies."""
    f = _around(rng, rate)
    measured = estimate_fraction(int(rng.binomial(n, f)), n)
    lenses, false = 200, int(rng.binomial(searched, f))
    table = pd.DataFrame({"grade": [""] * (lenses + false)})
    rates = tuple(value or 0.0 for value in measured)
    row = GradedCandidates(table, rates, np.array([searched])).count_lenses()
    return _result((row["found"], row["found_low"], row["found_high"]), lenses)


QUANTITIES = selection_quantities("grz", "arc_snr")
_BINS = {"theta_e": 4, "brightness": 4, "seeing": 1, "depth": 1, "mag": 2}
_SHIFT = 0.8


def _draw_lenses(rng: Rng, number: int, per_galaxy: int, bricks: int) -> pd.DataFrame:
    n_galaxies = -(-number // per_galaxy)
    host = np.arange(number) % n_galaxies
    brick = host % bricks
    seeing, depth = rng.uniform(1.1, 1.7, bricks)[brick], rng.uniform(23.6, 24.6, bricks)[brick]
    return pd.DataFrame(
        {
            "id": host,
            "brick": brick.astype(str),
            "theta_e_arcsec": rng.uniform(0.5, 3, number),
            "arc_snr": 10 ** rng.uniform(0.5, 2.3, number),
            "psfsize_g": seeing,
            "depth_g": depth,
            "mag_z": rng.uniform(17, 20, n_galaxies)[host],
        }
    )


def _logit(table: pd.DataFrame) -> np.ndarray:
    x, y = table["theta_e_arcsec"].to_numpy(), np.log10(table["arc_snr"].to_numpy())
    rise = 3 * np.tanh(1.5 * (x - 1.2)) + 3 * (y - 1.4)
    return rise - 2 * (table["psfsize_g"].to_numpy() - 1.4) + (table["depth_g"].to_numpy() - 24)


def _mean_chance(table: pd.DataFrame) -> np.ndarray:
    """Chance that each lens is found, averaged over the shifts of galaxies."""
    x, weights = np.polynomial.hermite_e.hermegauss(15)
    chances = expit(_logit(table)[:, None] + _SHIFT * x)
    return chances @ weights / weights.sum()


def selection_intervals(rng: Rng, number: int) -> Iterator[tuple[str, Result]]:
    """Intervals of a selection function that is fitted to lenses, four on each galaxy."""
    table = _draw_lenses(rng, number, 4, 40)
    shift = rng.normal(0, _SHIFT, table["id"].nunique())[table["id"]]
    table["found"] = rng.random(number) < expit(_logit(table) + shift)
    function = SelectionFunction.fit(table, QUANTITIES, 22.5)
    lenses = _draw_lenses(rng, 300, 1, 300)
    chance = _mean_chance(lenses)
    radii = pd.qcut(lenses["theta_e_arcsec"], 4, labels=False).to_numpy()
    for names, groups in ((["mean completeness"], np.zeros(300, int)), (_QUARTERS, radii)):
        means = function.mean_completeness(lenses, groups)
        truth = np.bincount(groups, chance) / np.bincount(groups)
        for name, low, high, value in zip(names, means["low"], means["high"], truth, strict=True):
            yield name, _result((0.0, low, high), value)
    row, weights = function.predict_number(lenses).loc["all"], np.full(300, 0.3)
    for found in (rng.random((_DRAWS_PER_FIT, 300)) < chance).sum(axis=1):
        yield "expected number of lenses", _result((0.0, row["low"], row["high"]), found)
    row = function.predict_number(lenses, weights).loc["all"]
    for found in rng.poisson(weights @ chance, _DRAWS_PER_FIT):
        yield "expected number of a population", _result((0.0, row["low"], row["high"]), found)
    one = function.completeness(lenses)
    for i in range(0, 300, 10):
        ends = one["low"].iloc[i], one["high"].iloc[i]
        yield "completeness of a lens", _result((0.0, *ends), chance[i])
    yield from _cells(table, function)


def _cells(table: pd.DataFrame, function: SelectionFunction) -> Iterator[tuple[str, Result]]:
    cells = measure_cells(table, function, _BINS)
    truth = measure_cells(table, _True(function), _BINS)
    full = cells["n_painted"] >= 5
    names = ["completeness_low", "completeness_high"]
    rows = cells.loc[full, names].to_numpy()
    for (low, high), value in zip(rows, truth.loc[full, "model"], strict=True):
        yield "completeness of a cell", _result((0.0, low, high), value)


class _True(SelectionFunction):
    """The function that lenses were drawn from, in place of a fitted one."""

    def __init__(self, function: SelectionFunction) -> None:
        super().__init__(**vars(function))

    def mean_completeness(
        self, table: pd.DataFrame, groups: np.ndarray, *args: object, **kwargs: object
    ) -> pd.DataFrame:
        """Mean of the true completeness."""
        mean = np.bincount(groups, _mean_chance(table)) / np.bincount(groups)
        columns = dict.fromkeys(("completeness", "low", "high"), mean)
        return pd.DataFrame(columns, index=range(len(mean)))


#: Name -> function and its arguments for each of `SIZES`.
SIMULATIONS: dict[str, tuple[Callable[..., Result], list[tuple]]] = {
    "false-positive rate at a cut": (
        rate_at_cut,
        [(100, 0.03), (3000, 0.003), (100_000, 1e-3)],
    ),
    "false-positive rate at a cut placed for a rate": (
        rate_at_placed_cut,
        [(100, 0.05), (306, 0.01), (20_000, 1e-3)],
    ),
    "false-positive rate at a threshold chosen for it": (
        rate_at_threshold,
        [(1, 1000, 1e-3), (1, 3000, 1e-2), (1, 100_000, 1e-2)],
    ),
    "completeness at a cut, yield": (completeness_at_cut, [(20, 0.8), (160, 0.8), (2000, 0.5)]),
    "completeness at a true rate": (
        completeness_at_rate,
        [(30, 400, 0.1), (160, 1000, 0.01), (1400, 3400, 0.01)],
    ),
    "completeness at a true rate that few measure": (
        completeness_at_rate,
        [(30, 300, 0.01), (160, 306, 0.01), (500, 3400, 1e-3)],
    ),
    "completeness at a true rate, of a search": (
        completeness_at_rate_of_search,
        [(30, 1000, 1e-2), (160, 10_000, 1e-3), (1400, 50_000, 1e-2)],
    ),
    "purity at a cut": (
        purity_at_cut,
        [(30, 300, 0.02), (160, 3000, 5e-3), (1400, 50_000, 1e-3)],
    ),
    "purity at a cut placed for a rate": (
        purity_at_placed_cut,
        [(30, 100, 0.05), (160, 306, 0.01), (1400, 20_000, 1e-3)],
    ),
    "lenses among candidates": (
        lenses_among_candidates,
        [(300, 1500, 0.02), (2500, 10_000, 0.005), (50_000, 200_000, 5e-4)],
    ),
    "area under the ROC curve": (area, [(20, 40, 1.5), (160, 400, 2.5), (1400, 3400, 2.5)]),
    "area under the ROC curve, by bricks": (area_by_bricks, [(10, 10), (30, 10), (200, 10)]),
    "agreement of graders": (agreement, [(20, 2, 0.5), (50, 3, 0.5), (200, 2, 0.2)]),
}

#: Injected lenses for `selection_intervals`, in the order of `SIZES`.
N_INJECTED = (500, 1500, 4000)

#: Lenses by Einstein radius.
_QUARTERS = [f"mean completeness, quarter {i} of theta_E" for i in (1, 2, 3, 4)]

#: Samples per fit of a selection function.
_DRAWS_PER_FIT = 10


def measure(draws: int, selection_only: bool) -> dict[str, dict[str, tuple[float, float]]]:
    """Coverage and mean width of each interval, by name and size."""
    rng = np.random.default_rng(1)
    results: dict[str, dict[str, tuple[float, float]]] = {}
    for name, (function, arguments) in ({} if selection_only else SIMULATIONS).items():
        for size, values in zip(SIZES, arguments, strict=True):
            rows = np.array([function(rng, *values) for _ in range(draws)], float)
            results.setdefault(name, {})[size] = _mean(rows)
    for size, number in zip(SIZES, N_INJECTED, strict=True):
        collected: dict[str, list[Result]] = {}
        for _ in range(-(-draws // _DRAWS_PER_FIT)):
            for name, row in selection_intervals(rng, number):
                collected.setdefault(name, []).append(row)
        for name, each in collected.items():
            results.setdefault(name, {})[size] = _mean(np.array(each, float))
    return results


def _mean(rows: np.ndarray) -> tuple[float, float]:
    coverage, width = np.nanmean(rows, axis=0)
    return float(coverage), float(width)


def main() -> None:
    """Print the table, or one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000, help="samples for each interval")
    parser.add_argument(
        "--selection-only", action="store_true", help="only intervals of selection functions"
    )
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    options = parser.parse_args()
    results = measure(options.draws, options.selection_only)
    lowest = min(value for row in results.values() for value, _ in row.values())
    if options.json:
        flat: dict[str, float] = {"draws": options.draws, "worst_coverage": lowest}
        for name, row in results.items():
            for size, (coverage, width) in row.items():
                key = f"{name} {size}".replace(",", "").replace("-", " ").replace(" ", "_")
                flat |= {f"{key}_coverage": coverage, f"{key}_width": width}
        print(json.dumps(flat))
        return
    print("| interval of | small | middle | large |\n|---|---|---|---|")
    for name, row in results.items():
        cells = (f"{100 * row[size][0]:.1f} ({row[size][1]:.2g})" for size in SIZES)
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nlowest: {100 * lowest:.1f} %")


if __name__ == "__main__":
    main()
