"""The example run of the notebooks."""

import numpy as np
import pandas as pd
import pytest

import lenspipe
from lenspipe.runs import write_example_run
from lenspipe.utils.errors import LenspipeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("example")


@pytest.fixture(scope="module")
def root(folder):
    return write_example_run(folder)


def test_example_run_is_opened_like_any_other(root, folder):
    assert root == folder / "results" / "example"
    run = lenspipe.open_run(root)
    scores, candidates = run.scores.to_pandas(), run.candidates
    assert len(scores) == 120
    # Candidates are the galaxies above the threshold, best first, and nothing merges.
    above = scores[scores["p"] >= run.settings.candidates.threshold.value]
    assert list(candidates["id"]) == list(above.sort_values("p", ascending=False)["id"])
    assert run.galaxy(candidates["name"][0]).cutout.shape == (3, 41, 41)
    # Most lenses score high, and a third of the galaxies are lenses.
    truth = pd.read_parquet(run.paths.truth)
    lens = scores["id"].isin(truth.loc[truth["kind"] == "lens", "id"])
    assert lens.sum() == 40
    assert scores["p"][lens].median() > 0.9 > 0.3 > scores["p"][~lens].median()


def test_example_run_has_a_selection_function(root):
    function = lenspipe.open_run(root).selection_function
    population = function.typical(3)
    population["theta_e_arcsec"], population["arc_snr"] = 2.0, [3.0, 20.0, 150.0]
    completeness = function.completeness(population)["completeness"].to_numpy()
    # The lenses were found by a formula, which flattens at 3 logits.
    logits = (4 * (np.log10(population["arc_snr"]) - 1.3) + 0.75).clip(-6, 3)
    np.testing.assert_allclose(completeness, 1 / (1 + np.exp(-logits)), atol=0.08)


def test_example_run_is_reproducible(root, tmp_path):
    again = write_example_run(tmp_path)
    paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert len(paths) > 20
    assert [p for p in paths if (root / p).read_bytes() != (again / p).read_bytes()] == []


def test_example_run_replaces_nothing(root, folder):
    with pytest.raises(LenspipeError, match="results/example: found a folder, expected none"):
        write_example_run(folder)
