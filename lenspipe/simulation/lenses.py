"""Lenses: the deflectors, the sources behind them, and which of them can be seen.

One population serves the lenses of the simulated sky, those injected into real cutouts for
training, and those of the selection function.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.galaxies import (
    RED_RZ,
    REDSHIFT,
    RedGalaxy,
    Scene,
    draw_red_galaxies,
    mag_star,
)
from lenspipe.simulation.groups import RICHNESS, Group, Member, in_group
from lenspipe.simulation.lensing import einstein_radius_sis
from lenspipe.simulation.sources import MIN_REDSHIFT_GAP, draw_sizes, draw_sources
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG
from lenspipe.survey.photometry import to_flux, to_magnitude

__all__ = [
    "HALOS",
    "SIGMA_SCATTER",
    "SIGMA_STAR",
    "THETA_E_RANGE",
    "Lens",
    "arc_snr",
    "deflector_of",
    "draw_lenses",
    "draw_mass",
    "halo_boost",
    "is_arc_like",
    "is_visible",
    "known_weight",
    "may_be_visible",
    "sphere_magnification",
    "theta_e_densities",
    "velocity_dispersion",
]

#: Velocity dispersion, km/s, of a galaxy of the characteristic magnitude. Hyde & Bernardi (2009,
#: MNRAS 394, 1978) have 232 at M_r = -23; this gives the Einstein radii of published lenses.
SIGMA_STAR = 260.0

#: Scatter of the velocity dispersion, dex: 0.07 at given luminosity (Bernardi et al. 2003, AJ 125,
#: 1849), and as much again for luminosities whose redshift comes from one colour.
SIGMA_SCATTER = 0.10

#: Fraction of the deflectors, before they are weighted by their cross-section, that are the
#: brightest of a group; three times as many of the lenses are.
DEFLECTOR_GROUP_FRACTION = 0.18

#: Einstein radius of a group's brightest galaxy over that of a single one: (1 + richness) to the
#: first number, with a scatter of the second in its logarithm. Lenses in groups then have a median
#: of 2.8 arcsec, single ones of 1.6.
HALO_BOOST = 0.45, 0.35

#: Known lenses have bright arcs: a lens is drawn in proportion to this power of the flux of its
#: images, up to that flux in g, nanomaggies.
BRIGHT_WEIGHT, BRIGHTEST_IMAGES = 1.2, 6.0

#: Flux of the images of an isothermal sphere in g, nanomaggies (22.8 mag), below which no lens is
#: drawn: of those drawn without this limit, 1 % of the visible ones are fainter and three in five
#: of those that cannot be seen.
FAINTEST_IMAGES = 0.76

#: Halos of deflectors, those of single galaxies first, then of groups: fraction of the deflectors,
#: median factor on the Einstein radius, and scatter of the natural logarithm of the Einstein radius
#: at given luminosity and redshifts.
HALOS = (
    (1 - DEFLECTOR_GROUP_FRACTION, 1.0, 2 * np.log(10) * SIGMA_SCATTER),
    *(
        (
            DEFLECTOR_GROUP_FRACTION * fraction,
            (1 + richness) ** HALO_BOOST[0],
            float(np.hypot(2 * np.log(10) * SIGMA_SCATTER, HALO_BOOST[1])),
        )
        for richness, fraction in RICHNESS.items()
    ),
)

#: Range of Einstein radii, arcsec.
THETA_E_RANGE = (0.5, 10.0)

#: Shear by the surroundings of single galaxies and of the brightest galaxies of groups: the scatter
#: of a half-normal distribution.
SHEAR_SINGLE, SHEAR_GROUP = 0.05, 0.09

#: Mass of the brightest members of a group: how many count, out to which distance in Einstein radii
#: and arcsec, and the Einstein radius of a member as bright as the central galaxy in units of the
#: group's, and at most, arcsec.
SATELLITES, SATELLITE_REACH, SATELLITE_FRACTION, SATELLITE_MAX = 3, (2.5, 2.0), 0.6, 1.2

#: Visibility of arcs: a pixel shows them where they are brighter than `VISIBLE_SIGMA` times the
#: noise and than `VISIBLE_CONTRAST` of all other light there; there must be `VISIBLE_ARCSEC2` of
#: such pixels in one band, with a signal to noise of `VISIBLE_SNR` in all, and the outer image must
#: lie `VISIBLE_SEEING` of the seeing from the centre. The size of the source times its
#: magnification must be `VISIBLE_STRETCH` of the seeing (1 in Collett 2015, ApJ 811, 20, sect. 3).
VISIBLE_SIGMA, VISIBLE_CONTRAST, VISIBLE_ARCSEC2 = 2.8, 0.5, 2.7
VISIBLE_SNR, VISIBLE_SEEING, VISIBLE_STRETCH = 14.0, 1.0, 0.8

#: Deflectors in the pool from which a lens is chosen, and sources drawn behind each.
_POOL, _SOURCES = 16, 250


@dataclass(frozen=True)
class Lens:
    """A lens: the scene of its deflector and group, its source's fluxes and the ray tracing."""

    scene: Scene
    #: (B,) of the unlensed source, nanomaggies.
    fluxes: np.ndarray
    #: z_lens, z_source, sigma_v, and what `lenspipe.simulation.lensing.lensed_light` needs.
    model: dict[str, Any]

    def describe(self, magnification: float) -> dict[str, float]:
        """Columns theta_e_arcsec, beta (in theta_E), magnification and arc_mag_g (all images)."""
        flux = self.fluxes[0] * magnification
        return {
            "theta_e_arcsec": float(self.model["theta_e_arcsec"]),
            "beta": float(np.hypot(self.model["beta_1"], self.model["beta_2"])),
            "magnification": magnification,
            "arc_mag_g": float(to_magnitude(flux, ZERO_POINT_MAG)),
        }


def velocity_dispersion(redshift: np.ndarray | float, mag_z: np.ndarray | float) -> np.ndarray:
    """Median velocity dispersion of old galaxies, km/s: sigma ~ L^(1/4) (Faber & Jackson 1976)."""
    return SIGMA_STAR * 10 ** (0.1 * (mag_star(redshift) - mag_z))


def deflector_of(mag_r: np.ndarray, mag_z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Redshift, from the colour of the red sequence, and velocity dispersion of observed galaxies.

    The velocity dispersion is in km/s. Galaxies without a magnitude are taken as typical ones.
    """
    colour = mag_r - mag_z
    colour, mag_z = (
        np.where(np.isfinite(colour), values, typical)
        for values, typical in ((colour, 1.13), (mag_z, 18.6))
    )
    z_lens = np.interp(colour, RED_RZ, REDSHIFT)
    return z_lens, velocity_dispersion(z_lens, mag_z)


def halo_boost(rng: Generator, richness: ArrayLike) -> np.ndarray:
    """Draw the factors by which the halos of groups raise the Einstein radii of their centres.

    The richness is 0 for a single galaxy, whose factor is 1.
    """
    richness = np.asarray(richness, float)
    factor = (1 + richness) ** HALO_BOOST[0] * np.exp(rng.normal(0, HALO_BOOST[1], richness.shape))
    return np.where(richness > 0, factor, 1.0)


def theta_e_densities(theta_e: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Probability density of the Einstein radius of galaxies in each of `HALOS`, per arcsec.

    Return (H, N), whose sum over the halos is that of galaxies about whose surroundings nothing is
    known.

    Parameters
    ----------
    theta_e
        (N,) arcsec.
    median
        (N,) Einstein radius of an isothermal sphere with the median velocity dispersion, arcsec.
    """
    log = np.log(theta_e / median)
    return np.stack([
        fraction * np.exp(-(((log - np.log(boost)) / width) ** 2) / 2)
        / (np.sqrt(2 * np.pi) * width * theta_e)
        for fraction, boost, width in HALOS
    ])  # fmt: skip


def sphere_magnification(theta_e: ArrayLike, beta: ArrayLike, r_half: ArrayLike) -> np.ndarray:
    """Magnification of an extended source by an isothermal sphere.

    Einstein radius and half-light radius of the source are in arcsec, its distance from the axis in
    Einstein radii.
    """
    size = 0.5 * np.asarray(r_half, float) / np.asarray(theta_e, float)
    return 2 / np.hypot(np.asarray(beta, float), size)


def known_weight(theta_e: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Weight of lenses in the population of known ones: cross-section times a power of the flux.

    The Einstein radius is in arcsec, the flux that of the arcs in g, nanomaggies.
    """
    return theta_e**2 * np.minimum(flux, BRIGHTEST_IMAGES) ** BRIGHT_WEIGHT


def draw_mass(
    rng: Generator,
    light: tuple[float, float],
    theta_e: float,
    members: Sequence[Member] | None,
) -> dict[str, Any]:
    """Draw the shape of the mass, the shear, and the satellites of a deflector.

    The mass follows the light, rounder and with some scatter. Members of the group close to the
    images add their own deflection.

    Parameters
    ----------
    light
        Ellipticity of the light, Tractor's convention.
    theta_e
        Einstein radius, arcsec.
    members
        Of the group; None for a single galaxy.
    """
    single = members is None
    mass = (0.75 * np.asarray(light) + rng.normal(0, 0.04, 2)).clip(-0.35, 0.35)
    shear = abs(rng.normal(0, SHEAR_SINGLE if single else SHEAR_GROUP))
    angle = rng.uniform(0, 2 * np.pi)
    satellites = []
    for member in sorted(members or (), key=lambda member: member.fainter)[:SATELLITES]:
        x, y = member.light["dx"], member.light["dy"]
        if np.hypot(x, y) < SATELLITE_REACH[0] * theta_e + SATELLITE_REACH[1]:
            theta = SATELLITE_FRACTION * theta_e * 10 ** (-0.2 * member.fainter)
            satellites.append((x, y, min(theta, SATELLITE_MAX)))
    return {
        "mass_e1": mass[0],
        "mass_e2": mass[1],
        "shear_1": shear * np.cos(angle),
        "shear_2": shear * np.sin(angle),
        "satellites": tuple(satellites),
    }


def draw_lenses(rng: Generator, number: int) -> list[Lens]:
    """Draw lenses whose arcs may be visible.

    Deflectors are old galaxies, single or with a group; a source is behind one with a probability
    proportional to the number of sources on the sky times the cross-section, pi theta_E^2, and lies
    anywhere within it; bright images are preferred (`BRIGHT_WEIGHT`). Lenses whose arcs would be
    too faint (`FAINTEST_IMAGES`) or too close to the galaxy in typical conditions
    (`may_be_visible`) are left out.
    """
    size = _POOL * max(number, 4)
    galaxies = draw_red_galaxies(rng, "deflector", size)
    richness = rng.choice(list(RICHNESS), size, p=list(RICHNESS.values()))
    richness[rng.random(size) > DEFLECTOR_GROUP_FRACTION] = 0
    boost = halo_boost(rng, richness)
    z_lens = np.array([galaxy.redshift for galaxy in galaxies])
    sigma = velocity_dispersion(z_lens, np.array([galaxy.mag_z for galaxy in galaxies]))
    sigma *= 10 ** rng.normal(0, SIGMA_SCATTER, size)
    host = np.repeat(np.arange(size), _SOURCES)
    source = draw_sources(rng, len(host))
    r_half = draw_sizes(rng, source["z"], source["mag_z"])
    theta_e = boost[host] * einstein_radius_sis(sigma[host], z_lens[host], source["z"])
    beta = np.sqrt(rng.random(len(host)))
    possible = source["z"] > z_lens[host] + MIN_REDSHIFT_GAP
    possible &= (theta_e > THETA_E_RANGE[0]) & (theta_e < THETA_E_RANGE[1])
    theta_e = np.where(possible, theta_e, 1.0)
    flux = to_flux(source["mag_g"], ZERO_POINT_MAG) * sphere_magnification(theta_e, beta, r_half)
    possible &= (flux > FAINTEST_IMAGES) & may_be_visible(flux, theta_e, beta, r_half)
    weight = np.where(possible, known_weight(theta_e, flux), 0.0)
    # The smallest exponential deviates over weight are drawn in proportion to weight.
    deviates, order = rng.exponential(size=len(host)), np.flatnonzero(weight)
    order = order[np.argsort(deviates[order] / weight[order])]
    _, first = np.unique(host[order], return_index=True)  # each galaxy is a lens once
    chosen = order[np.sort(first)][:number]
    lenses = []
    for i in chosen:
        galaxy, group = galaxies[host[i]], None
        if richness[host[i]]:
            galaxy, group = in_group(rng, galaxy, richness[host[i]])
        lenses.append(_lens(rng, galaxy, group, {
            "z_lens": galaxy.redshift,
            "z_source": source["z"][i],
            "sigma_v": sigma[host[i]],
            "theta_e_arcsec": theta_e[i],
            "source_r_half": r_half[i],
            "beta": beta[i],
        }, [source[f"mag_{band}"][i] for band in BANDS]))  # fmt: skip
    if len(lenses) < number:
        lenses += draw_lenses(rng, number - len(lenses))
    return lenses


def _lens(
    rng: Generator,
    galaxy: RedGalaxy,
    group: Group | None,
    model: dict[str, Any],
    mags: Sequence[float],
) -> Lens:
    scene = Scene("lens", galaxy.redshift)
    scene.add("lens", galaxy.body())
    members = group.members if group else None
    for member in members or ():
        scene.add("member", member.light)
    angle, beta = rng.uniform(0, 2 * np.pi), model.pop("beta")
    model |= draw_mass(rng, (galaxy.e1, galaxy.e2), model["theta_e_arcsec"], members)
    model |= {"beta_1": beta * np.cos(angle), "beta_2": beta * np.sin(angle)}
    model |= {"clump_seed": int(rng.integers(2**31))}
    return Lens(scene, to_flux(np.array(mags), ZERO_POINT_MAG), model)


#: Conditions for estimates of what may be visible: noise in g of the flux in a square arcsec,
#: nanomaggies, and seeing, arcsec, both somewhat better than typical.
_GOOD_NOISE, _GOOD_SEEING = 0.002 / PIXEL_SCALE_ARCSEC, 1.1

#: Magnification by an isothermal sphere over the largest by other deflectors that is allowed for.
_SPHERE_MARGIN = 0.9


def is_arc_like(
    theta_e: ArrayLike,
    beta: ArrayLike,
    r_half: ArrayLike,
    magnification: ArrayLike | None = None,
    seeing: float = _GOOD_SEEING,
) -> np.ndarray:
    """Whether images are stretched and far enough from the deflector to be arcs, however faint.

    Without a magnification it is estimated as that of an isothermal sphere, with a margin, and may
    then be true for lenses whose images turn out not to be arcs.

    Parameters
    ----------
    theta_e, r_half
        Einstein radius, and half-light radius of the source, arcsec.
    beta
        Distance of the source from the axis in Einstein radii.
    seeing
        Arcsec; somewhat better than typical if not given.
    """
    if magnification is None:
        magnification = sphere_magnification(theta_e, beta, r_half) / _SPHERE_MARGIN
    size = np.asarray(magnification, float) * np.asarray(r_half, float)
    distance = np.asarray(theta_e, float) * (1 + np.asarray(beta, float))
    return (size >= VISIBLE_STRETCH * seeing) & (distance >= VISIBLE_SEEING * seeing)


def may_be_visible(
    flux: np.ndarray,
    theta_e: np.ndarray,
    beta: np.ndarray,
    r_half: np.ndarray,
    noise: float = _GOOD_NOISE,
    seeing: float = _GOOD_SEEING,
) -> np.ndarray:
    """Mask of lenses whose arcs may be visible, from the images of an isothermal sphere.

    Parameters
    ----------
    flux
        (N,) of the arcs, nanomaggies.
    theta_e, beta, r_half, seeing
        As for `is_arc_like`.
    noise
        Noise of the flux in a square arcsec, nanomaggies.
    """
    bright = flux > VISIBLE_SNR * noise * np.sqrt(VISIBLE_ARCSEC2)
    return bright & is_arc_like(theta_e, beta, r_half, seeing=seeing)


def is_visible(
    arcs: np.ndarray,
    other: np.ndarray,
    sigma: np.ndarray,
    model: Mapping[str, Any],
    magnification: float,
    seeing: float,
    pixel_scale_arcsec: float,
) -> tuple[bool, float]:
    """Whether a person would see the arcs of a lens, and their signal to noise where they show.

    Parameters
    ----------
    arcs, other
        (B, S, S) without noise, nanomaggies per pixel: the arcs alone, and all else; the first two
        bands count, in which arcs are bright and their deflectors faint.
    sigma
        (B,) or (B, S, S) noise per pixel.
    model, magnification
        Of the lens; the latter as returned by `lenspipe.simulation.lensing.blurred_arcs`.
    seeing
        In the first band, arcsec.
    """
    noise = np.asarray(sigma)[:2].reshape(2, *(1, 1) if np.ndim(sigma) == 1 else arcs.shape[1:])
    arcs, other = arcs[:2], other[:2]
    shown = (arcs > VISIBLE_SIGMA * noise) & (arcs > VISIBLE_CONTRAST * other)
    area = shown.sum(axis=(1, 2)) * pixel_scale_arcsec**2
    signal = np.where(shown, arcs, 0).sum(axis=(1, 2))
    variance = np.where(shown, noise**2, 0).sum(axis=(1, 2))
    snr = float((signal / np.sqrt(np.maximum(variance, 1e-30))).max())
    bright = area.max() >= VISIBLE_ARCSEC2 and snr >= VISIBLE_SNR
    beta, theta_e = np.hypot(model["beta_1"], model["beta_2"]), model["theta_e_arcsec"]
    arc_like = is_arc_like(theta_e, beta, model["source_r_half"], magnification, seeing)
    return bool(bright and arc_like), snr


def arc_snr(arcs: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Signal to noise of arcs in each band, summed over pixels brighter than the noise.

    Following Collett (2015, ApJ 811, 20, sect. 3): total flux over total noise of the pixels in
    which the arcs alone exceed the noise. Arcs without noise and the variance are (B, S, S); the
    latter is infinite where there is no data.
    """
    above = (arcs > 0) & (arcs**2 > variance)
    signal = np.where(above, arcs, 0).sum(axis=(1, 2), dtype=np.float64)
    noise = np.sqrt(np.where(above, variance, 0).sum(axis=(1, 2), dtype=np.float64))
    return np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0)
