"""Figure of merit by which the trials of a sweep are compared."""

import math

import numpy as np

from lenspipe.statistics.metrics import auc, completeness_at_fpr
from lenspipe.utils.errors import LenspipeError

__all__ = ["check_fpr", "merit"]


def check_fpr(fpr: float, n_nonlenses: int) -> None:
    """Make sure that ``sweep.fpr`` can be measured with the non-lenses of the validation split.

    Raises
    ------
    LenspipeError
        There are fewer than 1 / fpr.
    """
    if completeness_at_fpr([], [0.0] * n_nonlenses, fpr)[1] is None:
        digits = 10 ** (len(str(n_nonlenses)) + 2)
        minimum = math.ceil(digits / n_nonlenses) / digits
        raise LenspipeError(
            f"config key sweep.fpr: found {fpr:g}, expected at least {minimum:g}, one of the "
            f"{n_nonlenses} non-lenses of the validation split; set it to that, or enlarge that "
            "split (sample.fractions, sample.negatives_per_lens)"
        )


def merit(lenses: np.ndarray, nonlenses: np.ndarray, fpr: float) -> float:
    """Figure of merit of a trial by its scores of N lenses and of non-lenses: C + AUC / 2N.

    Completeness C comes in steps of 1 / N, so the area under the ROC curve, worth at most half a
    step, only orders trials that find the same number of lenses.
    """
    completeness, _ = completeness_at_fpr(lenses, nonlenses, fpr)
    area = auc(lenses, nonlenses)
    assert completeness is not None and area is not None, "refused by `check_fpr`"
    return completeness + area / (2 * len(lenses))
