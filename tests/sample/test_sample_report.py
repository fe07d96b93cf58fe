"""Tests of lenspipe.sample.report and its figures."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run
from PIL import Image

from lenspipe.plotting import figures
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.records import write_records
from lenspipe.sample import report as sample_report
from lenspipe.sample.report import report_sample
from lenspipe.utils.errors import LenspipeError

SPLIT_OF_BRICK = ("train", "train", "validation", "test")
#: Of each brick: lenses, then what isn't.
CLASSES = ["lens"] * 4 + ["random"] * 5 + ["confusing:blue_<arc>", "confusing:ring", "graded"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a labelled sample, made up; the sample, and id -> pixels."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_run(
            n_bricks=4, per_brick=12, lenses=4, size=21, mosaics={"columns": 3, "rows": 2}
        )
        parts, images = [], []
        for i, split in enumerate(SPLIT_OF_BRICK):
            pixels, table = read_cutouts(settings.paths.cutouts(f"150{i}p300"))
            table = table.assign(split=split, grade="", **{"class": CLASSES})
            table.loc[table["class"] == "lens", "grade"] = ["B", "", "A", "C"]
            table.loc[table["class"] == "graded", "grade"] = "D"
            parts.append(table)
            images.append(pixels)
        hosts = parts[0][parts[0]["class"] == "random"].head(3)
        parts.append(hosts.assign(id="injected:" + hosts["id"], **{"class": "injected"}))
        images.append(2 * images[0][hosts.index])
        write_sample(settings, pd.concat(parts, ignore_index=True), np.concatenate(images))
    sample = pd.read_parquet(folder / settings.paths.sample)
    return folder, settings, sample, dict(zip(sample["id"], np.concatenate(images), strict=True))


def write_sample(settings, table, images):
    table["label"] = table["class"].isin(["lens", "injected"]).astype("float32")
    table["bin"] = table["type"] + " south " + table["nobs_z"].astype(str)
    table["psfsize_g"] = np.nan
    table["galdepth_r"] = np.linspace(500, 600, len(table))
    table["theta_e_arcsec"] = np.nan
    for split, rows in table.groupby("split"):
        rows = rows.sample(frac=1, random_state=1)
        shard = f"{split}-00000.tfrecord"
        path = settings.paths.sample.with_name(shard)
        write_records(path, images[rows.index], rows, rows["label"].to_numpy())
        table.loc[rows.index, "shard"] = shard
        table.loc[rows.index, "row"] = np.arange(len(rows))
    table.astype({"row": "int64"}).assign(references="").to_parquet(settings.paths.sample)


@pytest.fixture
def run(made, monkeypatch):
    monkeypatch.chdir(made[0])
    return made[1:]


@pytest.fixture
def no_figures(monkeypatch):
    for name in ("plot_distributions", "plot_sky"):
        monkeypatch.setattr(figures, name, lambda *args: None)


def test_report_counts_compares_and_shows(run, caplog):
    caplog.set_level(logging.INFO, "lenspipe")
    settings, sample, _ = run
    old = settings.paths.sample_report("mosaic-old.png")
    old.parent.mkdir(parents=True, exist_ok=True)
    old.touch()
    report = report_sample(settings)
    path = settings.paths.sample_report("report.json")
    assert json.loads(path.read_text()) == report
    counts = {name: pd.DataFrame(rows).set_index(name) for name, rows in report["counts"].items()}
    assert list(counts) == ["class", "grade", "type", "region", "exposures"]
    everything = counts["class"].loc["all"]
    assert everything["total"] == len(sample) == 51
    assert dict(everything) == {**sample["split"].value_counts(), "total": 51}
    assert dict(counts["class"]["total"]) == {**sample["class"].value_counts(), "all": 51}
    assert dict(counts["grade"]["total"]) == dict.fromkeys("ABCD", 4) | {"none": 4, "all": 20}
    assert dict(counts["region"].loc["south"]) == {
        "lenses train": 8, "lenses validation": 4, "lenses test": 4, "lenses total": 16,
        "non-lenses train": 16, "non-lenses validation": 8, "non-lenses test": 8,
        "non-lenses total": 32,
    }  # fmt: skip
    exposures = counts["exposures"].drop("all")
    real = sample[sample["class"] != "injected"]
    per_label = real.groupby(["nobs_z", "label"]).size().unstack(fill_value=0)
    assert [int(number) for number in exposures.index] == list(per_label.index)
    assert list(exposures["non-lenses total"]) == list(per_label[0])
    bins = pd.DataFrame(report["bins"]).set_index("bin")
    assert bins.loc["all", "ratio train"] == 2
    assert len(bins) - 1 == real["bin"].nunique()

    verdicts = {f"{e['quantity']} {e['band']}": e["verdict"] for e in report["quantities"]}
    assert len(verdicts) == 12
    assert verdicts["seeing g"] == "unknown"
    assert verdicts["depth r"] == "too few bricks"
    assert "sample: seeing g: unknown" in caplog.messages

    assert report["mosaics"] == [
        f"mosaic-{name}.png" for name in ("lens", "graded", "confusing", "random", "injected")
    ]
    page = settings.paths.sample_report("report.html").read_text()
    shown = ["distributions.png", "sky.png", *report["mosaics"]]
    assert re.findall('src="(.*?)"', page) == shown
    assert {file.name for file in path.parent.iterdir()} == {*shown, "report.html", "report.json"}
    for name in shown:
        with Image.open(path.with_name(name)) as image:
            assert min(image.size) > 200
    assert "confusing:blue_&lt;arc&gt;" in page
    assert "<arc>" not in page


def test_mosaics_show_what_is_in_the_records(run, no_figures, monkeypatch):
    settings, _, pixels = run
    pages = {}

    def keep(images, table, path, **options):
        pages[path.name] = images, table, options

    monkeypatch.setattr(sample_report, "draw_page", keep)
    report_sample(settings)
    first = {name: list(table["id"]) for name, (_, table, _) in pages.items()}
    for images, table, options in pages.values():
        assert options["columns"] == 3
        assert len(images) == len(table) <= 6
        np.testing.assert_array_equal(images, [pixels[id_] for id_ in table["id"]])
        assert list(table["rank"]) == list(range(1, len(table) + 1))
    notes = {name: list(table["note"]) for name, (_, table, _) in pages.items()}
    grades = [note.partition(",")[0] for note in notes["mosaic-lens.png"]]
    assert grades == sorted(grades, key=lambda grade: grade if len(grade) == 1 else "none")
    assert set(notes["mosaic-graded.png"]) == {f"D, {split}" for split in SPLIT_OF_BRICK}
    assert set(notes["mosaic-random.png"]) <= set(SPLIT_OF_BRICK)
    assert {note.partition(",")[0] for note in notes["mosaic-confusing.png"]} == {
        "blue <arc>",
        "ring",
    }
    assert notes["mosaic-injected.png"] == ["train"] * 3
    titles = [options["title"] for _, _, options in pages.values()]
    assert titles[0] == "fake: labelled sample, lens"
    assert pages["mosaic-random.png"][2]["subtitle"].startswith("6 of 20, chosen at random")

    report_sample(settings)
    assert {name: list(table["id"]) for name, (_, table, _) in pages.items()} == first
    report_sample(settings.model_copy(update={"seed": 2}))
    again = {name: list(table["id"]) for name, (_, table, _) in pages.items()}
    assert again["mosaic-random.png"] != first["mosaic-random.png"]


def test_a_sample_of_lenses_alone(run, no_figures, monkeypatch):
    settings, sample, _ = run
    monkeypatch.setattr(pd, "read_parquet", lambda path, **_: sample[sample["class"] == "lens"])
    report = report_sample(settings)
    assert report["mosaics"] == ["mosaic-lens.png"]
    assert not settings.paths.sample_report("mosaic-random.png").exists()
    assert {entry["verdict"] for entry in report["quantities"]} == {"unknown"}
    assert report["from_other_bins"] == 0


def test_records_of_another_sample_are_refused(run, no_figures, monkeypatch):
    settings, sample, _ = run
    shuffled = sample.assign(row=sample["row"].to_numpy()[::-1])
    monkeypatch.setattr(pd, "read_parquet", lambda path, **_: shuffled)
    with pytest.raises(LenspipeError, match="expected all; draw the labelled sample again"):
        report_sample(settings)
    assert not settings.paths.sample_report("report.json").exists()


def test_no_sample_is_an_error(run, monkeypatch):
    settings, *_ = run
    with pytest.raises(LenspipeError, match="no such file, expected the labelled sample"):
        report_sample(settings.model_copy(update={"run": "another"}))


def test_part_of_non_lenses_from_other_bins():
    lenses = pd.DataFrame({"bin": ["a"] * 10 + ["b"] * 10, "label": 1.0, "split": "train"})
    others = pd.DataFrame({"bin": ["a"] * 15 + ["b"] * 25, "label": 0.0, "split": "train"})
    found = sample_report._count_bins(pd.concat([lenses, others], ignore_index=True))
    assert found["from_other_bins"] == pytest.approx(5 / 40)
    assert [row["ratio train"] for row in found["bins"]] == [1.5, 2.5, 2]
    assert found["bins"][0]["ratio test"] is None


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    kept = []
    monkeypatch.setattr("lenspipe.plotting.style.save", lambda figure, path: kept.append(figure))
    return kept


def sky_of(ra, dec):
    table = pd.DataFrame({"ra": ra, "dec": dec, "label": np.arange(len(ra)) % 2})
    return table.assign(split=np.where(table.index % 3 == 0, "train", "test"))


def test_small_footprint_over_the_end_of_right_ascension(drawn):
    figures.plot_sky(sky_of([359.5, 359.9, 0.1, 0.6], [60.0, 60.2, 60.1, 60.0]), "sky.png")
    (axes,) = drawn[0].axes
    left, right = axes.get_xlim()
    assert 1 < left - right < 2
    assert axes.get_aspect() == pytest.approx(1 / np.cos(np.radians(60.1)))
    x = np.concatenate([points.get_offsets()[:, 0] for points in axes.collections])
    np.testing.assert_allclose(np.sort(x % 360), [0.1, 0.6, 359.5, 359.9])
    assert np.ptp(x) == pytest.approx(1.1)
    assert axes.xaxis.get_major_formatter()(360.25, None) == "0.25"


def test_wide_footprint_is_drawn_on_the_whole_sky(drawn):
    figures.plot_sky(sky_of([300.0, 359.0, 10.0, 60.0], [-60.0, 0.0, 10.0, 80.0]), "sky.png")
    (axes,) = drawn[0].axes
    assert axes.name == "mollweide"
    by_ra = np.concatenate([points.get_offsets() for points in axes.collections])
    # The middle is right ascension 0; East is to the left.
    assert axes.xaxis.get_major_formatter()(0, None) == "0°"
    assert axes.xaxis.get_major_formatter()(np.radians(60), None) == "300°"
    np.testing.assert_allclose(np.sort(np.degrees(by_ra[:, 0])), [-60, -10, 1, 60])


def test_distributions_add_up_to_one(drawn):
    rng = np.random.default_rng(0)
    panel = {"lenses": rng.normal(size=50), "others": rng.normal(size=500), "label": "x"}
    whole = panel | {"lenses": rng.integers(3, 9, 50), "others": rng.integers(3, 6, 70)}
    empty = panel | {"lenses": np.zeros(0), "others": np.zeros(0)}
    panels = [
        part | {"title": "t", "whole": part is whole, "marked": part is panel}
        for part in (panel, whole, empty, panel)
    ]
    figures.plot_distributions(panels, 2, "distributions.png")
    axes = drawn[0].axes
    assert len(axes) == 4
    for chart, bins in ((axes[0], 30), (axes[1], 6)):
        for shape in chart.patches:
            xy = shape.get_xy()
            heights = xy[1::2, 1][:bins]
            assert heights.sum() == pytest.approx(1)
    assert len(axes[2].patches) == 0
    assert axes[0].title.get_color() != axes[1].title.get_color()
