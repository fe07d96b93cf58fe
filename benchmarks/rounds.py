"""Compare ways to choose the galaxies that people look at in rounds, on simulated galaxies.

The population is that of `lenspipe.simulation.stamps`: 12,000 non-lenses in the proportions of the
simulated sky and 150 visible lenses, far more than on the sky (where there is one in 10,000), so
that a round finds some. 30 other lenses are known at first, with 33 non-lenses each. What is
trained is not a whole network but a light head, as a run with the model in the box would: five
logistic regressions, each on a resampled labelled sample, on the 384 features of the three networks
of the shipped model; their mean is the score, and they are the committee. In each of three rounds
100 galaxies are looked at, graded by the truth, and the head is trained again. Yields are lenses
found per 1,000 looked at in all three rounds, with the standard error of the mean of the seeds,
which draw the population out of all stamps, the known lenses and the head. Recovery is the
completeness at 1 % false positives after the last round, on stamps that are never looked at.

    score         the highest scores
    disagreement  the highest disagreement of the committee
    diversity     k-centre greedy on the features among the ten times as many highest scores
    mixture       80 % by score, 10 % by disagreement, 10 % by diversity
    random        for comparison

`--grid` compares further proportions. `--million` instead measures the choice of a round of 200 by
the mixture among 1,000,000 scored galaxies in 100 chunks of synthetic scores of an ensemble of
three: seconds, of which those for the features of the 2,000 preselected (by the model in the box,
of cutouts that are read from as many bricks' files as there are chunks), and the largest memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from astropy.io import fits  # noqa: E402
from tabulate import tabulate  # noqa: E402

from lenspipe.config.learning import Inference  # noqa: E402
from lenspipe.config.settings import Settings, load_settings  # noqa: E402
from lenspipe.products.cutouts import write_cutouts  # noqa: E402
from lenspipe.products.plan import Plan  # noqa: E402
from lenspipe.products.tables import write_table  # noqa: E402
from lenspipe.statistics.choice import choose_diverse, disagreement, share_out  # noqa: E402

N_LENSES, N_NONLENSES = 150, 12_000
POOL_LENSES, POOL_NONLENSES = 400, 18_000
N_KNOWN, NONLENSES_PER_KNOWN = 30, 33
ROUNDS, N_LOOKED_AT, MEMBERS, PRESELECTED = 3, 100, 5, 10
FPR = 0.01

#: Fractions by score, disagreement and diversity.
MIXTURE = (0.8, 0.1, 0.1)
PURE = {"score": (1, 0, 0), "disagreement": (0, 1, 0), "diversity": (0, 0, 1)}
GRID = {
    f"{a:g}/{b:g}/{c:g}": (a, b, c)
    for a, b, c in (
        *((0.8, 0.2, 0), (0.6, 0.4, 0), (0.8, 0, 0.2), (0.6, 0, 0.4)),
        *((0.9, 0.1, 0), (0.9, 0, 0.1), (0.7, 0.2, 0.1), (0.6, 0.2, 0.2)),
    )
}


def stamp_features(folder: Path, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of all stamps and whether each is a lens; kept in a folder."""
    path = folder / "features.npz"
    if path.is_file():
        with np.load(path) as kept:
            return kept["features"], kept["lens"]
    from lenspipe.config.paths import model_file
    from lenspipe.models.activations import features
    from lenspipe.models.contents import ensemble_members
    from lenspipe.scoring.score import load_model
    from lenspipe.simulation.stamps import draw_stamps

    members = ensemble_members(load_model(model_file("shipped")))
    parts, labels = [], []
    for kind, number in (("lens", POOL_LENSES), ("nonlens", POOL_NONLENSES)):
        for start in range(0, number, 1000):
            count = min(1000, number - start)
            images, _ = draw_stamps(kind, count, 7000 + start, workers)
            parts.append(np.hstack([features(member, images) for member in members]))
            labels.append(np.full(count, kind == "lens"))
    result = np.concatenate(parts), np.concatenate(labels)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, features=result[0], lens=result[1])
    return result


class Head:
    """Logistic regressions on resampled labelled samples."""

    def __init__(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
        from sklearn.linear_model import LogisticRegression

        self.members = []
        for _ in range(MEMBERS):
            rows = [rng.choice(np.flatnonzero(y == label), (y == label).sum()) for label in (0, 1)]
            rows = np.concatenate(rows)
            fit = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300)
            self.members.append(fit.fit(x[rows], y[rows]))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of all members, (N, M)."""
        return np.stack([member.predict_proba(x)[:, 1] for member in self.members], axis=1)


def choose(
    p: np.ndarray, x: np.ndarray, unseen: np.ndarray, fractions: tuple[float, float, float]
) -> np.ndarray:
    """Rows of a round."""
    score, spread = p.mean(axis=1), disagreement(p)
    by_score, by_spread, by_variety = share_out(N_LOOKED_AT, fractions)
    order = unseen[np.argsort(-score[unseen], kind="stable")]
    chosen = order[:by_score]
    rest = np.setdiff1d(unseen, chosen)
    chosen = np.append(chosen, rest[np.argsort(-spread[rest], kind="stable")[:by_spread]])
    best = np.union1d(order[: PRESELECTED * N_LOOKED_AT], chosen)
    covered = np.flatnonzero(np.isin(best, chosen))
    # Those of the first network, as `lenspipe round` takes them.
    x = x[best, : x.shape[1] // 3]
    return np.append(chosen, best[choose_diverse(x, by_variety, covered)])


def run_rounds(
    x: np.ndarray, lens: np.ndarray, seed: int, fractions: tuple[float, float, float] | None
) -> tuple[list[int], float]:
    """Lenses found in each round, and recovery at the end."""
    rng = np.random.default_rng([seed, 5])
    lenses, others = (rng.permutation(np.flatnonzero(lens == each)) for each in (True, False))
    n_others = N_KNOWN * NONLENSES_PER_KNOWN
    labelled = [*lenses[:N_KNOWN], *others[:n_others]]
    population = np.concatenate(
        [lenses[N_KNOWN : N_KNOWN + N_LENSES], others[n_others : n_others + N_NONLENSES]]
    )
    held_out = lenses[N_KNOWN + N_LENSES :], others[n_others + N_NONLENSES :]
    unseen, found = np.sort(population), []
    for _ in range(ROUNDS):
        head = Head(x[labelled], lens[labelled], rng)
        if fractions is None:
            chosen = rng.choice(unseen, N_LOOKED_AT, replace=False)
        else:
            p = np.zeros((len(x), MEMBERS))
            p[unseen] = head(x[unseen])
            chosen = choose(p, x, unseen, fractions)
        found.append(int(lens[chosen].sum()))
        labelled += chosen.tolist()
        unseen = np.setdiff1d(unseen, chosen)
    head = Head(x[labelled], lens[labelled], rng)
    above, below = (head(x[rows]).mean(axis=1) for rows in held_out)
    return found, float((above > np.quantile(below, 1 - FPR)).mean())


def compare(folder: Path, workers: int, seeds: int, grid: bool) -> dict:
    """All results."""
    x, lens = stamp_features(folder, workers)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    ways = {**PURE, "mixture": MIXTURE}
    ways |= {"random": None} | (GRID if grid else {})
    result: dict = {}
    for name, fractions in ways.items():
        runs = [run_rounds(x, lens, seed, fractions) for seed in range(seeds)]
        found = np.array([each for each, _ in runs])
        yields = 1000 * found.sum(axis=1) / (ROUNDS * N_LOOKED_AT)
        recovery = np.array([each for _, each in runs])
        result |= {
            f"yield_{name}": float(yields.mean()),
            f"yield_{name}_error": float(yields.std(ddof=1) / np.sqrt(seeds)),
            f"yield_{name}_rounds": (1000 * found.mean(axis=0) / N_LOOKED_AT).tolist(),
            f"recovery_{name}": float(recovery.mean()),
            f"recovery_{name}_error": float(recovery.std(ddof=1) / np.sqrt(seeds)),
        }
    return result


def write_million(n_chunks: int = 100, per_chunk: int = 10_000) -> None:
    """Write a run with synthetic scores of an ensemble, results/million."""
    settings = million_settings()
    paths, rng = settings.paths, np.random.default_rng(1)
    bricks = pd.DataFrame(
        {
            "chunk": [f"64-{i:06d}" for i in range(n_chunks)],
            "brick": [f"{i:04d}p300" for i in range(n_chunks)],
            "region": "south",
        }
    )
    Plan.of(bricks).write(paths.plan, "")
    write_table(paths.splits, bricks[["brick"]].assign(split="train"))
    nowhere = pd.DataFrame({"ra": rng.uniform(0, 90, 3000), "dec": rng.uniform(-20, 20, 3000)})
    write_table(paths.lenses, nowhere)
    paths.confusing.parent.mkdir(parents=True, exist_ok=True)
    nowhere.assign(kind="spiral").to_csv(paths.confusing, index=False)
    ids = [f"9010-{i}-{j}" for i in range(100) for j in range(200)]
    write_table(paths.sample_version(1), pd.DataFrame({"id": ids}))
    images = rng.normal(0, 0.01, (per_chunk // 50, 3, 101, 101)).astype(np.float32)
    for i, (chunk, brick) in enumerate(zip(bricks["chunk"], bricks["brick"], strict=True)):
        logit = rng.normal(-6, 2, per_chunk)[:, None] + rng.normal(0, 0.7, (per_chunk, 3))
        members = (1 / (1 + np.exp(-logit))).astype(np.float32)
        p = members.mean(axis=1)
        table = pd.DataFrame(
            {
                "id": [f"9010-{i}-{j}" for j in range(per_chunk)],
                "release": np.int16(9010), "brickid": np.int32(i), "objid": np.arange(per_chunk),
                "brick": brick, "region": "south",
                "ra": rng.uniform(0, 90, per_chunk), "dec": rng.uniform(-20, 20, per_chunk),
                "flags": np.int32(0), **{f"p_{k}": members[:, k] for k in range(3)},
                "p_committee": p, "p": p, "p_calibrated": p,
            }
        )  # fmt: skip
        write_table(paths.scores(chunk), table)
        # Only the best have cutouts here.
        best = table.nlargest(len(images), "p")[["id", "ra", "dec", "brick"]]
        write_cutouts(paths.cutouts(brick), images, best, fits.Header())


def million_settings() -> Settings:
    """Settings of the run with 1,000,000 synthetic scores."""
    fractions = dict(zip(("score", "disagreement", "diversity"), MIXTURE, strict=True))
    return load_settings(
        {
            "run": "million",
            "simulation": {},
            "footprint": {"ra": [150, 151], "dec": [30, 31]},
            "round": {"number": 200, "fractions": fractions},
        }
    )


def measure_million(folder: Path) -> dict:
    """Measure the choice among the scores of `write_million`, in this process."""
    from lenspipe.rounds.begin import choose_galaxies, features_of_galaxies

    os.chdir(folder)
    settings, seconds = million_settings(), []
    shipped = settings.model_copy(update={"inference": Inference(model="shipped")})

    def features_of(table: pd.DataFrame) -> np.ndarray:
        start = time.perf_counter()
        result = features_of_galaxies(shipped, table)
        seconds.append(time.perf_counter() - start)
        return result

    start = time.perf_counter()
    chosen, n_searched = choose_galaxies(settings, 1, features_of)
    return {
        "n_scores": n_searched,
        "n_chosen": len(chosen),
        "million_s": time.perf_counter() - start,
        "million_features_s": seconds[0],
        "million_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_million() -> dict:
    """Write the scores, and measure in a process of its own, whose memory is that of the choice."""
    with tempfile.TemporaryDirectory() as folder:
        here = os.getcwd()
        os.chdir(folder)
        write_million()
        os.chdir(here)
        command = [sys.executable, __file__, "--measure-in", folder]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def show(result: dict) -> None:
    """Print the table."""
    names = [key.removesuffix("_rounds")[6:] for key in result if key.endswith("_rounds")]
    rows = [
        [
            name,
            f"{result[f'yield_{name}']:.0f} ± {result[f'yield_{name}_error']:.0f}",
            " ".join(f"{value:.0f}" for value in result[f"yield_{name}_rounds"]),
            f"{result[f'recovery_{name}']:.3f} ± {result[f'recovery_{name}_error']:.3f}",
        ]
        for name in names
    ]
    print(tabulate(rows, ["chosen by", "lenses per 1,000", "in each round", "recovery"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("results/benchmark-rounds"))
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--measure-in", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.million or options.measure_in:
        folder = options.measure_in
        print(json.dumps(measure_million(folder) if folder else run_million(), indent=1))
        return
    start = time.process_time()
    result = compare(options.folder, options.workers, options.seeds, options.grid)
    result["cpu_s"] = time.process_time() - start
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
