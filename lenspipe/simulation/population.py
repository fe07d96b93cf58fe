"""Sources of the simulated sky: galaxies, confusing classes, lenses, stars, background.

The distributions follow those of galaxies in DR9 of the Legacy Surveys by class and type, and of
published lenses and false positives; docs/simulated-sky.md compares them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import ArrayLike

from lenspipe.config.data import Simulation
from lenspipe.simulation.conditions import BANDS
from lenspipe.simulation.lensing import draw_lenses
from lenspipe.simulation.survey import ZERO_POINT_MAG
from lenspipe.survey.photometry import to_flux, to_magnitude

__all__ = [
    "CONFUSING",
    "REDSHIFT",
    "RED_GR",
    "RED_RZ",
    "draw_population",
    "mag_star",
]

#: Classes of galaxies that a network confuses with lenses, and their fractions.
CONFUSING = {
    "spiral": 0.33,
    "blue_neighbour": 0.28,
    "merger": 0.13,
    "edge_on": 0.12,
    "star_blend": 0.11,
    "ring": 0.03,
}

#: Redshifts at which the colours and magnitudes of old galaxies are tabulated.
REDSHIFT = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

#: Colours of old galaxies at those redshifts: the observed red sequence.
RED_GR = np.array([0.80, 0.92, 1.18, 1.45, 1.64, 1.75, 1.80, 1.82, 1.84, 1.80, 1.70])
RED_RZ = np.array([0.54, 0.58, 0.66, 0.76, 0.90, 1.08, 1.30, 1.52, 1.76, 1.95, 2.05])

#: z magnitude of a characteristic old galaxy at those redshifts.
_MSTAR_Z = np.array([13.6, 15.2, 16.7, 17.5, 18.1, 18.6, 19.0, 19.4, 19.7, 20.0, 20.3])

#: Ranges of g-r and r-z of blue, star-forming sources.
BLUE_GR, BLUE_RZ = (0.15, 0.75), (0.05, 0.5)

#: Range of z magnitudes of galaxies that are drawn with their class and shape.
BRIGHTEST_Z, FAINTEST_Z = 15.5, 20.5

#: Row of a table of sources or components.
Row = Mapping[str, Any]

#: Rows of the components of a source, and of its companions.
Parts = tuple[list[Row], list[Row]]

_SOURCE_COLUMNS = ["kind", "ra", "dec", "redshift", "type", "sersic", "r_half", "e1", "e2"]


def draw_population(
    seed: int, brick: Mapping[str, Any], simulation: Simulation
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw all sources of one brick; the same seed and brick give the same sources.

    Parameters
    ----------
    seed
        Seed of the run.
    brick
        ``brickid``, ``ra1``, ``ra2``, ``dec1``, ``dec2`` (degrees).
    simulation
        Numbers of sources of each class.

    Returns
    -------
    sources : pandas.DataFrame
        A row per source: kind, ra, dec, redshift, Tractor type, sersic, r_half (arcsec), e1, e2
        (Tractor's convention), flux_g, flux_r, flux_z (nanomaggies, of the main body, as in a
        catalogue), and for lenses z_source, theta_e_arcsec, arc_mag_g, shear and the other
        parameters of the ray tracing. ``number`` is unique within the brick.
    components : pandas.DataFrame
        Components to render: source ``number``, profile, offsets dx, dy (arcsec, West and North
        positive), shape and fluxes, and the parameters p0..p4 of the profile.
    """
    rng = np.random.default_rng([seed, int(brick["brickid"]), 1])
    bright = _bright_galaxies(rng, rng.poisson(simulation.galaxies_per_brick))
    confusing = rng.random(len(bright)) < simulation.confusing_fraction
    kinds = rng.choice(list(CONFUSING), len(bright), p=_normalised(CONFUSING.values()))
    disks = ~confusing & (rng.random(len(bright)) < 0.42)
    bright["kind"] = np.where(confusing, kinds, np.where(disks, "disk", "elliptical"))
    _reshape_blue(rng, bright)

    # Deflectors come from a larger pool of ellipticals like those of the sky.
    pool = _bright_galaxies(rng, 40 * max(simulation.lenses_per_brick, 1))
    lenses = draw_lenses(rng, pool, rng.poisson(simulation.lenses_per_brick), mag_star)
    lenses["kind"] = "lens"
    sources = pd.concat(
        [
            bright,
            lenses,
            _stars(rng, rng.poisson(simulation.stars_per_brick)),
            _faint(rng, rng.poisson(simulation.faint_per_brick)),
        ],
        ignore_index=True,
    )
    total = len(sources)
    sources["ra"] = brick["ra1"] + (brick["ra2"] - brick["ra1"]) * rng.random(total)
    sources["dec"] = brick["dec1"] + (brick["dec2"] - brick["dec1"]) * rng.random(total)
    components, companions = _components(rng, sources)
    if len(companions):
        sources = pd.concat([sources, companions], ignore_index=True)
    sources["number"] = np.arange(len(sources))
    return sources, components


def _normalised(values: Iterable[float]) -> np.ndarray:
    array = np.array(list(values), float)
    return array / array.sum()


def mag_star(redshift: ArrayLike) -> np.ndarray:
    """Return the z magnitude (AB) of a characteristic old galaxy at a redshift."""
    return np.interp(np.asarray(redshift, float), REDSHIFT, _MSTAR_Z)


def _ellipticity(rng: Generator, size: int, scale: float = 0.16) -> tuple[np.ndarray, np.ndarray]:
    """Components e1, e2; percentiles 16, 50, 84 of |e_i| are about 0.05, 0.14, 0.34."""
    modulus = np.minimum(np.abs(rng.standard_normal(size)) * scale * 1.6, 0.65)
    angle = rng.uniform(0, np.pi, size)
    return modulus * np.cos(2 * angle), modulus * np.sin(2 * angle)


def _bright_galaxies(rng: Generator, size: int) -> pd.DataFrame:
    """Draw old galaxies on the red sequence, z of BRIGHTEST_Z to FAINTEST_Z."""
    tables = [_old_galaxies(rng, 3 * size + 20 if size else 0)]
    while sum(map(len, tables)) < size:
        tables.append(_old_galaxies(rng, 3 * size + 20))
    return pd.concat(tables, ignore_index=True)[:size]


def _old_galaxies(rng: Generator, number: int) -> pd.DataFrame:
    """Draw old galaxies and return those within the range of magnitudes."""
    fainter = rng.random(number) < 0.42  # more distant, fitted as DEV
    redshift = np.where(
        fainter, rng.normal(0.66, 0.16, number), rng.normal(0.47, 0.14, number)
    ).clip(0.08, 1.0)
    mag_z = mag_star(redshift) + np.where(fainter, 0.45, 0.05) + 0.55 * rng.standard_normal(number)
    gr = np.interp(redshift, REDSHIFT, RED_GR) + 0.10 * rng.standard_normal(number)
    rz = np.interp(redshift, REDSHIFT, RED_RZ) + 0.07 * rng.standard_normal(number)
    log_size = np.where(fainter, 0.02, 0.24) + 0.19 * rng.standard_normal(number)
    log_size += -0.06 * (mag_z - np.where(fainter, 19.5, 18.6))
    mag_r = mag_z + rz
    table = pd.DataFrame({"kind": "elliptical", "redshift": redshift})
    for band, mag in zip(BANDS, (mag_r + gr, mag_r, mag_z), strict=True):
        table[f"flux_{band}"] = to_flux(mag, ZERO_POINT_MAG)
    table["type"] = np.where(fainter, "DEV", "SER")
    table["sersic"] = np.where(fainter, 4.0, rng.normal(4.2, 1.0, number).clip(2.0, 6.0))
    table["r_half"] = (10**log_size).clip(0.15, 6.0)
    table["e1"], table["e2"] = _ellipticity(rng, number)
    return table[(mag_z < FAINTEST_Z) & (mag_z > BRIGHTEST_Z)]


def _reshape_blue(rng: Generator, table: pd.DataFrame) -> None:
    """Give disks, spirals, rings, mergers and edge-on galaxies their colours and shapes."""
    late = table["kind"].isin(["disk", "spiral", "ring", "merger", "edge_on"]).to_numpy()
    n = late.sum()
    kind = table.loc[late, "kind"].to_numpy()
    # Gas-rich galaxies are nearer and bluer; magnitudes stay close to the hosts' of lenses.
    redshift = np.abs(rng.normal(0.24, 0.10, n)).clip(0.04, 0.7)
    mag_r = np.where(kind == "disk", rng.normal(19.5, 0.6, n), rng.normal(18.85, 0.65, n))
    gr = np.where(kind == "disk", rng.normal(0.84, 0.28, n), rng.normal(1.18, 0.28, n))
    rz = 0.22 + 0.42 * gr + 0.09 * rng.standard_normal(n)
    mags = {"g": mag_r + gr, "r": mag_r, "z": mag_r - rz}
    for band, mag in mags.items():
        table.loc[late, f"flux_{band}"] = to_flux(mag, ZERO_POINT_MAG)
    table.loc[late, "redshift"] = redshift
    log_size = np.where(
        kind == "disk", 0.13, np.where(kind == "edge_on", 0.2, 0.36)
    ) + 0.16 * rng.standard_normal(n)
    table.loc[late, "r_half"] = 10**log_size
    # As Tractor fits them: bulge and disk together often give a steep Sersic profile.
    steep = np.where(kind == "disk", rng.random(n) < 0.12, rng.random(n) < 0.72)
    index = np.where(steep, rng.uniform(2.0, 5.0, n), rng.uniform(0.6, 2.0, n))
    dev = steep & (rng.random(n) < 0.25)
    exp = ~steep & (rng.random(n) < 0.5)
    table.loc[late, "sersic"] = np.where(dev, 4.0, np.where(exp, 1.0, index))
    table.loc[late, "type"] = np.where(dev, "DEV", np.where(exp, "EXP", "SER"))
    edge_on = late.copy()
    edge_on[late] = kind == "edge_on"
    modulus = rng.uniform(0.55, 0.82, edge_on.sum())
    angle = rng.uniform(0, np.pi, edge_on.sum())
    table.loc[edge_on, "e1"] = modulus * np.cos(2 * angle)
    table.loc[edge_on, "e2"] = modulus * np.sin(2 * angle)


def _stars(rng: Generator, size: int) -> pd.DataFrame:
    """Stars, r from 10 to 22, with counts that rise with magnitude."""
    mag_r = 22.0 + np.log10(rng.random(size).clip(1e-4, 1)) / 0.22
    gr = rng.choice([0.5, 1.4], size, p=[0.6, 0.4]) + 0.2 * rng.standard_normal(size)
    rz = 0.05 + 0.45 * gr + 0.1 * rng.standard_normal(size)
    table = pd.DataFrame({"kind": "star", "redshift": 0.0, "type": "PSF"}, index=range(size))
    for band, mag in zip(BANDS, (mag_r + gr, mag_r, mag_r - rz), strict=True):
        table[f"flux_{band}"] = to_flux(mag, ZERO_POINT_MAG)
    table[["sersic", "r_half", "e1", "e2"]] = 0.0
    return table


def _faint(rng: Generator, size: int) -> pd.DataFrame:
    """Background sources, r from 21 to 24.2, mostly blue and small."""
    mag_r = 24.2 + np.log10(rng.random(size).clip(10 ** (-0.34 * 3.4), 1)) / 0.34
    gr = rng.normal(0.55, 0.35, size).clip(-0.2, 1.8)
    rz = 0.1 + 0.6 * gr + 0.2 * rng.standard_normal(size)
    table = pd.DataFrame({"kind": "faint", "redshift": rng.uniform(0.3, 1.5, size)})
    for band, mag in zip(BANDS, (mag_r + gr, mag_r, mag_r - rz), strict=True):
        table[f"flux_{band}"] = to_flux(mag, ZERO_POINT_MAG)
    table["type"] = rng.choice(["REX", "EXP", "PSF"], size, p=[0.6, 0.2, 0.2])
    table["sersic"] = 1.0
    table["r_half"] = np.where(table["type"] == "PSF", 0.0, 10 ** rng.normal(-0.35, 0.15, size))
    table["e1"], table["e2"] = 0.0, 0.0
    return table


def _component(number: int, profile: str, source: Row, fluxes: np.ndarray, **shape: Any) -> Row:
    """One component to render; `fluxes` in nanomaggies for g, r, z."""
    row: dict[str, Any] = {"number": number, "profile": profile, "dx": 0.0, "dy": 0.0}
    row |= {name: source[name] for name in ("ra", "dec", "sersic", "r_half", "e1", "e2")}
    row |= {f"flux_{band}": flux for band, flux in zip(BANDS, fluxes, strict=True)}
    return row | {f"p{i}": 0.0 for i in range(5)} | shape


def _blue_fluxes(rng: Generator, mag_g: float) -> np.ndarray:
    """Fluxes of a blue, star-forming source of that g magnitude, with the colours of arcs."""
    mag_r = mag_g - rng.uniform(*BLUE_GR)
    return to_flux([mag_g, mag_r, mag_r - rng.uniform(*BLUE_RZ)], ZERO_POINT_MAG)


def _components(rng: Generator, sources: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split every source into components to render, and list companions for the catalogue."""
    simple = sources[sources["kind"].isin(["elliptical", "disk", "star", "faint"])]
    plain = simple[["ra", "dec", "sersic", "r_half", "e1", "e2", *(f"flux_{b}" for b in BANDS)]]
    plain = plain.assign(
        number=simple.index,
        profile=np.where(simple["r_half"] > 0, "sersic", "psf"),
        dx=0.0,
        dy=0.0,
        **{f"p{i}": 0.0 for i in range(5)},
    )
    rows: list[Row] = []
    companions: list[Row] = []
    structured = {
        "lens": _lens,
        "spiral": _spiral,
        "ring": _ring,
        "merger": _merger,
        "edge_on": _edge_on,
        "blue_neighbour": _blue_neighbours,
        "star_blend": _star_blend,
    }
    for number, source in sources[sources["kind"].isin(structured)].iterrows():
        fluxes = np.array([source[f"flux_{band}"] for band in BANDS])
        source_rows, source_companions = structured[source["kind"]](rng, number, source, fluxes)
        rows += source_rows
        companions += source_companions
    columns = [*_SOURCE_COLUMNS, *(f"flux_{b}" for b in BANDS)]
    components = pd.concat([plain, pd.DataFrame(rows)], ignore_index=True)
    return components, pd.DataFrame(companions, columns=columns)


def _companion(source: Row, component: Row) -> Row:
    """Catalogue row of a component that Tractor would find as a separate source."""
    row = {name: component[name] for name in (*(f"flux_{b}" for b in BANDS), "sersic", "r_half")}
    dec = source["dec"] + component["dy"] / 3600
    ra = source["ra"] - component["dx"] / 3600 / np.cos(np.radians(source["dec"]))
    row |= {"kind": "companion", "ra": ra, "dec": dec, "redshift": source["redshift"]}
    return row | {"type": "REX" if component["r_half"] > 0 else "PSF", "e1": 0.0, "e2": 0.0}


def _lens(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    arc = _component(
        number,
        "arc",
        source,
        _blue_fluxes(rng, source["arc_mag_g"]),
        sersic=1.0,
        r_half=source["source_r_half"],
    )
    return [_component(number, "sersic", source, fluxes), arc], []


def _spiral(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    bulge = rng.uniform(0.25, 0.6) * np.array([0.55, 0.8, 1.0])
    tilt = rng.uniform(0, 0.35)
    angle = rng.uniform(0, np.pi)
    arms = _component(
        number,
        "spiral",
        source,
        fluxes * (1 - bulge),
        e1=tilt * np.cos(2 * angle),
        e2=tilt * np.sin(2 * angle),
        p0=rng.integers(2, 4),  # arms
        p1=rng.uniform(0.2, 0.45) * rng.choice([-1, 1]),  # tangent of the pitch angle
        p2=rng.uniform(0, 2 * np.pi),  # phase
        p3=rng.uniform(0.5, 0.95),  # contrast
        p4=rng.integers(2**31),  # seed of the knots
    )
    body = {"sersic": 3.0, "r_half": 0.35 * source["r_half"], "e1": 0.0, "e2": 0.0}
    return [_component(number, "sersic", source, fluxes * bulge, **body), arms], []


def _ring(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    in_ring = rng.uniform(0.25, 0.5) * np.array([1.0, 0.6, 0.4])
    ring = _component(
        number,
        "ring",
        source,
        fluxes * in_ring,
        p0=rng.uniform(1.6, 4.5),  # radius, arcsec
        p1=rng.uniform(0.35, 0.8),  # width, arcsec
        p2=rng.uniform(0, 2 * np.pi),
        p3=rng.uniform(0, 0.35),  # lopsidedness
        p4=rng.integers(2**31),
        e1=0.5 * source["e1"],
        e2=0.5 * source["e2"],
    )
    core = {"sersic": 3.0, "r_half": 0.5 * source["r_half"]}
    return [_component(number, "sersic", source, fluxes * (1 - in_ring), **core), ring], []


def _merger(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    rows = [_component(number, "sersic", source, 0.8 * fluxes, r_half=0.7 * source["r_half"])]
    companions: list[Row] = []
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(1, 3)):
        distance = rng.uniform(1.3, 4.5)
        angle += rng.uniform(1.0, 3.0)
        scale = rng.uniform(0.15, 0.6) * np.array([rng.uniform(0.7, 1.8), 1.0, 0.9])
        other = _component(
            number,
            "sersic",
            source,
            fluxes * scale,
            dx=distance * np.cos(angle),
            dy=distance * np.sin(angle),
            sersic=rng.choice([1.0, 2.5, 4.0]),
            r_half=rng.uniform(0.3, 0.9),
        )
        rows.append(other)
        companions.append(_companion(source, other))
    tail = _component(
        number,
        "tail",
        source,
        fluxes * rng.uniform(0.08, 0.25) * np.array([1.3, 1.0, 0.8]),
        p0=rng.uniform(2.5, 6.0),  # radius of curvature, arcsec
        p1=rng.uniform(0.5, 1.1),  # width, arcsec
        p2=angle,
        p3=rng.uniform(0.7, 2.2),  # length, radians
        p4=rng.choice([-1, 1]),
    )
    return [*rows, tail], companions


def _edge_on(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    bulge = rng.uniform(0.1, 0.4) * np.array([0.7, 0.9, 1.0])
    body = {"sersic": 3.0, "r_half": 0.3 * source["r_half"], "e1": 0.0, "e2": 0.0}
    disk = {"sersic": 1.0, "r_half": 0.9 * source["r_half"]}
    return [
        _component(number, "sersic", source, fluxes * bulge, **body),
        _component(number, "sersic", source, fluxes * (1 - bulge), **disk),
    ], []


def _blue_neighbours(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    rows = [_component(number, "sersic", source, fluxes)]
    companions: list[Row] = []
    for _ in range(1 + rng.poisson(0.7)):
        distance, angle = rng.uniform(2.2, 6.0), rng.uniform(0, 2 * np.pi)
        e1, e2 = _ellipticity(rng, 1, 0.3)
        other = _component(
            number,
            "sersic",
            source,
            _blue_fluxes(rng, rng.triangular(21.2, 22.8, 24.0)),
            dx=distance * np.cos(angle),
            dy=distance * np.sin(angle),
            sersic=1.0,
            r_half=10 ** rng.normal(-0.3, 0.18),
            e1=e1[0],
            e2=e2[0],
        )
        rows.append(other)
        companions.append(_companion(source, other))
    return rows, companions


def _star_blend(rng: Generator, number: int, source: Row, fluxes: np.ndarray) -> Parts:
    distance, angle = rng.uniform(0.9, 4.0), rng.uniform(0, 2 * np.pi)
    mag_r = to_magnitude(fluxes[1], ZERO_POINT_MAG) + rng.uniform(-0.3, 2.5)
    gr = rng.choice([0.4, 1.3]) + 0.15 * rng.standard_normal()
    star = _component(
        number,
        "psf",
        source,
        to_flux([mag_r + gr, mag_r, mag_r - 0.05 - 0.45 * gr], ZERO_POINT_MAG),
        dx=distance * np.cos(angle),
        dy=distance * np.sin(angle),
        r_half=0.0,
    )
    return [_component(number, "sersic", source, fluxes), star], [_companion(source, star)]
