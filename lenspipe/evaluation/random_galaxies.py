"""Random galaxies: those of a search that are not lenses and that no network was trained on."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.learning import Sample
from lenspipe.config.paths import RunPaths, model_file
from lenspipe.products.cards import describe_model
from lenspipe.products.models import training_splits
from lenspipe.products.tables import read_table
from lenspipe.products.truth import lenses_shown
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["FATES", "RandomGalaxies", "TrainingSample", "find_training_sample"]

#: Classes of the galaxies of a search, by their code; the first that applies. Repeated rows of a
#: galaxy are ``listed twice``.
FATES = (
    *("random", "no score", "flagged", "near a known lens", "graded A to C"),
    *("lens that no catalogue lists", "trained on", "listed twice"),
)

_GRADES = ("A", "B", "C")

#: Maximum distance of the same galaxy in two releases, arcsec.
_SAME_GALAXY_ARCSEC = 1.0


class TrainingSample(NamedTuple):
    """Table of the labelled sample that a model was trained on, and the splits used for that.

    There is no table if it was trained on simulated stamps alone.
    """

    path: Path | None
    splits: Sequence[str]
    of_other_run: bool

    def read(self) -> pd.DataFrame:
        """Read the galaxies that the model was trained on.

        The columns are id, brick and, for another run, ra and dec (degrees).
        """
        if self.path is None:
            return pd.DataFrame({"id": [], "brick": []}, dtype=str)
        columns = ["id", "brick", "split", *(["ra", "dec"] if self.of_other_run else [])]
        sample = _read_sample(self.path, columns)
        return sample[sample["split"].isin(self.splits)]


def find_training_sample(
    other: str | None, model: str | None, own: Path, splits: Sequence[str]
) -> TrainingSample | None:
    """Find the labelled sample that the search's model was trained on; None if it is not known.

    `other` and `model` are ``recovery.sample`` and ``inference.model``; `own` is the run's labelled
    sample, and `splits` those that its own model is trained on. A model with a card was trained on
    simulated stamps, hence on no galaxy of a search.
    """
    if other:
        path = Path(other)
        return TrainingSample(path, training_splits(path.parents[1] / "models"), True)
    if not model:
        return TrainingSample(own, splits, False)
    if describe_model(model_file(model)):
        return TrainingSample(None, (), False)
    log.info(
        "random galaxies: the training sample of the given model is unknown, so that its galaxies "
        "are not excluded; config key recovery.sample names its labelled sample"
    )
    return None


class RandomGalaxies:
    """Classifies the galaxies of a search as random ones or by why they are not.

    Parameters
    ----------
    known
        Known lenses: ra, dec (degrees).
    grades
        As returned by `lenspipe.products.grades.read_grades`.
    unlisted
        Identifiers of lenses that no catalogue lists, of a simulated sky.
    training
        As returned by `TrainingSample.read`; None if it is not known.
    section
        Its exclusion and match radius are used.
    reject_flags
        Flags that keep a galaxy from being a candidate.

    Attributes
    ----------
    knows_training : bool
        Whether it is known which galaxies the model was trained on.
    """

    def __init__(
        self,
        known: pd.DataFrame,
        grades: pd.DataFrame | None,
        unlisted: ArrayLike,
        training: pd.DataFrame | None,
        section: Sample,
        reject_flags: Iterable[str],
    ) -> None:
        self._match_arcsec, self._reject_flags = section.match_radius_arcsec, reject_flags
        self._known = _sky(known, section.exclusion_arcsec)
        lenses = None if grades is None else grades[grades["grade"].isin(_GRADES)]
        self._graded = _sky(lenses, section.exclusion_arcsec)
        self._unlisted = _index(unlisted)
        self.knows_training = training is not None
        self._training_ids, self._training_bricks = _index([]), _index([])
        self._training_sky: Sky | None = None
        if training is not None:
            # The host galaxy of an injected arc was seen in training as well.
            self._training_ids = _index(training["id"].str.removeprefix("injected:"))
            self._training_bricks = _index(training["brick"])
            if "ra" in training:
                # The same galaxy has another identifier in another release.
                self._training_sky = _sky(training, _SAME_GALAXY_ARCSEC)

    @classmethod
    def read(
        cls,
        paths: RunPaths,
        training: TrainingSample | None,
        section: Sample,
        reject_flags: Iterable[str],
        *,
        simulated: bool,
        grades: pd.DataFrame | None = None,
    ) -> Self:
        """Read the known lenses of a run, the truth of a simulated sky, and the training sample.

        Raises
        ------
        LenspipeError
            The known lenses are not merged yet, or the labelled sample is missing or unreadable.
        """
        known, unlisted = read_table(paths.lenses, "known"), []
        if simulated:
            is_lens = [("kind", "==", "lens")]
            lenses = read_table(paths.truth, "truth", columns=["id"], filters=is_lens)["id"]
            unlisted = [*lenses, *lenses_shown(paths.truth)]
        trained_on = training.read() if training else None
        return cls(known, grades, unlisted, trained_on, section, reject_flags)

    def in_training_bricks(self, bricks: pd.Series) -> np.ndarray:
        """Whether the model was trained on galaxies of each brick (bool, shape (N,))."""
        return _is_in(self._training_bricks, bricks)

    def classify(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Assign each galaxy to one of `FATES`.

        The table is that of a chunk of the search: id (unique), ra, dec (degrees), flags, p. Return
        the fates as indices into `FATES`, (N,), and whether each galaxy is a known lens, within the
        match radius, bool (N,).
        """
        near, known = np.zeros(len(table), bool), np.zeros(len(table), bool)
        if self._known:
            rows, _, separation = self._known.pairs(table["ra"], table["dec"])
            near[rows] = True
            known[rows[separation <= self._match_arcsec]] = True
        masks = (
            table["p"].isna(),
            has_rejected_flag(table["flags"], self._reject_flags),
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
