"""By what trials are compared."""

import math

from lenspipe.statistics.metrics import auc, completeness_at_fpr
from lenspipe.utils.errors import LenspipeError

__all__ = ["check_rate", "merit"]


def check_rate(settings, n_others):
    """Make sure that ``sweep.fpr`` can be measured.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    n_others : int
        Non-lenses in the validation split, at least 1.

    Raises
    ------
    LenspipeError
        They are fewer than 1 / fpr.
    """
    fpr = settings.sweep.fpr
    if completeness_at_fpr([], [0.0] * n_others, fpr)[1] is None:
        digits = 10 ** (len(str(n_others)) + 2)
        least = math.ceil(digits / n_others) / digits
        raise LenspipeError(
            f"config key sweep.fpr: found {fpr:g}, expected at least {least:g}, one of the "
            f"{n_others} non-lenses of the validation split; set it so, or enlarge that split "
            "(sample.fractions, sample.negatives_per_lens)"
        )


def merit(lenses, others, fpr):
    """What a trial is to maximise: completeness, and among equal ones the area under the ROC curve.

    Parameters
    ----------
    lenses, others : ndarray, shape (N,), (M,)
        Scores of the validation split.
    fpr : float
        False-positive rate of the completeness.

    Returns
    -------
    float
        C + AUC / 2N. Completeness comes in steps of 1 / N, so that half a step for the area turns
        no order round, and tells trials apart that find as many lenses.
    """
    completeness, _ = completeness_at_fpr(lenses, others, fpr)
    return completeness + auc(lenses, others) / (2 * len(lenses))
