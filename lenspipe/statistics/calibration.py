"""Calibration: functions from scores to probabilities, fitted to galaxies not used in training.

The probabilities are valid where lenses are as frequent as among the galaxies of the fit. Neither
method changes the order of scores, though `isotonic` makes some of them equal.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, logit

from lenspipe.products.files import require, write_json
from lenspipe.utils.errors import LenspipeError

__all__ = ["Calibration", "fit_calibration", "read_calibration", "write_calibration"]

# Scores are in single precision: none is closer to 0 or 1 than this.
_MIN_DISTANCE = 1e-7

_TEMPERATURES = 0.02, 50.0


@dataclass(frozen=True)
class Calibration:
    """Two functions from a model's scores to probabilities.

    Parameters
    ----------
    method : {"temperature", "isotonic"}
        The one that `apply` uses by default.
    temperature
        The logit of a score is divided by it; above 1 where a model is overconfident.
    scores, probabilities
        Knots of the isotonic function, which is linear between and constant beyond them.
    n_lenses, n_nonlenses
        Galaxies of the fit.
    """

    method: str
    temperature: float
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    n_lenses: int
    n_nonlenses: int

    def apply(self, p: ArrayLike, method: str | None = None) -> np.ndarray:
        """Convert scores (0 to 1) to probabilities, by another method than the default if given."""
        p = np.asarray(p, np.float64)
        if (method or self.method) == "temperature":
            return expit(_logit(p) / self.temperature)
        return np.interp(p, self.scores, self.probabilities)

    def on_sky(self, p: ArrayLike, prior: float) -> np.ndarray:
        """Convert scores to probabilities where lenses are as rare as on the sky.

        The odds of `apply` are multiplied by the odds of a lens on the sky, where a fraction
        `prior` of galaxies are lenses, and divided by those among the galaxies of the fit.
        """
        probability = self.apply(p)
        factor = prior / (1 - prior) * self.n_nonlenses / self.n_lenses
        return probability * factor / (probability * factor + (1 - probability))


def fit_calibration(label: ArrayLike, p: ArrayLike, method: str) -> Calibration | None:
    """Fit both functions to scores (0 to 1) of labelled galaxies (1 for lenses, 0 for non-lenses).

    `method` is the default of the calibration. None without lenses or without non-lenses.

    Notes
    -----
    The temperature minimises the negative log-likelihood (Guo et al. 2017, arXiv:1706.04599,
    section 4.2; between 0.02 and 50); the isotonic function is the non-decreasing one with the
    smallest sum of squares (Zadrozny & Elkan 2002, KDD).
    """
    label, p = np.asarray(label, np.float64), np.asarray(p, np.float64)
    n_lenses = int((label > 0.5).sum())
    if n_lenses in (0, len(label)):
        return None
    logits, sign = _logit(p), np.where(label > 0.5, -1.0, 1.0)

    def loss(log_temperature: float) -> float:
        return np.logaddexp(0, sign * logits / np.exp(log_temperature)).mean()

    best = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    scores, places, counts = np.unique(p, return_inverse=True, return_counts=True)
    means = np.bincount(places, label) / counts
    fitted = isotonic_regression(means, weights=counts).x
    is_knot = np.ones(len(fitted), bool)
    is_knot[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return Calibration(
        method=method,
        temperature=float(np.exp(best.x)),
        scores=tuple(scores[is_knot].tolist()),
        probabilities=tuple(fitted[is_knot].tolist()),
        n_lenses=n_lenses,
        n_nonlenses=len(label) - n_lenses,
    )


def write_calibration(path: str | os.PathLike[str], calibration: Calibration | None) -> None:
    """Write a calibration as JSON; None as ``null``."""
    content = calibration and vars(calibration)
    write_json(path, content)


def read_calibration(path: Path) -> Calibration | None:
    """Read a calibration; None where the model has none.

    Raises
    ------
    LenspipeError
        The file does not exist or is not a calibration.
    """
    require(path, "calibration")
    try:
        content = json.loads(path.read_text())
        if content is None:
            return None
        pairs = {name: tuple(content[name]) for name in ("scores", "probabilities")}
        return Calibration(**content | pairs)
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise LenspipeError(
            f"{path}: can't be read as a calibration ({type(error).__name__}: {error}); delete it "
            "and assess the model again"
        ) from None


def _logit(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, _MIN_DISTANCE, 1 - _MIN_DISTANCE))
