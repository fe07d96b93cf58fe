"""Lenses among the candidates: graded, or all without the expected false positives."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.paths import RunPaths
from lenspipe.products.candidates import read_candidates
from lenspipe.products.files import read_json
from lenspipe.products.grades import add_grades, read_grades
from lenspipe.products.scores import iterate_scores
from lenspipe.statistics.intervals import Z_SCORE

__all__ = ["GradedCandidates", "read_graded_candidates"]

#: Grades of lenses, as in lenspipe.inspection.
_LENS_GRADES = ("A", "B", "C")


class GradedCandidates:
    """Candidates above the cut, with their grades.

    Parameters
    ----------
    table
        A row per candidate: id, best_id (of the member with the best score), brick, mag (last
        band), grade (empty without a vote).
    false_positive_rate
        Fraction of the galaxies that pass without being lenses, with the ends of its 95 % interval.
    n_searched
        Galaxies searched in the same bricks, in bins of magnitude.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        false_positive_rate: tuple[float, ...] | None,
        n_searched: np.ndarray,
    ) -> None:
        self.table = table
        self.false_positive_rate = false_positive_rate
        self.n_searched = n_searched
        self.graded = bool((table["grade"] != "").any())

    def count_lenses(
        self, rows: np.ndarray | slice = slice(None), bins: int | slice = slice(None)
    ) -> dict[str, Any]:
        """Count how many of the candidates are lenses.

        With grades: those of A, B and C; those without a grade may be either. Without: all, minus
        the expected false positives, with the uncertainty of their rate and their chance. Keys are
        ``candidates``, ``found``, ``found_low``, ``found_high``; ``found`` is None where the false
        positives are unknown. `rows` is a mask of the candidates to count, `bins` the bins of
        magnitude that they are in.
        """
        table = self.table[rows]
        n = len(table)
        number: tuple[float | None, ...]
        if self.graded:
            lenses = int(table["grade"].isin(_LENS_GRADES).sum())
            number = lenses, lenses, lenses + int((table["grade"] == "").sum())
        elif self.false_positive_rate is None:
            number = None, 0, n
        else:
            n_searched = int(np.sum(self.n_searched[bins]))
            false, low, high = (rate * n_searched for rate in self.false_positive_rate)
            # Their number scatters about that expected.
            low = false - np.sqrt((false - low) ** 2 + Z_SCORE**2 * low)
            high = false + np.sqrt((high - false) ** 2 + Z_SCORE**2 * high)
            number = tuple(float(n - np.clip(each, 0, n)) for each in (false, high, low))
        names = ("found", "found_low", "found_high")
        return {"candidates": n} | dict(zip(names, number, strict=True))


def read_graded_candidates(
    paths: RunPaths,
    band: str,
    edges: Sequence[float],
    reject_flags: Iterable[str],
    bricks: Collection[str] | None = None,
) -> GradedCandidates:
    """Read candidates, grades, and the expected false-positive rate.

    Galaxies without a score, or with a flag that is rejected, cannot become candidates and are not
    searched. `edges` are those of the bins of magnitude in the band, the search's last; all bricks
    are included if none are given.
    """
    mag = f"mag_{band}"
    table = read_candidates(paths.candidates, hidden=True)
    table["grade"] = ""
    grades_path = paths.inspection("grades.csv")
    if grades_path.exists():
        table = add_grades(table, read_grades(grades_path), grades_path)
    table = table[["id", "best_id", "brick", mag, "grade"]].rename(columns={mag: "mag"})
    expected = read_json(paths.threshold, "threshold")["expected"]
    rate = tuple(expected[f"false_positive_rate{end}"] for end in ("", "_low", "_high"))
    n_searched = np.zeros(len(edges) - 1, int)
    tables = iterate_scores(
        paths,
        "expected",
        ["id", "brick", "flags", "p"],
        of_parent=lambda scores: scores.drop_duplicates("id"),
        parent=[mag],
    )
    for scores in tables:
        searched = scores["p"].notna() & ~has_rejected_flag(scores["flags"], reject_flags)
        if bricks is not None:
            searched &= scores["brick"].isin(bricks)
        n_searched += np.histogram(scores.loc[searched, mag], edges)[0]
    if bricks is not None:
        table = table[table["brick"].isin(bricks)].reset_index(drop=True)
    return GradedCandidates(table, None if None in rate else rate, n_searched)
