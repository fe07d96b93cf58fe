"""Change the code of the statistics at random places and see which changes the tests notice.

Mutants are cosmic-ray's (``pip install cosmic-ray``): another operator of arithmetic or comparison,
a number larger or smaller by 1, a condition reversed, True for False. In each module places are
drawn at random, and at each place one of its mutants. Each runs in a process of its own, forked
from one that has imported the libraries, so that no file is changed; tests stop at the first that
fails. Printed are the mutants that survive, and for each module how many were killed: by a test
that failed, or that took more than three times as long as before, or as the module could not be
imported.

    python benchmarks/mutants.py --output mutants.json                # all modules
    python benchmarks/mutants.py --modules statistics/intervals.py
    python benchmarks/mutants.py --again mutants.json                 # survivors, after new tests

About three seconds a mutant on one core.
"""

import argparse
import difflib
import functools
import importlib
import importlib.machinery
import json
import multiprocessing
import os
import re
import shlex
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Tests of several modules that take seconds, none of which needs TensorFlow; arguments of pytest.
_SELECTION = (
    "tests/completeness/test_selection.py -k 'not figures and not fifty and not run and not "
    "redder and not region and not command'"
)
_CANDIDATES = "tests/candidates/test_candidates_threshold.py -k 'not memory'"
_PURITY = "tests/evaluation/test_purity.py -k 'not memory and not figure and not unreadable'"
_RECOVERY = (
    "tests/evaluation/test_recovery.py -k 'not published and not wrong_use and not other_people'"
)

#: Module below lenspipe/ -> number of mutants, and the fast tests of the module.
MODULES = {
    "statistics/intervals.py": (30, "tests/statistics/test_intervals.py"),
    "statistics/metrics.py": (
        16,
        "tests/statistics/test_metrics.py tests/statistics/test_intervals.py",
    ),
    "statistics/association.py": (
        8,
        "tests/checks/test_checks.py tests/evaluation/test_search_evaluation.py "
        "-k 'association or patches or few_bricks'",
    ),
    "statistics/balance.py": (10, "tests/statistics/test_balance.py"),
    "statistics/calibration.py": (10, "tests/statistics/test_calibration.py"),
    "statistics/choice.py": (12, "tests/statistics/test_choice.py"),
    "statistics/gain.py": (8, "tests/statistics/test_gain.py"),
    "statistics/two_sample.py": (
        8,
        "tests/completeness/test_realism.py -k 'populations or group or area or rings'",
    ),
    "statistics/votes.py": (10, "tests/statistics/test_votes.py"),
    "completeness/fitting.py": (15, _SELECTION),
    "completeness/splines.py": (10, _SELECTION),
    "completeness/selection_function.py": (15, _SELECTION),
    "completeness/cells.py": (10, _SELECTION),
    "completeness/quantities.py": (8, _SELECTION),
    "completeness/prediction.py": (
        10,
        "tests/completeness/test_selection.py -k 'planted or near or thinned or redder or run'",
    ),
    "completeness/measure.py": (
        8,
        "tests/completeness/test_selection.py "
        "-k 'measurement or half_completeness or near or thinned or flagged'",
    ),
    "completeness/expected/brightness.py": (
        15,
        "tests/completeness/test_brightness.py tests/completeness/test_expected.py "
        "-k 'brightness or spots or against_brute'",
    ),
    "completeness/expected/deflectors.py": (
        10,
        "tests/completeness/test_expected.py "
        "-k 'dispersion or optical or against_brute or magnitudes or cross_section'",
    ),
    "completeness/expected/graded.py": (
        10,
        "tests/completeness/test_expected.py tests/completeness/test_expected_intervals.py "
        "-k 'false or grades or candidates'",
    ),
    "completeness/expected/numbers.py": (
        15,
        "tests/completeness/test_expected.py tests/completeness/test_expected_intervals.py "
        "-k 'scale or widen or systematic or draws or injected or too_many or found or sky'",
    ),
    "completeness/expected/parent_fraction.py": (
        8,
        "tests/completeness/test_expected.py -k 'parent_sample or cuts_removed'",
    ),
    "completeness/expected/population.py": (
        12,
        "tests/completeness/test_expected.py "
        "-k 'against_brute or optical or alternative or reweighted or colours'",
    ),
    "completeness/expected/tables.py": (
        12,
        "tests/completeness/test_expected.py -k 'not published and not any_format'",
    ),
    "candidates/threshold.py": (12, _CANDIDATES),
    "candidates/ranking.py": (10, _CANDIDATES),
    "candidates/forecast.py": (6, _CANDIDATES),
    "evaluation/purity/counting.py": (10, _PURITY),
    "evaluation/purity/measure.py": (10, _PURITY),
    "evaluation/purity/yields.py": (10, _PURITY),
    "evaluation/recovery/comparison.py": (10, _RECOVERY),
    "evaluation/recovery/reasons.py": (10, _RECOVERY),
    "evaluation/model_metrics.py": (
        10,
        "tests/evaluation/test_model_evaluation.py "
        "-k 'false_positive or purity or pure or calibrated or bin or bricks'",
    ),
    "evaluation/search.py": (
        10,
        "tests/evaluation/test_search_evaluation.py -k 'not drawn and not real_data'",
    ),
    "checks/drift.py": (10, "tests/checks/test_checks.py"),
}

#: Imported once. TensorFlow is not among them: it does not survive a fork.
LIBRARIES = [
    "astropy.coordinates",
    "astropy.table",
    "astropy.units",
    "astropy_healpix",
    "fitsio",
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.interpolate",
    "scipy.linalg",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.pipeline",
    "yaml",
]

#: Before a True that only refuses what does not happen.
_GUARDS = ("strict=", "frozen=")

_ARITHMETIC, _COMPARISON = "(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)", "(Eq|NotEq|Lt|LtE|Gt|GtE)"
OPERATORS = re.compile(
    f"core/(ReplaceBinaryOperator_({_ARITHMETIC}_{_ARITHMETIC}|BitAnd_BitOr|BitOr_BitAnd)"
    f"|ReplaceComparisonOperator_{_COMPARISON}_{_COMPARISON}|NumberReplacer"
    "|ReplaceUnaryOperator_Delete_(USub|Invert|Not)"
    "|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd|AddNot)"
)


def draw_mutants(source: str, number: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Draw places, and one mutant of each: cosmic-ray's operator and its occurrence."""
    ast, plugins = (importlib.import_module(f"cosmic_ray.{name}") for name in ("ast", "plugins"))
    nodes = list(ast.ast_nodes(ast.get_ast(source)))
    places: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in filter(OPERATORS.fullmatch, sorted(plugins.operator_names())):
        operator = plugins.get_operator(name)()
        found = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, place in enumerate(found):
            places.setdefault(place, []).append((name, occurrence))
    lines = source.splitlines()
    ordered = [
        places[row, column]
        for row, column in sorted(places)
        if not lines[row - 1][:column].endswith(_GUARDS)
    ]
    chosen = rng.permutation(len(ordered))[:number]
    return [ordered[i][rng.integers(len(ordered[i]))] for i in np.sort(chosen)]


def mutate(source: str, operator: str, occurrence: int) -> str:
    """Return the source of a mutant."""
    plugins = importlib.import_module("cosmic_ray.plugins")
    mutating = importlib.import_module("cosmic_ray.mutating")
    return mutating.mutate_code(source, plugins.get_operator(operator)(), occurrence)


def run_tests(module: str, source: str | None, arguments: list[str]) -> None:
    """Run tests with the source of a module replaced, and end with pytest's status."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    name = "lenspipe." + module.removesuffix(".py").replace("/", ".")
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: importlib.machinery.SourceFileLoader, fullname: str) -> object:
        if fullname == name and source is not None:
            return compile(source, loader.get_filename(fullname), "exec")
        return original(loader, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code
    os._exit(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *arguments]))


def is_killed(module: str, source: str | None, arguments: list[str], limit_s: float) -> bool:
    """Tell whether tests fail, or do not end in time."""
    target = functools.partial(run_tests, module, source, arguments)
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(limit_s)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


def difference(source: str, mutant: str) -> str:
    """Return the changed lines."""
    lines = difflib.unified_diff(source.splitlines(), mutant.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", nargs="+", metavar="FILE", help="below lenspipe/; all")
    parser.add_argument("--number", type=int, help="mutants of each module; as in the table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", metavar="FILE", help="run the survivors of an earlier run")
    parser.add_argument("--output", metavar="FILE", help="write every mutant and its fate (JSON)")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for library in LIBRARIES:
        importlib.import_module(library)
    earlier = json.loads(Path(options.again).read_text()) if options.again else None
    results = []
    for module in options.modules or MODULES:
        source = (ROOT / "lenspipe" / module).read_text()
        default, tests = MODULES[module]
        arguments = shlex.split(tests)
        if earlier is None:
            rng = np.random.default_rng([options.seed, zlib.crc32(module.encode())])
            drawn = draw_mutants(source, options.number or default, rng)
        else:
            drawn = [
                (each["operator"], each["occurrence"])
                for each in earlier
                if each["module"] == module and not each["killed"]
            ]
        if not drawn:
            continue
        start = time.monotonic()
        if is_killed(module, None, arguments, 600):
            raise SystemExit(f"{module}: its tests fail without a mutant: {' '.join(arguments)}")
        unchanged_s = time.monotonic() - start
        n_killed = 0
        for operator, occurrence in drawn:
            mutant = mutate(source, operator, occurrence)
            killed = is_killed(module, mutant, arguments, 20 + 3 * unchanged_s)
            n_killed += killed
            change = difference(source, mutant)
            results.append(
                {"module": module, "operator": operator, "occurrence": occurrence,
                 "killed": killed, "change": change}
            )  # fmt: skip
            if not killed:
                print(f"{module}: {operator} {occurrence} survives\n{change}", flush=True)
        print(f"{module}: {n_killed} of {len(drawn)} killed ({unchanged_s:.1f} s)", flush=True)
        if options.output:
            Path(options.output).write_text(json.dumps(results, indent=1))
    n_killed = sum(each["killed"] for each in results)
    print(f"{n_killed} of {len(results)} killed")


if __name__ == "__main__":
    main()
