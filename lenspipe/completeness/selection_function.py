"""The selection function: completeness as a smooth function of lens and conditions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import norm

from lenspipe.completeness.fitting import clustered_covariance, fit_logistic
from lenspipe.completeness.function_file import read_attributes, write_attributes
from lenspipe.completeness.quantities import LENS_QUANTITIES, Quantity, read_quantities
from lenspipe.completeness.splines import (
    N_BASIS_CONDITIONS,
    N_BASIS_LENS,
    Spline,
    Terms,
    uniform_spline,
)
from lenspipe.config.surveys.registry import default_release
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["SelectionFunction"]

#: Minimum number of injected lenses to fit a function to.
_MIN_INJECTED_LENSES = 20

#: Draws of the function that intervals are computed from, and rows processed at a time.
_N_DRAWS, _ROWS_PER_BLOCK = 1000, 5000


@dataclass(eq=False)
class SelectionFunction:
    """Probability that the search finds a lens, with its uncertainty.

    Made by `fit`, or read from a file by `read`.

    Attributes
    ----------
    splines
        By quantity; completeness does not depend on those without one.
    medians
        By quantity: its median among the injected lenses, used for unknown seeing, depth and mag.
    coefficients
        Of the logit of completeness, shape (P,).
    covariance
        Shape (P, P).
    centres
        Subtracted from the columns of the design matrix: their means over the injected lenses,
        shape (P,).
    smoothing
        Smoothing parameter by penalty, named as in `lenspipe.completeness.splines.Terms`.
    freedom
        Effective degrees of freedom, shape (P,).
    brick_variance
        Variance between bricks beyond that explained by their conditions, logits squared.
    brick_variance_measured
        Whether it is measured; otherwise it is an upper limit.
    n_painted
        Number of injected lenses.
    zero_point_mag
        Of the release of tables with ``galdepth_<band>``; it is not in the file.
    meta
        What it was measured on: run, threshold, model.
    """

    quantities: list[Quantity]
    splines: dict[str, Spline]
    medians: dict[str, float]
    coefficients: np.ndarray
    covariance: np.ndarray
    centres: np.ndarray
    smoothing: dict[str, float]
    freedom: np.ndarray
    brick_variance: float
    brick_variance_measured: bool
    n_painted: int
    n_found: int
    zero_point_mag: float
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        quantities: Sequence[Quantity],
        zero_point_mag: float,
        where: str | Path = "injected lenses",
        meta: Mapping[str, Any] | None = None,
    ) -> Self:
        """Fit the function to injected lenses.

        A quantity that is unknown for all lenses or has a single value is left out, which is
        logged. Unknown seeing, depth and mag of individual lenses are set to the median. The table
        has the quantities' columns and ``found`` (bool). Lenses in the same galaxy (``id``) and in
        the same ``brick``, if there are such columns, may be correlated.

        Raises
        ------
        LenspipeError
            Fewer than 20 lenses, or a column is missing or invalid.
        """
        if "found" not in table or len(table) < _MIN_INJECTED_LENSES:
            problem = f"{len(table)} lenses" if "found" in table else "no column found"
            raise LenspipeError(
                f"{where}: found {problem}, expected a column found and at least "
                f"{_MIN_INJECTED_LENSES} injected lenses; raise config key selection.number"
            )
        values = read_quantities(table, quantities, zero_point_mag, where)
        splines, medians = {}, {}
        for quantity in quantities:
            known = values[quantity.name].dropna().to_numpy()
            medians[quantity.name] = float(np.median(known)) if len(known) else np.nan
            scaled = quantity.scaled(known)
            if len(known) and np.ptp(scaled) > 1e-6:
                is_lens = quantity.name in LENS_QUANTITIES
                n_basis = N_BASIS_LENS if is_lens else N_BASIS_CONDITIONS
                splines[quantity.name] = uniform_spline(scaled.min(), scaled.max(), n_basis)
            else:
                log.info("selection: %s: one value or none; left out", quantity.column)
        terms = Terms(splines)
        design = terms.design(_scaled(values, quantities, medians))
        centres = design.mean(axis=0)
        centres[0] = 0
        design -= centres
        found = table["found"].to_numpy(bool)
        penalties = [(columns, matrix) for _, columns, matrix in terms.penalties]
        fit = fit_logistic(design, found, penalties)
        galaxies, bricks = (
            pd.factorize(table[name])[0] if name in table else np.arange(len(table))
            for name in ("id", "brick")
        )
        scatter, covariance = clustered_covariance(design, found, fit, galaxies, bricks)
        smoothing = (name for name, _, _ in terms.penalties)
        return cls(
            quantities=list(quantities),
            splines=splines,
            medians=medians,
            coefficients=fit.coefficients,
            covariance=covariance,
            centres=centres,
            smoothing=dict(zip(smoothing, fit.smoothing, strict=True)),
            freedom=fit.freedom,
            brick_variance=scatter.variance,
            brick_variance_measured=scatter.measured,
            n_painted=len(table),
            n_found=int(found.sum()),
            zero_point_mag=zero_point_mag,
            meta=dict(meta or {}),
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], zero_point_mag: float | None = None) -> Self:
        """Read a function that was written by `write`.

        The zero point is that of the survey's release; of the default configuration if not given.
        """
        if zero_point_mag is None:
            zero_point_mag = default_release().zero_point_mag
        return cls(zero_point_mag=zero_point_mag, **read_attributes(path))

    def write(self, path: str | os.PathLike[str], cells: pd.DataFrame | None = None) -> None:
        """Write the function as FITS (docs/selection.md); equal functions give equal bytes.

        Cells, as returned by `lenspipe.completeness.cells.measure_cells`, are written to the same
        file.
        """
        write_attributes(path, vars(self), cells)

    def _design(self, values: pd.DataFrame) -> np.ndarray:
        """Design matrix of quantities."""
        design = Terms(self.splines).design(_scaled(values, self.quantities, self.medians))
        return design - self.centres

    def extrapolated(self, values: pd.DataFrame) -> np.ndarray:
        """Whether a quantity is unknown, or outside the range of the injected lenses.

        Values are those of `lenspipe.completeness.quantities.read_quantities`, N rows.
        """
        outside = np.zeros(len(values), bool)
        for quantity in self.quantities:
            if spline := self.splines.get(quantity.name):
                scaled = quantity.scaled(values[quantity.name])
                margin = 1e-6 * (spline.high - spline.low)
                outside |= ~((scaled >= spline.low - margin) & (scaled <= spline.high + margin))
        return outside

    def completeness(
        self, table: pd.DataFrame, level: float = 0.95, where: str | Path = "population"
    ) -> pd.DataFrame:
        """Probability that each lens would be found.

        Columns are completeness, low, high (float, 0 to 1) and extrapolated (bool): outside the
        range of the injected lenses, where each quantity is set to the nearest end of its range.
        `level` is that of the interval of the function, not of whether a lens is found.

        Raises
        ------
        LenspipeError
            A column is missing or invalid.
        """
        values = read_quantities(table, self.quantities, self.zero_point_mag, where)
        blocks = [np.empty((0, 3))]
        z_score = norm.isf((1 - level) / 2)
        for start in range(0, len(values), _ROWS_PER_BLOCK):
            design = self._design(values.iloc[start : start + _ROWS_PER_BLOCK])
            eta = design @ self.coefficients
            variance = np.einsum("ij,jk,ik->i", design, self.covariance, design, optimize=True)
            half_width = z_score * np.sqrt(variance)
            blocks.append(expit(np.stack([eta, eta - half_width, eta + half_width], axis=1)))
        result = pd.DataFrame(
            np.concatenate(blocks), columns=["completeness", "low", "high"], index=table.index
        )
        return result.assign(extrapolated=self.extrapolated(values))

    def typical(self, number: int) -> pd.DataFrame:
        """A table of lenses with each quantity at its median."""
        medians = {q.column: self.medians[q.name] for q in self.quantities}
        return pd.DataFrame(medians, index=range(number))

    def draws(self, table: pd.DataFrame) -> np.ndarray:
        """Completeness of each lens in random draws of the function from its uncertainty.

        Shape (N, 1000); the draws are the same for every table. The table has the quantities'
        columns, N rows; all are held in memory at once.
        """
        values = read_quantities(table, self.quantities, self.zero_point_mag, "population")
        return expit(self._design(values) @ self._draw_coefficients())

    def _draw_coefficients(self) -> np.ndarray:
        """Draws of the coefficients, (P, 1000)."""
        eigenvalues, axes = np.linalg.eigh(self.covariance)
        root = axes * np.sqrt(np.maximum(eigenvalues, 0))
        normal = np.random.default_rng(0).standard_normal((len(eigenvalues), _N_DRAWS))
        return root @ normal + self.coefficients[:, None]

    def mean_completeness(
        self,
        table: pd.DataFrame,
        groups: ArrayLike,
        weights: ArrayLike | None = None,
        where: str | Path = "population",
    ) -> pd.DataFrame:
        """Mean completeness of groups of lenses.

        The table has the quantities' columns, N rows; `groups` is the number of each lens's group,
        from 0, shape (N,), and `weights` how much each counts in the mean. A row per group, from 0:
        completeness, low, high (95 %, from draws of the function).
        """
        values = read_quantities(table, self.quantities, self.zero_point_mag, where)
        groups = np.asarray(groups)
        weights = np.ones(len(groups)) if weights is None else np.asarray(weights, np.float64)
        n = np.bincount(groups, weights)
        mean, draws, _ = self._sums(values, groups, weights)
        low, high = np.quantile(draws, _tails(0.95), axis=1)
        return pd.DataFrame(
            {"completeness": mean / n, "low": low / n, "high": high / n}, index=range(len(n))
        )

    def predict_number(
        self,
        table: pd.DataFrame,
        weights: ArrayLike | None = None,
        by: ArrayLike | None = None,
        level: float = 0.95,
        where: str | Path = "population",
    ) -> pd.DataFrame:
        """Predict how many lenses of a population the search finds.

        The interval includes the uncertainty of the function, the chance by which each lens is
        found or not, and, if the table has a column ``brick``, the scatter between bricks. The
        index is ``all``, then the groups in their order; columns are n (rows, or sum of weights),
        expected, low, high (integers). `weights`, (N,), are expected numbers of lenses like each
        row, and the number found has Poisson scatter; without weights each row is one lens, which
        is found or not.

        Raises
        ------
        LenspipeError
            The table is empty, a column is missing or invalid, or weights are negative or not
            finite.
        """
        values = read_quantities(table, self.quantities, self.zero_point_mag, where)
        if len(table) == 0:
            raise LenspipeError(f"{where}: found no lens, expected at least one; add some")
        poisson = weights is not None
        weights = np.asarray(weights, np.float64) if poisson else np.ones(len(table))
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise LenspipeError(
                f"{where}: found weights below 0 or not finite, expected numbers of lenses; "
                "correct them"
            )
        bricks = pd.factorize(table["brick"])[0] if "brick" in table else np.arange(len(table))
        groupings = [(np.zeros(len(table), int), ["all"])]
        if by is not None:
            groupings.append(pd.factorize(np.asarray(by), sort=True))
        rows: dict[Any, tuple[float, ...]] = {}
        for groups, names in groupings:
            n = np.bincount(groups, weights)
            mean, draws, scatter = self._sums(values, groups, weights)
            variance = self._variance_between_bricks(values, groups, weights, bricks)
            counts = _draw_poisson(draws) if poisson else _draw_binomial(draws, scatter)
            counts = counts + _draw_brick_shifts(variance, draws.shape)
            counts = counts.clip(0, None if poisson else n[:, None])
            low, high = np.quantile(counts, _tails(level), axis=1, method="inverted_cdf")
            rows |= dict(zip(names, zip(n, mean, low, high, strict=True), strict=True))
        columns = ["n", "expected", "low", "high"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def _sums(
        self, values: pd.DataFrame, groups: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weighted sums over the G groups of completeness c, and of draws of c and of c (1 - c).

        Shapes (G,), (G, 1000), (G, 1000).
        """
        n_groups = int(groups.max()) + 1
        coefficients = self._draw_coefficients()
        mean = np.zeros(n_groups)
        draws, scatter = np.zeros((2, n_groups, _N_DRAWS))
        for start in range(0, len(values), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            design = self._design(values.iloc[block])
            member = np.zeros((n_groups, len(design)))
            member[groups[block], np.arange(len(design))] = weights[block]
            mean += member @ expit(design @ self.coefficients)
            p = expit(design @ coefficients)
            draws += member @ p
            scatter += member @ (p * (1 - p))
        return mean, draws, scatter

    def _variance_between_bricks(
        self, values: pd.DataFrame, groups: np.ndarray, weights: np.ndarray, bricks: np.ndarray
    ) -> np.ndarray:
        """Variance of the number found in each group by the scatter between bricks, (G,)."""
        n_groups = int(groups.max()) + 1
        if not self.brick_variance:
            return np.zeros(n_groups)
        p = expit(self._design(values) @ self.coefficients)
        slopes = pd.Series(weights * p * (1 - p)).groupby([groups, bricks]).sum()
        squares = (slopes**2).groupby(level=0).sum()
        return self.brick_variance * squares.reindex(range(n_groups)).to_numpy()


def _scaled(
    values: pd.DataFrame, quantities: Sequence[Quantity], medians: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Quantities on their scales, unknown values set to the median."""
    return {
        quantity.name: quantity.scaled(values[quantity.name].fillna(medians[quantity.name]))
        for quantity in quantities
    }


def _tails(level: float) -> list[float]:
    """Quantiles at the ends of an interval."""
    return [(1 - level) / 2, (1 + level) / 2]


def _draw_poisson(expected: np.ndarray) -> np.ndarray:
    """Numbers found of lenses whose numbers are Poisson distributed."""
    return np.random.default_rng(1).poisson(expected)


def _draw_binomial(expected: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Numbers found: of a binomial with the mean and variance of the sum over all lenses."""
    probability = np.clip(1 - scatter / np.maximum(expected, 1e-300), 1e-9, 1)
    trials = np.ceil(expected / probability - 1e-9).clip(1)
    probability = (expected / trials).clip(0, 1)
    return np.random.default_rng(1).binomial(trials.astype(np.int64), probability)


def _draw_brick_shifts(variance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Shifts of the numbers found by the scatter between bricks: (G, 1000)."""
    normal = np.random.default_rng(2).standard_normal(shape)
    return np.rint(np.sqrt(variance)[:, None] * normal)
