"""Compare votes weighted by the graders' skill with their plain mean, on simulated graders.

Ten graders look at 500 candidates, of which 15 % are lenses. A grader with skill s takes the
fraction s of lenses for lenses and of non-lenses for non-lenses: an impression is drawn from a
normal distribution of unit width about +d or -d, where s is the normal integral up to d, and the
grade follows from it by three limits, all of them shifted by the grader's own strictness. Skills
are 0.60 to 0.95; 5 % of the votes are careless, any grade with equal probability. In each list are
25 lenses as controls, and 5 % of the candidates again. The network's score is a normal deviate
about +1 or -1 (AUC 0.92), so that its odds are known.

With one to ten votes for each candidate, given by graders at random, four estimates are compared:

- the mean, (mean - 1) / 3 taken for a probability;
- the mean with the best probabilities that it can have: an isotonic function fitted to the truth;
- the votes weighted by skill;
- the same multiplied with the network's odds.

Then votes are given one by one to the candidate about which they are expected to tell most, until
all are retired. Purity is that of the list which contains 80 % of the lenses; votes needed are
those with which it reaches the purity of the mean of five votes. Calibration pools the posteriors
of all numbers of votes: in each bin the observed fraction of lenses with its 95 % interval.

The second table is a harder case, in which graders err on the same candidates: half of the
variance of their impressions is common to all.
"""

import argparse
import json
import os
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
from scipy.optimize import isotonic_regression  # noqa: E402
from scipy.stats import norm  # noqa: E402
from tabulate import tabulate  # noqa: E402

from lenspipe.statistics.intervals import binomial_interval  # noqa: E402
from lenspipe.statistics.votes import Votes, vote_information, weigh_votes  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

N_CANDIDATES, N_GRADERS, N_CONTROLS = 500, 10, 25
FRACTION_LENSES, CARELESS, REPEATS = 0.15, 0.05, 0.05
SKILLS = np.linspace(0.60, 0.95, N_GRADERS)
COMPLETENESS, REFERENCE_VOTES = 0.8, 5
RETIRE_BELOW, RETIRE_ABOVE, RETIRE_AFTER = 0.01, 0.95, 2
ESTIMATES = ("mean", "mean_fitted", "weighted", "with_network")


class Simulation:
    """A list of candidates and all votes that the graders would give.

    Parameters
    ----------
    common
        Fraction of the variance of the impressions that is common to all graders.
    """

    def __init__(self, seed: int, common: float) -> None:
        self.rng = rng = np.random.default_rng(seed)
        n = N_CANDIDATES + N_CONTROLS
        self.truth = rng.random(n) < FRACTION_LENSES
        self.is_control = np.arange(n) >= N_CANDIDATES
        self.truth[self.is_control] = True
        sign = np.where(self.truth, 1.0, -1.0)
        self.network = 2 * (sign + rng.standard_normal(n))
        self.common = np.sqrt(common) * rng.standard_normal(n)
        self.own = np.sqrt(1 - common)
        self.sign, self.strictness = sign, rng.normal(0, 0.3, N_GRADERS)

    def vote(self, image: np.ndarray, grader: np.ndarray) -> np.ndarray:
        """Grades (A is 0, D is 3) that graders give to images."""
        impression = self.sign[image] * norm.ppf(SKILLS)[grader] + self.common[image]
        impression = impression + self.own * self.rng.standard_normal(len(image))
        limits = np.array([0.0, 0.7, 1.4])
        above = (impression - self.strictness[grader])[:, None] > limits
        careless = self.rng.random(len(image)) < CARELESS
        return np.where(careless, self.rng.integers(0, 4, len(image)), 3 - above.sum(axis=1))

    def all_votes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image, grader, grade and turn; a candidate's k-th vote has turn k, controls turn 0."""
        order = np.argsort(self.rng.random((N_CANDIDATES, N_GRADERS)), axis=1)
        image = np.repeat(np.arange(N_CANDIDATES), N_GRADERS)
        grader, turn = order.ravel(), np.tile(np.arange(1, N_GRADERS + 1), N_CANDIDATES)
        controls = np.flatnonzero(self.is_control)
        image = np.append(image, np.repeat(controls, N_GRADERS))
        grader = np.append(grader, np.tile(np.arange(N_GRADERS), N_CONTROLS))
        turn = np.append(turn, np.zeros(N_CONTROLS * N_GRADERS, int))
        again = (turn > 0) & (self.rng.random(len(turn)) < REPEATS)
        image, grader = np.append(image, image[again]), np.append(grader, grader[again])
        turn = np.append(turn, turn[again])
        return image, grader, self.vote(image, grader), turn


def weigh(simulation: Simulation, votes: Votes, network: bool, draws: int = 400):
    """Posterior of a simulation's images."""
    log_odds = simulation.network if network else np.zeros(len(simulation.truth))
    return weigh_votes(votes, N_GRADERS, log_odds, simulation.is_control, draws=draws)


def joined(image: np.ndarray, grader: np.ndarray, grade: np.ndarray) -> Votes:
    """Votes, those of a grader on the same image with a weight of one together."""
    pairs, counts = np.unique(image * N_GRADERS + grader, return_counts=True)
    weight = 1 / counts[np.searchsorted(pairs, image * N_GRADERS + grader)]
    return Votes(image, grader, grade, weight)


def purity(score: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> float:
    """Purity of the list of the best that contains 80 % of the lenses; ties in random order."""
    found = np.cumsum(truth[np.lexsort([rng.random(len(score)), -score])])
    length = 1 + int(np.searchsorted(found, COMPLETENESS * truth.sum()))
    return float(found[length - 1] / length)


def compare(seed: int, common: float) -> list[dict]:
    """Rows with Brier score and purity for each number of votes and estimate."""
    simulation = Simulation(seed, common)
    image, grader, grade, turn = simulation.all_votes()
    truth, rows = simulation.truth[:N_CANDIDATES], []
    for number in range(1, N_GRADERS + 1):
        use = turn <= number
        votes = joined(image[use], grader[use], grade[use])
        points = np.bincount(votes.image, (4 - votes.grade) * votes.weight)[:N_CANDIDATES]
        mean = points / np.bincount(votes.image, votes.weight)[:N_CANDIDATES]
        _, places = np.unique(mean, return_inverse=True)
        n_each = np.bincount(places)
        fitted = isotonic_regression(np.bincount(places, truth) / n_each, weights=n_each).x[places]
        results = {
            "mean": ((mean - 1) / 3,) * 3,
            "mean_fitted": (fitted,) * 3,
            "weighted": _of_candidates(weigh(simulation, votes, False)),
            "with_network": _of_candidates(weigh(simulation, votes, True)),
        }
        for name, (p, low, high) in results.items():
            rows.append(
                {
                    "estimate": name, "votes": number, "p": p, "low": low, "high": high,
                    "truth": truth, "brier": float(np.mean((p - truth) ** 2)),
                    "purity": purity(mean if name == "mean_fitted" else p, truth, simulation.rng),
                }
            )  # fmt: skip
    return rows


def _of_candidates(result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return result.p[:N_CANDIDATES], result.low[:N_CANDIDATES], result.high[:N_CANDIDATES]


def choose(seed: int, common: float, network: bool, batch: int = 10) -> list[dict]:
    """Rows of a search in which each grader is shown the candidates whose votes tell most."""
    simulation = Simulation(seed, common)
    controls = np.flatnonzero(simulation.is_control)
    image = np.repeat(controls, N_GRADERS)
    grader = np.tile(np.arange(N_GRADERS), N_CONTROLS)
    grade = simulation.vote(image, grader)
    truth, rng, rows = simulation.truth[:N_CANDIDATES], simulation.rng, []
    seen = np.zeros((N_CANDIDATES, N_GRADERS), bool)
    while True:
        result = weigh(simulation, joined(image, grader, grade), network, draws=150)
        p, n_votes = result.p[:N_CANDIDATES], seen.sum(axis=1)
        rows.append(
            {"votes": n_votes.mean(), "purity": purity(p, truth, rng),
             "brier": float(np.mean((p - truth) ** 2))}
        )  # fmt: skip
        retired = ((p < RETIRE_BELOW) | (p > RETIRE_ABOVE)) & (n_votes >= RETIRE_AFTER)
        more = []
        for who in rng.permutation(N_GRADERS):
            information = vote_information(p, result.matrices[who])
            information = np.where(retired | seen[:, who], -1, information.round(6))
            # In turn, so that one grader's choices are not all the next one's.
            best = np.lexsort([rng.random(N_CANDIDATES), -information])[: 3 * batch]
            best = rng.permutation(best[information[best] >= 0])[:batch]
            seen[best, who] = True
            more += [(i, who) for i in best]
        if not more:
            return rows
        new = np.array(more)
        image, grader = np.append(image, new[:, 0]), np.append(grader, new[:, 1])
        grade = np.append(grade, simulation.vote(new[:, 0], new[:, 1]))


def summarise(rows: list[dict], name: str, quantity: str) -> np.ndarray:
    """Mean over the simulations of a quantity, for one to ten votes."""
    return np.array(
        [
            np.mean([r[quantity] for r in rows if r["estimate"] == name and r["votes"] == number])
            for number in range(1, N_GRADERS + 1)
        ]
    )


def votes_needed(numbers: np.ndarray, purities: np.ndarray, target: float) -> float | None:
    """Votes for each candidate with which a purity is reached first, linear between numbers."""
    reached = np.flatnonzero(purities >= target)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0:
        return float(numbers[0])
    step = (target - purities[i - 1]) / (purities[i] - purities[i - 1])
    return float(numbers[i - 1] + step * (numbers[i] - numbers[i - 1]))


def chosen_curve(runs: list[list[dict]], numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of several searches by informative votes, at given votes for each candidate."""
    result = {}
    for name in ("brier", "purity"):
        curves = [
            np.interp(numbers, [r["votes"] for r in run], [r[name] for r in run]) for run in runs
        ]
        result[name] = np.mean(curves, axis=0)
    return result


def calibration(rows: list[dict], name: str) -> list[dict]:
    """Observed fraction of lenses in bins of the posterior, with its 95 % interval."""
    chosen = [r for r in rows if r["estimate"] == name]
    p, low, high, truth = (
        np.concatenate([r[key] for r in chosen]) for key in ("p", "low", "high", "truth")
    )
    place = np.digitize(p, edges := [0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1.01])
    bins = []
    for i in range(1, len(edges)):
        mask = place == i
        if mask.sum() < 20:
            continue
        interval = [float(v) for v in binomial_interval(int(truth[mask].sum()), int(mask.sum()))]
        bins.append(
            {"n": int(mask.sum()), "posterior": float(p[mask].mean()),
             "observed": float(truth[mask].mean()), "low": interval[0], "high": interval[1],
             "posterior_low": float(low[mask].mean()), "posterior_high": float(high[mask].mean())}
        )  # fmt: skip
    return bins


def run_case(seeds: int, common: float) -> dict:
    """All results of one kind of graders."""
    rows = [row for seed in range(seeds) for row in compare(seed, common)]
    chosen = {
        name: [choose(seed, common, name == "chosen_with_network") for seed in range(seeds)]
        for name in ("chosen", "chosen_with_network")
    }
    numbers = np.arange(1, N_GRADERS + 1)
    fine = np.linspace(0.1, N_GRADERS, 100)
    target = float(summarise(rows, "mean", "purity")[REFERENCE_VOTES - 1])
    result: dict = {"target_purity": target, "numbers": numbers.tolist(), "curves": {}}
    for name in ESTIMATES:
        curve = {key: summarise(rows, name, key) for key in ("brier", "purity")}
        result["curves"][name] = {key: value.tolist() for key, value in curve.items()}
        result[f"votes_{name}"] = votes_needed(numbers, curve["purity"], target)
        result[f"brier_{name}"] = float(curve["brier"][REFERENCE_VOTES - 1])
    for name, runs in chosen.items():
        curve = chosen_curve(runs, fine)
        result["curves"][name] = {"votes": fine.tolist()} | {
            k: v.tolist() for k, v in curve.items()
        }
        result[f"votes_{name}"] = votes_needed(fine, curve["purity"], target)
        result[f"brier_{name}"] = float(np.mean([run[-1]["brier"] for run in runs]))
        result[f"votes_until_retired_{name}"] = float(np.mean([run[-1]["votes"] for run in runs]))
        result[f"purity_retired_{name}"] = float(np.mean([run[-1]["purity"] for run in runs]))
    result["calibration"] = {n: calibration(rows, n) for n in ("weighted", "with_network")}
    bins = [each for n in ("weighted", "with_network") for each in result["calibration"][n]]
    overlaps = [b["low"] <= b["posterior_high"] and b["posterior_low"] <= b["high"] for b in bins]
    result["bins_calibrated"], result["bins"] = int(sum(overlaps)), len(bins)
    return result


LABELS = {
    "mean": "mean",
    "mean_fitted": "mean, fitted to the truth",
    "weighted": "weighted by skill",
    "with_network": "weighted, with the network",
    "chosen": "weighted, informative order",
    "chosen_with_network": "the same, with the network",
}


def show(result: dict, title: str) -> None:
    """Print the tables of a case."""
    print(f"{title}: purity {result['target_purity']:.3f} is that of the mean of five votes")
    table = [
        [label, result[f"brier_{name}"], result[f"votes_{name}"]] for name, label in LABELS.items()
    ]
    print(tabulate(table, ["estimate", "Brier score", "votes for it"], floatfmt=".3f"))
    for name in ("chosen", "chosen_with_network"):
        print(
            f"{LABELS[name]}: all retired after {result[f'votes_until_retired_{name}']:.1f} votes "
            f"for each candidate, purity {result[f'purity_retired_{name}']:.3f}"
        )
    print(f"calibration: {result['bins_calibrated']} of {result['bins']} bins within the interval")
    for name, bins in result["calibration"].items():
        rows = [[b["n"], b["posterior"], b["observed"], b["low"], b["high"]] for b in bins]
        print(LABELS[name])
        print(tabulate(rows, ["n", "posterior", "observed", "low", "high"], floatfmt=".3f"))


def plot(result: dict, path: Path) -> None:
    """Plot Brier score and purity against votes, and the calibration."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for number, (name, label) in enumerate(LABELS.items()):
        curve = result["curves"][name]
        numbers = curve.get("votes", result["numbers"])
        style = "--" if name.startswith("chosen") else "-"
        for axis, key in zip(axes, ("brier", "purity"), strict=False):
            if name != "mean_fitted" or key == "brier":
                axis.plot(numbers, curve[key], style, color=f"C{number}", label=label)
    axes[0].set(xlabel="votes for each candidate", ylabel="Brier score", yscale="log")
    axes[1].set(xlabel="votes for each candidate", ylabel="purity at 80 % completeness")
    axes[1].legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="lower right")
    bins = result["calibration"]["weighted"]
    x, y = (np.array([b[key] for b in bins]) for key in ("posterior", "observed"))
    yerr = [y - [b["low"] for b in bins], [b["high"] for b in bins] - y]
    xerr = [x - [b["posterior_low"] for b in bins], [b["posterior_high"] for b in bins] - x]
    axes[2].plot([0, 1], [0, 1], color="0.6", lw=1)
    axes[2].errorbar(x, y, yerr=np.abs(yerr), xerr=np.abs(xerr), fmt="o", ms=4, lw=1)
    axes[2].set(xlabel="posterior, weighted by skill", ylabel="observed fraction of lenses")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run both cases, print the tables, and plot the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of simulations")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--figure", type=Path, help="PNG file")
    options = parser.parse_args()
    begin = time.monotonic()
    results = {"independent": run_case(options.seeds, 0.0)}
    show(results["independent"], "independent errors")
    print()
    results["common"] = run_case(options.seeds, 0.5)
    show(results["common"], "half of the errors in common")
    print(f"{time.monotonic() - begin:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if options.figure:
        plot(results["independent"], options.figure)


if __name__ == "__main__":
    main()
