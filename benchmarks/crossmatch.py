"""Measure how long it takes to look for a catalogue's entries among the scores of a search.

A table of scores as a run leaves it, of galaxies all over the sky, and a CSV of entries, of which
half are within a few arcsec of a galaxy, in a temporary folder. Compared are, each in a process of
its own whose peak memory is its alone, from files to numbers:

- the cross-match: `lenspipe.evaluation.recovery.published.match_scores`, all galaxies within 5
arcsec, streamed;
- the comparison: what `lenspipe recovery` does, with systems, counts, files and figure;
- astropy: the table read as a whole, and `match_to_catalog_sky` from entries to galaxies, which
  finds the nearest only.

Each is the median of the repeats, in which ways take turns, as is the ratio: it is taken within one
repeat. Imports are not counted. Takes a minute
on free cores.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

RADIUS_ARCSEC = 5
CONTEXT = multiprocessing.get_context("spawn")


def make_files(folder, n_scores, n_entries):
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


def crossmatch(folder):
    from lenspipe.evaluation.recovery.published import match_scores

    def work():
        entries = pd.read_csv(folder / "entries.csv")
        paths = [folder / "scores.parquet"]
        found = match_scores(paths, entries["ra"], entries["dec"], RADIUS_ARCSEC)
        return int((found["rank"] >= 0).sum())

    return work


def comparison(folder):
    from lenspipe.config.results import Recovery
    from lenspipe.evaluation.recovery.published import recovery_of

    own = Recovery(catalogs=str(folder / "entries.csv"), radius_arcsec=RADIUS_ARCSEC)

    def work():
        recovery_of(folder / "scores.parquet", own.catalogs[0], own, folder / "out")
        return int(pd.read_csv(folder / "out" / "entries.csv")["scored"].sum())

    return work


def astropy(folder):
    from astropy.coordinates import SkyCoord

    def work():
        entries = pd.read_csv(folder / "entries.csv")
        scores = pd.read_parquet(folder / "scores.parquet", columns=["id", "ra", "dec", "p"])
        galaxies = SkyCoord(scores["ra"], scores["dec"], unit="deg")
        here = SkyCoord(entries["ra"], entries["dec"], unit="deg")
        _, separation, _ = here.match_to_catalog_sky(galaxies)
        return int((separation.arcsec <= RADIUS_ARCSEC).sum())

    return work


WAYS = {"crossmatch": crossmatch, "comparison": comparison, "astropy": astropy}
#: What their keys begin with.
PREFIXES = {"crossmatch": "", "comparison": "comparison_", "astropy": "astropy_"}


def measure(name, folder, results):
    """Put seconds, peak memory in MB and entries found into a queue."""
    work = WAYS[name](folder)
    begin = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - begin
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found))


def run(function, *arguments):
    """Call a function in a process of its own.

    Its peak memory begins with what this one holds, which therefore makes no tables itself.
    """
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__}: ended with status {process.exitcode}")


def summarize(runs):
    """Return one flat dict of medians, and of ratios within repeats."""
    flat = {}
    for name, prefix in (
        ("crossmatch", ""),
        ("comparison", "comparison_"),
        ("astropy", "astropy_"),
    ):
        flat[f"{prefix}wall_s"] = statistics.median(seconds for seconds, _, _ in runs[name])
        flat[f"{prefix}peak_rss_mb"] = max(memory for _, memory, _ in runs[name])
        pairs = zip(runs[name], runs["astropy"], strict=True)
        flat[f"{prefix}over_astropy"] = statistics.median(a[0] / b[0] for a, b in pairs)
    return {key: float(f"{value:.4g}") for key, value in flat.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the files (60 MB)")
    parser.add_argument("--scores", type=int, default=1_000_000, help="galaxies scored")
    parser.add_argument("--entries", type=int, default=10_000, help="entries of the catalogue")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        run(make_files, Path(folder), options.scores, options.entries)
        runs, results = {name: [] for name in WAYS}, CONTEXT.SimpleQueue()
        for _ in range(options.repeats):
            for name in WAYS:
                run(measure, name, Path(folder), results)
                runs[name].append(results.get())
    found = {own[-1] for own in runs.values() for own in own}
    if len(found) > 1:
        raise SystemExit(f"found {sorted(found)} entries, expected all ways to agree")
    flat = summarize(runs)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
        return
    print(f"{options.scores} galaxies, {options.entries} entries, {found.pop()} found within")
    print(f"{RADIUS_ARCSEC} arcsec; medians of {options.repeats} runs, largest memory\n")
    print(f"{'':14}{'s':>8}{'MB':>8}{'of astropy':>12}")
    for name, prefix in (
        ("crossmatch", ""),
        ("comparison", "comparison_"),
        ("astropy", "astropy_"),
    ):
        print(
            f"{name:14}{flat[f'{prefix}wall_s']:8.2f}{flat[f'{prefix}peak_rss_mb']:8.0f}"
            f"{flat[f'{prefix}over_astropy']:12.2f}"
        )


if __name__ == "__main__":
    main()
