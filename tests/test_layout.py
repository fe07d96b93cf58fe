"""Tests of the layout of the package: rooms, the direction of imports, and no circles."""

import ast
import importlib
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lenspipe"
#: Packages from the ground up; each imports only from those before it.
ORDER = (
    *("utils", "config", "products", "retrieval", "survey", "models", "statistics", "catalogs"),
    *("plotting", "footprint", "parent", "cutouts", "scoring", "candidates", "mosaics"),
    *("inspection", "followup", "status", "simulation", "sample", "training", "evaluation"),
    *("completeness", "rounds", "checks", "runs", "exchange", "cli"),
)
#: Modules that the Snakefile or the command line reads at every start: these may import heavy
#: modules of lenspipe inside functions.
READ_AT_START = ("cli.", "footprint.plan")
#: A module whose library is optional.
OPTIONAL = ("scoring.backends.openvino",)


def modules():
    """Return name -> file of every module, without ``lenspipe.``."""
    files = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        files[".".join(part for part in parts if part != "__init__")] = path
    assert len(files) > 100
    return files


def imports_of(path, names):
    """Yield each import of a module of lenspipe: (module, whether it is inside a function)."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            name, _, rest = name.partition(".")
            if name != "lenspipe" or not rest:
                continue
            yield (rest if rest in names else rest.rpartition(".")[0]), id(node) not in top


def test_no_module_lies_at_the_top():
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert packages == set(ORDER)


def test_imports_run_downward():
    files, upward = modules(), []
    for name, path in files.items():
        package = name.partition(".")[0]
        for other, _ in imports_of(path, files):
            if other and ORDER.index(other.partition(".")[0]) > ORDER.index(package):
                upward.append(f"{name} -> {other}")
    assert not upward


def test_no_circle_of_files():
    files, graph = modules(), defaultdict(set)
    for name, path in files.items():
        graph[name] |= {other for other, _ in imports_of(path, files) if other}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")
    assert len(order) == len(files)


def test_imports_inside_functions_are_of_heavy_modules():
    files = modules()
    inside = [
        f"{name} -> {other}"
        for name, path in files.items()
        for other, in_function in imports_of(path, files)
        if in_function and other not in OPTIONAL and not name.startswith(READ_AT_START)
    ]
    assert not inside


def test_tensorflow_is_imported_in_one_place():
    """`lenspipe.utils.tensorflow` keeps its import quiet and as short as it can be."""
    importing = []
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            sources = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            sources += [node.module] if isinstance(node, ast.ImportFrom) else []
            if {"tensorflow", "keras"} & {source.partition(".")[0] for source in sources}:
                importing.append(name)
    assert importing == []


def test_jobs_without_a_network_do_without_tensorflow():
    """A process saves two seconds and half a gigabyte."""
    names = ["checks.run", "evaluation.purity.measure", "evaluation.recovery.comparison"]
    names += ["sample.mining", "sample.report", "status.summary"]
    code = "".join(f"import lenspipe.{name}\n" for name in names)
    code += "import sys; print('tensorflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("False\n", "")


@pytest.mark.parametrize("name", ORDER)
def test_packages_hold_public_names_and_no_code(name):
    path = PACKAGE / name / "__init__.py"
    for node in ast.parse(path.read_text()).body:
        assert isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign)
    package = importlib.import_module(f"lenspipe.{name}")
    assert package.__doc__
    # Nobody imports commands.
    names = [] if name == "cli" else package.__all__
    submodules = {file.stem for file in path.parent.glob("*.py")}
    assert names or name == "cli"
    assert [public for public in names if not hasattr(package, public)] == []
    assert not submodules & set(names), "a name would hide the module of the same name"
