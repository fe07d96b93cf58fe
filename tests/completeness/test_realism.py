"""Tests of lenspipe.completeness.realism and lenspipe.statistics.two_sample."""

import builtins
import json

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from test_painting import CONFIG, SIZE, TEST, changed, write_model, write_sample, write_truth

from lenspipe.catalogs.known_lenses import read_confusing
from lenspipe.completeness import realism
from lenspipe.completeness.hosts import HeldOutGalaxies
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.activations import features
from lenspipe.products.cutouts import read_cutouts
from lenspipe.scoring.score import load_model, score_images
from lenspipe.statistics.two_sample import average_auc, classifier_auc, ring_fluxes
from lenspipe.training.ensemble import join
from lenspipe.utils.crossmatch import is_near
from lenspipe.utils.errors import LenspipeError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_run(6, 50, 14, 4, size=SIZE, **CONFIG)
        write_model(settings)
        write_sample(settings)
        write_truth(settings)
        result = realism.measure_realism(settings)
    return folder, settings, result


@pytest.fixture
def settings(run, monkeypatch):
    monkeypatch.chdir(run[0])
    return run[1]


# Populations that can be separated, or not.


def populations(number, shift, rng, groups=8):
    label = np.arange(number) % 2 == 0
    values = rng.normal(size=(number, 30)) + shift * label[:, None]
    return values, label, rng.integers(groups, size=number)


def test_equal_populations_can_not_be_separated():
    rng = np.random.default_rng(1)
    found = [classifier_auc(*populations(200, 0.0, rng)) for _ in range(40)]
    areas, lows, highs = np.transpose(found)
    assert areas.mean() == pytest.approx(0.5, abs=0.03)
    inside = (lows <= 0.5) & (highs >= 0.5)
    assert inside.mean() >= 0.85


def test_very_different_populations_can_be_separated():
    area, low, high = classifier_auc(*populations(200, 5.0, np.random.default_rng(2)))
    assert area == pytest.approx(1.0, abs=1e-3)
    assert 0.9 < low < area <= high


def test_properties_of_a_group_do_not_help():
    # Each group has a mark and mostly one class: random folds would find it, folds by group don't.
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(10), 30)
    label = rng.random(300) < np.where(group % 2, 0.8, 0.2)
    marks = rng.normal(0, 5, (10, 12))[group] + rng.normal(size=(300, 12))
    assert classifier_auc(marks, label, group)[0] < 0.75
    assert classifier_auc(marks, label, rng.integers(10, size=300))[0] > 0.75
    assert classifier_auc(marks, label, np.zeros(300)) == (None, None, None)


def test_the_area_s_interval_covers_as_it_says():
    rng = np.random.default_rng(4)
    truth = norm.cdf(1 / np.sqrt(2))
    covered = []
    for _ in range(400):
        folds = [(rng.normal(1, 1, n), rng.normal(0, 1, m)) for n, m in ((20, 30), (25, 15))]
        area, low, high = average_auc(folds)
        assert low < area < high
        covered.append(low <= truth <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)
    one = rng.normal(1, 1, 40), rng.normal(0, 1, 60)
    expected = roc_auc_score(np.repeat([1, 0], (40, 60)), np.concatenate(one))
    assert average_auc([one])[0] == pytest.approx(expected)
    assert average_auc([]) == (None, None, None)


def test_rings_see_where_light_is_and_its_colour():
    images = np.zeros((4, 3, 61, 61), np.float32)
    images[:, :, 30, 30] = [1.0, 2.0, 4.0]
    images[1, 0, 30, 38] = 5.0  # 2.1 arcsec away
    images[2, :, :, :10] = np.nan
    images[3, 1] = np.nan
    plain, arc, lacking, no_band = ring_fluxes(images, 0.262)
    assert plain == pytest.approx(lacking)
    assert plain[0] == pytest.approx(np.arcsinh(1 / 0.05))
    assert np.flatnonzero(arc[:18] != plain[:18]).tolist() == [2]
    assert arc[2] == pytest.approx(np.arcsinh(5 / 0.05))
    assert len(plain) == 8 * 3 - 2
    # A band without any data counts as dark.
    assert no_band[:18] == pytest.approx([*plain[:6], *6 * [0], *plain[12:18]])
    # The ring is bluer than the centre.
    assert arc[20] > plain[20]


# Features, and the whole of it.


def test_features_are_what_the_last_layer_works_on(settings):
    model = load_model(settings.paths.model("resnet"))
    images = read_cutouts(settings.paths.cutouts(TEST[0]))[0][:11]
    found = features(model, images, batch_size=4)
    weights, bias = model.layers[-1].get_weights()
    assert found.shape == (11, len(weights))
    p = 1 / (1 + np.exp(-(found @ weights + bias)[:, 0]))
    assert p == pytest.approx(score_images(model, images), abs=1e-4)
    # Of an ensemble those of its first member.
    both = join({"one": model, "two": model}, "mean")
    assert features(both, images) == pytest.approx(found, abs=1e-5)


def test_real_lenses_are_held_out_and_hosts_are_like_them(settings, run):
    result = run[2]
    galaxies, cutouts = HeldOutGalaxies.of(settings), CutoutFiles.of(settings)
    bricks, sample = galaxies.bricks(), settings.sample
    lenses = realism._read_known_lenses(galaxies, bricks, sample, np.random.default_rng(1))
    assert set(lenses["brick"]) == set(TEST)
    assert len(lenses) == result["n_real"] == 28
    _, real = realism._good_cutouts(cutouts, lenses)
    pool = galaxies.read_pool(bricks)
    confusing = read_confusing(sample, settings.paths, settings.retrieval, True)
    others = pool[~is_near(pool, confusing, sample.match_radius_arcsec)]
    candidates = realism._host_candidates(others, 560, np.random.default_rng(1))
    hosts = realism._match_hosts(candidates, real)
    assert len(hosts) == len(real) == hosts["id"].nunique()
    # Neither lenses nor confusing galaxies, which come first in a brick.
    assert hosts["id"].str.rpartition("-")[2].astype(int).min() >= 18
    far = np.abs(pool["mag_z"].mean() - real["mag_z"].mean()) + 0.2
    assert abs(hosts["mag_z"].mean() - real["mag_z"].mean()) < far


def test_result_and_figure_are_written(settings, run):
    result = run[2]
    assert json.loads(settings.paths.selection("realism.json").read_text()) == result
    assert settings.paths.selection("realism.png").stat().st_size > 10_000
    assert result["verdict"] == "measured"
    assert result["n_injected"] == 28
    assert result["n_bricks"] == 2
    assert result["trained_on"] is False
    for space in ("features", "photometry"):
        ends = [result[f"auc_{space}{end}"] for end in ("_low", "", "_high")]
        assert 0 <= ends[0] <= ends[1] <= ends[2] <= 1
    assert 0 <= result["ks"] <= 1
    assert 0 <= result["ks_p"] <= 1
    again = realism.measure_realism(settings)
    assert again == result


def test_too_few_real_lenses_are_reported(settings, monkeypatch):
    monkeypatch.setattr(realism, "_MIN_REAL_LENSES", 29)
    result = realism.measure_realism(settings)
    assert result["verdict"] == "too few real lenses: 28, fewer than 29"
    assert result["auc_features"] is None
    assert set(result) == set(json.loads(settings.paths.selection("realism.json").read_text()))
    assert settings.paths.selection("realism.png").exists()


def test_lenses_that_were_trained_on_are_left_out(settings):
    all_trained = changed(settings, sample={"fractions": "none"})
    result = realism.measure_realism(all_trained)
    # The sample has the first 12 of each brick, so two of its 14 lenses are left.
    assert result["n_real"] == 2 * 6
    assert result["verdict"].startswith("too few real lenses")
    given = changed(settings, inference={"model": str(settings.paths.model("resnet"))})
    galaxies, rng = HeldOutGalaxies.of(given), np.random.default_rng(1)
    lenses = realism._read_known_lenses(galaxies, galaxies.bricks(), given.sample, rng)
    assert len(lenses) == 14 * 6


def test_flagged_cutouts_are_left_out(settings):
    lenses = pd.DataFrame({"id": [], "brick": []})
    cutouts = CutoutFiles.of(settings)
    images, table = realism._good_cutouts(cutouts, lenses)
    assert len(images) == len(table) == 0
    _, catalog = read_cutouts(settings.paths.cutouts(TEST[0]))
    rows = catalog[["id", "brick"]][:3]
    assert len(realism._good_cutouts(cutouts, rows)[1]) == 3
    read = CutoutFiles.read

    def flagged(cutouts, rows):
        images, table = read(cutouts, rows)
        table["flags"] = [1, 0, 0]
        table["psfsize_g"] = [1.0, 1.0, 0.0]
        return images, table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CutoutFiles, "read", flagged)
        assert realism._good_cutouts(cutouts, rows)[1]["id"].tolist() == [rows["id"].iloc[1]]


def test_without_scikit_learn_there_is_one_line(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LenspipeError, match=r"sklearn: not installed.*lenspipe\[demo\]"):
        classifier_auc(*populations(20, 0.0, np.random.default_rng(1)))
