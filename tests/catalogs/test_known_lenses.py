"""Tests of lenspipe.catalogs.known_lenses: catalogues of known lenses, merged."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from lenspipe.catalogs.known_lenses import merge_known, read_catalogue, read_graded_lists
from lenspipe.config.learning import Catalogue
from lenspipe.config.settings import load_settings
from lenspipe.products.tables import read_table
from lenspipe.utils.errors import LenspipeError

PUBLISHED = {
    "huang2020_published_catalog.csv": {"A": 60, "B": 106, "C": 176},
    "huang2021_published_catalog.csv": {"A": 216, "B": 199, "C": 897},
    "storfer2024_published_catalog.csv": {"A": 115, "B": 526, "C": 1254},
    "inchausti2025_published_catalog.csv": {"A": 90, "B": 104, "C": 617},
    "stein2022_new_lenses.tsv": {"A": 404, "B": 788},
    "stein2022_training_lenses.tsv": {"": 1615},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(caplog):
    """Return the lines of the log."""
    caplog.set_level("INFO", logger="lenspipe")
    return lambda: [record.getMessage() for record in caplog.records]


def settings_of(*catalogues, tree="tree", model=None, **sample):
    survey = {"survey": {"tree": tree}} if tree else {"simulation": {}}
    config = survey | {"footprint": {"ra": [1, 2], "dec": [1, 2]}, "inference": {"model": model}}
    return load_settings(
        {"run": "test", "sample": {"known_lenses": list(catalogues)} | sample} | config
    )


def write(name, text):
    with open(name, "w") as file:
        file.write(text)
    return name


def test_entries_of_several_catalogues_are_one_system(folder, said):
    write("one.csv", "name,ra,dec,grade\na,150,2,C\nb,359.9999,0,B\nc,10,80,\nd,11,0,D\n")
    write(
        "two.tsv",
        "RA\tDEC\tgrading\tzlens\ttype\n150.001\t2\tconfident\t1\tgroup\n0.0001\t0\t\t\t\n",
    )
    write("seen.csv", "name,ra,dec,grade\nx,10.001,80,B\ny,200,5,A\nz,201,5,D\nw,202,5,\n")
    two = {"path": "two.tsv", "name": "second", "grade": "B"}
    settings = settings_of("one.csv", two, graded="seen.csv")
    lenses = merge_known(settings)
    assert lenses.to_dict("list") == {
        "ra": [10.001, 150.001, 200.0, 359.9999],
        "dec": [80.0, 2.0, 5.0, 0.0],
        "grade": ["B", "A", "A", "B"],
        "kind": ["", "group", "", ""],
        "names": ["c | x", "a", "y", "b"],
        "references": ["one | seen:B", "one:C | second:A", "seen:A", "one:B | second:B"],
        "n_entries": [2, 2, 1, 2],
        "catalogued": [True, True, False, True],
        "visible": [True, True, True, True],
    }
    assert lenses["n_entries"].dtype == np.int32
    assert lenses["catalogued"].dtype == bool
    pd.testing.assert_frame_equal(read_table(settings.paths.lenses, "known"), lenses)
    csv = pd.read_csv(settings.paths.lenses.with_suffix(".csv"), keep_default_na=False)
    pd.testing.assert_frame_equal(csv, lenses, check_dtype=False)
    assert said() == [
        "known lenses: one: 4 rows: B 1, C 1, D 1, ungraded 1",
        "one.csv: 1 rows left out, graded D: line 5",
        "known lenses: second: 2 rows: A 1, B 1",
        "known lenses: seen (graded visually): 4 rows: A 1, B 1, D 1, ungraded 1",
        "known lenses: 4 systems of 7 entries, 3 of them in more than one catalogue",
    ]


def test_the_order_of_rows_changes_nothing_but_the_order_of_names(folder):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"ra": 150 + np.repeat(rng.random(30), 2), "dec": 0.0, "grade": "A"})
    table["grade"] = rng.permutation(list("ABC") * 20)
    table["dec"] += rng.uniform(0, 1e-4, 60)
    results = []
    for rows in (table, table, table.sample(frac=1, random_state=1)):
        rows.to_csv("one.csv", index=False)
        merge_known(settings_of("one.csv"))
        results.append(read_table(settings_of("one.csv").paths.lenses, "known"))
    pd.testing.assert_frame_equal(results[0], results[1])
    for lenses in results:
        lenses["references"] = [
            " | ".join(sorted(text.split(" | "))) for text in lenses["references"]
        ]
    columns = ["grade", "references", "n_entries"]
    pd.testing.assert_frame_equal(results[0][columns], results[2][columns])


def test_grades_in_words_of_their_own(said):
    path = write(
        "one.csv", "ra,dec,Grading\n1,1,a\n2,1,Sure\n3,1,maybe\n4,1,-\n5,1,maybe\n6,1, B \n"
    )
    catalogue = Catalogue(path=path, grades={"sure": "A", "not": "D"}, grade="C")
    table = read_catalogue(catalogue)
    assert table["grade"].tolist() == ["A", "A", "", "C", "", "B"]
    assert said() == [
        "one.csv: 2 rows graded 'maybe' are taken as ungraded; name the grade it stands for in "
        "`grades` of this entry of sample.known_lenses"
    ]


def test_rows_at_one_position_are_merged_with_a_line(said):
    write("one.csv", "ra,dec,grade\n1,1,C\n2,2,A\n1,1,B\n1.0,1.0,C\n")
    lenses = merge_known(settings_of("one.csv"))
    assert lenses["n_entries"].tolist() == [3, 1]
    assert lenses["references"].tolist() == ["one:C | one:B | one:C", "one:A"]
    assert (
        said()[0] == "one.csv: 2 rows merged with an earlier one at the same position: lines 4, 5"
    )
    assert said()[-1].endswith("2 systems of 4 entries, 0 of them in more than one catalogue")


def test_a_catalogue_without_lenses_is_refused():
    for text in ("ra,dec\n", "ra,dec\nx,y\n"):
        with pytest.raises(LenspipeError, match=r"one\.csv: found no row with a position"):
            merge_known(settings_of(write("one.csv", text)))
    with pytest.raises(LenspipeError, match=r"none\.csv: .* correct config key sample\.known_len"):
        merge_known(settings_of("none.csv"))


def test_hours_need_a_unit_in_catalogues_but_not_in_lists_graded_by_eye():
    rows = "ra,dec,grade\n1,1,A\n12,1,A\n23,1,A\n"
    for name in ("one.csv", "seen.csv"):
        write(name, rows)
    with pytest.raises(LenspipeError, match="or give it ra_unit: deg or hour"):
        merge_known(settings_of("one.csv"))
    lenses = merge_known(settings_of({"path": "one.csv", "ra_unit": "hour"}, graded=["seen.csv"]))
    assert lenses["ra"].tolist() == [1, 12, 15, 23, 180, 345]


def test_a_simulated_sky_has_its_own_list(folder, said):
    settings = settings_of(tree=None)
    settings.paths.known_lenses.parent.mkdir(parents=True)
    write(settings.paths.known_lenses, "name,ra,dec,grade\nS,1,1.5,A\nT,12,1.5,B\nU,20,1.5,B\n")
    assert merge_known(settings)["references"].tolist() == ["simulated:A", *["simulated:B"] * 2]
    write(settings.paths.known_lenses, "name,ra,dec,grade\n")
    assert merge_known(settings).empty
    write("one.csv", "ra,dec\n1,1\n")
    assert merge_known(settings_of("one.csv", tree=None))["references"].tolist() == ["one"]


def test_without_catalogues_there_are_no_known_lenses():
    settings = settings_of(model="model.keras")
    with pytest.raises(LenspipeError, match=r"known/lenses\.parquet: no such file, expected"):
        read_table(settings.paths.lenses, "known")
    full = merge_known(settings_of(write("one.csv", "ra,dec\n1,1\n")))
    empty = merge_known(settings)
    assert len(empty) == len(read_table(settings.paths.lenses, "known")) == 0
    assert (
        empty.dtypes.tolist()
        == read_table(settings.paths.lenses, "known").dtypes.tolist()
        == full.dtypes.tolist()
    )
    columns = ["ra", "dec", "grade", "name", "kind", "tag", "file", "line"]
    assert list(read_graded_lists([])) == columns


def test_lists_graded_by_eye(said):
    write("one.csv", "id,ra,dec,grade,p\nx,1,2,b,0.9\ny,-1,2,,0.8\nz,3,4,lens?,0.7\n")
    write("two.csv", "ra,dec,grade\n5,6,D\nx,6,D\n")
    table = read_graded_lists(["one.csv", "two.csv"])
    assert table[["ra", "dec", "grade", "file", "line"]].to_numpy().tolist() == [
        [1, 2, "B", "one.csv", 2],
        [359, 2, "", "one.csv", 3],
        [3, 4, "", "one.csv", 4],
        [5, 6, "D", "two.csv", 2],
    ]
    assert said() == [
        "one.csv: 1 rows graded 'lens?' are taken as ungraded; write A, B, C or D, or nothing",
        "two.csv: 1 rows left out, no position in degrees or sexagesimal: line 3",
    ]
    write("two.csv", "ra,dec\n5,6\n")
    with pytest.raises(
        LenspipeError, match=r"two\.csv: found columns ra, dec; expected ra, dec, gr"
    ):
        read_graded_lists(["two.csv"])


@pytest.mark.skipif(importlib.util.find_spec("lenscat") is None, reason="lenscat is not installed")
def test_lenscat_as_installed(said):
    settings = settings_of("lenscat")
    table = read_catalogue(settings.sample.known_lenses[0])
    assert len(table) > 30000
    assert set(table["grade"]) == {"A", "C"}
    assert set(table["kind"]) == {"galaxy", "group", "cluster"}
    assert not [line for line in said() if "left out" in line or "ungraded" in line]
    lenses = merge_known(settings)
    assert lenses["references"].str.startswith("lenscat:").all()
    status = table["status"].value_counts()
    assert lenses["n_entries"].sum() == len(table) - status["no lens"]
    if len(table) == 32838:  # Version 1.1.3.
        assert status.to_dict() == {"lens": 16132, "unresolved": 2935, "no lens": 13771}
        counts = read_references(settings).set_index("reference")
        clusters = counts.loc["Lopes et al. (2004) - doi:10.1086/423038"]
        assert clusters[["entries", "visible", "left_out"]].tolist() == [9955, 1, 9953]


#: As lenscat's table has them: the kind says galaxy even where the entry is a cluster.
REFERENCES = {
    "Storfer et al. (2022) - arXiv:2206.02764": "lens",
    "https://arxiv.org/abs/2002.01611 https://arxiv.org/abs/1112.3683": "lens",
    "Moustakas et al. (2012) - adsabs:2012hst..prop12833M": "lens",
    "Moustakas et al. (2012) - adsabs:2012hst..prop12833M | Ebeling et al. (1998) - X": "lens",
    "": "lens",
    "Talbot et al. (2020) - arXiv:2007.09006": "unresolved",
    "Talbot et al. (2020) - arXiv:2007.09006 | Moustakas et al. (2012) - adsabs:2": "unresolved",
    "https://arxiv.org/abs/1112.3683": "unresolved",
    "Lopes et al. (2004) - doi:10.1086/423038": "no lens",
    'B\\"ohringer et al. (2004) - arXiv:astro-ph/0405546 | Gioia et al. (1990) - doi:1': "no lens",
}


def read_references(settings):
    return pd.read_csv(settings.paths.lens_references, keep_default_na=False)


def test_lenses_are_chosen_by_their_references(said):
    rows = [
        {"name": f"J{i}", "RA [deg]": 10.0 * i, "DEC [deg]": 1, "zlens": 0.5, "type": "galaxy"}
        | {"grading": "probable", "ref": ref}
        for i, ref in enumerate(REFERENCES)
    ]
    pd.DataFrame(rows).to_csv("catalog.csv", index=False)
    settings = settings_of("catalog.csv")
    table = read_catalogue(settings.sample.known_lenses[0])
    assert table["status"].tolist() == list(REFERENCES.values())
    lenses = merge_known(settings).set_index("names")
    status = dict(zip(table["name"], table["status"], strict=True))
    assert lenses["visible"].to_dict() == {
        name: value == "lens" for name, value in status.items() if value != "no lens"
    }
    counts = read_references(settings).set_index("reference")
    columns = ["meaning", "entries", "visible", "unresolved", "left_out"]
    expected = {
        "Storfer et al. (2022) - arXiv:2206.02764": ["lens", 1, 1, 0, 0],
        "Talbot et al. (2020) - arXiv:2007.09006": ["unresolved", 2, 0, 2, 0],
        "Moustakas et al. (2012) - adsabs:2012hst..prop12833M": ["compilation", 2, 2, 0, 0],
        "https://arxiv.org/abs/1112.3683": ["unresolved", 2, 1, 1, 0],
        "Lopes et al. (2004) - doi:10.1086/423038": ["no lens", 1, 0, 0, 1],
        "Ebeling et al. (1998) - X": ["no lens", 1, 1, 0, 0],
    }
    found = counts.loc[list(expected), columns]
    assert dict(zip(found.index, found.to_numpy().tolist(), strict=True)) == expected
    (line,) = [line for line in said() if "that list no lenses" in line]
    assert "Lopes et al. (2004) - doi:10.1086/423038 1" in line
    everything = merge_known(settings_of({"path": "catalog.csv", "references": {}}))
    assert len(everything) == len(REFERENCES)
    assert everything["visible"].all()


@pytest.mark.shared
@pytest.mark.parametrize(("name", "counts"), PUBLISHED.items())
def test_grades_of_published_catalogues(shared, name, counts):
    path = str(shared / "catalogs" / name)
    table = read_catalogue(Catalogue(path=path))
    assert table["grade"].value_counts().to_dict() == counts
    assert table["catalogue"].unique().tolist() == [name.rpartition(".")[0]]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("first", "second", "number"),
    [
        # Paper II lists none of Paper I's.
        ("huang2020_published_catalog.csv", "huang2021_published_catalog.csv", 0),
        ("huang2020_published_catalog.csv", "storfer2024_published_catalog.csv", 5),
        ("stein2022_training_lenses.tsv", "storfer2024_published_catalog.csv", 71),
    ],
)
def test_overlap_of_published_catalogues(shared, first, second, number):
    paths = [str(shared / "catalogs" / name) for name in (first, second)]
    settings = settings_of(*({"path": path, "name": path} for path in paths))
    lenses = merge_known(settings)
    lists = [read_catalogue(entry) for entry in settings.sample.known_lenses]
    pairs = np.argwhere(haversine_arcsec(*lists) <= 5)
    assert len(pairs) == number
    both = lenses["references"].map(lambda text: all(path in text for path in paths))
    positions = set()
    for rows in pairs:
        entries = [table.loc[row] for table, row in zip(lists, rows, strict=True)]
        best = min(entries, key=lambda entry: entry["grade"] or "E")
        positions.add((best["ra"], best["dec"], best["grade"]))
    columns = ["ra", "dec", "grade"]
    assert positions == set(lenses.loc[both, columns].itertuples(index=False, name=None))
    assert lenses["n_entries"].sum() == sum(map(len, lists))


def haversine_arcsec(first, second):
    """Separations of all pairs."""
    ra0, dec0 = (np.radians(first[name].to_numpy())[:, None] for name in ("ra", "dec"))
    ra1, dec1 = (np.radians(second[name].to_numpy()) for name in ("ra", "dec"))
    half = np.sin((dec1 - dec0) / 2) ** 2
    half += np.cos(dec0) * np.cos(dec1) * np.sin((ra1 - ra0) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(half))) * 3600
