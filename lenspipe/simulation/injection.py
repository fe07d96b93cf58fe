"""Injected lenses: arcs of the simulated sky's lenses added to real cutouts of galaxies.

The origin of the numbers, and how the result may be used: docs/injection.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.ndimage import uniform_filter

from lenspipe.config.learning import Injection
from lenspipe.config.quality import Selection
from lenspipe.config.surveys.base import Release
from lenspipe.simulation.exposures import SKY_MAG
from lenspipe.simulation.lenses import (
    HALOS,
    arc_snr,
    deflector_of,
    draw_mass,
    is_arc_like,
    is_visible,
    known_weight,
    may_be_visible,
    sphere_magnification,
    theta_e_densities,
)
from lenspipe.simulation.lensing import blurred_arcs, einstein_radius_sis
from lenspipe.simulation.psf import GALDEPTH_RADIUS_ARCSEC, Psf, noise_area
from lenspipe.simulation.sources import (
    MIN_REDSHIFT_GAP,
    draw_sizes,
    draw_sources,
    lens_rate,
    source_counts,
)
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.survey.photometry import to_flux, to_magnitude
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["check_bands", "gain", "inject", "lens_rates", "noise_from_depth", "sky_noise"]

#: Sky brightness, AB mag per square arcsec: that of the simulated sky, and in i.
_SKY_MAG = SKY_MAG | {"i": 20.2}

#: Boxes in which the noise of a cutout is measured: pixels of the cutout per pixel of their side,
#: and their largest side, pixels (1.3 arcsec, about the width of arcs).
_PIXELS_PER_BOX_PIXEL, _MAX_BOX = 20, 5

#: Number of sources drawn in one attempt, and of these ray-traced.
_DRAWS, _TRACED = 1500, 12

#: Attempts with the velocity dispersion of the galaxy, the factor by which it is raised in each
#: further one, and the number of all attempts.
_ATTEMPTS_BY_DISPERSION, _RAISE, _MAX_ATTEMPTS = 3, 1.1, 20

#: Scale on which the magnification is smoothed where a source is drawn for arcs of a given
#: brightness: distance from the axis in Einstein radii.
_SOFTENING = 0.1


def inject(
    images: np.ndarray,
    table: pd.DataFrame,
    rng: Generator | Sequence[Generator],
    bands: Sequence[str],
    release: Release,
    injection: Injection,
    selection: Selection | None = None,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Add the arcs of a lensed source to each cutout.

    Without `selection` lenses are drawn for a galaxy as those of the simulated sky, in proportion
    to cross-section and brightness, until one is visible (`lenspipe.simulation.lenses.is_visible`,
    where all other light is that of the cutout). If the velocity dispersion of the galaxy gives
    none after many draws, it is raised; column ``theta_e_from`` records it, and the log how many
    there are. With `selection`, the first lens drawn is taken, visible or not, with Einstein radius
    and magnitude of the arcs uniform in their ranges and all else as on the sky, and bands without
    pixels or seeing get no arcs. Return the cutouts with arcs and the photon noise of the arcs,
    float32 (N, B, S, S), NaN where they were NaN; and the truth, N rows in the order of the table,
    columns as in docs/injection.md.

    Parameters
    ----------
    images
        (N, B, S, S) cutouts, nanomaggies, row 0 in the south; not changed.
    table
        Rows of the galaxies in the parent sample: id, mag_r, mag_z, shape_e1, shape_e2 and, per
        band, psfsize. If it has galdepth, the noise follows from it, else from the pixels; if it
        has ra and dec, the lens is there, else in the middle of the central pixel.
    rng
        One generator, or one for each galaxy. Equal seeds give equal bytes.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed, the bands lack r or z, or no draw gives visible arcs.
    """
    check_bands(bands)
    images, rows = np.array(images, np.float32), []
    generators = rng.spawn(len(images)) if isinstance(rng, Generator) else rng
    galaxies: Iterable[tuple[np.ndarray, dict[str, Any], np.ndarray, Generator]]
    offsets = _offsets(table, release)
    galaxies = zip(images, table.to_dict("records"), offsets, generators, strict=True)
    if not selection:
        galaxies = track(galaxies, "injected lenses", len(images))
    for image, row, offset, generator in galaxies:
        host = _Host(image, row, offset, bands, release, lenient=selection is not None)
        if selection:
            lens = _uniform_lens(host, generator, selection)
        else:
            lens = _visible_lens(host, generator, injection)
        _add_arcs(image, lens.arcs, host.gain, generator)
        rows.append(lens.truth)
    raised = sum(row["theta_e_from"] == "raised" for row in rows)
    if raised:
        log.info(
            "injected lenses: %d of %d on galaxies of raised velocity dispersion", raised, len(rows)
        )
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

    All sources that can be drawn count, visible or not; a galaxy is in a group with the probability
    that deflectors have. The table has columns mag_r and mag_z; the range of Einstein radii,
    arcsec, is as in ``injection.theta_e_range``.
    """
    mag_r, mag_z = (table[name].to_numpy(np.float64) for name in ("mag_r", "mag_z"))
    z_lens, sigma_v = deflector_of(mag_r, mag_z)
    rates = [
        fraction * lens_rate(z_lens, sigma_v * boost**0.5, width / (2 * np.log(10)), theta_e_range)
        for fraction, boost, width in HALOS
    ]
    return np.sum(rates, axis=0)


def _offsets(table: pd.DataFrame, release: Release) -> np.ndarray:
    """Positions of galaxies relative to the centres of the pixels nearest to them, pixels, (N, 2).

    Cutouts are cut from the coadds of bricks around that pixel.
    """
    offsets = np.zeros((len(table), 2))
    if not {"ra", "dec"} <= set(table):
        return offsets
    grid = brick_grid(release.brick_deg)
    ra, dec = (table[name].to_numpy(np.float64) for name in ("ra", "dec"))
    bricks, _ = grid.bricks_at(ra, dec)
    for brick in np.unique(bricks):
        rows = bricks == brick
        wcs = brick_wcs(*grid.centre(str(brick)), release)
        pixels = np.stack(wcs.all_world2pix(ra[rows], dec[rows], 0), axis=1)
        offsets[rows] = pixels - np.floor(pixels + 0.5)
    return offsets


class _Host:
    """A galaxy to add arcs to: its redshift and mass, and seeing and noise of its cutout."""

    def __init__(
        self,
        image: np.ndarray,
        row: Mapping[str, Any],
        offset: np.ndarray,
        bands: Sequence[str],
        release: Release,
        lenient: bool = False,
    ) -> None:
        self.row, self.bands, self.release = row, bands, release
        self.offset = float(offset[0]), float(offset[1])
        fwhm = np.array([row[f"psfsize_{band}"] for band in bands], float)
        sigma = self._noise(image, fwhm)
        # A band without data has no noise, and arcs are not visible in it.
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
        self.sky = np.where(self.usable, sigma, np.inf)
        #: The first band in which arcs can be seen.
        self.first = int(np.argmax(self.usable))
        self.image = np.where(np.isnan(image), np.inf, image).clip(0)
        self.z_lens, self.sigma_v = deflector_of(row["mag_r"], row["mag_z"])
        self.light = np.nan_to_num([row["shape_e1"], row["shape_e2"]])

    def _noise(self, image: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
        """Noise of the sky per pixel in each band; NaN where a band has no pixel."""
        sigma = sky_noise(image)
        galdepth = np.array([self.row.get(f"galdepth_{band}", np.nan) for band in self.bands])
        known = (galdepth > 0) & (fwhm > 0) & (sigma > 0)
        galdepth, fwhm = np.where(known, galdepth, 1.0), np.where(known, fwhm, 1.0)
        scale = self.release.pixel_scale_arcsec
        return np.where(known, noise_from_depth(galdepth, fwhm, scale), sigma)

    def sphere(self, z_source: np.ndarray, sigma_v: float = 1.0) -> np.ndarray:
        """Einstein radius of an isothermal sphere, arcsec; 0 for sources that are not behind it."""
        radius = einstein_radius_sis(sigma_v, self.z_lens, z_source)
        return np.where(z_source > self.z_lens + MIN_REDSHIFT_GAP, radius, 0.0)

    def variance(self, arcs: np.ndarray) -> np.ndarray:
        """Variance of sky, galaxy and arcs in the pixels of the arcs, (B, s, s)."""
        light = self.image[_centre(self.image, arcs)] + arcs
        return (self.sky**2)[:, None, None] + light / self.gain[:, None, None]


@dataclass(frozen=True)
class _Lens:
    """An injected lens: its arcs, (B, s, s), whether they are visible, and a row of the truth."""

    arcs: np.ndarray
    visible: bool
    truth: dict[str, Any]


def sky_noise(image: np.ndarray) -> np.ndarray:
    """Measure the noise of a cutout in boxes of about the width of arcs.

    Noise of coadds is correlated between pixels, so that that of a sum over many is not the
    pixels' own times the root of their number (docs/injection.md). The noise per pixel is thus that
    of the mean of a box of 5 x 5 times 5, from the median absolute deviation of those boxes, half
    of all, around which there is least light. Return it for each band of (B, S, S), NaN where a
    band has no box without missing pixels. Cutouts below 100 pixels have smaller boxes.
    """
    size = image.shape[-1]
    side = int(np.clip(size // _PIXELS_PER_BOX_PIXEL, 1, _MAX_BOX))
    number = size // side
    whole = np.asarray(image, float)[:, : number * side, : number * side]
    boxes = whole.reshape(-1, number, side, number, side).mean(axis=(2, 4))
    valid = np.isfinite(boxes)
    filled = np.where(valid, boxes, 0)
    # Light around a box, without that in it, which would select by its noise.
    around = 9 * uniform_filter(filled, (0, 3, 3)) - filled
    around /= np.maximum(9 * uniform_filter(valid.astype(float), (0, 3, 3)) - valid, 1)
    result = []
    for means, mask, light in zip(boxes, valid, around, strict=True):
        if not mask.any():
            result.append(np.nan)
            continue
        sky = means[mask & (light <= np.median(light[mask]))]
        result.append(side * np.median(np.abs(sky - np.median(sky))) / 0.67449)
    return np.array(result)


def noise_from_depth(galdepth: ArrayLike, fwhm: ArrayLike, pixel_scale_arcsec: float) -> np.ndarray:
    """Noise per pixel of a coadd, nanomaggies.

    The noise of a flux is that per pixel times the root of the number of pixels in the
    noise-equivalent area. `galdepth` is the inverse variance of the flux of an exponential disc of
    0.45 arcsec, nanomaggy^-2; `fwhm` the seeing, arcsec. The survey computes it from single
    exposures, so that this is the noise of sums over many pixels of the coadd.
    """
    area = noise_area(fwhm, GALDEPTH_RADIUS_ARCSEC)
    return np.sqrt(pixel_scale_arcsec**2 / (area * np.asarray(galdepth, float)))


def gain(sigma: ArrayLike, bands: Sequence[str], release: Release) -> np.ndarray:
    """Electrons per nanomaggy in each band of a coadd whose noise is the photon noise of the sky.

    `sigma` is the noise per pixel, (B,), nanomaggies.
    """
    mags = np.array([_SKY_MAG[band] for band in bands])
    sky = to_flux(mags, release.zero_point_mag) * release.pixel_scale_arcsec**2
    return sky / np.asarray(sigma) ** 2


def _visible_lens(host: _Host, rng: Generator, injection: Injection) -> _Lens:
    """Draw lenses as on the simulated sky until the arcs of one are visible."""
    scale, first = host.release.pixel_scale_arcsec, host.first
    conditions = float(host.sky[first] / scale), float(host.fwhm[first])
    low, high = injection.theta_e_range
    for attempt in range(_MAX_ATTEMPTS):
        raised = max(attempt + 1 - _ATTEMPTS_BY_DISPERSION, 0)
        source = draw_sources(rng, _DRAWS)
        r_half = draw_sizes(rng, source["z"], source["mag_z"])
        beta = np.sqrt(rng.random(_DRAWS))
        if injection.theta_e == "drawn":
            origin = "drawn"
            theta_e = rng.uniform(low, high, _DRAWS)
            # The cross-section is that of a fixed dispersion.
            weight = (host.sphere(source["z"]) / theta_e) ** 2
        else:
            origin = "raised" if raised else "dispersion"
            theta_e = host.sphere(source["z"], float(host.sigma_v) * _RAISE**raised)
            theta_e *= _draw_halos(rng, _DRAWS)
            weight = ((theta_e >= low) & (theta_e <= high)).astype(float)
        theta_e = np.where(weight > 0, theta_e, 1.0)
        flux = to_flux(source[f"mag_{host.bands[first]}"], host.release.zero_point_mag)
        flux *= sphere_magnification(theta_e, beta, r_half)
        weight *= known_weight(theta_e, flux)
        weight *= may_be_visible(flux, theta_e, beta, r_half, *conditions)
        source |= {"theta_e": theta_e, "r_half": r_half, "beta": beta}
        for i in _in_proportion(rng, weight)[:_TRACED]:
            lens = _trace(host, rng, source, i, {"theta_e_from": origin})
            if lens.visible:
                return lens
    raise LenspipeError(
        f"injected lenses: galaxy {host.row['id']}: none of {_MAX_ATTEMPTS * _DRAWS} lenses drawn "
        f"has visible arcs (noise {host.sky}, seeing {host.fwhm}); widen config key "
        f"injection.theta_e_range, now {low:g} to {high:g}"
    )


def _draw_halos(rng: Generator, number: int) -> np.ndarray:
    """Factors on the Einstein radii of galaxies about whose surroundings nothing is known."""
    fraction, boost, width = np.transpose(HALOS)
    halo = rng.choice(len(HALOS), number, p=fraction)
    return boost[halo] * np.exp(rng.normal(0, width[halo]))


def _in_proportion(rng: Generator, weight: np.ndarray) -> np.ndarray:
    """Random order, without those of weight 0, in which each place goes in proportion to weight."""
    # The smallest exponential deviate over weight is drawn in proportion to weight.
    possible = np.flatnonzero(weight)
    return possible[np.argsort(rng.exponential(size=len(possible)) / weight[possible])]


def _uniform_lens(host: _Host, rng: Generator, selection: Selection) -> _Lens:
    """Draw a lens with Einstein radius and magnitude of its arcs uniform, and all else as given.

    The magnitude is that in g by an isothermal sphere, softened. Its source, and where it is, are
    drawn in proportion to the number of such sources on the sky that form arcs; where there is
    none, any source is taken.
    """
    for _ in range(_MAX_ATTEMPTS):
        theta_e = rng.uniform(*selection.theta_e_range)
        mag = rng.uniform(*selection.arc_mag_range)
        beta = np.sqrt(rng.random(_DRAWS))
        mag_g = mag + 2.5 * np.log10(2 / np.hypot(beta, _SOFTENING))
        source = draw_sources(rng, _DRAWS, mag_g)
        unit = host.sphere(source["z"])
        if unit.any():
            break
    else:
        raise LenspipeError(
            f"injected lenses: galaxy {host.row['id']}: found no source behind redshift "
            f"{host.z_lens:.2f} that is bright enough for config key selection.arc_mag_range; "
            "extend it to fainter arcs"
        )
    r_half = draw_sizes(rng, source["z"], source["mag_z"])
    weight = source_counts(mag_g) * unit**2
    weight *= is_arc_like(theta_e, beta, r_half)
    # Expected number of lenses like each one over the probability to draw it.
    median = np.where(unit > 0, unit, 1.0) * host.sigma_v**2
    density = theta_e_densities(np.full(_DRAWS, theta_e), median).sum(axis=0)
    number = np.pi * theta_e**2 * density * weight.mean() / np.where(unit > 0, unit, np.inf) ** 2
    number *= np.ptp(selection.theta_e_range) * np.ptp(selection.arc_mag_range)
    source |= {"theta_e": np.full(_DRAWS, theta_e), "r_half": r_half, "beta": beta}
    i = _in_proportion(rng, weight if weight.any() else unit)[0]
    return _trace(host, rng, source, i, {"weight": number[i], "theta_e_from": "drawn"})


def _trace(
    host: _Host, rng: Generator, source: Mapping[str, np.ndarray], i: int, columns: dict[str, Any]
) -> _Lens:
    """Draw the mass of a lens and its source's clumps, and render its arcs.

    The source is that of row `i`; the truth has further columns.
    """
    theta_e, beta = float(source["theta_e"][i]), float(source["beta"][i])
    unit = float(host.sphere(source["z"][i]))
    densities = theta_e_densities(np.array([theta_e]), np.array([unit * host.sigma_v**2]))[:, 0]
    # Large Einstein radii are those of groups, whose members are not known.
    in_group = rng.random() * densities.sum() >= densities[0]
    model = draw_mass(rng, tuple(host.light), theta_e, () if in_group else None)
    del model["satellites"]
    angle = rng.uniform(0, 2 * np.pi)
    lens = {
        "id": host.row["id"],
        "z_lens": float(host.z_lens),
        "z_source": source["z"][i],
        "sigma_v": np.sqrt(theta_e / unit),
        "theta_e_arcsec": theta_e,
        **model,
        "beta_1": beta * np.cos(angle),
        "beta_2": beta * np.sin(angle),
        "source_r_half": source["r_half"][i],
        "clump_seed": rng.integers(2**31),
        **{f"source_mag_{band}": source[f"mag_{band}"][i] for band in host.bands},
    }
    zero_point, scale = host.release.zero_point_mag, host.release.pixel_scale_arcsec
    fluxes = to_flux(np.array([source[f"mag_{band}"][i] for band in host.bands]), zero_point)
    psfs = [Psf.round(fwhm) for fwhm in host.fwhm]
    size = host.image.shape[-1]
    arcs, magnification = blurred_arcs(lens, fluxes, psfs, size, scale, host.offset)
    variance = host.variance(arcs)
    snr = arc_snr(arcs, variance)
    other, seeing = host.image[_centre(host.image, arcs)], float(host.fwhm[host.first])
    visible, _ = is_visible(arcs, other, np.sqrt(variance), lens, magnification, seeing, scale)
    mags = to_magnitude(fluxes * magnification, zero_point)
    lens |= columns | {"magnification": magnification, "arc_snr": snr.max()}
    lens |= {"snr_band": host.bands[int(np.argmax(snr))], "visible": visible}
    lens |= dict(zip((f"arc_mag_{band}" for band in host.bands), mags, strict=True))
    return _Lens(np.where(host.usable[:, None, None], arcs, 0), visible, lens)


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
