"""What is said about the package stays true: references, examples, dependencies, links."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import lenspipe
from lenspipe.config.reference import config_reference
from lenspipe.config.settings import load_settings
from lenspipe.products.outputs import outputs_document

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: Needed without being imported: `snakemake --report`, the commands.
NOT_IMPORTED = {
    *("aiohttp", "mypy", "pygments", "pytest-xdist", "ruff", "snakefmt", "snakemake"),
    *("types-pyyaml", "types-requests"),
}
#: Import names that several distributions share.
SHARED_NAMES = {"google": "protobuf"}


def found(folder, pattern):
    """Files below a folder that match a pattern, of which there is one at least."""
    paths = sorted(folder.glob(pattern))
    assert paths, f"{folder}: no file matches {pattern}"
    return paths


def declared(requirements):
    """Distribution -> lower bound."""
    pairs = [re.fullmatch(r"([\w-]+) ?>=([\d.]+)", line).groups() for line in requirements]
    return dict(pairs)


CORE = declared(PROJECT["project"]["dependencies"])
DEMO = declared(PROJECT["project"]["optional-dependencies"]["demo"])
SWEEP = declared(PROJECT["project"]["optional-dependencies"]["sweep"])
OPENVINO = declared(PROJECT["project"]["optional-dependencies"]["openvino"])
SLURM = declared(PROJECT["project"]["optional-dependencies"]["slurm"])
TEST = declared(
    line
    for extra in ("test", "unit")
    for line in PROJECT["project"]["optional-dependencies"][extra]
    if "lenspipe" not in line
)
DISTRIBUTIONS = packages_distributions()
#: Files that import from beside them.
SCRIPTS = [*found(ROOT / "workflow", "**/*.py"), *found(ROOT / "benchmarks", "**/*.py")]
OURS = {"tests", "helpers"}
OURS |= {path.stem for path in [*found(ROOT / "tests", "**/*.py"), *SCRIPTS]}


def imported(nodes, own):
    """Distributions that some nodes import, without the standard library and our own modules."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    names -= {*sys.stdlib_module_names, "lenspipe", *own}
    return {(SHARED_NAMES.get(n) or DISTRIBUTIONS[n][0]).lower().replace("_", "-") for n in names}


def imports_of(paths, own=()):
    """All imports of some files."""
    return {name for path in paths for name in imported(ast.walk(ast.parse(path.read_text())), own)}


def imports_at_once(path):
    """Modules that a file imports as soon as it is imported itself: of all but functions."""
    nodes, modules = list(ast.parse(path.read_text()).body), set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*package, *filter(None, [node.module])])
            modules |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return modules


#: Module -> what it imports at once, of the whole package.
AT_ONCE = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
        imports_at_once(path)
    )
    for path in found(ROOT / "lenspipe", "**/*.py")
}


def loaded_with(module):
    """Distributions, of those that lenspipe does without, that come with a module of it."""
    names, ahead = set(), {module}
    while ahead:
        name = ahead.pop()
        names.add(name)
        # A module brings the packages that it lies in.
        parents = {name.rpartition(".")[0]} - {""}
        ahead |= {n for n in AT_ONCE.get(name, set()) | parents if n in AT_ONCE} - names
    outside = {n.partition(".")[0] for name in names for n in AT_ONCE.get(name, ())}
    outside -= {*sys.stdlib_module_names, "lenspipe"}
    distributions = {(SHARED_NAMES.get(n) or DISTRIBUTIONS[n][0]).lower() for n in outside}
    return {name.replace("_", "-") for name in distributions} & {*DEMO, *SWEEP, *OPENVINO}


def test_config_reference_is_up_to_date():
    assert (ROOT / "config" / "README.md").read_text() == config_reference(), (
        "write it anew: python -m lenspipe.config.reference > config/README.md"
    )


def test_description_of_outputs_is_up_to_date():
    assert (ROOT / "docs" / "outputs.md").read_text() == outputs_document(), (
        "write it anew: python -m lenspipe.products.outputs > docs/outputs.md"
    )


@pytest.mark.parametrize("path", found(ROOT / "config", "*.yaml"), ids=lambda p: p.name)
def test_example_is_valid(path):
    config = yaml.safe_load(path.read_text())
    settings = load_settings(config)
    assert settings.simulation is not None or settings.run == settings.survey.release == path.stem
    # A network's arguments have a description in its own document.
    known = (ROOT / "docs" / "networks.md").read_text()
    assert all(f"`{key}`" in known for key in settings.training.network_settings)


def test_package_imports_what_it_declares():
    package = imports_of(found(ROOT / "lenspipe", "**/*.py"))
    assert package - set(CORE) - set(DEMO) - set(SWEEP) - set(OPENVINO) == set()
    assert {*CORE, *DEMO, *SWEEP, *OPENVINO} - package == NOT_IMPORTED & set(CORE)
    assert imports_of(SCRIPTS, OURS) - {*CORE, *DEMO, *TEST} == set()


def test_tests_import_what_they_declare():
    used = imports_of(found(ROOT / "tests", "**/*.py"), OURS)
    assert used - {*CORE, *DEMO, *SWEEP, *TEST} == set()
    assert set(TEST) - used == NOT_IMPORTED & set(TEST)


def test_optional_dependencies_are_imported_late():
    assert {module: loaded_with(module) for module in AT_ONCE if loaded_with(module)} == {
        # Imported where it is chosen.
        "lenspipe.scoring.backends.openvino": {"openvino"},
    }


def test_snakemake_is_never_imported():
    assert "snakemake" not in imports_of(found(ROOT / "lenspipe", "**/*.py"))


def test_package_data_is_complete():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    packaged = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in found(ROOT.joinpath(*package.split(".")), pattern)
    }
    there = {path for path in (ROOT / "lenspipe").rglob("*.*") if path.is_file()}
    assert {path for path in there if path.suffix not in {".py", ".pyc"}} == packaged


def test_conda_environment_equals_pyproject():
    environment = yaml.safe_load((ROOT / "envs" / "lenspipe.yaml").read_text())
    lines = environment["dependencies"]
    lines.remove("pip")
    python = PROJECT["project"]["requires-python"]
    assert lines.pop(0) == f"python {python}"
    assert declared(lines) == CORE | DEMO | SWEEP | SLURM


def test_every_dependency_is_explained():
    text = (ROOT / "docs" / "dependencies.md").read_text()
    rows = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert rows == {*CORE, *DEMO, *SWEEP, *OPENVINO, *SLURM, *TEST}


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == lenspipe.__version__
    assert citation["license"] == PROJECT["project"]["license"]["text"]
    assert {"message", "title", "authors"} <= set(citation)


def documents():
    return sorted(
        path for folder in (".", "docs", "config") for path in found(ROOT / folder, "*.md")
    )


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
