"""Random galaxies: those of a search that are not lenses and that no network was trained on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.settings import Settings
from lenspipe.products.models import training_splits
from lenspipe.products.tables import read_table
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["FATES", "RandomGalaxies"]

#: Classes of the galaxies of a search, by their code; the first that applies. Repeated rows of a
#: galaxy are ``listed twice``.
FATES = (
    *("random", "no score", "flagged", "near a known lens", "graded A to C"),
    *("lens that no catalogue lists", "trained on", "listed twice"),
)

_GRADES = ("A", "B", "C")

#: Maximum distance of the same galaxy in two releases, arcsec.
_SAME_GALAXY_ARCSEC = 1.0


class RandomGalaxies:
    """Classifies the galaxies of a search as random ones or by why they are not.

    Parameters
    ----------
    grades
        As returned by `lenspipe.products.grades.read_grades`.

    Attributes
    ----------
    knows_training : bool
        Whether it is known which galaxies the model was trained on.

    Raises
    ------
    LenspipeError
        The known lenses are not merged yet, or the labelled sample is missing or unreadable.
    """

    def __init__(self, settings: Settings, grades: pd.DataFrame | None = None) -> None:
        self._settings = settings
        radius_arcsec = settings.sample.exclusion_arcsec
        self._known = _sky(read_table(settings.paths.lenses, "known"), radius_arcsec)
        lenses = None if grades is None else grades[grades["grade"].isin(_GRADES)]
        self._graded = _sky(lenses, radius_arcsec)
        self._unlisted = _index([])
        if settings.simulation:
            truth = read_table(
                settings.paths.truth, "truth", columns=["id"], filters=[("kind", "==", "lens")]
            )
            self._unlisted = _index(truth["id"])
        self._training_ids, self._training_bricks = _index([]), _index([])
        self._training_sky: Sky | None = None
        other = settings.recovery.sample
        self.knows_training = bool(other) or not settings.inference.model
        if other:
            path = Path(other)
            self._read_training(path, training_splits(path.parents[1] / "models"), True)
        elif self.knows_training:
            self._read_training(settings.paths.sample, settings.training_splits, False)
        else:
            log.info(
                "random galaxies: the training sample of the given model is unknown, so that its "
                "galaxies are not excluded; config key recovery.sample names its labelled sample"
            )

    def _read_training(self, path: Path, splits: Iterable[str], of_other_run: bool) -> None:
        """Read identifiers, bricks and, for another run, positions of the training galaxies."""
        columns = ["id", "brick", "split", *(["ra", "dec"] if of_other_run else [])]
        sample = _read_sample(path, columns)
        sample = sample[sample["split"].isin(splits)]
        # The host galaxy of an injected arc was seen in training as well.
        self._training_ids = _index(sample["id"].str.removeprefix("injected:"))
        self._training_bricks = _index(sample["brick"])
        # The same galaxy has another identifier in another release.
        self._training_sky = _sky(sample, _SAME_GALAXY_ARCSEC) if of_other_run else None

    def in_training_bricks(self, bricks: pd.Series) -> np.ndarray:
        """Whether the model was trained on galaxies of each brick (bool, shape (N,))."""
        return _is_in(self._training_bricks, bricks)

    def classify(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Assign each galaxy to one of `FATES`.

        Parameters
        ----------
        table
            Of a chunk of the search: id (unique), ra, dec (degrees), flags, p.

        Returns
        -------
        fates : numpy.ndarray of int, shape (N,)
            Indices into `FATES`.
        known : numpy.ndarray of bool, shape (N,)
            Whether the galaxy is a known lens, within ``sample.match_radius_arcsec``.
        """
        near, known = np.zeros(len(table), bool), np.zeros(len(table), bool)
        if self._known:
            rows, _, separation = self._known.pairs(table["ra"], table["dec"])
            near[rows] = True
            known[rows[separation <= self._settings.sample.match_radius_arcsec]] = True
        masks = (
            table["p"].isna(),
            has_rejected_flag(table["flags"], self._settings),
            near,
            _is_near(self._graded, table),
            _is_in(self._unlisted, table["id"]),
            _is_in(self._training_ids, table["id"]) | _is_near(self._training_sky, table),
        )
        fates = np.select([np.asarray(mask, bool) for mask in masks], range(1, len(masks) + 1))
        return fates, known


def _read_sample(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.exists():
        raise LenspipeError(
            f"{path}: no such file, expected the labelled sample that the model was trained "
            "on; build it, or correct config key recovery.sample"
        )
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError) as error:
        raise LenspipeError(
            f"{path}: can't be read as a labelled sample ({str(error).splitlines()[0]}); correct "
            "config key recovery.sample, or build it again"
        ) from None


def _index(names: ArrayLike) -> pd.Index:
    """Hash names once for all chunks, which `isin` would do for each."""
    return pd.Index(pd.unique(np.asarray(names, object)), dtype=object)


def _is_in(index: pd.Index, names: pd.Series) -> np.ndarray:
    return index.get_indexer(np.asarray(names, object)) >= 0


def _sky(table: pd.DataFrame | None, radius_arcsec: float) -> Sky | None:
    """Positions for matching; None where there are none."""
    return (
        Sky(table["ra"], table["dec"], radius_arcsec) if table is not None and len(table) else None
    )


def _is_near(sky: Sky | None, table: pd.DataFrame) -> np.ndarray:
    mask = np.zeros(len(table), bool)
    if sky:
        mask[sky.pairs(table["ra"], table["dec"])[0]] = True
    return mask
