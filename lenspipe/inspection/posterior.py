"""Probability of a lens for each candidate from all votes, weighted by the graders' skill."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from lenspipe.inspection.store import split_item
from lenspipe.statistics.votes import GRADE_NAMES, PRIOR_VOTES, Votes, weigh_votes

__all__ = ["Posterior", "Retirement", "estimate_posterior"]

#: The network's odds count at most this much: a calibration says no more of so rare errors.
_MAX_ODDS = 1000.0


@dataclass(frozen=True)
class Retirement:
    """When a candidate needs no further votes.

    Attributes
    ----------
    below, above
        Probabilities of a lens below and above which it is retired.
    min_votes
        Number of graders who have graded it by then at least.
    """

    below: float = 0.01
    above: float = 0.95
    min_votes: int = 2

    def applies(self, table: pd.DataFrame) -> pd.Series:
        """Whether each candidate of `Posterior.table` is retired."""
        beyond = (table["posterior"] < self.below) | (table["posterior"] > self.above)
        return beyond & (table["n_graders"] >= self.min_votes)


@dataclass(frozen=True)
class Posterior:
    """What all votes say of the candidates and the graders.

    Attributes
    ----------
    table
        Indexed by the candidates' ids: posterior, posterior_low, posterior_high (probability of a
        lens and its 95 % interval) and n_graders.
    matrices
        Confusion matrix of each grader, (2, 4): non-lens and lens, grades A to D.
    """

    table: pd.DataFrame
    matrices: Mapping[str, np.ndarray]

    def matrix_of(self, grader: str) -> np.ndarray:
        """Confusion matrix of a grader, the expected one for a new grader."""
        expected = PRIOR_VOTES / PRIOR_VOTES.sum(axis=1, keepdims=True)
        return self.matrices.get(grader, expected)

    def skills(self) -> dict[str, Any]:
        """Probability of each grade given by each grader to lenses and to non-lenses."""
        return {
            name: {
                kind: dict(zip(GRADE_NAMES, map(float, matrix[row]), strict=True))
                for row, kind in ((1, "lens"), (0, "non_lens"))
            }
            for name, matrix in sorted(self.matrices.items())
        }


def estimate_posterior(
    votes: Iterable[Mapping[str, Any]], candidates: pd.DataFrame, draws: int = 600
) -> Posterior:
    """Weigh all votes of all stages by the graders' skill, and multiply with the network's odds.

    Known lenses among the candidates, and all that were slipped in, say how well graders find
    lenses. Where a grader graded a galaxy several times, as in repeats and in a second stage, these
    votes count as one together.

    Parameters
    ----------
    votes
        Latest votes: grader, item, grade.
    candidates
        Indexed by id: known, and p_calibrated, the calibrated probability of the network (NaN if
        there is none).
    """
    given = []
    for vote in votes:
        kind, galaxy = split_item(vote["item"])
        key = galaxy if kind in ("candidate", "repeat") else vote["item"]
        if vote["grade"] and (key in candidates.index or kind in ("known", "injected")):
            given.append((key, vote["grader"], vote["grade"]))
    controls = sorted({key for key, *_ in given} - set(candidates.index))
    images = {key: i for i, key in enumerate([*candidates.index, *controls])}
    graders = {name: i for i, name in enumerate(sorted({name for _, name, _ in given}))}
    times = Counter((key, name) for key, name, _ in given)
    result = weigh_votes(
        Votes(
            image=np.array([images[key] for key, *_ in given], int),
            grader=np.array([graders[name] for _, name, _ in given], int),
            grade=np.array([GRADE_NAMES.index(grade) for *_, grade in given], int),
            weight=np.array([1 / times[key, name] for key, name, _ in given], float),
        ),
        len(graders),
        np.append(_network_log_odds(candidates["p_calibrated"]), np.zeros(len(controls))),
        np.append(candidates["known"].to_numpy(bool), np.ones(len(controls), bool)),
        draws=draws,
    )
    n = len(candidates)
    graded = Counter(key for key, _ in times)
    table = pd.DataFrame(
        {
            "posterior": result.p[:n],
            "posterior_low": result.low[:n],
            "posterior_high": result.high[:n],
            "n_graders": [graded[key] for key in candidates.index],
        },
        index=candidates.index,
    )
    return Posterior(table, {name: result.matrices[i] for name, i in graders.items()})


def _network_log_odds(p: pd.Series) -> np.ndarray:
    """Log odds of the network's calibrated probabilities; their mean where there is none."""
    limit = 1 / (1 + _MAX_ODDS)
    odds = logit(p.to_numpy(float).clip(limit, 1 - limit))
    known = np.isfinite(odds)
    return np.where(known, odds, odds[known].mean() if known.any() else 0.0)
