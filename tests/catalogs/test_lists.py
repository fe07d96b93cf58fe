"""Tests of lists of positions as people write them, and of matching."""

import gzip
import sys

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import Angle, angular_separation
from astropy.table import Table
from conftest import write_fits_table
from helpers.loopback import Loopback
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lenspipe.catalogs.lists import read_list
from lenspipe.config.settings import load_settings
from lenspipe.utils.crossmatch import friends_of_friends
from lenspipe.utils.errors import LenspipeError, NotFoundError
from lenspipe.utils.user_tables import line_numbers

TEXTS = ["name", "kind", "grade", "ref", "tags"]


@pytest.fixture
def write(tmp_path):
    """Write a list; return its path."""

    def write(text, name="list.csv"):
        path = tmp_path / name
        content = text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def said(caplog):
    """Return the lines of the log."""
    caplog.set_level("INFO", logger="lenspipe")
    return lambda: [record.getMessage() for record in caplog.records]


def positions(table):
    return table[["ra", "dec"]].to_numpy().tolist()


def test_list_without_positions_is_refused(write, tmp_path):
    with pytest.raises(LenspipeError, match=r"found columns name, RA; expected ra, dec, .* dec$"):
        read_list(write("name,RA\nx,1\n"))
    with pytest.raises(LenspipeError, match=r"name the missing ra and dec and grade$"):
        read_list(write("a,b\n1,2\n"), columns=("ra", "dec", "grade"))
    with pytest.raises(LenspipeError, match=r"none.csv: can't be read .*No such file"):
        read_list(tmp_path / "none.csv")
    with pytest.raises(LenspipeError, match=r"can't be read as CSV \(it is empty\)"):
        read_list(write(""))


def test_columns_are_found_by_any_case_and_read_as_text(write):
    table = read_list(write("Name,RA ,Dec,kind,GRADE,x\n 007 ,1.5,-2,ring,A,\nNA,-3,4,,\n"))
    assert table["name"].tolist() == ["007", "NA"]
    assert table["kind"].tolist() == ["ring", ""]
    assert table["grade"].tolist() == ["A", ""]
    assert positions(table) == [[1.5, -2], [357, 4]]
    assert list(table) == ["ra", "dec", *TEXTS, "line"]
    empty = read_list(write("ra,dec\n"))
    assert len(empty) == 0
    assert empty[["ra", "dec"]].dtypes.tolist() == ["float64"] * 2
    assert (read_list(write("ra,dec\n1,2\n"))[TEXTS] == "").all(axis=None)


@pytest.mark.parametrize(
    "header",
    [
        "RA,DEC",
        "RAJ2000,DEJ2000",
        "_RAJ2000,_DEJ2000",
        "ra_deg,dec_deg",
        "RA [deg],DEC [deg]",
        "Right Ascension (degrees),Declination (degrees)",
        "radeg,decdeg",
        "ALPHA_J2000,DELTA_J2000",
        "ra,decl",
    ],
)
def test_usual_names_of_columns(write, said, header):
    table = read_list(write(f"{header}\n187.5,-2.25\n"))
    assert positions(table) == [[187.5, -2.25]]
    assert said() == []


def test_of_several_names_the_plainest_in_degrees_is_taken(write):
    text = "RAJ2000,DEJ2000,ra_hours,ra_deg,dec,tractor_type,type,grading\n1,2,3,4,5,DEV,SER,B\n"
    table = read_list(write(text))
    assert positions(table) == [[4, 5]]
    assert table[["kind", "grade"]].to_numpy().tolist() == [["", "B"]]
    with pytest.raises(LenspipeError, match="found more than one column ra, in upper or lower"):
        read_list(write("ra,dec,RA\n1,2,3\n"))


def test_the_type_in_lenscats_table_is_a_kind(write):
    table = read_list(write("RA [deg],DEC [deg],zlens,type,ref\n1,2,-,cluster,x | y\n"))
    assert table[["kind", "ref"]].to_numpy().tolist() == [["cluster", "x | y"]]


def test_every_kind_of_file_gives_the_same(write, tmp_path):
    csv = "# as published\n\nname,ra,dec,grade\n\n'a, b',10.5,-20.25,A\nc,350.125,80,\n"
    expected = read_list(write(csv.replace("'", '"')))
    assert expected["name"].tolist() == ["a, b", "c"]
    assert expected["line"].tolist() == [5, 6]
    table = Table({name: expected[name].tolist() for name in ("name", "ra", "dec", "grade")})
    table["ra"].unit = table["dec"].unit = "deg"
    table.write(tmp_path / "list.tsv", format="ascii.tab")
    table["several"] = np.zeros((2, 3))
    table.write(tmp_path / "list.ecsv")
    table.write(tmp_path / "list.fits")
    paths = [tmp_path / f"list.{suffix}" for suffix in ("csv", "ecsv", "tsv", "fits")]
    for path in paths[:]:
        zipped = path.with_name(f"zipped-{path.name}.gz")
        zipped.write_bytes(gzip.compress(path.read_bytes()))
        paths.append(zipped)
    for path in paths:
        found = read_list(path)
        pd.testing.assert_frame_equal(found.drop(columns="line"), expected.drop(columns="line"))
        text = path.read_bytes()
        text = gzip.decompress(text) if path.suffix == ".gz" else text
        first = 1 if ".fits" in path.name else text[: text.index(b"10.5")].count(b"\n") + 1
        assert found["line"].tolist() == [first, first + 1]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "ecsv", "fits", "fits.gz"])
def test_files_that_are_something_else_are_refused_in_a_line(tmp_path, suffix):
    path = tmp_path / f"list.{suffix}"
    path.write_bytes(bytes(range(128, 256)) * 40)
    with pytest.raises(LenspipeError) as caught:
        read_list(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fits_file_without_a_table_is_refused(tmp_path):
    with pytest.raises(LenspipeError, match=r"list.fits: can't be read .*No such file"):
        read_list(tmp_path / "list.fits")
    write_fits_table(tmp_path / "list.fits", {"ra": [1.0], "dec": [2.0]})
    whole = (tmp_path / "list.fits").read_bytes()
    (tmp_path / "list.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LenspipeError, match=r"list\.fits: "):
        read_list(tmp_path / "list.fits")
    (tmp_path / "list.fits").write_bytes(whole[:2880])
    with pytest.raises(LenspipeError, match=r"list\.fits: "):
        read_list(tmp_path / "list.fits")


def test_rows_that_are_no_positions_are_left_out_and_named(write, said):
    rows = ["1,2", "nan,3", "x,3", "2,91", ",", "361,0", "-181,0", "inf,0", "5,5,5", "6,6,", "7"]
    path = write("ra,dec\n" + "\n".join(rows) + "\n")
    assert positions(read_list(path)) == [[1, 2], [6, 6]]
    assert said() == [
        f"{path}: 1 rows left out, another number of cells than in the header: line 10",
        f"{path}: 4 rows left out, no position in degrees or sexagesimal: lines 3, 4, 6, 12",
        f"{path}: 4 rows left out, ra not in -180 to 360 or dec not in -90 to 90: lines 5, 7, 8, 9",
    ]
    for text, message in (
        ("ra,dec\n1,2\nx,3\n", "line 3 has ra x, dec 3; expected degrees"),
        ("ra,dec\n1,2\n\n,3\n", "line 4 has ra empty, dec 3"),
        ("name,ra,dec\na, b,1,2\n", "line 2: found another number of cells"),
    ):
        with pytest.raises(LenspipeError, match=message):
            read_list(write(text), strict=True)


def test_many_lines_are_not_all_named(tmp_path, said):
    assert line_numbers("line", [7]) == "line 7"
    write_fits_table(tmp_path / "list.fits", {"ra": np.full(20, np.nan), "dec": np.zeros(20)})
    with pytest.raises(
        LenspipeError, match=r"no row with a position among 20, .* has ra empty, dec 0"
    ):
        read_list(tmp_path / "list.fits")
    assert said()[0].endswith("sexagesimal: rows 1, 2, 3, 4, 5 and 15 more")


@pytest.mark.parametrize(("header", "unit"), [("ra [h]", None), ("RA_hours", None), ("ra", "hour")])
def test_hours_are_converted(write, said, header, unit):
    path = write(f"{header},dec\n12.5,2\n1,3\n")
    assert positions(read_list(path, ra_unit=unit, strict=True)) == [[187.5, 2], [15, 3]]
    assert said() == [f"{path}: ra in hours, converted to degrees"]
    assert positions(read_list(path, ra_unit="deg")) == [[12.5, 2], [1, 3]]


def test_units_of_columns(tmp_path, said):
    table = Table({"ra": [12.5, 1, 20], "dec": [2.0, 3, 4]})
    for unit, ra in (("hourangle", [187.5, 15, 300]), ("deg", [12.5, 1, 20])):
        table["ra"].unit = unit
        table.write(tmp_path / "list.ecsv", overwrite=True)
        assert read_list(tmp_path / "list.ecsv")["ra"].tolist() == ra
    columns = {"RA": np.array([12.5, 1, 20], ">f4"), "Dec": np.array([2, 3, 4], "i2")}
    rows = Table(columns)
    rows["RA"].unit = "h"
    rows.write(tmp_path / "list.fits")
    assert positions(read_list(tmp_path / "list.fits")) == [[187.5, 2], [15, 3], [300, 4]]
    assert sum("ra in hours" in line for line in said()) == 2


@pytest.mark.parametrize("unit", ["rad", "arcmin", "arcsec", "mas", "deg", "Radian", "ARCSEC"])
@pytest.mark.parametrize("way", ["fits", "ecsv", "brackets", "suffix", "second line", "only dec"])
def test_units_of_angles_are_converted(tmp_path, unit, way):
    path, expected = tmp_path / "list.csv", [[150.1, 2.0], [330.0, -45.0]]
    factor = {"Radian": 180 / np.pi, "ARCSEC": 1 / 3600}.get(unit) or (1 * u.Unit(unit)).to_value(
        "deg"
    )
    ra, dec = (np.array(column) / factor for column in zip(*expected, strict=True))
    if way in ("fits", "ecsv"):
        path = tmp_path / f"list.{way}"
        unit = unit.lower().replace("radian", "rad")
        Table({"ra": ra * u.Unit(unit), "dec": dec * u.Unit(unit)}).write(path)
    else:
        rows = [f"{a!r},{d!r}" for a, d in zip(ra.tolist(), dec.tolist(), strict=True)]
        header = {"brackets": [f"RA [{unit}],Dec ({unit})"], "suffix": [f"ra_{unit},dec_{unit}"],
                  "second line": ["ra,dec", f"{unit},{unit}"]}  # fmt: skip
        if way == "only dec":
            rows = [f"{a},{d!r}" for (a, _), d in zip(expected, dec.tolist(), strict=True)]
        path.write_text("\n".join([*header.get(way, [f"ra_deg,dec [{unit}]"]), *rows, ""]))
    np.testing.assert_allclose(positions(read_list(path)), expected, rtol=0, atol=1e-9)
    assert len(read_list(path, ra_unit="deg")) == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("ra [pix],dec [deg]", "found ra \\[pix\\] in 'pix', expected a unit of angles"),
        ("ra [B1950],dec [B1950]", "in 'b1950', expected a unit"),
        ("ra,dec [rad]", "in rad, ra without a unit, expected units of both"),
        ("ra [deg],dec [h]", "found dec \\[h\\] in hours, expected degrees"),
    ],
)
def test_units_that_are_unclear_are_refused(write, header, message):
    with pytest.raises(LenspipeError, match=message):
        read_list(write(f"{header}\n1,1\n"))
    assert positions(read_list(write("RA (J2000),Dec (ICRS)\n1,1\n"))) == [[1, 1]]


def test_what_may_be_hours_is_refused(write):
    path = write("ra,dec\n0.5,1\n12,2\n23.9,3\n")
    with pytest.raises(LenspipeError, match=r"list\.csv: found ra between 0\.5 and 23\.9 without"):
        read_list(path)
    with pytest.raises(LenspipeError, match="or give it ra_unit: deg or hour"):
        read_list(path, key="sample.known_lenses")
    assert len(read_list(path, ra_unit="deg")) == 3
    for good in ("0.5,1\n12,2", "0.5,1\n3,2\n6,3", "0.5,1\n12,2\n24.5,3", "-1,1\n12,2\n23,3"):
        assert len(read_list(write(f"ra,dec\n{good}\n"))) > 1
    assert len(read_list(write("ra_deg,dec\n0.5,1\n12,2\n23.9,3\n"))) == 3


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("12:30:05.1", "-00:30:36"),
        ("12 30 05.10", "\u221200 30 36.0"),
        ("12h30m05.1s", "-0d30m36s"),
        ("12h 30m 05.1s", "-00° 30′ 36″"),
        ("187d31m16.5s", "-00:30.6"),
        ("12:30:05.1", "-0.51"),
    ],
)
def test_sexagesimal_positions_are_converted(write, said, ra, dec):
    path = write(f"ra,dec\n10,20\n{ra},{dec}\n")
    assert np.allclose(positions(read_list(path, strict=True))[1], [187.52125, -0.51], atol=1e-9)
    assert said() == [
        f"{path}: 1 rows with sexagesimal positions (ra in hours), converted to degrees: line 3"
    ]


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.floats(0, 23.999), st.floats(-89.999, 89.999), st.sampled_from([":", " ", "fromunit"]))
def test_sexagesimal_is_read_as_astropy_does(tmp_path_factory, ra, dec, separator):
    path = tmp_path_factory.getbasetemp() / "sexagesimal.csv"
    texts = [Angle(value, unit).to_string(unit, sep=separator, precision=3, alwayssign=sign)
             for value, unit, sign in ((ra, "hourangle", False), (dec, "deg", True))]  # fmt: skip
    path.write_text("ra,dec\n" + ",".join(texts) + "\n")
    expected = [Angle(texts[0], "hourangle").deg, Angle(texts[1], "deg").deg]
    assert np.allclose(positions(read_list(path)), [expected], rtol=0, atol=1e-10)


def test_sexagesimal_text_that_is_no_angle_is_left_out(write):
    for text in ("12:61:00", "12:30:61", "12-30-05", "1:2:3:4", "12h", "25:00:00", "12,30"):
        assert len(read_list(write(f'ra,dec\n"{text}",1\n2,3\n'))) == 1


FAKE = "name,RA [deg],DEC [deg],zlens,type,grading,ref\nx,1.5,2,-,group,confident,y\n"


def test_lenscat_is_read_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "site" / "lenscat"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "lenscat", raising=False)
    with pytest.raises(LenspipeError, match=r"lenscat: found no data/catalog\.csv in it; pip"):
        read_list("lenscat")
    (package / "data" / "catalog.csv").write_text(FAKE)
    table = read_list("lenscat")
    assert positions(table) == [[1.5, 2]]
    assert table.loc[0, TEXTS].tolist() == ["x", "group", "confident", "y", ""]
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(LenspipeError, match="lenscat: not installed; pip install --no-deps"):
        read_list("lenscat")


def test_lists_at_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "list.csv").write_text("ra,dec\n187.5,2\n")
    write_fits_table(tmp_path / "far" / "list.fits", {"RA": [1.0], "DEC": [2.0]})
    config = {"run": "x", "simulation": {}, "footprint": {"ra": [1, 2], "dec": [1, 2]}}
    settings = load_settings(config | {"retrieval": {"contact": "me@example.org"}})
    with Loopback(tmp_path / "far") as server:
        for _ in range(2):
            assert positions(
                read_list(
                    f"{server.url}/list.csv?raw",
                    retrieval=settings.retrieval,
                    hosts=settings.paths.hosts,
                )
            ) == [[187.5, 2]]
            assert positions(
                read_list(
                    f"{server.url}/list.fits",
                    retrieval=settings.retrieval,
                    hosts=settings.paths.hosts,
                )
            ) == [[1, 2]]
        assert len(server.requests) == 2
        with pytest.raises(NotFoundError):
            read_list(
                f"{server.url}/other.csv", retrieval=settings.retrieval, hosts=settings.paths.hosts
            )


@pytest.mark.shared
def test_published_lists_are_read(shared, said):
    path = shared / "catalogs" / "yoloxls_false_positives.csv"
    assert len(read_list(path)) == 17441
    assert said() == [f"{path}: 1 rows left out, no position in degrees or sexagesimal: line 11043"]


def grouped(labels):
    """The partition that labels describe, whatever the labels are."""
    return {frozenset(np.flatnonzero(labels == label)) for label in set(labels)}


def brute_force(ra, dec, radius_arcsec):
    ra, dec = np.radians(ra), np.radians(dec)
    separation = np.degrees(angular_separation(ra[:, None], dec[:, None], ra, dec)) * 3600
    labels = np.arange(len(ra))
    for _ in range(len(ra)):
        linked = np.where(separation <= radius_arcsec, labels, len(ra))
        labels = linked.min(axis=1)
    return labels, separation


@hypothesis_settings(deadline=None)
@given(
    st.sampled_from([(0.0, 0.0), (123.0, 45.0), (10.0, 90.0), (200.0, -90.0), (0.0, 32.4)]),
    st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), max_size=12),
)
def test_merging_agrees_with_brute_force(centre, offsets_arcsec):
    offsets = np.array(offsets_arcsec).reshape(-1, 2) / 3600
    dec = centre[1] + offsets[:, 1]
    over = np.abs(dec) > 90
    ra = centre[0] + offsets[:, 0] / np.maximum(np.cos(np.radians(dec)), 1e-6)
    # Over a pole and down the other side.
    ra, dec = (ra + 180 * over) % 360, np.where(over, np.sign(dec) * 180 - dec, dec)
    expected, separation = brute_force(ra, dec, 5.0)
    assume(not np.any(np.abs(separation - 5.0) < 1e-5))
    assert grouped(friends_of_friends(ra, dec, 5.0)) == grouped(expected)


def test_merging_links_a_chain_across_zero_hours():
    ra = np.array([359.9995, 0.0005, 0.0015, 0.01])
    assert grouped(friends_of_friends(ra, np.zeros(4), 4.0)) == {
        frozenset({0, 1, 2}),
        frozenset({3}),
    }
