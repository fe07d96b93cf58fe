"""The real workflow on a list of targets, with a model that is given: no training, no catalogue."""

import json

import pandas as pd
import pytest
import yaml
from astropy.table import Table
from helpers.tiny_sky import write_sky
from helpers.workflow import NETWORK, hashes, run

from lenspipe.config.paths import SkyPaths
from lenspipe.config.settings import load_settings
from lenspipe.models.registry import build
from lenspipe.products.cutouts import read_cutouts

pytestmark = pytest.mark.workflow

#: Three in one brick, of which one has a name, and one in another brick of another chunk.
TARGETS = """name,RA,DEC,remark
,10.1250,0.0005,
O'Brien & 7,10.1300,0.005,nice
,10.1210,-0.004,
,11.8750,0.0005,alone
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run that has ended well."""
    folder = tmp_path_factory.mktemp("targets")
    (folder / "list.csv").write_text(TARGETS)
    model = build("cmu_deeplens", **NETWORK)
    model.save(folder / "given.keras")
    config = {"seed": 3, "chunks": {"nside": 64}, "simulation": {}}
    config |= {"run": "few", "targets": "list.csv"}
    config |= {"inference": {"model": "given.keras", "backend": "tensorflow"}}
    # Galaxies above the threshold would be all or none, whatever the model thinks.
    config |= {"candidates": {"threshold": 1.0}, "training": {"name": "mine"}}
    config |= {"mosaics": {"per_brick": True}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    sky = SkyPaths(folder / "results" / "few" / "sky")
    write_sky(sky)
    # From now on Snakemake knows the sky as the outcome of this configuration.
    run(folder, "--touch", "results/few/sky/sky.json")
    (folder / "output.txt").write_text(run(folder))
    return folder


@pytest.fixture
def results(finished):
    return finished / "results" / "few"


def test_targets_are_ranked_and_drawn(finished, results):
    path = results / "candidates" / "candidates.fits"
    table = Table.read(path, character_as_bytes=False).to_pandas()
    assert sorted(table["id"]) == ["O'Brien & 7", "target-000001", "target-000003", "target-000004"]
    assert table["p"].is_monotonic_decreasing
    assert (table["p_mine"] == table["p"]).all()
    names = dict(zip(table["id"], table["name"], strict=True))
    assert names["O'Brien & 7"] == "O'Brien & 7"
    assert names["target-000004"] == "DESI-011.8750+00.0005"
    assert table["mag_z"].isna().all()
    assert "O'Brien & 7" in (results / "index.html").read_text()
    assert list((results / "mosaics").glob("page-*.png")) == [results / "mosaics" / "page-0001.png"]
    drawn = {path.stem for path in (results / "mosaics" / "bricks").glob("*.png")}
    assert drawn == set(table["brick"])
    summary = json.loads((results / "summary.json").read_text())
    assert summary["n_candidates"] == summary["n_galaxies"] == 4
    assert summary["n_bricks"] == 2
    assert summary["auc"] is summary["n_lenses"] is None
    assert summary["targets_without_data"] == []
    assert not any((results / stage).exists() for stage in ("sample", "models", "evaluation"))
    audit = pd.read_csv(results / "parent" / "audit.csv")
    assert audit.iloc[:, :4].to_numpy().tolist() == [["targets", 4, 4, 0]]
    assert "Training" not in (finished / "output.txt").read_text()


def test_a_second_run_does_nothing(finished):
    before = hashes(finished, "results/few/**/*.fits")
    assert "Nothing to be done" in run(finished)
    assert hashes(finished, "results/few/**/*.fits") == before


def test_one_brick_is_restored_alone(finished, results):
    (cutouts,) = results.glob("cutouts/*/0118p000.fits")
    catalog = read_cutouts(cutouts)[1]
    cutouts.unlink()
    run(finished, f"results/few/mosaics/bricks/{cutouts.stem}.png")
    pd.testing.assert_frame_equal(read_cutouts(cutouts)[1], catalog)


def test_another_list_costs_only_what_it_changes(finished, results):
    """Moves a target within its brick; the other brick stays as it is."""
    (alone,) = results.glob("cutouts/*/0118p000.fits")
    before = alone.stat().st_mtime_ns
    (finished / "list.csv").write_text(TARGETS.replace("10.1300", "10.1305"))
    output = run(finished, "results/few/candidates/candidates.csv")
    assert "Simulating" not in output
    table = pd.read_csv(results / "candidates" / "candidates.csv").set_index("id")
    assert table.loc["O'Brien & 7", "ra"] == 10.1305
    assert alone.stat().st_mtime_ns == before


def test_a_missing_model_is_said_before_any_job(finished, tmp_path):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    (tmp_path / "list.csv").write_text(TARGETS)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_settings(config).inference.model == "given.keras"
    output = run(tmp_path, fails=True)
    assert "given.keras: no such file, expected a trained model (.keras)" in output
    assert not (tmp_path / "results").exists()
