"""Tests of lenspipe.simulation.catalogue and tractor: what a survey would list."""

import fitsio
import numpy as np
import pandas as pd
import pytest

from lenspipe.simulation import catalogue
from lenspipe.simulation.brick import Arcs, Patch
from lenspipe.simulation.catalogue import Conditions, detect
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.galaxies import Scene
from lenspipe.simulation.lenses import Lens
from lenspipe.simulation.psf import Psf
from lenspipe.simulation.tractor import flux_ivar, write_tractor

SIDE, SCALE = 200, 0.262
FWHM = {"g": 1.3, "r": 1.2, "z": 1.1}
SIGMA = {"g": 0.0025, "r": 0.0035, "z": 0.009}
NOISE = dict.fromkeys(BANDS, 1.0)


def make_maps(side=SIDE):
    full = {band: np.ones((side, side), np.float32) for band in BANDS}
    return {
        "nexp": {band: (4 * full[band]).astype(np.int16) for band in BANDS},
        "psfsize": {band: FWHM[band] * full[band] for band in BANDS},
        "invvar": {band: SIGMA[band] ** -2 * full[band] for band in BANDS},
    }


def sources(*rows):
    """Galaxies of r = 20 in the middle of the patch, with what each row says."""
    flux = {f"flux_{band}": f for band, f in zip(BANDS, (2.5, 10.0, 25.0), strict=True)}
    typical = {"kind": "elliptical", "scene": 0, "redshift": 0.5, "sersic": 4.0, "r_half": 0.9}
    typical |= {"e1": 0.0, "e2": 0.0, "bx": 100.0, "by": 100.0} | flux
    table = pd.DataFrame([{"number": i} | typical | row for i, row in enumerate(rows)])
    table["ra"] = 150 - (table["bx"] - 100) * SCALE / 3600
    return table.assign(dec=(table["by"] - 100) * SCALE / 3600)


def images(level=0.0):
    return {band: np.full((SIDE, SIDE), level, np.float32) for band in BANDS}


def listed(table, arcs=(), clean=None, seed=1):
    lens = Lens(Scene("lens", 0.5), np.ones(3), {"z_source": 2.0})
    patch = Patch(table, pd.DataFrame(), {number: lens for number, _ in arcs})
    rng = np.random.default_rng(seed)
    return detect(rng, patch, dict(arcs), clean or images(), Conditions(make_maps(), NOISE))


def test_sources_that_the_seeing_does_not_separate_are_one():
    near = 0.5 * FWHM["r"] / SCALE
    companion = {"kind": "companion", "bx": 100 + near, "flux_g": 2.0, "flux_r": 5.0, "flux_z": 6.0}
    result = listed(sources({}, companion))
    assert list(result["kind"]) == ["elliptical"]
    (merged,) = result.to_dict("records")
    assert [merged[f"flux_{band}"] for band in BANDS] == [4.5, 15.0, 31.0]
    # The position is that of the light, and the sum is longer along x, East to West.
    assert merged["bx"] == pytest.approx(100 + near / 3)
    assert merged["ra"] == pytest.approx(150 - near / 3 * SCALE / 3600)
    assert merged["by"] == 100
    assert merged["e1"] < -0.02
    assert merged["r_half"] > 0.9
    apart = listed(sources({}, companion | {"bx": 100 + 2 * near}))
    assert sorted(apart["kind"]) == ["companion", "elliptical"]


def test_a_blend_with_a_deflector_is_the_lens():
    star = {"kind": "star", "bx": 101.0, "flux_r": 40.0, "r_half": 0.0, "sersic": 0.0}
    result = listed(sources({"kind": "lens"}, star))
    assert list(result["kind"]) == ["lens"]
    assert list(result["number"]) == [0]
    assert result["flux_r"][0] == 50


def test_faint_sources_are_listed_by_their_signal_to_noise():
    limit = catalogue.DETECTION_SNR / np.sqrt(
        sum(flux_ivar(FWHM[band], SIGMA[band], 0.0) for band in BANDS)
    )
    x = np.arange(400) % 20 * 9.0 + 10
    y = np.arange(400) // 20 * 9.0 + 10
    for factor, low, high in ((0.5, 0.0, 0.02), (1.0, 0.4, 0.6), (2.0, 0.98, 1.0)):
        flux = dict.fromkeys([f"flux_{band}" for band in BANDS], factor * limit)
        rows = (
            {"kind": "star", "r_half": 0.0, "bx": a, "by": b} | flux
            for a, b in zip(x, y, strict=True)
        )
        result = listed(sources(*rows))
        assert low <= len(result) / 400 <= high, factor
        assert (result["type"] == "PSF").all()


def test_faint_sources_in_bright_light_are_not_detected():
    flux = {"flux_g": 0.6, "flux_r": 0.6, "flux_z": 0.6}
    faint = sources({"kind": "faint", "r_half": 0.4, "sersic": 1.0} | flux)
    assert len(listed(faint)) == 1
    assert len(listed(faint, clean=images(0.5))) == 0
    # Lenses are always listed, and so is their truth.
    assert len(listed(faint.assign(kind="lens"), clean=images(0.5))) == 1


def point_images(places, fluxes, side=81):
    """Images of point sources at places (dx, dy) from the centre, arcsec."""
    axis = (np.arange(side) - side // 2) * SCALE
    psfs = [Psf.round(FWHM[band]) for band in BANDS]
    total = np.zeros((3, side, side))
    for (dx, dy), flux in zip(places, fluxes, strict=True):
        for i, psf in enumerate(psfs):
            total[i] += flux * SCALE**2 * psf.profile(axis[None, :] - dx, axis[:, None] - dy)
    return Arcs(total, 100 - side // 2, 100 - side // 2, 5.0, 1.3)


def test_bright_images_apart_from_the_deflector_are_sources():
    lens = sources({"kind": "lens"})
    result = listed(lens, [(0, point_images([(3.0, 1.0), (-2.0, -0.5)], [1.5, 1.0]))])
    arcs = result[result["kind"] == "arc"].sort_values("bx").reset_index(drop=True)
    assert len(result) == 3
    assert list(arcs["number"]) == [-1, -1]
    assert list(arcs["redshift"]) == [2, 2]
    assert arcs["bx"].tolist() == pytest.approx([100 - 2.0 / SCALE, 100 + 3.0 / SCALE], abs=0.4)
    assert arcs["by"].tolist() == pytest.approx([100 - 0.5 / SCALE, 100 + 1.0 / SCALE], abs=0.3)
    # In the wings some light belongs to nobody.
    assert arcs["flux_g"].tolist() == pytest.approx([1.0, 1.5], rel=0.2)
    assert (arcs["r_half"] < 0.35).all()
    assert set(arcs["type"]) <= {"PSF", "REX", "EXP"}
    deflector = result[result["kind"] == "lens"].iloc[0]
    assert deflector["flux_r"] == pytest.approx(10, rel=0.02)


def test_other_images_disturb_the_fit_of_the_deflector():
    lens = sources({"kind": "lens"})
    # As bright as its surroundings: not a source of its own.
    near = listed(lens, [(0, point_images([(2.0, 0.0)], [2.0]))], clean=images(1.0))
    assert list(near["kind"]) == ["lens"]
    (fit,) = near.to_dict("records")
    assert 2.5 + 0.1 * 2.0 < fit["flux_g"] < 2.5 + 0.3 * 2.0
    assert fit["flux_g"] / fit["flux_z"] > 0.105
    assert fit["bx"] > 100.1
    assert fit["r_half"] > 0.9
    assert fit["e1"] < -0.01  # along x, East to West
    # Too faint to matter.
    faint = listed(lens, [(0, point_images([(2.0, 0.0)], [0.01]))])
    assert faint["flux_g"][0] == pytest.approx(2.5, rel=0.01)


def test_large_galaxies_with_arms_are_split():
    rows = [{"kind": "spiral", "r_half": 2.5, "sersic": 1.0, "bx": 5 + 15.0 * (i % 12),
             "by": 5 + 15.0 * (i // 12)} for i in range(144)]  # fmt: skip
    table = sources(*rows)
    result = listed(table)
    pieces = result[result["kind"] == "fragment"]
    assert 0.2 < len(pieces) / 144 < 1
    for band in BANDS:
        # All in all nothing is lost but what is not detected.
        total = table[f"flux_{band}"].sum()
        assert 0.98 * total < result[f"flux_{band}"].sum() <= total * (1 + 1e-9)
    smooth = listed(table.assign(kind="elliptical"))
    assert len(smooth) == 144


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"r_half": 0.0}, "PSF"),
        ({"r_half": 1.5, "flux_g": 40.0, "flux_r": 160.0, "flux_z": 400.0}, "SER"),
        ({"r_half": 0.5, "sersic": 1.0, "flux_g": 0.6, "flux_r": 0.6, "flux_z": 0.6}, "REX"),
    ],
)
def test_types_need_light(row, expected):
    types = pd.concat([listed(sources(row), seed=seed) for seed in range(20)])["type"]
    assert (types == expected).mean() > 0.9


def test_moments_and_shapes_are_inverse():
    for r_half, e1, e2 in ((1.0, 0.0, 0.0), (0.7, 0.3, -0.1), (2.0, -0.2, 0.4)):
        shape = {"r_half": r_half, "e1": e1, "e2": e2}
        again = catalogue._shape(catalogue._second_moments(shape))
        assert again == pytest.approx(shape, abs=1e-9)


def test_measured_radii_are_along_the_major_axis(tmp_path):
    """Half-light radii of the sky are along the mean of the axes; round models have no other."""
    bright = {"flux_g": 250.0, "flux_r": 1000.0, "flux_z": 2500.0, "e1": 0.3, "e2": 0.4}
    rows = [bright | {"type": name} for name in ("SER", "REX", "PSF")]
    table = sources(*rows).assign(primary=True, ebv=0.02)
    maps = make_maps() | {"maskbits": np.zeros((SIDE, SIDE), np.int16)}
    brick = {"brickname": "1500p000", "brickid": 1}
    path = tmp_path / "tractor.fits"
    write_tractor(path, np.random.default_rng(1), table, brick, "south", maps, NOISE)
    measured = fitsio.read(path)
    # An axis ratio of 1 to 3, with errors of one per cent.
    assert measured["shape_r"] == pytest.approx([0.9 * np.sqrt(3), 0.9, 0], rel=0.05)
    assert measured["shape_e1"] == pytest.approx([0.3, 0, 0], abs=0.05)
    assert measured["shape_e2"] == pytest.approx([0.4, 0, 0], abs=0.05)
    assert measured["sersic"] == pytest.approx([4, 1, 0], rel=0.1)


def test_measured_fluxes_scatter_by_their_errors(tmp_path):
    number = 1500
    table = sources(*[{"flux_g": 0.3, "flux_r": 0.5, "flux_z": 1.0, "r_half": 0.5}] * number)
    table = table.assign(primary=True, ebv=0.02, type="REX")
    maps = make_maps() | {"maskbits": np.zeros((SIDE, SIDE), np.int16)}
    path = tmp_path / "tractor.fits"
    brick = {"brickname": "1500p000", "brickid": 1}
    write_tractor(path, np.random.default_rng(1), table, brick, "south", maps, NOISE)
    measured = fitsio.read(path)
    for band in BANDS:
        pull = (measured[f"flux_{band}"] - table[f"flux_{band}"][0]) * np.sqrt(
            measured[f"flux_ivar_{band}"]
        )
        assert abs(pull.mean()) < 0.1
        assert pull.std() == pytest.approx(1, abs=0.1)
