"""The real workflow with a model that has a card: no known lenses, no training, marked scores."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.table import Table
from helpers.cards import NOTE, write_model
from helpers.workflow import run

from lenspipe.config.paths import SHIPPED_FOLDER
from lenspipe.products.cards import describe_model
from lenspipe.survey.bricks import brick_grid

pytestmark = pytest.mark.workflow

SHIPPED = SHIPPED_FOLDER / "model.keras"


def write_config(folder, survey, model, **changes):
    config = {
        "run": "first-day",
        "survey": {"release": "dr9", "tree": str(survey.tree)},
        "chunks": {"nside": 4},
        "parent": {"min_exposures": 1},
        "inference": {"model": model, "backend": "tensorflow"},
        "mosaics": {"per_brick": True},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))


def check_marks(folder, note):
    results = folder / "results" / "first-day"
    assert json.loads((results / "summary.json").read_text())["model"] == note
    table = Table.read(results / "candidates" / "candidates.fits", character_as_bytes=False)
    assert table.meta["MODEL"] == note
    assert len(table)
    assert set(table["model"]) == {note}
    assert "p_shipped" in table.colnames
    assert note in (results / "index.html").read_text()
    for path in results.glob("scores/*.parquet"):
        assert {"p_shipped", "model"} <= set(pq.read_schema(path).names)
        assert set(pd.read_parquet(path)["model"]) == {note}
    logs = [path.read_text() for path in results.glob("logs/**/*.log")]
    assert sum(note in text for text in logs) >= 3
    assert not any((results / stage).exists() for stage in ("sample", "models", "evaluation"))


@pytest.mark.parametrize("model", ["given/model.keras", "shipped"])
def test_a_list_and_a_footprint_without_known_lenses(small_survey, tmp_path, model):
    if model == "shipped" and not SHIPPED.exists():
        pytest.skip("the package's model is not there yet")
    note = NOTE if model != "shipped" else describe_model(SHIPPED)
    write_model(tmp_path / "given")
    brick = small_survey.bricks[2]
    ra, dec = brick_grid(0.25).centre(brick)
    (tmp_path / "list.csv").write_text(f"name,ra,dec\nnice,{ra},{dec}\n,{ra},{dec + 0.003}\n")
    write_config(tmp_path, small_survey, model, targets="list.csv")
    output = run(tmp_path)
    assert note in output
    check_marks(tmp_path, note)
    table = pd.read_csv(tmp_path / "results" / "first-day" / "candidates" / "candidates.csv")
    assert sorted(table["id"]) == ["nice", "target-000002"]
    assert "Nothing to be done" in run(tmp_path)
    # Its card counts like its content.
    if model != "shipped":
        card = tmp_path / "given" / "card.json"
        card.write_text(card.read_text().replace('"version": "7"', '"version": "8"'))
        run(tmp_path)
        note = note.replace("7", "8")
        check_marks(tmp_path, note)
    # A whole brick.
    changes = {"footprint": {"bricks": [brick]}}
    changes["candidates"] = {"threshold": {"by": "number", "value": 3}}
    write_config(tmp_path, small_survey, model, **changes)
    run(tmp_path)
    check_marks(tmp_path, note)
