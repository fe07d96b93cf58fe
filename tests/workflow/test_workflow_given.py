"""The real workflow on a small survey with a given model: what fails, and what is kept."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from helpers.workflow import NETWORK, hashes, run, times

from lenspipe.models.registry import build

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def search(small_survey, tmp_path_factory):
    """A folder with a survey that a test may damage and mends, and the search's configuration."""
    folder = tmp_path_factory.mktemp("given")
    shutil.copytree(small_survey.tree, folder / "tree")
    model = build("cmu_deeplens", **NETWORK)
    model.save(folder / "given.keras")
    config = {
        "run": "few",
        "survey": {"release": "dr9", "tree": "tree"},
        "chunks": {"nside": 4},
        "parent": {"min_exposures": 1},
        "inference": {"model": "given.keras", "backend": "tensorflow"},
        "mosaics": {"per_brick": True},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_brick_that_cannot_be_read_costs_itself_and_the_exit_status(small_survey, search):
    brick, results = small_survey.bricks[3], search / "results" / "few"
    image = next(search.glob(f"tree/south/coadd/*/{brick}/*-image-r.fits.fz"))
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])

    output = run(search, fails=True)
    last = output.split("1 of 8 bricks failed, listed in results/few/missing.csv")[-1]
    assert last.splitlines()[1].startswith(f"  brick {brick}: tree/south/coadd/")
    assert "truncated" in last.splitlines()[1]
    assert last.splitlines()[2].startswith("With --config 'failures={retry: all}' it retries all")
    assert len(last.splitlines()) == 3
    missing = pd.read_csv(results / "missing.csv", dtype={"brick": str})
    assert missing[["brick", "transient"]].to_numpy().tolist() == [[brick, False]]
    assert json.loads((results / "summary.json").read_text())["n_galaxies"] == 28
    scores = pd.concat(map(pd.read_parquet, results.glob("scores/*.parquet")))
    assert set(scores["brick"]) == set(small_survey.bricks) - {brick}

    # Mended or not, it is not asked for unless somebody says so; nor does its failure reach others.
    assert "Nothing to be done" in run(search)
    other = small_survey.bricks[0]
    asked = f"results/few/cutouts/{other[:3]}/{other}.fits"
    assert "Cutting" in run(search, asked, "--forcerun", "brick_cutouts")
    cutouts = times(results / "cutouts")
    strict = run(search, "--config", "failures={strict: true}", fails=True)
    assert "lenspipe: error: to continue without these bricks" in strict
    assert f"lenspipe: error: brick {brick}: " in strict

    image.write_bytes(whole)
    run(search, "--config", "failures={retry: all}")
    after = times(results / "cutouts")
    assert {path.stem for path in after.keys() - cutouts.keys()} == {brick}
    assert cutouts.items() <= after.items()
    assert json.loads((results / "summary.json").read_text())["n_bricks_failed"] == 0
    assert "Nothing to be done" in run(search, "--config", "failures={retry: all}")
    assert "Nothing to be done" in run(search)


def change(folder, **changes):
    config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_cutouts_go_once_scored_and_come_back_where_they_are_wanted(small_survey, search):
    run(search)  # after the test above there is nothing to do
    few, less = search / "results" / "few", search / "results" / "less"
    cutouts = hashes(few, "cutouts/*/*.fits")
    assert len(cutouts) == 8
    scores = pd.concat(map(pd.read_parquet, sorted(few.glob("scores/*.parquet"))))
    best = scores.sort_values("p", ascending=False)
    threshold = float(best["p"].iloc[:2].mean())
    kept = best["brick"].iloc[0]
    assert "Nothing to be done" in run(search, "--config", "keep=all", "--dry-run")

    change(search, run="less", keep="scores", candidates={"threshold": threshold})
    run(search)
    again = pd.concat(map(pd.read_parquet, sorted(less.glob("scores/*.parquet"))))
    pd.testing.assert_frame_equal(again, scores)
    file = f"cutouts/{kept[:3]}/{kept}.fits"
    assert hashes(less, "cutouts/*/*.fits") == {file: cutouts[file]}
    assert len(list(less.glob("mosaics/bricks/*.png"))) == 8
    assert hashes(less, "manifests/cutouts/*.json") == hashes(few, "manifests/cutouts/*.json")
    assert list(less.glob("records/*.tfrecord")) == []
    assert "Nothing to be done" in run(search)

    # Its neighbour is looked at, which takes nothing from the run.
    other = next(brick for brick in small_survey.bricks if brick != kept)
    output = run(search, f"results/less/mosaics/bricks/{other}.png")
    assert "Selecting galaxies" not in output
    asked = f"cutouts/{other[:3]}/{other}.fits"
    assert hashes(less, "cutouts/*/*.fits") == {name: cutouts[name] for name in (file, asked)}
    # Its scores by itself may differ in the last digit, and so its mosaic: that is noted, no more.
    assert "Deleting" not in run(search)
    assert (less / asked).exists()

    # Of a run that has ended the cutouts go, too, and nothing is scored again.
    change(search, run="few")
    output = run(search)
    assert "Scoring" not in output
    assert "Cutting" not in output
    assert hashes(few, "cutouts/*/*.fits") == {file: cutouts[file]}
    # A model that is given anew scores what has to be cut again.
    build("cmu_deeplens", **NETWORK).save(search / "given.keras")
    output = run(search)
    assert "Cutting" not in output
    assert "deleted after scoring, cut again" in output
    anew = pd.concat(map(pd.read_parquet, sorted(few.glob("scores/*.parquet"))))
    assert anew["id"].tolist() == scores["id"].tolist()
    assert (anew["p"] != scores["p"]).any()
