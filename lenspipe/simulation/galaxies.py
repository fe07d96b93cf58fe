"""Galaxies and stars of the simulated sky: redshifts, magnitudes, colours and shapes.

A scene is a galaxy with what belongs to it: a list of components to paint, with positions relative
to the centre. The distributions follow those of galaxies in DR9 of the Legacy Surveys by class and
type, of published lenses and of false positives; docs/simulated-sky.md compares them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.survey import ZERO_POINT_MAG
from lenspipe.survey.photometry import to_flux

__all__ = [
    "REDSHIFT",
    "RED_GR",
    "RED_RZ",
    "Component",
    "Components",
    "RedGalaxy",
    "Scene",
    "blue_galaxy",
    "component",
    "disc_colours",
    "draw_red_galaxies",
    "draw_red_galaxy",
    "ellipticity",
    "field_galaxies",
    "fluxes",
    "mag_star",
    "small_galaxy",
    "stars",
]

#: Redshifts at which the colours and magnitudes of old galaxies are tabulated.
REDSHIFT = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

#: Colours of old galaxies at those redshifts: the observed red sequence.
RED_GR = np.array([0.80, 0.92, 1.18, 1.45, 1.64, 1.75, 1.80, 1.82, 1.84, 1.80, 1.70])
RED_RZ = np.array([0.54, 0.58, 0.66, 0.79, 0.95, 1.13, 1.35, 1.57, 1.79, 1.96, 2.05])

#: z magnitude of a characteristic old galaxy at those redshifts.
_MSTAR_Z = np.array([13.6, 15.2, 16.7, 17.5, 18.1, 18.6, 19.0, 19.4, 19.7, 20.0, 20.3])

#: Scatter of the red sequence in g-r and r-z.
RED_SCATTER = 0.10, 0.07

#: A component to paint: profile (``sersic`` or ``psf``), dx, dy (arcsec to the West and North of
#: the centre of its scene), sersic, r_half (arcsec), e1, e2 (Tractor's convention), flux_g, flux_r,
#: flux_z (nanomaggies), texture, and ``source``, the number of its source within the scene.
Component = dict[str, Any]


@dataclass
class Scene:
    """A galaxy and what belongs to it."""

    kind: str
    redshift: float
    components: list[Component] = field(default_factory=list)
    #: Kinds of the sources in the order of their numbers; the first is the galaxy itself.
    sources: list[str] = field(default_factory=list)

    def add(self, kind: str, *components: Component) -> None:
        """Add a source that consists of some components."""
        number = len(self.sources)
        self.sources.append(kind)
        self.components += [part | {"source": number} for part in components]


def mag_star(redshift: ArrayLike) -> np.ndarray:
    """Return the z magnitude (AB) of a characteristic old galaxy at a redshift."""
    return np.interp(np.asarray(redshift, float), REDSHIFT, _MSTAR_Z)


def fluxes(mag_r: float, g_r: float, r_z: float) -> np.ndarray:
    """Fluxes in g, r, z, nanomaggies."""
    return to_flux(np.array([mag_r + g_r, mag_r, mag_r - r_z]), ZERO_POINT_MAG)


def component(
    flux: np.ndarray,
    r_half: float = 0.0,
    sersic: float = 1.0,
    e: tuple[float, float] = (0.0, 0.0),
    at: tuple[float, float] = (0.0, 0.0),
    texture: Any = None,
) -> Component:
    """Return a component; a point source if its half-light radius is 0."""
    return {
        "profile": "sersic" if r_half > 0 else "psf",
        "dx": at[0],
        "dy": at[1],
        "sersic": float(sersic),
        "r_half": float(r_half),
        "e1": e[0],
        "e2": e[1],
        "texture": texture,
        **{f"flux_{band}": float(f) for band, f in zip(BANDS, flux, strict=True)},
    }


def ellipticity(rng: Generator, scale: float = 0.26, flattest: float = 0.35) -> tuple[float, float]:
    """Ellipticity of a galaxy whose axis ratio is 1 - |N(0, scale)|, in a random direction."""
    return in_direction(rng, float(np.clip(1 - abs(rng.normal(0, scale)), flattest, 1.0)))


def draw_ellipticities(rng: Generator, number: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Ellipticities e1, e2 of galaxies whose axis ratios are 1 - |N(0, scale)|, at least 0.35."""
    ratio = (1 - np.abs(rng.normal(0, scale, number))).clip(0.35, 1)
    modulus, angle = (1 - ratio) / (1 + ratio), rng.uniform(0, np.pi, number)
    return modulus * np.cos(2 * angle), modulus * np.sin(2 * angle)


def in_direction(rng: Generator, ratio: float) -> tuple[float, float]:
    """Ellipticity of an axis ratio in a random direction."""
    modulus, angle = (1 - ratio) / (1 + ratio), rng.uniform(0, np.pi)
    return float(modulus * np.cos(2 * angle)), float(modulus * np.sin(2 * angle))


def log_normal(rng: Generator, middle: float, scatter: float, low: float, high: float) -> float:
    """Draw 10^N(middle, scatter) between two limits."""
    return float(np.clip(10 ** rng.normal(middle, scatter), low, high))


def at_distance(rng: Generator, low: float, high: float) -> tuple[float, float]:
    """Position at a distance, uniform between limits (arcsec), in a random direction."""
    distance, angle = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))


@dataclass(frozen=True)
class RedGalaxy:
    """An old galaxy on the red sequence of its redshift."""

    redshift: float
    mag_r: float
    g_r: float
    r_z: float
    r_half: float
    sersic: float
    e1: float
    e2: float

    @property
    def mag_z(self) -> float:
        """Magnitude in z."""
        return self.mag_r - self.r_z

    def body(self) -> Component:
        """Its light."""
        flux = fluxes(self.mag_r, self.g_r, self.r_z)
        return component(flux, self.r_half, self.sersic, (self.e1, self.e2))


#: Populations of old galaxies: mean and scatter of the redshift, and of the z magnitude relative to
#: `mag_star`, and the range of r magnitudes. ``nearby`` has redshifts uniform between its numbers.
RED_POPULATIONS = {
    "massive": ((0.52, 0.18), (0.25, 0.7), (17.2, 21.9)),
    "deflector": ((0.76, 0.23), (0.8, 0.8), (17.2, 21.9)),
    "ordinary": ((0.48, 0.20), (1.2, 0.7), (17.2, 22.2)),
    "nearby": ((0.08, 0.40), (-0.2, 0.8), (15.8, 20.5)),
}


def draw_red_galaxy(rng: Generator, population: str) -> RedGalaxy:
    """Draw an old galaxy of one of `RED_POPULATIONS`."""
    return draw_red_galaxies(rng, population, 1)[0]


def draw_red_galaxies(rng: Generator, population: str, number: int) -> list[RedGalaxy]:
    """Draw old galaxies of one of `RED_POPULATIONS`."""
    of_z, of_mag, (brightest, faintest) = RED_POPULATIONS[population]
    galaxies: list[RedGalaxy] = []
    while len(galaxies) < number:
        size = 2 * (number - len(galaxies)) + 4
        z = rng.uniform(*of_z, size) if population == "nearby" else rng.normal(*of_z, size)
        r_z = np.interp(z, REDSHIFT, RED_RZ) + RED_SCATTER[1] * rng.standard_normal(size)
        g_r = np.interp(z, REDSHIFT, RED_GR) + RED_SCATTER[0] * rng.standard_normal(size)
        mag_r = mag_star(z) + rng.normal(*of_mag, size) + r_z
        log_size = rng.normal(0.03 - 0.13 * (mag_r - 19.6), 0.17)
        index = rng.normal(4, 1, size).clip(2, 6)
        shape = draw_ellipticities(rng, size, 0.26)
        columns = np.stack([z, mag_r, g_r, r_z, (10**log_size).clip(0.25, 5), index, *shape], 1)
        valid = (z > 0.07) & (z < 1.0) & (mag_r > brightest) & (mag_r < faintest)
        galaxies += [RedGalaxy(*row) for row in columns[valid].tolist()]
    return galaxies[:number]


def blue_galaxy(
    rng: Generator, mag_g: tuple[float, float, float], at: tuple[float, float]
) -> Component:
    """Draw a background or satellite galaxy, mostly blue; brightest, most frequent, faintest g."""
    g = rng.triangular(*mag_g)
    if rng.random() < 0.3:
        g_r, r_z = rng.uniform(0.7, 1.4), rng.uniform(0.4, 0.9)
    else:
        g_r, r_z = rng.uniform(0.15, 0.75), rng.uniform(0.05, 0.5)
    shape = ellipticity(rng, 0.45)
    return component(fluxes(g - g_r, g_r, r_z), 10 ** rng.normal(-0.3, 0.18), 1.0, shape, at)


def disc_colours(rng: Generator, mag_r: float) -> tuple[float, float]:
    """Colours g-r and r-z of a star-forming galaxy of that magnitude."""
    g_r = float(np.clip(rng.normal(0.55 + 0.09 * (mag_r - 17.5), 0.2), 0.15, 1.5))
    return g_r, 0.18 + 0.45 * g_r + 0.1 * rng.standard_normal()


def small_galaxy(rng: Generator) -> list[Component]:
    """Draw a small field galaxy of any colour but the red sequence's, with a bulge or knots."""
    mag_r = rng.triangular(18.6, 21.0, 22.0)
    g_r = float(np.clip(rng.normal(0.85, 0.28), 0.1, 1.6))
    flux = fluxes(mag_r, g_r, 0.15 + 0.5 * g_r + 0.15 * rng.standard_normal())
    r_half = log_normal(rng, -0.05 - 0.1 * (mag_r - 20.5), 0.17, 0.2, 3.0)
    ratio = rng.uniform(0.2, 1)
    shape = in_direction(rng, ratio)
    parts = []
    bulge = rng.uniform(0, 0.6) if rng.random() < 0.5 else 0.0
    if bulge:
        colour = np.array([0.7, 0.95, 1.05])
        round_ = tuple(np.array(shape) * (0.25 / (1 - ratio) if ratio < 0.6 else 1.0))
        parts.append(component(bulge * flux * colour, 0.4 * r_half, rng.uniform(1, 4), round_))
    offset = (0.0, 0.0)
    if rng.random() < 0.4:
        offset = tuple(rng.normal(0, 0.15 * r_half, 2))
    parts.append(component((1 - bulge) * flux, r_half, rng.uniform(0.6, 2.2), shape, offset))
    for _ in range(rng.integers(0, 4) if rng.random() < 0.4 else 0):
        knot = rng.uniform(0.03, 0.2) * flux * np.array([1.3, 1.0, 0.9])
        parts.append(
            component(knot, rng.uniform(0.1, 0.3), at=tuple(rng.normal(0, 0.8 * r_half, 2)))
        )
    return parts


#: Faint galaxies and stars per square arcmin of the real sky, in the magnitude ranges below.
FIELD_DENSITY, STAR_DENSITY = 36.0, 2.5

#: Range of r magnitudes of faint galaxies, and the slope of their counts.
FIELD_MAG_R, FIELD_SLOPE = (20.5, 24.2), 0.34


#: Components as arrays by name, each with a value per component.
Components = dict[str, np.ndarray]


def field_galaxies(rng: Generator, number: int) -> Components:
    """Draw faint galaxies of the field; a third of them are red."""
    brightest, faintest = FIELD_MAG_R
    least = 10 ** (-FIELD_SLOPE * (faintest - brightest))
    mag_r = faintest + np.log10(rng.uniform(least, 1, number)) / FIELD_SLOPE
    g_r = rng.normal(0.55, 0.35, number).clip(-0.2, 1.8)
    r_z = 0.1 + 0.6 * g_r + 0.2 * rng.standard_normal(number)
    red = rng.random(number) < 0.3
    g_r = np.where(red, rng.normal(1.3, 0.3, number), g_r)
    r_z = np.where(red, rng.normal(0.9, 0.35, number), r_z)
    r_half = 10 ** (-0.35 - 0.05 * (mag_r - 22) + 0.15 * rng.standard_normal(number))
    shape = draw_ellipticities(rng, number, 0.45)
    return _arrays(mag_r, g_r, r_z, r_half, rng.uniform(0.7, 2.0, number), shape)


def stars(rng: Generator, number: int, brightest: float = 10.0) -> Components:
    """Draw stars with r magnitudes from `brightest` to 22, with counts that rise with magnitude."""
    least = 10 ** (-0.22 * (22 - brightest))
    mag_r = 22.0 + np.log10(rng.uniform(least, 1, number)) / 0.22
    late = rng.random(number) < 0.45
    g_r = np.where(late, 1.4, 0.5) + 0.2 * rng.standard_normal(number)
    r_z = 0.05 + 0.45 * g_r + 0.1 * rng.standard_normal(number)
    # The colours of M dwarfs are degenerate in g-r and spread in r-z.
    r_z = np.where(g_r > 1.1, rng.uniform(0.6, 1.7, number), r_z)
    none = np.zeros(number)
    return _arrays(mag_r, g_r, r_z, none, none, (none, none))


def _arrays(
    mag_r: np.ndarray,
    g_r: np.ndarray,
    r_z: np.ndarray,
    r_half: np.ndarray,
    sersic: np.ndarray,
    shape: tuple[np.ndarray, np.ndarray],
) -> Components:
    flux = to_flux(np.stack([mag_r + g_r, mag_r, mag_r - r_z]), ZERO_POINT_MAG)
    number = len(mag_r)
    return {
        "profile": np.where(r_half > 0, "sersic", "psf").astype(object),
        "sersic": sersic,
        "r_half": r_half,
        "e1": shape[0],
        "e2": shape[1],
        "texture": np.full(number, None, object),
        **{f"flux_{band}": values for band, values in zip(BANDS, flux, strict=True)},
    }
