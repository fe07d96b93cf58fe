"""A simple model of the lenses on the sky, after Collett (2015, ApJ 811, 20); docs/expected.md."""

import numpy as np
import pandas as pd

from lenspipe.completeness.expected.brightness import estimate_snr, trace
from lenspipe.completeness.expected.deflectors import (
    CHOI,
    EVOLUTION,
    MAG_SCATTER,
    SHETH,
    Z_RANGE,
    dispersion_function,
    draw_dispersions,
    draw_redshifts,
    lens_magnitude,
    volume_mpc3_per_deg2,
)
from lenspipe.simulation.lensing import einstein_radius_sis
from lenspipe.simulation.sources import SOURCE_DENSITY, draw_sizes, draw_sources, redshift_scale

__all__ = ["alternatives", "draw_lenses", "draw_pool"]

#: Least Einstein radius, arcsec: at half this survey's seeing no search sees what is smaller.
LEAST_THETA_E = 0.5

#: Lenses drawn in all; of these the promising ones are ray-traced more often.
_POOL = 200_000

#: What the estimate of signal to noise has to be for a lens to be traced as often as others.
_PROMISING_SNR, _LEAST_CHANCE = 8.0, 0.03


def draw_pool(rng, bands, number=_POOL):
    """Draw lenses as the model has them, of any visibility.

    Parameters
    ----------
    rng : numpy.random.Generator
    bands : sequence of str
        Of g, r, i and z.
    number : int
        Of pairs of galaxies that are tried.

    Returns
    -------
    pandas.DataFrame
        A row per lens with an Einstein radius of at least 0.5 arcsec: theta_e_arcsec, z_lens,
        z_source, sigma_v (km/s), mag (z, AB, of the lens), source_mag_<band>, source_mag_i,
        source_r_half (arcsec), beta_1, beta_2 (in units of theta_E), weight (lenses per square
        degree that it stands for).
    """
    z_lens = draw_redshifts(rng, number)
    sigma_v, density = draw_dispersions(rng, number, **CHOI)
    source = draw_sources(rng, number)
    theta_e = einstein_radius_sis(sigma_v, z_lens, source["z"])
    beta, angle = np.sqrt(rng.random(number)), rng.uniform(0, 2 * np.pi, number)
    # Galaxies per square degree, times the sources in the circle that each images twice.
    weight = density * volume_mpc3_per_deg2(Z_RANGE) * (1 + z_lens) ** EVOLUTION
    weight = weight * SOURCE_DENSITY * np.pi * (theta_e / 60) ** 2
    pool = pd.DataFrame(
        {
            "theta_e_arcsec": theta_e,
            "z_lens": z_lens,
            "z_source": source["z"],
            "sigma_v": sigma_v,
            "mag": lens_magnitude(sigma_v, z_lens) + rng.normal(0, MAG_SCATTER, number),
            **{f"source_mag_{b}": source[f"mag_{b}"] for b in dict.fromkeys((*bands, "i", "z"))},
            "source_r_half": draw_sizes(rng, source["z"], source["mag_z"]),
            "beta_1": beta * np.cos(angle),
            "beta_2": beta * np.sin(angle),
            "weight": weight,
        }
    )
    return pool[theta_e >= LEAST_THETA_E].reset_index(drop=True)


def draw_lenses(rng, bands, hosts, number, size=101, mag_max=np.inf, traced=True):
    """Draw lenses with their arcs as the search's images would show them.

    Each is seen under the conditions of a galaxy of its magnitude, whose colours, size and shape it
    has as well.

    Parameters
    ----------
    rng : numpy.random.Generator
    bands : sequence of str
    hosts : pandas.DataFrame
        Galaxies of the search: mag_<band>, psfsize_<band>, galdepth_<band>, shape_r, shape_e1,
        shape_e2.
    number : int
        Rows of the result. A row stands for a number of lenses, ``weight``, so that promising
        lenses can be drawn more often.
    size : int
        Side of a cutout, pixels.
    mag_max : float
        Lenses whose galaxy is fainter in z are left out.
    traced : bool
        Whether arcs are ray-traced, or estimated as two round spots.

    Returns
    -------
    lenses : pandas.DataFrame
        As of `draw_pool`, with the hosts' columns, mag_<band>, magnification, arc_snr (in the best
        band), arc_mag_<band>, and snr_<band>.
    on_sky : float
        Lenses per square degree, whatever the magnitude of their galaxy.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed, and arcs are to be traced.
    """
    pool = draw_pool(rng, bands)
    on_sky = float(pool["weight"].sum())
    pool = pool[pool["mag"] <= mag_max].reset_index(drop=True)
    pool = _with_hosts(rng, pool, hosts, bands)
    snr, magnification = estimate_snr(pool, bands)
    chance = np.clip((snr.max(axis=1) / _PROMISING_SNR) ** 2, _LEAST_CHANCE, 1)
    chance = chance * pool["weight"].to_numpy()
    chance /= chance.sum()
    chosen = rng.choice(len(pool), number, p=chance)
    lenses = pool.iloc[chosen].reset_index(drop=True)
    lenses["weight"] /= chance[chosen] * number
    snr, magnification = snr[chosen], magnification[chosen]
    _shape_mass(rng, lenses)
    if traced:
        snr, magnification, mags = trace(lenses, bands, size)
    else:
        mags = lenses[[f"source_mag_{band}" for band in bands]].to_numpy()
        mags = mags - 2.5 * np.log10(magnification)[:, None]
    lenses["magnification"], lenses["arc_snr"] = magnification, snr.max(axis=1)
    for i, band in enumerate(bands):
        lenses[f"arc_mag_{band}"], lenses[f"snr_{band}"] = mags[:, i], snr[:, i]
    return lenses, on_sky


def _with_hosts(rng, pool, hosts, bands):
    """Give each lens one of the thirty galaxies nearest in magnitude, made as bright as it is."""
    ordered = hosts.sort_values(f"mag_{bands[-1]}", ignore_index=True)
    # The model's magnitudes are in z, which searches have as their last band.
    place = np.searchsorted(ordered[f"mag_{bands[-1]}"], pool["mag"])
    place = np.clip(place + rng.integers(-15, 16, len(pool)), 0, len(ordered) - 1)
    chosen = ordered.iloc[place].reset_index(drop=True)
    fainter = pool["mag"] - chosen[f"mag_{bands[-1]}"]
    for band in bands:
        chosen[f"mag_{band}"] = chosen[f"mag_{band}"] + fainter
    return pd.concat([pool, chosen], axis=1)


def _shape_mass(rng, lenses):
    """Ellipticity, shear and the source's clumps, as injected lenses have them."""
    for i in (1, 2):
        light = lenses[f"shape_e{i}"].fillna(0)
        lenses[f"mass_e{i}"] = (0.7 * light + rng.normal(0, 0.04, len(lenses))).clip(-0.4, 0.4)
    shear, angle = np.abs(rng.normal(0, 0.05, len(lenses))), rng.uniform(0, 2 * np.pi, len(lenses))
    lenses["shear_1"], lenses["shear_2"] = shear * np.cos(angle), shear * np.sin(angle)
    lenses["clump_seed"] = rng.integers(2**31, size=len(lenses))


def alternatives(lenses):
    """Say by what each lens would count if another of the model's choices were right.

    Parameters
    ----------
    lenses : pandas.DataFrame
        As of `draw_pool`.

    Returns
    -------
    dict
        What is chosen otherwise -> factors of the weights, (N,) float array. Names that differ in
        their last word only are two ends of one choice.
    """
    sigma_v, z_lens, z_source = (
        lenses[name].to_numpy(float) for name in ("sigma_v", "z_lens", "z_source")
    )
    ours = dispersion_function(sigma_v, **CHOI)
    scale = redshift_scale(lenses["source_mag_i"])
    off = (lenses["mag"].to_numpy() - lens_magnitude(sigma_v, z_lens)) / MAG_SCATTER
    found = {
        "dispersion function of Sheth et al. (2003)": dispersion_function(sigma_v, **SHETH) / ours,
        "constant comoving density of deflectors": (1 + z_lens) ** -EVOLUTION,
    }
    for word, sign in (("lower", -1), ("higher", 1)):
        other = CHOI | {"sigma": CHOI["sigma"] * (1 + 0.03 * sign)}
        found[f"velocity dispersions 3 % {word}"] = dispersion_function(sigma_v, **other) / ours
        found[f"density of sources 25 % {word}"] = np.full(len(lenses), 1 + 0.25 * sign)
        moved = scale * (1 + 0.1 * sign)
        power = (z_source / scale) ** 1.5 - (z_source / moved) ** 1.5
        found[f"redshifts of sources 10 % {word}"] = (scale / moved) ** 3 * np.exp(power)
        step = 0.3 * sign / MAG_SCATTER
        found[f"lenses' z magnitudes 0.3 {word}"] = np.exp(step * off - step**2 / 2)
    return found
