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


@pytest.mark.shared
def test_published_catalogues_are_read(shared):
    table = read_list(shared / "catalogs" / "huang2021_published_catalog.csv")
    assert len(table) > 1000
    assert table["ra"].between(0, 360).all()
