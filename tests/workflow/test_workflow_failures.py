"""The real workflow with bricks that can't be read, on a small survey and a given model."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from test_workflow import CONFIG, run, times

from lenspipe.models import build

pytestmark = pytest.mark.workflow


@pytest.fixture
def search(small_survey, tmp_path):
    """A folder with a survey that a test may damage, and the configuration of its search."""
    shutil.copytree(small_survey.tree, tmp_path / "tree")
    model = build("cmu_deeplens", **CONFIG["training"]["network_settings"])
    model.save(tmp_path / "given.keras")
    config = {
        "run": "few",
        "survey": {"release": "dr9", "tree": "tree"},
        "parent": {"min_exposures": 1},
        "inference": {"model": "given.keras"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_a_brick_that_cannot_be_read_costs_itself_and_the_exit_status(small_survey, search):
    brick, results = small_survey.bricks[3], search / "results" / "few"
    image = next(search.glob(f"tree/south/coadd/*/{brick}/*-image-r.fits.fz"))
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])

    output = run(search, fails=True)
    last = output.split("1 of 8 bricks failed, listed in results/few/missing.csv")[-1]
    assert last.splitlines()[1].startswith(f"  brick {brick}: tree/south/coadd/")
    assert "truncated" in last.splitlines()[1]
    assert last.splitlines()[2].startswith("With --config 'failures={retry: all}' it tries all")
    assert len(last.splitlines()) == 3
    missing = pd.read_csv(results / "missing.csv", dtype={"brick": str})
    assert missing[["brick", "passing"]].to_numpy().tolist() == [[brick, False]]
    assert json.loads((results / "summary.json").read_text())["n_galaxies"] == 28
    scores = pd.concat(map(pd.read_parquet, results.glob("scores/*.parquet")))
    assert set(scores["brick"]) == set(small_survey.bricks) - {brick}

    # Mended or not, it is not asked for unless somebody says so; nor does its failure reach others.
    assert "Nothing to be done" in run(search)
    cutouts, other = times(results / "cutouts"), small_survey.bricks[0]
    run(search, f"results/few/mosaics/bricks/{other}.png")
    strict = run(search, "--config", "failures={strict: true}", fails=True)
    assert "lenspipe: error: to go on without these bricks" in strict
    assert f"lenspipe: error: brick {brick}: " in strict

    image.write_bytes(whole)
    run(search, "--config", "failures={retry: all}")
    after = times(results / "cutouts")
    assert {path.stem for path in after.keys() - cutouts.keys()} == {brick}
    assert cutouts.items() <= after.items()
    assert json.loads((results / "summary.json").read_text())["n_bricks_failed"] == 0
    assert "Nothing to be done" in run(search, "--config", "failures={retry: all}")
    assert "Nothing to be done" in run(search)
