"""The table of stages: it fits the rules and the settings, and says what runs again."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.stages import upstream

from lenspipe.config.settings import load_settings
from lenspipe.config.stages import STAGE_FILES, STAGES, content_key, stage_parameters

WORKFLOW = Path(__file__).parents[2] / "workflow"
#: The Snakefile makes the plan; a proposal is a part of a trial.
WITHOUT_RULE = {"plan", "proposal"}
CONFIG = {"run": "table", "simulation": {}, "footprint": {"ra": [10, 11], "dec": [0, 1]}}


def settings(**sections):
    return load_settings(CONFIG | sections)


def rerun(**sections):
    """Stages whose parameters are others with these settings."""
    one, other = settings(), settings(**sections)
    return {name for name in STAGES if stage_parameters(name, one) != stage_parameters(name, other)}


def test_every_stage_has_a_rule_and_a_function():
    text = "".join(path.read_text() for path in (WORKFLOW / "rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.M)) - {"basis"}
    assert rules == set(STAGES) - WITHOUT_RULE
    scripts = dict(re.findall(r"^rule (\w+):.*?scripts/(\w+)\.py", text, re.M | re.S))
    apart = {"basis": "basis", "simulate": "simulate"}
    assert scripts == dict.fromkeys(rules, "stage") | apart
    for name in rules:
        assert callable(pkgutil.resolve_name(f"lenspipe.{STAGES[name].function}"))


@pytest.mark.parametrize("name", STAGES)
def test_it_names_files_and_settings_that_exist(name):
    stage = STAGES[name]
    files = {*stage.inputs, *stage.outputs, *stage.waits_for, *stage.updates}
    assert files <= set(STAGE_FILES)
    assert {covered for key in files for covered in STAGE_FILES[key].covers} <= set(STAGE_FILES)
    assert stage_parameters(name, settings())["version"] == stage.version
    assert re.fullmatch("[0-9a-f]{16}", content_key(name, settings(), "content"))
    section = settings().model_dump()
    for key in stage.without:
        first, _, last = key.rpartition(".")
        assert first in stage.settings
        assert last in section[first]


@pytest.mark.parametrize("files", STAGE_FILES.values(), ids=list(STAGE_FILES))
def test_the_settings_that_choose_files_exist(files):
    for key in files.chosen_by:
        value = settings()
        for name in key.split("."):
            value = getattr(value, name)


def test_every_file_is_read_or_made():
    made = {name for stage in STAGES.values() for name in stage.outputs}
    read = {name for s in STAGES.values() for name in (*s.inputs, *s.waits_for, *s.updates)}
    covered = {name for files in STAGE_FILES.values() for name in files.covers}
    assert made | read | covered == set(STAGE_FILES)


def test_no_stage_comes_after_itself():
    # An ensemble is a model that is made from the predictions of others.
    assert {name for name in STAGES if name in upstream(name)} == {"predict", "ensemble"}
    assert {"parent", "train", "predict"} < upstream("candidates")


def test_the_appearance_of_pages_remakes_only_pages():
    assert rerun(mosaics={"columns": 5}) == {
        *("sample_report", "mine", "mistakes", "evaluate", "injected_page", "page"),
        *("mosaics", "chunk_mosaics", "brick_mosaic"),
    }
    assert rerun(mosaics={"sort": "mag"}) == {"mosaics", "page"}
    assert rerun(evaluation={"prior": 0.01}) == {"assess", "forecast", "purity"}


def test_an_address_counts_only_where_it_is_used():
    assert rerun(survey={"service": "https://example.org"}) == set()
    assert rerun(survey={"tap": "https://example.org"}) == set()
    contact = {"contact": "me@example.org"}
    by_service = {"cutouts": {"source": "service"}, "retrieval": contact}
    one = settings(**by_service)
    other = settings(survey={"service": "https://example.org"}, **by_service)
    changed = {n for n in STAGES if stage_parameters(n, one) != stage_parameters(n, other)}
    assert changed == {"cutouts", "brick_cutouts", "sample"}


def test_what_makes_no_difference_is_no_parameter():
    assert rerun(inference={"batch_size": 7}) == set()
    one, other = settings(), settings(inference={"batch_size": 7})
    assert content_key("scores", one, []) != content_key("scores", other, [])
    one, other = (settings(candidates={"threshold": value}) for value in (0.8, 0.9))
    assert content_key("chunk_mosaics", one, []) == content_key("chunk_mosaics", other, [])


def test_a_network_that_is_the_same_is_not_trained_again():
    assert stage_parameters("train", settings()) == stage_parameters(
        "train", settings(training={"name": "other"})
    )


def test_snakemake_reads_the_table_without_heavy_modules():
    code = (
        "import sys, lenspipe.config.stages, lenspipe.config.settings; "
        "print(*{'numpy', 'pandas', 'astropy', 'tensorflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""
