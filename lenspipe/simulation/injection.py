"""Injected lenses: arcs of ray-traced sources painted onto real cutouts of ellipticals.

Where the numbers come from, and what the result is good for: docs/injection.md.
"""

import numpy as np
import pandas as pd

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
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
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["arc_snr", "gain", "inject", "lens_rates", "sky_noise", "spot_snr"]

#: Velocity dispersion, km/s, of a galaxy of the characteristic magnitude (M_r = -23: Hyde &
#: Bernardi 2009, MNRAS 394, 1978), and its scatter, dex: 0.07 at given luminosity (Bernardi et al.
#: 2003, AJ 125, 1849), and as much for luminosities whose redshift comes from one colour.
SIGMA_STAR, SIGMA_SCATTER = 232.0, 0.10

#: Sky brightness, AB mag per square arcsec: that of the simulated sky, and in i.
_SKY_MAG = SKY_MAG | {"i": 20.2}

#: Draws that are made at a time, and how often before an Einstein radius is drawn evenly, and
#: before it is given up.
_DRAWS, _BY_DISPERSION, _MOST = 1500, 6, 20


def inject(images, table, rng, settings, evenly=None):
    """Paint a lensed source onto each cutout.

    A lens is drawn for the galaxy until the arcs can be seen (see config key
    ``injection.min_arc_snr``). Where its velocity dispersion gives none after many draws, its
    Einstein radius is drawn evenly in ``injection.theta_e_range``: ``theta_e_from`` says which,
    and the log how many. Painted evenly, lenses are taken as they come: Einstein radii and sources'
    magnitudes evenly in their ranges, and no band but one with pixels and seeing has arcs.

    Parameters
    ----------
    images : (N, B, S, S) float32 array
        Cutouts, nanomaggies, bands in the order of ``survey.bands``, row 0 in the south; not
        changed.
    table : pandas.DataFrame
        The galaxies' rows of the parent sample: id, mag_r, mag_z, shape_e1, shape_e2 and, per band,
        psfsize.
    rng : numpy.random.Generator, or N of them
        Equal seeds give equal bytes. Of several each galaxy has its own.
    settings : lenspipe.config.settings.Settings
    evenly : lenspipe.config.quality.Selection, optional
        Ranges to paint lenses evenly in.

    Returns
    -------
    images : (N, B, S, S) float32 array
        The cutouts with arcs and the arcs' photon noise; NaN where they were NaN.
    truth : pandas.DataFrame
        N rows in the order of the table; columns as in docs/injection.md.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed, the bands lack r or z, or no draw gives arcs that can be seen.
    """
    bands = settings.survey.bands
    check_bands(bands)
    images, rows = np.array(images, np.float32), []
    each = rng.spawn(len(images)) if isinstance(rng, np.random.Generator) else rng
    hosts = zip(images, table.to_dict("records"), each, strict=True)
    for image, row, own in hosts if evenly else track(hosts, "injected lenses", len(images)):
        host = _Host(image, row, bands, lenient=evenly is not None)
        lens, arcs = _find_lens(host, own, settings.injection, evenly)
        _paint(image, arcs, host.gain, own)
        rows.append(lens)
    drawn = sum(lens["theta_e_from"] == "drawn" for lens in rows)
    if drawn and not evenly:
        log.info("injected lenses: %d of %d Einstein radii drawn evenly", drawn, len(rows))
    return images, pd.DataFrame(rows).assign(lens_rate=lens_rates(table, settings))


def check_bands(bands):
    """Make sure that redshifts of galaxies can be told.

    Parameters
    ----------
    bands : sequence of str

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


def lens_rates(table, settings):
    """Expect how many sources each galaxy lenses, by its velocity dispersion.

    Sources are those of all magnitudes that are drawn, Einstein radii those within
    ``injection.theta_e_range``; whether anything can be seen does not matter.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns mag_r and mag_z.
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    (N,) float64 array
    """
    mags = (table[name].to_numpy(np.float64) for name in ("mag_r", "mag_z"))
    return lens_rate(*_deflector(*mags), SIGMA_SCATTER, settings.injection.theta_e_range)


def _deflector(mag_r, mag_z):
    """Redshift and velocity dispersion (km/s) of galaxies; a typical one where magnitudes lack."""
    colour = mag_r - mag_z
    colour, mag_z = (
        np.where(np.isfinite(colour), values, typical)
        for values, typical in ((colour, 1.08), (mag_z, 18.6))
    )
    z_lens = np.interp(colour, population.RED_RZ, population.REDSHIFT)
    # Faber & Jackson (1976): sigma ~ L^(1/4).
    return z_lens, SIGMA_STAR * 10 ** (0.1 * (population.mag_star(z_lens) - mag_z))


class _Host:
    """What is known of a galaxy: its redshift and mass, and seeing and noise of its cutout."""

    def __init__(self, image, row, bands, lenient=False):
        self.row, self.bands = row, bands
        sigma = sky_noise(image)
        fwhm = np.array([row[f"psfsize_{band}"] for band in bands], float)
        # A band without data has no noise, and nothing is to be seen in it.
        self.seen = sigma > 0
        if lenient:
            self.seen &= fwhm > 0
        elif not self.seen.any() or not (fwhm[self.seen] > 0).all():
            raise LenspipeError(
                f"injected lenses: galaxy {row['id']}: found noise {sigma} and psfsize {fwhm} in "
                f"{', '.join(bands)}, expected both above 0; set sample.injected_per_lens to 0 if "
                "the catalogues have no psfsize"
            )
        self.fwhm = np.where(self.seen, fwhm, 1.0)
        self.gain = gain(np.where(self.seen, sigma, 1.0), bands).astype(np.float32)
        sky = np.where(self.seen, sigma**2, np.inf).astype(np.float32)
        photons = np.where(np.isnan(image), np.inf, image).clip(0) / self.gain[:, None, None]
        self.variance = sky[:, None, None] + photons
        near = slice(image.shape[-1] // 2 - 8, image.shape[-1] // 2 + 9)
        self.noise = np.sqrt(np.median(self.variance[:, near, near], axis=(1, 2)))
        # Where a magnitude is missing the galaxy is taken for a typical one of redshift 0.5.
        self.z_lens, self.sigma_v = _deflector(row["mag_r"], row["mag_z"])
        self.light = np.nan_to_num([row["shape_e1"], row["shape_e2"]])


def sky_noise(image):
    """Measure the noise from pixel to pixel: differences of pixels two apart, by their median.

    Parameters
    ----------
    image : (B, S, S) float array
        A cutout.

    Returns
    -------
    (B,) float array
        Standard deviation per pixel; NaN where a band has no pixel.
    """
    result = []
    rows = image[:, ::5]  # enough of them: 3 %
    for band in rows[:, :, 2:] - rows[:, :, :-2]:
        steps = np.abs(band[np.isfinite(band)])
        result.append(np.median(steps) / (0.67449 * np.sqrt(2)) if len(steps) else np.nan)
    return np.array(result)


def gain(sigma, bands):
    """Electrons per nanomaggy of a coadd, if its noise is the sky's photon noise.

    Parameters
    ----------
    sigma : array_like, shape (B,)
        Noise per pixel, nanomaggies.
    bands : sequence of str

    Returns
    -------
    (B,) float array
        Sky brightness over sigma^2.
    """
    mags = np.array([_SKY_MAG[band] for band in bands])
    sky = population.nanomaggies(mags) * PIXEL_SCALE_ARCSEC**2
    return sky / np.asarray(sigma) ** 2


def _find_lens(host, rng, own, ranges=None):
    """Draw lenses until the arcs of one can be seen; returns its truth and arcs."""
    size = host.variance.shape[-1]
    for attempt in range(_MOST):
        evenly = bool(ranges) or own.theta_e == "drawn" or attempt >= _BY_DISPERSION
        for lens, fluxes in _draws(host, rng, own, evenly, ranges):
            arcs, magnification = blurred_arcs(lens, fluxes, host.fwhm, size)
            snr = arc_snr(arcs, host.variance)
            if own.min_arc_snr and not ranges and not _visible(lens, snr, magnification, host, own):
                continue
            mags = population.magnitude(fluxes * magnification)
            lens |= {"magnification": magnification, "arc_snr": snr.max()}
            lens |= {"snr_band": host.bands[np.argmax(snr)]}
            lens |= {"theta_e_from": "drawn" if evenly else "dispersion"}
            lens |= dict(zip((f"arc_mag_{band}" for band in host.bands), mags, strict=True))
            return lens, np.where(host.seen[:, None, None], arcs, 0)
    raise LenspipeError(
        f"injected lenses: galaxy {host.row['id']}: none of {_MOST * _DRAWS} lenses drawn has arcs "
        f"that can be seen (noise {host.noise}); lower config key injection.min_arc_snr, now "
        f"{own.min_arc_snr:g}, or widen injection.theta_e_range"
    )


def _draws(host, rng, own, evenly, ranges):
    """Yield lenses that may do, by their cross-section: truth and the source's fluxes."""
    mag_g = rng.uniform(*ranges.source_mag_range) if ranges else None
    source = draw_sources(rng, _DRAWS, mag_g)
    unit = einstein_radius_sis(1.0, host.z_lens, source["z"]).clip(1e-9)
    # The cross-section, of a given dispersion where the Einstein radius doesn't follow from one.
    weight = np.where(source["z"] > host.z_lens + MIN_REDSHIFT_GAP, unit**2, 0)
    low, high = ranges.theta_e_range if ranges else own.theta_e_range
    planted = ranges and ranges.lenses == "planted"
    if planted:
        # Which galaxies have which radii is the simulated sky's.
        own_z, own_mag = np.full((2, _DRAWS), [[host.z_lens], [host.row["mag_z"]]])
        theta_e, source["z"] = draw_einstein_radii(rng, own_z, own_mag, population.mag_star)
        unit = einstein_radius_sis(1.0, own_z, source["z"])
        weight = np.where((theta_e >= low) & (theta_e <= high), theta_e**2, 0)
    elif evenly:
        theta_e = rng.uniform(low, high, _DRAWS)
    else:
        theta_e = unit * (host.sigma_v * 10 ** rng.normal(0, SIGMA_SCATTER, _DRAWS)) ** 2
        weight = (theta_e / unit) ** 2 * weight * ((theta_e >= low) & (theta_e <= high))
    if planted:
        expected = np.full(_DRAWS, np.nan)
    elif ranges:
        expected = _expected(host, ranges, mag_g, theta_e, unit, weight)
    some = np.flatnonzero(weight)
    source = {name: values[some] for name, values in source.items()}
    theta_e, unit, weight = theta_e[some], unit[some], weight[some]
    expected = expected[some] if ranges else None
    r_half = draw_sizes(rng, source["z"], source["mag_z"])
    # Anywhere in the circle that an isothermal sphere images more than once.
    beta = np.sqrt(rng.random(len(some)))
    if planted:
        mags, r_half, beta = draw_planted_sources(rng, source["mag_g"])
        source |= mags
    fluxes = np.stack([population.nanomaggies(source[f"mag_{band}"]) for band in host.bands], 1)
    possible = np.arange(len(some))
    if own.min_arc_snr and not ranges:
        possible = possible[_hopeful(host, fluxes, theta_e, beta, r_half, own)]
    # The smallest of exponential deviates over weights is one of them with its weight's chance.
    for i in possible[np.argsort(rng.exponential(size=len(possible)) / weight[possible])]:
        direction, shear_angle = rng.uniform(0, 2 * np.pi, 2)
        shear = abs(rng.normal(0, 0.05))
        # As on the simulated sky: the mass follows the light, rounder and with some scatter.
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


def _expected(host, ranges, mag_g, theta_e, unit, weight):
    """How many lenses like each there are behind the galaxy, over the chance to draw it evenly.

    Naturally Einstein radii scatter around that of the galaxy's dispersion and the source's
    redshift, and count by their cross-section; the redshift was drawn by its share of `weight`.
    """
    width = 2 * SIGMA_SCATTER * np.log(10)
    off = np.log(theta_e / (unit * host.sigma_v**2)) / width
    density = np.exp(-(off**2) / 2) / (np.sqrt(2 * np.pi) * width * theta_e)
    naturally = source_counts(mag_g) * np.pi * theta_e**2 * density
    spans = np.ptp(ranges.source_mag_range) * np.ptp(ranges.theta_e_range)
    return naturally * spans * weight.mean() / np.where(weight > 0, weight, np.inf)


def _hopeful(host, fluxes, theta_e, beta, r_half, own):
    """Whether arcs should be visible, by the images of a sphere as two round spots."""
    snr, magnification = spot_snr(fluxes, theta_e, beta, r_half, host.fwhm, host.noise)
    magnification, r_half, theta_e = magnification[:, None], r_half[:, None], theta_e[:, None]
    return (
        (snr > own.min_arc_snr)
        & (magnification > 3)
        & (magnification * r_half > host.fwhm)
        & (theta_e**2 > r_half**2 + host.fwhm**2)
    ).any(axis=1)


def spot_snr(fluxes, theta_e, beta, r_half, fwhm, noise):
    """Estimate arcs' signal to noise from the images of a sphere, taken as two round spots.

    Parameters
    ----------
    fluxes : (N, B) float array
        Of the sources without lens, nanomaggies.
    theta_e, beta, r_half : (N,) float array
        Einstein radius, arcsec; the source's distance from the axis in units of it; the source's
        half-light radius, arcsec.
    fwhm, noise : (B,) or (N, B) float array
        Seeing, arcsec; noise per pixel where the images are, nanomaggies.

    Returns
    -------
    snr : (N, B) float array
        As `arc_snr` counts it.
    magnification : (N,) float array
    """
    magnification = (2 / np.hypot(beta, 0.5 * r_half / theta_e))[:, None]
    spots = 4 * np.pi * (fwhm / 2.355) ** 2
    spots = spots + 2 * np.pi * magnification * (r_half[:, None] / 1.18) ** 2
    pixels = spots / PIXEL_SCALE_ARCSEC**2
    flux = fluxes * magnification
    peak = np.maximum(flux / pixels / noise, 1 + 1e-9)
    # Flux and noise of that part of a Gaussian spot that is brighter than the noise.
    snr = flux * (1 - 1 / peak) / (noise * np.sqrt(pixels * np.log(peak)))
    return snr, magnification[:, 0]


def _visible(lens, snr, magnification, host, own):
    """Whether arcs can be seen in a band: Collett's (2015, sect. 3) criteria, with a galaxy there.

    He subtracts it, and asks that the images, 2 theta_E apart, are resolved from each other; here
    they have to be resolved from the galaxy, theta_E away.
    """
    r_half, theta_e = lens["source_r_half"], lens["theta_e_arcsec"]
    resolved = theta_e**2 > r_half**2 + host.fwhm**2
    stretched = (magnification > 3) & (magnification * r_half > host.fwhm)
    return (resolved & stretched & (snr >= own.min_arc_snr)).any()


def arc_snr(arcs, variance):
    """Signal to noise of arcs in each band: summed over pixels brighter than the noise.

    In the manner of Collett (2015, ApJ 811, 20, sect. 3): total flux over total noise of the
    pixels in which the arcs alone exceed the noise of sky and galaxies.

    Parameters
    ----------
    arcs : (B, s, s) float array
        Without noise.
    variance : (B, S, S) float array
        Of the cutout, S >= s; infinite where there is no data.

    Returns
    -------
    (B,) float array
    """
    variance = variance[_centre(variance, arcs)]
    above = arcs**2 > variance
    above &= arcs > 0
    signal = np.where(above, arcs, 0).sum(axis=(1, 2))
    noise = np.sqrt(np.where(above, variance, 0).sum(axis=(1, 2)))
    return np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0)


def _centre(images, arcs):
    """Where arcs lie in a cutout."""
    start = (images.shape[-1] - arcs.shape[-1]) // 2
    window = slice(start, start + arcs.shape[-1])
    return slice(None), window, window


def _paint(image, arcs, gain, rng):
    """Add arcs and their photon noise to a cutout; sky and galaxy keep their own."""
    for band, arc, own in zip(image[_centre(image, arcs)], arcs, gain, strict=True):
        # Less than an electron is added without noise: the sky has hundreds.
        bright = arc * own > 1
        arc[bright] = rng.poisson(arc[bright] * own) / own
        band += arc.astype(np.float32)
