"""The selection function: completeness as a smooth function of lens and conditions."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from lenspipe.completeness.files import read_parts, write_parts
from lenspipe.completeness.fitting import fit_logistic, widened
from lenspipe.completeness.quantities import LENS, read_quantities
from lenspipe.completeness.splines import N_LENS, N_OTHERS, Terms, even_knots
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["SelectionFunction"]

#: Lenses painted at least, for there to be a function.
LEAST = 20

#: Draws of the function that intervals come from, and rows that are worked on at a time.
DRAWS, _ROWS = 1000, 5000


@dataclass(eq=False)
class SelectionFunction:
    """Chance that the search finds a lens, with its uncertainty.

    Made by `fit`, or read from a file by `read`.

    Attributes
    ----------
    quantities : list of lenspipe.completeness.quantities.Quantity
    splines : dict
        Quantity -> `lenspipe.completeness.splines.Spline`; those without one play no part.
    medians : dict
        Quantity -> its median among the painted lenses, for unknown seeing, depth and mag.
    coefficients : (P,) float array
        Of the logit of completeness.
    covariance : (P, P) float array
    centres : (P,) float array
        What is subtracted from the columns of the design: their means over the painted lenses.
    smoothing : dict
        Penalty, as `lenspipe.completeness.splines.Terms` names it -> smoothing parameter.
    freedom : (P,) float array
        Effective degrees of freedom.
    brick_variance : float
        By how much bricks differ, in logits squared, more than their conditions explain.
    n_painted, n_found : int
    meta : dict
        What it was measured on: run, threshold and so on.
    """

    quantities: list
    splines: dict
    medians: dict
    coefficients: np.ndarray
    covariance: np.ndarray
    centres: np.ndarray
    smoothing: dict
    freedom: np.ndarray
    brick_variance: float
    n_painted: int
    n_found: int
    meta: dict = field(default_factory=dict)

    @classmethod
    def fit(cls, table, quantities, where="painted lenses", meta=None):
        """Fit the function to painted lenses.

        A quantity that is unknown for all or has one value only plays no part, with a line in the
        log. Unknown seeing, depth and mag of single lenses are taken to be the median.

        Parameters
        ----------
        table : pandas.DataFrame
            The quantities' columns and ``found`` (bool). Lenses of one galaxy (``id``) and of one
            ``brick``, where there are such columns, may be alike.
        quantities : sequence of lenspipe.completeness.quantities.Quantity
        where : str
            What the table is called in messages.
        meta : dict, optional

        Returns
        -------
        SelectionFunction

        Raises
        ------
        LenspipeError
            Fewer than 20 lenses, or what `lenspipe.completeness.quantities.read_quantities`
            refuses.
        """
        if "found" not in table or len(table) < LEAST:
            what = f"{len(table)} lenses" if "found" in table else "no column found"
            raise LenspipeError(
                f"{where}: found {what}, expected a column found and at least {LEAST} painted "
                "lenses; raise config key selection.number"
            )
        values = read_quantities(table, quantities, where)
        splines, medians = {}, {}
        for quantity in quantities:
            own = values[quantity.name].dropna().to_numpy()
            medians[quantity.name] = float(np.median(own)) if len(own) else np.nan
            scaled = quantity.scaled(own)
            if len(own) and np.ptp(scaled) > 1e-6:
                number = N_LENS if quantity.name in LENS else N_OTHERS
                splines[quantity.name] = even_knots(scaled.min(), scaled.max(), number)
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
        levels = [
            pd.factorize(table[name])[0] if name in table else np.arange(len(table))
            for name in ("id", "brick")
        ]
        variance, covariance = widened(design, found, fit, *levels)
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
            brick_variance=variance,
            n_painted=len(table),
            n_found=int(found.sum()),
            meta=dict(meta or {}),
        )

    @classmethod
    def read(cls, path):
        """Read a function that `write` wrote.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        SelectionFunction

        Raises
        ------
        LenspipeError
            No such file, or not of a selection function.
        """
        return cls(**read_parts(path))

    def write(self, path, cells=None):
        """Write the function as FITS (docs/selection.md); equal ones give equal bytes.

        Parameters
        ----------
        path : str or path-like
        cells : pandas.DataFrame, optional
            As of `lenspipe.completeness.cells.measure_cells`, to go with it.
        """
        write_parts(path, self, cells)

    @property
    def terms(self):
        """`lenspipe.completeness.splines.Terms` of the function."""
        return Terms(self.splines)

    def _design(self, values):
        """Columns of the design of read quantities."""
        design = self.terms.design(_scaled(values, self.quantities, self.medians))
        return design - self.centres

    def extrapolated(self, values):
        """Whether a quantity is unknown, or outside what was painted.

        Parameters
        ----------
        values : pandas.DataFrame
            As of `lenspipe.completeness.quantities.read_quantities`.

        Returns
        -------
        numpy.ndarray of bool, shape (N,)
        """
        outside = np.zeros(len(values), bool)
        for quantity in self.quantities:
            if spline := self.splines.get(quantity.name):
                scaled = quantity.scaled(values[quantity.name])
                hair = 1e-6 * (spline.high - spline.low)
                outside |= ~((scaled >= spline.low - hair) & (scaled <= spline.high + hair))
        return outside

    def completeness(self, table, level=0.95, where="population"):
        """Chance that each lens would be found.

        Parameters
        ----------
        table : pandas.DataFrame
            The quantities' columns.
        level : float
            Of the interval, which is that of the function, not of whether a lens is found.
        where : str
            What the table is called in messages.

        Returns
        -------
        pandas.DataFrame
            completeness, low, high (float, 0 to 1) and extrapolated (bool): outside what was
            painted, where each quantity is taken to be at the nearest end.

        Raises
        ------
        LenspipeError
            As of `lenspipe.completeness.quantities.read_quantities`.
        """
        values = read_quantities(table, self.quantities, where)
        parts = [np.empty((0, 3))]
        reach = norm.isf((1 - level) / 2)
        for start in range(0, len(values), _ROWS):
            design = self._design(values.iloc[start : start + _ROWS])
            eta = design @ self.coefficients
            spread = np.einsum("ij,jk,ik->i", design, self.covariance, design, optimize=True)
            spread = reach * np.sqrt(spread)
            parts.append(expit(np.stack([eta, eta - spread, eta + spread], axis=1)))
        result = pd.DataFrame(
            np.concatenate(parts), columns=["completeness", "low", "high"], index=table.index
        )
        return result.assign(extrapolated=self.extrapolated(values))

    def typical(self, number):
        """A table of lenses with each quantity at its median.

        Parameters
        ----------
        number : int
            Rows.

        Returns
        -------
        pandas.DataFrame
            The quantities' columns.
        """
        medians = {q.column: self.medians[q.name] for q in self.quantities}
        return pd.DataFrame(medians, index=range(number))

    def draws(self, table, where="population"):
        """Completeness of each lens in draws of the function, that differ as it is uncertain.

        Parameters
        ----------
        table : pandas.DataFrame
            The quantities' columns; all of them are in memory at a time.
        where : str

        Returns
        -------
        numpy.ndarray of float64, shape (N, 1000)
            The same draws for every table.
        """
        values = read_quantities(table, self.quantities, where)
        return expit(self._design(values) @ self._draw_coefficients())

    def _draw_coefficients(self):
        """Draws of the coefficients: (P, D)."""
        size, axes = np.linalg.eigh(self.covariance)
        root = axes * np.sqrt(np.maximum(size, 0))
        normal = np.random.default_rng(0).standard_normal((len(size), DRAWS))
        return root @ normal + self.coefficients[:, None]

    def mean_completeness(self, table, groups, level=0.95, where="population"):
        """Mean completeness of groups of lenses.

        Parameters
        ----------
        table : pandas.DataFrame
            The quantities' columns.
        groups : array_like of int, shape (N,)
            Number of each lens's group, from 0.
        level : float
        where : str

        Returns
        -------
        pandas.DataFrame
            A row per group, from 0: completeness, low, high.
        """
        values = read_quantities(table, self.quantities, where)
        groups = np.asarray(groups)
        n = np.bincount(groups)
        mean, draws, _ = self._sums(values, groups, np.ones(len(groups)))
        low, high = np.quantile(draws, _ends(level), axis=1)
        return pd.DataFrame(
            {"completeness": mean / n, "low": low / n, "high": high / n}, index=range(len(n))
        )

    def predict_number(self, table, weights=None, by=None, level=0.95, where="population"):
        """Predict how many lenses of a population the search finds.

        The interval holds the uncertainty of the function, the chance by which each lens is found
        or not, and, where the table has a column ``brick``, what bricks differ by.

        Parameters
        ----------
        table : pandas.DataFrame
            The quantities' columns.
        weights : array_like of float, shape (N,), optional
            How many lenses are expected like each row. The number found then scatters as Poisson's;
            without weights each row is one lens, which is found or not.
        by : array_like, shape (N,), optional
            Labels of groups.
        level : float
        where : str

        Returns
        -------
        pandas.DataFrame
            Index ``all``, then the groups in their order; columns n (rows, or sum of weights),
            expected, low, high (whole numbers).

        Raises
        ------
        LenspipeError
            The table is empty or has no such columns, or weights are negative or not finite.
        """
        values = read_quantities(table, self.quantities, where)
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
        splits = [(np.zeros(len(table), int), ["all"])]
        if by is not None:
            splits.append(pd.factorize(np.asarray(by), sort=True))
        rows = {}
        for groups, names in splits:
            n = np.bincount(groups, weights)
            mean, draws, scatter = self._sums(values, groups, weights)
            alike = self._alike(values, groups, weights, bricks)
            counts = _poisson(draws) if poisson else _binomial(draws, scatter)
            counts = counts + _shifts(alike, draws.shape)
            counts = counts.clip(0, None if poisson else n[:, None])
            low, high = np.quantile(counts, _ends(level), axis=1, method="inverted_cdf")
            rows |= dict(zip(names, zip(n, mean, low, high, strict=True), strict=True))
        columns = ["n", "expected", "low", "high"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def _sums(self, values, groups, weights):
        """Sums over groups: of completeness, and of draws of c and of c (1 - c): (G,), (G, D)."""
        number = int(groups.max()) + 1
        betas = self._draw_coefficients()
        mean = np.zeros(number)
        draws, scatter = np.zeros((2, number, DRAWS))
        for start in range(0, len(values), _ROWS):
            part = slice(start, start + _ROWS)
            design = self._design(values.iloc[part])
            member = np.zeros((number, len(design)))
            member[groups[part], np.arange(len(design))] = weights[part]
            mean += member @ expit(design @ self.coefficients)
            p = expit(design @ betas)
            draws += member @ p
            scatter += member @ (p * (1 - p))
        return mean, draws, scatter

    def _alike(self, values, groups, weights, bricks):
        """Variance of the number found in each group by what bricks differ by: (G,)."""
        number = int(groups.max()) + 1
        if not self.brick_variance:
            return np.zeros(number)
        p = expit(self._design(values) @ self.coefficients)
        steep = pd.Series(weights * p * (1 - p)).groupby([groups, bricks]).sum()
        squares = (steep**2).groupby(level=0).sum()
        return self.brick_variance * squares.reindex(range(number)).to_numpy()


def _scaled(values, quantities, medians):
    """Quantities on their scales, with the median in place of what is unknown."""
    return {
        quantity.name: quantity.scaled(values[quantity.name].fillna(medians[quantity.name]))
        for quantity in quantities
    }


def _ends(level):
    """Parts of a distribution below the ends of an interval."""
    return [(1 - level) / 2, (1 + level) / 2]


def _poisson(expected):
    """Numbers found where numbers of lenses are expected ones."""
    return np.random.default_rng(1).poisson(expected)


def _binomial(expected, scatter):
    """Numbers found: of a binomial with the mean and variance of the sum of many chances."""
    chance = np.clip(1 - scatter / np.maximum(expected, 1e-300), 1e-9, 1)
    trials = np.ceil(expected / chance - 1e-9).clip(1)
    chance = (expected / trials).clip(0, 1)
    return np.random.default_rng(1).binomial(trials.astype(np.int64), chance)


def _shifts(variance, shape):
    """What bricks add to numbers found: (G, D), from its variance in each group."""
    normal = np.random.default_rng(2).standard_normal(shape)
    return np.rint(np.sqrt(variance)[:, None] * normal)
