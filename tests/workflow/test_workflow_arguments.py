"""Configurations as Snakemake is given them: nested values of --config, keys that occur twice."""

import pytest
from helpers.workflow import run, write_config

AREA = {"ra": [150.0, 150.2], "dec": [31.9, 32.1]}


@pytest.fixture
def folder(tmp_path):
    write_config(tmp_path, {"run": "x", "simulation": {}, "footprint": AREA})
    return tmp_path


def test_nested_values_mean_what_yaml_means(folder):
    given = [
        "inference={symmetries: 8, model: null}",
        "candidates={threshold: 0.5}",
        "targets=null",
    ]
    output = run(folder, "results/x/bricks.parquet", "-n", "--config", *given)
    assert "results/x/bricks.parquet" in output
    output = run(folder, "-n", "--config", "inference={symmetries: 3}", fails=True)
    assert "config key inference.symmetries: found 3, input should be 1 or 8" in output


def test_a_section_that_occurs_twice_is_refused(folder):
    path = folder / "config.yaml"
    path.write_text(f"{path.read_text()}sample: {{mined: 3}}\nsample: {{mined: 4}}\n")
    assert "key sample occurs twice, in lines" in run(folder, "-n", fails=True)
