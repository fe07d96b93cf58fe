"""Which of many unlabelled objects to look at: active learning."""

from collections.abc import Sequence

import numpy as np
from scipy.special import entr

__all__ = ["choose_diverse", "disagreement", "share_out"]


def disagreement(p: np.ndarray) -> np.ndarray:
    """Mutual information of an object's label and the member of a committee, nats.

    The entropy of the mean probability less the mean entropy of the members' (Houlsby et al. 2011,
    arXiv:1112.5745, equation 2): large where members are certain of different answers, zero where
    they agree, however uncertain they are.

    Parameters
    ----------
    p
        Probabilities, (N, M), of M members.
    """
    p = np.asarray(p, np.float64)
    mean = p.mean(axis=1)
    total = entr(mean) + entr(1 - mean)
    return np.maximum(total - (entr(p) + entr(1 - p)).mean(axis=1), 0)


def choose_diverse(
    features: np.ndarray, number: int, covered: np.ndarray | None = None
) -> np.ndarray:
    """Choose objects that differ from each other: k-centre greedy.

    Each is the one farthest from all that are chosen or covered, so that the largest distance of
    any object from a chosen one is at most twice what is possible (Gonzalez 1985, Theor. Comput.
    Sci. 38, 293; for active learning Sener & Savarese 2018, arXiv:1708.00489, algorithm 1). It
    takes number x N distances.

    Parameters
    ----------
    features
        (N, K); each is scaled to unit variance.
    covered
        Rows that are looked at anyway; without any, the first is the object farthest from the mean.

    Returns
    -------
    numpy.ndarray
        Rows, in the order of choice; at most `number`, none of them covered.
    """
    scaled = np.asarray(features, np.float32)
    scaled = (scaled - scaled.mean(axis=0)) / np.maximum(scaled.std(axis=0), 1e-6)
    norms = (scaled**2).sum(axis=1)
    rows = np.zeros(0, int) if covered is None else np.asarray(covered, int)
    nearest = np.full(len(scaled), np.inf, np.float32)
    for row in rows:
        nearest = np.minimum(nearest, norms - 2 * scaled @ scaled[row] + norms[row])
    if not len(rows):
        nearest = norms.copy()
    nearest[rows] = -np.inf
    chosen: list[int] = []
    for _ in range(min(number, len(scaled) - len(np.unique(rows)))):
        row = int(nearest.argmax())
        if not chosen and not len(rows):
            nearest = np.full(len(scaled), np.inf, np.float32)
        chosen.append(row)
        nearest = np.minimum(nearest, norms - 2 * scaled @ scaled[row] + norms[row])
        nearest[row] = -np.inf
    return np.array(chosen, int)


def share_out(number: int, fractions: Sequence[float]) -> list[int]:
    """Divide a number in given proportions: whole numbers with that sum, by largest remainders.

    Examples
    --------
    >>> share_out(10, [0.5, 0.25, 0.25])
    [5, 3, 2]
    """
    exact = number * np.asarray(fractions, float) / sum(fractions)
    shares = np.floor(exact).astype(int)
    rest = np.argsort(-(exact - shares), kind="stable")[: number - shares.sum()]
    shares[rest] += 1
    return shares.tolist()
