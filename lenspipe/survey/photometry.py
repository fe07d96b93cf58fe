"""Conversion of fluxes and AB magnitudes."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["to_flux", "to_magnitude"]


def to_magnitude(flux: ArrayLike, zero_point_mag: float) -> np.ndarray:
    """Convert fluxes to AB magnitudes; NaN where a flux is not positive.

    Parameters
    ----------
    zero_point_mag
        Magnitude of a flux of 1, as in `lenspipe.config.surveys.base.Release`.

    Examples
    --------
    >>> to_magnitude([1.0, 100.0, -1.0], 22.5).tolist()
    [22.5, 17.5, nan]
    """
    flux = np.asarray(flux)
    return zero_point_mag - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


def to_flux(mag: ArrayLike, zero_point_mag: float) -> np.ndarray:
    """Convert AB magnitudes to fluxes, the inverse of `to_magnitude`."""
    return 10 ** (0.4 * (zero_point_mag - np.asarray(mag)))
