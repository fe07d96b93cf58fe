"""The real workflow, from end to end, on a tiny simulated sky."""

import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.workflow import NETWORK, command, hashes, run, times

import lenspipe
from lenspipe.cli.main import main
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.schema import PRODUCTS
from lenspipe.products.verify import compare_run

pytestmark = pytest.mark.workflow

BRICKS = ["1500p322", "1502p325", "1505p325"]
CONFIG = {
    "run": "tiny",
    "seed": 3,
    "footprint": {"bricks": BRICKS},
    "chunks": {"nside": 16},
    "simulation": {
        "galaxies_per_brick": 60,
        "faint_per_brick": 200,
        "stars_per_brick": 30,
        "lenses_per_brick": 25,
        "overlap": False,
    },
    "parent": {"min_exposures": 1},
    "sample": {"fractions": [0.34, 0.33, 0.33], "negatives_per_lens": 0.8},
    "training": {
        "network_settings": NETWORK,
        "epochs": 2,
        "batch_size": 16,
        "decay_epochs": [1],
    },
    "inference": {"backend": "tensorflow"},
    "candidates": {"threshold": 0.2},
    "mosaics": {"per_brick": True},
}


def write_config(folder, **changes):
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run that has ended well, with its output."""
    folder = tmp_path_factory.mktemp("workflow")
    write_config(folder)
    (folder / "output.txt").write_text(run(folder))
    return folder


@pytest.fixture
def results(finished):
    return finished / "results" / "tiny"


def test_its_files_are_those_of_the_schema(results):
    problems, numbers = compare_run(results)
    assert problems == []
    made = {key for key, product in PRODUCTS.items() if not product.optional and product.path}
    assert made - numbers.keys() <= {key for key in made if PRODUCTS[key].temporary}


def test_it_leaves_everything_that_it_promises(finished, results):
    summary = json.loads((results / "summary.json").read_text())
    assert 0 <= summary["auc"] <= 1
    assert summary["n_lenses"] > 0
    assert summary["n_nonlenses"] > 0
    assert summary["n_bricks"] == 3
    assert summary["peak_rss_mb"] > 100
    assert summary["disk_mb"] > 100
    assert summary["wall_s"] > 5
    page = (results / "status.html").read_text()
    assert "Done, last write" in page
    assert "data:image/png;base64," in page
    pages = json.loads((results / "mosaics" / "pages.json").read_text())
    assert summary["n_mosaic_pages"] == len(list((results / "mosaics").glob("page-*.png"))) > 0
    assert pages
    metrics = json.loads((results / "models" / "resnet" / "metrics.json").read_text())
    assert 0 <= metrics["test_auc"] <= 1
    assert metrics["test_completeness_fpr_1e-5"] is None
    figures = ("history", "roc", "threshold", "reliability", "activations")
    for figure in figures:
        assert (results / "models" / "resnet" / f"{figure}.png").stat().st_size > 1000
    for brick in BRICKS:
        assert (results / "mosaics" / "bricks" / f"{brick}.png").stat().st_size > 1000
    candidates = results / "candidates"
    found = {path.name for path in candidates.iterdir()}
    formats = {f"candidates.{suffix}" for suffix in ("fits", "csv", "vot", "reg")}
    assert found == formats | {
        *(
            "cuts.json",
            "threshold.json",
            "viewer.fits",
            "sky.png",
            "searched.fits",
            "searched.json",
        ),
    }
    threshold = json.loads((candidates / "threshold.json").read_text())
    assert threshold["n_candidates"] == summary["n_candidates"]
    assert threshold["expected"]["n_lenses"] > 0
    purity = json.loads((results / "purity" / "purity.json").read_text())
    assert purity["n_random"] + sum(purity["left_out"].values()) == summary["n_galaxies"]
    assert (results / "purity" / "purity.png").stat().st_size > 1000
    audit = pd.read_csv(results / "parent" / "audit.csv")
    assert (audit["before"] - audit["after"] == audit["removed"]).all()
    output = (finished / "output.txt").read_text()
    assert "no GPU found" in output or "GPU" in output
    assert "mosaics" in output
    assert "Open results/tiny/index.html in a browser. Next:" in output
    assert "lenspipe inspect results/tiny" in output
    page = re.sub(r"(?s)<script.*?</script>", "", (results / "index.html").read_text())
    links = re.findall(r'(?:href|src)="([^"#]+)"', page)
    assert len(links) > 40
    assert [link for link in links if not (results / link).exists()] == []
    assert len(lenspipe.open_run(results).candidates) >= summary["n_candidates"]


def test_scores_have_a_row_for_every_cutout(results):
    scores = pd.concat(map(pd.read_parquet, (results / "scores").glob("*.parquet")))
    ids = [i for path in (results / "cutouts").rglob("*.fits") for i in read_cutouts(path)[1]["id"]]
    assert sorted(scores["id"]) == sorted(ids)
    assert scores["p"].between(0, 1).all()


def test_the_sample_never_divides_a_brick(results):
    sample = pd.read_parquet(results / "sample" / "sample.parquet")
    assert (sample.groupby("brick")["split"].nunique() == 1).all()
    assert {"train", "validation"} <= set(sample["split"])


def test_a_second_run_does_nothing(finished):
    before = times(finished)
    assert "Nothing to be done" in run(finished)
    assert times(finished) == before


def test_published_candidates_are_looked_for(finished, results):
    listed = {"path": "results/tiny/sky/known-lenses.csv", "name": "listed"}
    write_config(finished, recovery={"catalogs": listed})
    output = run(finished)
    assert "Looking for published candidates" in output
    assert "Scoring" not in output
    summary = json.loads((results / "recovery" / "listed.json").read_text())
    table = pd.read_csv(results / "recovery" / "listed.csv")
    number = len(pd.read_csv(results / "sky" / "known-lenses.csv"))
    assert summary["n_entries"] == len(table) == number
    assert sum(counts["all"] for counts in summary["reasons"].values()) == number
    known = pd.read_csv(results / "sample" / "known-lenses.csv")
    other = known[(known["fate"] == "train") & ~known["id"].isin(table["id"])]
    # An entry with several galaxies nearby stands for that of the highest score.
    assert other["names"].isin(table.loc[table["n_matches"] > 1, "name"]).all()
    assert table.loc[table["scored"], "split"].eq("train").any()
    assert not table["reason"].isin(["chunk not done", "brick failed"]).any()
    assert "Nothing to be done" in run(finished)
    write_config(finished)


def test_lenses_are_painted_and_compared(finished, results):
    write_config(finished, selection={"number": 30})
    output = run(finished)
    assert "Painting lenses" in output
    assert "Scoring" not in output
    assert compare_run(results)[0] == []
    painted = pd.read_parquet(results / "selection" / "injected.parquet")
    sample = pd.read_parquet(results / "sample" / "sample.parquet")
    splits = sample.set_index("id")["split"]
    assert len(painted) == 30
    assert set(painted["brick"].map(sample.groupby("brick")["split"].first())) == {"test"}
    assert set(splits.reindex(painted["id"].unique()).dropna()) <= {"test"}
    scores = pd.concat(map(pd.read_parquet, (results / "scores").glob("*.parquet")))
    expected = scores.set_index("id")["p"].loc[painted["id"]].to_numpy()
    np.testing.assert_array_equal(painted["p_host"], expected)
    expected = json.loads((results / "expected" / "expected.json").read_text())
    assert 0 <= expected["expected"]["low"] <= expected["expected"]["high"]
    assert expected["found"]["true"] <= expected["found"]["candidates"]
    realism = json.loads((results / "selection" / "realism.json").read_text())
    assert realism["verdict"].startswith("too few") or 0 <= realism["auc_features"] <= 1
    function = SelectionFunction.read(results / "selection" / "selection.fits")
    assert (function.n_painted, function.n_found) == (30, painted["found"].sum())
    summary = json.loads((results / "selection" / "selection.json").read_text())
    assert summary["realism"] == realism
    prediction = json.loads((results / "selection" / "prediction.json").read_text())
    assert 0 <= prediction["low"] <= prediction["high"] <= prediction["n"]
    assert "Nothing to be done" in run(finished)
    write_config(finished)


def test_one_brick_is_restored_alone(finished, results):
    run(finished)  # its page, without what other tests had switched on
    brick = BRICKS[1]
    cutouts = results / "cutouts" / brick[:3] / f"{brick}.fits"
    content = read_cutouts(cutouts)
    target = f"results/tiny/mosaics/bricks/{brick}.png"
    others = {path: t for path, t in times(finished).items() if path != cutouts}
    cutouts.unlink()
    output = run(finished, target)
    again = read_cutouts(cutouts)
    np.testing.assert_array_equal(again[0], content[0])
    pd.testing.assert_frame_equal(again[1], content[1])
    assert {path: t for path, t in times(finished).items() if path in others} == others
    assert "Training" not in output
    run(finished, target)  # draws the mosaic once more: now nothing is missing
    assert "Nothing to be done" in run(finished, target, "all")


def test_killed_while_training_it_ends_as_if_undisturbed(finished, results):
    path = next((results / "scores").glob("*.parquet"))
    scores = pd.read_parquet(path).set_index("id")["p"]
    sample = hashes(results, "sample/*")
    # A model that is there is kept as long as its sample and settings are the same.
    model, log = results / "models" / "resnet" / "model.keras", results / "logs/train/resnet.log"
    for file in (model, log):
        file.unlink()
    process = subprocess.Popen(
        command(finished, str(model.relative_to(finished)), "--forcerun", "sample"),
        cwd=finished, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    begin = time.time()
    while not (log.exists() and "epoch 1/2: loss" in log.read_text()):
        assert process.poll() is None
        assert time.time() - begin < 200
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # As users do, with a new Python for each job, up to the model.
    run(finished, str(model.relative_to(finished)), forked=False)
    run(finished)
    assert model.exists()
    assert hashes(results, "sample/*") == sample
    again = pd.read_parquet(path).set_index("id")["p"]
    np.testing.assert_allclose(again.loc[scores.index], scores, atol=1e-5)


def test_bad_settings_are_all_said_at_once_before_any_job(tmp_path):
    write_config(tmp_path, parent={"mag_zmax": 20}, cutouts={"size": 100})
    output = run(tmp_path, fails=True)
    assert "parent.mag_zmax: unknown; did you mean 'mag_z_max'" in output
    assert "cutouts.size: found 100" in output
    assert not (tmp_path / "results").exists()


def test_an_unknown_brick_is_named(finished):
    output = run(finished, "results/tiny/mosaics/bricks/0000m010.png", fails=True)
    assert "brick 0000m010: not in this run's footprint" in output


def test_a_truncated_coadd_costs_only_its_brick(finished, results):
    brick = BRICKS[2]
    cutouts = results / "cutouts" / brick[:3] / f"{brick}.fits"
    image = next(results.glob(f"sky/*/coadd/*/{brick}/*-image-r.fits.fz"))
    whole = image.read_bytes()
    others = {path: t for path, t in times(finished).items() if path != cutouts}
    cutouts.unlink()
    image.write_bytes(whole[: len(whole) // 2])
    try:
        output = run(finished, str(cutouts.relative_to(finished)), fails=True)
    finally:
        image.write_bytes(whole)
    (line,) = {line for line in output.splitlines() if "lenspipe: error" in line}
    assert image.name in line
    assert {path: t for path, t in times(finished).items() if path in others} == others
    run(finished, str(cutouts.relative_to(finished)))
    assert cutouts.exists()


OWN_NETWORK = """
from lenspipe.models.layers import head, stem
from lenspipe.utils.tensorflow import keras

def tiny(bands, size, filters=4):
    inputs, x = stem(bands, size, filters, stride=4)
    return head(inputs, keras.layers.Conv2D(filters, 3, activation="relu")(x), "tiny")
"""


def test_networks_are_combined_and_compared(finished, results):
    (finished / "mine.py").write_text(OWN_NETWORK)
    short = {"epochs": 1, "decay_epochs": []}
    members = {"resnet": {}, "mine": {"network": "mine.py:tiny", "batch_size": 8} | short}
    training = CONFIG["training"] | {"name": "both"}
    write_config(finished, training=training, ensemble={"members": members})
    output = run(finished, "results/tiny/models/both/metrics.json")
    assert "Drawing the labelled sample" not in output
    # The network that has been trained already is a member as it is.
    assert "Training resnet" not in output
    report = json.loads((results / "models" / "both" / "ensemble.json").read_text())
    assert set(report["of_members"]) == {"mine", "resnet"}
    notes = json.loads((results / "models" / "mine" / "training.json").read_text())
    assert notes["network"] == "mine.py:tiny"
    # A changed source trains that member anew, and no other.
    (finished / "mine.py").write_text(OWN_NETWORK.replace("filters=4", "filters=5"))
    plan = run(finished, "results/tiny/models/both/metrics.json", "--dry-run")
    assert "Training mine" in plan
    assert "Training resnet" not in plan
    sweep = {"settings": {"batch_size": [8, 16]}, "fpr": 0.5}
    write_config(finished, training=training | short, sweep=sweep)
    run(finished, "sweep")
    table = pd.read_csv(results / "sweep" / "sweep.csv")
    assert table["status"].tolist() == ["done", "done"]
    best = yaml.safe_load((results / "sweep" / "best.yaml").read_text())
    assert best["training"]["batch_size"] in (8, 16)
    assert "Nothing to be done" in run(finished, "sweep")
    write_config(finished)


def test_what_is_mined_and_graded_goes_into_the_next_sample(finished, results):
    run(finished, "mine")
    mined = results / "mined" / "version-1.csv"
    assert (results / "mined" / "version-1-page-0001.png").stat().st_size > 1000
    assert main(["grade", str(results)]) == 0
    graded = pd.read_csv(mined).set_index("id")["grade"]
    assert set(graded) <= {"A", "D"}
    assert len(graded) > 0
    sample = {**CONFIG["sample"], "graded": str(mined.relative_to(finished))}
    write_config(finished, sample=sample)
    output = run(finished, "results/tiny/sample/sample.parquet")
    assert "Training" not in output
    sample = pd.read_parquet(results / "sample" / "sample.parquet").set_index("id")
    split = pd.read_csv(results / "sample" / "splits.csv").set_index("brick")["split"]
    assert (sample.loc[graded.index.intersection(sample.index), "split"] == "train").all()
    lenses = graded.index[graded == "A"]
    assert (sample.loc[lenses, "class"] == "lens").all()
    assert set(sample.index[sample["class"] == "graded"]) <= set(graded.index[graded == "D"])
    assert len(sample[sample["class"] == "graded"]) + len(lenses) > 0
    assert set(split) == {"train", "validation", "test"}
    assert (results / "sample" / "versions" / "2.parquet").exists()
