"""Tests of lenspipe.evaluation.recovery: brute force on the whole sky, all reasons."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import write_fits_table
from helpers.scored_run import write_table
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.cli.main import main
from lenspipe.config.learning import Catalogue
from lenspipe.config.results import Recovery
from lenspipe.config.runs import note_settings
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.evaluation.recovery import comparison, reasons
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent.cuts import CUTS
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.manifests import read_manifest, write_manifest
from lenspipe.statistics.intervals import binomial_interval
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils import crossmatch
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tables import write_table as write_any_table

RADIUS = 5.0
ARCSEC = 1 / 3600
#: Where positions are crowded: the wrap at 0/360, both poles, and anywhere.
PLACES = [(0.0, 0.0), (359.9999, 45.0), (77.0, 90.0), (200.0, -90.0), (123.4, -33.3)]


def separations(ra, dec, ra0, dec0):
    """Haversine of each position and one other, arcsec."""
    ra, dec, ra0, dec0 = (np.radians(angle) for angle in (ra, dec, ra0, dec0))
    half = np.sin((dec - dec0) / 2) ** 2
    half = half + np.cos(dec) * np.cos(dec0) * np.sin((ra - ra0) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))) * 3600


def around(place, north, east):
    """Positions some arcsec from a place, along great circles through its tangent plane."""
    ra, dec = np.radians(place)
    x, y = np.radians(np.asarray(east) * ARCSEC), np.radians(np.asarray(north) * ARCSEC)
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    to_east = np.array([-np.sin(ra), np.cos(ra), 0])
    vector = (
        centre + np.multiply.outer(x, to_east) + np.multiply.outer(y, np.cross(centre, to_east))
    )
    x, y, z = vector.T / np.linalg.norm(vector, axis=1)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def reference(scores, entries, thresholds):
    """Best p, matches and systems of each entry, by all pairs; and counts by grade."""
    scores, ra, dec = scores.reset_index(drop=True), scores["ra"].values, scores["dec"].values
    best, number = np.full(len(entries), np.nan), np.zeros(len(entries), int)
    for place, entry in enumerate(entries.itertuples()):
        near = separations(ra, dec, entry.ra, entry.dec) <= RADIUS
        number[place] = near.sum()
        if near.any():
            best[place] = scores["p"].values[near].max()
    system = np.arange(len(entries))
    while True:
        joined = [
            system[separations(entries.ra.values, entries.dec.values, ra0, dec0) <= RADIUS].min()
            for ra0, dec0 in zip(entries.ra, entries.dec, strict=True)
        ]
        if (system == joined).all():
            break
        system = np.array(joined)
    counts = {}
    for grade in ("all", *sorted(set(entries["grade"]))):
        own = (entries["grade"] == grade).values | (grade == "all")
        for threshold in thresholds:
            passed = own & (np.nan_to_num(best, nan=-1) >= threshold)
            counts[grade, threshold] = (
                *(int(own.sum()), int((own & (number > 0)).sum()), int(passed.sum())),
            )
    return best, number, system, counts


def write_entries(path, entries):
    entries.to_csv(path, index=False)
    return Catalogue(path=str(path))


def check(folder, scores, entries, thresholds):
    """Compare everything that a bare table of scores tells with the reference."""
    write_table(scores, folder / "scores.parquet")
    catalogue = write_entries(folder / "entries.csv", entries)
    own = Recovery(thresholds=thresholds, radius_arcsec=RADIUS)
    table, summary = comparison.compare(folder / "scores.parquet", catalogue, own)
    best, number, system, counts = reference(scores, entries, thresholds)
    np.testing.assert_array_equal(table["n_matches"], number)
    np.testing.assert_array_equal(table["p"], best.astype(np.float32))
    np.testing.assert_array_equal(pd.factorize(table["system"])[0], pd.factorize(system)[0])
    found = {
        (row["group"], row["threshold"]): (row["n"], row["n_scored"], row["n_passed"])
        for row in summary["recovery"]
    }
    assert found == counts
    assert summary["n_systems"] == len(set(system))
    assert sum(row["all"] for row in summary["reasons"].values()) == len(entries)
    return table, summary


@given(st.sampled_from(PLACES), st.integers(0, 2**32 - 1))
def test_pairs_are_those_of_brute_force(place, seed):
    rng = np.random.default_rng(seed)
    ra, dec = around(place, *rng.uniform(-12, 12, (2, 30)))
    ra0, dec0 = around(place, *rng.uniform(-12, 12, (2, 12)))
    rows, entries, separation = Sky(ra0, dec0, RADIUS).pairs(ra, dec)
    expected = np.stack([separations(ra, dec, *other) for other in zip(ra0, dec0, strict=True)])
    found = np.full(expected.shape, np.nan)
    found[entries, rows] = separation
    np.testing.assert_allclose(found, np.where(expected <= RADIUS, expected, np.nan), atol=1e-7)


def test_radius_is_included_and_nothing_is_near_nan():
    sky = Sky([10.0, 10.0], [0.0, 0.0], 3.6)
    rows, entries, separation = sky.pairs([10.0, np.nan, 10.0, 370.0], [0.001, 0.0, 0.00101, 0.0])
    # At equal positions both entries are found, by an angle and by one turn more.
    assert rows.tolist() == [3, 3] or rows.tolist() == [0, 0, 3, 3]
    assert set(entries) == {0, 1}
    assert separation[-1] == pytest.approx(0, abs=1e-9)
    assert len(Sky([10.0], [0.0], 3.6001).pairs([10.0], [0.001])[0]) == 1


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("rows", [3, 1000])
def test_counts_are_those_of_brute_force(place, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(crossmatch, "_ROWS", rows)
    rng = np.random.default_rng(4)
    ra, dec = around(place, *rng.uniform(-60, 60, (2, 80)))
    scores = pd.DataFrame({"ra": ra, "dec": dec, "p": rng.random(80).astype(np.float32)})
    ra, dec = around(place, *rng.uniform(-60, 60, (2, 60)))
    entries = pd.DataFrame({"ra": ra, "dec": dec, "grade": rng.choice(["A", "B"], 60)})
    entries = pd.concat([entries, entries.head(5)], ignore_index=True)
    table, summary = check(tmp_path, scores, entries, (0.2, 0.7))
    assert table["duplicate_of"].tail(5).notna().all()
    assert summary["n_several_matches"] == (table["n_matches"] > 1).sum() > 0


def test_duplicates_and_entries_with_two_galaxies(tmp_path):
    # The first two entries are one system, of which the worse one alone is near a galaxy; the third
    # is near two galaxies; the fourth is graded D, the fifth has no name.
    entries = pd.DataFrame(
        [
            ("worse", 10.0, 0.0, "B"),
            ("better", 10.0, 4 * ARCSEC, "A"),
            ("double", 20.0, 0.0, "B"),
            ("no lens", 30.0, 0.0, "D"),
            ("", 11.5084, -1.9412, ""),
        ],
        columns=["name", "ra", "dec", "grade"],
    )
    scores = pd.DataFrame(
        [
            ("low", 10.0, -3 * ARCSEC, 0.6),
            ("nearer", 20.0, ARCSEC, 0.1),
            ("best", 20.0, 4 * ARCSEC, 0.8),
            ("d", 30.0, 0.0, 0.9),
            ("unscored", 11.5084, -1.9412, np.nan),
        ],
        columns=["id", "ra", "dec", "p"],
    )
    write_table(scores, tmp_path / "scores.parquet")
    catalogue = write_entries(tmp_path / "some.csv", entries)
    own = Recovery(thresholds=(0.9, 0.5))
    table, summary = comparison.compare(tmp_path / "scores.parquet", catalogue, own)
    assert table["id"].tolist() == ["low", "", "best", "d", "unscored"]
    assert table["n_matches"].tolist() == [1, 0, 2, 1, 1]
    assert table["reason"].tolist() == ["passed", "not scored", "passed", "passed", "no score"]
    assert table["duplicate_of"].fillna(0).tolist() == [3, 0, 0, 0, 0]
    assert table["name"].iloc[4] == "DESI-011.5084-01.9412"
    rows = {(row["group"], row["threshold"]): row for row in summary["recovery"]}
    # The system counts where its best grade is, with the score of either of its entries.
    assert [rows[g, 0.5]["systems_n"] for g in ("A", "B", "D", "ungraded")] == [1, 1, 1, 1]
    assert [rows[g, 0.5]["systems_n_passed"] for g in ("A", "B", "D", "ungraded")] == [1, 1, 1, 0]
    assert [rows[g, 0.5]["n_passed"] for g in ("A", "B", "D", "ungraded")] == [0, 2, 1, 0]
    # What is graded D is no lens and counts in its own row only.
    assert (rows["all", 0.5]["n"], rows["all", 0.5]["systems_n"]) == (4, 3)
    assert [rows[g, 0.9]["n_passed"] for g in ("all", "D")] == [0, 1]
    assert rows["all", 0.5]["systems_of_all"] == pytest.approx(2 / 3)
    low, high = rows["all", 0.5]["of_scored_low"], rows["all", 0.5]["of_scored_high"]
    assert (low, high) == binomial_interval(2, 2)
    assert rows["ungraded", 0.5]["of_scored"] is None
    # A folder of such tables gives the same.
    pd.testing.assert_frame_equal(comparison.compare(tmp_path, catalogue, own)[0], table)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("huang2020_published_catalog.csv", "as published"),
        ("huang2020_published_catalog.csv", "across 0"),
        ("huang2020_published_catalog.csv", "at the pole"),
        ("huang2021_published_catalog.csv", "as published"),
        ("inchausti2025_published_catalog.csv", "as published"),
        ("stein2022_new_lenses.tsv", "as published"),
    ],
)
def test_published_catalogues_against_brute_force(name, how, shared, tmp_path):
    tables = {}
    for path in sorted((shared / "catalogs").iterdir()):
        own = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
        own = own.rename(columns=str.lower)[
            ["ra", "dec", *({"grade"} & {*own.columns.str.lower()})]
        ]
        # A row of one of them is a line of text.
        own["ra"] = pd.to_numeric(own["ra"], errors="coerce")
        tables[path.name] = own.dropna(subset=["ra", "dec"])
    rng = np.random.default_rng(3)
    entries = tables[name]
    # Some entries again, an arcsec away; some galaxies again, two arcsec from each other.
    again = entries.head(20)
    entries = pd.concat([entries, again.assign(dec=again["dec"] + ARCSEC)], ignore_index=True)
    scores = pd.concat([table[["ra", "dec"]] for table in tables.values()])
    again = scores.sample(500, random_state=1)
    scores = pd.concat([scores, again.assign(dec=again["dec"] + 2 * ARCSEC)])
    for table in (entries, scores):
        if how == "across 0":
            table["ra"] = (table["ra"] - tables[name]["ra"].iloc[3]) % 360
        elif how == "at the pole":
            table["dec"] = 90 - (90 - table["dec"]) / 1000
    scores = scores.assign(p=rng.random(len(scores)).astype(np.float32))
    table, summary = check(tmp_path, scores, entries, (0.5, 0.7, 0.9))
    assert summary["n_duplicates"] >= 20
    assert (table["n_matches"] > 1).any()
    assert (table["reason"] == "not scored").sum() < len(table)


#: Galaxies of the searched brick: what differs from one that is kept, and what becomes of it.
FATES = {
    "passed": {},
    "below threshold": {},
    "flagged": {},
    "no score": {},
    "no cutout": {},
    "cut: brick_primary": {"brick_primary": False},
    "cut: type": {"type": "PSF "},
    "cut: sersic_min": {"type": "SER ", "sersic": 0.5},
    "cut: mag_z_max": {"flux_z": 1.0},
    "cut: min_exposures": {"nobs_r": 1},
    "cut: maskbits": {"maskbits": 1 << 1},
    "cut: valid": {"flux_g": np.inf},
}
BRICK, ABSENT_BRICK = "1501p320", "1504p320"


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A run on two bricks, of which one has no catalogue, with a galaxy for each of `FATES`."""
    monkeypatch.chdir(tmp_path)
    survey = RELEASES["dr9"].paths("tree")
    ra, dec = 150.14705882352942 + 360 / 1224 * np.arange(2), np.full(2, 32.0)
    bricks = {"brickname": [BRICK, ABSENT_BRICK], "ra": ra, "dec": dec}
    bricks |= {f"nexp_{band}": np.full(2, 5, "i2") for band in "grz"}
    bricks |= {"brickid": np.array([7, 8], "i4"), "survey_primary": [True, True]}
    write_fits_table(survey.bricks("south"), bricks)
    n = len(FATES) + 2
    columns = {"release": np.full(n, 9010, "i2"), "brickid": np.full(n, 7, "i4")}
    columns |= {"brickname": [BRICK] * n, "objid": np.arange(n, dtype="i4")}
    columns |= {"brick_primary": [True] * n, "type": ["DEV "] * n, "maskbits": np.zeros(n, "i2")}
    columns |= {"ra": 150.1 + 0.01 * np.arange(n), "dec": np.full(n, 32.0)}
    for name in ("sersic", "shape_r", "shape_e1", "shape_e2", "ebv"):
        columns[name] = np.full(n, 4, "f4")
    for band in "grz":
        columns |= {f"flux_{band}": np.full(n, 50, "f4"), f"nobs_{band}": np.full(n, 5, "i2")}
        columns |= {f"{kind}_{band}": np.ones(n, "f4") for kind in ("galdepth", "psfsize")}
    for place, changes in enumerate(FATES.values()):
        for name, value in changes.items():
            columns[name][place] = value
    # A star beside the galaxy that is too faint, nearer to the entry: the galaxy came further.
    faint = list(FATES).index("cut: mag_z_max")
    columns["type"][-1], columns["ra"][-1] = "PSF ", columns["ra"][faint]
    columns["dec"][faint] += 2 * ARCSEC
    # A second star beside the first: of two that the same cut removed, the nearer one counts.
    columns["type"][-2], columns["ra"][-2] = "PSF ", 150.1 + 0.01 * list(FATES).index("cut: type")
    columns["dec"][-2] += ARCSEC
    write_fits_table(survey.tractor("south", BRICK), columns)
    config = {"run": "tiny", "survey": {"release": "dr9", "tree": "tree"}, "chunks": {"nside": 4}}
    settings = load_settings(config | {"sample": {"known_lenses": "known.csv"}})
    write_bricks(settings)
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    parent = pd.read_parquet(settings.paths.parent(chunk))
    assert len(parent) == 5
    scores = parent.head(4)[["id", "brick", "ra", "dec"]]
    scores = scores.assign(flags=[0, 4, 2, 0], p=np.float32([0.95, 0.3, 0.99, np.nan]))
    write_table(scores, settings.paths.scores(chunk))
    done = {"status": "done", "count": 5, "hash": "x"}
    write_manifest(settings.paths.manifest("cutouts", chunk), {BRICK: done})
    sample = scores.iloc[[0, 1]].assign(split=["train", "validation"])
    write_table(sample[["id", "ra", "dec", "split"]], settings.paths.sample)
    entries = pd.DataFrame({"name": list(FATES), "ra": 150.1 + 0.01 * np.arange(n - 2)})
    entries = entries.assign(dec=32.0, region="south")
    others = [
        ("no catalogue object", 150.05),
        ("brick failed", 150.45),
        ("not in the footprint", 9),
    ]
    others = pd.DataFrame(others, columns=["name", "ra"]).assign(dec=32.0, region="north")
    entries = pd.concat([entries, others], ignore_index=True)
    entries.to_csv("published.csv", index=False)
    return settings, chunk


def compare(settings, scores="results/tiny", known=None, **changes):
    own = Recovery(thresholds=(0.9,), **changes)
    return comparison.compare(scores, Catalogue(path="published.csv"), own, known or settings)


def test_each_entry_has_the_reason_that_it_should(search):
    settings, _ = search
    table, summary = compare(settings)
    assert table["reason"].tolist() == table["name"].tolist()
    assert set(table["reason"]) < set(reasons.REASONS)
    assert summary["reasons"] == {name: {"all": 1, "ungraded": 1} for name in table["reason"]}
    ids = [f"9010-7-{place}" for place in range(len(FATES))]
    assert table["id"].tolist() == [*ids, "", "", ""]
    by_name = table.set_index("name")
    assert by_name.loc["cut: mag_z_max", "separation_arcsec"] == pytest.approx(2, abs=1e-6)
    assert "tractor-1504p320.fits: no such file" in by_name.loc["brick failed", "detail"]
    assert [name for name in FATES if name.startswith("cut")] == [f"cut: {cut}" for cut in CUTS]
    rows = {row["trained_on"]: row for row in summary["recovery"] if row["group"] == "all"}
    assert [rows["all"][name] for name in ("n", "n_scored", "n_passed")] == [15, 3, 1]
    assert [rows["yes"][name] for name in ("n", "n_scored", "n_passed")] == [1, 1, 1]
    assert table["split"].tolist()[:3] == ["train", "validation", "not in the sample"]


def test_validation_counts_as_trained_on_where_a_model_was_refitted(search):
    settings, _ = search
    path = settings.paths.model("resnet", "training.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"refit": True}))
    _, summary = compare(settings)
    assert [row["n"] for row in summary["recovery"][:3]] == [15, 2, 13]


@pytest.mark.usefixtures("search")
def test_without_settings_the_survey_is_not_read():
    own = Recovery(thresholds=(0.9,))
    table, _ = comparison.compare("results/tiny/scores", Catalogue(path="published.csv"), own)
    found = dict(zip(table["name"], table["reason"], strict=True))
    unknown = "no object or cut, which is not known"
    assert {found[name] for name in FATES if name.startswith("cut")} == {unknown}
    assert found["no catalogue object"] == unknown
    # Which flags count is a setting, too.
    assert found["flagged"] == "passed"
    kept = ("passed", "below threshold", "no score", "no cutout", "brick failed")
    assert all(found[name] == name for name in (*kept, "not in the footprint"))


def test_what_is_not_done_yet_or_made_with_other_settings_is_said(search):
    settings, chunk = search
    cutouts = settings.paths.manifest("cutouts", chunk)
    failed = {"status": "failed", "count": 0, "hash": "", "reason": "garbled"}
    write_manifest(cutouts, {BRICK: failed})
    row = compare(settings)[0].set_index("name").loc["no cutout"]
    assert (row["reason"], row["detail"]) == ("brick failed", "garbled")
    cutouts.unlink()
    assert compare(settings)[0].set_index("name").loc["no cutout", "reason"] == "chunk not done"
    wider = settings.model_copy(
        update={"parent": settings.parent.model_copy(update={"mag_z_max": 25})}
    )
    found = compare(settings, known=wider)[0].set_index("name")["reason"]
    assert found["cut: mag_z_max"] == "cut by other settings"
    # A chunk of another footprint that the run once had.
    stray = pd.DataFrame({"ra": [9.0], "dec": [32.0], "p": [0.99]})
    write_table(stray, settings.paths.scores("4-000000"))
    found = compare(settings)[0].set_index("name")["reason"]
    assert found["not in the footprint"] == "not in the footprint"
    settings.paths.parent(chunk).unlink()
    assert compare(settings)[0].set_index("name").loc["cut: type", "reason"] == "chunk not done"
    assert read_manifest(settings.paths.manifest("parent", chunk))[ABSENT_BRICK]["reason"]


def test_a_column_of_the_catalogue_to_count_by(search):
    _, summary = compare(search[0], by="Region")
    rows = [row for row in summary["recovery"] if row["trained_on"] == "all"]
    groups = {row["group"]: row["n"] for row in rows}
    assert groups == {"all": 15, "north": 3, "south": 12}
    with pytest.raises(LenspipeError, match="found columns name, ra, dec, region; expected z"):
        compare(search[0], by="z")
    many = pd.DataFrame({"ra": np.arange(40.0), "dec": 0.0, "q": np.arange(40)})
    many.to_csv("published.csv", index=False)
    with pytest.raises(LenspipeError, match="40 different values of q"):
        compare(search[0], by="q")


def test_an_address_among_the_catalogues_needs_a_contact(search):
    config = search[0].model_dump()
    config["recovery"] = {"catalogs": ["https://x.org/a.csv?v=2"]}
    with pytest.raises(LenspipeError, match=r"retrieval\.contact: missing"):
        load_settings(config)
    config["retrieval"]["contact"] = "me@x.org"
    assert [own.label for own in load_settings(config).recovery.catalogs] == ["a"]


def test_the_sample_of_another_run(search):
    settings, _ = search
    other = pd.read_parquet(settings.paths.sample).assign(split="test")
    write_table(other, settings.paths.root / "other" / "sample" / "sample.parquet")
    table, _ = compare(settings, sample="results/tiny/other/sample/sample.parquet")
    assert table["split"].tolist()[:3] == ["test", "test", "not in the sample"]
    settings.paths.sample.unlink()
    table, summary = compare(settings)
    assert set(table["split"]) == {""}
    assert {row["trained_on"] for row in summary["recovery"]} == {"all"}
    with pytest.raises(LenspipeError, match=r"nowhere\.parquet: no such file.*recovery\.sample"):
        compare(settings, sample="nowhere.parquet")


def test_an_object_without_flag_comes_before_a_flagged_one_and_any_score_before_none():
    table = pd.DataFrame({"id": ["a", "b", "c"], "ra": 50.0, "dec": 0.0, "flags": [2, 0, 0]})
    table["p"] = np.float32([0.9, 0.2, np.nan])
    for rows, best, rank in ((table, "b", 2), (table.iloc[[2, 0]], "a", 1), (table[2:], "c", 0)):
        found = comparison.match_scores([rows], [50.0], [0.0], 3.0, ["EDGE"]).iloc[0]
        assert (found["id"], found["rank"]) == (best, rank)


def test_an_entry_at_an_edge_is_of_the_brick_that_it_is_in(search):
    settings, _ = search
    # Within 0.04 arcsec of the edge at 31.875, beyond which no brick is in the run.
    missing = pd.DataFrame({"ra": 150.1, "dec": [31.87501, 31.87499]})
    table = reasons.explain_missing(missing, settings.paths, 3.0, RELEASES["dr9"])
    assert table["reason"].tolist() == [reasons.UNKNOWN, reasons.FOOTPRINT]


def test_neighbouring_bricks_are_looked_at():
    rng = np.random.default_rng(8)
    dec = np.r_[rng.uniform(-90, 90, 300), 89.9999, -89.9999, np.arange(-88.875, 89, 5)]
    ra = np.r_[rng.uniform(0, 360, 302), np.zeros(len(dec) - 302)]
    grid = brick_grid(0.25)
    near = reasons._nearby_bricks(ra, dec, 200.0, grid)
    assert [names[0] for names in near] == grid.bricks_at(ra, dec)[0].tolist()
    for place in range(len(ra)):
        angle = np.linspace(0, 2 * np.pi, 40)
        there = around((ra[place], dec[place]), 199 * np.cos(angle), 199 * np.sin(angle))
        if abs(dec[place]) < 89.5:
            assert set(grid.bricks_at(*there)[0]) <= set(near[place])
    # An edge of bricks, 0.5 milliarcsec nearer and farther than 5 arcsec.
    edge = 0.125 - np.array([4.9995, 5.0005]) * ARCSEC
    near = reasons._nearby_bricks(np.full(2, 0.125), edge, 5.0, grid)
    assert [len(names) for names in near] == [2, 1]


def test_the_rule_writes_a_table_counts_and_a_figure(search):
    settings, _ = search
    own = {"catalogs": {"path": "published.csv", "name": "mine"}, "thresholds": 0.9}
    settings = settings.model_copy(update={"recovery": Recovery(**own)})
    comparison.measure_recovery(settings)
    table = pd.read_csv(settings.paths.recovery("mine.csv"), keep_default_na=False)
    assert table["reason"].tolist() == table["name"].tolist()
    summary = json.loads(settings.paths.recovery("mine.json").read_text())
    assert summary["catalogue"] == "mine"
    assert summary["n_entries"] == len(table) == 15
    assert settings.paths.recovery("mine.png").read_bytes()[1:4] == b"PNG"


def test_the_command(search, capsys):
    note_settings(search[0])
    arguments = ["recovery", "results/tiny", "--catalog", "published.csv"]
    options = ["--thresholds", "0.9,0.2", "--by", "region", "--radius", "3", "--output", "out"]
    assert main([*arguments, *options]) == 0
    text = capsys.readouterr().out
    assert "published: 15 entries, 15 systems; galaxies of results/tiny within 3 arcsec" in text
    assert "below threshold" not in text
    summary = json.loads((search[0].paths.root.parents[1] / "out/published.json").read_text())
    assert (summary["thresholds"], summary["by"]) == ([0.2, 0.9], "region")
    assert len(pd.read_csv("out/published.csv")) == 15
    assert main([*arguments, *options]) == 1
    assert "out/published.csv: exists; give --overwrite" in capsys.readouterr().err
    assert main(arguments) == 0
    assert search[0].paths.recovery("published.json").exists()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "fits"])
def test_scores_of_other_people(search, suffix, capsys):
    """Columns by other names, in any format, give what ours give."""
    settings, chunk = search
    ours = pd.read_parquet(settings.paths.scores(chunk))
    path = f"theirs.{suffix}"
    theirs = ours[["id", "ra", "dec", "p"]].rename(columns={"id": "row_id", "p": "score"})
    write_any_table(path, theirs)
    command = ["recovery", "--scores", path, "--catalog", "published.csv", "--output", "theirs"]
    assert main(command) == 1
    line = capsys.readouterr().err.strip()
    assert "expected ra (degrees), dec (degrees), p, and no p; rename columns, or say" in line
    assert line.endswith("with --columns p=COLUMN")
    assert main([*command, "--columns", "p=score,id=row_id"]) == 0
    plain = ["recovery", "--scores", str(settings.paths.scores(chunk)), "--output", "ours"]
    assert main([*plain, "--catalog", "published.csv"]) == 0
    theirs, ours = (pd.read_csv(f"{name}/published.csv") for name in ("theirs", "ours"))
    pd.testing.assert_frame_equal(theirs[["id", "p", "reason"]], ours[["id", "p", "reason"]])
    with pytest.raises(SystemExit):
        main([*command, "--columns", "score"])
    assert "found 'score', expected pairs such as p=score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "RUN, --catalog: found none; give the folder"),
        (["--scores", "results/tiny"], "RUN, --catalog: found none"),
        (["--scores", "results", "--catalog", "published.csv"], "results: found no tables of sco"),
        (["--scores", "results/tiny", "--catalog", "no.csv"], "no.csv: can't be read"),
        (["--scores", "published.csv", "--catalog", "published.csv"], "dec (degrees), p, and no p"),
        (
            ["--scores", "results/tiny/bricks.parquet", "--catalog", "published.csv"],
            "expected ra (degrees), dec (degrees), p, and no p; rename",
        ),
        (["--thresholds", "0.5,2"], "--thresholds: found '2'; Input should be less than or equal"),
        (["--radius", "0"], "--radius-arcsec: found 0.0"),
        (["--catalog", "a.csv", "--catalog", "b/a.csv"], "'a' can't name the files"),
    ],
)
@pytest.mark.usefixtures("search")
def test_wrong_use_is_one_line(arguments, message, capsys):
    assert main(["recovery", *arguments, "--output", "out"]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("lenspipe: error: ")
    assert message in line
