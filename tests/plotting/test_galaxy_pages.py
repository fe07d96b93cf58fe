"""Tests of pages of galaxies: panels, their orientation, and what is written beside them."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from helpers.scored_run import CHUNK, make_run, make_settings, write_plan, write_table
from PIL import Image

from lenspipe.candidates.find import find_candidates
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.mosaics.pages import draw_candidate_pages
from lenspipe.plotting.galaxy_pages import TILE_PIXELS, draw_page
from lenspipe.products.candidates import page_numbers, page_order
from lenspipe.products.manifests import read_manifest, write_manifest
from lenspipe.survey.coadds import read_geometry, read_stamps
from lenspipe.utils.errors import LenspipeError

SCALE = RELEASES["dr9"].pixel_scale_arcsec
LEFT, TOP = 12, 58
PANELS = ("rgb", "g", "r", "z", "residual")


def page_of(tmp_path, images, panels=("rgb",), columns=1, **extra):
    table = pd.DataFrame({"rank": np.arange(1, len(images) + 1), "p": 0.9, "name": "DESI-1"})
    table = table.assign(**extra)
    path = tmp_path / "page.png"
    draw_page(
        images, table, path, bands="grz", pixel_scale_arcsec=SCALE, panels=panels, columns=columns
    )
    with Image.open(path) as page:
        return np.asarray(page.convert("RGB"), dtype=int)


def coadd_with_a_source(path, ra, dec, north, east):
    """A coadd as the survey writes them, with one source at an offset in arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra + 0.01, dec - 0.01], [180.5, 180.5]
    wcs.wcs.cd = np.diag([-1, 1]) * SCALE / 3600
    x, y = wcs.all_world2pix(ra + east / 3600 / np.cos(np.deg2rad(dec)), dec + north / 3600, 0)
    row, column = np.indices((360, 360))
    image = 0.5 * np.exp(-((row - y) ** 2 + (column - x) ** 2) / 8)
    fits.ImageHDU(image.astype(np.float32), wcs.to_header()).writeto(path)


@pytest.mark.parametrize("dec", [32.0, -5.0])
def test_a_source_in_the_north_east_is_upper_left_in_every_panel(tmp_path, dec):
    north, east = 6.0, 4.0
    coadd_with_a_source(tmp_path / "coadd.fits", 150.0, dec, north, east)
    wcs, _ = read_geometry(tmp_path / "coadd.fits")
    x, y = np.round(wcs.all_world2pix([150.0], [dec], 0)).astype(int)
    stamp = read_stamps(tmp_path / "coadd.fits", x, y, 101, np.nan)
    page = page_of(tmp_path, np.repeat(stamp[:, None], 3, axis=1), PANELS)
    half = TILE_PIXELS // 2
    corners = [(0, 0, TILE_PIXELS)] + [
        (TILE_PIXELS + half * column, half * row, half) for column in (0, 1) for row in (0, 1)
    ]
    for left, top, side in corners:
        panel = page[TOP + top : TOP + top + side, LEFT + left : LEFT + left + side].sum(axis=2)
        # Marks and names, at the edges, are as bright.
        margin = side // 5
        bright = panel.astype(float)
        bright[:margin] = bright[:, :margin] = bright[:, -margin:] = bright[-margin:] = 0
        rows, columns = np.nonzero(bright > 0.8 * bright.max())
        scale = side / 101 / SCALE
        np.testing.assert_allclose(
            [rows.mean(), columns.mean()],
            [side / 2 - north * scale, side / 2 - east * scale],
            atol=0.7 * side / 101 + 0.5,
        )


def test_panels_show_their_bands(tmp_path):
    images = np.zeros((1, 3, 101, 101), np.float32)
    images[0, 1] = 0.2
    page = page_of(tmp_path, images, PANELS)
    middle = {
        name: page[TOP + top + 50, LEFT + TILE_PIXELS + left + 50]
        for name, left, top in (("g", 0, 0), ("r", 0, 101), ("z", 101, 0), ("residual", 101, 101))
    }
    assert (middle["r"] > 150).all()
    assert np.ptp(middle["r"]) == 0
    assert (middle["g"] < 60).all()
    assert (middle["z"] < 60).all()
    # A flat image is smooth and elliptical.
    np.testing.assert_array_equal(middle["residual"], page_of(tmp_path, 0 * images)[TOP + 90, 100])


def test_more_panels_leave_room_for_fewer_galaxies():
    widths = {}
    for panels in (["rgb"], ["rgb", "residual"], PANELS, ["g", "r", "z"]):
        own = make_settings(mosaics={"panels": panels}).mosaics
        assert own.per_page == own.per_row * own.rows
        widths[len(panels)] = own.per_row * (TILE_PIXELS + TILE_PIXELS // 2 * (len(panels) // 2))
        assert widths[len(panels)] <= 6 * TILE_PIXELS
    assert make_settings(mosaics={}).mosaics.per_row == 6
    assert make_settings(mosaics={"panels": PANELS}).mosaics.per_row == 3
    with pytest.raises(LenspipeError, match=r"mosaics.panels: found i, expected rgb, residual and"):
        make_settings(mosaics={"panels": ["rgb", "i"]})
    with pytest.raises(LenspipeError, match="a panel is named twice"):
        make_settings(mosaics={"panels": ["rgb", "rgb"]})


def test_flags_and_facts_are_seen(tmp_path):
    images = np.random.default_rng(1).normal(0, 0.01, (1, 3, 101, 101)).astype(np.float32)
    facts = {"mag_z": 18.43, "type": "DEV", "nobs_g": 5, "nobs_r": 4, "nobs_z": 6}
    plain = page_of(tmp_path, images, flags=0, **facts)
    flagged = page_of(tmp_path, images, flags=4, **facts)
    frame = flagged[TOP, LEFT : LEFT + TILE_PIXELS]
    assert (frame == (255, 190, 80)).all()
    assert not (plain[TOP, LEFT : LEFT + TILE_PIXELS] == (255, 190, 80)).all(axis=1).any()
    lines = slice(TOP + TILE_PIXELS + 2, None)
    for name, value in (("z_spec", 0.5), ("z_phot", 0.5), ("mag_z", 18.0), ("nobs_r", 1)):
        other = page_of(tmp_path, images, flags=0, **facts | {name: value})
        assert not np.array_equal(other[lines], plain[lines])
    # What is not measured is not written.
    unknown = page_of(tmp_path, images, flags=0, **facts | {"z_spec": np.nan, "z_phot": -99.0})
    np.testing.assert_array_equal(unknown, plain)
    assert page_of(tmp_path, images).shape[0] == plain.shape[0] - 16


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_settings(candidates={"threshold": 0.3})
    scores = make_run(settings)
    write_plan(settings)
    find_candidates(settings)
    return settings, scores


def test_pages_are_sorted(run):
    settings, _ = run
    table = find_candidates(settings)
    for sort, expected in (
        ("p", table["rank"]),
        ("mag", table.sort_values("mag_z")["rank"]),
        ("name", table.sort_values("name")["rank"]),
    ):
        own = make_settings(mosaics={"sort": sort, "columns": 4, "rows": 2})
        order = page_order(table, own.mosaics, own.survey.bands)
        np.testing.assert_array_equal(table["rank"].iloc[order], expected)
        np.testing.assert_array_equal(
            page_numbers(table, own.mosaics, own.survey.bands)[order],
            np.arange(len(table)) // 8 + 1,
        )


def test_pages_that_are_right_stay(run):
    settings, scores = run
    draw_candidate_pages(settings)
    pages = json.loads(settings.paths.mosaic_index.read_text())["pages"]
    folder = settings.paths.mosaic_index.parent
    assert len(pages) > 4
    for name in pages:
        os.utime(folder / name, ns=(1, 1))

    def drawn(own=settings):
        draw_candidate_pages(own)
        return [name for name in pages if (folder / name).stat().st_mtime_ns != 1]

    assert drawn() == []
    # A killed job: the index and a page are missing.
    (folder / pages[2]).unlink()
    settings.paths.mosaic_index.unlink()
    assert drawn() == [pages[2]]
    assert json.loads(settings.paths.mosaic_index.read_text())["pages"] == pages
    # Other pixels of one brick: the pages that show it.
    path = settings.paths.manifest("cutouts", CHUNK)
    entries = read_manifest(path)
    entries["0101p000"]["hash"] = "other"
    write_manifest(path, entries)
    table = find_candidates(settings)
    shown = set(
        page_numbers(table, settings.mosaics, settings.survey.bands)[table["brick"] == "0101p000"]
    )
    os.utime(folder / pages[2], ns=(1, 1))
    assert drawn() == [pages[number - 1] for number in sorted(shown)]
    write_table(scores.assign(flags=np.int32(4)), settings.paths.scores(CHUNK))
    find_candidates(settings)
    assert drawn() == pages


def test_shapes_come_from_the_cutouts_file(run):
    settings, scores = run
    images, catalog = CutoutFiles.of(settings).read(scores.iloc[[70, 3, 40]])
    assert list(catalog["id"]) == list(scores["id"].iloc[[70, 3, 40]])
    assert images.shape == (3, 3, 41, 41)
    assert "mag_z" in catalog
