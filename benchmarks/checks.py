"""Measure the cost of the standing checks that read the scores of a whole search.

Scores and parent samples of a search with a given model are written below a temporary folder, with
the same number of galaxies in each brick. Timed are, in this order: reading the scores alone, for
comparison; drawing random galaxies; reading all scores for drift and duplicates; the results.
Prints seconds, processor seconds of all checks together, the ratio to reading alone, and galaxies
per processor second. Takes a minute on idle cores.
"""

import argparse
import json
import os
import resource
import tempfile
import time

import numpy as np
import pandas as pd

from lenspipe.checks.depth import check_depth, check_regions
from lenspipe.checks.drift import Drift
from lenspipe.checks.duplicates import Duplicates
from lenspipe.checks.galaxies import draw_galaxies
from lenspipe.config.settings import Settings, load_settings
from lenspipe.evaluation.random_galaxies import RandomGalaxies
from lenspipe.products.tables import chunks_of, parent_columns
from lenspipe.survey.bricks import brick_grid

CONFIG = {
    "run": "large", "simulation": {}, "footprint": {"ra": [0, 1], "dec": [0, 1]},
    "inference": {"model": "given.keras"},
}  # fmt: skip
#: Side of a chunk, in bricks.
SIDE = 14


def write(settings: Settings, n_chunks: int, per_brick: int) -> int:
    """Write bricks, parent samples and scores of adjacent chunks; return the number of galaxies."""
    paths, rng, bricks = settings.paths, np.random.default_rng(0), []
    for path in (paths.scores("x"), paths.parent("x"), paths.lenses, paths.truth):
        path.parent.mkdir(parents=True)
    pd.DataFrame({"ra": [], "dec": []}).to_parquet(paths.lenses)
    pd.DataFrame({"id": ["none"], "kind": ["other"]}).to_parquet(paths.truth)
    for chunk in range(n_chunks):
        x, y = np.divmod(np.arange(SIDE**2), SIDE)
        table = pd.DataFrame({"brickid": chunk * SIDE**2 + np.arange(SIDE**2)})
        table = table.assign(ra=0.125 + 0.25 * (x + SIDE * (chunk % 100)),
                             dec=0.25 * (y + SIDE * (chunk // 100)), chunk=f"16-{chunk:06d}",
                             region=["south", "north"][chunk % 2])  # fmt: skip
        table["brick"] = [f"{number:08d}" for number in table["brickid"]]
        bricks.append(table)
        rows = table.loc[table.index.repeat(per_brick)].reset_index(drop=True)
        n = len(rows)
        rows["objid"] = np.arange(n) % per_brick
        rows["id"] = "9010-" + rows["brick"] + "-" + rows["objid"].astype(str)
        rows["ra"] += rng.uniform(-0.12, 0.12, n)
        rows["dec"] += rng.uniform(-0.12, 0.12, n)
        scores = rows[["id", "brick", "region", "ra", "dec"]].assign(flags=np.int32(0))
        scores["p"] = rng.random(n, np.float32)
        scores.to_parquet(paths.scores(table["chunk"][0]))
        parent = {name: rng.uniform(1, 9, n).astype("f4") for name in parent_columns("grz")}
        pd.DataFrame(parent).assign(**rows[["id", "brick", "region", "ra", "dec"]]).to_parquet(
            paths.parent(table["chunk"][0])
        )
    pd.concat(bricks, ignore_index=True).to_parquet(paths.bricks)
    return n_chunks * SIDE**2 * per_brick


def measure(settings: Settings) -> tuple[dict[str, float], float]:
    """Return seconds of each step, and processor seconds of all but the first."""
    seconds, begin = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begin
        seconds[name] = time.perf_counter() - begin
        begin = time.perf_counter()

    chunks, columns = chunks_of(settings.paths.bricks), ["id", "brick", "ra", "dec", "p"]
    for chunk in chunks:
        pd.read_parquet(settings.paths.scores(chunk), columns=columns)
    lap("read")
    cpu = time.process_time()
    paths, flags = settings.paths, settings.candidates.reject_flags
    population = RandomGalaxies.read(paths, None, settings.sample, flags, simulated=True)
    rng, number = np.random.default_rng(1), settings.checks.galaxies
    scores, random = draw_galaxies(paths, population, flags, number, rng)
    lap("draw")
    release = settings.release
    drift = Drift(settings.checks, scores)
    duplicates = Duplicates(settings.paths, brick_grid(release.brick_deg))
    for chunk in chunks:
        table = pd.read_parquet(settings.paths.scores(chunk), columns=columns)
        drift.add(chunk, table)
        duplicates.add(chunk, table)
    lap("pass")
    bricks = pd.read_parquet(settings.paths.bricks, columns=["brick", "region", "ra", "dec"])
    drift.result(bricks)
    duplicates.n_close_pairs()
    check_depth(settings.checks, settings.survey.bands, release.zero_point_mag, random, None)
    regions = sorted(bricks["region"].unique())
    check_regions(settings.checks, settings.seed, regions, random, None)
    lap("results")
    return seconds, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--per-brick", type=int, default=200, help="galaxies per brick")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    options = parser.parse_args()
    settings = load_settings(CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        galaxies = write(settings, options.chunks, options.per_brick)
        seconds, cpu = measure(settings)
        os.chdir("/")
    flat = {"bricks": options.chunks * SIDE**2, "galaxies": galaxies}
    flat |= {f"{name}_s": round(value, 2) for name, value in seconds.items()}
    checks = sum(seconds.values()) - seconds["read"]
    flat |= {"checks_s": round(checks, 2), "ratio_to_read": round(checks / seconds["read"], 2)}
    flat |= {"cpu_s": round(cpu, 2), "galaxies_per_cpu_s": round(galaxies / cpu)}
    flat["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if options.json:
        print(json.dumps(flat))
        return
    for name, value in flat.items():
        print(f"{name:20}{value:>14,}")


if __name__ == "__main__":
    main()
