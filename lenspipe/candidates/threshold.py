"""From ``candidates.threshold`` to a cut in the scores."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord, search_around_sky

from lenspipe.candidates.ranking import GroupKey, count_scores, nth_highest, positions_above
from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Candidates, Threshold
from lenspipe.products.models import random_nonlenses, read_held_out
from lenspipe.products.scores import Cuts
from lenspipe.statistics.metrics import completeness_at_fpr
from lenspipe.utils.errors import LenspipeError

__all__ = ["find_cuts"]


def find_cuts(
    paths: RunPaths, candidates: Candidates, predictions: Path
) -> tuple[Cuts, dict[GroupKey, int]]:
    """Find the cut that corresponds to the threshold, in each of its groups.

    A cut is a score, so galaxies with tied scores are all above it or all below. Where a number of
    galaxies is requested and the last of them is tied with others, all of these pass. Return the
    cuts and, for each group, the number of galaxies with a score and without a rejected flag. A
    false-positive rate is measured on the predictions for held-out galaxies.

    Raises
    ------
    LenspipeError
        The held-out sample cannot measure the requested false-positive rate.
    """
    threshold = candidates.threshold
    counts = count_scores(paths, candidates)
    n_searched = {key: int(number.sum()) for key, number in sorted(counts.items())}
    if threshold.by == "probability":
        values = dict.fromkeys(n_searched, threshold.value)
    elif threshold.by == "false_positive_rate":
        held_out, source = read_held_out(predictions)
        values = _cuts_at_rate(held_out, source, threshold, n_searched)
    elif threshold.by == "inspect":
        values = _cuts_for_systems(paths, candidates, counts, n_searched)
    elif threshold.by == "number":
        numbers = dict.fromkeys(n_searched, int(threshold.value))
        values = nth_highest(paths, candidates, counts, numbers)
    else:
        numbers = {
            key: int(np.floor(threshold.value * number + 1e-9))
            for key, number in n_searched.items()
        }
        values = nth_highest(paths, candidates, counts, numbers)
    return Cuts(threshold.per, {key: values[key] for key in n_searched}), n_searched


def _cuts_at_rate(
    table: pd.DataFrame | None, source: str, threshold: Threshold, keys: Iterable[GroupKey]
) -> dict[GroupKey, float]:
    """Lowest cuts that at most a given fraction of the held-out random non-lenses pass.

    `table` and `source` as returned by `lenspipe.products.models.read_held_out`.
    """
    if table is None:
        raise LenspipeError(
            f"{source}: no such file, expected the scores of held-out galaxies, on which a "
            "false-positive rate is measured; put predictions.parquet of the model beside it, or "
            "choose another candidates.threshold.by"
        )
    cuts = {}
    for key in keys:
        others = random_nonlenses(table, threshold.per, key)["p"].to_numpy(np.float32)
        _, cut = completeness_at_fpr([], others, threshold.value)
        if cut is None:
            of_group = f" of {' '.join(key)}" if key else ""
            measurable = f"rates of at least {1 / len(others):.2g}" if len(others) else "no rate"
            raise LenspipeError(
                f"config key candidates.threshold.value: found {threshold.value:g}, but {source} "
                f"has {len(others)} random non-lenses{of_group}, which measure {measurable}; "
                f"expected at least {np.ceil(1 / threshold.value - 1e-9):.0f} of them; raise the "
                "value, hold out more, or choose another candidates.threshold.by"
            )
        # There scores above the cut pass; candidates are at or above theirs.
        cuts[key] = float(np.nextafter(np.float32(cut), np.float32(2)))
    return cuts


def _cuts_for_systems(
    paths: RunPaths,
    candidates: Candidates,
    counts: Mapping[GroupKey, np.ndarray],
    keys: Iterable[GroupKey],
) -> dict[GroupKey, float]:
    """Lowest cuts that give at most a given number of systems after merging."""
    limit = int(candidates.threshold.value)
    result, pending, n_galaxies = {}, set(keys), 2 * limit
    # How many galaxies make up these systems is only known from their positions.
    while pending:
        cuts = nth_highest(paths, candidates, counts, dict.fromkeys(pending, n_galaxies))
        for key, table in positions_above(paths, candidates, cuts).items():
            cut = _lowest_score(table, limit, candidates.merge_radius_arcsec)
            if cut is not None or cuts[key] == 0:
                result[key] = 0.0 if cut is None else cut
                pending.remove(key)
        n_galaxies *= 2
    return result


def _lowest_score(table: pd.DataFrame, limit: int, radius_arcsec: float) -> float | None:
    """Lowest score above which there are at most `limit` systems; None if there are no more."""
    table = table.sort_values("p", ascending=False, kind="stable")
    p = table["p"].to_numpy()
    positions = SkyCoord(table["ra"], table["dec"], unit="deg")
    first, second, _, _ = search_around_sky(positions, positions, radius_arcsec * u.arcsec)
    earlier = second < first
    neighbours: dict[int, list[int]] = {}
    for i, j in zip(first[earlier].tolist(), second[earlier].tolist(), strict=True):
        neighbours.setdefault(i, []).append(j)
    parent, n_systems = list(range(len(p))), 0

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i in range(len(p)):
        n_systems += 1
        for j in neighbours.get(i, ()):
            a, b = root(i), root(j)
            if a != b:
                parent[a] = b
                n_systems -= 1
        if n_systems > limit:
            return float(p[i - 1])
    return None
