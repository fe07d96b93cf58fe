"""Tests of lenspipe.mosaics.pages and lenspipe.plotting.colour."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.scored_run import BRICKS, CHUNK, make_run, make_settings, write_plan, write_table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from lenspipe.candidates.find import find_candidates
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.mosaics.pages import draw_brick_mosaic, draw_candidate_pages, draw_chunk_mosaics
from lenspipe.plotting.colour import colour_images, lupton_rgb, viewer_fluxes, viewer_rgb
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.manifests import read_manifest, write_manifest
from lenspipe.utils.errors import LenspipeError

IMAGES = {"bands": "grz", "pixel_scale_arcsec": 0.262}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings(candidates={"threshold": 0.8})
    scores = make_run(settings)
    write_plan(settings)
    return settings, scores


def page_table(n, **columns):
    table = pd.DataFrame({"rank": np.arange(1, n + 1), "p": 0.9, "name": "DESI-000.0000+00.0000"})
    return table.assign(**columns)


def pixels(path):
    with Image.open(path) as page:
        return np.asarray(page.convert("RGB"), dtype=int)


def test_viewer_stretch_by_hand():
    flux = np.array([0.01, 0.05, 0.2])
    image = np.broadcast_to(flux[:, None, None], (3, 5, 5))
    x = flux * [6.0, 3.4, 2.2] + 0.03
    mean = x.mean()
    expected = np.clip(x * np.arcsinh(20 * mean) / np.sqrt(20) / mean, 0, 1)
    rgb = viewer_rgb(image[None])[0]
    assert rgb.dtype == np.uint8
    np.testing.assert_allclose(rgb[2, 2], (255 * expected)[::-1], atol=1)


def test_fluxes_of_the_viewer_stretch():
    flux = np.random.default_rng(1).uniform(0.0, 0.04, (2, 3, 5, 5))
    fluxes = viewer_fluxes(viewer_rgb(flux))
    assert fluxes.dtype == np.float32
    # Within a level of 255; fainter than pixels that are clipped.
    np.testing.assert_allclose(fluxes, flux, rtol=0.05, atol=0.002)


@given(
    hnp.arrays(np.float32, (2, 3, 4, 4), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e6]),
    st.sampled_from(["viewer", "lupton"]),
)
def test_no_pixel_breaks_a_stretch(images, value, stretch):
    images[0, 1, 2, 2] = value
    assert colour_images(images, "grz", stretch).shape == (2, 4, 4, 3)


@pytest.mark.parametrize("stretch", [viewer_rgb, lupton_rgb])
def test_red_is_z_and_blue_is_g(stretch):
    images = np.zeros((3, 3, 1, 1))
    images[np.arange(3), np.arange(3)] = 0.2
    assert list(stretch(images)[:, 0, 0].argmax(axis=1)) == [2, 1, 0]


def test_no_data_is_striped_grey():
    images = np.zeros((1, 3, 20, 20), np.float32)
    images[0, :, :10] = np.nan
    images[0, 0, 10:] = np.nan
    rgb = viewer_rgb(images)[0].astype(int)
    assert len(np.unique(rgb[:10].reshape(-1, 3), axis=0)) == 2
    assert np.ptp(rgb[:10], axis=2).max() < 10
    np.testing.assert_array_equal(rgb[10:], viewer_rgb(np.zeros((1, 3, 10, 20)))[0])


def test_other_numbers_of_bands():
    images = np.random.default_rng(1).normal(0, 0.1, (2, 4, 3, 3))
    np.testing.assert_array_equal(
        colour_images(images, "griz"), viewer_rgb(images[:, [0, 1, 3]], "grz")
    )
    np.testing.assert_array_equal(
        colour_images(images[:, :2], "gr"), viewer_rgb(images[:, [0, 1, 1]], "grr")
    )
    grey = colour_images(images[:, :1], "r")
    assert (grey[..., 0] == grey[..., 2]).all()
    with pytest.raises(LenspipeError, match=r"found an array of shape \(2, 4, 3, 3\), expected"):
        colour_images(images, "grz")
    with pytest.raises(LenspipeError, match="in three of g, r, i, z"):
        viewer_rgb(images[:, :3], "ugr")


def test_north_is_up_and_east_is_left(tmp_path):
    images = np.zeros((1, 3, 101, 101), np.float32)
    # High rows are the North, low columns the East.
    images[0, :, 90, 10] = 5
    draw_page(images, page_table(1), tmp_path / "page.png", **IMAGES, columns=1)
    page = pixels(tmp_path / "page.png").sum(axis=2)
    height, width = page.shape
    tile_top = height - 12 - 34 - 202
    bright = np.argwhere(page[tile_top : tile_top + 150, : width // 2] > 600)
    assert bright[:, 0].max() < 40
    assert bright[:, 1].max() < 50


def test_a_page_has_rows_of_captioned_tiles(tmp_path):
    images = np.zeros((5, 3, 41, 41), np.float32)
    draw_page(images, page_table(5), tmp_path / "a.png", **IMAGES, columns=3, title="A run")
    shape = pixels(tmp_path / "a.png").shape
    draw_page(images[:3], page_table(3), tmp_path / "b.png", **IMAGES, columns=3, title="A run")
    first = pixels(tmp_path / "b.png")
    assert first.shape[1] == shape[1] > 3 * 202
    assert shape[0] - first.shape[0] == 202 + 34 + 8
    # Another probability, name, note or title can be seen.
    for change in ({"p": 0.8}, {"name": "DESI-1"}, {"note": "known lens"}, {"p": np.nan}):
        draw_page(images[:3], page_table(3, **change), tmp_path / "c.png", **IMAGES, columns=3,
                  title="A run")  # fmt: skip
        assert not np.array_equal(pixels(tmp_path / "c.png"), first)


def test_candidates_fill_pages_in_order(run):
    settings, _ = run
    stale = settings.paths.mosaic_page(99)
    stale.parent.mkdir(parents=True)
    stale.touch()
    table = find_candidates(settings)
    draw_candidate_pages(settings)
    index = json.loads(settings.paths.mosaic_index.read_text())
    n_pages = -(-len(table) // 8)
    assert index["n_candidates"] == len(table) > 8
    assert index["pages"] == [f"page-{i:04d}.png" for i in range(1, n_pages + 1)]
    assert {path.name for path in stale.parent.glob("page-*")} == set(index["pages"])
    # The page drawn by hand from the same rows is the same but for its header.
    rows = table.iloc[8:16].assign(note=np.where(table["known"][8:16], "known lens", ""))
    draw_page(CutoutFiles.of(settings).read(rows)[0], rows, "x.png", **IMAGES, columns=4)
    np.testing.assert_array_equal(pixels("x.png")[58:], pixels(settings.paths.mosaic_page(2))[58:])


def test_images_are_in_the_tables_order(run):
    settings, scores = run
    rows = scores.iloc[[70, 3, 40, 4]]
    cutouts = CutoutFiles.of(settings)
    together = cutouts.read(rows)[0]
    for i in range(4):
        np.testing.assert_array_equal(together[i], cutouts.read(rows.iloc[[i]])[0][0])
    assert len(np.unique(together[:, 0, 0, 0])) == 4


def test_no_candidates_make_one_page_that_says_so(run):
    settings, scores = run
    write_table(scores.assign(p=np.float32(0)), settings.paths.scores(CHUNK))
    find_candidates(settings)
    draw_candidate_pages(settings)
    index = json.loads(settings.paths.mosaic_index.read_text())
    assert index == {"n_candidates": 0, "pages": ["page-0001.png"]}
    page = pixels(settings.paths.mosaic_page(1))
    assert (page[100:] > 200).any()


def test_brick_mosaics_are_the_same_on_both_paths(run):
    settings, scores = run
    draw_chunk_mosaics(settings, CHUNK)
    path = settings.paths.brick_mosaic(BRICKS[0])
    whole = path.read_bytes()
    manifest = read_manifest(settings.paths.manifest("mosaics", CHUNK))
    assert {(entry["status"], entry["count"]) for entry in manifest.values()} == {("done", 6)}
    path.unlink()
    rows = scores[scores["brick"] == BRICKS[0]].sample(frac=1, random_state=1)
    write_table(rows, settings.paths.brick_scores(BRICKS[0]))
    draw_brick_mosaic(settings, BRICKS[0])
    assert path.read_bytes() == whole
    assert read_manifest(settings.paths.manifest("mosaics", CHUNK)) == manifest


def test_brick_mosaics_are_drawn_again_only_where_something_changed(run):
    settings, scores = run
    draw_chunk_mosaics(settings, CHUNK)
    times = {brick: settings.paths.brick_mosaic(brick).stat().st_mtime_ns for brick in BRICKS}
    best = scores.loc[scores["brick"] == BRICKS[1], "p"].idxmax()
    scores.loc[best, "flags"] = 2
    write_table(scores, settings.paths.scores(CHUNK))
    draw_chunk_mosaics(settings, CHUNK)
    changed = [b for b in BRICKS if settings.paths.brick_mosaic(b).stat().st_mtime_ns != times[b]]
    assert changed == [BRICKS[1]]


def test_empty_and_failed_bricks(run):
    settings, scores = run
    draw_chunk_mosaics(settings, CHUNK)
    write_table(scores[scores["brick"].isin(BRICKS[2:])], settings.paths.scores(CHUNK))
    cutouts = read_manifest(settings.paths.manifest("cutouts", CHUNK))
    cutouts[BRICKS[1]] = {"status": "failed", "count": 0, "hash": "", "reason": "torn file"}
    write_manifest(settings.paths.manifest("cutouts", CHUNK), cutouts)
    draw_chunk_mosaics(settings, CHUNK)
    manifest = read_manifest(settings.paths.manifest("mosaics", CHUNK))
    assert manifest[BRICKS[0]]["status"] == "empty"
    assert settings.paths.brick_mosaic(BRICKS[0]).exists()
    assert manifest[BRICKS[1]]["reason"] == "torn file"
    assert not settings.paths.brick_mosaic(BRICKS[1]).exists()


def test_cutouts_that_do_not_fit_are_named(run):
    settings, scores = run
    with pytest.raises(LenspipeError, match=r"0101p000\.fits: found no galaxy 1-2-3"):
        CutoutFiles.of(settings).read(scores.head(2).assign(id=["1-2-3", "1-2-4"]))
    other = make_settings(cutouts={"size": 51})
    with pytest.raises(LenspipeError, match=r"expected \(3, 51, 51\)"):
        CutoutFiles.of(other).read(scores.head(1))
    settings.paths.cutouts(BRICKS[0]).unlink()
    with pytest.raises(LenspipeError, match=r"0101p000\.fits: no such file"):
        CutoutFiles.of(settings).read(scores.head(1))
