"""Scores as probabilities: functions of a score, fitted to galaxies that training did not see.

They hold where lenses are as frequent as among the galaxies that they were fitted to. Neither
changes the order of scores, though `isotonic` makes some of them equal.
"""

import json
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, logit

from lenspipe.products.files import require, write_json
from lenspipe.utils.errors import LenspipeError

__all__ = ["Calibration", "fit_calibration", "read_calibration", "write_calibration"]

# Scores are in single precision: nearer to 0 or 1 than this there are none.
_NEAREST = 1e-7

_TEMPERATURES = 0.02, 50.0


@dataclass(frozen=True)
class Calibration:
    """Two ways to make probabilities of a model's scores.

    Parameters
    ----------
    method : {"temperature", "isotonic"}
        The one that `apply` uses.
    temperature : float
        What the logit of a score is divided by; above 1 where a model is too sure.
    scores, probabilities : tuple of float
        Corners of the isotonic function, which is straight between and level beyond them.
    n_lenses, n_nonlenses : int
        Galaxies that it was fitted to.
    """

    method: str
    temperature: float
    scores: tuple
    probabilities: tuple
    n_lenses: int
    n_nonlenses: int

    def apply(self, p, method=None):
        """Turn scores into probabilities.

        Parameters
        ----------
        p : array_like of float
            Scores, 0 to 1.
        method : {"temperature", "isotonic"}, optional
            Another than the calibration's own.

        Returns
        -------
        numpy.ndarray of float64
            Of the same shape.
        """
        p = np.asarray(p, np.float64)
        if (method or self.method) == "temperature":
            return expit(_logit(p) / self.temperature)
        return np.interp(p, self.scores, self.probabilities)

    def on_sky(self, p, prior):
        """Turn scores into probabilities where lenses are as rare as on the sky.

        Parameters
        ----------
        p : array_like of float
            Scores, 0 to 1.
        prior : float
            Part of the galaxies that are lenses there.

        Returns
        -------
        numpy.ndarray of float64
            Of the same shape: the odds of `apply` times the odds of a lens there over those among
            the galaxies that the calibration was fitted to.
        """
        here = self.apply(p)
        factor = prior / (1 - prior) * self.n_nonlenses / self.n_lenses
        return here * factor / (here * factor + (1 - here))


def fit_calibration(label, p, method):
    """Fit both ways to scores of known galaxies.

    Parameters
    ----------
    label : array_like, shape (N,)
        1 lens, 0 none.
    p : array_like of float, shape (N,)
        Scores, 0 to 1.
    method : {"temperature", "isotonic"}
        The one to use.

    Returns
    -------
    Calibration or None
        None where there are no lenses or no others.

    Notes
    -----
    The temperature has the least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599,
    section 4.2; between 0.02 and 50); the isotonic function the least squares of all that never
    fall (Zadrozny & Elkan 2002, KDD).
    """
    label, p = np.asarray(label, np.float64), np.asarray(p, np.float64)
    n_lenses = int((label > 0.5).sum())
    if n_lenses in (0, len(label)):
        return None
    logits, sign = _logit(p), np.where(label > 0.5, -1.0, 1.0)

    def loss(log_temperature):
        return np.logaddexp(0, sign * logits / np.exp(log_temperature)).mean()

    best = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    scores, places, counts = np.unique(p, return_inverse=True, return_counts=True)
    means = np.bincount(places, label) / counts
    rising = isotonic_regression(means, weights=counts).x
    corner = np.ones(len(rising), bool)
    corner[1:-1] = (rising[1:-1] != rising[:-2]) | (rising[1:-1] != rising[2:])
    return Calibration(
        method=method,
        temperature=float(np.exp(best.x)),
        scores=tuple(scores[corner].tolist()),
        probabilities=tuple(rising[corner].tolist()),
        n_lenses=n_lenses,
        n_nonlenses=len(label) - n_lenses,
    )


def write_calibration(path, calibration):
    """Write a calibration as JSON.

    Parameters
    ----------
    path : str or path-like
    calibration : Calibration or None
        ``null`` stands for None.
    """
    content = calibration and vars(calibration)
    write_json(path, content)


def read_calibration(path):
    """Read a calibration.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    Calibration or None
        None where the model has none.

    Raises
    ------
    LenspipeError
        There is no such file, or it holds something else.
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


def _logit(p):
    return logit(np.clip(p, _NEAREST, 1 - _NEAREST))
