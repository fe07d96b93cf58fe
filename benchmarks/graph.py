"""Measure the time that Snakemake takes to plan a search of the whole survey.

The survey is local, in the layout of DR9, and has only two tables of bricks: 224,000 of the sky's
662,174, between declination -20 and 84 and away from the galactic plane, each in its region. A file
stands for a trained model. Chunks have nside 8, as docs/clusters.md advises for a whole survey.
Measured, each in a separate process:

- the first dry run, which makes the plan, and a later one, which reads it,
- a dry run for the mosaic of one brick,
- a run with nothing left to do, where a line of text stands for each result (and Snakemake has no
  records of how it was made, so that it compares times only),
- a dry run that trains a network as well, and one with the default chunks, of nside 16,
- reading the Snakefile, as a job on a cluster does before it begins.

Times are the best of the repeats, to exclude the effect of other work on the machine. CPU is the
time on a core, which such work changes less. Memory is the maximum resident. Takes three minutes.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.footprint.plan import load_plan

REPOSITORY = Path(__file__).resolve().parents[1]
N_BRICKS = 224_000
#: Declination of the boundary between the regions in the north galactic cap, degrees.
BOUNDARY_DEC = 32.375


def write_survey(tree):
    """Write the tables of bricks of both regions.

    Run in a separate process, since the memory of a process also counts for those that it starts.
    """
    import astropy.units as u
    import numpy as np
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    from lenspipe.survey.bricks import brick_grid

    table = brick_grid(0.25).table
    grid = {name.upper(): table[name].to_numpy() for name in table}
    latitude = SkyCoord(grid["RA"] * u.deg, grid["DEC"] * u.deg).galactic.b.deg
    far = np.where((grid["DEC"] > -20) & (grid["DEC"] < 84), np.abs(latitude), 0)
    rows = np.sort(np.argsort(-far, kind="stable")[:N_BRICKS])
    grid, cap = {name: column[rows] for name, column in grid.items()}, latitude[rows] > 0
    north = cap & (grid["DEC"] >= BOUNDARY_DEC)
    everywhere = {
        # The survey has images of both regions within a degree of the boundary.
        "north": cap & (grid["DEC"] >= BOUNDARY_DEC - 1),
        "south": ~(cap & (grid["DEC"] >= BOUNDARY_DEC + 1)),
    }
    paths = RELEASES["dr9"].paths(tree)
    for region, inside in everywhere.items():
        columns = {name: grid[name.upper()] for name in ("brickname", "brickid", "ra", "dec")}
        columns["brickname"] = columns["brickname"].astype(str)
        columns["survey_primary"] = north == (region == "north")
        for band in "grz":
            columns[f"nexp_{band}"] = np.full(N_BRICKS, 4, np.int16)
            columns[f"psfsize_{band}"] = np.full(N_BRICKS, 1.3, np.float32)
        path = paths.bricks(region)
        path.parent.mkdir(parents=True, exist_ok=True)
        Table({name: column[inside] for name, column in columns.items()}).write(path)


def command(config, *arguments):
    return [
        *(sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile"),
        *(str(REPOSITORY / "Snakefile"), "--configfile", config),
        *("--workflow-profile", str(REPOSITORY / "profiles" / "default"), *arguments),
    ]


def measure(folder, arguments, expected):
    """Run a command; return seconds, seconds on a core, and maximum resident MB."""
    with tempfile.TemporaryFile("w+") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(arguments, cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode or expected not in text:
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}\n{text[-3000:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write_placeholders(folder, settings, plan):
    """Write a line for each result of a search with a given model, oldest first."""
    paths = settings.paths
    stages = [
        ["model.keras", "known.csv"],
        [paths.plan, paths.bricks],
        [paths.lenses, paths.lenses.with_suffix(".csv")],
        [paths.root / "basis" / "scores.json"],
        [path for c in plan for path in (paths.parent(c), paths.parent_audit(c))],
        [paths.audit, *(paths.manifest("cutouts", chunk) for chunk in plan)],
        [paths.scores(chunk) for chunk in plan],
        [paths.chunks],
        [paths.candidates.with_suffix(f".{kind}") for kind in ("fits", "csv", "vot", "reg")]
        + [paths.cuts, paths.candidate_file("viewer.fits")],
        [paths.purity(f"purity.{kind}") for kind in ("json", "csv", "png")],
        [paths.threshold],
        [paths.candidate_file(file) for file in ("sky.png", "searched.fits", "searched.json")],
        [paths.checks(f) for f in ("checks.json", "checks.html", "drift.csv", "drift.png")],
        [paths.mosaic_index, paths.mosaic_page(1)],
        [paths.summary, paths.missing, paths.status_page],
        [paths.page],
    ]
    for step, files in enumerate(stages):
        for file in files:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text("{}\n")
            os.utime(path, (time.time() - 1000 + step,) * 2)


def write_configs(folder):
    """Write the configurations; return the settings of the search with a given model."""
    (folder / "model.keras").write_text("a model")
    (folder / "known.csv").write_text("ra,dec\n150.1,2.2\n")
    config = {"run": "graph", "survey": {"tree": "survey"}}
    config["sample"] = {"known_lenses": "known.csv"}
    config["inference"] = {"model": "model.keras"}
    (folder / "nside16.yaml").write_text(yaml.safe_dump(config | {"run": "nside16"}))
    config["chunks"] = {"nside": 8}
    (folder / "search.yaml").write_text(yaml.safe_dump(config))
    training = {key: value for key, value in config.items() if key != "inference"}
    (folder / "training.yaml").write_text(yaml.safe_dump(training))
    return load_settings(config)


def figures(folder, repeats):
    """Return the measurements as one flat dict."""
    process = multiprocessing.get_context("spawn").Process(
        target=write_survey, args=(folder / "survey",)
    )
    process.start()
    process.join()
    settings = write_configs(folder)
    flat = {}

    def record(name, arguments, expected, times=repeats):
        runs = [measure(folder, arguments, expected) for _ in range(times)]
        seconds, cpu, memory = zip(*runs, strict=True)
        flat[f"{name}_s"], flat[f"{name}_cpu_s"] = min(seconds), min(cpu)
        flat[f"{name}_rss_mb"] = max(memory)

    dry = ["--dry-run", "--quiet"]
    record("first_dry_run", command("search.yaml", *dry), "", times=1)
    record("dry_run", command("search.yaml", "--dry-run"), "This was a dry-run")
    os.chdir(folder)
    plan = load_plan(settings)
    brick = sorted(entry["brick"] for entries in plan.values() for entry in entries)[N_BRICKS // 2]
    mosaic = str(settings.paths.brick_mosaic(brick))
    record("one_brick", command("search.yaml", "--dry-run", mosaic), "brick_mosaic")
    record("training_dry_run", command("training.yaml", "--dry-run"), "This was a dry-run")
    record("dry_run_nside16", command("nside16.yaml", "--dry-run"), "This was a dry-run")
    record("parse", command("search.yaml", "--list-rules"), "chunk_mosaics")
    write_placeholders(folder, settings, plan)
    record("noop", command("search.yaml"), "Nothing to be done")
    flat = {key: float(f"{value:.3g}") for key, value in flat.items()}
    return flat | {"bricks": N_BRICKS, "chunks": len(plan)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the files (100 MB)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each command")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        flat = figures(Path(folder), options.repeats)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
        return
    print(f"{flat['bricks']} bricks in {flat['chunks']} chunks\n")
    print(f"{'':20}{'s':>8}{'CPU s':>8}{'MB':>8}{'of dry run':>12}")
    for name in (key.removesuffix("_rss_mb") for key in flat if key.endswith("_rss_mb")):
        seconds, cpu, memory = (flat[f"{name}_{kind}"] for kind in ("s", "cpu_s", "rss_mb"))
        ratio = cpu / flat["dry_run_cpu_s"]
        print(f"{name.replace('_', ' '):20}{seconds:8.2f}{cpu:8.2f}{memory:8.0f}{ratio:12.2f}")


if __name__ == "__main__":
    main()
