"""Cutouts: stamps against whole images, flags, damaged files, keys and manifests."""

import shutil

import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from conftest import write_coadd, write_fits_table
from helpers.loopback import Loopback
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.config.data import Failures, Retrieval
from lenspipe.config.flags import FLAGS
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.cutouts.brick import cut_brick
from lenspipe.cutouts.chunk import cut_chunk, cut_one, discard_chunk
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.cutouts.stamps import CoaddStamps
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import parent_of_brick, parent_of_chunk
from lenspipe.products.cutouts import open_cutouts, read_cutout, read_cutouts, write_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.bricks import brick_wcs
from lenspipe.survey.coadds import read_geometry, read_stamps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import open_fits

#: Cutouts hold the pixels of the coadds to half a step of quantisation.
QUANTISED = {"rtol": 1e-6, "atol": 0.51 * RELEASES["dr9"].quantization_step}


def coadd(config, tiny_tree, kind, band=None):
    return config.survey_paths.coadd(tiny_tree.region, tiny_tree.brick, kind, band)


def cut(config, tiny_tree, **changes):
    """Cut the tiny brick; return its entry, images and catalogue."""
    parent, _ = parent_of_brick(config, tiny_tree.brick, tiny_tree.region)
    parent = parent.assign(**changes)
    return cut_rows(config, tiny_tree, parent), *read_cutouts(config.paths.cutouts(tiny_tree.brick))


def cut_rows(config, tiny_tree, parent):
    """Cut rows of a parent sample as the tiny brick's; return the entry."""
    bands, size = config.survey.bands, config.cutouts.size
    source = CoaddStamps(LocalSource(), config.survey_paths, bands, size)
    path, brick = config.paths.cutouts(tiny_tree.brick), tiny_tree.brick
    return cut_brick(path, source, brick, tiny_tree.region, parent, config.cutouts)


def change(config, **cutouts):
    return config.model_copy(update={"cutouts": config.cutouts.model_copy(update=cutouts)})


def strict(config):
    return config.model_copy(update={"failures": Failures(strict=True)})


def rewrite(path, spoil):
    """Change the pixels of a coadd; NaN survives since it is written uncompressed."""
    with fitsio.FITS(str(path)) as hdus:
        image, header = hdus[1].read(), hdus[1].read_header()
    spoil(image)
    cards = {
        key: header[key] for key in brick_wcs(0, 0, RELEASES["dr9"]).to_header() if key in header
    }
    with fitsio.FITS(str(path), "rw", clobber=True) as hdus:
        hdus.write(image, header=cards)


def test_stamps_are_slices_of_the_coadds(tiny_settings, tiny_tree):
    entry, images, catalog = cut(tiny_settings, tiny_tree)
    parent, _ = parent_of_brick(tiny_settings, tiny_tree.brick, tiny_tree.region)
    assert entry["status"] == "done"
    assert entry["count"] == len(images) == 6
    assert images.dtype == np.dtype("=f4")
    assert images.shape == (6, 3, 101, 101)
    pd.testing.assert_frame_equal(catalog.drop(columns="flags"), parent)
    assert catalog["flags"].dtype == np.int32
    for index, band in enumerate("grz"):
        whole = fitsio.read(str(coadd(tiny_settings, tiny_tree, "image", band)))
        whole = np.pad(whole, 50, constant_values=np.nan)
        for stamp, (x, y) in zip(images[:, index], tiny_tree.pixels, strict=True):
            np.testing.assert_allclose(stamp, whole[y : y + 101, x : x + 101], **QUANTISED)
    header = fits.getheader(tiny_settings.paths.cutouts(tiny_tree.brick), "IMAGE")
    assert (header["BANDS"], header["BRICKNAM"], header["REGION"]) == ("grz", "1501p320", "south")
    assert "DATE" not in header


def test_flags(tiny_settings, tiny_tree):
    _, images, catalog = cut(tiny_settings, tiny_tree)
    expected = [0, 0, FLAGS.EDGE, FLAGS.MASKED | FLAGS.NO_EXPOSURE, FLAGS.MASKED, 0]
    assert catalog["flags"].tolist() == expected
    assert np.isnan(images[2, :, :, :30]).all()
    assert np.isfinite(images[2, :, :, 30:]).all()
    loose = change(tiny_settings, max_masked_fraction=1.0)
    assert cut(loose, tiny_tree)[2]["flags"].tolist() == [0, 0, FLAGS.EDGE, FLAGS.NO_EXPOSURE, 0, 0]


def test_far_from_the_brick(tiny_settings, tiny_tree):
    """The wrong brick, the pole and the other side of the sky: no pixels, and flagged."""
    ra, dec = [150.147, 150.147, 150.147, 150.5, 0, 330], [32, 60, -88, 32, 89, -32]
    _, images, catalog = cut(tiny_settings, tiny_tree, ra=np.float64(ra), dec=np.float64(dec))
    assert catalog["flags"].tolist() == [0, *5 * [FLAGS.EDGE | FLAGS.NO_EXPOSURE]]
    assert np.isnan(images[1:]).all()


def test_many_stamps_equal_few(tiny_settings, tiny_tree):
    path = coadd(tiny_settings, tiny_tree, "image", "r")
    x, y = np.random.default_rng(0).integers(-60, 3660, (2, 400))
    many = read_stamps(path, x, y, 101, np.nan)
    few = read_stamps(path, x[:40], y[:40], 101, np.nan)
    np.testing.assert_array_equal(many[:40], few)


@settings(max_examples=25)
@given(
    st.integers(-30, 80),
    st.integers(-30, 60),
    st.sampled_from([1, 3, 21, 51]),
    st.booleans(),
)
def test_sections_of_any_image(tmp_path_factory, x, y, size, compressed):
    image = np.arange(30 * 50, dtype="i4").reshape(30, 50)
    path = tmp_path_factory.getbasetemp() / f"image-{compressed}.fits"
    if not path.exists():
        kind = {"compress": "RICE", "tile_dims": [10, 10]} if compressed else {}
        with fitsio.FITS(str(path), "rw") as hdus:
            hdus.write(image, **kind)
    stamp = read_stamps(path, np.array([x]), np.array([y]), size, -1)[0]
    for row in range(size):
        for column in range(size):
            at_x, at_y = x + column - size // 2, y + row - size // 2
            inside = 0 <= at_x < 50 and 0 <= at_y < 30
            assert stamp[row, column] == (image[at_y, at_x] if inside else -1)


def test_missing_band(own_tree, tiny_tree, caplog):
    caplog.set_level("INFO", "lenspipe")
    coadd(own_tree, tiny_tree, "image", "r").unlink()
    with pytest.raises(LenspipeError, match=r"image-r\.fits\.fz: no such file beside"):
        cut(own_tree, tiny_tree)
    coadd(own_tree, tiny_tree, "invvar", "r").unlink()
    entry, images, catalog = cut(own_tree, tiny_tree)
    assert entry["missing_bands"] == "r"
    assert "no coadd in band r" in caplog.text
    assert (catalog["flags"] & int(FLAGS.MISSING_BAND) > 0).all()
    assert np.isnan(images[:, 1]).all()
    assert np.isfinite(images[0, [0, 2]]).all()
    assert cut(own_tree, tiny_tree)[0] == entry


def test_non_finite_pixels(own_tree, tiny_tree, caplog):
    caplog.set_level("INFO", "lenspipe")

    def spoil(image):
        image[1800:1802, 1800] = np.nan, np.inf

    rewrite(coadd(own_tree, tiny_tree, "image", "g"), spoil)
    _, images, catalog = cut(own_tree, tiny_tree)
    assert catalog["flags"][0] == FLAGS.NONFINITE
    assert (~np.isfinite(images[0])).sum() == 2
    assert not (catalog["flags"][[1, 5]] & int(FLAGS.NONFINITE)).any()
    lines = [r.getMessage() for r in caplog.records if "non-finite" in r.getMessage()]
    assert lines == [f"brick {tiny_tree.brick}: non-finite pixels in 1 of 6 cutouts"]


@pytest.mark.parametrize(
    ("kind", "band", "damage", "message"),
    [
        ("image", "g", lambda data: data[: len(data) // 2], "truncated: found"),
        ("invvar", "z", lambda data: data[:-1], "truncated: found"),
        ("image", "z", lambda data: b"<html>404</html>", "not a readable FITS file"),
        ("image", "z", lambda data: b"", "not a readable FITS file"),
        ("maskbits", None, lambda data: data[:5000], "found no image"),
        # The descriptors of the tiles point nowhere.
        ("image", "r", lambda data: data[:9000] + b"\xff" * 9000 + data[18000:], "garbled table"),
    ],
)
def test_damaged_files_are_named(own_tree, tiny_tree, kind, band, damage, message):
    path = coadd(own_tree, tiny_tree, kind, band)
    path.write_bytes(damage(path.read_bytes()))
    (chunk,) = load_plan(own_tree)
    parent_of_chunk(own_tree, chunk)
    with pytest.raises(LenspipeError, match=message) as caught:
        cut_chunk(strict(own_tree), chunk)
    first, last = str(caught.value).splitlines()
    assert path.name in first
    assert "download it again" in first
    assert "failures.strict: false" in last
    assert not own_tree.paths.manifest("cutouts", chunk).exists()


def test_unreadable_bricks_are_noted(own_tree, tiny_tree, caplog):
    caplog.set_level("INFO", "lenspipe")
    cut(own_tree, tiny_tree)
    path = coadd(own_tree, tiny_tree, "image", "g")
    path.write_bytes(path.read_bytes()[:-3000])
    (chunk,) = load_plan(own_tree)
    parent_of_chunk(own_tree, chunk)
    cut_chunk(own_tree, chunk)
    entry = read_manifest(own_tree.paths.manifest("cutouts", chunk))[tiny_tree.brick]
    assert (entry["status"], entry["count"], entry["hash"]) == ("failed", 0, "")
    assert "truncated" in entry["reason"]
    assert f"left out: brick {tiny_tree.brick}" in caplog.text
    assert not own_tree.paths.cutouts(tiny_tree.brick).exists()


def test_failed_catalogue_is_a_failed_brick(own_tree, tiny_tree):
    own_tree.survey_paths.tractor(tiny_tree.region, tiny_tree.brick).unlink()
    (chunk,) = load_plan(own_tree)
    parent_of_chunk(own_tree, chunk)
    cut_chunk(own_tree, chunk)
    entry = read_manifest(own_tree.paths.manifest("cutouts", chunk))[tiny_tree.brick]
    assert entry["status"] == "failed"
    assert "tractor-1501p320.fits: no such file" in entry["reason"]
    with pytest.raises(LenspipeError, match=r"tractor-1501p320\.fits: no such file"):
        cut_chunk(strict(own_tree), chunk)


def test_other_columns_of_the_parent_sample_need_no_coadds(own_tree, tiny_tree, monkeypatch):
    entry, images, catalog = cut(own_tree, tiny_tree)
    path = own_tree.paths.cutouts(tiny_tree.brick)
    before = path.read_bytes(), path.stat().st_mtime_ns

    def refuse(*_):
        raise AssertionError("coadds are read")

    monkeypatch.setattr("lenspipe.cutouts.stamps.CoaddStamps.read", refuse)
    assert cut(own_tree, tiny_tree)[0] == entry
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    added = {"dchisq": np.arange(6, dtype=np.float32)}
    changed, same, table = cut(own_tree, tiny_tree, mag_z=catalog["mag_z"] + 1, **added)
    assert changed == entry | {"hash": changed["hash"]}
    assert changed["hash"] != entry["hash"]
    np.testing.assert_array_equal(same, images)
    expected = catalog.drop(columns="flags").assign(mag_z=catalog["mag_z"] + 1, **added)
    pd.testing.assert_frame_equal(table, expected.assign(flags=catalog["flags"]))
    assert cut(own_tree, tiny_tree)[0] == entry
    assert path.read_bytes() == before[0]


def test_pixels_are_those_of_the_survey_in_a_quarter_of_the_space(tmp_path):
    """Half a step of 1e-4; no data stay no data, and zero stays zero; both libraries read it."""
    images = np.random.default_rng(3).normal(0, 0.006, (20, 3, 101, 101)).astype("f4")
    images[0, 1, :7], images[1, 2], images[2, 0, 3, 4:9] = np.nan, np.nan, 0
    images[3, :, 50, 50] = 900
    catalog = pd.DataFrame({"id": np.arange(20).astype(str)})
    write_cutouts(tmp_path / "plain.fits", images, catalog, fits.Header())
    path = tmp_path / "cutouts.fits"
    write_cutouts(path, images, catalog, fits.Header({"BANDS": "grz"}), step=1e-4)
    assert path.stat().st_size < 0.29 * (tmp_path / "plain.fits").stat().st_size
    stored, table = read_cutouts(path)
    assert (stored.shape, stored.dtype, len(table)) == (images.shape, np.float32, 20)
    np.testing.assert_allclose(stored, images, rtol=1e-6, atol=5.1e-5)
    assert (stored[2, 0, 3, 4:9] == 0).all()
    np.testing.assert_array_equal(fits.getdata(path, "IMAGE").reshape(images.shape), stored)
    with open_cutouts(path) as hdus:
        np.testing.assert_array_equal(read_cutout(hdus, 3), stored[3])
    np.testing.assert_array_equal(read_cutouts(tmp_path / "plain.fits")[0], images)


@pytest.mark.parametrize("column", ["id", "ra", "dec", "order"])
def test_other_galaxies_need_other_cutouts(own_tree, tiny_tree, column):
    path = own_tree.paths.cutouts(tiny_tree.brick)
    cut(own_tree, tiny_tree)
    key = fits.getheader(path, "IMAGE")["LPKEY"]
    parent, _ = parent_of_brick(own_tree, tiny_tree.brick, tiny_tree.region)
    if column == "order":
        changes = {name: parent[name].to_numpy()[::-1] for name in ("id", "ra", "dec")}
    else:
        changes = {column: parent[column] + ("0" if column == "id" else 1e-4)}
    cut(own_tree, tiny_tree, **changes)
    assert fits.getheader(path, "IMAGE")["LPKEY"] != key


def test_brick_without_galaxies(tiny_settings, tiny_tree):
    parent, _ = parent_of_brick(tiny_settings, tiny_tree.brick, tiny_tree.region)
    args = tiny_settings, tiny_tree
    entry = cut_rows(*args, parent.head(0))
    assert (entry["status"], entry["count"]) == ("empty", 0)
    assert cut_rows(*args, parent.head(0)) == entry
    other = cut_rows(*args, parent.head(0).assign(dchisq=np.zeros(0, np.float32)))
    assert (other["status"], other["count"]) == ("empty", 0)


def test_what_was_deleted_once_scored_is_cut_again(own_tree, tiny_tree):
    (chunk,) = load_plan(own_tree)
    parent_of_chunk(own_tree, chunk)
    cut_chunk(own_tree, chunk)
    paths, brick = own_tree.paths, tiny_tree.brick
    path, manifest = paths.cutouts(brick), paths.manifest("cutouts", chunk)
    content, before = path.read_bytes(), (manifest.read_bytes(), manifest.stat().st_mtime_ns)
    with pytest.raises(
        LenspipeError, match=r"scores/.*: no such file, expected scores; make it with `snakemake "
    ):
        discard_chunk(own_tree, chunk)
    paths.scores(chunk).parent.mkdir()
    paths.scores(chunk).touch()
    discard_chunk(own_tree, chunk)
    assert not path.exists()
    (entry,) = read_manifest(paths.manifest("discard", chunk)).values()
    assert entry == read_manifest(manifest)[brick] | {"status": "deleted"}
    discard_chunk(own_tree, chunk)
    assert CutoutFiles.of(own_tree).path(brick).read_bytes() == content
    assert (manifest.read_bytes(), manifest.stat().st_mtime_ns) == before
    # Other pixels are noted, so that the chunk is scored again.
    discard_chunk(own_tree, chunk)
    rewrite(coadd(own_tree, tiny_tree, "image", "g"), lambda image: image.fill(1))
    assert CutoutFiles.of(own_tree).path(brick).read_bytes() != content
    assert manifest.read_bytes() != before[0]


def test_what_somebody_else_deleted_is_not_cut_again(own_tree, tiny_tree):
    (chunk,) = load_plan(own_tree)
    parent_of_chunk(own_tree, chunk)
    cut_chunk(own_tree, chunk)
    own_tree.paths.cutouts(tiny_tree.brick).unlink()
    assert not CutoutFiles.of(own_tree).path(tiny_tree.brick).exists()


def test_missing_folder(own_tree, tiny_tree):
    shutil.rmtree(coadd(own_tree, tiny_tree, "maskbits").parent)
    with pytest.raises(LenspipeError, match=r"150/1501p320: no image in any band"):
        cut(own_tree, tiny_tree)


def test_done_is_not_done_again(own_tree, tiny_tree):
    entry, *_ = cut(own_tree, tiny_tree)
    path = own_tree.paths.cutouts(tiny_tree.brick)
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    assert cut(strict(own_tree), tiny_tree)[0] == entry
    assert path.stat().st_mtime_ns == before
    # A file that was cut short is made again, and the same.
    path.write_bytes(content[:-2880])
    assert cut(own_tree, tiny_tree)[0] == entry
    assert path.read_bytes() == content
    # Other parent rows, settings or coadds give another file.
    hashes = {entry["hash"], cut(own_tree, tiny_tree, ebv=np.float32(0.5))[0]["hash"]}
    hashes.add(cut(change(own_tree, size=99), tiny_tree)[0]["hash"])
    rewrite(coadd(own_tree, tiny_tree, "image", "g"), lambda image: image.fill(1))
    hashes.add(cut(own_tree, tiny_tree)[0]["hash"])
    assert len(hashes) == 4


def test_touched_coadds_keep_the_hash(own_tree, tiny_tree):
    """Downstream looks at hashes: the same pixels downloaded again must not start it."""
    entry, *_ = cut(own_tree, tiny_tree)
    before = own_tree.paths.cutouts(tiny_tree.brick).stat().st_mtime_ns
    path = coadd(own_tree, tiny_tree, "image", "g")
    shutil.copyfile(path, path.with_name("new"))
    path.with_name("new").replace(path)
    assert cut(own_tree, tiny_tree)[0] == entry
    assert own_tree.paths.cutouts(tiny_tree.brick).stat().st_mtime_ns != before


def test_chunk_and_brick_path_give_the_same(tiny_settings, tiny_tree):
    (chunk,) = load_plan(tiny_settings)
    path = tiny_settings.paths.cutouts(tiny_tree.brick)
    manifest = tiny_settings.paths.manifest("cutouts", chunk)
    cut_one(tiny_settings, tiny_tree.brick)
    assert not manifest.exists()
    alone = path.read_bytes()
    path.unlink()
    with pytest.raises(LenspipeError, match=r"parent/.*: no such file, expected a parent sample"):
        cut_chunk(tiny_settings, chunk)
    parent_of_chunk(tiny_settings, chunk)
    cut_chunk(tiny_settings, chunk)
    assert path.read_bytes() == alone
    whole = manifest.read_bytes()
    cut_one(tiny_settings, tiny_tree.brick)
    assert manifest.read_bytes() == whole
    with pytest.raises(LenspipeError, match="brick 1504p320: not in this run"):
        cut_one(tiny_settings, "1504p320")


def test_no_galaxies(tiny_tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    none = load_settings(tiny_tree.config | {"parent": {"mag_z_max": 10.0}})
    entry, images, catalog = cut(none, tiny_tree)
    assert (entry["status"], entry["count"]) == ("empty", 0)
    assert images.shape == (0, 3, 101, 101)
    assert images.dtype == np.float32
    parent, _ = parent_of_brick(none, tiny_tree.brick, tiny_tree.region)
    pd.testing.assert_frame_equal(catalog.drop(columns="flags"), parent)
    assert cut(none, tiny_tree)[0] == entry
    with fits.open(none.paths.cutouts(tiny_tree.brick)) as hdus:
        hdus.verify("exception")


def test_read_cutouts_refuses_others(tiny_settings, tiny_tree):
    cut(tiny_settings, tiny_tree)
    path = tiny_settings.paths.cutouts(tiny_tree.brick)
    data = path.read_bytes()
    with pytest.raises(LenspipeError, match="not a complete file of cutouts"):
        read_cutouts(coadd(tiny_settings, tiny_tree, "image", "g"))
    for cut_at in (100, 5000, len(data) - 2880):
        path.write_bytes(data[:cut_at])
        with pytest.raises(
            LenspipeError,
            match=r"1501p320\.fits: (truncated|not a readable|not a complete).*; delete it",
        ):
            read_cutouts(path)
    path.unlink()
    with pytest.raises(LenspipeError, match="no such file"):
        read_cutouts(path)


@pytest.mark.shared
def test_real_sections(shared):
    path = shared / "realdata/dr6-coadd-0959p805/legacysurvey-0959p805-image-g.fits.fz"
    whole = fitsio.read(str(path))
    assert whole.any()
    x, y = np.random.default_rng(1).integers(50, 3549, (2, 60))
    for stamp, i, j in zip(read_stamps(path, x, y, 101, np.nan), x, y, strict=True):
        np.testing.assert_allclose(stamp, whole[j - 50 : j + 51, i - 50 : i + 51], **QUANTISED)
    wcs, shape = read_geometry(path)
    assert shape == (3600, 3600)
    mine = brick_wcs(95.9504132231405, 80.5, RELEASES["dr9"])
    corners = [[0, 0], [3599, 0], [1800, 1800], [0, 3599]]
    np.testing.assert_allclose(wcs.all_pix2world(corners, 0), mine.all_pix2world(corners, 0))


@pytest.mark.shared
def test_real_truncated_coadd(shared):
    path = shared / "realdata/dr9-brick-invvar/legacysurvey-0394m202-invvar-g.fits.fz"
    message = "truncated: found 2100834 bytes, expected 11197440"
    with pytest.raises(LenspipeError, match=message), open_fits(path):
        pass


@pytest.mark.shared
def test_real_brick_without_r(shared, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lenspipe")
    monkeypatch.chdir(tmp_path)
    brick, ra, dec = "0959p805", 95.9504132231405, 80.5
    paths = RELEASES["dr7"].paths(tmp_path / "tree")
    folder = paths.coadd("south", brick, "image", "g").parent
    folder.mkdir(parents=True)
    for path in (shared / "realdata/dr6-coadd-0959p805").iterdir():
        (folder / path.name).symlink_to(path)
    write_fits_table(
        paths.bricks("south"), {"brickname": [brick], "ra": [ra], "dec": [dec], "brickid": [657438]}
    )
    invvar = fitsio.read(str(paths.coadd("south", brick, "invvar", "g")))
    rows, columns = np.nonzero(invvar[100:-100, 100:-100])
    pick = np.random.default_rng(2).choice(len(rows), 8)
    x, y = columns[pick] + 100, rows[pick] + 100
    sky = brick_wcs(ra, dec, RELEASES["dr9"]).all_pix2world(x, y, 0)
    table = {"brickname": [brick] * 8, "brickid": np.full(8, 657438), "objid": np.arange(8)}
    table |= {"release": np.full(8, 7000, "i2"), "type": ["DEV "] * 8, "ra": sky[0], "dec": sky[1]}
    table |= {"brightstarinblob": [False] * 8, "fracdev": np.ones(8)}
    for name in ("shapedev", "shapeexp"):
        table |= {f"{name}_{part}": np.ones(8, "f4") for part in ("r", "e1", "e2")}
    for band in "grz":
        table |= {f"flux_{band}": np.full(8, 100, "f4"), f"nobs_{band}": np.full(8, 3, "i2")}
    write_fits_table(paths.tractor("south", brick), table)

    config = load_settings(
        {
            "run": "real",
            "survey": {"release": "dr7", "tree": str(tmp_path / "tree")},
            "parent": {"types": ["DEV"], "maskbits": ["BRIGHT"]},
            "sample": {"known_lenses": "known.csv"},
        }
    )
    (chunk,) = load_plan(config)
    parent_of_chunk(config, chunk)
    cut_chunk(config, chunk)
    entry = read_manifest(config.paths.manifest("cutouts", chunk))[brick]
    assert (entry["status"], entry["count"], entry["missing_bands"]) == ("done", 8, "r")
    assert f"brick {brick}: no coadd in band r" in caplog.text
    images, catalog = read_cutouts(config.paths.cutouts(brick))
    assert (catalog["flags"] & int(FLAGS.MISSING_BAND) > 0).all()
    assert np.isnan(images[:, 1]).all()
    whole = fitsio.read(str(paths.coadd("south", brick, "image", "g")))
    for stamp, i, j in zip(images[:, 0], x, y, strict=True):
        np.testing.assert_allclose(stamp, whole[j - 50 : j + 51, i - 50 : i + 51], **QUANTISED)
    # Almost nothing of this brick was seen in z, so its middles have no exposure there.
    assert (catalog["flags"] & int(FLAGS.NO_EXPOSURE) > 0).any()


@pytest.mark.parametrize("remote", [False, True])
def test_mask_bits_of_dr7(tmp_path, remote, caplog):
    """They are compressed by gzip; a brick without them is masked by inverse variance only."""
    caplog.set_level("INFO", "lenspipe")
    release, brick = RELEASES["dr7"], "1501p320"
    paths = release.paths(tmp_path / "tree")
    header = brick_wcs(150.14705882352942, 32.0, release).to_header()
    for kind in ("image", "invvar"):
        coadd = paths.coadd("south", brick, kind, "g")
        write_coadd(coadd, np.ones((3600, 3600), "f4"), header)
    bits = np.zeros((3600, 3600), "i2")
    bits[1000:1010] = release.mask(("BRIGHT",))
    bits[2000:2010] = release.mask(("NPRIMARY",))
    with fitsio.FITS(str(paths.coadd("south", brick, "maskbits")), "rw", clobber=True) as fits:
        fits.write(bits, header=dict(header))
    wcs = brick_wcs(150.14705882352942, 32.0, release)
    ra, dec = wcs.all_pix2world([1800, 1800], [1004, 2004], 0)
    parent = pd.DataFrame({"ra": ra, "dec": dec})
    retrieval = Retrieval(contact="me@example.org", cache=str(tmp_path / "cache"))
    with Loopback(tmp_path / "tree") as server:
        tree = server.url if remote else tmp_path / "tree"
        with open_source(retrieval, tmp_path / "hosts.json", tree) as source:
            read = CoaddStamps(source, release.paths(tree), ("g",), 21).read
            masked = read(brick, "south", parent).masked
            assert masked.sum(axis=(1, 2)).tolist() == [21 * 10, 0]
            assert masked[0, 6:16].all()
            paths.coadd("south", brick, "maskbits").unlink()
            assert not read(brick, "south", parent).masked.any()
    assert f"brick {brick}: no mask bits, only inverse variances" in caplog.text
