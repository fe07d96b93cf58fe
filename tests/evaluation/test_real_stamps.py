"""Tests of the benchmarks on real stamps."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenspipe.models.registry import build

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network for the stamps."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    small = {"widths": [8, 16], "units": 1, "stem_filters": 8, "stem_stride": 2, "crop": 51}
    build("cmu_deeplens", "grz", 101, **small).save(path)
    return path


@pytest.fixture
def run_benchmark(monkeypatch, capsys):
    """Run a benchmark as its command does, without importing TensorFlow anew; what it prints."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for library in ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP"):
        monkeypatch.setenv(f"{library}_THREADS", "1")

    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [script, "--json", *map(str, options)])
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_table_of_real_stamps(run_benchmark, model):
    flat = run_benchmark("real_stamps.py", "--model", model, "--symmetries", "1")
    numbers = {"n_lens": 143, "n_lens_ab": 71, "n_red": 156, "n_group": 10, "n_all": 314}
    assert {key: flat[key] for key in numbers} == numbers
    for key in ("auc_red", "auc_all_ab", "completeness10_all", "g_ratio_auc_other"):
        assert 0 <= flat[f"{key}_low"] <= flat[key] <= flat[f"{key}_high"] <= 1
    # It doesn't depend on the model.
    assert flat["g_ratio_auc_red"] == pytest.approx(0.861, abs=0.001)


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_injected_arcs_and_pages(run_benchmark, model, tmp_path):
    options = ("--model", model, "--symmetries", "1", "--injected", "1", "--half", "a")
    flat = run_benchmark("real_stamps.py", *options, "--pages", tmp_path)
    assert flat["n_red"] == 78
    assert flat["n_injected"] == 23
    assert sum(flat[key] for key in flat if key.startswith("n_injected_arc_snr")) == 23
    pages = {"false-group", "false-nearby", "false-other", "false-red", "missed-injected"}
    assert {path.stem for path in tmp_path.glob("*.png")} == pages | {"missed-lens"}


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_white_noise_is_told_from_real_noise(run_benchmark, model, tmp_path):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 0.003, (80, 3, 101, 101)).astype(np.float32)
    images[:, :, 45:56, 45:56] += np.array([0.02, 0.07, 0.12])[:, None, None]
    np.savez(tmp_path / "stamps.npz", images=images, kind=["lens", "elliptical"] * 40)
    page = tmp_path / "page.png"
    stamps = ("--stamps", tmp_path / "stamps.npz", "--page", page)
    flat = run_benchmark("told_apart.py", *stamps, "--model", model)
    assert flat["auc_noise"] > 0.95
    assert abs(flat["simulated_r_lag_1"]) < 0.02 < 0.1 < flat["DR10_r_lag_1"]
    for name in ("lens", "red"):
        for space in ("colours", "magnitudes", "profiles", "neighbours", "features"):
            key = f"auc_{space}_{name}"
            assert 0 <= flat[f"{key}_low"] <= flat[key] <= flat[f"{key}_high"] <= 1
    with Image.open(page) as drawn:
        assert drawn.size[0] > 12 * 202
