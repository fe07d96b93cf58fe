"""Tests of lenspipe.products.grades."""

import numpy as np
import pandas as pd
import pytest

from lenspipe.products.grades import add_grades, read_grades
from lenspipe.utils.errors import LenspipeError


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        (tmp_path / "grades.csv").write_bytes(text.encode(encoding))
        return tmp_path / "grades.csv"

    return write


@pytest.mark.parametrize(
    "text",
    [
        "id,grade\n1,A\n2,d\n3,\n",
        "ID;Grade\n1;A\n2;D\n3;-\n",
        "id,grade\n1,A,\n2,D,\n3,,\n",
        "remark,id,grade\nnice,1,A\nGröße,2,D\n,3,N/A\n",
        "id,grading\n1,A\n1,A\n2,\n2,D\n3,\n",
    ],
)
def test_a_galaxy_has_one_grade(write, text):
    for encoding in ("utf-8", "latin-1", "utf-16"):
        table = read_grades(write(text, encoding))
        assert table["id"].tolist() == ["1", "2", "3"]
        assert table["grade"].tolist() == ["A", "D", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,grade\n1,A\n2,B\n1,D\n", "lines 2, 4: found grades A and D for 1, expected one"),
        ("name,grade\nx,A\nx,B\n", "lines 2, 3: found grades A and B for x"),
        ("id,grade\n1,A\n2,A?\n", r"line 3: found grade 'A\?', expected A, B, C, D or nothing"),
        ("id,grade\n1,A, nice arc\n2,B\n", "line 2: found another number of cells"),
        ("id,verdict\n1,A\n", "found columns id, verdict, expected id or name, and grade"),
        ("id,grade,p\n1,A,x\n", "line 2: found p 'x', expected a number"),
        ("id,grade,Grade\n1,A,B\n", "more than one column grade"),
    ],
)
def test_grades_that_are_unclear_are_refused(write, text, message):
    with pytest.raises(LenspipeError, match=message):
        read_grades(write(text))


def test_other_words_and_needed_columns(write):
    path = write("id,grade\n1,maybe\n2,b\n")
    assert read_grades(path, any_word=True)["grade"].tolist() == ["maybe", "B"]
    with pytest.raises(LenspipeError, match="name the missing ra and dec"):
        read_grades(path, True, ("ra", "dec"))


def test_grades_are_added_by_id_or_name(write, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    candidates = pd.DataFrame({"id": ["1", "2", "3"], "name": ["x", "y", "z"]})
    path = write("id,name,grade,mean\n1,x,A,4\n,y,B,\n9,q,C,2\n")
    table = add_grades(candidates, read_grades(path), path)
    assert table["grade"].tolist() == ["A", "B", ""]
    np.testing.assert_array_equal(table["mean_grade"], [4, np.nan, np.nan])
    assert "1 grades left out, of no candidate: 9" in caplog.text
