"""Targets: a list of positions in place of a footprint."""

import numpy as np
import pandas as pd
import pytest
from conftest import write_fits_table
from desiutil.brick import Bricks

from lenspipe.catalogs.targets import read_targets, targets_without_data
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import select_bricks, write_bricks
from lenspipe.parent.targets import parent_of_targets, targets_of_brick
from lenspipe.products.manifests import read_manifest
from lenspipe.products.tables import parent_columns
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError

LIST = """NAME,Ra,dec,z
my lens,150.1,32.05,0.5
,150.2,31.95,
,209.97,-1.02,
far,-20,-60,0.3
"""
BRICKS = ["1501p320", "1501p320", "2098m010"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a search of LIST, of whose four bricks' three the survey has two."""
    monkeypatch.chdir(tmp_path)
    paths = RELEASES["dr9"].paths("tree")
    columns = {"brickname": ["1501p320", "2098m010", "1504p320"], "dec": [32.0, -1.0, 32.0]}
    columns |= {"ra": [150.147, 209.97, 150.44], "survey_primary": [True, True, True]}
    write_fits_table(paths.bricks("south"), columns | {"brickid": np.arange(3, dtype="i4") + 7})
    (tmp_path / "list.csv").write_text(LIST)
    return load_settings(
        {
            "run": "few",
            "survey": {"tree": "tree"},
            "targets": "list.csv",
            "inference": {"model": "model.keras"},
        }
    )


def test_every_brick_of_the_sky_is_found_by_position():
    """As the survey's own code has it, too."""
    grid = Bricks(bricksize=0.25).to_table()
    own = brick_grid(0.25).table
    for name in own:
        assert (own[name].to_numpy() == np.asarray(grid[name.upper()])).all(), name
    edge = 1e-7
    for ra, dec in (
        (grid["RA"], grid["DEC"]),
        (grid["RA1"] + edge, grid["DEC1"] + edge),
        (grid["RA2"] - edge, grid["DEC2"] - edge),
    ):
        names, numbers = brick_grid(0.25).bricks_at(ra, dec)
        assert (names == grid["BRICKNAME"]).all()
        assert (numbers == grid["BRICKID"]).all()


def test_positions_wrap():
    assert brick_grid(0.25).bricks_at([-0.1, 359.9, 360], [0, 0, 0])[0].tolist() == [
        "3598p000",
        "3598p000",
        "0001p000",
    ]
    assert brick_grid(0.25).bricks_at([10.0, 200.0], [90, -90])[0].tolist() == [
        "1800p900",
        "1800m900",
    ]


def test_the_plan_holds_just_the_bricks_of_the_list(settings, tmp_path):
    bricks = select_bricks(settings)
    assert bricks["brick"].tolist() == sorted(set(BRICKS))
    plan = load_plan(settings)
    assert sorted(entry["brick"] for entries in plan.values() for entry in entries) == [
        *("1501p320", "2098m010")
    ]
    (tmp_path / "list.csv").write_text("ra,dec\n150.1,32.05\n")
    assert list(load_plan(settings).values()) == [[{"brick": "1501p320", "region": "south"}]]


def test_targets_without_data_are_named(settings, caplog):
    with caplog.at_level("INFO", logger="lenspipe"):
        write_bricks(settings)
    assert "target far (ra 340.00000, dec -60.00000): no data of dr9" in caplog.text
    assert "targets: 1 without data" in caplog.text
    bricks = pd.read_parquet(settings.paths.bricks)["brick"]
    assert targets_without_data(settings.targets, bricks, 0.25)["id"].tolist() == ["far"]


def test_the_list_is_the_parent_sample(settings):
    tables, targets, bands = [], read_targets(settings.targets, 0.25), settings.survey.bands
    for chunk, entries in load_plan(settings).items():
        parent_of_targets(settings.paths, chunk, targets, bands)
        table = pd.read_parquet(settings.paths.parent(chunk))
        audit = pd.read_csv(settings.paths.parent_audit(chunk))
        assert audit.iloc[:, :4].to_numpy().tolist() == [["targets", len(table), len(table), 0]]
        assert audit["not_counted"].isna().all()
        manifest = read_manifest(settings.paths.manifest("parent", chunk))
        assert set(manifest) == {entry["brick"] for entry in entries}
        assert sum(entry["count"] for entry in manifest.values()) == len(table)
        for brick, rows in table.groupby("brick"):
            alone, audit = targets_of_brick(settings.paths.plan, brick, targets, bands)
            pd.testing.assert_frame_equal(alone, rows.reset_index(drop=True), check_dtype=False)
            assert audit["after"].tolist() == [len(rows)]
        tables.append(table)
    table = pd.concat(tables).set_index("id")
    kinds = parent_columns(settings.survey.bands)
    assert [*tables[0].columns] == [*kinds]
    assert all(tables[0][name].dtype == kind for name, kind in kinds.items() if kind is not str)
    assert sorted(table.index) == ["my lens", "target-000002", "target-000003"]
    assert table.loc["my lens", ["brick", "region", "ra", "dec", "objid"]].tolist() == [
        *("1501p320", "south", 150.1, 32.05, 1)
    ]
    # The survey's number of that brick, which the tiny table has wrong.
    assert table.loc["my lens", "brickid"] == 506100
    assert (table[["release", "maskbits", "nobs_g"]] == 0).all(axis=None)
    assert table[["mag_z", "shape_r", "psfsize_g", "ebv"]].isna().all(axis=None)
    assert (table["type"] == "").all()


def test_a_simulated_sky_has_the_bricks_of_the_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text(LIST)
    config = {"run": "few", "simulation": {}, "targets": "list.csv"}
    settings = load_settings(config | {"inference": {"model": "model.keras"}})
    assert select_bricks(settings)["brick"].tolist() == ["1501p320", "2098m010", "3398m600"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ra,dec\n", "found no rows"),
        ("name,ra,dec\na,1,2\nb,1,2\na,3,4\n", "more than one row named a, expected"),
        ("name,ra,dec\nä,1,2\n", "found the name 'ä', expected letters, digits"),
        ("name,ra,dec\ntarget-000002,1,2\n,1,2\n", "more than one row named target-000002"),
        ("ra,dec\n1,91\n", "line 2 has ra 1, dec 91"),
        ("ra,dec\n,\n1,2\n", "line 2 has ra empty, dec empty;"),
        ("ra,dec,RA\n1,2,3\n", "more than one column ra"),
        ("a,b\n1,2\n", "found columns a, b; expected ra, dec"),
        ("", r"can't be read as CSV .* correct config key targets"),
        ("ra,dec\n1,2\n12,2\n23,2\n", "ra_deg or ra_hours .config key targets"),
        ("ra,dec\n1,2\n12:61:00,2\n", "line 3 has ra 12:61:00, dec 2"),
    ],
)
def test_wrong_lists_are_refused_in_a_line(settings, tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(LenspipeError, match=message) as caught:
        read_targets(settings.targets, 0.25)
    assert "list.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_taken_as_text(settings, tmp_path):
    (tmp_path / "list.csv").write_text("name,ra,dec\n007,1,2\nNA, 3 ,4\n 1.50 ,5,6\n")
    assert read_targets(settings.targets, 0.25)["id"].tolist() == ["007", "NA", "1.50"]


def test_hours_are_converted(settings, tmp_path, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    (tmp_path / "list.csv").write_text("RA (h),Dec\n10.5,2\n12h30m00s,-01:30:00\n")
    table = read_targets(settings.targets, 0.25)
    assert table[["ra", "dec"]].to_numpy().tolist() == [[157.5, 2], [187.5, -1.5]]
    assert caplog.messages == [
        "list.csv: ra in hours, converted to degrees",
        "list.csv: 1 rows with sexagesimal positions (ra in hours), converted to degrees: line 3",
    ]


def test_a_list_off_the_survey_is_refused(settings, tmp_path):
    (tmp_path / "list.csv").write_text("ra,dec\n1,2\n3,4\n")
    with pytest.raises(LenspipeError, match="none of its 2 positions is in a brick of dr9"):
        load_plan(settings)


def test_a_list_that_is_not_there_is_named(settings, tmp_path):
    (tmp_path / "list.csv").unlink()
    with pytest.raises(LenspipeError, match=r"list\.csv: can't be read \(No such file"):
        load_plan(settings)
