"""Lens populations as tables: of the user, of the simulated sky, of the model."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lenspipe.completeness.expected.population import alternative_weights, draw_lenses
from lenspipe.completeness.quantities import LENS_QUANTITIES, REGION
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.config.paths import RunPaths
from lenspipe.config.surveys.base import Release
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.simulation.lenses import is_arc_like
from lenspipe.statistics.balance import quantity_values
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable, read_user_table

__all__ = [
    "Population",
    "model_population",
    "read_conditions",
    "read_population",
    "simulated_population",
]

_CONFIG_KEY = "expected.population"

#: Approximate number of galaxies of the search whose conditions are read, and minimum per chunk.
_N_CONDITIONS, _MIN_CONDITIONS_PER_CHUNK = 50_000, 50

#: What cells of a column of yes or no may hold, in lower case; empty cells are no.
_TRUTH_VALUES = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_TRUTH_VALUES |= {"": False}

#: Other names of columns; <first> and <last> are bands.
_ALIASES = {
    "psfsize_<first>": ("seeing",),
    "depth_<first>": ("depth",),
    "mag_<last>": ("mag",),
    "theta_e_arcsec": ("theta_e",),
}


class Population(NamedTuple):
    """A population of lenses.

    Attributes
    ----------
    name
        Where it comes from.
    table
        A row per lens: theta_e_arcsec, arc_snr or arc_mag_<first band>, psfsize_<first band>,
        depth_<first band>, mag_<last band>; visible (bool) if it is known which lenses people
        see; brick and id if the lenses have positions.
    weights
        Lenses per square degree that each row stands for, float64, shape (N,). None: unknown, or
        each row is a lens.
    in_parent
        Probability that the galaxy is in the parent sample, float64, shape (N,).
    bricks
        Bricks in which each row is a lens on the sky. None where rows have no position.
    on_sky
        Lenses per square degree, including those left out because their galaxy is too faint.
    alternatives
        As returned by `lenspipe.completeness.expected.population.alternative_weights`.
    """

    name: str
    table: pd.DataFrame
    weights: np.ndarray | None
    in_parent: np.ndarray
    bricks: frozenset[str] | None = None
    on_sky: float | None = None
    alternatives: dict[str, np.ndarray] | None = None

    @property
    def has_positions(self) -> bool:
        """Whether each row is a lens on the sky that was searched."""
        return self.bricks is not None


def read_conditions(
    paths: RunPaths, bands: Sequence[str], seed: int, zero_point_mag: float
) -> pd.DataFrame:
    """Read galaxies of the search, a random subset of large samples.

    They are rows of the parent sample with psfsize, galdepth and magnitudes above 0 in all bands,
    and depth_<first band> (AB, 5 sigma).

    Raises
    ------
    LenspipeError
        There is no such galaxy.
    """
    chunks = chunks_of(paths.bricks)
    rng = np.random.default_rng([seed, 41])
    needed = [f"{prefix}_{band}" for prefix in ("psfsize", "galdepth", "mag") for band in bands]
    tables = []
    for chunk in chunks:
        table = read_table(paths.parent(chunk), "parent")
        if absent := [name for name in needed if name not in table]:
            raise LenspipeError(
                f"{paths.parent(chunk)}: found no columns {', '.join(absent)}, expected them for "
                "the conditions that lenses are observed under; make the parent sample again"
            )
        table = table[(np.isfinite(table[needed]) & (table[needed] > 0)).all(axis=1)]
        number = min(len(table), max(_N_CONDITIONS // len(chunks), _MIN_CONDITIONS_PER_CHUNK))
        tables.append(table.iloc[np.sort(rng.permutation(len(table))[:number])])
    hosts = pd.concat(tables, ignore_index=True)
    if hosts.empty:
        raise LenspipeError(
            f"{paths.audit}: found no galaxy with seeing, depth and magnitudes, expected some; "
            "enlarge config section footprint"
        )
    depth = quantity_values(hosts, "depth", bands[0], zero_point_mag)
    return hosts.assign(**{f"depth_{bands[0]}": depth})


def read_population(
    path: str | os.PathLike[str],
    function: SelectionFunction,
    hosts: pd.DataFrame,
    bands: Sequence[str],
    *,
    seed: int,
    parent_fraction: float,
    mag_max: float = np.inf,
    area_deg2: float | None = None,
) -> Population:
    """Read a table of a lens population.

    Parameters
    ----------
    path
        Any table that `lenspipe.utils.user_tables.read_user_table` reads. Columns are described in
        docs/expected.md.
    function
        Its quantities are the required columns.
    hosts
        As returned by `read_conditions`; missing seeing, depth and magnitudes are drawn from them.
    parent_fraction
        Fraction of the lens galaxies that pass all cuts but that in magnitude.
    mag_max
        Faintest magnitude of the parent sample in the last band.
    area_deg2
        Area that a table without weights stands for.

    Raises
    ------
    LenspipeError
        The file can't be read, lacks a column, or has invalid values.
    """
    given = read_user_table(path, "a population of lenses")
    given.refuse_broken()
    if not len(given):
        raise LenspipeError(f"{path}: found no row, expected one per lens; add some")
    table = pd.DataFrame(index=range(len(given)))
    needed = [each.column for each in function.quantities if each.name in LENS_QUANTITIES]
    for quantity in function.quantities:
        column = _find_column(given, quantity.column, bands)
        if column is not None and quantity == REGION:
            regions = given.text(column).str.strip().str.lower()
            table[quantity.column] = regions.where(regions.isin(["north", "south"]))
        elif column is not None:
            table[quantity.column] = given.numbers(column, quantity.unit)
        elif quantity.name in LENS_QUANTITIES:
            raise LenspipeError(
                f"{path}: found columns {', '.join(given.names)}, expected {' and '.join(needed)}, "
                f"which the selection function depends on, and no {quantity.column}; add it, or "
                f"correct config key {_CONFIG_KEY}"
            )
        else:
            table[quantity.column] = np.nan
    _draw_unknown(table, hosts, seed)
    if (column := given.find("visible")) is not None:
        visible = given.text(column).str.lower().map(_TRUTH_VALUES)
        if (broken := visible.isna().to_numpy()).any():
            row = int(np.flatnonzero(broken)[0])
            raise LenspipeError(
                f"{path}: found visible {given.text(column)[row]!r} in {given.where([row])}, "
                "expected 0 or 1, or true or false; correct it"
            )
        table["visible"] = visible.to_numpy(bool)
    weights = None
    if (column := given.find("weight")) is not None:
        weights = given.numbers(column, "deg-2")
        valid = np.isfinite(weights) & (weights >= 0)
        if not valid.all():
            row = int(np.flatnonzero(~valid)[0])
            raise LenspipeError(
                f"{path}: found weight {weights[row]} in {given.where([row])}, expected lenses per "
                "square degree, 0 or more; correct it"
            )
        if not weights.sum():
            raise LenspipeError(
                f"{path}: found weights of 0 only, expected lenses per square degree; correct them"
            )
    elif area_deg2:
        weights = np.full(len(table), 1 / area_deg2)
    in_parent = parent_fraction * (table[f"mag_{bands[-1]}"].to_numpy() <= mag_max)
    on_sky = None if weights is None else float(weights.sum())
    return Population(str(path), table, weights, in_parent, on_sky=on_sky)


def _find_column(table: UserTable, name: str, bands: Sequence[str]) -> int | None:
    """Number of the column of a quantity in a table, by its name or an alias."""
    aliases = {
        key.replace("<first>", bands[0]).replace("<last>", bands[-1]): others
        for key, others in _ALIASES.items()
    }
    return table.find(name, *aliases.get(name, ()))


def _draw_unknown(table: pd.DataFrame, hosts: pd.DataFrame, seed: int) -> None:
    """Fill unknown seeing, depth, magnitude and region, for each row from one galaxy."""
    rows = hosts.iloc[np.random.default_rng([seed, 42]).integers(len(hosts), size=len(table))]
    for name in table:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        unknown = ~(np.isfinite(table[name]) if numeric else table[name].notna())
        if name in hosts and unknown.any():
            drawn = rows[name].set_axis(table.index)
            table[name] = table[name].where(~unknown, drawn)
            log.info("expected: %s of %d lenses drawn from the search", name, unknown.sum())


def simulated_population(paths: RunPaths, bands: Sequence[str], bricks: pd.DataFrame) -> Population:
    """Lenses of a simulated sky; whether their galaxies are in the parent sample is known.

    Bricks are those of `lenspipe.products.truth.held_out_bricks`.

    Raises
    ------
    LenspipeError
        There is no lens in those bricks.
    """
    truth = read_table(paths.truth, "truth")
    truth = truth[(truth["kind"] == "lens") & truth["brick"].isin(bricks["brick"])]
    truth = truth[truth["primary"]].drop_duplicates("id", ignore_index=True)
    if truth.empty:
        raise LenspipeError(
            f"{paths.truth}: found no lens in {len(bricks)} held-out bricks, expected at least "
            "one; enlarge config section footprint"
        )
    columns = ["id", f"psfsize_{bands[0]}", f"galdepth_{bands[0]}", f"mag_{bands[-1]}"]
    parent = pd.concat(
        read_table(paths.parent(chunk), "parent", columns=columns)
        for chunk in sorted(bricks["chunk"].unique())
    )
    table = truth.merge(parent.drop_duplicates("id"), on="id", how="left")
    in_parent = table["id"].isin(parent["id"]).to_numpy(float)
    names = frozenset(bricks["brick"])
    return Population("truth of the simulated sky", table, None, in_parent, names)


def model_population(
    hosts: pd.DataFrame,
    bands: Sequence[str],
    *,
    seed: int,
    draws: int,
    size: int,
    release: Release,
    parent_fraction: float,
    mag_max: float,
) -> Population:
    """Lenses of the model, as this search would observe them.

    Those whose images are no arcs (`lenspipe.simulation.lenses.is_arc_like`) are on the sky, but
    not searched for.

    Parameters
    ----------
    hosts
        As returned by `read_conditions`.
    draws
        Lenses that are drawn and ray-traced.
    size
        Side of a cutout, pixels.
    release
        Of the search's images.
    parent_fraction, mag_max
        As for `read_population`.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed; z is not the last of the run's bands.
    """
    if bands[-1] != "z":
        raise LenspipeError(
            f"config key survey.bands: found {', '.join(bands)}, expected z as the last for the "
            f"model of lenses; give a table in {_CONFIG_KEY}"
        )
    rng = np.random.default_rng([seed, 43])
    table, on_sky = draw_lenses(rng, bands, hosts, draws, release, size, mag_max)
    # The selection function is that of lenses whose images are arcs.
    beta = np.hypot(table["beta_1"], table["beta_2"])
    searched = parent_fraction * is_arc_like(table["theta_e_arcsec"], beta, table["source_r_half"])
    # Positions are those of the galaxies that gave the conditions, not of the lenses.
    table = table.drop(columns=["id", "brick"], errors="ignore")
    return Population(
        "model after Collett (2015)",
        table,
        table["weight"].to_numpy(),
        searched,
        on_sky=on_sky,
        alternatives=alternative_weights(table),
    )
