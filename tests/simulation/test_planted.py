"""Tests of injected lenses drawn like the planted ones of the simulated sky."""

import numpy as np
import pandas as pd
import pytest

from lenspipe.completeness.hosts import select_like_planted
from lenspipe.config.settings import load_settings
from lenspipe.simulation.injection import inject
from lenspipe.simulation.lensing import (
    LOG_R_HALF,
    MAX_BETA,
    detection_probability,
    draw_einstein_radii,
)
from lenspipe.simulation.population import BLUE_GR, BLUE_RZ, mag_star
from lenspipe.simulation.sources import draw_planted_sources
from lenspipe.utils.errors import LenspipeError

CONFIG = {"run": "r", "simulation": {}, "footprint": {"bricks": ["1500p320"]}}


def planted_settings(**own):
    return load_settings(CONFIG | {"selection": {"lenses": "planted"} | own})


def injected_as(settings):
    """Arguments of `inject` after its generator."""
    return settings.survey.bands, settings.release, settings.injection, settings.selection


def hosts(number, mag_z=18.5, r_z=1.1):
    """Round galaxies in noise."""
    rng = np.random.default_rng(1)
    axis = np.arange(101) - 50
    light = np.exp(-np.hypot(axis[:, None], axis) / 4)
    noise = np.array([0.003, 0.005, 0.012])[:, None, None]
    images = light + noise * rng.standard_normal((number, 3, 101, 101))
    table = pd.DataFrame({"id": [f"9010-1-{i}" for i in range(number)]})
    table = table.assign(mag_z=mag_z, mag_r=mag_z + r_z, mag_g=mag_z + r_z + 1.7)
    table = table.assign(shape_e1=0.1, shape_e2=0.0)
    return images.astype(np.float32), table.assign(psfsize_g=1.4, psfsize_r=1.3, psfsize_z=1.2)


def test_sources_are_those_of_the_sky():
    mag_g = np.full(20_000, 23.0)
    mags, r_half, beta = draw_planted_sources(np.random.default_rng(2), mag_g)
    for values, (low, high) in (
        (mag_g - mags["mag_r"], BLUE_GR),
        (mags["mag_r"] - mags["mag_z"], BLUE_RZ),
    ):
        assert values.min() >= low - 1e-9
        assert values.max() <= high + 1e-9
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.005)
    assert np.log10(r_half).mean() == pytest.approx(LOG_R_HALF[0], abs=0.005)
    assert np.log10(r_half).std() == pytest.approx(LOG_R_HALF[1], abs=0.005)
    # Uniformly in a circle.
    assert beta.max() <= MAX_BETA
    assert (beta < MAX_BETA / 2).mean() == pytest.approx(0.25, abs=0.01)


def test_injected_lenses_have_them_and_the_radii_of_their_galaxies():
    settings = planted_settings(theta_e_range=[0.6, 3.0], source_mag_range=[22.0, 25.0])
    images, table = hosts(60)
    rng = np.random.default_rng(3)
    injected, truth = inject(images, table, rng, *injected_as(settings))
    assert truth["theta_e_arcsec"].between(0.6, 3.0).all()
    assert truth["source_mag_g"].between(22.0, 25.0).all()
    assert (np.hypot(truth["beta_1"], truth["beta_2"]) <= MAX_BETA).all()
    assert (truth["source_mag_g"] - truth["source_mag_r"]).between(*BLUE_GR).all()
    # Sources near the axis are magnified more than those anywhere.
    assert truth["magnification"].median() > 6
    assert truth["weight"].isna().all()
    assert (injected != images).any(axis=(1, 2, 3)).all()
    # Brighter galaxies at the same redshift have larger radii.
    images, bright = hosts(60, mag_z=16.5)
    _, wider = inject(images, bright, np.random.default_rng(3), *injected_as(settings))
    assert wider["theta_e_arcsec"].median() > truth["theta_e_arcsec"].median()


def test_radii_rise_with_luminosity():
    rng = np.random.default_rng(4)
    medians = []
    for mag in (20.0, 18.0, 16.0):
        theta_e, z_source = draw_einstein_radii(
            rng, np.full(2000, 0.5), np.full(2000, mag), mag_star
        )
        assert (z_source > 0.85).all()
        medians.append(np.median(theta_e))
    assert medians == sorted(medians)
    # sigma ~ 10^(0.04 dm), theta_E ~ sigma^2.
    assert medians[2] / medians[0] == pytest.approx(10**0.32, rel=0.1)


def test_hosts_are_ellipticals_that_do_not_outshine_arcs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = planted_settings()
    pool = pd.DataFrame({"id": [str(i) for i in range(4000)], "mag_g": np.tile([19.0, 20.4], 2000)})
    pool.loc[3999, "mag_g"] = np.nan
    kinds = np.repeat(["elliptical", "spiral"], 2000)
    settings.paths.truth.parent.mkdir(parents=True)
    pool[["id"]].assign(kind=kinds).to_parquet(settings.paths.truth)
    chosen = select_like_planted(pool, settings.paths.truth, np.random.default_rng(5))
    assert chosen["id"].astype(int).max() < 2000
    by_mag = chosen.groupby("mag_g").size() / 1000
    assert by_mag[20.4] == pytest.approx(0.5, abs=0.05)
    assert by_mag.get(19.0, 0) == pytest.approx(detection_probability(19.0), abs=0.02)


def test_only_a_simulated_sky_has_planted_lenses():
    config = {"run": "r", "survey": {"tree": "tree"}, "footprint": {"bricks": ["1500p320"]}}
    with pytest.raises(LenspipeError, match=r"selection\.lenses: found planted, but only a simul"):
        load_settings(config | {"selection": {"lenses": "planted"}})
