"""B-splines of the selection function and the penalties that make them smooth."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline

from lenspipe.completeness.quantities import LENS_QUANTITIES

__all__ = ["DEGREE", "N_BASIS_CONDITIONS", "N_BASIS_LENS", "Spline", "Terms", "uniform_spline"]

DEGREE = 3

#: Basis functions of the spline of each quantity that describes the lens, and of each other one.
N_BASIS_LENS, N_BASIS_CONDITIONS = 7, 5


class Spline(NamedTuple):
    """Cubic B-splines of one quantity on its scale, with uniform knots.

    Attributes
    ----------
    low, high
        Range of the injected lenses; the functions are constant beyond it.
    knots
        Shape (K,), float64.
    """

    low: float
    high: float
    knots: np.ndarray

    @property
    def n_basis(self) -> int:
        """Number of basis functions."""
        return len(self.knots) - DEGREE - 1

    def basis(self, values: np.ndarray) -> np.ndarray:
        """Basis functions at N values: (N, n_basis)."""
        inside = np.clip(values, self.low, self.high)
        return BSpline.design_matrix(inside, self.knots, DEGREE).toarray()

    @property
    def penalty(self) -> np.ndarray:
        """Sum of the squared second differences of coefficients (Eilers & Marx 1996)."""
        second = np.diff(np.eye(self.n_basis), 2, axis=0)
        return second.T @ second

    @property
    def shrinkage(self) -> np.ndarray:
        """Sum of the squared first differences, plus a tenth of the squares: shrinks to 0."""
        first = np.diff(np.eye(self.n_basis), axis=0)
        return first.T @ first + 0.1 * np.eye(self.n_basis)


def uniform_spline(low: float, high: float, n_basis: int) -> Spline:
    """Make a spline with a number of basis functions on a range."""
    step = (high - low) / (n_basis - DEGREE)
    # Slightly beyond the ends, so that rounding leaves no value outside.
    start = low - 1e-9 * step
    knots = start + step * (1 + 2e-9) * np.arange(-DEGREE, n_basis + 1)
    return Spline(float(low), float(high), knots)


class Terms:
    """The columns of the design matrix: constant, surface, curves, and interactions.

    Einstein radius and brightness share one term, the product of both bases, so that any surface is
    possible. Each other quantity has a curve. For each pair of the former and the latter there is
    an interaction: a curve in the first, multiplied by the second scaled linearly to -1 to 1.
    Splines are given by the name of their quantity.
    """

    def __init__(self, splines: Mapping[str, Spline]) -> None:
        self.splines = dict(splines)
        lens = [name for name in LENS_QUANTITIES if name in self.splines]
        others = [name for name in self.splines if name not in LENS_QUANTITIES]
        self.names: list[tuple[str, ...]] = [tuple(lens)] if lens else []
        self.names += [(name,) for name in others]
        self.names += [(name, other) for name in lens for other in others]

    def _is_interaction(self, names: tuple[str, ...]) -> bool:
        return len(names) == 2 and names[1] not in LENS_QUANTITIES

    def _n_columns(self, names: tuple[str, ...]) -> int:
        factors = names[:1] if self._is_interaction(names) else names
        return int(np.prod([self.splines[name].n_basis for name in factors]))

    @property
    def slices(self) -> list[slice]:
        """Columns of each term."""
        stops = 1 + np.cumsum([self._n_columns(names) for names in self.names])
        starts = [1, *stops]
        return [slice(int(i), int(j)) for i, j in zip(starts, stops, strict=False)]

    @property
    def columns(self) -> list[str]:
        """Term of each column: ``constant``, ``theta_e x brightness``, ``seeing`` ..."""
        terms = [[" x ".join(names)] * self._n_columns(names) for names in self.names]
        return ["constant", *itertools.chain(*terms)]

    def design(self, scaled: Mapping[str, np.ndarray]) -> np.ndarray:
        """Design matrix, (N, P).

        `scaled` has (N,) values of each quantity on its scale, all finite.
        """
        n_rows = len(next(iter(scaled.values())))
        bases = {name: spline.basis(scaled[name]) for name, spline in self.splines.items()}
        blocks = [np.ones((n_rows, 1))]
        for names in self.names:
            block = bases[names[0]]
            if self._is_interaction(names):
                spline = self.splines[names[1]]
                fraction = (scaled[names[1]] - spline.low) / (spline.high - spline.low)
                block = block * (2 * fraction.clip(0, 1) - 1)[:, None]
            elif len(names) == 2:
                block = (block[:, :, None] * bases[names[1]][:, None, :]).reshape(n_rows, -1)
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    @property
    def penalties(self) -> list[tuple[str, slice, np.ndarray]]:
        """Name, columns and matrix of each penalty: one for each direction of each term."""
        result = []
        for names, columns in zip(self.names, self.slices, strict=True):
            first = self.splines[names[0]]
            if self._is_interaction(names):
                result.append((" x ".join(names), columns, first.shrinkage))
            elif len(names) == 2:
                second = self.splines[names[1]]
                result.append((names[0], columns, np.kron(first.penalty, np.eye(second.n_basis))))
                result.append((names[1], columns, np.kron(np.eye(first.n_basis), second.penalty)))
            else:
                result.append((names[0], columns, first.penalty))
        return result
