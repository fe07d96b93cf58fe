"""What is said about the package stays true: references, examples, dependencies, links."""

import argparse
import ast
import html
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml
from snakemake.cli import parse_args

import lenspipe
from lenspipe.cli.main import make_parser
from lenspipe.cli.reference import commands_reference
from lenspipe.config.reference import config_reference
from lenspipe.config.schema import config_schema
from lenspipe.config.settings import load_settings
from lenspipe.products.outputs import outputs_document

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: Needed without being imported: `snakemake --report`, the commands, the documentation site.
NOT_IMPORTED = {
    *("aiohttp", "mypy", "pygments", "pytest-xdist", "ruff", "snakefmt", "snakemake"),
    *("types-pyyaml", "types-requests", "pre-commit"),
    *("ipykernel", "myst-nb", "numpydoc", "pydata-sphinx-theme", "sphinx", "towncrier"),
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
EXCHANGE = declared(PROJECT["project"]["optional-dependencies"]["exchange"])
SURVEYS = declared(PROJECT["project"]["optional-dependencies"]["surveys"])
SLURM = declared(PROJECT["project"]["optional-dependencies"]["slurm"])
TEST = declared(
    line
    for extra in ("docs", "test", "unit")
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


def test_reference_of_commands_is_up_to_date():
    assert (ROOT / "docs" / "commands.md").read_text() == commands_reference(), (
        "write it anew: python -m lenspipe.cli.reference > docs/commands.md"
    )


def test_schema_of_configuration_is_up_to_date():
    schema = json.loads((ROOT / "config" / "schema.json").read_text())
    assert schema == config_schema(), (
        "write it anew: python -m lenspipe.config.schema > config/schema.json"
    )


def test_schema_finds_errors_and_takes_short_forms():
    validator = jsonschema.Draft202012Validator(config_schema())
    validator.check_schema(validator.schema)
    right = {"run": "a", "candidates": {"threshold": 0.9}, "sample": {"known_lenses": "a.csv"}}
    assert list(validator.iter_errors(right)) == []
    assert load_settings({**right, "survey": {"tree": "."}}).sample.known_lenses[0].path == "a.csv"
    wrong = {"run": "a", "footprint": {"ra": [0, 400]}, "mosaic": {}, "keep": "some"}
    paths = sorted("/".join(map(str, error.path)) for error in validator.iter_errors(wrong))
    assert paths == ["", "footprint/ra/1", "keep"]


@pytest.mark.parametrize("path", found(ROOT / "config", "*.yaml"), ids=lambda p: p.name)
def test_example_is_valid(path):
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml.safe_load(path.read_text()), config_schema())
    config = yaml.safe_load(path.read_text())
    settings = load_settings(config)
    assert settings.simulation is not None or settings.run == settings.survey.release == path.stem
    # A network's arguments have a description in its own document.
    known = (ROOT / "docs" / "networks.md").read_text()
    assert all(f"`{key}`" in known for key in settings.training.network_settings)


def test_package_imports_what_it_declares():
    package = imports_of(found(ROOT / "lenspipe", "**/*.py"))
    declared = {*CORE, *DEMO, *SWEEP, *OPENVINO, *EXCHANGE, *SURVEYS}
    assert package - declared == set()
    assert declared - package == NOT_IMPORTED & set(CORE)
    assert imports_of(SCRIPTS, OURS) - {*CORE, *DEMO, *TEST} == set()


def test_tests_import_what_they_declare():
    used = imports_of(found(ROOT / "tests", "**/*.py"), OURS)
    assert used - {*CORE, *DEMO, *SWEEP, *EXCHANGE, *TEST} == set()
    assert set(TEST) - used == NOT_IMPORTED & set(TEST)


def names_of(module):
    """Names that a module of the package binds, without importing it; None if there is none."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return None
    names = {entry.stem for entry in path.parent.glob("*") if path.name == "__init__.py"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # names that are imported when they are first used
    return names


def test_scripts_import_names_that_exist():
    imports = [
        (path.name, node.module, alias.name)
        for path in SCRIPTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lenspipe")
        for alias in node.names
    ]
    assert len(imports) > 100
    known = {module: names_of(module) or () for module in {module for _, module, _ in imports}}
    assert [entry for entry in imports if entry[2] not in known[entry[1]]] == []


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
    assert rows == {*CORE, *DEMO, *SWEEP, *OPENVINO, *EXCHANGE, *SLURM, *SURVEYS, *TEST}


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == lenspipe.__version__
    assert citation["license"] == PROJECT["project"]["license"]["text"]
    assert {"message", "title", "authors"} <= set(citation)


def documents():
    folders = (".", "docs", "docs/notebooks", "config", "changelog.d")
    return sorted(path for folder in folders for path in found(ROOT / folder, "*.md"))


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


#: Sites that the documents link to: a slip in a name is not among them.
HOSTS = {
    *("aladin.cds.unistra.fr", "alasky.cds.unistra.fr", "arxiv.org", "datalab.noirlab.edu"),
    *("cosmic-ray.readthedocs.io", "datatables.net", "github.com", "keras.io", "optuna.org"),
    *("portal.nersc.gov", "snakemake.readthedocs.io", "www.legacysurvey.org"),
    "www.tensorflow.org",
}
#: Addresses on one's own machine, and placeholders.
NO_SITES = re.compile(r"http://(localhost|127\.0\.0\.1):8642|https://user:password@host/")


def test_external_links_have_the_right_form():
    """What can be said without a network; CONTRIBUTING.md has the command that follows them."""
    forms, numbers = {}, set()
    for path in documents():
        text = path.read_text()
        for link in re.findall(r"https?://[^\s)\]<>\"'`]+", text):
            link = link.rstrip(".,;")
            if NO_SITES.match(link):
                continue
            parts = urlsplit(link)
            assert parts.scheme == "https", f"{path}: {link}"
            assert parts.hostname in HOSTS, f"{path}: {link}"
            # One target has one address.
            target = (parts.hostname.removeprefix("www."), parts.path.rstrip("/"))
            assert forms.setdefault(target, link) == link, f"{path}: {link}"
        for shown, number in re.findall(r"\[([^]]+)]\(https://arxiv\.org/abs/([^)]*)\)", text):
            assert shown.removeprefix("arXiv:") == number, f"{path}: {shown}"
        for year, month, rest in re.findall(r"(?:abs/|arXiv[: ])(\d\d)(\d\d)\.(\d+)", text):
            assert "01" <= month <= "12", path
            # Five digits since 2015.
            assert len(rest) == (5 if year >= "15" else 4), path
            numbers.add((year, month, rest))
    assert len(forms) > 15
    assert len(numbers) > 8


def test_no_line_begins_with_a_comment():
    """A quoted figure ends the paragraph there, and % makes the line a comment on the site."""
    for path in documents():
        assert re.findall(r"^<!-- \S+\.json.*|^ *%.*", path.read_text(), re.MULTILINE) == [], path


def blocks(path, language):
    """Code blocks of a document in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", path.read_text(), re.DOTALL | re.MULTILINE)


def test_settings_in_documents_are_valid():
    schema = config_schema()
    del schema["required"]
    validator = jsonschema.Draft202012Validator(schema)
    checked, errors = 0, []
    for path in documents():
        for block in blocks(path, "yaml"):
            config = yaml.safe_load(block)
            # Profiles of Snakemake are YAML, too.
            if set(config) & set(schema["properties"]):
                checked += 1
                errors += [
                    f"{path.name}: {error.message}" for error in validator.iter_errors(config)
                ]
    assert checked > 10
    assert errors == []


def test_commands_in_documents_exist(monkeypatch):
    """Each `lenspipe` command of the documents has a name and options that the parsers know."""

    def fail(_, message):
        raise ValueError(message)

    monkeypatch.setattr(argparse.ArgumentParser, "error", fail)
    checked, errors = 0, []
    for path in documents():
        for block in blocks(path, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                command, _, arguments = line.partition("lenspipe ")
                words = shlex.split(arguments, comments=True)
                if (
                    command.endswith(("'", "/"))
                    or not words
                    or {"--help", "--version"} & set(words)
                ):
                    continue
                if command.strip() and not command.startswith(("srun", "TF_CONFIG")):
                    continue
                checked += 1
                try:
                    make_parser().parse_args(words)
                except ValueError as error:
                    errors.append(f"{path.name}: {line}: {error}")
    assert checked > 20
    assert errors == []


def test_figure_of_the_data_flow_shows_its_source():
    """Written anew by the command at the top of the source."""
    source = (ROOT / "docs" / "figures" / "data-flow.dot").read_text()
    figure = (ROOT / "docs" / "figures" / "data-flow.svg").read_text()
    labels = re.findall(r'label="([^"]+)"', source)
    assert len(labels) > 10
    lines = [line.strip() for label in labels for line in label.split("\\n")]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figure)
    drawn = {html.unescape(text).strip() for text in texts}
    assert [line for line in lines if line not in drawn] == []


def test_every_page_is_in_the_navigation():
    """Sphinx would warn of it, but the tests do not build the site."""
    paths = [*found(ROOT / "docs", "*.md"), *found(ROOT / "docs", "notebooks/*.md")]
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in paths}
    pages -= {"index"}
    trees = "".join(
        block
        for path in found(ROOT / "docs", "*.md")
        for block in re.findall(r"```{toctree}\n(.*?)```", path.read_text(), re.DOTALL)
    )
    entries = set(re.findall(r"^(?:.*<)?([\w/-]+)>?$", trees, re.MULTILINE))
    assert entries == {*pages, "generated/packages"}


def test_tested_versions_name_what_is_declared():
    lines = (ROOT / "envs" / "tested.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))

    def number(text):
        return [int(part) for part in re.findall(r"\d+", text)]

    for name, lowest in {**CORE, **DEMO, **SWEEP, **OPENVINO, **SLURM}.items():
        assert number(tested[name.lower()]) >= number(lowest), (
            f"{name}: write it anew: python .ci/lock.py > envs/tested.txt"
        )


def test_figures_of_the_demo_are_those_of_a_run():
    script = runpy.run_path(str(ROOT / "benchmarks" / "demo_figures.py"))
    figures = json.loads(script["FIGURES"].read_text())
    texts = {path: path.read_text() for path in script["documents"]()}
    names = set().union(*map(script["quoted"], texts.values()))
    assert names
    assert {f"{file} {key}" for file, key in names} == set(figures)
    for path, text in texts.items():
        assert script["with_figures"](text, figures) == text, f"{path}: run the script"
    demo = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert figures["purity/purity.json prior"] == demo["evaluation"]["prior"]


#: Arguments of the documents' Snakemake commands that no test runs, with the reason.
NOT_RUN = {
    "--report": "needs a finished run",
    "--executor": "needs a cluster",
    "--workflow-profile": "needs Slurm",
    "sweep": "needs config section training.sweep",
    "results/demo/sweep/best.yaml": "needs config section training.sweep",
    "mine": "needs graded or scored candidates",
    "--config": "names a file of a finished run",
}
#: Configuration files that readers write themselves.
WRITTEN_BY_READERS = {"my.yaml", "my-list.yaml", "first.yaml"}


def snakemake_commands():
    """Document and arguments of each Snakemake command in it."""
    for path in documents():
        for block in blocks(path, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["snakemake"]:
                    yield path.name, words[1:]


def test_snakemake_commands_in_documents_are_valid():
    commands = list(snakemake_commands())
    assert len(commands) > 20
    wrong = []
    for name, words in commands:
        # The plugin of another executor, which brings its options, need not be installed.
        if "--executor" in words:
            continue
        try:
            _, options = parse_args(words)
        except SystemExit:
            wrong.append((name, words, "options"))
            continue
        for file in map(Path, options.configfile or ()):
            written = file.name in WRITTEN_BY_READERS or file.parts[0] == "results"
            if not written and not (ROOT / file).exists():
                wrong.append((name, words, f"{file} does not exist"))
    assert wrong == []


def test_targets_of_snakemake_commands_are_known(tmp_path):
    """One dry run asks for everything that the documents make in the demo."""
    targets, used = set(), set()
    for _, words in snakemake_commands():
        reasons = NOT_RUN.keys() & set(words)
        used |= reasons
        if reasons or "--configfile" in words:
            continue
        targets |= set(parse_args(words)[1].targets)
    assert used == set(NOT_RUN)
    assert len(targets) > 3
    command = ["snakemake", "--dry-run", "--quiet", "all", "--cores", "2", "--directory", tmp_path]
    command += ["--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "config" / "config.yaml"]
    result = subprocess.run(
        [*command, "--", "all", *sorted(targets)], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr[-2000:]
