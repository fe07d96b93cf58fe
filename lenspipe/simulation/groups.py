"""Groups and clusters of old galaxies around a massive one."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from lenspipe.simulation.galaxies import (
    Component,
    RedGalaxy,
    at_distance,
    component,
    draw_red_galaxy,
    ellipticity,
    fluxes,
    log_normal,
)

__all__ = ["Group", "Member", "draw_group", "draw_system", "in_group"]

#: Mean numbers of visible members besides the brightest two of a poor group, a rich group and a
#: cluster, within the radii below, and how frequent each is.
RICHNESS = {1.5: 0.45, 4.0: 0.35, 8.0: 0.20}

#: Distances of members from the brightest galaxy, arcsec.
RADII_ARCSEC = (1.3, 14.0)

#: r magnitude beyond which members are not painted.
FAINTEST_MEMBER = 23.6

#: Fraction of the old galaxies that are the brightest of a group.
GROUP_FRACTION = 0.45

#: Half-light radius of a group's brightest galaxy, relative to that of a galaxy of its magnitude.
HALO_SIZE = 1.3


@dataclass(frozen=True)
class Member:
    """A member of a group: what is painted, and how much fainter than the brightest it is, mag."""

    light: Component
    fainter: float


@dataclass(frozen=True)
class Group:
    """Members of a group besides its brightest galaxy."""

    richness: float
    members: tuple[Member, ...]


def draw_group(rng: Generator, brightest: RedGalaxy, richness: float | None = None) -> Group:
    """Draw the members of a group around its brightest galaxy.

    They are on the red sequence of the same redshift, fainter, and closer to the centre than a
    uniform distribution on the sky: uniform in radius, as in an isothermal halo.

    Parameters
    ----------
    richness
        Mean number of members; one of `RICHNESS` if not given.
    """
    if richness is None:
        richness = float(rng.choice(list(RICHNESS), p=list(RICHNESS.values())))
    members = []
    for _ in range(1 + rng.poisson(richness)):
        fainter = 0.1 + 4.2 * rng.random() ** 0.75
        at = at_distance(rng, *RADII_ARCSEC)
        mag_r = brightest.mag_r + fainter
        # Fainter galaxies of the red sequence are bluer.
        g_r = brightest.g_r - 0.015 * fainter + 0.06 * rng.standard_normal()
        r_z = brightest.r_z - 0.02 * fainter + 0.05 * rng.standard_normal()
        r_half = log_normal(rng, 0.1 - 0.13 * (mag_r - 19.6), 0.15, 0.15, 3.0)
        index = float(np.clip(rng.normal(3, 1.2), 1, 5))
        shape = ellipticity(rng, 0.3)
        if mag_r < FAINTEST_MEMBER:
            light = component(fluxes(mag_r, g_r, r_z), r_half, index, shape, at)
            members.append(Member(light, fainter))
    return Group(richness, tuple(members))


def draw_system(rng: Generator, population: str) -> tuple[RedGalaxy, Group | None]:
    """Draw an old galaxy of a population (`RED_POPULATIONS`), and its group if it is in one."""
    galaxy = draw_red_galaxy(rng, population)
    return in_group(rng, galaxy) if rng.random() < GROUP_FRACTION else (galaxy, None)


def in_group(
    rng: Generator, galaxy: RedGalaxy, richness: float | None = None
) -> tuple[RedGalaxy, Group]:
    """Make a galaxy the brightest of a group, which makes it larger; the richness may be given."""
    galaxy = replace(galaxy, r_half=HALO_SIZE * galaxy.r_half)
    return galaxy, draw_group(rng, galaxy, richness)
