"""Measure how long it takes to match a catalogue's entries with the scores of a search.

A table of scores as written by a run, of galaxies all over the sky, and a CSV of entries, half of
which are within a few arcsec of a galaxy, in a temporary folder. Three methods are compared, from
files to counts, each in its own process, so that peak memory is measured separately:

- crossmatch: `lenspipe.evaluation.recovery.comparison.match_scores`, all galaxies within 5 arcsec,
  streamed;
- comparison: all of `lenspipe recovery`, with systems, counts, files and figure;
- astropy: the whole table is read, and `match_to_catalog_sky` finds the nearest galaxy of each
  entry only.

Times are medians over the repeats, in which the methods take turns; ratios are medians of those
within a repeat. Imports are not counted. Takes a minute on idle cores.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import pandas as pd

RADIUS_ARCSEC = 5
CONTEXT = multiprocessing.get_context("spawn")


def make_files(folder: Path, n_scores: int, n_entries: int) -> None:
    """Write scores.parquet and entries.csv."""
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, n_scores), np.degrees(np.arcsin(rng.uniform(-1, 1, n_scores)))
    scores = pd.DataFrame({"id": [f"9010-{i // 1000}-{i % 1000}" for i in range(n_scores)]})
    scores = scores.assign(ra=ra, dec=dec, flags=np.int32(0), p=rng.random(n_scores, np.float32))
    scores.to_parquet(folder / "scores.parquet", index=False, row_group_size=200_000)
    entries = scores.sample(n_entries, random_state=0)[["ra", "dec"]]
    entries["dec"] += rng.uniform(0, 4 / 3600, n_entries) + np.arange(n_entries) % 2
    entries["dec"] = entries["dec"].clip(-90, 90)
    entries.assign(grade=np.array(list("ABC"))[np.arange(n_entries) % 3]).to_csv(
        folder / "entries.csv", index=False
    )


def crossmatch(folder: Path) -> Callable[[], int]:
    from lenspipe.evaluation.recovery.comparison import match_scores

    def work():
        entries = pd.read_csv(folder / "entries.csv")
        paths = [folder / "scores.parquet"]
        matched = match_scores(paths, entries["ra"], entries["dec"], RADIUS_ARCSEC)
        return int((matched["rank"] >= 0).sum())

    return work


def comparison(folder: Path) -> Callable[[], int]:
    from lenspipe.config.results import Recovery
    from lenspipe.evaluation.recovery.comparison import recovery_of

    recovery = Recovery(catalogs=str(folder / "entries.csv"), radius_arcsec=RADIUS_ARCSEC)

    def work():
        recovery_of(folder / "scores.parquet", recovery.catalogs[0], recovery, folder / "out")
        return int(pd.read_csv(folder / "out" / "entries.csv")["scored"].sum())

    return work


def astropy(folder: Path) -> Callable[[], int]:
    from astropy.coordinates import SkyCoord

    def work():
        entries = pd.read_csv(folder / "entries.csv")
        scores = pd.read_parquet(folder / "scores.parquet", columns=["id", "ra", "dec", "p"])
        galaxies = SkyCoord(scores["ra"], scores["dec"], unit="deg")
        positions = SkyCoord(entries["ra"], entries["dec"], unit="deg")
        _, separation, _ = positions.match_to_catalog_sky(galaxies)
        return int((separation.arcsec <= RADIUS_ARCSEC).sum())

    return work


METHODS = {"crossmatch": crossmatch, "comparison": comparison, "astropy": astropy}
#: Prefixes of their keys.
PREFIXES = {"crossmatch": "", "comparison": "comparison_", "astropy": "astropy_"}


def measure(name: str, folder: Path, results: SimpleQueue) -> None:
    """Put seconds, peak memory in MB and number of matched entries into a queue."""
    work = METHODS[name](folder)
    begin = time.perf_counter()
    n_matched = work()
    seconds = time.perf_counter() - begin
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, n_matched))


def run(function: Callable, *arguments: object) -> None:
    """Call a function in a separate process.

    Its peak memory includes that of this process, which therefore makes no tables itself.
    """
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__}: ended with status {process.exitcode}")


def summarise(runs: dict[str, list[tuple[float, float, int]]]) -> dict[str, float]:
    """Return medians, and medians of ratios within repeats, as one flat dict."""
    flat = {}
    for name, prefix in PREFIXES.items():
        flat[f"{prefix}wall_s"] = statistics.median(seconds for seconds, _, _ in runs[name])
        flat[f"{prefix}peak_rss_mb"] = max(memory for _, memory, _ in runs[name])
        pairs = zip(runs[name], runs["astropy"], strict=True)
        flat[f"{prefix}over_astropy"] = statistics.median(a[0] / b[0] for a, b in pairs)
    return {key: float(f"{value:.4g}") for key, value in flat.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the files (60 MB)")
    parser.add_argument("--scores", type=int, default=1_000_000, help="number of scored galaxies")
    parser.add_argument("--entries", type=int, default=10_000, help="number of catalogue entries")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        run(make_files, Path(folder), options.scores, options.entries)
        runs, results = {name: [] for name in METHODS}, CONTEXT.SimpleQueue()
        for _ in range(options.repeats):
            for name in METHODS:
                run(measure, name, Path(folder), results)
                runs[name].append(results.get())
    n_matched = {n for repeats in runs.values() for _, _, n in repeats}
    if len(n_matched) > 1:
        raise SystemExit(f"found {sorted(n_matched)} entries, expected all methods to agree")
    flat = summarise(runs)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
        return
    print(f"{options.scores} galaxies, {options.entries} entries, {n_matched.pop()} matched within")
    print(f"{RADIUS_ARCSEC} arcsec; medians of {options.repeats} runs, maximum memory\n")
    print(f"{'':14}{'s':>8}{'MB':>8}{'/ astropy':>12}")
    for name, prefix in PREFIXES.items():
        print(
            f"{name:14}{flat[f'{prefix}wall_s']:8.2f}{flat[f'{prefix}peak_rss_mb']:8.0f}"
            f"{flat[f'{prefix}over_astropy']:12.2f}"
        )


if __name__ == "__main__":
    main()
