"""What a search found, without what is expected to be false."""

import numpy as np
import pandas as pd

from lenspipe.products.bricks import chunks_of
from lenspipe.products.candidates import read_candidates
from lenspipe.products.files import read_json
from lenspipe.products.tables import read_table

__all__ = ["Found", "read_found"]

#: Grades of lenses, as in lenspipe.inspection.
_LENSES = ("A", "B", "C")


class Found:
    """Candidates above the cut.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per candidate: id, best_id (of the member with the best score), brick, mag (last
        band), grade (empty without a vote).
    rate : tuple of float or None
        Part of the galaxies that pass without being lenses, with the ends of its 95 % interval.
    searched : (M,) int array
        Galaxies searched in the same bricks, in bins of magnitude.
    """

    def __init__(self, table, rate, searched):
        self.table, self.rate, self.searched = table, rate, searched
        self.graded = bool((table["grade"] != "").any())

    def lenses(self, chosen=slice(None), bins=slice(None)):
        """Say how many of the candidates are lenses.

        With grades: those of A, B and C; those without a grade may be either. Without: all, minus
        the false positives to expect.

        Parameters
        ----------
        chosen : (N,) bool array, optional
            Which candidates; all if not given.
        bins : int or slice, optional
            Bins of magnitude that these are from.

        Returns
        -------
        dict
            ``candidates``, ``found``, ``found_low``, ``found_high``; ``found`` is None where the
            false positives are unknown.
        """
        table = self.table[chosen]
        n = len(table)
        if self.graded:
            lenses = int(table["grade"].isin(_LENSES).sum())
            ends = lenses, lenses, lenses + int((table["grade"] == "").sum())
        elif self.rate is None:
            ends = None, 0, n
        else:
            searched = int(np.sum(self.searched[bins]))
            false, least, most = (min(rate * searched, n) for rate in self.rate)
            ends = n - false, n - most, n - least
        names = ("found", "found_low", "found_high")
        return {"candidates": n} | dict(zip(names, ends, strict=True))


def read_found(settings, edges, bricks=None):
    """Read candidates, grades, and the false positives that are expected.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    edges : sequence of float
        Of the bins of magnitude in the last band.
    bricks : collection of str, optional
        Bricks that count; all if not given.

    Returns
    -------
    Found
    """
    paths, mag = settings.paths, f"mag_{settings.survey.bands[-1]}"
    table = read_candidates(paths.candidates, hidden=True)
    table = table[["id", "best_id", "brick", mag]].rename(columns={mag: "mag"})
    table["grade"] = ""
    exported = paths.inspection("grades.csv")
    if exported.exists():
        grades = pd.read_csv(exported, dtype=str, keep_default_na=False)
        grades = grades.drop_duplicates("id").set_index("id")["grade"]
        table["grade"] = table["id"].map(grades).fillna("")
    expected = read_json(paths.threshold, "threshold")["expected"]
    rate = tuple(expected[f"false_positive_rate{end}"] for end in ("", "_low", "_high"))
    searched = np.zeros(len(edges) - 1, int)
    for chunk in chunks_of(paths.bricks):
        parent = read_table(paths.parent(chunk), "parent", columns=["brick", mag])
        if bricks is not None:
            parent = parent[parent["brick"].isin(bricks)]
        searched += np.histogram(parent[mag], edges)[0]
    if bricks is not None:
        table = table[table["brick"].isin(bricks)].reset_index(drop=True)
    return Found(table, None if None in rate else rate, searched)
