"""A run as a Python object: ``lenspipe.open_run("results/demo")``."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import QTable, Table

from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.config.paths import RunPaths
from lenspipe.config.runs import read_run
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.inspection.images import Cutouts
from lenspipe.products.candidates import read_candidates
from lenspipe.products.described import describe
from lenspipe.products.files import read_json, require
from lenspipe.products.schema import PRODUCTS, Column, band_values, expand
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.runs.galaxy import Galaxy
from lenspipe.runs.samp import send_table
from lenspipe.runs.shown import show_galaxies
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tables import unescape_formulas

__all__ = ["Run", "open_run"]

#: Columns that a table of galaxies has to have to be shown.
_SHOWN = ("id", "brick")


def open_run(run: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> "Run":
    """Open a run.

    Parameters
    ----------
    run
        Its folder, ``results/<run>``, or its configuration: one file, or several of which later
        ones override keys of earlier ones.

    Raises
    ------
    LenspipeError
        There is no such run, or its configuration is wrong.

    Examples
    --------
    >>> run = lenspipe.open_run("results/demo")         # doctest: +SKIP
    >>> run.candidates[:3]["name", "ra", "dec", "p"]    # doctest: +SKIP
    """
    return Run(read_run(run))


class Run:
    """A run, as `open_run` opens it.

    Nothing is read until it is asked for, and nothing is kept: each attribute reads its file anew,
    so that a run can be watched while it goes on.

    Parameters
    ----------
    settings
        Of the run.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if not self.paths.root.is_dir():
            raise LenspipeError(
                f"{self.paths.root}: no such folder, expected that of run {settings.run}; start "
                "its workflow with snakemake"
            )

    def __repr__(self) -> str:
        return f"<Run {self.settings.run} in {self.paths.root}>"

    @property
    def paths(self) -> RunPaths:
        """Paths of the files of the run."""
        return self.settings.paths

    @property
    def candidates(self) -> QTable:
        """The candidates, best first, with units and descriptions; hidden known lenses last."""
        return self._described(read_candidates(self.paths.candidates, hidden=True), "candidates")

    @property
    def scores(self) -> QTable:
        """The scores of all galaxies; some 100 bytes of memory for each."""
        tables = [
            read_table(self.paths.scores(chunk), "scores") for chunk in chunks_of(self.paths.bricks)
        ]
        return self._described(pd.concat(tables, ignore_index=True), "scores")

    @property
    def sample(self) -> QTable:
        """The labelled sample, lenses and non-lenses with their splits."""
        return self._described(read_table(self.paths.sample, "sample"), "sample")

    @property
    def grades(self) -> QTable:
        """The candidates with the grades that ``lenspipe inspect --export`` has written."""
        table = read_table(self.paths.inspection("grades.csv"), "grades")
        return self._described(unescape_formulas(table), "grades")

    @property
    def summary(self) -> dict[str, Any]:
        """The main numbers of the run."""
        return read_json(self.paths.summary, "summary")

    @property
    def selection_function(self) -> SelectionFunction:
        """The selection function: completeness for any population of lenses."""
        path = require(self.paths.selection("selection.fits"), "selection_function")
        return SelectionFunction.read(path)

    def galaxy(self, name: str) -> Galaxy:
        """Return a galaxy of the run with its cutout.

        Parameters
        ----------
        name
            Name of a candidate, or id of any galaxy with a score.

        Raises
        ------
        LenspipeError
            There is no such galaxy, or it has no cutout.
        """
        table, key = self._find(name)
        row = table.iloc[0]
        path = CutoutFiles.of(self.settings).path(str(row["brick"]))
        cutout = Cutouts().read(path, str(row["id"]))
        described = self._described(table, key)
        return Galaxy(
            str(row["name"] if "name" in row else row["id"]),
            described[0],
            cutout.image,
            cutout.bands,
            cutout.shape,
            self.settings.release.pixel_scale_arcsec,
            self.settings.mosaics.stretch,
        )

    def show(
        self,
        table: Table | pd.DataFrame | Iterable[str],
        output: str | os.PathLike[str] | None = None,
        title: str = "",
    ) -> Path:
        """Write a page of galaxies with their images: sortable, searchable, without a server.

        Parameters
        ----------
        table
            Galaxies of the run: a table with columns id and brick, such as some rows of the
            candidates or the scores; or names of candidates or ids.
        output
            File of the page, ``.html``, which must not exist; the images lie beside it. If not
            given, the next free ``pages/page-<n>.html`` in the run.
        title
            Of the page.

        Returns
        -------
        pathlib.Path
            The page.

        Raises
        ------
        LenspipeError
            The table lacks a column or is empty, a galaxy has no cutout, or the file exists.
        """
        rows = self._rows(table)
        if output is None:
            folder = self.paths.root / "pages"
            numbers = (int(path.stem.removeprefix("page-")) for path in folder.glob("page-*.html"))
            output = folder / f"page-{max(numbers, default=0) + 1}.html"
        return show_galaxies(self.settings, rows, Path(output), title)

    def send(
        self, table: Table | pd.DataFrame | Iterable[str], name: str = "", to: str = ""
    ) -> list[str]:
        """Send a table to TOPCAT, Aladin or any other program by SAMP.

        Parameters
        ----------
        table
            Any table, or names of candidates or ids of galaxies.
        name
            By which the other program shows it; that of the run if not given.
        to
            Name of the program; all that take tables if not given.

        Returns
        -------
        list of str
            Names of the programs that were told of it.

        Raises
        ------
        LenspipeError
            No hub is running, or no such program is connected to it.
        """
        if isinstance(table, pd.DataFrame):
            content = describe(table, ())
        elif isinstance(table, Table):
            content = table
        else:
            content = self._described(self._rows(table), "candidates")
        return send_table(content, name or self.settings.run, to)

    def _described(self, table: pd.DataFrame, key: str) -> QTable:
        """Add the units and descriptions of a product."""
        columns: list[Column] = [*PRODUCTS["candidates"].columns, *PRODUCTS[key].columns]
        models = [name.removeprefix("p_") for name in table if str(name).startswith("p_")]
        values = band_values(self.settings.survey.bands)
        values |= {"model": [name for name in models if name != "calibrated"]}
        return QTable(describe(table, expand(columns, values), {"run": self.settings.run}))

    def _find(self, name: str) -> tuple[pd.DataFrame, str]:
        """Return the row of a galaxy, as a table, and the product that it is of."""
        if self.paths.candidates.exists():
            table = read_candidates(self.paths.candidates, hidden=True)
            found = table[(table["id"] == name) | (table.get("name", table["id"]) == name)]
            if len(found):
                return found.head(1), "candidates"
        for chunk in chunks_of(self.paths.bricks):
            filters = [("id", "==", name)]
            table = read_table(self.paths.scores(chunk), "scores", filters=filters)
            if len(table):
                return table.head(1), "scores"
        raise LenspipeError(
            f"{name}: found no such candidate, nor a galaxy of this id with a score, in "
            f"{self.paths.root}; names are in {self.paths.candidates.with_suffix('.csv').name}"
        )

    def _rows(self, table: Table | pd.DataFrame | Iterable[str]) -> pd.DataFrame:
        """Turn what the user gives into rows of galaxies."""
        if isinstance(table, Table):
            rows = pd.DataFrame({name: _plain(table[name]) for name in table.colnames})
        elif isinstance(table, pd.DataFrame):
            rows = table.reset_index(drop=True)
        else:
            names = [table] if isinstance(table, str) else list(table)
            found = [self._find(str(name))[0] for name in names]
            rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_SHOWN)
        if missing := [name for name in _SHOWN if name not in rows]:
            raise LenspipeError(
                f"table: found columns {', '.join(map(str, rows.columns))}, expected also "
                f"{', '.join(missing)}, as in the candidates and the scores"
            )
        if rows.empty:
            raise LenspipeError("table: found no galaxy, expected at least one")
        return rows


def _plain(column: Any) -> np.ndarray:
    """Values of a column of a table, without a unit and in the machine's byte order."""
    values = np.asarray(getattr(column, "value", column))
    return values.astype(values.dtype.newbyteorder("=")) if values.dtype.kind in "iuf" else values
