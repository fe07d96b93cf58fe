"""Tests of the candidates' files: formats, names, redshifts, the area searched and its map."""

import io
import itertools
import json
import warnings
from pathlib import Path

import astropy.units as u
import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.io.votable import parse, validate
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from helpers.cards import NOTE, write_model
from helpers.scored_run import BRICKS, CHUNK, make_run, make_settings, write_table
from mocpy import MOC
from PIL import Image

from lenspipe.candidates.area import area_deg2, coverage_map, searched_bricks
from lenspipe.candidates.catalogue import write_catalogues
from lenspipe.candidates.columns import order_columns
from lenspipe.candidates.find import find_candidates
from lenspipe.candidates.skymap import plot_sky_map, write_sky_map
from lenspipe.candidates.systems import make_systems
from lenspipe.mosaics.pages import draw_candidate_pages
from lenspipe.products.candidates import read_candidates
from lenspipe.products.manifests import write_manifest
from lenspipe.products.provenance import made_with
from lenspipe.products.tables import read_table
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import iau_name, unique_names

GRID = brick_grid(0.25)
BASE = {"candidates": {"threshold": 0.8}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_run(make_settings(**BASE))


def real(**candidates):
    """Settings of the same run as if the survey were real."""
    return make_settings(
        simulation=None,
        survey={"tree": "survey"},
        sample={"known_lenses": "results/tiny/sky/known-lenses.csv"},
        candidates={"threshold": 0.8} | candidates,
    )


def check_votable(path):
    """Whether a VOTable is valid without a single remark."""
    output = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the validator counts them itself
        is_valid = validate(str(path), output, xmllint=False)
    assert is_valid, output.getvalue()
    assert "found no violations" in output.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return parse(str(path), verify="exception").get_first_table()


@pytest.mark.parametrize("threshold", [0.8, 1.0])
def test_candidates_of_a_model_with_a_card_are_marked(run, tmp_path, threshold):
    write_model(tmp_path / "given", 41)
    settings = make_settings(
        candidates={"threshold": threshold}, inference={"model": "given/model.keras"}
    )
    write_table(run.assign(model=NOTE), settings.paths.scores(CHUNK))
    table = find_candidates(settings)
    assert (len(table) == 0) == (threshold == 1)
    path = settings.paths.candidates
    content = Table.read(path)
    assert content.meta["MODEL"] == Table.read(path.with_name("viewer.fits")).meta["MODEL"] == NOTE
    csv = pd.read_csv(path.with_suffix(".csv"))
    votable = check_votable(path.with_suffix(".vot"))
    assert list(csv) == content.colnames == [field.name for field in votable.fields]
    assert set(csv["model"]) == set(content["model"]) == ({NOTE} if len(table) else set())
    assert f"; {NOTE}" in " ".join(path.with_suffix(".vot").read_text().split())
    assert f"# {NOTE}\n" in path.with_suffix(".reg").read_text()
    if len(table):
        draw_candidate_pages(settings)
        page = settings.paths.mosaic_page(1)
        with Image.open(page) as marked:
            height = marked.size[1]
        write_table(run, settings.paths.scores(CHUNK))
        find_candidates(settings)
        draw_candidate_pages(settings)
        with Image.open(page) as plain:
            assert height > plain.size[1]


@pytest.mark.parametrize("threshold", [0.8, 1.0])
def test_all_formats_hold_the_same_or_nothing(run, threshold):
    settings = real(threshold=threshold)
    if threshold == 1:
        write_table(run.assign(p=np.float32(0.1)), settings.paths.scores(CHUNK))
    table = find_candidates(settings)
    assert (len(table) == 0) == (threshold == 1)
    path = settings.paths.candidates
    content = Table.read(path)
    assert content["ra"].unit == content["dec"].unit == "deg"
    csv = pd.read_csv(path.with_suffix(".csv"))
    votable = check_votable(path.with_suffix(".vot"))
    for field in votable.fields:
        assert check_ucd(field.ucd, check_controlled_vocabulary=True, has_colon=False)
        assert field.description
    assert [field.name for field in votable.fields] == list(csv) == content.colnames
    assert str(votable.get_field_by_id_or_name("mag_z").unit) == "mag"
    vo = votable.to_table()
    for other in (content, vo, Table.from_pandas(csv)):
        assert list(other["name"]) == list(table["name"])
        # Before 3.1, pandas reads numbers to their last digit but one.
        for column in ("ra", "dec"):
            values = np.array(other[column], float)
            np.testing.assert_allclose(values, table[column], rtol=1e-14, atol=1e-14)
    viewer = Table.read(path.with_name("viewer.fits"))
    assert viewer.colnames == ["RA", "DEC", "NAME"]
    assert list(viewer["NAME"]) == list(table["name"])
    regions = path.with_suffix(".reg").read_text().splitlines()
    assert regions[2] == "icrs"
    assert len(regions) == 3 + len(table)
    assert all(
        f"text={{{name} " in line for name, line in zip(table["name"], regions[3:], strict=True)
    )
    write_sky_map(settings)
    with Image.open(path.with_name("sky.png")) as image:
        assert image.width > 500


def test_names_are_unique_and_lead_back_to_positions(run):
    settings = make_settings(candidates={"threshold": 0.8, "merge_radius_arcsec": 0.01})
    order = run["p"].nlargest(3).index
    # Two within a name's last digit, which are two systems at this radius.
    run.loc[order[0], ["ra", "dec"]] = [10.00008, 0.00005]
    run.loc[order[1], ["ra", "dec"]] = [10.00002, 0.00005]
    write_table(run, settings.paths.scores(CHUNK))
    table = find_candidates(settings)
    assert table["name"][:2].tolist() == ["DESI-010.0000+00.0000b", "DESI-010.0000+00.0000a"]
    assert table["name"].is_unique
    plain = table["name"].str.extract(r"DESI-(\d+\.\d+)([+-]\d+\.\d+)[ab]?$").astype(float)
    assert ((table["ra"] - plain[0]).between(0, 1e-4 + 1e-9)).all()
    assert ((table["dec"].abs() - plain[1].abs()).between(0, 1e-4 + 1e-9)).all()


def test_letters_go_on_after_z_and_do_not_depend_on_the_order():
    n = 30
    ra = np.arange(n) * 1e-6
    names = unique_names(["x"] * n + ["y"], [*ra, 5], [0.0] * (n + 1))
    assert names[0] == "xa"
    assert names[25:28].tolist() == ["xz", "xaa", "xab"]
    assert names[-1] == "y"
    mixed = np.random.default_rng(1).permutation(n)
    again = unique_names(["x"] * n, ra[mixed], [0.0] * n)
    assert again.tolist() == names[mixed].tolist()


def systems_of(galaxies, settings):
    known = read_table(settings.paths.lenses, "known")
    radii = {"merge_radius_arcsec": 5.0, "match_radius_arcsec": 2.0}
    return make_systems(galaxies, known, "z", **radii, hide_known=False)


def test_galaxies_on_both_sides_of_zero_are_one_system(run):
    settings = make_settings(**BASE)
    galaxies = run.head(3).assign(mag_z=[18.0, 17.0, 19.0], p=np.float32([0.9, 0.8, 0.95]))
    galaxies["ra"], galaxies["dec"] = [359.9995, 0.0005, 0.01], [89.0, 89.0, -89.0]
    table = systems_of(galaxies, settings)
    assert table["id"].tolist() == [galaxies.loc[2, "id"], galaxies.loc[1, "id"]]
    assert table["n_members"].tolist() == [1, 2]
    assert table["p"].tolist() == np.float32([0.95, 0.9]).tolist()


def test_hidden_lenses_are_kept_but_not_shown(run):
    shown = find_candidates(make_settings(**BASE))
    settings = make_settings(candidates={"threshold": 0.8, "known": "hide"})
    table = find_candidates(settings)
    assert set(table["id"]) == set(shown["id"])
    assert table["known"].tolist() == sorted(shown["known"])
    n_new = int((~shown["known"]).sum())
    assert table["rank"].tolist() == [*range(1, n_new + 1), *[0] * int(shown["known"].sum())]
    assert read_candidates(settings.paths.candidates)["id"].tolist() == table["id"][:n_new].tolist()
    assert len(read_candidates(settings.paths.candidates, hidden=True)) == len(table)
    assert len(Table.read(settings.paths.candidate_file("viewer.fits"))) == n_new
    draw_candidate_pages(settings)
    assert json.loads(settings.paths.mosaic_index.read_text())["n_candidates"] == n_new


def write_photoz(path, rows, z_phot, z_spec):
    """A table as the photometric redshifts of the sweeps: no positions."""
    ids = [rows[name].to_numpy() for name in ("release", "brickid", "objid")]
    names = ["RELEASE", "BRICKID", "OBJID", "Z_PHOT_MEDIAN", "Z_PHOT_STD", "Z_SPEC", "FLUX"]
    columns = [*ids, z_phot, np.full(len(rows), 0.05, "f4"), z_spec, np.zeros((len(rows), 3))]
    fitsio.write(path, columns, names=names, clobber=True)


def test_redshifts_come_by_identifier_and_position_spectroscopic_first(run):
    rows = run[run["p"] >= np.float32(0.8)].head(4).reset_index(drop=True)
    write_photoz(
        "pz.fits", rows, np.float32([0.3, 0.4, -99, 0.6]), np.float32([-99, 0.41, -99, -99])
    )
    off = np.array([0.5, 0.5, 1.5]) / 3600
    desi = pd.DataFrame(
        {
            "TARGET_RA": rows["ra"][[0, 2, 3]].to_numpy(),
            "TARGET_DEC": rows["dec"][[0, 2, 3]].to_numpy() + off,
            "Z": [0.31, 0.52, 0.61], "ZERR": [1e-4, 2e-4, 1e-4], "ZWARN": [0, 0, 0],
        }
    )  # fmt: skip
    # A nearer one with a warning, and a farther one, are not taken.
    worse = desi.iloc[[0, 1]].assign(Z=[0.9, 0.8], ZWARN=[4, 0])
    worse["TARGET_DEC"] = rows["dec"][[0, 2]].to_numpy() + np.array([0.1, 0.9]) / 3600
    pd.concat([worse, desi]).to_csv("zall.csv", index=False)
    settings = make_settings(candidates={"threshold": 0.8, "redshifts": ["pz.fits", "zall.csv"]})
    table = find_candidates(settings).set_index("id").loc[rows["id"]]
    np.testing.assert_allclose(table["z"], [0.31, 0.41, 0.52, 0.6], rtol=1e-6)
    assert table["z_kind"].tolist() == ["spec", "spec", "spec", "phot"]
    assert table["z_source"].tolist() == ["zall", "pz", "zall", "pz"]
    np.testing.assert_allclose(table["z_err"], [1e-4, np.nan, 2e-4, 0.05], rtol=1e-6)
    rest = find_candidates(settings).set_index("id").drop(index=rows["id"])
    assert rest["z"].isna().all()
    assert (rest["z_kind"] == "").all()
    check_votable(settings.paths.candidates.with_suffix(".vot"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ra,dec,flux\n1,2,3\n", "found no column of redshifts, expected one of z_spec"),
        ("release,objid,z\n1,2,3\n", "found neither columns release, brickid and objid nor ra"),
        (None, "can't be read"),
    ],
)
def test_a_table_without_redshifts_is_named(run, text, words):
    if text:
        Path("zs.csv").write_text(text)
    settings = make_settings(candidates={"redshifts": "zs.csv"})
    with pytest.raises(LenspipeError, match=r"zs\.csv: ") as caught:
        find_candidates(settings)
    assert words in str(caught.value)


def test_only_what_was_searched_is_covered(run):
    settings = make_settings(**BASE)
    bricks = searched_bricks(settings.paths, GRID)
    assert len(bricks) == len(BRICKS)
    assert area_deg2(bricks, 0.25) == pytest.approx(4 * 0.25**2, rel=1e-4)
    failed = {BRICKS[0]: {"status": "failed", "reason": "x"}}
    done = {brick: {"status": "done", "count": 1, "hash": "x"} for brick in BRICKS[1:]}
    write_manifest(settings.paths.manifest("cutouts", CHUNK), failed | done)
    assert BRICKS[0] not in set(searched_bricks(settings.paths, GRID)["brick"])
    find_candidates(settings)
    write_sky_map(settings)
    moc = MOC.load(settings.paths.candidate_file("searched.fits"), format="fits")
    text = settings.paths.candidate_file("searched.json").read_text()
    assert MOC.from_json(json.loads(text)) == moc
    kept = bricks[bricks["brick"] != BRICKS[0]]
    assert moc.sky_fraction * 41252.96 == pytest.approx(area_deg2(kept, 0.25), rel=0.05)
    lon, lat = (kept[name].to_numpy() for name in ("ra", "dec"))
    assert moc.contains_lonlat(lon * u.deg, lat * u.deg).all()
    gone = bricks.iloc[[0]]
    assert not moc.contains_lonlat(gone["ra"].to_numpy() * u.deg, gone["dec"].to_numpy() * u.deg)[0]


def test_bricks_are_a_partition_of_the_sky():
    dec = np.arange(-90, 90.1, 0.25)
    columns = np.rint(360 / GRID.widths(dec)).astype(int)
    bricks = pd.DataFrame({"dec": np.repeat(dec, columns)})
    bricks["width"] = GRID.widths(bricks["dec"])
    assert len(bricks) == 662_174
    assert area_deg2(bricks, 0.25) == pytest.approx(4 * np.pi * (180 / np.pi) ** 2, rel=1e-12)
    ra, dec = np.random.default_rng(1).uniform([[0], [-90]], [[360], [90]], (2, 50))
    np.testing.assert_array_equal(GRID.brickids_at(ra, dec), GRID.bricks_at(ra, dec)[1])


@pytest.mark.parametrize("wide", [False, True])
def test_a_map_is_drawn_across_zero_and_of_all_the_sky(tmp_path, wide):
    ra = np.arange(-60, 60, 5.0) if wide else np.arange(-1, 1, 0.25)
    bricks = pd.DataFrame({"ra": np.mod(ra, 360), "dec": 0.0, "width": 0.25})
    bricks["brickid"] = GRID.brickids_at(bricks["ra"], bricks["dec"])
    table = pd.DataFrame({"ra": [0.1, 359.9], "dec": [0.0, 0.01], "known": [True, False]})
    plot_sky_map(bricks, table, 0.25, "title", tmp_path / "sky.png")
    with Image.open(tmp_path / "sky.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (np.abs(pixels - [0, 114, 178]).sum(axis=-1) < 90).any()
    assert blue
    assert pixels.shape[1] == 1080
    moc = coverage_map(bricks, GRID)
    assert moc.sky_fraction * 41252.96 == pytest.approx(area_deg2(bricks, 0.25), rel=0.05)


def test_ten_thousand_candidates(run):
    settings = real()
    n, rng = 10_000, np.random.default_rng(5)
    galaxies = pd.DataFrame({"ra": rng.uniform(0, 360, n), "dec": rng.uniform(-20, 80, n)})
    galaxies["p"] = galaxies["p_resnet"] = rng.uniform(0.8, 1, n).astype(np.float32)
    galaxies["id"] = [f"9010-1-{i}" for i in range(n)]
    galaxies["type"], galaxies["brick"], galaxies["region"] = "DEV", "0001p000", "south"
    galaxies["flags"] = np.int32(0)
    for kind, band in itertools.product(("mag", "nobs", "psfsize"), "grz"):
        galaxies[f"{kind}_{band}"] = np.float32(18)
    table = systems_of(galaxies, settings)
    names = iau_name(table["ra"], table["dec"], "DESI")
    table["name"] = unique_names(names, table["ra"], table["dec"])
    assert table["name"].is_unique
    table = order_columns(table.assign(viewer="x"), "grz")
    write_catalogues(table, 0.8, made_with(settings), 5.0, "", settings.paths)
    assert len(check_votable(settings.paths.candidates.with_suffix(".vot")).array) == len(table)
    assert iau_name(*table.loc[0, ["ra", "dec"]], "DESI")[0] == table.loc[0, "name"][:22]
