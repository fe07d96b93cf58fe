"""Painting of galaxies and stars: their light before any PSF, and the coadds made of it.

Stamps and whole bricks are painted by the same functions. The light of a patch is painted once, in
all bands, on a grid twice as fine as the coadd's; `Light.observe` convolves a part of it with the
PSF there and samples it at the coadd's pixels.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import fft
from scipy.special import gammainc

from lenspipe.simulation.psf import Psf
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC

__all__ = ["Light", "sersic_b"]

#: Fine pixels per coadd pixel along each axis, and the size of a fine pixel, arcsec.
OVERSAMPLING = 2
FINE_ARCSEC = PIXEL_SCALE_ARCSEC / OVERSAMPLING

#: Surface brightness at which a galaxy is cut off, nanomaggies per coadd pixel: a tenth of the
#: noise of the deepest coadds.
FAINTEST = 2e-4

#: Minimum and maximum radius to which a galaxy is painted, arcsec.
REACH_ARCSEC = (0.8, 60.0)

#: Fine pixels on each side of the centre, and points per fine pixel along each axis, in which a
#: steep profile is integrated over the pixels instead of evaluated at their centres.
_CORE, _CORE_POINTS = 2, 5

#: Brightness as a function of position in the plane of a disc, arcsec, along its major axis and
#: across it, relative to a smooth profile.
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sersic_b(index: float) -> float:
    """Constant b of a Sersic profile (Ciotti & Bertin 1999, A&A 352, 447, to first order)."""
    return 2 * index - 1 / 3 + 0.009876 / index


class Light:
    """Light of a square patch of the sky before any PSF, nanomaggies per fine pixel.

    Positions are coadd pixels counted from 0 at the centre of the first one.
    """

    def __init__(self, size: int, bands: int = 3) -> None:
        self.size = size
        self.image = np.zeros((bands, OVERSAMPLING * size, OVERSAMPLING * size), np.float32)

    def add(self, components: Iterable[Mapping[str, Any]], bands: Sequence[str]) -> None:
        """Paint components with positions x, y; the other keys are those of a scene's."""
        for row in components:
            fluxes = np.array([row[f"flux_{band}"] for band in bands])
            if row["profile"] == "psf":
                self.add_point(fluxes, row["x"], row["y"])
            else:
                texture = row["texture"]
                shape = row["sersic"], row["r_half"], row["e1"], row["e2"]
                self.add_galaxy(fluxes, row["x"], row["y"], *shape, texture)

    def add_point(self, fluxes: np.ndarray, x: float, y: float) -> None:
        """Add a point source, spread over the four nearest fine pixels."""
        fx, fy = _fine(x), _fine(y)
        i, j = int(np.floor(fx)), int(np.floor(fy))
        side = self.image.shape[-1]
        if not (0 <= i < side - 1 and 0 <= j < side - 1):
            return
        a, b = fx - i, fy - j
        weights = np.outer([1 - b, b], [1 - a, a])
        self.image[:, j : j + 2, i : i + 2] += fluxes[:, None, None] * weights

    def add_galaxy(
        self,
        fluxes: np.ndarray,
        x: float,
        y: float,
        index: float,
        r_half: float,
        e1: float,
        e2: float,
        texture: Texture | None = None,
    ) -> None:
        """Add a Sersic profile, or a texture that multiplies it.

        Parameters
        ----------
        fluxes
            (B,) in all, nanomaggies; of a texture, the part on the patch.
        index, r_half
            Sersic index; half-light radius along the geometric mean of the axes, arcsec.
        e1, e2
            Ellipticity in Tractor's convention, which counts from North to East.
        texture
            Multiplies the profile.
        """
        modulus = min(float(np.hypot(e1, e2)), 0.9)
        ratio = (1 - modulus) / (1 + modulus)
        # On the image, where x points to the West, both components change sign.
        angle = 0.5 * np.arctan2(-e2, -e1)
        b = sersic_b(index)
        side = self.image.shape[-1]
        peak = float(np.max(fluxes)) * PIXEL_SCALE_ARCSEC**2 * _peak(index, b) / r_half**2
        radii = (max(np.log(max(peak / FAINTEST, 1.0)) / b, 0.0)) ** index * r_half
        reach = float(np.clip(radii / np.sqrt(ratio), *REACH_ARCSEC)) / FINE_ARCSEC
        fx, fy = _fine(x), _fine(y)
        left, right = max(int(fx - reach), 0), min(int(fx + reach) + 2, side)
        bottom, top = max(int(fy - reach), 0), min(int(fy + reach) + 2, side)
        if left >= right or bottom >= top:
            return
        cosine, sine = np.cos(angle), np.sin(angle)

        def brightness(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
            u = np.float32(cosine) * dx + np.float32(sine) * dy
            v = np.float32(cosine) * dy - np.float32(sine) * dx
            square = u * u * np.float32(ratio / r_half**2)
            square += v * v * np.float32(1 / (ratio * r_half**2))
            light = np.exp(np.float32(-b) * square ** np.float32(0.5 / index))
            return light * texture(u, v / np.float32(ratio)) if texture else light

        dx = ((np.arange(left, right) - fx) * FINE_ARCSEC).astype(np.float32)
        dy = ((np.arange(bottom, top) - fy) * FINE_ARCSEC).astype(np.float32)
        image = brightness(dx[None, :], dy[:, None])
        if index > 1.2:
            _integrate_core(image, brightness, dx, dy)
        if texture:
            total = float(image.sum(dtype=np.float64))
        elif left > 0 and bottom > 0 and right < side and top < side:
            # The sum is that of the light within reach, whose fraction of all is known.
            inside = gammainc(2 * index, b * (reach * FINE_ARCSEC / r_half) ** (1 / index))
            total = float(image.sum(dtype=np.float64)) / float(inside)
        else:
            total = r_half**2 / _peak(index, b) / FINE_ARCSEC**2
        if total > 0:
            part = self.image[:, bottom:top, left:right]
            for band, flux in zip(part, fluxes, strict=True):
                band += np.float32(flux / total) * image

    def observe(
        self, psfs: Sequence[Psf], left: int = 0, bottom: int = 0, size: int | None = None
    ) -> np.ndarray:
        """Image of a square part as seen through the PSF of each band, without noise.

        Return nanomaggies per pixel, float32 (B, size, size), of the part whose first pixel is at
        (left, bottom); all of the patch if `size` is not given. Light at an edge of the part comes
        back at the opposite edge: leave a margin of some times the seeing.
        """
        size = size or self.size
        fine = slice(OVERSAMPLING * bottom, OVERSAMPLING * (bottom + size))
        columns = slice(OVERSAMPLING * left, OVERSAMPLING * (left + size))
        half = size // 2
        kx = 2 * np.pi * fft.rfftfreq(size, PIXEL_SCALE_ARCSEC).astype(np.float32)[None, :]
        ky = 2 * np.pi * fft.fftfreq(size, PIXEL_SCALE_ARCSEC).astype(np.float32)[:, None]
        # The coadd's pixel i lies between the fine pixels 2i and 2i + 1.
        phase = np.exp(0.5j * FINE_ARCSEC * kx) * np.exp(0.5j * FINE_ARCSEC * ky)
        phase = phase.astype(np.complex64)
        result = np.zeros((len(self.image), size, size), np.float32)
        for image, psf, seen in zip(self.image, psfs, result, strict=True):
            part = image[fine, columns]
            if not part.any():
                continue
            # Only the frequencies of the coadd are needed: the PSF suppresses all others.
            waves = fft.rfft(part, axis=1)[:, : size // 2 + 1]
            waves = fft.fft(waves, axis=0, overwrite_x=True)
            waves = np.concatenate([waves[: size - half], waves[-half:]])
            waves *= psf.transform(kx, ky)
            waves *= phase
            seen[:] = fft.irfft2(waves, (size, size), overwrite_x=True)
        return result


def _fine(position: float) -> float:
    """Position on the fine grid, counted from the centre of its first pixel."""
    return OVERSAMPLING * position + (OVERSAMPLING - 1) / 2


def _peak(index: float, b: float) -> float:
    """Central surface brightness of a Sersic profile of unit flux and half-light radius."""
    return b ** (2 * index) / (2 * np.pi * index * math.gamma(2 * index))


def _integrate_core(image: np.ndarray, brightness: Texture, dx: np.ndarray, dy: np.ndarray) -> None:
    """Average a profile over the fine pixels around its centre."""
    i, j = int(np.abs(dx).argmin()), int(np.abs(dy).argmin())
    columns = slice(max(i - _CORE, 0), i + _CORE + 1)
    rows = slice(max(j - _CORE, 0), j + _CORE + 1)
    steps = (np.arange(_CORE_POINTS) - (_CORE_POINTS - 1) / 2) * (FINE_ARCSEC / _CORE_POINTS)
    steps = steps.astype(np.float32)
    x = (dx[columns, None] + steps).ravel()
    y = (dy[rows, None] + steps).ravel()
    fine = brightness(x[None, :], y[:, None])
    shape = len(y) // _CORE_POINTS, _CORE_POINTS, len(x) // _CORE_POINTS, _CORE_POINTS
    image[rows, columns] = fine.reshape(shape).mean(axis=(1, 3))
