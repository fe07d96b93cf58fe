"""Exchange with other projects: what is written is read by their libraries, and votes come back."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from helpers.scored_run import make_searched_run
from PIL import Image

import lenspipe
from lenspipe.cli.main import main
from lenspipe.exchange import zooniverse

RUN = "results/demo"
WRITE_HATS = Path(__file__).parents[2] / "envs" / "write_hats.py"

READ_HATS = """
import hats, pandas, sys
catalogue = hats.read_hats(sys.argv[1])
files = sorted(catalogue.catalog_path.rglob("Npix=*.parquet"))
table = pandas.concat(map(pandas.read_parquet, files))
assert len(table) == catalogue.catalog_info.total_rows
table.reset_index().to_csv(sys.argv[2], index=False)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_searched_run(tmp_path_factory.mktemp("exchange"))


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return lenspipe.open_run(RUN)


def classification(number, user, item, answer, text=""):
    """A row of an export, in the form that the Zooniverse documents."""
    annotations = [{"task": "T0", "task_label": "Is this a lens?", "value": answer}]
    if text:
        annotations.append({"task": "T1", "task_label": "Remarks", "value": text})
    times = {
        "started_at": "2026-11-01T10:00:00.000Z",
        "finished_at": "2026-11-01T10:00:07.500Z",
    }
    return {
        "classification_id": number,
        "user_name": user,
        "annotations": json.dumps(annotations),
        "subject_data": json.dumps({str(9000 + number): {"retired": None, "#id": item}}),
        "subject_ids": 9000 + number,
        "metadata": json.dumps(times),
    }


def test_a_subject_set_has_an_image_of_each_candidate(run):
    assert main(["export", RUN, "--format", "zooniverse"]) == 0
    folder = run.paths.exchange("zooniverse")
    manifest = pd.read_csv(folder / "manifest.csv")
    assert manifest.columns.tolist() == ["image", "#id", "#name", "#ra", "#dec"]
    assert manifest["#id"].tolist() == list(run.candidates["id"])
    np.testing.assert_allclose(manifest["#ra"], run.candidates["ra"].value)
    for name in manifest["image"]:
        with Image.open(folder / name) as image:
            assert image.size == (6 * 41 * 4, 41 * 4)
    assert not any(column.strip("#") == "p" for column in manifest)


def test_no_candidates_give_an_empty_manifest(run, tmp_path, monkeypatch):
    none = zooniverse.candidates_to_grade(run.paths)[:0]
    monkeypatch.setattr(zooniverse, "candidates_to_grade", lambda paths: none)
    assert zooniverse.write_subjects(run.paths, tmp_path) == 0
    assert (tmp_path / "manifest.csv").read_text() == "image,#id,#name,#ra,#dec\n"


def test_nothing_is_replaced_unasked(run, capsys):
    main(["export", RUN, "--format", "zooniverse", "--overwrite"])
    assert main(["export", RUN, "--format", "zooniverse"]) == 1
    assert "manifest.csv: exists; give --overwrite" in capsys.readouterr().err


def test_votes_of_volunteers_become_grades(run, tmp_path, capsys):
    first, second = list(run.candidates["id"])[:2]
    rows = [
        classification(1, "anna", first, "Yes", "a ring"),
        classification(2, "not logged in", first, "Maybe"),
        classification(3, "anna", second, "No"),
        classification(4, "anna", "9010-1-1", "No"),
    ]
    path = tmp_path / "classifications.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    arguments = ["import", RUN, str(path), "--answers", "Yes=A", "Maybe=C", "No=D"]
    for _ in range(2):  # a file that is read twice counts once
        assert main(arguments) == 0
    assert "3 votes of 2 graders" in capsys.readouterr().out
    assert main(["inspect", RUN, "--export"]) == 0
    grades = run.grades.to_pandas().set_index("id")
    assert grades.loc[first, "votes"] == "anna: A | not-logged-in-f18a: C"
    assert grades.loc[first, "mean"] == 3.0
    assert grades.loc[first, "comments"] == "anna: a ring"
    assert grades.loc[second, "grade"] == "D"
    votes = pd.read_csv(run.paths.inspection("votes.csv"))
    assert votes["seconds"].tolist() == [7.5] * 3


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "--answers: found none, expected ANSWER=GRADE"),
        (["Yes=E"], "--answers: found Yes=E, expected ANSWER=GRADE"),
        (["Yes=A"], "line 2: found answer 'No' to T0, expected one of Yes"),
    ],
)
@pytest.mark.usefixtures("run")
def test_answers_without_a_grade(tmp_path, capsys, answers, message):
    path = tmp_path / "classifications.csv"
    pd.DataFrame([classification(1, "anna", "9010-1-1", "No")]).to_csv(path, index=False)
    options = ["--answers", *answers] if answers else []
    assert main(["import", RUN, str(path), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("key", ["id", "name", "position"])
def test_grades_of_another_project(run, tmp_path, key, caplog):
    row = run.candidates[4]
    columns = {"id": {"id": [row["id"]]}, "name": {"name": [row["name"]]}}
    columns["position"] = {"RA": [row["ra"].value + 1e-4, 10.0], "Dec": [row["dec"].value, 5.0]}
    table = pd.DataFrame(columns[key])
    table = table.assign(grade="b", comment="seen elsewhere", tags="Ring: 2 | blue: 1")
    table.to_csv(tmp_path / "grades.csv", index=False)
    assert main(["import", RUN, str(tmp_path / "grades.csv"), "--grader", key]) == 0
    main(["inspect", RUN, "--export"])
    grades = run.grades.to_pandas().set_index("id")
    assert f"{key}: B" in grades.loc[row["id"], "votes"]
    assert grades.loc[row["id"], "tags"].startswith("ring: ")
    assert "grades.csv: tags left out: blue; those that a vote can have are ring" in caplog.text


def test_grades_of_a_file_of_cutouts_are_imported_without_a_portal(run, tmp_path):
    source = run.paths.cutouts("0106p000")
    ids = Table.read(source, "CATALOG")["id"][:3].astype(str).tolist()
    pd.DataFrame({"id": ids, "grade": list("ABD")}).to_csv(tmp_path / "grades.csv", index=False)
    assert main(["import", str(source), str(tmp_path / "grades.csv")]) == 0
    assert main(["inspect", str(source), "--export"]) == 0
    grades = pd.read_csv("results/0106p000/inspection/grades.csv").set_index("id")["grade"]
    assert grades[ids].tolist() == ["A", "B", "D"]


def test_a_table_without_grades_is_refused(run, tmp_path, capsys):
    pd.DataFrame({"id": list(run.candidates["id"][:2])}).to_csv(tmp_path / "t.csv", index=False)
    assert main(["import", RUN, str(tmp_path / "t.csv")]) == 1
    assert "found columns id, expected grade, and id, name or ra" in capsys.readouterr().err


def test_cutouts_as_a_data_set(run, tmp_path):
    datasets = pytest.importorskip("datasets", reason="pip install 'lenspipe[exchange]'")
    for _ in range(2):
        assert main(["export", RUN, "--format", "huggingface"]) == 0
    files = str(run.paths.exchange("huggingface") / "*.parquet")
    data = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    ).with_format("numpy")
    assert len(data) == len(run.scores)
    scores = run.scores.to_pandas().set_index("id")
    for i in (0, len(data) - 1):
        example = data[i]
        galaxy = run.galaxy(str(example["object_id"]))
        assert example["p"] == np.float32(scores.loc[str(example["object_id"]), "p"])
        assert [str(band["band"]) for band in example["image"]] == ["DES-G", "DES-R", "DES-Z"]
        flux = np.stack([band["flux"] for band in example["image"]])
        np.testing.assert_array_equal(flux, galaxy.cutout)
        assert example["image"][0]["scale"] == np.float32(0.262)


@pytest.mark.hats
def test_scores_as_a_hats_catalogue(run, tmp_path):
    python = os.environ.get("LENSPIPE_HATS_PYTHON")
    if not python:
        pytest.skip("set LENSPIPE_HATS_PYTHON to a Python with hats-import")
    subprocess.run([python, WRITE_HATS, RUN, "--overwrite"], check=True)
    read = tmp_path / "read.csv"
    subprocess.run([python, "-c", READ_HATS, f"{RUN}/exchange/hats/scores", read], check=True)
    table = pd.read_csv(read).set_index("id")
    scores = run.scores.to_pandas().set_index("id")
    assert sorted(table.index) == sorted(scores.index)
    for name in ("ra", "dec", "p"):
        np.testing.assert_allclose(table.loc[scores.index, name], scores[name], rtol=1e-6)
    again = subprocess.run([python, WRITE_HATS, RUN], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "exists; give --overwrite" in again.stderr
