"""A simple model of the lenses on the sky, after Collett (2015, ApJ 811, 20); docs/expected.md."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr

from lenspipe.completeness.expected.brightness import estimate_snr, trace_arcs
from lenspipe.completeness.expected.deflectors import (
    CHOI_2007,
    MAG_SCATTER,
    SHETH_2003,
    Z_RANGE,
    dispersion_function,
    draw_dispersions,
    draw_redshifts,
    lens_magnitude,
    volume_mpc3_per_deg2,
)
from lenspipe.config.surveys.base import Release
from lenspipe.simulation.lenses import draw_mass
from lenspipe.simulation.lensing import einstein_radius_sis
from lenspipe.simulation.sources import (
    SIZE_SCATTER,
    SIZES_ARCSEC,
    SOURCE_DENSITY,
    draw_sizes,
    draw_sources,
    redshift_scale,
    typical_sizes,
)

__all__ = ["alternative_weights", "draw_lenses", "draw_pool"]

#: Minimum Einstein radius: half this survey's seeing, below which no search finds a lens.
_MIN_THETA_E_ARCSEC = 0.5

#: Pairs of galaxies drawn; of the lenses among them promising ones are ray-traced more often.
_N_PAIRS = 200_000

#: Estimated signal to noise above which lenses are traced in proportion to their weight, and
#: minimum ratio of the probability of being traced to that.
_PROMISING_SNR, _MIN_PROBABILITY = 8.0, 0.03


def draw_pool(
    rng: np.random.Generator, bands: Sequence[str], number: int = _N_PAIRS
) -> pd.DataFrame:
    """Draw lenses of the model, visible or not.

    Of a number of pairs of galaxies, those with an Einstein radius of at least 0.5 arcsec are kept;
    bands are some of g, r, i and z. Columns are theta_e_arcsec, z_lens, z_source, sigma_v (km/s),
    mag (z, AB, of the lens), source_mag_<band>, source_mag_i, source_mag_z, source_r_half (arcsec),
    beta_1, beta_2 (in units of theta_E), weight (lenses per square degree that it stands for).
    """
    z_lens = draw_redshifts(rng, number)
    sigma_v, density = draw_dispersions(rng, number, **CHOI_2007)
    source = draw_sources(rng, number)
    theta_e = einstein_radius_sis(sigma_v, z_lens, source["z"])
    beta, angle = np.sqrt(rng.random(number)), rng.uniform(0, 2 * np.pi, number)
    # Galaxies per square degree, times the sources within the Einstein radius of each.
    weight = density * volume_mpc3_per_deg2(Z_RANGE)
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
    return pool[theta_e >= _MIN_THETA_E_ARCSEC].reset_index(drop=True)


def draw_lenses(
    rng: np.random.Generator,
    bands: Sequence[str],
    hosts: pd.DataFrame,
    number: int,
    release: Release,
    size: int = 101,
    mag_max: float = np.inf,
    traced: bool = True,
) -> tuple[pd.DataFrame, float]:
    """Draw lenses with their arcs as the search's images would show them.

    Each is observed under the conditions of a galaxy of its magnitude, and has that galaxy's
    colours, size and shape. Return the lenses of `draw_pool` with the hosts' columns, mag_<band>,
    magnification, arc_snr (in the best band), arc_mag_<band>, snr_<band> and, of traced lenses,
    visible (bool, as `lenspipe.simulation.lenses.is_visible` has it); and the number of lenses per
    square degree, whatever the magnitude of their galaxy.

    Parameters
    ----------
    hosts
        Galaxies of the search: mag_<band>, psfsize_<band>, galdepth_<band>, shape_r, shape_e1,
        shape_e2.
    number
        Rows of the result. A row stands for a number of lenses, ``weight``, so that promising
        lenses can be drawn more often.
    size
        Side of a cutout, pixels.
    mag_max
        Lenses whose galaxy is fainter in z are left out.
    traced
        Whether arcs are ray-traced, or estimated as two round spots.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed, and arcs are to be traced.
    """
    pool = draw_pool(rng, bands)
    on_sky = float(pool["weight"].sum())
    pool = pool[pool["mag"] <= mag_max].reset_index(drop=True)
    pool = _assign_hosts(rng, pool, hosts, bands)
    snr, magnification = estimate_snr(pool, bands, release)
    probability = np.clip((snr.max(axis=1) / _PROMISING_SNR) ** 2, _MIN_PROBABILITY, 1)
    probability = probability * pool["weight"].to_numpy()
    probability /= probability.sum()
    rows = rng.choice(len(pool), number, p=probability)
    lenses = pool.iloc[rows].reset_index(drop=True)
    lenses["weight"] /= probability[rows] * number
    snr, magnification = snr[rows], magnification[rows]
    lenses = _draw_mass_and_clumps(rng, lenses)
    if traced:
        snr, magnification, mags, lenses["visible"] = trace_arcs(lenses, bands, size, release)
    else:
        mags = lenses[[f"source_mag_{band}" for band in bands]].to_numpy()
        mags = mags - 2.5 * np.log10(magnification)[:, None]
    lenses["magnification"], lenses["arc_snr"] = magnification, snr.max(axis=1)
    for i, band in enumerate(bands):
        lenses[f"arc_mag_{band}"], lenses[f"snr_{band}"] = mags[:, i], snr[:, i]
    return lenses, on_sky


def _assign_hosts(
    rng: np.random.Generator, pool: pd.DataFrame, hosts: pd.DataFrame, bands: Sequence[str]
) -> pd.DataFrame:
    """Give each lens one of the 31 galaxies nearest in magnitude, scaled to its brightness."""
    ordered = hosts.sort_values(f"mag_{bands[-1]}", ignore_index=True)
    # The model's magnitudes are in z, which is the last band of searches.
    rows = np.searchsorted(ordered[f"mag_{bands[-1]}"], pool["mag"])
    rows = np.clip(rows + rng.integers(-15, 16, len(pool)), 0, len(ordered) - 1)
    assigned = ordered.iloc[rows].reset_index(drop=True)
    fainter = pool["mag"] - assigned[f"mag_{bands[-1]}"]
    for band in bands:
        assigned[f"mag_{band}"] = assigned[f"mag_{band}"] + fainter
    return pd.concat([pool, assigned], axis=1)


def _draw_mass_and_clumps(rng: np.random.Generator, lenses: pd.DataFrame) -> pd.DataFrame:
    """Lenses with ellipticity, shear and the source's clumps, as those of single galaxies."""
    light = lenses[["shape_e1", "shape_e2"]].fillna(0).to_numpy(np.float64)
    masses = [
        draw_mass(rng, (e1, e2), theta_e, None)
        for (e1, e2), theta_e in zip(light, lenses["theta_e_arcsec"], strict=True)
    ]
    mass = pd.DataFrame(masses).drop(columns="satellites")
    seeds = rng.integers(2**31, size=len(lenses))
    return pd.concat([lenses, mass.assign(clump_seed=seeds)], axis=1)


def alternative_weights(lenses: pd.DataFrame) -> dict[str, np.ndarray]:
    """Factors by which the lenses' weights change under other assumptions of the model.

    Lenses are those of `draw_pool`, N rows; factors have shape (N,). Names that differ only in
    their last word are the two directions of one assumption.
    """
    sigma_v, z_lens, z_source = (
        lenses[name].to_numpy(float) for name in ("sigma_v", "z_lens", "z_source")
    )
    adopted = dispersion_function(sigma_v, **CHOI_2007)
    scale = redshift_scale(lenses["source_mag_i"])
    deviation = (lenses["mag"].to_numpy() - lens_magnitude(sigma_v, z_lens)) / MAG_SCATTER
    sheth = dispersion_function(sigma_v, **SHETH_2003)
    factors = {
        "dispersion function of Sheth et al. (2003)": sheth / adopted,
        "comoving density of deflectors as 1 / (1 + z)": 1 / (1 + z_lens),
    }
    for word, sign in (("lower", -1), ("higher", 1)):
        shifted = CHOI_2007 | {"sigma": CHOI_2007["sigma"] * (1 + 0.03 * sign)}
        ratio = dispersion_function(sigma_v, **shifted) / adopted
        factors[f"velocity dispersions 3 % {word}"] = ratio
        factors[f"density of sources 25 % {word}"] = np.full(len(lenses), 1 + 0.25 * sign)
        new_scale = scale * (1 + 0.1 * sign)
        power = (z_source / scale) ** 1.5 - (z_source / new_scale) ** 1.5
        factors[f"redshifts of sources 10 % {word}"] = (scale / new_scale) ** 3 * np.exp(power)
        name = f"sizes of sources 0.2 dex {'smaller' if sign < 0 else 'larger'}"
        factors[name] = _size_weights(lenses, 0.2 * sign)
        step = 0.3 * sign / MAG_SCATTER
        factors[f"lenses' z magnitudes 0.3 {word}"] = np.exp(step * deviation - step**2 / 2)
    return factors


def _size_weights(lenses: pd.DataFrame, shift_dex: float) -> np.ndarray:
    """Factors for sources whose sizes are all larger by so much, before they are limited."""
    typical = typical_sizes(lenses["z_source"].to_numpy(), lenses["source_mag_z"].to_numpy())
    deviation, low, high = (
        np.log10(np.asarray(size) / typical) / SIZE_SCATTER
        for size in (lenses["source_r_half"], *SIZES_ARCSEC)
    )
    step = shift_dex / SIZE_SCATTER
    within = np.exp(step * deviation - step**2 / 2)
    # All that would be smaller or larger than the limits are at them.
    below = np.maximum(ndtr(low - step), 1e-300) / np.maximum(ndtr(low), 1e-300)
    above = np.maximum(ndtr(step - high), 1e-300) / np.maximum(ndtr(-high), 1e-300)
    return np.where(
        deviation <= low + 1e-9, below, np.where(deviation >= high - 1e-9, above, within)
    )
