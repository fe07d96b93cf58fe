"""Strong lenses of the simulated sky: isothermal deflectors with shear, clumpy blue sources."""

import numpy as np
from astropy.cosmology import FlatLambdaCDM

__all__ = ["arc_image", "draw_lenses", "einstein_radius_sis"]

_COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
_REDSHIFT_GRID = np.linspace(0.0, 4.0, 401)
_COMOVING = _COSMOLOGY.comoving_distance(_REDSHIFT_GRID).value
_LIGHT_KM_S = 299792.458

#: Einstein radii, arcsec, and total lensed g magnitudes of the lenses drawn: least, most frequent
#: and faintest at 1.6 arcsec; images of the same sources behind larger lenses are brighter.
THETA_E_RANGE = (0.7, 4.0)
ARC_MAG_G = (21.0, 21.2, 22.2)


def einstein_radius_sis(sigma_km_s, z_lens, z_source):
    """Einstein radius of a singular isothermal sphere.

    ``theta_E = 4 pi (sigma / c)^2 D_ls / D_s`` (Schneider, Kochanek & Wambsganss 2006, part 2,
    sect. 3), in flat LCDM with H0 = 70, Omega_m = 0.3.

    Parameters
    ----------
    sigma_km_s : array_like
        Velocity dispersion, km/s.
    z_lens, z_source : array_like
        Redshifts; behind the lens means ``z_source > z_lens``.

    Returns
    -------
    ndarray
        Arcsec.
    """
    near = np.interp(z_lens, _REDSHIFT_GRID, _COMOVING)
    far = np.interp(z_source, _REDSHIFT_GRID, _COMOVING)
    radians = 4 * np.pi * (np.asarray(sigma_km_s) / _LIGHT_KM_S) ** 2 * (1 - near / far)
    return np.degrees(radians) * 3600


def draw_lenses(rng, pool, size, mstar):
    """Draw lenses from a pool of ellipticals.

    The velocity dispersion follows from luminosity (Faber & Jackson 1976: sigma ~ L^(1/4)) with
    scatter. A galaxy is picked with probability proportional to its cross-section, theta_E^2, times
    the chance that the images stand apart from the deflector at this survey's seeing, a logistic
    curve around 1.35 arcsec, and that its light does not drown them, one around g = 20.4: lenses
    as searches of this survey find them, mostly of 1 to 3 arcsec with deflectors of g 20.3 to 22.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    pool : DataFrame
        Ellipticals, as `lenspipe.simulation.population` draws them.
    size : int
        How many lenses.
    mstar : callable
        z magnitude of a characteristic galaxy at a redshift.

    Returns
    -------
    DataFrame
        Rows of the pool with z_source, theta_e_arcsec, arc_mag_g, source_r_half (arcsec),
        shear_1, shear_2, mass_e1, mass_e2, beta_1, beta_2 (source position in units of theta_E)
        and clump_seed.
    """
    n = len(pool)
    mag_z = 22.5 - 2.5 * np.log10(pool["flux_z"].to_numpy())
    brightness = mstar(pool["redshift"].to_numpy()) - mag_z
    sigma = 250 * 10 ** (0.04 * brightness + 0.10 * rng.standard_normal(n))
    z_source = pool["redshift"].to_numpy() + 0.35 + rng.gamma(3.0, 0.35, n)
    theta_e = einstein_radius_sis(sigma, pool["redshift"], z_source.clip(max=4.0))
    within = (theta_e > THETA_E_RANGE[0]) & (theta_e < THETA_E_RANGE[1])
    separate = 1 / (1 + np.exp(-(theta_e - 1.35) / 0.12))
    mag_g = 22.5 - 2.5 * np.log10(pool["flux_g"].to_numpy())
    undrowned = 1 / (1 + np.exp(-(mag_g - 20.4) / 0.3))
    weight = np.where(within, theta_e**2 * separate * undrowned, 0)
    chosen = rng.choice(n, size, replace=False, p=weight / weight.sum())
    lenses = pool.iloc[chosen].reset_index(drop=True)
    lenses["z_source"] = z_source[chosen].clip(max=4.0)
    lenses["theta_e_arcsec"] = theta_e[chosen]
    magnified = 1.5 * np.log10(lenses["theta_e_arcsec"] / 1.6)
    lenses["arc_mag_g"] = (rng.triangular(*ARC_MAG_G, size) - magnified).clip(ARC_MAG_G[0], 24.0)
    lenses["source_r_half"] = 10 ** rng.normal(-0.55, 0.15, size)
    shear, angle = np.abs(rng.normal(0, 0.05, size)), rng.uniform(0, np.pi, size)
    lenses["shear_1"] = shear * np.cos(2 * angle)
    lenses["shear_2"] = shear * np.sin(2 * angle)
    # The mass follows the light, rounder and with some scatter.
    for name in ("e1", "e2"):
        lenses[f"mass_{name}"] = (0.7 * lenses[name] + rng.normal(0, 0.04, size)).clip(-0.4, 0.4)
    # What is published shows arcs: sources well inside the caustics' reach.
    radius, angle = 0.27 * np.sqrt(rng.random(size)), rng.uniform(0, 2 * np.pi, size)
    lenses["beta_1"] = radius * np.cos(angle)
    lenses["beta_2"] = radius * np.sin(angle)
    lenses["clump_seed"] = rng.integers(2**31, size=size)
    # Published lenses were fitted as SER 60 %, DEV 26 %, REX 11 %, EXP 3 %.
    kind = rng.choice(["SER", "DEV", "REX", "EXP"], size, p=[0.60, 0.26, 0.11, 0.03])
    lenses["type"] = kind
    lenses.loc[kind == "DEV", "sersic"] = 4.0
    return lenses


def arc_image(lens, scale_arcsec, pixels):
    """Ray-trace a lensed source.

    Parameters
    ----------
    lens : mapping
        A row of `draw_lenses`.
    scale_arcsec : float
        Pixel scale.
    pixels : int
        Side of the image.

    Returns
    -------
    ndarray of float64, shape (pixels, pixels)
        Surface brightness of the images of the source without PSF, sum 1; x to the West (right),
        y to the North, the lens at the centre.
    """
    # lenstronomy is an optional dependency and takes a second to import.
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    axis = (np.arange(pixels) - (pixels - 1) / 2) * scale_arcsec
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    # Tractor's ellipticities count from North to East; on the image that is minus both.
    mass = {
        "theta_E": lens["theta_e_arcsec"],
        "e1": -lens["mass_e1"],
        "e2": -lens["mass_e2"],
        "center_x": 0.0,
        "center_y": 0.0,
    }
    shear = {"gamma1": lens["shear_1"], "gamma2": lens["shear_2"], "ra_0": 0.0, "dec_0": 0.0}
    beta = LensModel(["SIE", "SHEAR"]).ray_shooting(x, y, [mass, shear])
    rng = np.random.default_rng(int(lens["clump_seed"]))
    radius = lens["source_r_half"]
    at = np.array([lens["beta_1"], lens["beta_2"]]) * lens["theta_e_arcsec"]
    e1, e2 = rng.normal(0, 0.15, 2).clip(-0.4, 0.4)
    body = {"R_sersic": radius, "n_sersic": rng.uniform(0.8, 1.6), "e1": e1, "e2": e2}
    light = ["SERSIC_ELLIPSE"]
    parts = [body | {"amp": 1.0, "center_x": at[0], "center_y": at[1]}]
    body_flux = LightModel(light).total_flux(parts)[0]
    for _ in range(rng.integers(0, 6)):
        centre = at + rng.normal(0, radius, 2)
        sigma = rng.uniform(0.1, 0.25) * radius
        flux = rng.uniform(0.04, 0.2) * body_flux
        light.append("GAUSSIAN")
        parts.append({"amp": flux, "sigma": sigma, "center_x": centre[0], "center_y": centre[1]})
    image = LightModel(light).surface_brightness(*beta, parts).reshape(pixels, pixels)
    return image / image.sum()
