"""Whether a classifier can separate two populations, with the uncertainty of its AUC."""

import itertools
from collections.abc import Sequence

import numpy as np

from lenspipe.statistics.intervals import Estimate, area_interval
from lenspipe.statistics.metrics import placement_variance, placements
from lenspipe.utils.errors import LenspipeError

__all__ = ["average_auc", "classifier_auc", "ring_fluxes"]

#: Maximum number of principal components of a classifier, and training examples for each.
_MAX_COMPONENTS, _EXAMPLES_PER_COMPONENT = 20, 10

_FOLDS = 5

#: Edges of rings, arcsec, and the flux at which the brightness scale becomes linear, nmgy.
_RADII_ARCSEC, _SOFTENING_NMGY = (0, 0.8, 1.5, 2.2, 3.0, 4.0, 5.5), 0.05


def ring_fluxes(images: np.ndarray, pixel_scale_arcsec: float) -> np.ndarray:
    """Measure the light of cutouts, (N, B, S, S) in nanomaggies, in rings around the centre.

    Pixels that are not finite count as the mean of their ring. The features, (N, 8 B - 2), are
    asinh(flux / 0.05 nmgy), nearly a magnitude, of six rings in each band; the colours of the
    innermost ring between neighbouring bands; and their differences from the colours of the other
    rings together.
    """
    size = images.shape[-1]
    axis = (np.arange(size) - size // 2) * pixel_scale_arcsec
    radius = np.hypot(axis[:, None], axis)
    rings = []
    for low, high in itertools.pairwise(_RADII_ARCSEC):
        ring = images[:, :, (radius >= low) & (radius < high)]
        good = np.isfinite(ring)
        mean = np.where(good, ring, 0).sum(axis=2) / np.maximum(good.sum(axis=2), 1)
        rings.append(mean * ring.shape[2])
    fluxes = np.stack(rings, axis=2)
    brightness = np.arcsinh(fluxes / _SOFTENING_NMGY)
    inner = np.diff(np.arcsinh(fluxes[:, :, 0] / _SOFTENING_NMGY), axis=1)
    outer = np.diff(np.arcsinh(fluxes[:, :, 1:].sum(axis=2) / _SOFTENING_NMGY), axis=1)
    return np.concatenate([brightness.reshape(len(images), -1), inner, inner - outer], axis=1)


def classifier_auc(features: np.ndarray, label: np.ndarray, group: np.ndarray) -> Estimate:
    """Measure how well a classifier separates two populations in groups it was not trained on.

    Ridge-penalised logistic regression on the principal components of standardised features is
    trained on all folds of groups but one, in turn. Features are (N, K) float, labels (N,) bool; a
    group, such as a brick, is never in both training and test set. The AUC and its interval are
    those of `average_auc`; 0.5 if the populations cannot be separated, None for fewer than two
    groups.

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
            f"{error.name}: not installed, but needed to compare injected with real lenses; "
            "pip install 'lenspipe[demo]', or set selection.number to 0"
        ) from None
    n_groups = len(np.unique(group))
    if n_groups < 2:
        return None, None, None
    folds = []
    for train, test in GroupKFold(min(_FOLDS, n_groups)).split(features, label, group):
        if len(np.unique(label[train])) < 2 or len(np.unique(label[test])) < 2:
            continue
        n_components = max(
            2, min(_MAX_COMPONENTS, len(train) // _EXAMPLES_PER_COMPONENT, features.shape[1])
        )
        classifier = make_pipeline(
            StandardScaler(),
            PCA(n_components, svd_solver="full"),
            StandardScaler(),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
        )
        classifier.fit(features[train], label[train])
        score = classifier.decision_function(features[test])
        folds.append((score[label[test]], score[~label[test]]))
    return average_auc(folds)


def average_auc(
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Estimate:
    """Average the area under the ROC curve over folds, with a 95 % interval.

    Each fold has its own classifier, whose scores are compared only with each other; the variance
    is that of the placements (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837) in each
    fold (LeDell, Petersen & van der Laan 2015, Electron. J. Stat. 9, 1583). The interval is
    that of `lenspipe.statistics.intervals.area_interval`. Each fold consists of the scores of
    positives and of negatives; without folds all are None.
    """
    if not folds:
        return None, None, None
    areas, variances, sizes = [], [], []
    for positives, negatives in folds:
        above, below = placements(positives, negatives), 1 - placements(negatives, positives)
        areas.append(above.mean())
        variances.append(placement_variance(above) + placement_variance(below))
        sizes.append(1 / (1 / len(positives) + 1 / len(negatives)))
    weights = np.array(sizes) / np.sum(sizes)
    area, error = weights @ areas, np.sqrt(weights**2 @ variances)
    n = min(sum(map(len, scores)) for scores in zip(*folds, strict=True))
    return area_interval(float(area), float(error), n)
