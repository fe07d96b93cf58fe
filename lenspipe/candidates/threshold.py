"""From what ``candidates.threshold`` asks for to a cut in the scores."""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord, search_around_sky

from lenspipe.candidates.ranking import count_scores, nth_highest, positions_above
from lenspipe.products.predictions import random_nonlenses, read_held_out
from lenspipe.products.scores import Cuts
from lenspipe.statistics.metrics import completeness_at_fpr
from lenspipe.utils.errors import LenspipeError

__all__ = ["find_cuts"]


def find_cuts(settings):
    """Find the cut that the threshold asks for, in each of its groups.

    A cut is a score: galaxies that score alike are all above it or all below, whatever the rule. So
    where many share the last score that a number allows, all of them pass, and more than asked.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    cuts : lenspipe.products.scores.Cuts
    n_searched : dict
        Key of a group -> galaxies with a score and without a rejected flag.

    Raises
    ------
    LenspipeError
        A false-positive rate is asked for that the held-out sample can't measure.
    """
    own = settings.candidates.threshold
    counts = count_scores(settings)
    n_searched = {key: int(number.sum()) for key, number in sorted(counts.items())}
    if own.by == "probability":
        values = dict.fromkeys(n_searched, own.value)
    elif own.by == "false_positive_rate":
        values = _of_rate(settings, n_searched)
    elif own.by == "inspect":
        values = _of_systems(settings, counts, n_searched)
    else:
        numbers = {
            key: int(own.value if own.by == "number" else np.floor(own.value * number + 1e-9))
            for key, number in n_searched.items()
        }
        values = nth_highest(settings, counts, numbers)
    return Cuts(own.per, {key: values[key] for key in n_searched}), n_searched


def _of_rate(settings, keys):
    """Lowest cuts that let no more than a part of the held-out random non-lenses pass."""
    own = settings.candidates.threshold
    table, where = read_held_out(settings.predictions)
    if table is None:
        raise LenspipeError(
            f"{where}: found no such file, expected the scores of held-out galaxies, which a "
            "false-positive rate is measured on; put predictions.parquet of the model beside it, "
            "or choose another candidates.threshold.by"
        )
    cuts = {}
    for key in keys:
        others = random_nonlenses(table, own.per, key)["p"].to_numpy(np.float32)
        _, cut = completeness_at_fpr([], others, own.value)
        if cut is None:
            of = f" of {' '.join(key)}" if key else ""
            least = f"rates of {1 / len(others):.2g} and more" if len(others) else "no rate"
            raise LenspipeError(
                f"config key candidates.threshold.value: found {own.value:g}, but {where} has "
                f"{len(others)} random non-lenses{of}, which measure {least}; expected "
                f"{np.ceil(1 / own.value - 1e-9):.0f} of them at least; raise the value, hold out "
                "more, or choose another candidates.threshold.by"
            )
        # What scores above that cut passes, and candidates are at or above theirs.
        cuts[key] = float(np.nextafter(np.float32(cut), np.float32(2)))
    return cuts


def _of_systems(settings, counts, n_searched):
    """Lowest cuts that give no more than a number of systems, once neighbours are merged."""
    limit = int(settings.candidates.threshold.value)
    found, pending, number = {}, set(n_searched), 2 * limit
    # How many galaxies make so many systems is only known once their positions are.
    while pending:
        cuts = nth_highest(settings, counts, dict.fromkeys(pending, number))
        for key, table in positions_above(settings, cuts).items():
            cut = _walk(table, limit, settings.candidates.merge_radius_arcsec)
            if cut is not None or cuts[key] == 0:
                found[key] = 0.0 if cut is None else cut
                pending.remove(key)
        number *= 2
    return found


def _walk(table, limit, radius_arcsec):
    """Go down the scores until another system would be one too many.

    Returns
    -------
    float or None
        The last score that fits; None if all do.
    """
    table = table.sort_values("p", ascending=False, kind="stable")
    p = table["p"].to_numpy()
    positions = SkyCoord(table["ra"], table["dec"], unit="deg")
    first, second, _, _ = search_around_sky(positions, positions, radius_arcsec * u.arcsec)
    earlier = second < first
    neighbours = {}
    for i, j in zip(first[earlier].tolist(), second[earlier].tolist(), strict=True):
        neighbours.setdefault(i, []).append(j)
    root, n_systems = list(range(len(p))), 0

    def find(i):
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for i in range(len(p)):
        n_systems += 1
        for j in neighbours.get(i, ()):
            a, b = find(i), find(j)
            if a != b:
                root[a] = b
                n_systems -= 1
        if n_systems > limit:
            return float(p[i - 1])
    return None
