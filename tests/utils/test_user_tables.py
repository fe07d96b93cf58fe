"""Tests of the reader of users' tables, and of writing tables."""

import bz2
import gzip
import io
import lzma
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table
from helpers.fuzz_tables import fuzz_tables

import lenspipe
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.table_formats import write_votable
from lenspipe.utils.tables import ascii_text, write_table
from lenspipe.utils.user_tables import read_user_table

PLAIN = "name,ra,dec\nLens 1,150.1,-2.5\n0012,151.5,3.0\n"
ROWS = [["Lens 1", 150.1, -2.5], ["0012", 151.5, 3.0]]


@pytest.fixture
def read(tmp_path):
    """Write a text and read it as a table."""

    def read(text, encoding="utf-8", name="list.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_user_table(path, "something")

    return read


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", ";").replace(".", ","),
        PLAIN.replace("\n", ",\n"),
        PLAIN.replace("\n", ",\n").replace("dec,", "dec"),
        PLAIN.replace(",", " , "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "# a remark, with \"a quote\n\n" + PLAIN,
        "My lenses (2024)\n\n" + PLAIN,
        "My lenses,,\n" + PLAIN,
        "sep=;\n" + PLAIN.replace(",", ";"),
        PLAIN + ",,\n,,\n\n",
        '"name","ra","dec"\n"Lens 1","150.1","-2.5"\n"0012","151.5","3.0"\n',
        'name ra dec\n"Lens 1" 150.1 -2.5\n"0012"  151.5\t3.0\n',
        '# name  ra  dec\n"Lens 1"  150.1  -2.5\n0012  151.5  3.0\n',
        "| name | ra | dec |\n|---|---|---|\n| Lens 1 | 150.1 | -2.5 |\n| 0012 | 151.5 | 3.0 |\n",
        "#\nname\tra\tdec\n\tdeg\tdeg\n------\t---\t-\nLens 1\t150.1\t-2.5\n0012\t151.5\t3.0\n",
        "name,ra,dec\n,deg,deg\nLens 1,150.1,\u22122.5\n0012,151.5,3.0\n",
        "name,ra,dec\nLens 1,150.1,-2.5\n0012,151.5,3.0,\n",
        "+-----+\n| name | ra | dec |\n+---+-+\n|Lens 1|150.1|-2.5|\n| 0012|151.5|3|\n+---+\n",
        "\ufeff" + PLAIN.replace("ra", "\u200bra").replace("\n0012", "\n\ufeff0012") + "\x1a",
        PLAIN.replace("150.1", "1.501D+02").replace("3.0", "0.3d1"),
        PLAIN.replace("name,ra,dec", '"name\n",ra,"\n\ndec"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_any_usual_text_is_the_same_table(read, text, encoding):
    frame = read(text, encoding).frame()
    assert list(frame) == ["name", "ra", "dec"]
    assert frame.to_numpy().tolist() == ROWS
    assert frame.dtypes[1:].tolist() == ["float64"] * 2


def test_text_that_looks_like_a_number_or_like_nothing_stays(read):
    table = read("name,id,brick,code,n,x\nNA,1e5,0001p000,007,3,\nnan,12,1501p320,12,4,-\n")
    frame = table.frame()
    assert frame["name"].tolist() == ["NA", "nan"]
    assert frame["id"].tolist() == ["1e5", "12"]
    assert frame["brick"].tolist() == ["0001p000", "1501p320"]
    assert frame["code"].tolist() == ["007", "12"]
    assert frame["n"].tolist() == [3, 4]
    assert frame["n"].dtype == "int64"
    big = read("target,n\n39627646567153665,1\n39627646567153666,\n").frame()
    assert big["target"].tolist() == [39627646567153665, 39627646567153666]


def test_rows_that_do_not_fit_are_named(read, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    table = read("a,b\n1,2\n# 3,4\n5,6,nice\n7\n")
    assert (table.broken, len(table)) == ([4], 2)
    assert "1 lines left out, before the header or beginning with #: line 3" in caplog.text
    with pytest.raises(LenspipeError, match="line 4: found another number of cells than in the"):
        table.frame()
    with pytest.raises(LenspipeError, match="lines 2, 3: found another number of cells"):
        read("a,b\n1,2,x\n3,4,y\n")
    with pytest.raises(LenspipeError, match=r"line 4: .* expected after"):
        read('a,b\n"1,2\n3",4 "x"\n"5"6,7\n')
    with pytest.raises(LenspipeError, match="more than one column a"):
        read("a,b,a\n1,2,3\n").frame()
    with pytest.raises(LenspipeError, match=r"line 3: found b 'x', expected a number"):
        read("a,b\n1,2\n3,x\n").numbers(1)
    assert np.isnan(read("a,b\n1,-\n3,N/A\n#N/A,#VALUE!\n").numbers(1)).all()
    # Three dashes are missing values, and no rule below a line of units.
    assert read("id,grade\na,A\n---,---\nb,B\n").lines == [2, 3, 4]
    # Numbers with a unit are no line of units.
    assert read("ra,dec,grade\n150.1\u00b0,2.5 deg,A\n151 d,3d,B\n").lines == [2, 3]


def test_latin_letters_are_read_and_reported(read, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    assert read("name,x\nGröße – 1,2\n", "cp1252").frame()["name"][0] == "Größe – 1"
    assert "not UTF-8, read as Windows-1252" in caplog.text


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_the_content_decides_on_the_format(read, module):
    stream = io.BytesIO()
    Table({"name": ["a"], "ra": [1.5]}).write(stream, format="fits")
    for content in (PLAIN.encode(), stream.getvalue()):
        assert len(read(module.compress(content), name="list.dat")) in (1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04....", "workbook .*save the sheet as CSV"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\0\1\2\3 x", "not a text"),
        (b"", "empty"),
        (b"PAR1 nothing", "can't be read as Parquet"),
        (b"SIMPLE  = T", "can't be read as FITS"),
        (b"<?xml version='1.0'?><VOTABLE>", "can't be read as VOTable"),
        (b"# %ECSV 1.0\n# ---\n", "can't be read as ECSV"),
        (b'[{"ra": 150.1, "dec": 2.0}]', "JSON; write the table as CSV"),
        (b'{\n"ra": [150.1, 151]}', "JSON; write the table as CSV"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(read, content, message):
    with pytest.raises(LenspipeError, match=message) as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_binary_tables_with_every_type(tmp_path):
    table = Table(
        {
            "name": ["a", "b c"],
            "ra": np.array([1.5, np.nan], ">f4"),
            "n": MaskedColumn(np.array([1, 2], "i8"), mask=[False, True]),
            "flag": [True, False],
            "several": np.zeros((2, 3)),
        }
    )
    table["ra"].unit = "deg"
    table.write(tmp_path / "x.fits")
    table.write(tmp_path / "x.ecsv")
    with open(tmp_path / "x.vot", "wb") as file:
        write_votable(from_table(table), file)
    for suffix in ("fits", "ecsv", "vot"):
        given = read_user_table(tmp_path / f"x.{suffix}", "x")
        assert given.names == ["name", "ra", "n", "flag"]
        assert given.arrays == ["several"]
        assert given.units[1] == "deg"
        assert given.text(0).tolist() == ["a", "b c"]
        np.testing.assert_array_equal(given.numbers(1), [1.5, np.nan])
        np.testing.assert_array_equal(given.numbers(2), [1, np.nan])
    frame = pd.DataFrame(
        {"name": ["a", None], "n": [2**60 + 1, 3], "z": pd.Categorical(["x", "y"])}
    )
    frame["m"] = pd.array([2**60 + 1, None], "Int64")
    frame.set_index("name").to_parquet(tmp_path / "x.parquet")
    read = read_user_table(tmp_path / "x.parquet", "x").frame()
    assert set(read) == {"name", "n", "z", "m"}
    assert read["name"].tolist() == ["a", ""]
    assert read["n"].tolist() == [2**60 + 1, 3]
    assert read["m"][0] == 2**60 + 1


def test_numbers_of_every_size_and_one_value_per_row(tmp_path):
    big = pa.array([2**63 + 5, None], pa.uint64())
    pq.write_table(pa.table({"id": big}), tmp_path / "x.parquet")
    assert read_user_table(tmp_path / "x.parquet", "x").text(0).tolist() == [str(2**63 + 5), ""]
    with fitsio.FITS(str(tmp_path / "x.fits"), "rw") as file:
        file.write({"ra": np.array([[150.1], [151.0]]), "dec": np.array([2.0, 3.0])})
    frame = read_user_table(tmp_path / "x.fits", "x").frame()
    assert frame.to_numpy().tolist() == [[150.1, 2.0], [151.0, 3.0]]


def test_a_compressed_table_is_refused(tmp_path):
    with fitsio.FITS(str(tmp_path / "x.fits.fz"), "rw") as file:
        file.write({"COMPRESSED_DATA1": np.zeros(1)}, header={"ZTABLE": True})
    with pytest.raises(LenspipeError, match="compressed; decompress it with funpack"):
        read_user_table(tmp_path / "x.fits.fz", "x")


def test_what_a_service_says_of_its_answer(tmp_path, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    path = tmp_path / "x.vot"
    with path.open("wb") as file:
        write_votable(from_table(Table({"ra": [150.1]})), file)
    answer = path.read_text()
    status = '<INFO name="QUERY_STATUS" value="{}">Too slow</INFO>'
    path.write_text(answer.replace("</TABLE>", "</TABLE>" + status.format("OVERFLOW")))
    assert len(read_user_table(path, "x")) == 1
    assert "x.vot: incomplete, since the service left out further rows" in caplog.text
    path.write_text(answer.replace("<TABLE", status.format("ERROR") + "<TABLE"))
    with pytest.raises(LenspipeError, match="answered with an error: Too slow"):
        read_user_table(path, "x")


@pytest.mark.parametrize("place", ["first", "last"])
def test_scaled_columns_leave_the_others_alone(tmp_path, place):
    columns = {
        "RA": np.array([150.1, 151.0]),
        "NAME": np.array([b"a", b"bcd"]),
        "N": np.array([7, -5], "i2"),
        "U": np.array([1, 2**32 - 1], "u4"),
    }
    scaled = {"MAG": np.array([8500, 9000], "i2")}
    columns = scaled | columns if place == "first" else columns | scaled
    with fitsio.FITS(str(tmp_path / "x.fits"), "rw") as file:
        file.write(columns)
        names = list(columns)
        file[1].write_key(f"TSCAL{names.index('MAG') + 1}", 0.001)
        file[1].write_key(f"TZERO{names.index('MAG') + 1}", 10.0)
        file[1].write_key(f"TNULL{names.index('N') + 1}", -5)
    frame = read_user_table(tmp_path / "x.fits", "x").frame()
    assert frame["RA"].tolist() == [150.1, 151.0]
    assert frame["NAME"].tolist() == ["a", "bcd"]
    np.testing.assert_allclose(frame["MAG"], [18.5, 19.0])
    assert frame["U"].tolist() == [1, 2**32 - 1]
    np.testing.assert_array_equal(frame["N"].astype(float), [7, np.nan])


@pytest.mark.parametrize("suffix", ["fits", "csv", "parquet"])
def test_texts_are_written_whole(tmp_path, suffix):
    path = tmp_path / f"run [v2]+1.{suffix}"
    texts = ["DESI-150.33+31.89", None, "Größe – 1"]
    table = pd.DataFrame(
        {"name": texts, "p": [0.1, np.nan, 0.3], "n": pd.array([1, None, 3], "Int64")}
    )
    write_table(path, table)
    frame = read_user_table(path, "x").frame()
    expected = [text or "" for text in texts]
    if suffix == "fits":
        expected[2] = "Grosse - 1"
    assert frame["name"].tolist() == expected
    np.testing.assert_array_equal(frame["n"].astype(float), [1, np.nan, 3])
    write_table(path, table[:0])
    assert len(read_user_table(path, "x")) == 0


def test_letters_beyond_ascii():
    assert ascii_text("Größe – “é” \u2212 ł 星") == 'Grosse - "e" - l ?'


def test_odd_tables_are_read_or_refused_and_no_row_is_lost():
    assert fuzz_tables(0, 60) == []


def test_votables_are_not_written_by_the_writer_that_corrupts_memory(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("astropy's writer in C")

    monkeypatch.setattr("astropy.io.votable.tablewriter.write_tabledata", refuse)
    table = Table({"name": ["a" * n for n in range(300)], "ra": np.linspace(0, 359, 300)})
    with open(tmp_path / "x.vot", "wb") as file:
        write_votable(from_table(table), file)
    again = Table.read(tmp_path / "x.vot")
    assert again["name"].tolist() == table["name"].tolist()
    np.testing.assert_allclose(again["ra"], table["ra"])
    texts = {path: path.read_text() for path in Path(lenspipe.__file__).parent.rglob("*.py")}
    assert [p.name for p, t in texts.items() if ".to_xml(" in t] == ["table_formats.py"]
    assert [p.name for p, t in texts.items() if 'format="votable"' in t] == []
