"""Tests of lenspipe.match."""

import pytest

from lenspipe.errors import LenspipeError
from lenspipe.match import read_list


def test_list_without_positions_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("name,RA\nx,1\n")
    with pytest.raises(LenspipeError, match=r"found columns name, ra; expected ra, dec .* dec$"):
        read_list(path)
    path.write_text("ra,dec\n1,2\n12h30m,5\n")
    with pytest.raises(LenspipeError, match="line 3 has ra 12h30m, dec 5"):
        read_list(path)
    with pytest.raises(LenspipeError, match="can't be read as CSV"):
        read_list(tmp_path / "none.csv")
    path.write_text("")
    with pytest.raises(LenspipeError, match="can't be read as CSV"):
        read_list(path)


def test_columns_are_found_by_any_case_and_read_as_text(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("Name,RA ,Dec,kind,grade\n 007 ,1.5,-2,ring,A\nNA,-3,4,,B\n")
    table = read_list(path, name=True)
    assert table["name"].tolist() == ["007", "NA"]
    assert table["kind"].tolist() == ["ring", ""]
    assert table[["ra", "dec"]].values.tolist() == [[1.5, -2], [-3, 4]]
    assert list(read_list(path)) == ["ra", "dec", "kind"]
    path.write_text("ra,dec\n1,2\n")
    assert read_list(path, name=True)["name"].tolist() == [""]


def test_messages_name_the_key(tmp_path):
    with pytest.raises(LenspipeError, match="correct config key targets"):
        read_list(tmp_path / "none.csv", key="targets")
    (tmp_path / "twice.csv").write_text("ra,dec,RA\n1,2,3\n")
    with pytest.raises(LenspipeError, match="more than one column ra"):
        read_list(tmp_path / "twice.csv")


@pytest.mark.shared
def test_published_catalogues_are_read(shared):
    table = read_list(shared / "catalogs" / "huang2021_published_catalog.csv")
    assert len(table) > 1000
    assert table["ra"].between(0, 360).all()
