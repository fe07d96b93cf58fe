"""Searches that are killed, and searches at the same time; too long for the test suite.

`python tests/endurance.py` searches 60 small bricks in 20 chunks with a small network and:

- kills the workflow with -9 at random times, every other time with all its jobs, as when a node
  dies, starts it again, and compares the scores with those of a search that was left alone; no
  cutouts that were there may be made again;
- starts two workflows on the same results, the whole search and one brick or the search twice, the
  second a random time after the first, and compares what they leave with the undisturbed search.

Prints a line for each, and ends with an error at the first difference. Takes an hour on two cores.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from conftest import make_small_survey

from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.models.registry import build
from lenspipe.products.cutouts import read_cutouts

REPOSITORY = Path(__file__).resolve().parents[1]
#: Right ascension of groups of three bricks, each in a chunk of its own.
GROUPS = 12.0 + 8 * np.arange(20)


def prepare(folder, groups):
    """Write a survey, a model and the configuration of a search; return its settings."""
    ra = np.concatenate([group + 0.3 * np.arange(3) for group in groups])
    make_small_survey(folder / "survey", "dr9", "grz", ra, n=40)
    model = build("cmu_deeplens", widths=[8, 16], units=1, stem_filters=8)
    noise = np.random.default_rng(0).normal(0, 1, (64, 3, 101, 101)).astype("f4")
    model.get_layer("normalise").adapt(noise)
    model.save(folder / "model.keras")
    config = {
        "run": "run",
        "survey": {"tree": str(folder / "survey")},
        "inference": {
            "model": str(folder / "model.keras"),
            "batch_size": 8,
            "backend": "tensorflow",
        },
        "candidates": {"threshold": 0.0},
        "mosaics": {"rows": 2},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return load_settings(config)


def start(folder, place, *arguments):
    command = [
        *(sys.executable, "-m", "snakemake", *arguments, "--cores", "2"),
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(place)),
        *("--workflow-profile", str(REPOSITORY / "profiles" / "default")),
        *("--configfile", str(folder / "config.yaml")),
    ]
    with open(place / f"output-{time.time_ns()}.txt", "w") as output:
        process = subprocess.Popen(
            command, cwd=place, stdout=output, stderr=output, start_new_session=True
        )
    process.output = Path(output.name)
    return process


def finish(process):
    if process.wait():
        raise SystemExit(f"ended with {process.returncode}:\n{process.output.read_text()[-4000:]}")


def state(place):
    """All that a search has found: scores, cutouts and candidates."""
    root = place / "results" / "run"
    scores = [pd.read_parquet(path) for path in sorted((root / "scores").glob("*.parquet"))]
    scores = pd.concat(scores, ignore_index=True)
    pixels = {path.name: read_cutouts(path)[0] for path in sorted(root.glob("cutouts/*/*.fits"))}
    return scores, pixels, pd.read_csv(root / "candidates" / "candidates.csv")


def compare(found, expected, what):
    for one, other in zip(found[::2], expected[::2], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert found[1].keys() == expected[1].keys(), what
    for name, images in expected[1].items():
        np.testing.assert_array_equal(found[1][name], images, err_msg=f"{what} {name}")


def kills(folder, number, seed):
    settings = prepare(folder, GROUPS)
    undisturbed, place = folder / "undisturbed", folder / "killed"
    undisturbed.mkdir()
    place.mkdir()
    begin = time.time()
    finish(start(folder, undisturbed))
    took, rng, done, again = time.time() - begin, random.Random(seed), {}, 0
    os.chdir(undisturbed)
    print(f"undisturbed: {len(load_plan(settings))} chunks in {took:.0f} s", flush=True)
    killed = 0
    while killed < number:
        process = start(folder, place)
        # Each search goes on with what is left, so that kills fall into all of it.
        time.sleep(rng.uniform(3, 10 + 1.5 * took / number))
        if process.poll() is not None:
            finish(process)
            print("finished early; begun again", flush=True)
            shutil.rmtree(place / "results")
            done = {}
            continue
        whole = killed % 2
        (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(3)
        killed += 1
        now = {path: path.stat().st_mtime_ns for path in place.glob("results/run/cutouts/*/*.fits")}
        again += sum(now.get(path) != time for path, time in done.items())
        done = now
        scored = len(list(place.glob("results/run/scores/*.parquet")))
        print(f"kill {killed}{' of all' if whole else ''}: {len(now)} bricks cut, {scored} chunks "
              f"scored, {again} bricks cut again", flush=True)  # fmt: skip
    finish(start(folder, place))
    compare(state(place), state(undisturbed), "kills")
    assert again == 0
    print(f"{number} kills: scores, cutouts and candidates as undisturbed", flush=True)


def pairs(folder, number, seed):
    settings = prepare(folder, GROUPS[:2])
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    begin = time.time()
    finish(start(folder, undisturbed))
    took, rng, expected = time.time() - begin, random.Random(seed), state(undisturbed)
    os.chdir(undisturbed)
    bricks = [entry["brick"] for entries in load_plan(settings).values() for entry in entries]
    failed = 0
    for trial in range(1, number + 1):
        place = folder / f"pair-{trial}"
        place.mkdir()
        brick = rng.choice(bricks) if trial % 2 else None
        target = [str(settings.paths.brick_mosaic(brick))] if brick else []
        first = start(folder, place)
        time.sleep(rng.uniform(0, 0.9 * took))
        second = start(folder, place, *target)
        codes = first.wait(), second.wait()
        if any(codes):
            failed += 1
            texts = [p.output.read_text() for p in (first, second) if p.returncode]
            print("\n".join(line for text in texts for line in text.splitlines()
                            if "rror" in line or "missing" in line.lower())[:1500])  # fmt: skip
            finish(start(folder, place))
        compare(state(place), expected, f"pair {trial}")
        if brick:
            alone = pd.read_parquet(place / settings.paths.brick_scores(brick))
            rows = expected[0][expected[0]["brick"] == brick].reset_index(drop=True)
            pd.testing.assert_frame_equal(alone, rows, rtol=0, atol=1e-6)
        print(f"pair {trial} ({'a brick' if brick else 'twice'}): exit {codes}", flush=True)
        shutil.rmtree(place)
    print(f"{number} pairs: nothing differs; in {failed} one had to be run again", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="how often to kill")
    parser.add_argument("--pairs", type=int, default=50, help="how many workflows two at a time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for work, number in ((kills, options.kills), (pairs, options.pairs)):
        if number:
            with tempfile.TemporaryDirectory() as folder:
                work(Path(folder), number, options.seed)


if __name__ == "__main__":
    main()
