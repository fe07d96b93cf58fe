"""Lens populations as tables: of the user, of the simulated sky, of the model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from astropy import units
from astropy.table import Table

from lenspipe.completeness.expected.population import alternatives, draw_lenses
from lenspipe.products.truth import held_out_bricks
from lenspipe.statistics.balance import values_of
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tables import read_table

__all__ = ["Population", "model_population", "read_conditions", "read_population", "truth_of_run"]

_KEY = "expected.population"

#: Galaxies of the search whose conditions are drawn from, and whose share of each chunk is read.
_CONDITIONS = 50_000

#: Other names of columns; <first> and <last> are bands.
_ALIASES = {
    "psfsize_<first>": ("seeing",),
    "depth_<first>": ("depth",),
    "mag_<last>": ("mag",),
    "theta_e_arcsec": ("theta_e",),
}


class Population(NamedTuple):
    """Lenses that a search is judged by.

    Attributes
    ----------
    name : str
        Where they come from.
    table : pandas.DataFrame
        A row per lens: theta_e_arcsec, arc_snr or arc_mag_<first band>, psfsize_<first band>,
        depth_<first band>, mag_<last band>; brick and id if the lenses have a place.
    weights : numpy.ndarray of float64 or None
        Lenses per square degree that each row stands for. None: unknown, or each row is a lens.
    kept : numpy.ndarray of float64
        Chance that its galaxy is in the parent sample.
    bricks : frozenset of str or None
        Bricks in which each row is a lens on the sky. None where rows have no place.
    on_sky : float or None
        Lenses per square degree, with those left out because their galaxy is too faint.
    alternatives : dict
        Other choices -> factors of the weights.
    """

    name: str
    table: pd.DataFrame
    weights: np.ndarray | None
    kept: np.ndarray
    bricks: frozenset | None = None
    on_sky: float | None = None
    alternatives: dict | None = None

    @property
    def places(self):
        """Whether each row is a lens on the sky that was searched."""
        return self.bricks is not None


def read_conditions(settings):
    """Read galaxies of the search, at random where there are very many.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Rows of the parent sample with psfsize, galdepth and magnitudes above 0 in all bands, and
        depth_<first band> (AB, 5 sigma).

    Raises
    ------
    LenspipeError
        There is no such galaxy.
    """
    bands = settings.survey.bands
    chunks = pd.read_parquet(settings.paths.bricks, columns=["chunk"])["chunk"].unique()
    rng = np.random.default_rng([settings.seed, 41])
    needed = [f"{kind}_{band}" for kind in ("psfsize", "galdepth", "mag") for band in bands]
    tables = []
    for chunk in sorted(chunks):
        table = pd.read_parquet(settings.paths.parent(chunk))
        if absent := [name for name in needed if name not in table]:
            raise LenspipeError(
                f"{settings.paths.parent(chunk)}: found no columns {', '.join(absent)}, expected "
                "them for the conditions that lenses are seen under; make the parent sample again"
            )
        table = table[(np.isfinite(table[needed]) & (table[needed] > 0)).all(axis=1)]
        share = min(len(table), max(_CONDITIONS // len(chunks), 50))
        tables.append(table.iloc[np.sort(rng.permutation(len(table))[:share])])
    hosts = pd.concat(tables, ignore_index=True)
    if hosts.empty:
        raise LenspipeError(
            f"{settings.paths.audit}: found no galaxy with seeing, depth and magnitudes, expected "
            "some; enlarge config section footprint"
        )
    return hosts.assign(**{f"depth_{bands[0]}": values_of(hosts, "depth", bands[0])})


def read_population(path, settings, function, kept):
    """Read a table of a lens population.

    Parameters
    ----------
    path : str or path-like
        Parquet, FITS, ECSV, TSV or else CSV, by the suffix. Columns are described in
        docs/expected.md; seeing, depth and magnitudes that it lacks are drawn from the run.
    settings : lenspipe.config.settings.Settings
    function : lenspipe.completeness.selection_function.SelectionFunction
        Its quantities say which columns are needed.
    kept : float
        Part of the lenses' galaxies that no cut but that in magnitude removes.

    Returns
    -------
    Population

    Raises
    ------
    LenspipeError
        The file can't be read, lacks a column, or has values that are none.
    """
    columns, units_of = _read_columns(path)
    bands = settings.survey.bands
    table = pd.DataFrame(index=columns.index)
    if not len(table):
        raise LenspipeError(f"{path}: found no row, expected one per lens; add some")
    for quantity in function.quantities:
        name = _find(columns, quantity.column, bands)
        if name:
            table[quantity.column] = _numbers(path, columns, name, units_of, quantity.unit)
        elif quantity.name in ("theta_e", "brightness"):
            raise LenspipeError(
                f"{path}: found columns {', '.join(columns)}, expected also {quantity.column}, "
                "which the selection function depends on; add it, or correct config key " + _KEY
            )
        else:
            table[quantity.column] = np.nan
    _fill(table, read_conditions(settings), settings.seed)
    weights = None
    if "weight" in columns:
        weights = _numbers(path, columns, "weight", units_of, "deg-2")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            row = int(np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))[0])
            raise LenspipeError(
                f"{path}: found weight {weights[row]} in row {row + 1}, expected lenses per square "
                "degree, 0 or more; correct it"
            )
        if not weights.sum():
            raise LenspipeError(
                f"{path}: found weights of 0 only, expected lenses per square degree; correct them"
            )
    elif settings.expected.area_deg2:
        weights = np.full(len(table), 1 / settings.expected.area_deg2)
    bright = table[f"mag_{bands[-1]}"].to_numpy() <= _mag_max(settings)
    on_sky = None if weights is None else float(weights.sum())
    return Population(str(path), table, weights, kept * bright, on_sky=on_sky)


def _mag_max(settings):
    """Faintest magnitude in the last band, where the search has a cut in it."""
    return settings.parent.mag_z_max if settings.survey.bands[-1] == "z" else np.inf


def _read_columns(path):
    """Column -> values, and column -> unit where it has one; names in lower case."""
    table = read_table(path, "a lens population")
    table.columns = [str(name).strip().lower() for name in table]
    units_of = {}
    if Path(str(path).lower().removesuffix(".gz")).suffix in (".fits", ".fit", ".ecsv"):
        with_units = Table.read(path)
        units_of = {name.strip().lower(): with_units[name].unit for name in with_units.colnames}
    return table, units_of


def _find(columns, name, bands):
    """The column that a quantity has in a table, by its own name or another."""
    aliases = {
        key.replace("<first>", bands[0]).replace("<last>", bands[-1]): others
        for key, others in _ALIASES.items()
    }
    return next((n for n in (name, *aliases.get(name, ())) if n in columns), None)


def _numbers(path, columns, name, units_of, unit):
    """A column as numbers, in the unit that is wanted."""
    values = pd.to_numeric(columns[name], errors="coerce").to_numpy(np.float64)
    given = units_of.get(name)
    # Magnitudes are what they are; a number without a unit is in that of docs/expected.md.
    if not given or not unit or unit == "mag":
        return values
    try:
        return values * units.Unit(given).to(units.Unit(unit))
    except (ValueError, units.UnitsError):
        raise LenspipeError(
            f"{path}: found column {name} in {given}, expected {unit}; convert it"
        ) from None


def _fill(table, hosts, seed):
    """Draw what is unknown of seeing, depth and magnitude, each row's from one galaxy."""
    rows = hosts.iloc[np.random.default_rng([seed, 42]).integers(len(hosts), size=len(table))]
    for name in table:
        unknown = ~np.isfinite(table[name])
        if name in hosts and unknown.any():
            drawn = rows[name].set_axis(table.index)
            table[name] = table[name].where(~unknown, drawn)
            log.info("expected: %s of %d lenses drawn from the search", name, unknown.sum())


def truth_of_run(settings):
    """Lenses of a simulated sky, in the searched bricks that training never saw.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    Population
        Whose galaxies are in the parent sample or not, for certain.

    Raises
    ------
    LenspipeError
        There is no lens in those bricks.
    """
    band, first = settings.survey.bands[-1], settings.survey.bands[0]
    bricks = held_out_bricks(settings.paths, settings.held_out)
    truth = pd.read_parquet(settings.paths.truth)
    truth = truth[(truth["kind"] == "lens") & truth["brick"].isin(bricks["brick"])]
    truth = truth[truth["primary"]].drop_duplicates("id", ignore_index=True)
    if truth.empty:
        raise LenspipeError(
            f"{settings.paths.truth}: found no lens in {len(bricks)} held-out bricks, expected at "
            "least one; enlarge config section footprint"
        )
    columns = ["id", f"psfsize_{first}", f"galdepth_{first}", f"mag_{band}"]
    parent = pd.concat(
        pd.read_parquet(settings.paths.parent(chunk), columns=columns)
        for chunk in sorted(bricks["chunk"].unique())
    )
    table = truth.merge(parent.drop_duplicates("id"), on="id", how="left")
    kept = table["id"].isin(parent["id"]).to_numpy(float)
    return Population("truth of the simulated sky", table, None, kept, frozenset(bricks["brick"]))


def model_population(settings, kept):
    """Lenses of the model, seen as this search would see them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    kept : float
        As of `read_population`.

    Returns
    -------
    Population

    Raises
    ------
    LenspipeError
        lenstronomy is not installed; the run's bands lack z at the end.
    """
    bands = settings.survey.bands
    if bands[-1] != "z":
        raise LenspipeError(
            f"config key survey.bands: found {', '.join(bands)}, expected z as the last for the "
            f"model of lenses; give a table in {_KEY}"
        )
    table, on_sky = draw_lenses(
        np.random.default_rng([settings.seed, 43]),
        bands,
        read_conditions(settings),
        settings.expected.draws,
        settings.cutouts.size,
        settings.parent.mag_z_max,
    )
    # The conditions' galaxies are others: their places are not the lenses'.
    table = table.drop(columns=["id", "brick"], errors="ignore")
    weights = table["weight"].to_numpy()
    return Population(
        "model after Collett (2015)",
        table,
        weights,
        np.full(len(table), kept),
        on_sky=on_sky,
        alternatives=alternatives(table),
    )
