"""What is left of a cutout when a smooth elliptical galaxy is taken off: arcs close to it.

The model is not fitted: in each band it is the median of the pixels on ellipses around the centre,
which no neighbour and no arc that covers less than half of an ellipse can draw to itself.
"""

import numpy as np

__all__ = ["axis_ratio_and_angle", "smooth_model", "subtract_smooth"]

#: Standard deviation of a Gaussian over its full width at half maximum.
_SIGMA = 1 / 2.3548
#: Light near the centre, where arcs are, is spread over about half of the half-light radius: on the
#: simulated sky a half leaves least (5 % less than all of it).
_CORE = 0.5
#: Second moments are weighted by a Gaussian of this standard deviation, pixels.
_WINDOW = 4.0
#: Flattest ellipse; moments of noise know no bounds.
_FLATTEST = 0.2


def axis_ratio_and_angle(e1, e2, r_arcsec=np.inf, fwhm_arcsec=0.0):
    """Ellipse of a galaxy as it is seen, from its shape in the catalogue and the seeing.

    Parameters
    ----------
    e1, e2 : float
        ``shape_e1`` and ``shape_e2`` of the Tractor catalogue.
    r_arcsec : float
        ``shape_r``, half-light radius, arcsec.
    fwhm_arcsec : float
        Seeing, FWHM, which makes the ellipse rounder.

    Returns
    -------
    ratio : float
        Minor over major axis, 0.2 to 1.
    angle : float
        Of the major axis, radians from North to East.

    Notes
    -----
    https://www.legacysurvey.org/dr9/catalogs/#ellipticities
    """
    e = min(np.hypot(e1, e2), 0.99)
    ratio = (1 - e) / (1 + e)
    if np.isfinite(r_arcsec):
        seeing = (_SIGMA * fwhm_arcsec) ** 2
        core = _CORE * r_arcsec
        axes = np.array([(ratio * core) ** 2, core**2]) + seeing
        ratio = np.sqrt(axes[0] / axes[1]) if axes[1] > 0 else 1.0
    return max(float(ratio), _FLATTEST), 0.5 * float(np.arctan2(e2, e1))


def smooth_model(image, ratio=None, angle=None):
    """Elliptical galaxy that fits a cutout's centre: medians on ellipses.

    Parameters
    ----------
    image : array_like, shape (B, S, S)
        Nanomaggies; row 0 in the south, East at the left; NaN where there is no data.
    ratio, angle : float, optional
        As of `axis_ratio_and_angle`; from the image's own second moments if not given.

    Returns
    -------
    numpy.ndarray, float32, shape (B, S, S)
        Nanomaggies; 0 in a band without data.
    """
    image = np.asarray(image, np.float32)
    size = image.shape[-1]
    y, x = np.indices((size, size)) - size // 2
    if ratio is None or angle is None:
        ratio, angle = _moments(image, x, y)
    # The major axis points to (-sin, cos): East is towards smaller x.
    along = -x * np.sin(angle) + y * np.cos(angle)
    across = x * np.cos(angle) + y * np.sin(angle)
    radius = np.sqrt(ratio * along**2 + across**2 / ratio)
    # Rings as thin as a pixel where the light falls steeply, wider ones farther out.
    edges = np.concatenate([[0, 0.7], np.arange(1.6, 12), 11.6 * 1.12 ** np.arange(1, 60)])
    ring = np.digitize(radius, edges) - 1
    model = np.zeros_like(image)
    for band, result in zip(image, model, strict=True):
        radii, values = [], []
        for number in range(ring.max() + 1):
            pixels = (ring == number) & np.isfinite(band)
            if pixels.any():
                radii.append(radius[pixels].mean())
                values.append(_clipped_median(band[pixels]))
        if radii:
            result[:] = np.interp(radius, radii, values)
    return model


def subtract_smooth(image, ratio=None, angle=None):
    """Return a cutout without its smooth galaxy; parameters and shape as in `smooth_model`."""
    return np.asarray(image, np.float32) - smooth_model(image, ratio, angle)


def _clipped_median(values):
    """Median without what lies far above it, by the scatter below it, where there is no arc."""
    values = np.sort(values)
    for _ in range(2):
        low, middle = values[len(values) * 16 // 100], values[len(values) // 2]
        values = values[: np.searchsorted(values, middle + 2 * (middle - low), "right")]
    return np.median(values)


def _moments(image, x, y):
    """Axis ratio and angle by second moments of all bands, weighted by a round Gaussian."""
    light = np.nan_to_num(image).sum(axis=0).clip(0)
    light = light * np.exp(-0.5 * (x**2 + y**2) / _WINDOW**2)
    total = light.sum()
    if not total > 0:
        return 1.0, 0.0
    xx, yy, xy = ((light * product).sum() / total for product in (x * x, y * y, x * y))
    # What the weight took away (exact for a Gaussian galaxy).
    inverse = np.linalg.inv([[xx + 1e-3, xy], [xy, yy + 1e-3]]) - np.eye(2) / _WINDOW**2
    values, axes = np.linalg.eigh(inverse)
    ratio = np.sqrt(values[0] / values[1]) if values[0] > 0 else _FLATTEST
    return max(float(ratio), _FLATTEST), float(np.arctan2(-axes[0, 0], axes[1, 0]))
