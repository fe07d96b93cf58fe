"""Whether two populations can be told apart: a classifier, and how sure its answer is."""

import itertools

import numpy as np

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.statistics.metrics import wilson_interval
from lenspipe.utils.errors import LenspipeError

__all__ = ["cross_validate", "ring_fluxes", "tell_apart"]

#: Principal components that a classifier may use: at most these, and one for so many examples.
_COMPONENTS, _EXAMPLES_EACH = 20, 10

_FOLDS = 5

#: Radii of apertures, arcsec, and the flux at which the scale of brightness becomes linear, nmgy.
_RADII_ARCSEC, _SOFTENING = (0, 0.8, 1.5, 2.2, 3.0, 4.0, 5.5), 0.05


def ring_fluxes(images):
    """Measure the light of cutouts in rings around the centre.

    Parameters
    ----------
    images : (N, B, S, S) float array
        Nanomaggies; pixels that are not finite count as the mean of their ring.

    Returns
    -------
    (N, 8 B - 2) float array
        asinh(flux / 0.05 nmgy), nearly a magnitude, of six rings in each band; the colours of the
        innermost one between neighbouring bands, and by how much those of the others together
        differ.
    """
    size = images.shape[-1]
    axis = (np.arange(size) - size // 2) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(axis[:, None], axis)
    fluxes = []
    for low, high in itertools.pairwise(_RADII_ARCSEC):
        ring = images[:, :, (radius >= low) & (radius < high)]
        good = np.isfinite(ring)
        mean = np.where(good, ring, 0).sum(axis=2) / np.maximum(good.sum(axis=2), 1)
        fluxes.append(mean * ring.shape[2])
    fluxes = np.stack(fluxes, axis=2)
    bright = np.arcsinh(fluxes / _SOFTENING)
    inner = np.diff(np.arcsinh(fluxes[:, :, 0] / _SOFTENING), axis=1)
    outer = np.diff(np.arcsinh(fluxes[:, :, 1:].sum(axis=2) / _SOFTENING), axis=1)
    return np.concatenate([bright.reshape(len(images), -1), inner, inner - outer], axis=1)


def tell_apart(features, label, group):
    """Measure how well a classifier tells two populations apart, on groups that it never saw.

    Logistic regression with a ridge on the principal components of standardised features, trained
    on all folds of groups but one, in turn.

    Parameters
    ----------
    features : (N, K) float array
    label : (N,) bool array
    group : (N,) array
        Such as bricks: none is on both sides.

    Returns
    -------
    auc, low, high : float or None
        As of `cross_validate`; 0.5: they can't be told apart. None for fewer than two groups.

    Raises
    ------
    LenspipeError
        scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise LenspipeError(
            f"{error.name}: not installed; to compare painted with real lenses it is needed: "
            "pip install 'lenspipe[demo]', or set selection.number to 0"
        ) from None
    n_groups = len(np.unique(group))
    if n_groups < 2:
        return None, None, None
    folds = []
    for train, test in GroupKFold(min(_FOLDS, n_groups)).split(features, label, group):
        if len(np.unique(label[train])) < 2 or len(np.unique(label[test])) < 2:
            continue
        most = max(2, min(_COMPONENTS, len(train) // _EXAMPLES_EACH, features.shape[1]))
        classifier = make_pipeline(
            StandardScaler(),
            PCA(most, svd_solver="full"),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
        )
        classifier.fit(features[train], label[train])
        score = classifier.decision_function(features[test])
        folds.append((score[label[test]], score[~label[test]]))
    return cross_validate(folds)


def cross_validate(folds):
    """Average the area under the ROC curve over folds, with a 95 % interval.

    Each fold has a classifier of its own, whose scores are compared with each other only; the
    variance is that of the placements (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837) in
    each (LeDell, Petersen & van der Laan 2015, Electron. J. Stat. 9, 1583). The interval is even in
    the logit. Where nothing overlaps it is Wilson's for the smaller population.

    Parameters
    ----------
    folds : list of (positives, negatives)
        Scores of each fold, arrays.

    Returns
    -------
    auc, low, high : float or None
        None without a fold.
    """
    if not folds:
        return None, None, None
    areas, variances, weights = [], [], []
    for positives, negatives in folds:
        above = _placements(positives, negatives)
        below = 1 - _placements(negatives, positives)
        areas.append(above.mean())
        variances.append(_variance(above) + _variance(below))
        weights.append(1 / (1 / len(positives) + 1 / len(negatives)))
    weights = np.array(weights) / np.sum(weights)
    area, error = weights @ areas, np.sqrt(weights**2 @ variances)
    if error == 0:
        n = min(sum(map(len, side)) for side in zip(*folds, strict=True))
        return float(area), *(float(end) for end in wilson_interval(round(area * n), n))
    slope = area * (1 - area)
    ends = np.log(area / (1 - area)) + 1.959964 * error / slope * np.array([-1, 1])
    return float(area), *(1 / (1 + np.exp(-ends))).tolist()


def _placements(scores, others):
    """Part of the others below each score, ties half."""
    others = np.sort(others)
    ends = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    return sum(ends) / 2 / len(others)


def _variance(placements):
    return placements.var(ddof=1) / len(placements) if len(placements) > 1 else 0.25
