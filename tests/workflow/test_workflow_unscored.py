"""The real workflow on a list of targets without a model: fetched and drawn, not scored."""

import json

import pandas as pd
import pytest
import yaml
from helpers.loopback import Loopback
from helpers.workflow import run

from lenspipe.survey.bricks import brick_grid

pytestmark = pytest.mark.workflow


def test_a_list_needs_no_model(small_survey, tmp_path):
    with Loopback(small_survey.tree) as server:
        config = {
            "run": "list",
            "survey": {"release": "dr9", "tree": server.url},
            "retrieval": {"contact": "me@example.org"},
            "targets": "list.csv",
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        table = pd.DataFrame(
            [brick_grid(0.25).centre(brick) for brick in small_survey.bricks[:3]],
            columns=["ra", "dec"],
        )
        table.assign(name=["b", "a", ""]).to_csv(tmp_path / "list.csv", index=False)
        output = run(tmp_path)
        assert "Nothing to be done" in run(tmp_path)
    assert "Training" not in output
    results = tmp_path / "results" / "list"
    table = pd.read_csv(results / "candidates" / "candidates.csv")
    assert table["id"].tolist() == ["b", "a", "target-000003"]
    assert table["p"].isna().all()
    assert (results / "mosaics" / "page-0001.png").exists()
    assert json.loads((results / "summary.json").read_text())["n_candidates"] == 3
    assert not any((results / name).exists() for name in ("models", "sample", "records"))
