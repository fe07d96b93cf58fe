"""Tests of lists that people grade, as editors and spreadsheets leave them."""

from types import SimpleNamespace

import pandas as pd
import pytest

from lenspipe.config.settings import load_settings
from lenspipe.sample.grading_lists import write_for_grading
from lenspipe.utils.errors import LenspipeError

MINED = pd.DataFrame(
    {
        "id": ["9010-1-1", "9010-1-2", "9010-1-3"],
        "ra": [150.1, 150.2, 150.3],
        "dec": [30.1, 30.2, 30.3],
        "brick": "1501p302",
        "p": [0.9, 0.8, 0.7],
    }
)


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Write a list, edit its lines, and write it again; return its table and the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lenspipe.sample.grading_lists.draw_page", lambda *a, **k: None)
    config = {"run": "x", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
    settings = load_settings(config)
    cutouts = SimpleNamespace(release=settings.release, bands="grz", read=lambda rows: (None, None))
    given = cutouts, settings.mosaics, "x", "mined"
    path = tmp_path / "version-1.csv"

    def edit(change, encoding="utf-8", mined=MINED):
        path.unlink(missing_ok=True)
        write_for_grading(MINED, path, *given)
        head, *rows = path.read_text().splitlines()
        rows = [row + grade for row, grade in zip(rows, "ADD", strict=True)]
        path.write_bytes(("\n".join(change(head, rows)) + "\n").encode(encoding))
        write_for_grading(mined, path, *given)
        return pd.read_csv(path, dtype=str, keep_default_na=False)

    return edit, path


@pytest.mark.parametrize(
    "change",
    [
        lambda head, rows: [head, *rows],
        lambda head, rows: [head, *(row + "," for row in rows)],
        lambda head, rows: [head + ",", *(row + "," for row in rows)],
        lambda head, rows: [line.replace(",", ";") for line in (head, *rows)],
        lambda head, rows: [line.replace(",", ";").replace(".", ",") for line in (head, *rows)],
        lambda head, rows: [line.replace(",", "\t") for line in (head, *rows)],
        lambda head, rows: [head.upper(), *rows],
        lambda head, rows: [head.replace("grade", " Grade "), *rows, ",,,,,,,"],
        lambda head, rows: ["# graded by me", head, *rows],
    ],
)
def test_grades_are_kept_however_the_file_was_saved(edit, change):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        table = edit[0](change, encoding)
        assert table["grade"].tolist() == ["A", "D", "D"]
        assert table["id"].tolist() == MINED["id"].tolist()


def test_columns_and_rows_of_its_author_are_kept(edit):
    table = edit[0](
        lambda head, rows: [
            f"{head},remark,seen by",
            f"{rows[0]},Größe: nice arc,me",
            f"{rows[1]},,",
            f"{rows[2]},spiral,you",
            ",,,150.9,30.9,,,A,mine,",
        ],
        "cp1252",
        MINED[:2],
    )
    assert table["remark"].tolist() == ["Größe: nice arc", "", "spiral", "mine"]
    assert table["seen by"].tolist() == ["me", "", "you", ""]
    assert table["grade"].tolist() == ["A", "D", "D", "A"]
    assert table["ra"].tolist() == ["150.1", "150.2", "150.3", "150.9"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head, rows: [head, rows[0] + ", nice arc", *rows[1:]], "line 2: found another"),
        (lambda head, rows: [head, *rows, rows[0][:-1] + "C"], "lines 2, 5: found grades A and C"),
        (lambda head, rows: [head.replace("id", "galaxy"), *rows], "expected id and grade"),
        (lambda head, rows: [head.replace("grade", "verdict"), *rows], "and grade; name the"),
        (lambda head, rows: [f"{head},x,x", *(f"{row},1,2" for row in rows)], "one column x;"),
    ],
)
def test_a_list_that_is_unclear_is_left_as_it_is(edit, change, message):
    write, path = edit
    with pytest.raises(LenspipeError, match=message):
        write(change)
    assert path.read_text().count("A") >= 1
    assert not list(path.parent.glob("*/"))
