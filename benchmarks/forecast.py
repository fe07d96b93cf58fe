"""Reproduce a published forecast of lenses, step by step from the model of lenspipe.

Collett (2015, ApJ 811, 20) forecasts 2400 lenses in 5000 square degrees of DES (0.48 per square
degree) where the light of the deflector is subtracted perfectly and 1300 (0.26) in the difference
of g and i, and 250 in 150 square degrees of the CFHTLS (1.67), in the difference of g and i behind
deflectors at redshifts 0.2 to 1 with i from 17 to 22. The first row of the table is the model of
lenspipe with detection as the paper's text describes it; each further row replaces one of its terms
by that of the published code, until all are. Takes five minutes.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from lenspipe.completeness.expected.brightness import estimate_snr, lens_light
from lenspipe.completeness.expected.deflectors import (
    CHOI_2007,
    MAG_SCATTER,
    Z_RANGE,
    draw_dispersions,
    draw_redshifts,
    lens_magnitude,
    volume_mpc3_per_deg2,
)
from lenspipe.simulation.injection import noise_from_depth
from lenspipe.simulation.lenses import arc_snr
from lenspipe.simulation.lensing import blurred_arcs, comoving_distance, einstein_radius_sis
from lenspipe.simulation.psf import Psf
from lenspipe.simulation.sources import SOURCE_DENSITY, draw_sizes, draw_sources
from lenspipe.simulation.survey import RELEASE
from lenspipe.survey.photometry import to_flux

BANDS = "gri"
SCALE = RELEASE.pixel_scale_arcsec

#: Side of the images, pixels; the smallest Einstein radius, arcsec; pairs drawn, lenses traced.
SIZE, MIN_THETA_E_ARCSEC, PAIRS = 101, 0.4, 200_000

#: Scatter of the seeing of single exposures, natural logarithm, about the medians of coadds; their
#: distributions are not public: the published tables of lenses have one value for all lenses.
SEEING_SCATTER, EXPOSURES = 0.2, 10

#: Observed magnitude less absolute r magnitude and distance modulus of an old galaxy in g, r and i,
#: from the magnitudes of deflectors in the published tables of lenses.
K_REDSHIFT = (0.099, 0.221, 0.325, 0.405, 0.503, 0.602, 0.701, 0.806, 0.902, 1.066, 1.282)
K_CORRECTION = {
    "g": (1.29, 1.82, 2.42, 2.69, 3.13, 3.52, 4.26, 4.84, 5.43, 6.10, 6.15),
    "r": (0.22, 0.28, 0.53, 0.75, 1.28, 1.65, 2.25, 2.33, 2.64, 3.24, 4.23),
    "i": (-0.16, -0.27, -0.12, 0.02, 0.19, 0.31, 0.70, 0.99, 1.41, 1.97, 2.25),
}

#: How much brighter sources are in the published catalogue in rest-frame r than by the z magnitude
#: and a flat spectrum, which lenspipe assumes: medians of 58 of its galaxies with g < 26.5.
BRIGHTER_REDSHIFT, BRIGHTER_MAG = (0.4, 0.8, 1.2, 1.7, 2.4), (0.45, 0.75, 1.10, 1.78, 2.23)


#: Median g - i and r - i of the sources in the first hundred rows of the published table of lenses.
COLOUR_REDSHIFT = (0.5, 0.85, 1.15, 1.45, 1.8, 2.25, 2.7, 3.3)
COLOUR = {
    "g": (1.44, 1.37, 0.34, 0.16, 0.03, -0.10, -0.08, 0.25),
    "r": (0.58, 0.77, 0.21, 0.18, 0.18, -0.07, -0.12, -0.07),
}


@dataclass(frozen=True)
class Survey:
    """Images of a survey in g, r and i, as the published code describes them."""

    #: Magnitude of a count per exposure, brightness of the sky, mag per square arcsec.
    zero_points: tuple[float, float, float]
    sky_mags: tuple[float, float, float]
    #: Number of exposures, electrons per count, variance of reading a pixel, side of a pixel.
    lengths: tuple[float, float, float]
    electrons_per_count: float
    read_variance: float
    pixel_arcsec: float
    seeing: tuple[float, float, float]
    #: Published numbers per square degree, with perfect subtraction and in the difference of g, i.
    published: tuple[float | None, float | None]
    #: Whether ten exposures of differing seeing are combined as suits each lens.
    exposures: bool
    #: Of deflectors that count in the difference: redshifts and i magnitudes.
    z_lens: tuple[float, float] = (0.0, 9.0)
    mag_i: tuple[float, float] = (0.0, 99.0)

    @property
    def electrons(self) -> np.ndarray:
        """Electrons per nanomaggy in each band, (3,)."""
        counts = 10 ** (0.4 * (np.array(self.zero_points) - 22.5))
        return counts * np.array(self.lengths) * self.electrons_per_count

    @property
    def noise(self) -> np.ndarray:
        """Noise of the sky in a pixel of the side that lenspipe traces, nanomaggies, (3,)."""
        sky = to_flux(np.array(self.sky_mags), 22.5) * self.pixel_arcsec**2 * self.electrons
        return np.sqrt(sky + self.read_variance) / self.electrons * SCALE / self.pixel_arcsec


SURVEYS = {
    "DES": Survey(
        zero_points=(30.0, 30.0, 30.0),
        sky_mags=(21.7, 20.7, 20.1),
        lengths=(10.0, 10.0, 10.0),
        electrons_per_count=4.5,
        read_variance=22.0,
        pixel_arcsec=0.263,
        seeing=(1.2, 0.95, 0.95),
        published=(0.48, 0.26),
        exposures=True,
    ),
    "CFHTLS": Survey(
        zero_points=(26.96, 26.47, 26.24),
        sky_mags=(21.9, 20.6, 19.2),
        lengths=(3500.0, 5500.0, 5500.0),
        electrons_per_count=1.62,
        read_variance=5.0,
        pixel_arcsec=0.187,
        seeing=(0.8, 0.8, 0.8),
        published=(None, 1.67),
        exposures=False,
        z_lens=(0.2, 1.0),
        mag_i=(17.0, 22.0),
    ),
}


@dataclass(frozen=True)
class Terms:
    """Which terms are those of the published code."""

    evolution: float = 0.0
    bright_sources: bool = False
    size_scatter: bool = False
    deflector_light: bool = False
    ellipticity: bool = False
    gaussian: bool = False
    criterion: bool = False
    greatest_snr: bool = False
    exposures: bool = False
    colours: bool = False


#: Terms in the order in which they are replaced.
STEPS = {
    "lenspipe's sources and deflectors, the paper's criteria": {},
    "images resolved by the code's criterion, in the best band": {"criterion": True},
    "sources as luminous as in the code's catalogue, thus larger": {"bright_sources": True},
    "sizes of sources scattered by 0.35 dex, without limits": {"size_scatter": True},
    "light of the deflectors by Hyde & Bernardi (2009)": {"deflector_light": True},
    "ellipticities of the deflectors, no shear": {"ellipticity": True},
    "Gaussian PSF": {"gaussian": True},
    "greatest signal to noise of any set of pixels": {"greatest_snr": True},
    "ten exposures, combined as suits each lens": {"exposures": True},
    "colours of sources in the published tables": {"colours": True},
}


class GaussianPsf(Psf):
    """A Gaussian PSF, as that of the published code."""

    def transform(self, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        """Fourier transform, as in `lenspipe.simulation.psf.Psf`."""
        sigma = np.float32(self.fwhm[0] / 2.355)
        return np.exp(-0.5 * sigma**2 * (kx * kx + ky * ky))


def draw_lenses(rng: Generator, survey: Survey, terms: Terms) -> pd.DataFrame:
    """Pairs of galaxies with their weight per square degree, as `estimate_snr` takes them."""
    z_lens = draw_redshifts(rng, PAIRS)
    sigma_v, density = draw_dispersions(rng, PAIRS, **CHOI_2007)
    source = draw_sources(rng, PAIRS)
    if terms.colours:
        for band, colour in COLOUR.items():
            shift = np.interp(source["z"], COLOUR_REDSHIFT, colour)
            source[f"mag_{band}"] = source["mag_i"] + shift
    theta_e = einstein_radius_sis(sigma_v, z_lens, source["z"])
    weight = density * volume_mpc3_per_deg2(Z_RANGE) * (1 + z_lens) ** terms.evolution
    weight = weight * SOURCE_DENSITY * np.pi * (theta_e / 60) ** 2
    beta, angle = np.sqrt(rng.random(PAIRS)), rng.uniform(0, 2 * np.pi, PAIRS)
    table = pd.DataFrame({
        "theta_e_arcsec": theta_e,
        "z_lens": z_lens,
        "sigma_v": sigma_v,
        "z_source": source["z"],
        "source_r_half": source_sizes(rng, source, terms),
        "beta_1": beta * np.cos(angle),
        "beta_2": beta * np.sin(angle),
        "weight": weight,
        "clump_seed": rng.integers(2**31, size=PAIRS),
        **{f"source_mag_{band}": source[f"mag_{band}"] for band in BANDS},
    })  # fmt: skip
    table = table[theta_e > MIN_THETA_E_ARCSEC].reset_index(drop=True)
    for band, noise, seeing in zip(BANDS, survey.noise, survey.seeing, strict=True):
        table[f"psfsize_{band}"] = seeing
        table[f"galdepth_{band}"] = (noise_from_depth(1.0, seeing, SCALE) / noise) ** 2
    return deflectors(rng, table, terms)


def source_sizes(rng: Generator, source: dict[str, np.ndarray], terms: Terms) -> np.ndarray:
    """Half-light radii of sources, arcsec."""
    z, mag_z = source["z"], source["mag_z"]
    if terms.bright_sources:
        mag_z = mag_z - np.interp(z, BRIGHTER_REDSHIFT, BRIGHTER_MAG)
    if not terms.size_scatter:
        return draw_sizes(rng, z, mag_z)
    distance = comoving_distance(z)
    mag_v = mag_z - 5 * np.log10(1e5 * distance * (1 + z)) + 2.5 * np.log10(1 + z)
    log_kpc = -(mag_v + 18) / 4 - 1.2 * np.log10((1 + z) / 1.6) + rng.normal(0, 0.35, len(z))
    return np.degrees(10**log_kpc * (1 + z) / (1e3 * distance)) * 3600


def deflectors(rng: Generator, table: pd.DataFrame, terms: Terms) -> pd.DataFrame:
    """Lenses with magnitudes, sizes and ellipticities of their deflectors."""
    n, z, sigma_v = len(table), table["z_lens"].to_numpy(), table["sigma_v"].to_numpy()
    log_sigma = np.log10(sigma_v)
    if terms.deflector_light:
        distance = comoving_distance(z)
        mag_r = (-0.37 + np.sqrt(0.37**2 - 0.024 * (2.97 + log_sigma))) / 0.012
        mag_r += rng.normal(0, 0.15 / 2.4, n) + 5 * np.log10(1e5 * distance * (1 + z))
        mags = {band: mag_r + np.interp(z, K_REDSHIFT, K_CORRECTION[band]) for band in BANDS}
        log_kpc = 2.46 - 2.79 * log_sigma + 0.84 * log_sigma**2 + rng.normal(0, 0.11, n)
        radius = np.degrees(10**log_kpc * (1 + z) / (1e3 * distance)) * 3600
    else:
        mag_z = lens_magnitude(sigma_v, z) + rng.normal(0, MAG_SCATTER, n)
        mags = {"g": mag_z + 3.0, "r": mag_z + 1.2, "i": mag_z + 0.45}
        radius = 10 ** (0.24 - 0.06 * (mag_z - 18.6))
    if terms.ellipticity:
        flattening = rng.rayleigh((0.378 - 0.000572 * sigma_v).clip(0.05)).clip(0, 0.8)
        modulus, shear = flattening / (2 - flattening), np.zeros(n)
    else:
        modulus, shear = np.abs(rng.normal(0.04, 0.04, n)), np.abs(rng.normal(0, 0.05, n))
    turn, twist = rng.uniform(0, 2 * np.pi, (2, n))
    return table.assign(
        **{f"mag_{band}": mag for band, mag in mags.items()},
        shape_r=radius,
        mass_e1=modulus * np.cos(turn),
        mass_e2=modulus * np.sin(turn),
        shear_1=shear * np.cos(twist),
        shear_2=shear * np.sin(twist),
    )


def greatest_snr(signal: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Greatest signal to noise of the pixels above any level, (B,), as in the published code.

    Signal and noise are (B, S, S); pixels are added from the most significant one on.
    """
    bands = len(signal)
    order = np.argsort(-(signal / sigma).reshape(bands, -1), axis=1)
    total = np.cumsum(np.take_along_axis(signal.reshape(bands, -1), order, 1), axis=1)
    variance = np.cumsum(np.take_along_axis(sigma.reshape(bands, -1) ** 2, order, 1), axis=1)
    return (total / np.sqrt(variance)).max(axis=1)


def is_resolved(
    theta_e: float, r_half: float, magnification: float, seeing: np.ndarray, terms: Terms
) -> np.ndarray:
    """Whether images are resolved and sheared in each band.

    The paper has theta_E^2 > r_half^2 + (seeing / 2)^2; the published code has
    2 theta_E^2 > 4 r_half^2 + seeing^2.
    """
    if terms.criterion:
        apart = 2 * theta_e**2 >= 4 * r_half**2 + seeing**2
    else:
        apart = theta_e**2 > r_half**2 + (seeing / 2) ** 2
    return apart & (magnification > 3) & (magnification * r_half > seeing) & (seeing > 0)


def choose_exposures(
    rng: Generator, survey: Survey, theta_e: float, r_half: float, magnification: float
) -> tuple[np.ndarray, np.ndarray]:
    """Seeing in each band of the exposures that resolve a lens, and which fraction they are.

    As in the published code: images are brought to the worst seeing that is accepted.
    """
    limit = min(np.sqrt(max(2 * theta_e**2 - 2 * r_half**2, 0)), r_half * magnification)
    seeing = np.array(survey.seeing)[:, None] * np.exp(
        rng.normal(0, SEEING_SCATTER, (len(BANDS), EXPOSURES))
    )
    accepted = seeing < limit
    return np.where(accepted, seeing, 0).max(axis=1), accepted.mean(axis=1)


def observe(
    rng: Generator, lens: dict[str, float], survey: Survey, terms: Terms, min_snr: float
) -> tuple[bool, bool]:
    """Whether a lens is detected with perfect subtraction, and in the difference of g and i."""
    theta_e, r_half = lens["theta_e_arcsec"], lens["source_r_half"]
    seeing, fraction = np.array(survey.seeing), np.ones(len(BANDS))
    kind = GaussianPsf if terms.gaussian else Psf
    if terms.exposures and survey.exposures:
        # Twice: exposures are drawn anew once the magnification is known, and both have to do.
        first, _ = choose_exposures(rng, survey, theta_e, r_half, np.inf)
        if not (2 * theta_e**2 >= 4 * r_half**2 + first**2).any():
            return False, False
        _, magnification = blurred_arcs(lens, np.ones(1), [kind.round(1.0)], SIZE, SCALE)
        seeing, fraction = choose_exposures(rng, survey, theta_e, r_half, magnification)
    if not seeing.any():
        return False, False
    # All images of the difference have one seeing; equal ones are convolved with each other.
    worst = seeing.max() if survey.exposures else float(np.hypot(seeing[0], seeing[2]))
    psfs = [kind.round(float(width)) for width in (*np.maximum(seeing, 0.3), worst)]
    fluxes = to_flux(np.array([lens[f"source_mag_{band}"] for band in BANDS]), 22.5)
    images, magnification = blurred_arcs(lens, np.ones(4), psfs, SIZE, SCALE)
    arcs, wide = images[:3] * fluxes[:, None, None], images[3] * fluxes[[0, 2], None, None]
    sky = survey.noise / np.sqrt(np.maximum(fraction, 1e-3))
    electrons = survey.electrons * np.maximum(fraction, 1e-3)
    galaxy = to_flux(np.array([lens[f"mag_{band}"] for band in BANDS]), 22.5)[:, None, None]
    axis = (np.arange(arcs.shape[-1]) - arcs.shape[-1] // 2) * SCALE
    distance = np.hypot(axis[:, None], axis)

    def noise(arcs: np.ndarray, rows: list[int], fwhm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width = fwhm[:, None, None]
        light = lens_light(galaxy[rows], lens["shape_r"], distance, width, SCALE)
        variance = sky[rows, None, None] ** 2 + (light + arcs) / electrons[rows, None, None]
        return light, np.sqrt(variance)

    _, sigma = noise(arcs, [0, 1, 2], seeing)
    snr = greatest_snr(arcs, sigma) if terms.greatest_snr else arc_snr(arcs, sigma**2)
    snr = np.where(seeing > 0, snr, 0)
    resolved = is_resolved(theta_e, r_half, magnification, seeing, terms)
    if terms.criterion:
        best = int(snr.argmax())
        seen = bool(snr[best] > min_snr and resolved[best])
    else:
        seen = bool((resolved & (snr > min_snr)).any())
    if not seen or not (seeing[0] and seeing[2]):
        return seen, False
    light, sigma = noise(wide, [0, 2], np.array([worst, worst]))
    ring = (distance > 0.5) & (distance < 2.7)
    blue, red = (light + wide)[:, ring].sum(axis=1)
    difference = wide[0] - blue / red * wide[1]
    sigma = np.hypot(sigma[0], blue / red * sigma[1])
    if terms.greatest_snr:
        snr = greatest_snr(difference[None], sigma[None])
    else:
        snr = arc_snr(difference[None], sigma[None] ** 2)
    counted = survey.z_lens[0] <= lens["z_lens"] <= survey.z_lens[1]
    counted &= survey.mag_i[0] <= lens["mag_i"] <= survey.mag_i[1]
    wide_enough = is_resolved(theta_e, r_half, magnification, np.array([worst]), terms)
    return seen, bool(snr[0] > min_snr and wide_enough[0] and counted)


def forecast(
    survey: Survey, terms: Terms, number: int, min_snr: float = 20.0, seed: int = 1
) -> dict[str, float]:
    """Lenses per square degree by both finders, their errors, and medians of those detected."""
    rng = np.random.default_rng(seed)
    pool = draw_lenses(rng, survey, terms)
    estimate, _ = estimate_snr(pool, BANDS, RELEASE)
    probability = np.clip((estimate.max(axis=1) / 15) ** 2, 0.01, 1) * pool["weight"].to_numpy()
    # Images of half the Einstein radius or less of the seeing are not resolved by any criterion.
    probability[pool["theta_e_arcsec"] < min(survey.seeing) / 2] = 0
    probability /= probability.sum()
    rows = rng.choice(len(pool), number, p=probability)
    weight = pool["weight"].to_numpy()[rows] / (probability[rows] * number)
    lenses = pool.iloc[rows].reset_index(drop=True)
    seen = np.array([
        observe(rng, lens, survey, terms, min_snr) for lens in lenses.to_dict("records")
    ])  # fmt: skip
    result = {}
    for name, mask in zip(("all", "difference"), seen.T, strict=True):
        result[name] = float(weight[mask].sum())
        result[f"{name}_error"] = float(np.sqrt((weight[mask] ** 2).sum()))
    mask = seen[:, 0]
    if not mask.any():
        raise SystemExit(f"none of {number} lenses traced is detected; raise --draws")
    for column in ("z_lens", "z_source", "theta_e_arcsec", "source_r_half", "source_mag_g"):
        values = lenses[column].to_numpy()[mask]
        order = np.argsort(values)
        part = np.cumsum(weight[mask][order]) / weight[mask].sum()
        for level in (16, 50, 84):
            result[f"{column}_{level}"] = float(np.interp(level / 100, part, values[order]))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3000, help="Lenses traced for each number.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args(arguments)
    result: dict[str, dict[str, float]] = {}
    for name, survey in SURVEYS.items():
        terms = Terms()
        for step, change in STEPS.items():
            terms = dataclasses.replace(terms, **change)
            result[f"{name}: {step}"] = forecast(survey, terms, options.draws)
            if not options.json:
                print_row(name, step, result[f"{name}: {step}"])
        result[f"{name}: signal to noise above 40"] = forecast(survey, terms, options.draws, 40.0)
        fading = dataclasses.replace(terms, evolution=-2.5)
        result[f"{name}: deflectors as (1 + z)^-2.5"] = forecast(survey, fading, options.draws)
        if not options.json:
            for step in ("signal to noise above 40", "deflectors as (1 + z)^-2.5"):
                print_row(name, step, result[f"{name}: {step}"])
            print(f"{name} published: {survey.published}")
    if options.json:
        print(
            json.dumps({step: {k: round(v, 4) for k, v in r.items()} for step, r in result.items()})
        )


def print_row(name: str, step: str, numbers: dict[str, float]) -> None:
    text = f"{name:<7} {step:<62}"
    for key in ("all", "difference"):
        text += f" {numbers[key]:6.2f} +- {numbers[f'{key}_error']:.2f}"
    for column in ("z_lens", "z_source", "theta_e_arcsec", "source_r_half", "source_mag_g"):
        text += " |" + " ".join(f"{numbers[f'{column}_{level}']:.2f}" for level in (16, 50, 84))
    print(text, flush=True)


if __name__ == "__main__":
    main()
