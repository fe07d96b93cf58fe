"""Injected lenses: arcs of ray-traced sources added to real cutouts of ellipticals.

The origin of the numbers, and how the result may be used: docs/injection.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import ArrayLike

from lenspipe.config.learning import Injection
from lenspipe.config.quality import Selection
from lenspipe.config.surveys.base import Release
from lenspipe.simulation import population
from lenspipe.simulation.conditions import SKY_MAG
from lenspipe.simulation.lensing import blurred_arcs, draw_einstein_radii, einstein_radius_sis
from lenspipe.simulation.sources import (
    MIN_REDSHIFT_GAP,
    draw_planted_sources,
    draw_sizes,
    draw_sources,
    lens_rate,
    source_counts,
)
from lenspipe.survey.photometry import to_flux, to_magnitude
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["arc_snr", "gain", "inject", "lens_rates", "sky_noise", "spot_snr"]

#: Velocity dispersion, km/s, of a galaxy of the characteristic magnitude (M_r = -23: Hyde &
#: Bernardi 2009, MNRAS 394, 1978).
SIGMA_STAR = 232.0

#: Scatter of the velocity dispersion, dex: 0.07 at given luminosity (Bernardi et al. 2003, AJ 125,
#: 1849), and as much again for luminosities whose redshift comes from one colour.
SIGMA_SCATTER = 0.10

#: Sky brightness, AB mag per square arcsec: that of the simulated sky, and in i.
_SKY_MAG = SKY_MAG | {"i": 20.2}

#: Number of lenses drawn in one attempt.
_DRAWS = 1500

#: Attempts with Einstein radii from the velocity dispersion, before they are drawn uniformly.
_ATTEMPTS_BY_DISPERSION = 6

_MAX_ATTEMPTS = 20


def inject(
    images: np.ndarray,
    table: pd.DataFrame,
    rng: Generator | Sequence[Generator],
    bands: Sequence[str],
    release: Release,
    injection: Injection,
    uniform: Selection | None = None,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Add the arcs of a lensed source to each cutout.

    Lenses are drawn for a galaxy until the arcs of one are detectable (see config key
    ``injection.min_arc_snr``). If its velocity dispersion gives none after many draws, its Einstein
    radius is drawn uniformly in ``injection.theta_e_range``; column ``theta_e_from`` records it,
    and the log how many there are. With `uniform`, the first lens drawn is taken, whether
    detectable or not, with Einstein radius and magnitude of the source uniform in their ranges, and
    bands without pixels or seeing get no arcs. Return the cutouts with arcs and the photon noise of
    the arcs, float32 (N, B, S, S), NaN where they were NaN; and the truth, N rows in the order of
    the table, columns as in docs/injection.md.

    Parameters
    ----------
    images
        (N, B, S, S) cutouts, nanomaggies, row 0 in the south; not changed.
    table
        Rows of the galaxies in the parent sample: id, mag_r, mag_z, shape_e1, shape_e2 and, per
        band, psfsize.
    rng
        One generator, or one for each galaxy. Equal seeds give equal bytes.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed, the bands lack r or z, or no draw gives detectable arcs.
    """
    check_bands(bands)
    images, rows = np.array(images, np.float32), []
    generators = rng.spawn(len(images)) if isinstance(rng, Generator) else rng
    galaxies: Iterable[tuple[np.ndarray, dict[str, Any], Generator]]
    galaxies = zip(images, table.to_dict("records"), generators, strict=True)
    if not uniform:
        galaxies = track(galaxies, "injected lenses", len(images))
    for image, row, generator in galaxies:
        host = _Host(image, row, bands, release, lenient=uniform is not None)
        lens, arcs = _find_lens(host, generator, injection, uniform)
        _add_arcs(image, arcs, host.gain, generator)
        rows.append(lens)
    drawn = sum(lens["theta_e_from"] == "drawn" for lens in rows)
    if drawn and not uniform:
        log.info("injected lenses: %d of %d Einstein radii drawn uniformly", drawn, len(rows))
    rates = lens_rates(table, injection.theta_e_range)
    return images, pd.DataFrame(rows).assign(lens_rate=rates)


def check_bands(bands: Sequence[str]) -> None:
    """Check that redshifts of galaxies can be estimated.

    Raises
    ------
    LenspipeError
        r or z is missing.
    """
    if missing := {"r", "z"} - set(bands):
        raise LenspipeError(
            f"config key survey.bands: found {', '.join(bands)}, expected r and z among them for "
            f"injected lenses (redshifts come from r-z); add {' and '.join(sorted(missing))}, or "
            "set sample.injected_per_lens and selection.number to 0"
        )


def lens_rates(table: pd.DataFrame, theta_e_range: tuple[float, float]) -> np.ndarray:
    """Expected number of sources that each galaxy lenses, given its velocity dispersion.

    All sources that can be drawn count, detectable or not. The table has columns mag_r and mag_z;
    the range of Einstein radii, arcsec, is as in ``injection.theta_e_range``.
    """
    mag_r, mag_z = (table[name].to_numpy(np.float64) for name in ("mag_r", "mag_z"))
    return lens_rate(*_deflector(mag_r, mag_z), SIGMA_SCATTER, theta_e_range)


def _deflector(mag_r: np.ndarray, mag_z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Redshift and velocity dispersion (km/s); those of a typical galaxy if a magnitude is NaN."""
    colour = mag_r - mag_z
    colour, mag_z = (
        np.where(np.isfinite(colour), values, typical)
        for values, typical in ((colour, 1.08), (mag_z, 18.6))
    )
    z_lens = np.interp(colour, population.RED_RZ, population.REDSHIFT)
    # Faber & Jackson (1976): sigma ~ L^(1/4).
    return z_lens, SIGMA_STAR * 10 ** (0.1 * (population.mag_star(z_lens) - mag_z))


class _Host:
    """A galaxy to add arcs to: its redshift and mass, and seeing and noise of its cutout."""

    def __init__(
        self,
        image: np.ndarray,
        row: Mapping[str, Any],
        bands: Sequence[str],
        release: Release,
        lenient: bool = False,
    ) -> None:
        self.row, self.bands, self.release = row, bands, release
        sigma = sky_noise(image)
        fwhm = np.array([row[f"psfsize_{band}"] for band in bands], float)
        # A band without data has no noise, and arcs are not detectable in it.
        self.usable = sigma > 0
        if lenient:
            self.usable &= fwhm > 0
        elif not self.usable.any() or not (fwhm[self.usable] > 0).all():
            raise LenspipeError(
                f"injected lenses: galaxy {row['id']}: found noise {sigma} and psfsize {fwhm} in "
                f"{', '.join(bands)}, expected both above 0; set sample.injected_per_lens to 0 if "
                "the catalogues have no psfsize"
            )
        self.fwhm = np.where(self.usable, fwhm, 1.0)
        self.gain = gain(np.where(self.usable, sigma, 1.0), bands, release).astype(np.float32)
        sky = np.where(self.usable, sigma**2, np.inf).astype(np.float32)
        photons = np.where(np.isnan(image), np.inf, image).clip(0) / self.gain[:, None, None]
        self.variance = sky[:, None, None] + photons
        centre = slice(image.shape[-1] // 2 - 8, image.shape[-1] // 2 + 9)
        self.noise = np.sqrt(np.median(self.variance[:, centre, centre], axis=(1, 2)))
        self.z_lens, self.sigma_v = _deflector(row["mag_r"], row["mag_z"])
        self.light = np.nan_to_num([row["shape_e1"], row["shape_e2"]])


def sky_noise(image: np.ndarray) -> np.ndarray:
    """Measure the noise of a cutout from the median difference of pixels two apart.

    Standard deviation per pixel of each band of (B, S, S); NaN where a band has no pixel.
    """
    result = []
    rows = image[:, ::5]  # enough for 3 %
    for band in rows[:, :, 2:] - rows[:, :, :-2]:
        steps = np.abs(band[np.isfinite(band)])
        result.append(np.median(steps) / (0.67449 * np.sqrt(2)) if len(steps) else np.nan)
    return np.array(result)


def gain(sigma: ArrayLike, bands: Sequence[str], release: Release) -> np.ndarray:
    """Electrons per nanomaggy in each band of a coadd whose noise is the photon noise of the sky.

    `sigma` is the noise per pixel, (B,), nanomaggies.
    """
    mags = np.array([_SKY_MAG[band] for band in bands])
    sky = to_flux(mags, release.zero_point_mag) * release.pixel_scale_arcsec**2
    return sky / np.asarray(sigma) ** 2


def _find_lens(
    host: _Host, rng: Generator, injection: Injection, ranges: Selection | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """Draw lenses until the arcs of one are detectable; returns its truth and arcs."""
    size, scale = host.variance.shape[-1], host.release.pixel_scale_arcsec
    min_snr = 0.0 if ranges else injection.min_arc_snr
    for attempt in range(_MAX_ATTEMPTS):
        uniform = bool(ranges) or injection.theta_e == "drawn" or attempt >= _ATTEMPTS_BY_DISPERSION
        for lens, fluxes in _draws(host, rng, injection, uniform, ranges):
            arcs, magnification = blurred_arcs(lens, fluxes, host.fwhm, size, scale)
            snr = arc_snr(arcs, host.variance)
            if min_snr and not _detectable(lens, snr, magnification, host.fwhm, min_snr):
                continue
            mags = to_magnitude(fluxes * magnification, host.release.zero_point_mag)
            lens |= {"magnification": magnification, "arc_snr": snr.max()}
            lens |= {"snr_band": host.bands[int(np.argmax(snr))]}
            lens |= {"theta_e_from": "drawn" if uniform else "dispersion"}
            lens |= dict(zip((f"arc_mag_{band}" for band in host.bands), mags, strict=True))
            return lens, np.where(host.usable[:, None, None], arcs, 0)
    raise LenspipeError(
        f"injected lenses: galaxy {host.row['id']}: none of {_MAX_ATTEMPTS * _DRAWS} lenses drawn "
        f"has detectable arcs (noise {host.noise}); lower config key injection.min_arc_snr, now "
        f"{injection.min_arc_snr:g}, or widen injection.theta_e_range"
    )


def _draws(
    host: _Host, rng: Generator, injection: Injection, uniform: bool, ranges: Selection | None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield lenses with probability by cross-section: truth, and fluxes of the source.

    Lenses with undetectable arcs by the estimate of `spot_snr` are left out.
    """
    mag_g = rng.uniform(*ranges.source_mag_range) if ranges else None
    source = draw_sources(rng, _DRAWS, mag_g)
    unit = einstein_radius_sis(1.0, host.z_lens, source["z"]).clip(1e-9)
    # The cross-section; where the Einstein radius is drawn uniformly, that of a fixed dispersion.
    weight = np.where(source["z"] > host.z_lens + MIN_REDSHIFT_GAP, unit**2, 0)
    low, high = ranges.theta_e_range if ranges else injection.theta_e_range
    planted = ranges and ranges.lenses == "planted"
    if planted:
        # Galaxies have the Einstein radii that they would have on the simulated sky.
        z_lens, mag_z = np.full((2, _DRAWS), [[host.z_lens], [host.row["mag_z"]]])
        theta_e, source["z"] = draw_einstein_radii(rng, z_lens, mag_z, population.mag_star)
        unit = einstein_radius_sis(1.0, z_lens, source["z"])
        weight = np.where((theta_e >= low) & (theta_e <= high), theta_e**2, 0)
    elif uniform:
        theta_e = rng.uniform(low, high, _DRAWS)
    else:
        theta_e = unit * (host.sigma_v * 10 ** rng.normal(0, SIGMA_SCATTER, _DRAWS)) ** 2
        weight = (theta_e / unit) ** 2 * weight * ((theta_e >= low) & (theta_e <= high))
    expected = np.full(_DRAWS, np.nan)
    if ranges and mag_g is not None and not planted:
        expected = _expected(host, ranges, mag_g, theta_e, unit, weight)
    possible = np.flatnonzero(weight)
    source = {name: values[possible] for name, values in source.items()}
    theta_e, unit, weight = theta_e[possible], unit[possible], weight[possible]
    expected = expected[possible]
    r_half = draw_sizes(rng, source["z"], source["mag_z"])
    # Uniform in the circle that an isothermal sphere images more than once.
    beta = np.sqrt(rng.random(len(possible)))
    if planted:
        mags, r_half, beta = draw_planted_sources(rng, source["mag_g"])
        source |= mags
    zero_point = host.release.zero_point_mag
    fluxes = np.stack([to_flux(source[f"mag_{band}"], zero_point) for band in host.bands], 1)
    candidates = np.arange(len(possible))
    if injection.min_arc_snr and not ranges:
        promising = _promising(host, fluxes, theta_e, beta, r_half, injection.min_arc_snr)
        candidates = candidates[promising]
    # The index of the smallest exponential deviate over weight is drawn in proportion to weight.
    for i in candidates[np.argsort(rng.exponential(size=len(candidates)) / weight[candidates])]:
        direction, shear_angle = rng.uniform(0, 2 * np.pi, 2)
        shear = abs(rng.normal(0, 0.05))
        # As on the simulated sky, the mass follows the light, rounder and with some scatter.
        mass = (0.7 * host.light + rng.normal(0, 0.04, 2)).clip(-0.4, 0.4)
        yield (
            {
                "id": host.row["id"],
                "z_lens": host.z_lens,
                "z_source": source["z"][i],
                "sigma_v": np.sqrt(theta_e[i] / unit[i]),
                "theta_e_arcsec": theta_e[i],
                "mass_e1": mass[0],
                "mass_e2": mass[1],
                "shear_1": shear * np.cos(shear_angle),
                "shear_2": shear * np.sin(shear_angle),
                "beta_1": beta[i] * np.cos(direction),
                "beta_2": beta[i] * np.sin(direction),
                "source_r_half": r_half[i],
                "clump_seed": rng.integers(2**31),
                **{f"source_mag_{band}": source[f"mag_{band}"][i] for band in host.bands},
                **({"weight": expected[i]} if ranges else {}),
            },
            fluxes[i],
        )


def _expected(
    host: _Host,
    ranges: Selection,
    mag_g: float,
    theta_e: np.ndarray,
    unit: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Expected number of lenses like each one, over the probability to draw it uniformly.

    Real Einstein radii scatter around that of the galaxy's dispersion and the redshift of the
    source, and count by their cross-section; the redshift was drawn in proportion to `weight`.
    """
    width = 2 * SIGMA_SCATTER * np.log(10)
    deviation = np.log(theta_e / (unit * host.sigma_v**2)) / width
    density = np.exp(-(deviation**2) / 2) / (np.sqrt(2 * np.pi) * width * theta_e)
    number = source_counts(mag_g) * np.pi * theta_e**2 * density
    spans = np.ptp(ranges.source_mag_range) * np.ptp(ranges.theta_e_range)
    return number * spans * weight.mean() / np.where(weight > 0, weight, np.inf)


def _promising(
    host: _Host,
    fluxes: np.ndarray,
    theta_e: np.ndarray,
    beta: np.ndarray,
    r_half: np.ndarray,
    min_snr: float,
) -> np.ndarray:
    """Mask of lenses whose arcs should be detectable, by the estimate of `spot_snr`."""
    scale = host.release.pixel_scale_arcsec
    snr, magnification = spot_snr(fluxes, theta_e, beta, r_half, host.fwhm, host.noise, scale)
    magnification, r_half, theta_e = magnification[:, None], r_half[:, None], theta_e[:, None]
    return (
        (snr > min_snr)
        & (magnification > 3)
        & (magnification * r_half > host.fwhm)
        & (theta_e**2 > r_half**2 + host.fwhm**2)
    ).any(axis=1)


def spot_snr(
    fluxes: np.ndarray,
    theta_e: np.ndarray,
    beta: np.ndarray,
    r_half: np.ndarray,
    fwhm: np.ndarray,
    noise: np.ndarray,
    pixel_scale_arcsec: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the signal to noise of arcs from the images of a sphere, taken as two round spots.

    Return the signal to noise, (N, B), as defined by `arc_snr`, and the magnification, (N,).

    Parameters
    ----------
    fluxes
        (N, B) of the unlensed sources, nanomaggies.
    theta_e, beta, r_half
        (N,) Einstein radius, arcsec; distance of the source from the axis in units of it;
        half-light radius of the source, arcsec.
    fwhm, noise
        (B,) or (N, B) seeing, arcsec; noise per pixel at the images, nanomaggies.
    """
    magnification = (2 / np.hypot(beta, 0.5 * r_half / theta_e))[:, None]
    spots = 4 * np.pi * (fwhm / 2.355) ** 2
    spots = spots + 2 * np.pi * magnification * (r_half[:, None] / 1.18) ** 2
    pixels = spots / pixel_scale_arcsec**2
    flux = fluxes * magnification
    peak = np.maximum(flux / pixels / noise, 1 + 1e-9)
    # Flux and noise of the pixels of a Gaussian spot that are brighter than the noise.
    snr = flux * (1 - 1 / peak) / (noise * np.sqrt(pixels * np.log(peak)))
    return snr, magnification[:, 0]


def _detectable(
    lens: Mapping[str, Any], snr: np.ndarray, magnification: float, fwhm: np.ndarray, min_snr: float
) -> bool:
    """Whether arcs are detectable in a band by the criteria of Collett (2015, sect. 3), adapted.

    He subtracts the galaxy and requires that the images, 2 theta_E apart, are resolved from each
    other; here they must be resolved from the galaxy, theta_E away.
    """
    r_half, theta_e = lens["source_r_half"], lens["theta_e_arcsec"]
    resolved = theta_e**2 > r_half**2 + fwhm**2
    stretched = (magnification > 3) & (magnification * r_half > fwhm)
    return bool((resolved & stretched & (snr >= min_snr)).any())


def arc_snr(arcs: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Signal to noise of arcs in each band, summed over pixels brighter than the noise.

    Following Collett (2015, ApJ 811, 20, sect. 3): total flux over total noise of the pixels in
    which the arcs alone exceed the noise of sky and galaxies. Arcs are (B, s, s), without noise;
    the variance of the cutout is (B, S, S), S >= s, and infinite where there is no data.
    """
    variance = variance[_centre(variance, arcs)]
    above = arcs**2 > variance
    above &= arcs > 0
    signal = np.where(above, arcs, 0).sum(axis=(1, 2))
    noise = np.sqrt(np.where(above, variance, 0).sum(axis=(1, 2)))
    return np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0)


def _centre(images: np.ndarray, arcs: np.ndarray) -> tuple[slice, slice, slice]:
    """Slices of a cutout that the arcs cover."""
    start = (images.shape[-1] - arcs.shape[-1]) // 2
    window = slice(start, start + arcs.shape[-1])
    return slice(None), window, window


def _add_arcs(image: np.ndarray, arcs: np.ndarray, gain: np.ndarray, rng: Generator) -> None:
    """Add arcs and their photon noise to a cutout; sky and galaxy already have theirs."""
    for band, arc, electrons in zip(image[_centre(image, arcs)], arcs, gain, strict=True):
        # Less than an electron is added without noise: the sky has hundreds.
        bright = arc * electrons > 1
        arc[bright] = rng.poisson(arc[bright] * electrons) / electrons
        band += arc.astype(np.float32)
