"""Tests of lenspipe.status.summary."""

import contextlib
import itertools
import json
import os
import shutil

import numpy as np
import pytest
from helpers.cards import NOTE, write_model
from helpers.scored_run import BRICKS, CHUNK, make_run, make_settings
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.candidates.find import find_candidates, forecast
from lenspipe.config.settings import load_settings
from lenspipe.evaluation.purity.measure import measure_purity
from lenspipe.evaluation.search import evaluate
from lenspipe.mosaics.pages import draw_candidate_pages
from lenspipe.products.manifests import read_manifest, write_manifest
from lenspipe.status.job_times import peak_sum, read_benchmarks, union_length
from lenspipe.status.summary import summarise
from lenspipe.utils.errors import LenspipeError

HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"
# On a grid of whole seconds, so that a count of seconds is the truth.
INTERVALS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 9)), max_size=12
)


def write_benchmark(path, end, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(f"{s}\t0:00:01\t{rss}\t-\n" for s, rss in rows))
    os.utime(path, (end, end))


@given(INTERVALS)
def test_peak_is_the_largest_sum_at_any_second(intervals):
    start, length, weight = np.array(intervals, int).reshape(-1, 3).T
    sums = [weight[(start <= t) & (t < start + length)].sum() for t in range(91)]
    assert peak_sum(start, start + length, weight) == max(sums)


@given(INTERVALS, st.integers(0, 20))
def test_union_counts_seconds_and_short_gaps(intervals, longest_gap):
    start, length, _ = np.array(intervals, int).reshape(-1, 3).T
    busy = np.zeros(91, bool)
    for first, n in zip(start, length, strict=True):
        busy[first : first + n] = True
    assert union_length(start, start + length) == busy.sum()
    # Even a job of no length interrupts a gap.
    edges = sorted({*start, *(start + length), *np.flatnonzero(busy), *(np.flatnonzero(busy) + 1)})
    gaps = [b - a for a, b in itertools.pairwise(edges) if not busy[a:b].any()]
    expected = busy.sum() + sum(gap for gap in gaps if gap < longest_gap)
    assert union_length(start, start + length, longest_gap) == expected


def test_benchmarks_of_snakemake(tmp_path):
    write_benchmark(tmp_path / "a" / "x.tsv", 1000, (100, 50.5))
    write_benchmark(tmp_path / "b.tsv", 1100, (0.2, "-"))
    write_benchmark(tmp_path / "c.tsv", 1200, (3, "NA"), (4, 7))
    jobs = read_benchmarks(tmp_path)
    assert list(jobs["end"]) == [1000, 1100, 1200]
    assert list(jobs["start"]) == pytest.approx([900, 1099.8, 1193])
    assert list(jobs["rss_mb"]) == [50.5, 0, 7]
    assert list(read_benchmarks(tmp_path, since=1150)["end"]) == [1200]
    (tmp_path / "d.tsv").touch()
    assert len(read_benchmarks(tmp_path)) == 3
    assert len(read_benchmarks(tmp_path / "none")) == 0
    (tmp_path / "b.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(LenspipeError, match="found columns a, b, expected"):
        read_benchmarks(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with contextlib.chdir(folder):
        settings = make_settings(candidates={"threshold": 0.8})
        make_run(settings)
        find_candidates(settings)
        measure_purity(settings)
        forecast(settings)
        draw_candidate_pages(settings)
        evaluate(settings)
    return folder, settings


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    folder, settings = finished
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return settings


def test_a_run_summed_up(run, caplog):
    settings = run
    manifest = read_manifest(settings.paths.manifest("cutouts", CHUNK))
    manifest[BRICKS[0]] = {"status": "failed", "count": 0, "hash": "", "reason": "torn file"}
    write_manifest(settings.paths.manifest("cutouts", CHUNK), manifest)
    # Two jobs at once, a third soon after; the next day another one.
    write_benchmark(settings.paths.benchmark("parent", "a"), 100, (100, 300))
    write_benchmark(settings.paths.benchmark("parent", "b"), 90, (50, 500))
    write_benchmark(settings.paths.benchmark("train"), 200, (50, 700))
    write_benchmark(settings.paths.benchmark("scores"), 90_000, (20, 10))
    with caplog.at_level("INFO", logger="lenspipe"):
        summary = summarise(settings)
    assert json.loads(settings.paths.summary.read_text()) == summary
    metrics = json.loads(settings.paths.evaluation("metrics.json").read_text())
    for key in ("auc", "completeness_threshold_low", "n_lenses", "n_nonlenses"):
        assert summary[key] == metrics[key]
    # At the cut in use, of all galaxies that no training saw.
    purity = json.loads(settings.paths.purity("purity.json").read_text())
    (row,) = (r for r in purity["at_cuts"] if r["value"] == "never trained on")
    assert summary["n_random"] == row["n"] > 0
    assert summary["false_positive_rate_threshold"] == row["passed"] / row["n"]
    assert summary["false_positive_rate_threshold_high"] == row["high"]
    assert f"completeness {100 * metrics['completeness_threshold']:.3g} %" in caplog.text
    assert f"of {row['n']} galaxies that no training saw" in caplog.text
    assert summary["model"] is None
    assert summary["wall_s"] == 220
    assert summary["peak_rss_mb"] == 800
    assert summary["n_galaxies"] == 90
    assert (summary["n_bricks"], summary["n_bricks_failed"]) == (4, 1)
    assert summary["targets_without_data"] is None
    assert summary["n_mosaic_pages"] == -(-summary["n_candidates"] // 8)
    files = [path for path in settings.paths.root.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files if path != settings.paths.summary)
    assert summary["disk_mb"] == pytest.approx(total / 2**20, abs=0.1)
    assert "page-0001.png" in caplog.text
    assert "1 bricks FAILED" in caplog.text


def test_a_search_with_a_given_model_is_not_judged(run, caplog):
    run.paths.evaluation("metrics.json").unlink()
    (run.paths.root / "list.csv").write_text("name,ra,dec\n,10.1,0\nfar,200,60\n")
    config = run.model_dump(exclude={"footprint"}) | {"inference": {"model": "model.keras"}}
    config |= {"targets": str(run.paths.root / "list.csv")}
    config |= {"simulation": None, "survey": {"tree": "survey"}}
    with caplog.at_level("INFO", logger="lenspipe"):
        summary = summarise(load_settings(config))
    assert summary["auc"] is summary["completeness_threshold"] is None
    assert summary["n_lenses"] is summary["n_nonlenses"] is None
    assert summary["targets_without_data"] == ["far"]
    assert "no data     1 targets: far" in caplog.text
    assert "AUC" not in caplog.text
    assert "missed.png" not in caplog.text


def test_a_model_with_a_card_is_named(run, caplog):
    write_model(run.paths.root / "given")
    given = {"model": str(run.paths.root / "given" / "model.keras")}
    settings = load_settings(run.model_dump() | {"inference": given})
    with caplog.at_level("INFO", logger="lenspipe"):
        assert summarise(settings)["model"] == NOTE
    assert f"  model       {NOTE}" in caplog.messages


def test_a_run_that_is_not_evaluated_is_refused(run):
    run.paths.evaluation("metrics.json").unlink()
    with pytest.raises(LenspipeError, match=r"metrics\.json: no such file, expected"):
        summarise(run)
