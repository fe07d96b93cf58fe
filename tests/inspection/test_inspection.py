"""Tests of lenspipe.inspection: lists, pictures, grades, agreement."""

import csv
import io
import json
import secrets
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from helpers.fake_run import make_run as make_whole_run
from helpers.portal import make_run, write_candidates
from PIL import Image

from lenspipe.catalogs.known_lenses import read_graded_lists
from lenspipe.followup.choice import read_graded
from lenspipe.inspection.agreement import krippendorff_alpha, measure_agreement
from lenspipe.inspection.controls import control_files, copy_known_controls, draw_injected_controls
from lenspipe.inspection.grades import export_grades, grade_of_mean, grade_table
from lenspipe.inspection.images import Cutout, Cutouts, candidates_to_grade, draw_strip
from lenspipe.inspection.lists import Lists, Mix
from lenspipe.inspection.store import Store, split_item
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tables import unescape_formulas


@pytest.fixture
def run(tmp_path):
    """A run of 30 candidates and its votes."""
    paths = make_run(tmp_path)
    store = Store(paths.inspection())
    for name in ("anna", "ben", "carl"):
        store.add_grader(name)
    yield SimpleNamespace(paths=paths, store=store)
    store.close()


def put(store, grader, grades, stage=1, comment=""):
    votes = [
        {"key": f"{grader} {stage} {item} {grade}", "item": item, "grade": grade,
         "comment": comment, "seconds": 2.0}
        for item, grade in grades.items()
    ]  # fmt: skip
    store.add_votes(grader, stage, votes)


# --- Lists ---


def test_each_grader_has_an_order_of_their_own_that_stays(run):
    lists = Lists(run.paths, run.store, Mix())
    anna, ben = lists.for_grader("anna"), lists.for_grader("ben")
    assert anna != ben
    assert sorted(i for i in anna if ":" not in i) == sorted(lists.candidates.index)
    assert Lists(run.paths, run.store, Mix(seed=5, repeats=0.5)).for_grader("anna") == anna
    again = Store(run.paths.root / "other.sqlite")
    again.add_grader("anna")
    assert Lists(run.paths, again, Mix()).for_grader("anna") == anna
    assert Lists(run.paths, again, Mix()).for_grader("anna") == anna
    again.add_grader("carl")
    assert Lists(run.paths, again, Mix(seed=1)).for_grader("carl") != Lists(
        run.paths, run.store, Mix()
    ).for_grader("carl")
    again.close()


def test_repeats_come_long_after(run):
    anna = Lists(run.paths, run.store, Mix(repeats=0.2)).for_grader("anna")
    repeats = [i for i in anna if split_item(i)[0] == "repeat"]
    assert len(repeats) == len(set(repeats)) == 6
    for item in repeats:
        assert anna.index(item) - anna.index(split_item(item)[1]) >= len(anna) // 3 - 2


def test_new_candidates_come_at_the_end_and_lost_ones_are_passed_over(run):
    before = Lists(run.paths, run.store, Mix()).for_grader("anna")
    parts = [pd.DataFrame({"id": [f"9010-1-{i}" for i in range(900, 903)]})]
    new = parts[0].assign(ra=1.0, dec=[1.0, 2.0, 3.0], brick="1000p300", flags=0)
    old = candidates_to_grade(run.paths).reset_index().iloc[1:]
    write_candidates(run.paths, pd.concat([old[list(new)], new], ignore_index=True))
    lists = Lists(run.paths, run.store, Mix())
    after = lists.for_grader("anna")
    assert after[: len(before)] == before
    assert sorted(after[len(before) :]) == sorted(new["id"])
    gone = [item for item in after if not lists.exists(item)]
    assert {split_item(item)[1] for item in gone} == {"9010-1000-0"}


def test_stage_two_has_what_stage_one_liked(run):
    put(run.store, "anna", {"9010-1000-0": "A", "9010-1000-1": "C", "9010-1000-2": "D"})
    put(run.store, "ben", {"9010-1000-0": "B", "9010-1000-1": "D", "repeat:9010-1000-2": "A"})
    assert Lists(run.paths, run.store, Mix(stage=2)).for_grader("carl") == ["9010-1000-0"]
    lists = Lists(run.paths, run.store, Mix(stage=2, limit=1.5, repeats=0))
    assert sorted(lists.for_grader("anna")) == ["9010-1000-0", "9010-1000-1"]


def test_what_is_slipped_in_looks_like_any_other(run):
    copy_known_controls(run.paths, run.paths.cutouts("1001p300"))
    lists = Lists(run.paths, run.store, Mix(controls=control_files(run.paths)))
    items = lists.for_grader("anna")
    assert sum(split_item(item)[0] == "known" for item in items) == 10
    planted = next(item for item in items if item.startswith("known:"))
    galaxy = split_item(planted)[1]
    assert lists.describe(planted) == lists.describe(galaxy) == lists.describe(f"repeat:{galaxy}")
    np.testing.assert_array_equal(lists.read(planted).image, lists.read(galaxy).image)


def test_simulated_lenses_come_from_the_sample(tmp_path, monkeypatch):
    from lenspipe.products.records import write_records

    monkeypatch.chdir(tmp_path)
    settings = make_whole_run(n_bricks=1, per_brick=12)
    paths = settings.paths
    with pytest.raises(LenspipeError, match=r"--injected: found no .*injected.parquet"):
        draw_injected_controls(paths, 3, 0)
    cutouts = Cutouts()
    places, _ = cutouts.rows(paths.cutouts("1500p300"))
    images = np.array([cutouts.read(paths.cutouts("1500p300"), i).image for i in places])
    table = pd.read_parquet(paths.parent("64-000000")).assign(flags=0, grade="")
    table["class"] = np.where(np.arange(12) < 5, "injected", "random")
    table.loc[:4, "id"] = "injected:" + table["id"][:5]
    write_records(paths.root / "sample" / "train-00000.tfrecord", images, table, np.ones(12))
    table[["id"]][:5].assign(id=table["id"][:5].str.removeprefix("injected:")).to_parquet(
        paths.injected
    )
    draw_injected_controls(paths, 3, 0)
    places, rows = cutouts.rows(paths.inspection("injected.fits"))
    assert len(places) == 3
    for id_, i in places.items():
        row = int(id_.rpartition("-")[2])
        assert row < 5
        np.testing.assert_array_equal(
            cutouts.read(paths.inspection("injected.fits"), id_).image, images[row]
        )
        assert rows["ra"][i] == table["ra"][row]


# --- Candidates and pictures ---


def test_candidates_with_fewer_and_more_columns(run):
    full = Table.read(run.paths.candidates)
    full["new"] = 1.0
    full.write(run.paths.candidates, overwrite=True)
    table = candidates_to_grade(run.paths)
    assert table["known"].sum() == 5
    assert list(table["flags"][:3]) == [0, 4, 0]
    full.keep_columns(["id", "ra", "dec", "brick"])
    full.write(run.paths.candidates, overwrite=True)
    few = candidates_to_grade(run.paths)
    assert list(few["name"]) == list(table["name"])
    assert not few["known"].any()
    full.remove_column("dec")
    full.write(run.paths.candidates, overwrite=True)
    with pytest.raises(LenspipeError, match=r"candidates.fits: found no column dec"):
        candidates_to_grade(run.paths)


@pytest.mark.parametrize(
    ("column", "value"), [("brick", "../../x"), ("id", "repeat:1"), ("id", "9010-1000-1")]
)
def test_candidates_that_lead_elsewhere_are_refused(run, column, value):
    table = Table.read(run.paths.candidates)
    table[column] = [value, *map(str, table[column][1:])]
    table.write(run.paths.candidates, overwrite=True)
    with pytest.raises(
        LenspipeError, match=r"candidates.fits: found (an invalid brick|a duplicate id|an id)"
    ):
        candidates_to_grade(run.paths)


def test_a_run_without_candidates_has_empty_lists(run):
    run.paths.candidates.unlink()
    assert Lists(run.paths, run.store, Mix()).for_grader("anna") == []
    write_candidates(
        run.paths, pd.DataFrame({n: [] for n in ("id", "ra", "dec", "brick", "flags")})
    )
    assert Lists(run.paths, run.store, Mix()).for_grader("anna") == []


def test_cutouts_are_read_one_at_a_time(run):
    path, cutouts = run.paths.cutouts("1000p300"), Cutouts()
    cutout = cutouts.read(path, "9010-1000-7")
    assert cutout.image.shape == (3, 33, 33)
    assert cutout.bands == "grz"
    assert len(cutout.shape) == 2
    with pytest.raises(LenspipeError, match="found no galaxy 9010-1000-70"):
        cutouts.read(path, "9010-1000-70")
    with pytest.raises(LenspipeError, match="no such file, expected cutouts"):
        cutouts.read(run.paths.cutouts("1234p300"), "x")


def test_a_strip_has_north_up():
    image = np.zeros((3, 11, 11), np.float32)
    image[0, 9, 2] = 1  # in g, in the north and east
    strip = Image.open(io.BytesIO(draw_strip(Cutout(image, "grz", (np.nan, np.nan)))))
    assert strip.size == (66, 11)
    pixels = np.asarray(strip).astype(int)
    assert pixels[1, 2, 2] > 200  # blue
    assert pixels[1, 2, :2].max() < 60
    assert pixels[1, 11 + 2].min() > 200  # the panel of g
    assert pixels[1, 22 + 2].max() < 60
    brighter = np.asarray(
        Image.open(io.BytesIO(draw_strip(Cutout(image + 0.01, "grz", (np.nan, np.nan)), gain=5)))
    )
    assert brighter.mean() > pixels.mean()
    alone = draw_strip(Cutout(image[:1], "r", (np.nan, np.nan)), "difference")
    assert Image.open(io.BytesIO(alone)).size == (33, 11)  # image, band and residual


def test_a_strip_begins_with_what_is_asked():
    rng = np.random.default_rng(0)
    cutout = Cutout(rng.normal(0, 0.05, (3, 11, 11)).astype(np.float32), "grz", (0.1, 0.0))

    def parts(show):
        strip = np.asarray(Image.open(io.BytesIO(draw_strip(cutout, show))))
        return np.split(strip, 6, axis=1)

    image, residual, difference = (parts(show) for show in ("image", "residual", "difference"))
    np.testing.assert_array_equal(image[4], residual[0])
    np.testing.assert_array_equal(image[5], difference[0])
    np.testing.assert_array_equal(residual[4], image[0])
    np.testing.assert_array_equal(difference[5], residual[0])
    np.testing.assert_array_equal(difference[1:4], image[1:4])


# --- Grades ---


@pytest.mark.parametrize(
    ("mean", "grade"),
    [(4, "A"), (3.5, "A"), (10 / 3, "B"), (3, "B"), (2.75, "B"), (8 / 3, "C"), (2.5, "C"),
     (2, "C"), (5 / 3, "D"), (1, "D"), (np.nan, "")],
)  # fmt: skip
def test_every_mean_has_a_grade(mean, grade):
    assert grade_of_mean(mean) == grade


def test_grades_are_means_of_standing_votes_of_the_latest_stage(run):
    put(run.store, "anna", {"x": "D"})
    put(run.store, "anna", {"x": "A", "y": "B", "z": "C"})
    put(run.store, "anna", {"y": ""})
    put(run.store, "ben", {"x": "B", "repeat:x": "D"}, comment="arc?")
    put(run.store, "ben", {"z": "D"})
    put(run.store, "carl", {"z": "B"}, stage=2)
    table = grade_table(run.store, ["x", "y", "z"])
    assert list(table["grade"]) == ["A", "", "B"]
    assert list(table["mean"][["x", "z"]]) == [3.5, 3]
    assert list(table["spread"][["x", "z"]]) == [0.5, 0]
    assert list(table["n_votes"]) == [2, 0, 1]
    assert list(table["stage"]) == [1, 0, 2]
    assert table["votes"]["x"] == "anna: A | ben: B"
    assert table["comments"]["x"] == "ben: arc? | ben: arc?"
    assert list(table["tags"]) == ["", "", ""]


def test_tags_are_counted_by_grader(run):
    for grader, item, tags in (
        ("anna", "x", ["merger", "ring"]), ("anna", "repeat:x", ["ring"]), ("ben", "x", ["ring"]),
        ("ben", "y", ["spiral"]), ("ben", "y", []),
    ):  # fmt: skip
        vote = {"key": secrets.token_hex(8), "item": item, "grade": "", "comment": ""}
        run.store.add_votes(grader, 1, [vote | {"seconds": 0.0, "tags": tags}])
    assert list(grade_table(run.store, ["x", "y"])["tags"]) == ["ring: 2 | merger: 1", ""]
    assert run.store.votes()[0]["tags"] == "ring merger"


def test_export_is_a_catalogue_and_the_next_sample_reads_it(run, tmp_path, monkeypatch):
    from lenspipe.config.settings import load_settings

    ids = list(candidates_to_grade(run.paths).index)
    put(run.store, "anna", dict(zip(ids, "ABCD", strict=False)), comment='Bögen, "faint"\n, blue')
    put(run.store, "ben", dict(zip(ids, "AACD", strict=False)))
    counts = export_grades(run.paths, run.store)
    assert counts == {"A": 2, "C": 1, "D": 1, "": 26}
    table = Table.read(run.paths.inspection("grades.fits"))
    before = Table.read(run.paths.candidates)
    assert table.colnames[: len(before.colnames)] == before.colnames
    assert list(table["grade"][:5].filled("")) == ["A", "A", "C", "D", ""]
    assert table["grade"].description.startswith("Grade from the mean")
    csv = pd.read_csv(run.paths.inspection("grades.csv"))
    assert csv["comments"][0] == 'anna: Bögen, "faint"\n, blue'
    votes = pd.read_csv(run.paths.inspection("votes.csv"))
    assert list(votes["grade"]) == list("ABCDAACD")
    agreement = json.loads(run.paths.inspection("agreement.json").read_text())
    assert agreement["stage_1"]["pairs"][0]["n"] == 4
    monkeypatch.chdir(tmp_path)
    config = {"run": "next", "simulation": {}, "footprint": {"ra": [1, 2], "dec": [1, 2]}}
    graded = str(run.paths.inspection("grades.csv"))
    read = read_graded_lists(load_settings(config | {"sample": {"graded": graded}}).sample.graded)
    assert list(read["grade"][:5]) == ["A", "A", "C", "D", ""]
    np.testing.assert_allclose(read["ra"], before["ra"])


def test_no_exported_text_starts_a_formula(run, tmp_path):
    texts = [
        "=1+1",
        "+a",
        "-a",
        "@a",
        "\ta",
        "\ra",
        "\r\n=a\n",
        "'=quoted",
        "''=x",
        "'plain",
        "a=b",
        "-1",
    ]
    table = Table.read(run.paths.candidates)
    table["name"] = [*texts, *map(str, table["name"][len(texts) :])]
    table.write(run.paths.candidates, overwrite=True)
    ids = [str(id_) for id_ in table["id"]]
    for id_, text in zip(ids, texts, strict=False):
        put(run.store, "anna", {id_: "A"}, comment=text)
    export_grades(run.paths, run.store)
    for file in ("grades.csv", "votes.csv"):
        rows = pd.read_csv(run.paths.inspection(file), dtype=str, keep_default_na=False)
        for column in ("name", "comments", "comment"):
            assert not rows.get(column, pd.Series(dtype=str)).str.match(r"[=+\-@\t\r]").any()
    # Before 3.1, pandas takes a carriage return within a text for the end of a line.
    with open(run.paths.inspection("votes.csv"), newline="") as file:
        votes = pd.DataFrame(csv.DictReader(file))
    assert list(unescape_formulas(votes)["comment"]) == texts
    graded = read_graded(run.paths)
    assert list(graded.set_index("id")["grade"][ids[: len(texts)]]) == ["A"] * len(texts)
    read = read_graded_lists([str(run.paths.inspection("grades.csv"))])
    assert list(read["name"][: len(texts)]) == [text.strip() for text in texts]


def test_export_of_no_candidates(run):
    write_candidates(
        run.paths, pd.DataFrame({n: [] for n in ("id", "ra", "dec", "brick", "flags")})
    )
    assert export_grades(run.paths, run.store) == {}
    assert len(Table.read(run.paths.inspection("grades.fits"))) == 0


# --- Agreement ---


def test_alpha_equals_the_published_example():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section C: 0.815 (ordinal).
    graders = [
        (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
        (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
        (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
        (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
    ]
    given = np.array(graders)
    counts = np.stack([(given == value).sum(axis=0) for value in range(1, 6)], axis=1)
    alpha, low, high = krippendorff_alpha(counts)
    assert alpha == pytest.approx(0.815, abs=5e-4)
    assert low < 0.5
    assert 0.95 < high < 1
    many = krippendorff_alpha(np.tile(counts, (20, 1)))
    assert many[2] - many[1] < (high - low) / 4


def test_a_mistake_by_three_grades_weighs_more_than_three_by_one():
    even = np.diag([2, 2, 2, 2]).repeat(10, axis=0)
    far, near = even.copy(), even.copy()
    far[0] = [1, 0, 0, 1]
    near[[0, 10, 20]] = [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert krippendorff_alpha(far)[0] < krippendorff_alpha(near)[0] - 0.01


def test_agreement_without_a_difference_is_not_certain():
    alpha, low, high = krippendorff_alpha(np.diag([2, 2, 2, 2]).repeat(5, axis=0))
    assert alpha == high == 1
    # With that fraction of images graded as by chance none of 20 would differ one time in forty.
    assert low == pytest.approx(0.025 ** (1 / 20))
    assert krippendorff_alpha([[3, 0, 0, 0], [3, 0, 0, 0]]) == (None, None, None)
    assert krippendorff_alpha([[1, 0, 0, 0], [0, 2, 0, 0]]) == (None, None, None)
    assert krippendorff_alpha(np.zeros((0, 4))) == (None, None, None)


def test_consistency_and_completeness_of_a_grader():
    grades = {"anna": {"x": "A", "repeat:x": "B", "y": "D", "repeat:y": "D", "known:k": "C",
                       "injected:i": "D", "injected:j": "A", "z": ""},
              "ben": {"x": "A", "y": "C"}}  # fmt: skip
    votes = [
        {"grader": name, "item": item, "grade": grade}
        for name, own in grades.items() for item, grade in own.items()
    ]  # fmt: skip
    result = measure_agreement(votes, known=["y"])
    assert result["graders"]["anna"] == {
        "n": 2,
        "repeats": {"n": 2, "same": 0.5, "mean_difference": 0.5},
        "found_known": {"n": 2, "found": 0.5},
        "found_injected": {"n": 2, "found": 0.5},
    }
    assert result["graders"]["ben"]["repeats"] == {"n": 0, "same": None, "mean_difference": None}
    assert result["pairs"] == [
        {
            "one": "anna",
            "other": "ben",
            "n": 2,
            "same": 0.5,
            "alpha": pytest.approx(5 / 6),
            "alpha_low": pytest.approx(0.0, abs=0.02),
            "alpha_high": 1.0,
        }
    ]
    assert result["all"]["n"] == 2
