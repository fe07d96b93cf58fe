"""What combining networks adds: members and combinations compared on galaxies never trained on."""

import itertools

import numpy as np
import scipy.special
import scipy.stats
from matplotlib.figure import Figure

from lenspipe.statistics.metrics import auc, completeness_at_fpr, completeness_interval
from lenspipe.utils.progress import log

__all__ = ["compare", "draw"]

#: False-positive rates of the comparison, by their names in ensemble.json.
RATES = {"1e-1": 0.1, "1e-2": 0.01, "1e-3": 0.001}

_RESAMPLED = 1000


def compare(settings, galaxies, combined):
    """Compare members, and combinations with the best of them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings.
    galaxies : pandas.DataFrame
        Columns split, label and one of each member's name. The comparison is on the test split, or
        on the validation split where there is no test.
    combined : pandas.DataFrame
        A column for each combination (mean, median, stacker), aligned with `galaxies`.

    Returns
    -------
    dict
        Content of ensemble.json, docs/networks.md; None for what could not be measured.
    """
    names = settings.models
    splits = set(galaxies["split"])
    judged_on = next((split for split in ("test", "validation") if split in splits), None)
    held_out = galaxies["split"] == judged_on
    is_lens = galaxies["label"] > 0.5
    scores = galaxies[names].join(combined.add_prefix("combined."))
    lenses, others = scores[held_out & is_lens], scores[held_out & ~is_lens]
    validation = galaxies["split"] == "validation"
    chosen_on = "validation" if (validation & is_lens).any() else judged_on
    those = galaxies["split"] == chosen_on
    best = max(names, key=lambda name: _merit(scores[name], those & is_lens, those & ~is_lens))
    report = {
        "members": names,
        "combine": settings.ensemble.combine,
        "judged_on": judged_on,
        "n_lenses": len(lenses),
        "n_nonlenses": len(others),
        "best_member": best,
        "best_member_chosen_on": chosen_on,
        "of_members": {name: _measure(lenses[name], others[name]) for name in names},
        "of_combinations": {},
        "gain_over_best_member": {},
        "agreement": [_agreement(lenses, others, *pair) for pair in _pairs(names)],
    }
    for name in combined:
        column = f"combined.{name}"
        report["of_combinations"][name] = _measure(lenses[column], others[column])
        report["gain_over_best_member"][name] = _gain(
            lenses[[best, column]].to_numpy(), others[[best, column]].to_numpy(), settings.seed
        )
    _say(report)
    return report


def draw(report):
    """Draw completeness of members and combinations, and how alike the members are.

    Parameters
    ----------
    report : dict
        As `compare` returns it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = report["members"]
    models = report["of_members"] | {
        f"{name} of all": found for name, found in report["of_combinations"].items()
    }
    figure = Figure(figsize=(10, 1.8 + 0.4 * len(models)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for i, (rate, colour) in enumerate(zip(RATES, ("#009E73", "#0072B2", "#D55E00"), strict=True)):
        key = f"completeness_fpr_{rate}"
        places = [n for n, found in enumerate(models.values()) if found[key] is not None]
        if not places:
            continue
        rows = [list(models.values())[n] for n in places]
        value, low, high = (
            np.array([row[key + end] for row in rows]) for end in ("", "_low", "_high")
        )
        # Where all are found the interval ends below the value.
        ends = np.maximum([value - low, high - value], 0)
        style = {"fmt": "o", "ms": 5, "capsize": 3, "color": colour}
        label = f"at a false-positive rate of {rate}"
        left.errorbar(value, np.array(places) + 0.18 * (i - 1), xerr=ends, label=label, **style)
    left.set_yticks(range(len(models)), models)
    left.set(ylim=(len(models) - 0.5, -0.5), xlim=(-0.02, 1.02), xlabel="completeness")
    left.set_title(
        f"{report['judged_on'] or 'no'} split: {report['n_lenses']} lenses, "
        f"{report['n_nonlenses']} others",
        fontsize=10,
    )
    left.axhline(len(names) - 0.5, color="0.7", lw=1)
    left.grid(color="0.92")
    if left.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower left", ncols=3, fontsize=8)
    matrix = np.full((len(names), len(names)), np.nan)
    for pair in report["agreement"]:
        i, j = (names.index(name) for name in pair["members"])
        for cell, of in (((i, j), "lenses"), ((j, i), "others")):
            value = pair[of]["spearman"]
            if value is not None:
                matrix[cell] = value
                right.text(cell[1], cell[0], f"{value:.2f}", ha="center", va="center")
    right.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", alpha=0.6)
    right.set_facecolor("0.95")
    right.set_xticks(range(len(names)), names, rotation=30, ha="right")
    right.set_yticks(range(len(names)), names)
    right.set_title("rank correlation:\nlenses above, others below", fontsize=10)
    return figure


def _merit(p, lenses, others):
    """What decides which member is the best: completeness at 1 %, then the area."""
    found = completeness_at_fpr(p[lenses], p[others], 0.01)[0], auc(p[lenses], p[others])
    return tuple(-1 if value is None else value for value in found)


def _measure(lenses, others):
    """Area under the ROC curve, and completeness with its 95 % interval at each rate."""
    measured = {"auc": auc(lenses, others)}
    for name, rate in RATES.items():
        key = f"completeness_fpr_{name}"
        measured[key] = completeness_at_fpr(lenses, others, rate)[0]
        measured[key + "_low"], measured[key + "_high"] = completeness_interval(
            lenses, others, rate
        )
    return measured


def _gain(lenses, others, seed):
    """What the second column has more than the first, with 95 % intervals.

    Galaxies are drawn again with replacement, the same for both columns (Efron 1979, Ann. Stat. 7,
    1): what both find or miss adds nothing to the interval.
    """
    gains = _differences(lenses, others)
    rng = np.random.default_rng(seed)
    drawn = []
    if len(lenses) and len(others):
        for _ in range(_RESAMPLED):
            some = (rng.choice(galaxies, len(galaxies)) for galaxies in (lenses, others))
            drawn.append(_differences(*some))
    found = {}
    for key, value in gains.items():
        low, high = (None, None)
        if value is not None:
            low, high = np.quantile([row[key] for row in drawn], [0.025, 0.975]).tolist()
        found |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return found


def _differences(lenses, others):
    (first, second), (below, beside) = lenses.T, others.T
    pairs = {"auc": (auc(first, below), auc(second, beside))}
    for name, rate in RATES.items():
        pairs[f"completeness_fpr_{name}"] = (
            completeness_at_fpr(first, below, rate)[0],
            completeness_at_fpr(second, beside, rate)[0],
        )
    return {key: None if None in pair else pair[1] - pair[0] for key, pair in pairs.items()}


def _pairs(names):
    return itertools.combinations(names, 2)


def _agreement(lenses, others, first, second):
    """How alike two members are: correlations, and the lenses that both miss."""
    cuts = [completeness_at_fpr(lenses[name], others[name], 0.01)[1] for name in (first, second)]
    missed = dict.fromkeys(("missed_by_first", "missed_by_second", "missed_by_both", "shared"))
    if None not in cuts:
        one, other = lenses[first] <= cuts[0], lenses[second] <= cuts[1]
        both, either = int((one & other).sum()), int((one | other).sum())
        missed = {
            "missed_by_first": int(one.sum()),
            "missed_by_second": int(other.sum()),
            "missed_by_both": both,
            "shared": both / either if either else None,
        }
    return {
        "members": [first, second],
        "lenses": _correlation(lenses[first], lenses[second]),
        "others": _correlation(others[first], others[second]),
        "missed_fpr_1e-2": missed,
    }


def _correlation(first, second):
    """Spearman's rank correlation, and Pearson's of the logits."""
    logits = [
        scipy.special.logit(np.clip(p.to_numpy(float), 1e-7, 1 - 1e-7)) for p in (first, second)
    ]
    if len(first) < 3 or any(np.ptp(values) == 0 for values in logits):
        return {"spearman": None, "pearson_logit": None}
    return {
        "spearman": float(scipy.stats.spearmanr(first, second).statistic),
        "pearson_logit": float(scipy.stats.pearsonr(*logits).statistic),
    }


def _say(report):
    """Log the main figures."""
    key = "completeness_fpr_1e-2"
    for name, gain in report["gain_over_best_member"].items():
        if gain[key] is not None:
            log.info(
                "ensemble: %s: completeness %.1f %% at 1 %% false positives, %+.1f (95 %%: %+.1f "
                "to %+.1f) over %s",
                name, 100 * report["of_combinations"][name][key],
                *(100 * gain[key + end] for end in ("", "_low", "_high")), report["best_member"],
            )  # fmt: skip
