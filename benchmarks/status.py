"""Measure the time and memory of `lenspipe status` for a search of the whole survey.

224,000 bricks in chunks of nside 16, as in graph.py. All have a parent sample, two thirds of the
chunks cutouts, half of them scores, a third mosaics; one brick in 500 failed. Manifests, logs and
benchmarks are like those of the workflow; tables are empty files. The command, the same with
--json, and with the page are measured in separate processes. Times are the minimum of the repeats.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from graph import N_BRICKS, measure, write_survey
from tabulate import tabulate

from lenspipe.config.settings import Settings, load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.products.manifests import write_manifest
from lenspipe.products.plan import Plan
from lenspipe.status.read import STAGES

#: Fraction of the chunks that each stage has finished.
FRACTIONS = {"parent": 1, "cutouts": 2 / 3, "scores": 1 / 2, "mosaics": 1 / 3}
CONFIG = {
    "run": "whole",
    "survey": {"tree": "survey"},
    "sample": {"known_lenses": "known.csv"},
    "inference": {"model": "model.keras"},
}
COMMAND = "from lenspipe.cli.main import main; raise SystemExit(main())"
#: Failures of a server, and whether they are transient.
FAILURES = (
    ("https://example.org/coadd/{0}/{1}/legacysurvey-{1}-image-r.fits.fz: 503", True),
    ("https://example.org/coadd/{0}/{1}/legacysurvey-{1}-image-z.fits.fz: truncated", False),
)


def entry(brick: str, rng: np.random.Generator) -> dict[str, object]:
    """Make an entry of a manifest."""
    draw = rng.random()
    if draw < 0.002:
        reason, transient = FAILURES[int(draw < 0.0005)]
        return {"status": "failed", "count": 0, "hash": "", "transient": transient} | {
            "reason": reason.format(brick[:3], brick)
        }
    count = int(rng.poisson(55)) if draw > 0.01 else 0
    return {"status": "done" if count else "empty", "count": count, "hash": "0123456789abcdef"}


def write_run(settings: Settings, plan: Plan) -> None:
    """Write the files of an unfinished run, which finishes a chunk every 20 s."""
    rng, paths = np.random.default_rng(1), settings.paths
    write_bricks(settings)
    now = time.time()
    for number, (chunk, bricks) in enumerate(plan.items()):
        entries = {item["brick"]: entry(item["brick"], rng) for item in bricks}
        for stage, rule in STAGES.items():
            if number >= FRACTIONS[stage] * len(plan):
                continue
            end = now - 20 * (FRACTIONS[stage] * len(plan) - number)
            tables = {"parent": paths.parent(chunk), "scores": paths.scores(chunk)}
            if stage in tables:
                tables[stage].parent.mkdir(parents=True, exist_ok=True)
                tables[stage].touch()
            if stage != "scores":
                write_manifest(paths.manifest(stage, chunk), entries)
            log, benchmark = paths.log(rule, chunk), paths.benchmark(rule, chunk)
            for path in (log, benchmark):
                path.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("12:00:00 done\n")
            benchmark.write_text("s\th:m:s\tmax_rss\tmax_vms\n40.1\t0:00:40\t500.1\t900.2\n")
            for path in (log, benchmark):
                os.utime(path, (end, end))


def prepare() -> None:
    """Write survey, configuration and run into this folder."""
    write_survey(Path("survey"))
    Path("model.keras").write_text("a model")
    Path("known.csv").write_text("ra,dec\n150.1,2.2\n")
    Path("search.yaml").write_text(yaml.safe_dump(CONFIG))
    settings = load_settings(CONFIG)
    write_run(settings, load_plan(settings))


def measurements(folder: Path, repeats: int) -> dict[str, float]:
    """Return all measurements by name."""
    os.chdir(folder)
    # A new process starts with the memory of its parent, which must stay small.
    writer = multiprocessing.Process(target=prepare)
    writer.start()
    writer.join()
    flat: dict[str, float] = {
        "bricks": N_BRICKS,
        "chunks": len(load_plan(load_settings(CONFIG))),
    }
    for name, options in (("text", []), ("json", ["--json"]), ("page", ["--html", "status.html"])):
        command = [sys.executable, "-c", COMMAND, "status", "search.yaml", *options]
        runs = [measure(folder, command, "whole") for _ in range(repeats)]
        values = dict(zip(("s", "cpu_s", "mb"), zip(*runs, strict=True), strict=True))
        best = {"s": min(values["s"]), "cpu_s": min(values["cpu_s"]), "mb": max(values["mb"])}
        flat |= {f"{name}_{key}": float(f"{value:.3g}") for key, value in best.items()}
    return flat


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the files (200 MB)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        flat = measurements(Path(folder), options.repeats)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
        return
    print(f"{flat['bricks']} bricks in {flat['chunks']} chunks\n")
    rows = []
    for name in ("text", "json", "page"):
        values = [flat[f"{name}_{key}"] for key in ("s", "cpu_s", "mb")]
        rows.append((name, *values, flat[f"{name}_cpu_s"] / flat["text_cpu_s"]))
    headers = ("", "s", "CPU s", "MB", "relative to text")
    print(tabulate(rows, headers, "plain", floatfmt=("", ".2f", ".2f", ".0f", ".2f")))


if __name__ == "__main__":
    main()
