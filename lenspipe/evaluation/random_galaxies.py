"""Random galaxies: those of a search that are no lenses and that no network has learnt from."""

from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.flags import rejected
from lenspipe.products.known_lenses import read_known
from lenspipe.products.models import splits_trained_on
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["FATES", "RandomGalaxies", "read_grades"]

#: What becomes of a galaxy of the search, by its code; the first that applies. A row that repeats
#: a galaxy is none of its own.
FATES = (
    *("random", "no score", "flagged", "near a known lens", "graded A to C"),
    *("lens that no catalogue lists", "trained on", "listed twice"),
)

_GRADES = ("A", "B", "C")

#: How far apart the same galaxy is in two releases, arcsec.
_SAME_ARCSEC = 1.0


class RandomGalaxies:
    """Tells which galaxies of a search are random ones, and why the others are not.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    grades : pandas.DataFrame or None
        As of `read_grades`.

    Attributes
    ----------
    knows_training : bool
        Whether it is known what the model learnt from.

    Raises
    ------
    LenspipeError
        The known lenses are not merged yet, or the labelled sample is missing or unreadable.
    """

    def __init__(self, settings, grades=None):
        self._settings = settings
        self._known = _sky(read_known(settings.paths.lenses), settings.sample.exclusion_arcsec)
        lenses = None if grades is None else grades[grades["grade"].isin(_GRADES)]
        self._graded = _sky(lenses, settings.sample.exclusion_arcsec)
        self._unlisted = _index([])
        if settings.simulation:
            truth = pd.read_parquet(
                settings.paths.truth, columns=["id"], filters=[("kind", "==", "lens")]
            )
            self._unlisted = _index(truth["id"])
        self._read_training()

    def _read_training(self):
        """Note what the model learnt from: identifiers, bricks and, of another run, positions."""
        settings, other = self._settings, self._settings.recovery.sample
        self.knows_training = bool(other) or not settings.inference.model
        self._learnt, self._learnt_bricks, self._places = _index([]), _index([]), None
        if not self.knows_training:
            log.info(
                "random galaxies: what the given model learnt from is unknown, and counts as any; "
                "config key recovery.sample names its labelled sample"
            )
            return
        path = Path(other) if other else settings.paths.sample
        splits = splits_trained_on(path.parents[1] / "models") if other else settings.learnt_splits
        sample = _read_sample(path, ["id", "brick", "split", *(["ra", "dec"] if other else [])])
        sample = sample[sample["split"].isin(splits)]
        # A galaxy that an arc was painted on has been seen, too.
        self._learnt = _index(sample["id"].str.removeprefix("injected:"))
        self._learnt_bricks = _index(sample["brick"])
        # Of another release the same galaxy has another identifier.
        self._places = _sky(sample, _SAME_ARCSEC) if other else None

    def of_training(self, bricks):
        """Whether the model learnt from galaxies of each brick.

        Parameters
        ----------
        bricks : pandas.Series of str

        Returns
        -------
        numpy.ndarray of bool, shape (N,)
        """
        return _among(self._learnt_bricks, bricks)

    def sort(self, table):
        """Say what each galaxy is.

        Parameters
        ----------
        table : pandas.DataFrame
            Of a chunk of the search: id (each once), ra, dec (degrees), flags, p.

        Returns
        -------
        fates : numpy.ndarray of int, shape (N,)
            Places in `FATES`.
        known : numpy.ndarray of bool, shape (N,)
            Whether it is a known lens, within ``sample.match_radius_arcsec``.
        """
        near, known = np.zeros(len(table), bool), np.zeros(len(table), bool)
        if self._known:
            rows, _, separation = self._known.pairs(table["ra"], table["dec"])
            near[rows] = True
            known[rows[separation <= self._settings.sample.match_radius_arcsec]] = True
        reasons = (
            table["p"].isna(),
            rejected(table["flags"], self._settings),
            near,
            _within(self._graded, table),
            _among(self._unlisted, table["id"]),
            _among(self._learnt, table["id"]) | _within(self._places, table),
        )
        return np.select([np.asarray(r, bool) for r in reasons], range(1, len(reasons) + 1)), known


def read_grades(settings):
    """Read the candidates' grades, as `lenspipe inspect --export` has written them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame or None
        ra, dec (degrees), p (float32), grade (A to D, or empty); None where nobody has graded.

    Raises
    ------
    LenspipeError
        The table is unreadable, or lacks a column.
    """
    path = settings.paths.inspection("grades.csv")
    if not path.exists():
        return None
    kinds = {"ra": float, "dec": float, "p": np.float32, "grade": str}
    try:
        table = pd.read_csv(path, usecols=list(kinds), dtype=kinds)
    except ValueError as error:
        raise LenspipeError(
            f"{path}: can't be read as graded candidates ({str(error).splitlines()[0]}); write it "
            "anew: lenspipe inspect --export"
        ) from None
    return table.assign(grade=table["grade"].fillna(""))


def _read_sample(path, columns):
    if not path.exists():
        raise LenspipeError(
            f"{path}: found no such file, expected the labelled sample that the model learnt from; "
            "build it, or correct config key recovery.sample"
        )
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError) as error:
        raise LenspipeError(
            f"{path}: can't be read as a labelled sample ({str(error).splitlines()[0]}); correct "
            "config key recovery.sample, or build it again"
        ) from None


def _index(names):
    """Names to be looked up chunk after chunk; `isin` would hash them anew each time."""
    return pd.Index(pd.unique(np.asarray(names, object)), dtype=object)


def _among(index, names):
    """Whether each name is in an index."""
    return index.get_indexer(np.asarray(names, object)) >= 0


def _sky(table, radius_arcsec):
    """Positions to be compared with; None where there are none."""
    return (
        Sky(table["ra"], table["dec"], radius_arcsec) if table is not None and len(table) else None
    )


def _within(sky, table):
    """Whether each galaxy is near any of some positions."""
    found = np.zeros(len(table), bool)
    if sky:
        found[sky.pairs(table["ra"], table["dec"])[0]] = True
    return found
