"""The schema: how files are assigned to it and compared with it, its document, and the rules."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

from lenspipe.products.files import read_json, require, write_json
from lenspipe.products.outputs import outputs_document
from lenspipe.products.schema import (
    PRODUCTS,
    Column,
    Key,
    command_for,
    expand,
    names_of,
    product_of,
    read_dictionary,
)
from lenspipe.products.tables import read_table, write_table
from lenspipe.products.verify import compare_columns, compare_file, compare_keys, compare_run
from lenspipe.utils.errors import LenspipeError

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = (
    Column("id", "str"),
    Column("mag_<magband>", "float32"),
    Column("nobs_<band>", "int16"),
    Column("z", "float32", optional=True),
)
VALUES = {"band": ["g", "r"], "magband": ["g", "r", "z"], "model": []}
FOUND = {"id": "str", "mag_g": "float32", "mag_r": "float32", "mag_z": "float32"}
FOUND |= {"nobs_g": "int16", "nobs_r": "int16"}
#: Wildcards of the workflow -> a value.
WILDCARDS = {
    "chunk": "64-000123",
    "brick": "0123p456",
    "folder": "012",
    "step": "sample",
    "model": "resnet",
    "trial": "000",
}


def test_no_name_is_given_twice():
    """YAML would keep the last, within a mapping as well as between files."""
    names = []
    for path in (ROOT / "lenspipe" / "products" / "schema").glob("*.yaml"):
        root = yaml.compose(path.read_text())
        nodes = [root]
        while nodes:
            node = nodes.pop()
            if isinstance(node, yaml.MappingNode):
                keys = [key.value for key, _ in node.value]
                assert len(keys) == len(set(keys)), node.start_mark
                nodes += [value for _, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                nodes += node.value
        content = yaml.safe_load(path.read_text())
        names += [*content.get("columns", ()), *content.get("keys", ())]
        names += [f"product {key}" for p in content.get("products", ()) for key in p["files"]]
    assert len(names) == len(set(names))
    assert sum(name.startswith("product ") for name in names) == len(PRODUCTS)


def test_products_refer_to_others_that_exist():
    anchors = {section.anchor for section in read_dictionary().sections}
    for product in PRODUCTS.values():
        assert {product.beside, product.columns_as} <= {"", *PRODUCTS}, product
        assert product.section in ("", *anchors), product


def test_columns_per_band():
    assert names_of(COLUMNS, **VALUES) == [*FOUND, "z"]
    (column,) = expand([Column("mag_<band>", "f4", "mag", "In <band>")], {"band": ["i"]})
    assert column == Column("mag_i", "f4", "mag", "In i")


def test_columns_as_in_the_schema():
    assert compare_columns(FOUND, COLUMNS, VALUES) == []
    assert compare_columns(FOUND | {"z": "float32"}, COLUMNS, VALUES) == []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (FOUND | {"extra": "int8"}, "columns not in the schema: ['extra']"),
        ({k: v for k, v in FOUND.items() if k != "nobs_g"}, "are missing: ['nobs_g']"),
        (dict(reversed(FOUND.items())), "order: found ['nobs_r', "),
        (FOUND | {"nobs_g": "int64"}, "column nobs_g: found int64, expected int16"),
    ],
)
def test_other_columns_are_reported(found, problem):
    (line,) = compare_columns(found, COLUMNS, VALUES)
    assert problem in line


def test_tables(tmp_path):
    product, values = PRODUCTS["splits"], {"model": []}
    table = pd.DataFrame({"brick": ["0001p000"], "split": ["test"]})
    write_table(tmp_path / "splits.csv", table)
    assert compare_file(tmp_path / "splits.csv", product, values) == []
    write_table(tmp_path / "splits.csv", table.assign(n=1))
    (problem,) = compare_file(tmp_path / "splits.csv", product, values)
    assert "['n']" in problem
    scores = PRODUCTS["trial_scores"]
    table = pd.DataFrame({"label": np.int8([1]), "p": np.float32([0.5])})
    write_table(tmp_path / "validation.parquet", table)
    assert compare_file(tmp_path / "validation.parquet", scores, values) == []
    write_table(tmp_path / "validation.parquet", table.astype({"p": "float64"}))
    (problem,) = compare_file(tmp_path / "validation.parquet", scores, values)
    assert problem == "column p: found float64, expected float32"


KEYS = (
    Key("run", ""),
    Key("<split>_auc", "", interval=True),
    Key("bins[].n", "", optional=True),
    Key("left_out.<reason>", ""),
)
DOCUMENT = {"run": "a", "test_auc": 0.9, "test_auc_low": 0.8, "test_auc_high": 0.95}
DOCUMENT |= {"left_out": {"no score, or flagged": 3}, "bins": [{"n": 1}, {"n": 2}]}


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({}, []),
        # Null, or nothing, stands for all below.
        ({"bins": None, "left_out": {}}, []),
        ({"other": 1}, ["keys not in the schema: ['other']"]),
        ({"bins": [{"m": 1}]}, ["keys not in the schema: ['bins[].m']"]),
    ],
)
def test_keys(change, problems):
    assert compare_keys(DOCUMENT | change, KEYS) == problems


def test_keys_that_are_missing():
    found = {key: value for key, value in DOCUMENT.items() if key not in ("run", "test_auc_low")}
    problem = "keys of the schema that are missing: ['run', '<split>_auc_low']"
    assert compare_keys(found, KEYS) == [problem]


def test_files_that_fit_no_product(tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "notes.txt").touch()
    (tmp_path / "status.html").touch()
    problems, numbers = compare_run(tmp_path)
    assert problems == [f"{tmp_path}/scores/notes.txt: fits no product"]
    assert numbers == {"status_page": 1}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("parent/64-005304.parquet", "parent"),
        ("parent/audit/64-005304.csv", "chunk_audit"),
        ("scores/bricks/0123m045.parquet", "brick_scores"),
        ("models/resnet/training.json", "training"),
        ("models/resnet_trial_003/trial.json", "trial"),
        ("models/resnet_trial_003/model.keras", "model"),
        ("sample/train-00000.tfrecord", "sample_shards"),
        ("cutouts/012/0123m045.fits", "cutouts"),
    ],
)
def test_product_of_a_path(path, key):
    assert product_of(path).key == key


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("known/lenses.parquet", "snakemake {run}/known/lenses.parquet "),
        # What a rule writes beside its outputs is made with them.
        ("sample/injected.parquet", "snakemake {run}/sample/sample.parquet "),
        ("models/a_trial_001/validation.parquet", "snakemake {run}/models/a_trial_001/trial.json "),
        ("inspection/grades.csv", "lenspipe inspect {run} --export"),
    ],
)
def test_missing_files_are_named_with_their_command(tmp_path, path, command):
    run = tmp_path / "results" / "demo"
    product = product_of(path)
    assert command_for(product, run / path).startswith(command.format(run=run))
    with pytest.raises(LenspipeError) as info:
        require(run / path, product.key, "do without it")
    assert str(info.value).startswith(f"{run / path}: no such file, expected {product.noun}; make")
    assert str(info.value).endswith("`, or do without it")
    (run / path).parent.mkdir(parents=True)
    (run / path).touch()
    assert require(run / path, product.key) == run / path


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"run": "a"})
    assert read_json(path, "summary") == {"run": "a"}
    path.write_text("{")
    with pytest.raises(LenspipeError, match=r"summary\.json: can't be read .*delete it"):
        read_json(path, "summary")
    path = tmp_path / "bricks.parquet"
    write_table(path, pd.DataFrame({"brick": ["0001p000"], "chunk": ["1-0"]}))
    assert read_table(path, "bricks", columns=["chunk"]).columns.tolist() == ["chunk"]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(LenspipeError, match=r"bricks\.parquet: can't be read .*delete it"):
        read_table(path, "bricks")
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "summary.json", float("nan"))


def test_anchors_of_the_document():
    text = outputs_document()
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    anchors |= set(re.findall(r'<a id="([\w-]+)">', text))
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors
    for path in ROOT.rglob("docs/*.md"):
        assert set(re.findall(r"outputs\.md#([\w-]+)\)", path.read_text())) <= anchors, path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Return rule -> its declared outputs below the run's folder, for a run with all rules."""
    folder = tmp_path_factory.mktemp("rules")
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["ensemble"] = {"members": {"first": {"seed": 1}, "second": {"seed": 2}}}
    config["recovery"] = {"catalogs": ["published.csv"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with contextlib.chdir(folder), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[folder / "config.yaml"]),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )._workflow
        rules = {rule.name: list(map(str, rule.output)) for rule in workflow.rules}
    run = f"results/{config['run']}/"
    assert all(path.startswith(run) for paths in rules.values() for path in paths)
    return {rule: [_filled(path.removeprefix(run)) for path in rules[rule]] for rule in rules}


def _filled(path):
    """Replace wildcards, such as ``{folder,\\d{3}}``, by a value."""
    pattern = r"\{(\w+)[^{}]*(?:\{\d+\}[^{}]*)*\}"
    return re.sub(pattern, lambda match: WILDCARDS[match[1]], path)


def test_products_name_the_rules_that_make_them(outputs):
    assert {"ensemble", "recovery", "sweep"} <= outputs.keys()
    for rule, paths in outputs.items():
        for path in paths:
            product = product_of(path)
            assert product is not None, path
            assert rule in product.stage.split(", "), path


def test_messages_name_outputs_that_snakemake_knows(outputs):
    declared = {product_of(path).key for paths in outputs.values() for path in paths}
    for product in PRODUCTS.values():
        stages = product.stage.split(", ")
        if product.noun and not product.stage.startswith("lenspipe"):
            assert set(stages) <= outputs.keys(), product
            assert product.key in declared or product.beside in declared, product
