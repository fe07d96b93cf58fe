"""Damaged coadds, and those of another place: the brick fails with one line, the others do not."""

import errno
import gzip
import io
import re
import shutil

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from conftest import make_small_survey, write_coadd
from helpers.fuzz_fits import fuzz_fits
from helpers.loopback import Loopback

from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.manifests import read_manifest
from lenspipe.survey.bricks import brick_wcs
from lenspipe.survey.coadds import BrickCoadds
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import reading

BRICK, OTHER = "1501p022", "1503p022"
CONFIG = {
    "chunks": {"nside": 4},
    "cutouts": {"size": 21},
    "sample": {"known_lenses": "known.csv"},
}


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A tree of two bricks whose coadds have the survey's cards and checksums."""
    survey = make_small_survey(
        tmp_path_factory.mktemp("two"), "dr9", "grz", ra=np.array([150.1, 150.4])
    )
    paths = RELEASES["dr9"].paths(survey.tree)
    assert survey.bricks == [BRICK, OTHER]
    for brick in survey.bricks:
        for kind in ("image", "invvar"):
            for band in "grz":
                sign(
                    paths.coadd("south", brick, kind, band), BRICK=brick, IMTYPE=kind, FILTERX=band
                )
    return survey


def sign(path, **cards):
    """Write cards into the header of an image, and its checksums."""
    with fitsio.FITS(path, "rw") as hdus:
        for key, value in cards.items():
            hdus[1].write_key(key, value)
        hdus[1].write_checksum()


@pytest.fixture
def settings(survey, tmp_path, monkeypatch):
    """Settings that search a copy of the tree, with its parent sample."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(survey.tree, "tree")
    config = CONFIG | {"run": "two", "survey": {"tree": "tree"}}
    settings = load_settings(config)
    parent_of_chunk(settings, *load_plan(settings))
    return settings


def outcome(settings):
    """Cut the chunk; return the reason why the brick failed, if it did."""
    cut_chunk(settings, *load_plan(settings))
    entries = read_manifest(settings.paths.manifest("cutouts", *load_plan(settings)))
    assert (entries[OTHER]["status"], entries[OTHER]["count"]) == ("done", 4)
    assert settings.paths.cutouts(BRICK).exists() == (entries[BRICK]["status"] == "done")
    return entries[BRICK].get("reason")


def coadd(settings, kind="image", band="r", brick=BRICK):
    return settings.survey_paths.coadd("south", brick, kind, band)


def test_an_undamaged_brick_does_not_fail(settings):
    assert outcome(settings) is None
    content = settings.paths.cutouts(BRICK).read_bytes()
    path = coadd(settings)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert outcome(settings) is None
    assert len(settings.paths.cutouts(BRICK).read_bytes()) == len(content)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, "found CTYPE1 GLON-TAN, expected RA---TAN"),
        ({"CTYPE2": "nonsense"}, "not a readable FITS file|found CTYPE"),
        ({"CRVAL1": 150.5}, "found CRVAL1 150.5, expected 150.125 in brick 1501p022"),
        ({"CRVAL2": 2.2501}, r"found CRVAL2 2\.2501, expected 2\.25"),
        ({"CRPIX1": 201.0}, r"found CRPIX1 201, expected 200\.5"),
        ({"CDELT1": 0.0, "CDELT2": 0.0}, "not a readable FITS file .*SingularMatrixError"),
        ({"PC2_2": 7.2e-5}, r"found CD2_2 7\.2e-05, expected 7\.2777"),
        ({"BRICK": OTHER}, f"found BRICK {OTHER}, expected {BRICK}"),
        ({"FILTERX": "g"}, "found FILTERX g, expected r"),
        ({"IMTYPE": "invvar"}, "found IMTYPE invvar, expected image"),
    ],
)
@pytest.mark.parametrize("kind", ["image", "invvar"])
def test_pixels_of_another_place(settings, kind, cards, message):
    path = coadd(settings, kind)
    if kind == "invvar" and "IMTYPE" in cards:
        cards, message = {"IMTYPE": "image"}, "found IMTYPE image, expected invvar"
    sign(path, **cards)
    reason = outcome(settings)
    assert "\n" not in reason
    assert path.name in reason
    assert re.search(message, reason)


@pytest.mark.parametrize("other", [("image", "r", OTHER), ("image", "g", BRICK)])
def test_another_file_under_this_name(settings, other):
    path = coadd(settings)
    shutil.copy(coadd(settings, *other), path)
    assert re.search(rf"{path.name}: found (BRICK|FILTERX) \w+, expected", outcome(settings))


def test_another_brick_without_a_name_in_its_header(settings):
    path = coadd(settings)
    shutil.copy(coadd(settings, brick=OTHER), path)
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        for key in ("BRICK", "CHECKSUM", "DATASUM"):
            hdus[1].header.remove(key, ignore_missing=True)
    assert f"{path.name}: found CRVAL1 150.375, expected 150.125" in outcome(settings)


@pytest.mark.parametrize("kind", ["image", "maskbits"])
def test_another_shape(settings, kind):
    path = coadd(settings, kind, None if kind == "maskbits" else "r")
    wcs = brick_wcs(150.125, 2.25, settings.release)
    wcs.wcs.crpix = [250.5, 250.5]
    write_coadd(path, np.zeros((500, 500), "i2" if kind == "maskbits" else "f4"), wcs.to_header())
    assert f"{path.name}: found shape (500, 500), expected (400, 400)" in outcome(settings)


@pytest.mark.parametrize(
    ("kind", "band", "dtype", "message"),
    [("image", "g", "i2", "expected floating-point"), ("maskbits", None, "f4", "expected whole")],
)
def test_another_type(settings, kind, band, dtype, message):
    path = coadd(settings, kind, band)
    wcs = brick_wcs(150.125, 2.25, settings.release)
    wcs.wcs.crpix = [200.5, 200.5]
    write_coadd(path, np.ones((400, 400), dtype), wcs.to_header())
    assert re.search(f"{path.name}: found pixels of type .*{message}", outcome(settings))


def flip(data):
    data[-5000] ^= 1


def scramble(data):
    data[8000:8100] = bytes(range(156, 256))


def empty(data):
    data[:] = fits_without_data()


def fits_without_data():
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU()]).writeto(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "found data checksum failed"),
        (scramble, "not a readable FITS file|found data checksum failed"),
        (lambda data: data.__delitem__(slice(20_000, None)), "truncated"),
        (lambda data: data.__setitem__(slice(None), np.random.default_rng(3).bytes(9999)), "FITS"),
        (lambda data: data.extend(b"\xff" * 5000), "not a readable FITS file"),
        (empty, "found no image"),
    ],
)
def test_bytes(settings, damage, message):
    path = coadd(settings, "image", "z")
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    reason = outcome(settings)
    assert "\n" not in reason
    assert path.name in reason
    assert re.search(message, reason)


def test_sections_from_a_server_are_checked_as_well(settings):
    damaged, chunk = coadd(settings, "invvar", "z"), next(iter(load_plan(settings)))
    sign(damaged, CRVAL1=150.126)
    with Loopback("tree") as server:
        config = CONFIG | {"run": "far", "survey": {"tree": server.url}}
        config |= {"retrieval": {"contact": "someone@example.org", "cache": "cache"}}
        far = load_settings(config)
        load_plan(far)
        parent_of_chunk(far, chunk)
        reason = outcome(far)
        assert f"{damaged.name}: found CRVAL1 150.126, expected 150.125" in reason
        entry = read_manifest(far.paths.manifest("cutouts", chunk))[BRICK]
        assert entry["transient"] is False
        sign(damaged, CDELT1=0.0, CDELT2=0.0)
        far.paths.cutouts(OTHER).unlink()
        assert re.search(rf"{damaged.name}: not a readable .*SingularMatrixError", outcome(far))
        far.paths.cutouts(OTHER).unlink()
        sign(damaged, CRVAL1=150.125, CDELT1=1.0, CDELT2=1.0)
        assert outcome(far) is None


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit, NameError])
def test_what_no_file_is_to_blame_for(error):
    with pytest.raises(error), reading("file"):
        raise error


def test_a_full_disk_is_no_damage():
    with pytest.raises(OSError, match="full"), reading("file"):
        raise OSError(errno.ENOSPC, "full")


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["image", "invvar", "nexp"])
@pytest.mark.parametrize("band", ["g", "z"])
def test_real_coadds_are_those_of_their_brick(shared, kind, band):
    name = "0959p805"
    path = shared / f"realdata/dr6-coadd-{name}/legacysurvey-{name}-{kind}-{band}.fits.fz"
    _, shape = BrickCoadds(name, RELEASES["dr9"]).read_geometry(path, kind, band)
    assert shape == (3600, 3600)
    with pytest.raises(LenspipeError, match=r"found BRICKNAM 0959p805, expected 0949p805"):
        BrickCoadds("0949p805", RELEASES["dr9"]).read_geometry(path, kind, band)


def test_damage_at_random():
    assert fuzz_fits(0, 10) == []
