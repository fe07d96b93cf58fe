"""Tests of lenspipe.candidates.find."""

from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from helpers.scored_run import CHUNK, make_run, make_settings
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.candidates.find import find_candidates
from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.products.candidates import read_candidates
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import iau_name


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings(candidates={"threshold": 0.8})
    return settings, make_run(settings)


def change_scores(settings, scores):
    scores.to_parquet(settings.paths.scores(CHUNK), index=False)


@given(st.integers(0, 3_599_999), st.integers(-899_999, 899_999))
def test_four_decimals_are_kept_in_a_name(ra, dec):
    sign, size = "-" if dec < 0 else "+", abs(dec)
    expected = (
        f"DESI-{ra // 10**4:03d}.{ra % 10**4:04d}{sign}{size // 10**4:02d}.{size % 10**4:04d}"
    )
    # As written by hand, and as read from text.
    texts = f"{ra // 10**4}.{ra % 10**4:04d}", f"{sign}{size // 10**4}.{size % 10**4:04d}"
    assert iau_name(float(texts[0]), float(texts[1]), "DESI")[0] == expected


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_names_are_truncated_never_rounded(ra, dec):
    name = iau_name(ra, dec, "DESI")[0]
    for text, value in ((name[5:13], ra), (name[13:], dec)):
        assert abs(float(text)) <= abs(value)
        assert abs(value) - abs(float(text)) < 1e-4 + 1e-12


def test_names_at_the_ends_of_the_coordinates():
    names = iau_name([359.99999, -1e-20, 0.0, 360.0], [-0.00001, 0.0, 90.0, -89.99999], "DESI")
    assert list(names) == [
        "DESI-359.9999-00.0000",
        "DESI-000.0000+00.0000",
        "DESI-000.0000+90.0000",
        "DESI-000.0000-89.9999",
    ]


@pytest.mark.shared
def test_names_of_a_published_catalogue(shared):
    published = pd.read_csv(shared / "catalogs" / "huang2020_published_catalog.csv")
    assert list(iau_name(published["RA"], published["DEC"], "DESI")) == list(published["name"])


def test_candidates_are_ranked_named_and_known(run):
    settings, scores = run
    expected = scores[scores["p"] >= np.float32(0.8)].sort_values("p", ascending=False)
    table = find_candidates(settings)
    assert list(table["id"]) == list(expected["id"])
    assert list(table["rank"]) == list(range(1, len(table) + 1))
    is_lens = expected["objid"].to_numpy() % 3 == 0
    assert list(table["known"]) == list(is_lens)
    assert list(table["known_grade"]) == list(np.where(is_lens, "A", ""))
    assert list(table["known_as"]) == list(np.where(is_lens, "simulated:A", ""))
    assert (table["n_members"] == 1).all()


def test_files_agree_and_carry_units(run):
    settings, _ = run
    table = find_candidates(settings)
    fits = Table.read(settings.paths.candidates)
    assert fits["ra"].unit == "deg"
    assert fits["mag_g"].unit == "mag"
    assert fits["psfsize_z"].unit == "arcsec"
    header = fitsio.read_header(settings.paths.candidates, "CANDIDATES")
    assert header["THRESH"] == 0.8
    assert "DATE" not in header
    columns = [header[f"TTYPE{i}"] for i in range(1, header["TFIELDS"] + 1)]
    assert "model resnet" in header[f"TCOMM{columns.index('p_resnet') + 1}"]
    pd.testing.assert_frame_equal(
        read_candidates(settings.paths.candidates), table, check_dtype=False
    )
    csv = pd.read_csv(settings.paths.candidates.with_suffix(".csv"))
    assert list(csv["name"]) == list(table["name"])
    assert "viewer" not in table
    assert (table["known_as"] == "simulated:A").sum() == table["known"].sum() > 0


def test_the_same_scores_give_the_same_bytes(run):
    settings, _ = run
    find_candidates(settings)
    first = settings.paths.candidates.read_bytes()
    find_candidates(settings)
    assert settings.paths.candidates.read_bytes() == first


def test_flagged_galaxies_are_rejected_and_counted(run, caplog):
    settings, scores = run
    best = scores["p"].idxmax()
    # MASKED (4) alone is no reason.
    scores.loc[scores["p"] >= 0.9, "flags"] = 4
    scores.loc[best, "flags"] = 2 | 4
    change_scores(settings, scores)
    with caplog.at_level("INFO", logger="lenspipe"):
        table = find_candidates(settings)
    assert scores.loc[best, "id"] not in set(table["id"])
    assert len(table) == (scores["p"] >= np.float32(0.8)).sum() - 1
    assert "1 galaxies at or above the threshold rejected" in caplog.text


def test_of_merged_galaxies_the_brightest_names_all(run):
    settings, scores = run
    parent = pd.read_parquet(settings.paths.parent(CHUNK))
    scores["p"] = np.float32(0.1)
    # Three in a chain of 3" steps, equal in p but for the last; a lens only at the first.
    ra = scores.loc[0, "ra"] + np.array([0, 3, 6]) / 3600
    scores.loc[[0, 1, 2], "ra"] = ra
    scores.loc[[0, 1, 2], "p"] = np.array([0.95, 0.95, 0.9], np.float32)
    parent.loc[[0, 1, 2], "mag_z"] = np.array([19.0, 18.5, 17.0], np.float32)
    parent.to_parquet(settings.paths.parent(CHUNK), index=False)
    change_scores(settings, scores)
    table = find_candidates(settings)
    assert list(table["id"]) == [scores.loc[2, "id"]]
    assert list(table["best_id"]) == [scores.loc[1, "id"]]
    assert table.loc[0, "p"] == np.float32(0.95)
    assert table.loc[0, "p_resnet"] == scores.loc[1, "p_resnet"]
    assert table.loc[0, "ra"] == scores.loc[2, "ra"]
    assert table.loc[0, "n_members"] == 3
    assert bool(table.loc[0, "known"])


def test_a_score_at_the_threshold_is_a_candidate(run):
    settings, scores = run
    scores["p"] = np.float32(0.1)
    scores.loc[5, "p"] = np.float32(0.8)
    scores.loc[6, "p"] = np.float32(np.nan)
    change_scores(settings, scores)
    assert list(find_candidates(settings)["id"]) == [scores.loc[5, "id"]]


def test_no_candidates_is_a_result(run):
    settings, scores = run
    change_scores(settings, scores.assign(p=np.float32(0.1)))
    assert len(find_candidates(settings)) == 0
    assert len(read_candidates(settings.paths.candidates)) == 0


def test_real_data_link_the_sky_viewer(run):
    settings, scores = run
    lenses = str(settings.paths.known_lenses)
    real = make_settings(
        simulation=None, survey={"tree": "survey"}, sample={"known_lenses": lenses}
    )
    change_scores(real, scores.assign(p=scores["p"] ** 0.1))
    table = find_candidates(real)
    assert f"?ra={table.loc[0, 'ra']:.5f}&dec=" in table.loc[0, "viewer"]
    assert table["viewer"].str.endswith("&layer=ls-dr9&zoom=16").all()


def given_model(**sections):
    """Settings of a search with a given model, of real data."""
    Path("model.keras").write_bytes(b"a model")
    return make_settings(
        simulation=None,
        survey={"tree": "survey"},
        inference={"model": "model.keras"},
        **{"footprint": {}} | sections,
    )


def test_without_a_list_of_lenses_none_is_known(run):
    settings = given_model(candidates={"threshold": 0.8})
    merge_known(settings)
    table = find_candidates(settings)
    assert not table["known"].any()
    assert (table[["known_grade", "known_as"]] == "").all(axis=None)
    pd.testing.assert_frame_equal(
        read_candidates(settings.paths.candidates), table, check_dtype=False
    )


def test_the_nearest_known_lens_of_all_members_is_named(run):
    settings, scores = run
    scores["p"] = np.float32(0.1)
    scores.loc[:1, "p"] = np.array([0.99, 0.9], np.float32)
    scores.loc[1, ["ra", "dec"]] = scores.loc[0, ["ra", "dec"]] + [2 / 3600, 0]
    change_scores(settings, scores)
    near = scores.loc[[0, 1], ["ra", "dec"]].astype(float)
    near.loc[0, "dec"] += 1.5 / 3600
    near.loc[1, "dec"] -= 1.0 / 3600
    for index in range(2):
        near.iloc[[index]].to_csv(f"{index}.csv", index=False)
    catalogues = [{"path": "0.csv", "name": "far & wide", "grade": "A"}, {"path": "1.csv"}]
    for number, grade, references in ((2, "", "1"), (1, "A", "far & wide:A")):
        own = {"known_lenses": catalogues[:number], "merge_radius_arcsec": 0.1}
        real = make_settings(simulation=None, survey={"tree": "survey"}, sample=own)
        merge_known(real)
        table = find_candidates(real)
        known = table[["known", "known_grade", "known_as"]]
        assert known.to_numpy().tolist() == [[True, grade, references]]


def test_every_target_is_listed_under_its_name(run):
    _, scores = run
    few = scores.head(4).assign(id=["A & B", "target-000002", "C", "target-000004"])
    # All alike would merge, be below the threshold, or be rejected.
    few["flags"] = np.array([1 | 16, 0, 2, 0], np.int32)
    few["p"] = np.array([0.1, 0.5, np.nan, 0.2], np.float32)
    few[["ra", "dec"]] = [[10.1, 0.0], [10.1, 0.0], [10.1001, 0.0], [10.2, 0.01]]
    names = ["A & B", "", "C", ""]
    few.assign(name=names)[["name", "ra", "dec"]].to_csv("list.csv", index=False)
    own = {"threshold": 0.9, "known": "hide"}
    settings = given_model(targets="list.csv", candidates=own)
    lenses = pd.read_parquet(settings.paths.lenses)
    lenses.loc[0, ["ra", "dec"]] = few.iloc[3][["ra", "dec"]].astype(float)
    lenses.to_parquet(settings.paths.lenses, index=False)
    parent = pd.read_parquet(settings.paths.parent(CHUNK)).head(4).assign(id=few["id"], type="")
    parent[["mag_g", "mag_r", "mag_z"]] = np.float32(np.nan)
    parent.to_parquet(settings.paths.parent(CHUNK), index=False)
    change_scores(settings, few)
    table = find_candidates(settings)
    assert table["id"].tolist() == ["target-000002", "target-000004", "A & B", "C"]
    assert table["name"].tolist() == [
        "DESI-010.1000+00.0000",
        "DESI-010.2000+00.0100",
        "A & B",
        "C",
    ]
    assert table["flags"].tolist() == [0, 0, 17, 2]
    assert table["known"].tolist() == [False, True, False, False]
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert (table["n_members"] == 1).all()
    pd.testing.assert_frame_equal(
        read_candidates(settings.paths.candidates), table, check_dtype=False
    )
    assert table["name"].tolist().count("A & B") == 1


def test_a_galaxy_missing_from_the_parent_sample_is_named(run):
    settings, scores = run
    scores.loc[scores["p"].idxmax(), "id"] = "9010-100-999"
    change_scores(settings, scores)
    with pytest.raises(LenspipeError, match="found no galaxy 9010-100-999"):
        find_candidates(settings)


def test_known_lenses_have_to_be_merged_first(run):
    settings, _ = run
    settings.paths.lenses.unlink()
    with pytest.raises(LenspipeError, match=r"lenses\.parquet: no such file, expected the table"):
        find_candidates(settings)


def test_missing_scores_are_named(run):
    settings, _ = run
    settings.paths.scores(CHUNK).unlink()
    with pytest.raises(LenspipeError, match=r"4-000070\.parquet: no such file, expected scores"):
        find_candidates(settings)
