"""B-splines of the selection function and the penalties that make them smooth."""

from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline

__all__ = ["DEGREE", "Spline", "Terms", "even_knots"]

DEGREE = 3
#: Functions of a spline: of the two quantities that describe a lens, and of the others.
N_LENS, N_OTHERS = 8, 5


class Spline(NamedTuple):
    """B-splines of one quantity on its scale, with even knots.

    Attributes
    ----------
    low, high : float
        Ends of what was painted; beyond them everything is as it is there.
    knots : (K,) float array
    """

    low: float
    high: float
    knots: np.ndarray

    @property
    def number(self):
        """How many functions there are."""
        return len(self.knots) - DEGREE - 1

    def at(self, values):
        """The functions at some values.

        Parameters
        ----------
        values : (N,) float array

        Returns
        -------
        (N, number) float array
        """
        inside = np.clip(values, self.low, self.high)
        return BSpline.design_matrix(inside, self.knots, DEGREE).toarray()

    @property
    def penalty(self):
        """Sum of the squared second differences of coefficients (Eilers & Marx 1996)."""
        second = np.diff(np.eye(self.number), 2, axis=0)
        return second.T @ second


def even_knots(low, high, number):
    """Make a spline with a number of functions.

    Parameters
    ----------
    low, high : float
    number : int

    Returns
    -------
    Spline
    """
    step = (high - low) / (number - DEGREE)
    # A hair beyond the ends, so that rounding leaves no value outside.
    start = low - 1e-9 * step
    knots = start + step * (1 + 2e-9) * np.arange(-DEGREE, number + 1)
    return Spline(float(low), float(high), knots)


class Terms:
    """The columns of the design: a constant, one surface of the lens, a curve for each condition.

    Parameters
    ----------
    splines : dict
        Quantity -> `Spline`. Where it has theta_e and brightness, their term is the product of both
        bases, so that any surface is possible; each other quantity has a term of its own.
    """

    def __init__(self, splines):
        self.splines = dict(splines)
        pair = ("theta_e", "brightness")
        both = all(name in self.splines for name in pair)
        self.names = [pair] if both else []
        self.names += [(name,) for name in self.splines if not (both and name in pair)]

    @property
    def slices(self):
        """Columns of each term."""
        slices, start = [], 1
        for names in self.names:
            stop = start + int(np.prod([self.splines[name].number for name in names]))
            slices.append(slice(start, stop))
            start = stop
        return slices

    @property
    def columns(self):
        """Term of each column: ``constant``, ``theta_e x brightness``, ``seeing`` ..."""
        names = ["constant"]
        for term, where in zip(self.names, self.slices, strict=True):
            names += [" x ".join(term)] * (where.stop - where.start)
        return names

    def design(self, scaled):
        """The columns at some rows.

        Parameters
        ----------
        scaled : dict
            Quantity -> (N,) float array on the quantity's scale, all finite.

        Returns
        -------
        (N, P) float array
        """
        number = len(next(iter(scaled.values())))
        blocks = [np.ones((number, 1))]
        for names in self.names:
            bases = [self.splines[name].at(scaled[name]) for name in names]
            block = bases[0]
            for other in bases[1:]:
                block = (block[:, :, None] * other[:, None, :]).reshape(number, -1)
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    @property
    def penalties(self):
        """Columns and matrix of each penalty, and what it smooths: one for each quantity."""
        result = []
        for names, where in zip(self.names, self.slices, strict=True):
            for name in names:
                matrices = [
                    self.splines[other].penalty
                    if other == name
                    else np.eye(self.splines[other].number)
                    for other in names
                ]
                matrix = matrices[0]
                for other in matrices[1:]:
                    matrix = np.kron(matrix, other)
                result.append((name, where, matrix))
        return result
