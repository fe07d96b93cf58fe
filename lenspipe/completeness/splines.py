"""B-splines of the selection function and the penalties that make them smooth."""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline

from lenspipe.completeness.quantities import LENS

__all__ = ["DEGREE", "Spline", "Terms", "even_knots"]

DEGREE = 3

#: Functions of a spline: of the two quantities that describe a lens, and of the others.
N_LENS, N_OTHERS = 7, 5


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

    @property
    def shrinkage(self):
        """Sum of the squared first differences, and a tenth of the squares: leaves nothing."""
        first = np.diff(np.eye(self.number), axis=0)
        return first.T @ first + 0.1 * np.eye(self.number)


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
    """The columns of the design: a constant, a surface, curves, and how conditions bend it.

    Parameters
    ----------
    splines : dict
        Quantity -> `Spline`. Einstein radius and brightness have one term, the product of both
        bases, so that any surface is possible; each of the others has a curve of its own; and for
        each pair of one of the two and one of the others the curve in the first is multiplied by
        the second, which goes evenly from -1 to 1 in its range.
    """

    def __init__(self, splines):
        self.splines = dict(splines)
        lens = [name for name in LENS if name in self.splines]
        others = [name for name in self.splines if name not in LENS]
        self.names = [tuple(lens)] if lens else []
        self.names += [(name,) for name in others]
        self.names += [(name, other) for name in lens for other in others]

    def _bends(self, names):
        """Whether a term is a curve that is multiplied by a condition."""
        return len(names) == 2 and names[1] not in LENS

    def _number(self, names):
        """How many columns a term has."""
        both = names[:1] if self._bends(names) else names
        return int(np.prod([self.splines[name].number for name in both]))

    @property
    def slices(self):
        """Columns of each term."""
        stops = 1 + np.cumsum([self._number(names) for names in self.names])
        starts = [1, *stops]
        return [slice(int(i), int(j)) for i, j in zip(starts, stops, strict=False)]

    @property
    def columns(self):
        """Term of each column: ``constant``, ``theta_e x brightness``, ``seeing`` ..."""
        terms = [[" x ".join(names)] * self._number(names) for names in self.names]
        return ["constant", *itertools.chain(*terms)]

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
        bases = {name: spline.at(scaled[name]) for name, spline in self.splines.items()}
        blocks = [np.ones((number, 1))]
        for names in self.names:
            block = bases[names[0]]
            if self._bends(names):
                spline = self.splines[names[1]]
                part = (scaled[names[1]] - spline.low) / (spline.high - spline.low)
                block = block * (2 * part.clip(0, 1) - 1)[:, None]
            elif len(names) == 2:
                block = (block[:, :, None] * bases[names[1]][:, None, :]).reshape(number, -1)
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    @property
    def penalties(self):
        """Name, columns and matrix of each penalty: one for each direction of each term."""
        result = []
        for names, where in zip(self.names, self.slices, strict=True):
            first = self.splines[names[0]]
            if self._bends(names):
                result.append((" x ".join(names), where, first.shrinkage))
            elif len(names) == 2:
                second = self.splines[names[1]]
                result.append((names[0], where, np.kron(first.penalty, np.eye(second.number))))
                result.append((names[1], where, np.kron(np.eye(first.number), second.penalty)))
            else:
                result.append((names[0], where, first.penalty))
        return result
