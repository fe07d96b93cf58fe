"""What a survey's catalogue lists of the simulated sky: detections, blends, splits and types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import ndimage
from scipy.spatial import cKDTree

from lenspipe.simulation.brick import Arcs, Patch
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC
from lenspipe.simulation.tractor import flux_ivar

__all__ = ["Conditions", "detect"]

#: Signal to noise in all bands together above which a source is detected.
DETECTION_SNR = 6.0

#: Distance below which sources merge, in units of the seeing in r.
BLEND_SEEING = 0.6

#: Peak of a source relative to all other light there, below which it is not detected.
DETECTION_CONTRAST = 0.12

#: Arcs are sources of their own at maxima that are this far from the deflector and from each
#: other (in units of the seeing in r), with this peak relative to all other light, and this signal
#: to noise.
ARC_SEEING, ARC_CONTRAST, ARC_SNR = 1.1, 0.8, 8.0

#: Distance from such a maximum to which light belongs to its source, in units of the seeing.
ARC_REACH = 1.4

#: Second moment along an axis of the PSF within that distance, in units of the seeing squared.
PSF_MOMENT = 0.235

#: Fraction of the other light of the arcs that goes into the fit of their deflector, and the
#: distance to which it does, in half-light radii and seeing.
ABSORBED_FRACTION, ABSORBED_REACH = 0.2, (2.0, 0.5)

#: Kinds of galaxies with knots and arms, the half-light radius from which they are split (arcsec),
#: the fraction that are, and the range of a fragment's flux relative to the galaxy's.
SPLIT_KINDS, SPLIT_SIZE, SPLIT_FRACTION = ("spiral", "ring", "disk", "merger"), 1.2, 0.35
SPLIT_FLUX = 0.02, 0.08

#: Difference in chi^2 from which an extended model is preferred to a point source, and one of more
#: parameters to a round exponential one: the latter is also at least a fraction of all.
CHI2, CHI2_FRACTION = 9.0, 0.012

#: Differences in chi^2 relative to the squared signal to noise, for well resolved sources: of
#: extended ones, of elliptical ones (by ellipticity squared), and of those with a steep profile.
EXTENDED_CHI2, ELLIPTICAL_CHI2, PROFILE_CHI2 = 0.8, 3.0, 0.028

#: Signal to noise at which half of the well resolved galaxies are fitted with a free Sersic index,
#: and the width of the transition in its logarithm.
SERSIC_SNR, SERSIC_WIDTH = 85.0, 0.6

#: Sersic index from which a fit prefers de Vaucouleurs' profile to an exponential one, and the
#: scatter of that decision in the index's logarithm.
DEV_INDEX, INDEX_SCATTER = 2.0, 0.5


@dataclass(frozen=True)
class Conditions:
    """Maps of a brick by band: ``nexp``, ``psfsize`` (arcsec), ``invvar``; and relative noise."""

    maps: Mapping[str, Mapping[str, np.ndarray]]
    #: By band, noise of sums over many pixels relative to what ``invvar`` says.
    noise: Mapping[str, float]

    def at(self, sources: pd.DataFrame, band: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeing (arcsec) and noise per pixel at sources, and whether they were observed.

        Where there are no data, seeing and noise are 1.
        """
        side_y, side_x = self.maps["nexp"][band].shape
        column = sources["bx"].round().astype(int).clip(0, side_x - 1).to_numpy()
        row = sources["by"].round().astype(int).clip(0, side_y - 1).to_numpy()
        observed = self.maps["nexp"][band][row, column] > 0
        fwhm = np.where(observed, self.maps["psfsize"][band][row, column], 1.0)
        invvar = np.where(observed, self.maps["invvar"][band][row, column], 1.0)
        return fwhm, np.where(observed, self.noise[band] / np.sqrt(invvar), 1.0), observed

    def seeing(self, sources: pd.DataFrame) -> np.ndarray:
        """Seeing in r at sources, arcsec; typical where r has no data."""
        fwhm, _, observed = self.at(sources, "r")
        return np.where(observed, fwhm, 1.3)

    def snr(self, sources: pd.DataFrame) -> np.ndarray:
        """Signal to noise of sources in all bands together."""
        total = np.zeros(len(sources))
        for band in BANDS:
            fwhm, sigma, observed = self.at(sources, band)
            ivar = flux_ivar(fwhm, sigma, sources["r_half"].to_numpy())
            total += np.where(observed, sources[f"flux_{band}"] ** 2 * ivar, 0)
        return np.sqrt(total)


def detect(
    rng: Generator,
    patch: Patch,
    arcs: Mapping[int, Arcs],
    clean: Mapping[str, np.ndarray],
    conditions: Conditions,
) -> pd.DataFrame:
    """Return the sources that a catalogue lists, as they would be fitted without noise.

    Sources closer than some of the seeing are one; arcs and fragments of large galaxies are sources
    of their own where they stand out, and otherwise disturb the fit of their galaxy. Columns are
    those of the sources of the patch and ``type``. A blend with the deflector of a lens is that
    lens; numbers of arcs and fragments are -1.

    Parameters
    ----------
    arcs
        By the number of their lens.
    clean
        By band, image of everything but the arcs, without noise.
    """
    sources = patch.sources.reset_index(drop=True)
    sources, images = _split_all_arcs(sources, patch, arcs, clean, conditions)
    sources = pd.concat([sources, _fragments(rng, sources), images], ignore_index=True)
    sources = _blend(sources, conditions.seeing(sources))
    snr = conditions.snr(sources)
    noisy = snr + rng.standard_normal(len(sources))
    detected = (noisy > DETECTION_SNR) & _stands_out(sources, clean, conditions)
    detected |= sources["kind"] == "lens"
    listed = sources[detected].reset_index(drop=True)
    return listed.assign(type=_fitted_types(rng, listed, snr[detected], conditions.seeing(listed)))


def _split_all_arcs(
    sources: pd.DataFrame,
    patch: Patch,
    arcs: Mapping[int, Arcs],
    clean: Mapping[str, np.ndarray],
    conditions: Conditions,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sources with the arcs' light in the fits of the deflectors, and sources that the arcs are."""
    deflectors = sources[sources["number"].isin(set(arcs))]
    seeing = conditions.seeing(deflectors)
    sigma = [np.where(seen, noise, np.inf) for _, noise, seen in
             (conditions.at(deflectors, band) for band in BANDS)]  # fmt: skip
    fits, pieces = [], []
    for row, of_lens in enumerate(deflectors.to_dict("records")):
        number = of_lens["number"]
        fit, of_arcs = _split_arcs(
            of_lens, arcs[number], clean, float(seeing[row]), np.array([s[row] for s in sigma])
        )
        z_source = patch.lenses[number].model["z_source"]
        pieces += [piece | {"redshift": z_source} for piece in of_arcs]
        fits.append(fit)
    if not fits:
        return sources, sources.iloc[:0]
    changed = pd.DataFrame(fits, index=deflectors.index)
    _move(changed, changed.pop("dx"), changed.pop("dy"))
    sources = pd.concat([sources.drop(changed.index), changed]).sort_index()
    images = pd.DataFrame(pieces, columns=[*sources.columns, "dx", "dy"])
    _move(images, images.pop("dx"), images.pop("dy"))
    return sources, images.astype(sources.dtypes) if len(images) else sources.iloc[:0]


def _split_arcs(
    lens: dict[str, Any],
    arcs: Arcs,
    clean: Mapping[str, np.ndarray],
    seeing: float,
    sigma: np.ndarray,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Fit of a deflector and sources that its arcs are, each with dx, dy from the deflector.

    The rest of the arcs' light goes into the fit of the deflector.
    """
    nothing = lens | {"dx": 0.0, "dy": 0.0}
    rows, columns, own_rows, own_columns = arcs.on_brick()
    alone = arcs.images[:, own_rows, own_columns]
    if not alone.size:
        return nothing, []
    other = np.stack([clean[band][rows, columns] for band in BANDS])
    x = ((np.arange(columns.start, columns.stop) - lens["bx"]) * PIXEL_SCALE_ARCSEC)[None, :]
    y = ((np.arange(rows.start, rows.stop) - lens["by"]) * PIXEL_SCALE_ARCSEC)[:, None]
    x, y = np.broadcast_arrays(x, y)
    bright = (alone / sigma[:, None, None]).max(axis=0)
    window = 2 * round(ARC_SEEING * seeing / PIXEL_SCALE_ARCSEC / 2) + 1
    peaks = (bright == ndimage.maximum_filter(bright, window)) & (bright > 1)
    peaks &= np.hypot(x, y) > ARC_SEEING * seeing
    peaks &= (alone > ARC_CONTRAST * other)[:2].any(axis=0)
    where = np.flatnonzero(peaks)
    # Light belongs to the nearest maximum, or to the deflector.
    centres = [(0.0, 0.0), *zip(x.flat[where], y.flat[where], strict=True)]
    nearest = cKDTree(centres).query(np.column_stack([x.ravel(), y.ravel()]))[1].reshape(x.shape)
    pieces: list[dict[str, Any]] = []
    rest = nearest == 0
    for i, (dx, dy) in enumerate(centres[1:], 1):
        cell = (nearest == i) & (np.hypot(x - dx, y - dy) < ARC_REACH * seeing)
        fluxes = alone[:, cell].sum(axis=1)
        noise = np.sqrt((alone[:, cell] > sigma[:, None]).sum(axis=1).clip(1)) * sigma
        if (fluxes / noise).max() < ARC_SNR:
            rest |= cell
            continue
        pieces.append(
            lens
            | _moments(alone[1] + alone[0], x, y, cell, seeing)
            | {f"flux_{band}": flux for band, flux in zip(BANDS, fluxes, strict=True)}
            | {"number": -1, "kind": "arc", "sersic": 1.0}
        )
    reach = ABSORBED_REACH[0] * lens["r_half"] + ABSORBED_REACH[1] * seeing
    rest &= np.hypot(x, y) < reach
    absorbed = ABSORBED_FRACTION * alone[:, rest].sum(axis=1)
    if absorbed.max() <= 0:
        return nothing, pieces
    ring = _moments(alone[1] + alone[0], x, y, rest, seeing)
    ring |= {f"flux_{band}": flux for band, flux in zip(BANDS, absorbed, strict=True)}
    return lens | _merge([lens, lens | ring]), pieces


def _moments(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, mask: np.ndarray, seeing: float
) -> dict[str, float]:
    """Place dx, dy (arcsec) of light, size and shape without the blurring by the seeing."""
    light = image[mask].clip(0).astype(float)
    total = light.sum()
    dx, dy = float(light @ x[mask] / total), float(light @ y[mask] / total)
    u, v = x[mask] - dx, y[mask] - dy
    moments = np.array([light @ (u * u), light @ (u * v), light @ (v * v)]) / total
    moments[[0, 2]] = (moments[[0, 2]] - PSF_MOMENT * seeing**2).clip(0.005)
    limit = 0.95 * np.sqrt(moments[0] * moments[2])
    moments[1] = moments[1].clip(-limit, limit)
    return {"dx": dx, "dy": dy} | _shape(moments)


def _shape(moments: np.ndarray) -> dict[str, float]:
    """Half-light radius and ellipticity (Tractor's convention) of second moments xx, xy, yy.

    A profile of half-light radius r has moments of r^2 / 2 along each axis.
    """
    xx, xy, yy = moments
    if xx + yy <= 0:
        return {"r_half": 0.0, "e1": 0.0, "e2": 0.0}
    # No thinner than 1 to 20, as a line of two stars would be.
    root = max(np.sqrt(max(xx * yy - xy**2, 0.0)), 0.05 * (xx + yy))
    total = xx + yy + 2 * root
    # x points to the West: both components change sign.
    return {"r_half": float(np.sqrt(2 * root)), "e1": (yy - xx) / total, "e2": -2 * xy / total}


def _second_moments(source: Mapping[str, Any]) -> np.ndarray:
    """Second moments xx, xy, yy of a source: the inverse of `_shape`."""
    e1, e2 = -source["e1"], -source["e2"]
    square = min(e1**2 + e2**2, 0.9)
    # (a - b) / (a + b) = e with a b = r^2.
    mean = source["r_half"] ** 2 / 2 * (1 + square) / (1 - square)
    difference, cross = (2 * mean * e / (1 + square) for e in (e1, e2))
    return np.array([mean + difference, cross, mean - difference])


def _merge(parts: list[dict[str, Any]]) -> dict[str, float]:
    """Fluxes, position and shape of the sum of sources, the brightest first.

    Positions ``dx``, ``dy`` are relative to the brightest's, arcsec.
    """
    flux = np.array([part["flux_r"] for part in parts])
    flux = flux / flux.sum()
    at = np.array([[part.get("dx", 0.0), part.get("dy", 0.0)] for part in parts])
    middle = flux @ at
    dx, dy = (at - middle).T
    moments = flux @ np.array([_second_moments(part) for part in parts])
    moments = moments + np.array([flux @ (dx * dx), flux @ (dx * dy), flux @ (dy * dy)])
    sersic = flux @ np.array([part["sersic"] for part in parts])
    result = {f"flux_{band}": sum(part[f"flux_{band}"] for part in parts) for band in BANDS}
    return result | _shape(moments) | {"sersic": sersic, "dx": middle[0], "dy": middle[1]}


def _move(table: pd.DataFrame, dx: Any, dy: Any) -> None:
    """Move sources by dx to the West and dy to the North, arcsec, in place."""
    table["bx"] += dx / PIXEL_SCALE_ARCSEC
    table["by"] += dy / PIXEL_SCALE_ARCSEC
    table["ra"] -= dx / 3600 / np.cos(np.radians(table["dec"]))
    table["dec"] += dy / 3600


def _fragments(rng: Generator, sources: pd.DataFrame) -> pd.DataFrame:
    """Knots and pieces of arms of large galaxies, taken from the galaxies' fluxes in place."""
    large = sources["kind"].isin(SPLIT_KINDS) & (sources["r_half"] > SPLIT_SIZE)
    number = np.where(large & (rng.random(len(sources)) < SPLIT_FRACTION), 1, 0)
    number[number > 0] += rng.poisson(0.5, int((number > 0).sum()))
    result = sources.loc[sources.index.repeat(number)].reset_index(drop=True)
    n = len(result)
    distance = result["r_half"] * rng.uniform(0.8, 1.8, n)
    angle = rng.uniform(0, 2 * np.pi, n)
    scale = rng.uniform(*SPLIT_FLUX, n)
    result["kind"], result["number"] = "fragment", -1
    result["r_half"], result["sersic"] = np.where(rng.random(n) < 0.5, 0.0, 0.35), 1.0
    result["e1"] = result["e2"] = 0.0
    _move(result, distance * np.cos(angle), distance * np.sin(angle))
    owner = np.repeat(sources.index.to_numpy(), number)
    for band, tint in zip(BANDS, (1.4, 1.0, 0.8), strict=True):
        result[f"flux_{band}"] *= tint * scale
        sources[f"flux_{band}"] -= np.bincount(
            owner, result[f"flux_{band}"], minlength=len(sources)
        )
    return result


def _blend(sources: pd.DataFrame, seeing: np.ndarray) -> pd.DataFrame:
    """Merge sources that the seeing does not separate into the brightest of them."""
    order = np.argsort(-sources["flux_r"].to_numpy(), kind="stable")
    sources, seeing = sources.iloc[order].reset_index(drop=True), seeing[order]
    reach = BLEND_SEEING * seeing / PIXEL_SCALE_ARCSEC
    places = sources[["bx", "by"]].to_numpy()
    fainter: dict[int, list[int]] = {}
    for i, j in sorted(cKDTree(places).query_pairs(reach.max())):
        if np.hypot(*(places[i] - places[j])) < reach[i]:
            fainter.setdefault(i, []).append(j)
    absorbed = np.zeros(len(sources), bool)
    changes: dict[str, list[Any]] = {}
    owners = []
    for i in sorted(fainter):
        if absorbed[i]:
            continue
        if not (merged := [j for j in fainter[i] if not absorbed[j]]):
            continue
        absorbed[merged] = True
        parts = sources.loc[[i, *merged]].to_dict("records")
        for part in parts:
            part["dx"], part["dy"] = (
                PIXEL_SCALE_ARCSEC * (part[name] - parts[0][name]) for name in ("bx", "by")
            )
        lens = next((part for part in parts if part["kind"] == "lens"), parts[0])
        identity = {name: lens[name] for name in ("number", "kind", "scene", "redshift")}
        owners.append(i)
        for name, value in (_merge(parts) | identity).items():
            changes.setdefault(name, []).append(value)
    if owners:
        table = pd.DataFrame(changes, index=owners)
        moved = sources.loc[owners]
        _move(moved, table.pop("dx"), table.pop("dy"))
        sources.loc[owners, ["ra", "dec", "bx", "by"]] = moved[["ra", "dec", "bx", "by"]]
        for name in table:
            sources.loc[owners, name] = table[name]
    return sources[~absorbed].reset_index(drop=True)


def _stands_out(
    sources: pd.DataFrame, clean: Mapping[str, np.ndarray], conditions: Conditions
) -> np.ndarray:
    """Mask of sources that other light does not hide: their peak is bright enough in some band."""
    result = np.zeros(len(sources), bool)
    for band in BANDS:
        side_y, side_x = clean[band].shape
        column = sources["bx"].round().astype(int).clip(0, side_x - 1)
        row = sources["by"].round().astype(int).clip(0, side_y - 1)
        fwhm, _, _ = conditions.at(sources, band)
        width = np.hypot(fwhm / 2.355, sources["r_half"] / 1.18)
        peak = sources[f"flux_{band}"] * PIXEL_SCALE_ARCSEC**2 / (2 * np.pi * width**2)
        # Steep profiles are brighter than these estimates: what is left is at least 0.
        other = (clean[band][row, column] - peak).clip(0)
        result |= (peak > DETECTION_CONTRAST * other).to_numpy()
    return result


def _fitted_types(
    rng: Generator, sources: pd.DataFrame, snr: np.ndarray, seeing: np.ndarray
) -> np.ndarray:
    """Tractor type of each source: more parameters where there is more light to fix them."""
    ratio = (2 * sources["r_half"].to_numpy() / seeing) ** 2
    resolved = ratio / (1 + ratio)
    index = sources["sersic"].to_numpy()
    shape = np.hypot(sources["e1"], sources["e2"]).to_numpy()
    required = np.maximum(CHI2, CHI2_FRACTION * snr**2)
    extended = EXTENDED_CHI2 * (snr * resolved) ** 2 > CHI2
    elliptical = ELLIPTICAL_CHI2 * (snr * resolved * shape) ** 2 > required
    steep = index * np.exp(INDEX_SCATTER * rng.standard_normal(len(sources))) > DEV_INDEX
    profile = PROFILE_CHI2 * resolved * snr**2 * (index > DEV_INDEX) > required
    odds = (snr * resolved / SERSIC_SNR) ** (1 / SERSIC_WIDTH)
    free = rng.random(len(sources)) * (1 + odds) < odds
    return np.select(
        [~extended, free & (elliptical | profile), ~elliptical & ~profile, steep],
        ["PSF", "SER", "REX", "DEV"],
        "EXP",
    )
