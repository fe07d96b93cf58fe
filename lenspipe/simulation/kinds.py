"""Kinds of galaxies that are not lenses: scenes of each, in the proportions of the sky."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from lenspipe.simulation.galaxies import (
    Component,
    RedGalaxy,
    Scene,
    at_distance,
    blue_galaxy,
    component,
    disc_colours,
    draw_red_galaxy,
    ellipticity,
    fluxes,
    in_direction,
    log_normal,
    small_galaxy,
)
from lenspipe.simulation.groups import draw_group, draw_system
from lenspipe.simulation.painting import Texture

__all__ = ["CONFUSING", "NON_LENSES", "draw_non_lens"]

#: Kinds of non-lenses and their fractions among the galaxies that a search may look at: those of a
#: labelled sample of observed galaxies with as many confusing ones as searches collect.
NON_LENSES = {
    "elliptical": 0.30,
    "nearby_elliptical": 0.12,
    "disk": 0.18,
    "blue_neighbour": 0.15,
    "spiral": 0.09,
    "merger": 0.05,
    "star_blend": 0.05,
    "ring": 0.04,
    "edge_on": 0.03,
}

#: Kinds that a network confuses with lenses.
CONFUSING = tuple(kind for kind in NON_LENSES if kind not in ("elliptical", "nearby_elliptical"))

#: Fraction of the other galaxies that are seen beside a group, and the mean number of its members.
GROUP_NEARBY_FRACTION, NEARBY_RICHNESS = 0.25, 2.0


def draw_non_lens(rng: Generator, kind: str) -> Scene:
    """Draw a galaxy of a kind and what belongs to it."""
    scene = _KINDS[kind](rng)
    if kind not in _OLD and rng.random() < GROUP_NEARBY_FRACTION:
        # Old galaxies of a group that the galaxy is seen in front of, or belongs to.
        for member in draw_group(rng, draw_red_galaxy(rng, "massive"), NEARBY_RICHNESS).members:
            scene.add("member", member.light)
    return scene


def _old(rng: Generator, kind: str, population: str) -> tuple[Scene, RedGalaxy]:
    galaxy, group = draw_system(rng, population)
    scene = Scene(kind, galaxy.redshift)
    scene.add(kind, galaxy.body())
    for member in group.members if group else ():
        scene.add("member", member.light)
    return scene, galaxy


def _any_old(rng: Generator) -> str:
    """Half of the old galaxies are as massive as deflectors."""
    return "ordinary" if rng.random() < 0.5 else "massive"


def _elliptical(rng: Generator) -> Scene:
    return _old(rng, "elliptical", _any_old(rng))[0]


def _nearby_elliptical(rng: Generator) -> Scene:
    return _old(rng, "nearby_elliptical", "nearby")[0]


def _blue_neighbour(rng: Generator) -> Scene:
    """Old galaxy with one or more mostly blue galaxies near it."""
    scene, _ = _old(rng, "blue_neighbour", _any_old(rng))
    for _ in range(1 + rng.poisson(0.7)):
        neighbour = blue_galaxy(rng, (21.0, 22.8, 24.0), at_distance(rng, 1.4, 8.0))
        scene.add("companion", neighbour)
    return scene


def _star_blend(rng: Generator) -> Scene:
    """Old galaxy with a star beside it."""
    scene, galaxy = _old(rng, "star_blend", _any_old(rng))
    mag_r = galaxy.mag_r + rng.uniform(-0.5, 2.5)
    g_r = rng.choice([0.4, 1.3]) + 0.15 * rng.standard_normal()
    star = component(fluxes(mag_r, g_r, 0.05 + 0.45 * g_r), at=at_distance(rng, 0.9, 4.0))
    scene.add("companion", star)
    return scene


def _disk(rng: Generator) -> Scene:
    scene = Scene("disk", _late_redshift(rng))
    scene.add("disk", *small_galaxy(rng))
    return scene


def _late_redshift(rng: Generator) -> float:
    """Gas-rich galaxies of these magnitudes are near."""
    return float(np.clip(abs(rng.normal(0.24, 0.10)), 0.04, 0.7))


def _spiral(rng: Generator) -> Scene:
    """Bulge, perhaps a bar, and a disc with logarithmic arms and knots of star formation."""
    mag_r = rng.uniform(16.3, 20.5)
    r_half = log_normal(rng, 0.48 - 0.11 * (mag_r - 18), 0.13, 0.5, 7.0)
    flux = fluxes(mag_r, *disc_colours(rng, mag_r))
    ratio = float(np.clip(rng.uniform(0.15, 1.0), 0.2, 1.0))
    shape = in_direction(rng, ratio)
    bulge = rng.uniform(0, 0.5)
    flux_bulge = bulge * flux * np.array([0.6, 0.85, 1.05])
    parts = [component(flux_bulge, 0.3 * r_half, rng.uniform(1.5, 4), _rounder(shape))]
    if rng.random() < 0.3:
        bar = 0.15 * flux * np.array([0.7, 1.0, 1.1])
        parts.append(component(bar, 0.5 * r_half, 0.6, in_direction(rng, 0.25)))
    arms = _arms(rng, r_half)
    disc = (1 - bulge) * flux * np.array([1.1, 1.0, 0.95])
    parts.append(component(disc, r_half, 1.0, shape, texture=arms))
    scene = Scene("spiral", _late_redshift(rng))
    scene.add("spiral", *parts)
    return scene


def _rounder(shape: tuple[float, float]) -> tuple[float, float]:
    """Limit the axis ratio of a bulge to 0.6."""
    modulus = float(np.hypot(*shape))
    factor = min(1.0, 0.25 / modulus) if modulus else 1.0
    return shape[0] * factor, shape[1] * factor


def _arms(rng: Generator, r_half: float) -> Texture:
    arms, phase = int(rng.choice([2, 2, 3, 4])), rng.uniform(0, 2 * np.pi)
    pitch = rng.uniform(0.2, 0.45) * rng.choice([-1, 1])  # its tangent
    contrast, scale = rng.uniform(0.1, 0.95), r_half / 1.678
    knots = _knots(rng, r_half) if rng.random() < 0.7 else None

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        radius = np.hypot(u, v).clip(0.05)
        wave = np.cos(arms * (np.arctan2(v, u) - np.log(radius / scale) / pitch) + phase)
        light = ((1 + wave) / 2) ** 2 * (1 + (knots(u, v) if knots else 0))
        return 1 - contrast + 2.7 * contrast * light

    return texture


def _knots(rng: Generator, r_half: float, number: int = 12) -> Texture:
    """Clumps of star formation scattered over a galaxy, relative to its brightness."""
    places = rng.normal(0, 1.1 * r_half, (number, 2))
    peaks, widths = rng.uniform(0.3, 1.5, number), rng.uniform(0.15, 0.4, number)

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        total = np.zeros(u.shape, np.float32)
        for (x, y), peak, width in zip(places, peaks, widths, strict=True):
            total += np.float32(peak) * np.exp(((u - x) ** 2 + (v - y) ** 2) / (-2 * width**2))
        return total

    return texture


def _ring(rng: Generator) -> Scene:
    """Galaxy with a blue, lopsided, knotty ring."""
    mag_r = rng.uniform(17, 20.5)
    g_r, r_z = disc_colours(rng, mag_r)
    flux = fluxes(mag_r, g_r + 0.3, r_z)
    shape = in_direction(rng, rng.uniform(0.4, 1.0))
    radius, width = rng.uniform(1.4, 5.0), rng.uniform(0.3, 0.9)
    in_ring = rng.uniform(0.2, 0.55) * np.array([1.2, 0.7, 0.5])
    lopsided, phase = rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi)
    knots = _knots(rng, radius) if rng.random() < 0.6 else None

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        light = np.exp(-0.5 * ((np.hypot(u, v) - radius) / width) ** 2)
        light = light * (1 + lopsided * np.cos(np.arctan2(v, u) - phase))
        return light * (1 + knots(u, v)) if knots else light

    parts = [component(flux * (1 - in_ring), rng.uniform(0.5, 1.2), rng.uniform(1.5, 4),
                       _rounder(shape))]  # fmt: skip
    if rng.random() < 0.4:
        parts.append(component(0.25 * flux, 0.8 * radius, 1.0, shape))
    parts.append(component(flux * in_ring, 1.5 * radius, 0.5, shape, texture=texture))
    scene = Scene("ring", _late_redshift(rng))
    scene.add("ring", *parts)
    return scene


def _merger(rng: Generator) -> Scene:
    """Galaxy with companions and tidal tails."""
    redshift, mag_r = _late_redshift(rng), rng.uniform(17.5, 21)
    g_r, r_z = disc_colours(rng, mag_r)
    if rng.random() < 0.4:
        old = draw_red_galaxy(rng, _any_old(rng))
        redshift, mag_r, g_r, r_z = old.redshift, old.mag_r, old.g_r, old.r_z
    flux = fluxes(mag_r, g_r, r_z)
    r_half = log_normal(rng, 0.15 - 0.1 * (mag_r - 19), 0.15, 0.3, 3.0)
    tails = [_tail(rng, flux) for _ in range(rng.integers(0, 3))]
    scene = Scene("merger", redshift)
    index = rng.choice([1.0, 2.5, 4.0])
    scene.add("merger", component(0.8 * flux, r_half, index, ellipticity(rng, 0.4)), *tails)
    for _ in range(rng.integers(1, 4)):
        scale = rng.uniform(0.1, 0.7) * np.array([rng.uniform(0.7, 1.8), 1.0, 0.9])
        shape, at = ellipticity(rng, 0.4), at_distance(rng, 1.0, 5.0)
        size, index = rng.uniform(0.3, 1.2), rng.choice([1.0, 2.5, 4.0])
        scene.add("companion", component(flux * scale, size, index, shape, at))
    return scene


def _tail(rng: Generator, flux: np.ndarray) -> Component:
    """Tidal tail: an arc of a circle that passes through the galaxy, fading outwards."""
    curvature, width = rng.uniform(2.5, 6.0), rng.uniform(0.4, 1.1)  # arcsec
    direction, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 2.2)  # radians
    handedness = rng.choice([-1.0, 1.0])
    x0, y0 = curvature * np.cos(direction), curvature * np.sin(direction)

    def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        x = handedness * u - x0
        y = v - y0
        angle = np.angle(np.exp(1j * (np.arctan2(y, x) - direction - np.pi)))
        along = np.exp(-np.abs(angle) / (0.5 * length)) * (angle > -0.2)
        return (np.exp(-0.5 * ((np.hypot(x, y) - curvature) / width) ** 2) * along).astype("f4")

    light = flux * rng.uniform(0.05, 0.25) * np.array([1.2, 1.0, 0.9])
    return component(light, 2.5 * curvature, 0.5, texture=texture)


def _edge_on(rng: Generator) -> Scene:
    """Bulge and a thin disc."""
    mag_r = rng.uniform(16.5, 21.2)
    r_half = log_normal(rng, 0.42 - 0.11 * (mag_r - 18), 0.13, 0.5, 6.0)
    g_r, r_z = disc_colours(rng, mag_r)
    flux = fluxes(mag_r, g_r + rng.uniform(0, 0.4), r_z)
    bulge = rng.uniform(0, 0.4) * np.array([0.7, 0.9, 1.0])
    shape = in_direction(rng, rng.uniform(0.1, 0.3))
    parts = (
        component(flux * bulge, 0.3 * r_half, 3.0, _rounder(shape)),
        component(flux * (1 - bulge), r_half, 1.0, shape),
    )
    scene = Scene("edge_on", _late_redshift(rng))
    scene.add("edge_on", *parts)
    return scene


_OLD = ("elliptical", "nearby_elliptical", "blue_neighbour", "star_blend")

_KINDS: dict[str, Callable[[Generator], Scene]] = {
    "elliptical": _elliptical,
    "nearby_elliptical": _nearby_elliptical,
    "disk": _disk,
    "blue_neighbour": _blue_neighbour,
    "spiral": _spiral,
    "merger": _merger,
    "star_blend": _star_blend,
    "ring": _ring,
    "edge_on": _edge_on,
}
