"""Measure what the standing checks cost that go through the scores of a whole search.

Scores and parent samples of a search with a given model are written below a temporary folder, with
as many galaxies in each brick. Timed are, in this order: reading the scores alone, as a measure;
drawing random galaxies; going through all scores for drift and duplicates; what comes of them.
Prints seconds, processor seconds of all checks together, the ratio to reading alone, and galaxies
per processor second. Takes a minute on free cores.
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
from lenspipe.config.settings import load_settings
from lenspipe.products.bricks import chunks_of
from lenspipe.products.parent import parent_columns

CONFIG = {
    "run": "large", "simulation": {}, "footprint": {"ra": [0, 1], "dec": [0, 1]},
    "inference": {"model": "given.keras"},
}  # fmt: skip
#: Bricks of a chunk, in a square.
SIDE = 14


def write(settings, n_chunks, per_brick):
    """Write bricks, parent samples and scores; chunks stand beside each other along the equator."""
    paths, rng, bricks = settings.paths, np.random.default_rng(0), []
    for path in (paths.scores("x"), paths.parent("x"), paths.lenses):
        path.parent.mkdir(parents=True)
    pd.DataFrame({"ra": [], "dec": []}).to_parquet(paths.lenses)
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


def measure(settings):
    """Return seconds of each step, and processor seconds of all but the first."""
    seconds, begin = {}, time.perf_counter()

    def lap(name):
        nonlocal begin
        seconds[name] = time.perf_counter() - begin
        begin = time.perf_counter()

    chunks, columns = chunks_of(settings.paths.bricks), ["id", "brick", "ra", "dec", "p"]
    for chunk in chunks:
        pd.read_parquet(settings.paths.scores(chunk), columns=columns)
    lap("read")
    cpu = time.process_time()
    scores, random = draw_galaxies(settings)
    lap("draw")
    drift, duplicates = Drift(settings, scores), Duplicates(settings)
    for chunk in chunks:
        table = pd.read_parquet(settings.paths.scores(chunk), columns=columns)
        drift.add(chunk, table)
        duplicates.add(chunk, table)
    lap("pass")
    drift.result()
    duplicates.n_close_pairs()
    check_depth(settings, random, None)
    check_regions(settings, random, None)
    lap("results")
    return seconds, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--per-brick", type=int, default=200, help="galaxies of a brick")
    parser.add_argument("--json", action="store_true", help="print one flat object")
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
