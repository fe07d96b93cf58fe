"""The real workflow on a survey that a server holds."""

import json

import pandas as pd
import pytest
import yaml
from helpers.loopback import Fault, Loopback
from helpers.workflow import NETWORK, run

from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.models.registry import build

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize("catalogs", ["sweeps", "tap"])
def test_sweeps_and_queries_wait_for_the_table_of_bricks(
    small_survey, tmp_path, catalogs, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = {
        "run": "few",
        "survey": {"release": "dr9", "tree": str(small_survey.tree), "catalogs": catalogs},
        "retrieval": {"contact": "me@example.org"},
        "chunks": {"nside": 4},
        "sample": {"known_lenses": "known.csv"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (chunk,) = load_plan(load_settings(config))
    brick = small_survey.bricks[0]
    for target in (f"parent/{chunk}.parquet", f"cutouts/{brick[:3]}/{brick}.fits"):
        output = run(tmp_path, f"results/few/{target}", "--dry-run")
        assert "Listing the bricks of the footprint" in output


def test_what_a_server_does_not_give_is_asked_for_again(small_survey, tmp_path):
    model = build("cmu_deeplens", **NETWORK)
    model.save(tmp_path / "given.keras")
    ill, well = small_survey.bricks[1], [small_survey.bricks[5]]

    def faults(request):
        return Fault("500") if f"{ill}-image-r" in request.path and ill not in well else None

    with Loopback(small_survey.tree, faults=faults) as server:
        config = {
            "run": "remote",
            "survey": {"release": "dr9", "tree": server.url},
            "retrieval": {"contact": "me@example.org", "attempts": 1},
            "parent": {"min_exposures": 1},
            "inference": {"model": "given.keras", "backend": "tensorflow"},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        output = run(tmp_path, fails=True)
        results = tmp_path / "results" / "remote"
        summary = json.loads((results / "summary.json").read_text())
        assert summary["n_bricks"] == 8
        assert summary["n_bricks_failed"] == summary["n_bricks_to_retry"] == 1
        missing = pd.read_csv(results / "missing.csv", dtype={"brick": str})
        assert missing[["brick", "transient"]].to_numpy().tolist() == [[ill, True]]
        assert "500 Internal Server Error" in missing["reason"][0]
        assert "Running the same command again retries 1 of them" in output
        scores = {path: path.read_bytes() for path in results.glob("scores/*.parquet")}
        assert sum(len(pd.read_parquet(path)) for path in scores) == 28

        run(tmp_path, "--dry-run")
        assert (results / "summary.json").exists()
        well.append(ill)
        server.reset()
        run(tmp_path)
        summary = json.loads((results / "summary.json").read_text())
        assert summary["n_bricks_failed"] == summary["n_bricks_to_retry"] == 0
        assert summary["n_galaxies"] == 32
        coadds = {
            request.path.split("/")[-2] for request in server.requests if "coadd" in request.path
        }
        assert coadds == {ill}
        changed = [path for path, content in scores.items() if path.read_bytes() != content]
        assert len(changed) == 1
        server.reset()
        assert "Nothing to be done" in run(tmp_path)
        assert server.requests == []
