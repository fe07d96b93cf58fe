"""Fixtures for all tests."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

# Before NumPy is imported: the matrices of the tests are small, and a thread for each core, in each
# of two processes, waits in a busy loop for most of the time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Each of the many processes that tests start would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import fitsio
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.survey.bricks import brick_grid, brick_wcs

# A busy machine is no fault of a test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

#: Files that take longest, in the order in which they run: two minutes each at first, ten seconds
#: at the end, so that both processes end at about the same time. Those that wait, for a browser or
#: a server, stand before such that compute, with which they run side by side.
LONGEST = (
    "test_workflow_slurm",
    "test_workflow",
    "test_inspection_browser",
    "test_rehearsal",
    "test_training",
    "test_retrieval",
    "test_backends",
    "test_simulation",
    "test_inspection_server",
    "test_stages",
    "test_tap",
    "test_shipped",
    "test_portal_views_browser",
    "test_workflow_given",
    "test_reruns",
    "test_depth_leak",
    "test_distributed",
    "test_workflow_shipped",
    "test_cutouts_remote",
    "test_checks",
    "test_models",
    "test_commands",
    "test_selection",
    "test_purity",
    "test_pixels",
    "test_ensemble",
    "test_model_evaluation",
    "test_recovery",
    "test_exchange",
    "test_real_stamps",
    "test_painting",
    "test_scoring",
    "test_workflow_targets",
    "test_workflow_remote",
    "test_training_killed",
    "test_populations",
)


def pytest_collection_modifyitems(items):
    """Longest files first, so that neither of the two processes ends long before the other."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def shared():
    """Folder of optional test data."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("LENSPIPE_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set LENSPIPE_SHARED")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    if not (chromium := shutil.which("chromium")):
        pytest.skip("no Chromium: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_tree(tmp_path_factory):
    """A survey of one brick in the layout of DR9, with few galaxies; read only.

    Attributes tree (Path), brick, brickid, region, pixels (x, y from 0 of the galaxies, in order
    of objid), and config (dict of settings that search it).
    """
    folder = tmp_path_factory.mktemp("survey")
    brick, brickid, region, ra, dec = "1501p320", 506100, "south", 150.14705882352942, 32.0
    paths = RELEASES["dr9"].paths(folder)
    rng = np.random.default_rng(7)

    grid = {"BRICKNAME": [brick, "1504p320"], "BRICKID": np.array([brickid, brickid + 1], "i4")}
    grid |= {"RA": [ra, ra + 360 / 1224], "DEC": [dec, dec]}
    write_fits_table(paths.all_bricks(), grid)
    row = {"brickname": [brick], "ra": [ra], "dec": [dec]}
    row |= {f"nexp_{band}": np.array([5], "i2") for band in "grz"}
    row |= {"survey_primary": [True], "brickid": np.array([brickid], "i4")}
    write_fits_table(paths.bricks(region), row)

    header = brick_wcs(ra, dec, RELEASES["dr9"]).to_header()
    patch = rng.normal(0, 0.01, (100, 3600)).astype("f4")
    invvar = np.full((3600, 3600), 1e4, "f4")
    invvar[:300, 3000:] = 0
    for scale, band in enumerate("grz", start=1):
        image = np.tile(patch * scale, (36, 1)) + np.linspace(0, 1, 3600, dtype="f4")[:, None]
        write_coadd(paths.coadd(region, brick, "image", band), image, header)
        if band == "g":
            write_coadd(paths.coadd(region, brick, "invvar", "g"), invvar, header)
        else:
            invvars = [paths.coadd(region, brick, "invvar", name) for name in ("g", band)]
            shutil.copy(*invvars)
    bits = np.zeros((3600, 3600), "i2")
    bits[3000:, :1000] = 1 << 1
    write_coadd(paths.coadd(region, brick, "maskbits"), bits, header)

    # The third lies at the edge, the fourth where there is no exposure, the fifth under BRIGHT.
    pixels = np.array(
        [[1800, 1799], [900, 1200], [20, 1500], [3300, 150], [500, 3300], [2500, 700]]
    )
    sky_ra, sky_dec = brick_wcs(ra, dec, RELEASES["dr9"]).all_pix2world(*(pixels.T + 0.3), 0)
    number = len(pixels)
    catalog = {"release": np.full(number, 9010, "i2"), "brickid": np.full(number, brickid, "i4")}
    catalog |= {"brickname": [brick] * number, "objid": np.arange(number, dtype="i4")[::-1]}
    catalog |= {"brick_primary": [True] * number, "ra": sky_ra[::-1], "dec": sky_dec[::-1]}
    catalog |= {"type": ["DEV ", "SER ", "DEV ", "DEV ", "DEV ", "DEV "]}
    for name, value in {"sersic": 4, "shape_r": 1.2, "shape_e1": 0.1, "shape_e2": -0.1}.items():
        catalog[name] = np.full(number, value, "f4")
    for band, flux in zip("grz", (5, 20, 50), strict=True):
        catalog[f"flux_{band}"] = np.full(number, flux, "f4")
        catalog[f"nobs_{band}"] = np.full(number, 5, "i2")
        catalog[f"galdepth_{band}"] = np.full(number, 900, "f4")
        catalog[f"psfsize_{band}"] = np.full(number, 1.2, "f4")
    catalog |= {"maskbits": np.zeros(number, "i2"), "ebv": np.full(number, 0.02, "f4")}
    write_fits_table(paths.tractor(region, brick), catalog)
    config = {
        "run": "tiny",
        "survey": {"release": "dr9", "tree": str(folder)},
        "sample": {"known_lenses": "known.csv"},
    }
    return SimpleNamespace(
        tree=folder, brick=brick, brickid=brickid, region=region, pixels=pixels, config=config
    )


@pytest.fixture
def tiny_settings(tiny_tree, tmp_path, monkeypatch):
    """Settings that search `tiny_tree`, in a working directory of their own."""
    monkeypatch.chdir(tmp_path)
    return load_settings(tiny_tree.config)


@pytest.fixture
def own_tree(tiny_tree, tmp_path, monkeypatch):
    """Settings that search a copy of `tiny_tree` that a test may damage."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_tree.tree, tmp_path / "tree")
    return load_settings(tiny_tree.config | {"survey": {"release": "dr9", "tree": "tree"}})


@pytest.fixture(scope="session")
def small_survey(tmp_path_factory):
    """A tree of eight small bricks of DR9 with four galaxies each; read only.

    Attributes tree (Path) and bricks (names); chunks of nside 4 hold all in one.
    """
    return make_small_survey(tmp_path_factory.mktemp("small"), "dr9", "grz")


def make_small_survey(folder, release, bands, ra=None, n=4):
    """Write bricks of 400 x 400 pixels with n galaxies, eight if no ra; return tree and bricks."""
    paths, rng = RELEASES[release].paths(folder), np.random.default_rng(5)
    ra = 150.0 + 0.3 * np.arange(8) if ra is None else ra
    grid = brick_grid(0.25)
    bricks = grid.bricks_at(ra, np.full(len(ra), 2.125))[0].tolist()
    ra, dec = np.transpose([grid.centre(brick) for brick in bricks])
    rows = {"brickname": bricks, "ra": ra, "dec": dec, "survey_primary": np.ones(len(ra), bool)}
    rows |= {"brickid": np.arange(1000, 1000 + len(ra), dtype="i4")}
    rows |= {f"nexp_{band}": np.full(len(ra), 5, "i2") for band in bands}
    write_fits_table(paths.bricks("south"), rows)
    for number, brick in enumerate(bricks):
        wcs = brick_wcs(ra[number], dec[number], RELEASES["dr9"])
        wcs.wcs.crpix = [200.5, 200.5]
        header = wcs.to_header()
        for band in bands:
            image = rng.normal(0, 1, (400, 400)).astype("f4")
            write_coadd(paths.coadd("south", brick, "image", band), image, header)
            write_coadd(paths.coadd("south", brick, "invvar", band), 1 + image**2, header)
        bits = np.zeros((400, 400), "i2")
        write_coadd(paths.coadd("south", brick, "maskbits"), bits, header)
        sky = wcs.all_pix2world(rng.uniform(100, 300, (n, 2)), 0)
        numbers = {"dr9": 9010, "dr10": 10000, "dr11": 11000}
        catalog = {"release": np.full(n, numbers[release], "i2"), "objid": np.arange(n, dtype="i4")}
        catalog |= {"brickid": np.full(n, 1000 + number, "i4"), "brickname": [brick] * n}
        catalog |= {"brick_primary": [True] * n, "ra": sky[:, 0], "dec": sky[:, 1]}
        catalog |= {"type": ["DEV"] * n, "maskbits": np.zeros(n, "i4")}
        for name in ("sersic", "shape_r", "shape_e1", "shape_e2", "ebv"):
            catalog[name] = np.ones(n, "f4")
        for band in bands:
            catalog |= {f"flux_{band}": np.full(n, 50, "f4"), f"nobs_{band}": np.full(n, 5, "i2")}
        write_fits_table(paths.tractor("south", brick), catalog)
    return SimpleNamespace(tree=folder, bricks=bricks)


def write_fits_table(path, columns):
    """Write columns as the first table of a FITS file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with fitsio.FITS(str(path), "rw", clobber=True) as fits:
        fits.write({name: np.asarray(values) for name, values in columns.items()})


def write_coadd(path, image, header):
    """Write an image compressed as the survey's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lossy = {"qlevel": -1e-4, "qmethod": "SUBTRACTIVE_DITHER_2", "dither_seed": 1}
    with fitsio.FITS(str(path), "rw", clobber=True) as fits:
        fits.write(
            image,
            header=dict(header),
            compress="RICE",
            tile_dims=[100, 100],
            **(lossy if image.dtype.kind == "f" else {}),
        )
