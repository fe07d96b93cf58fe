"""Runs that are spoilt on purpose, and the check that sees it; too long for the test suite.

`python tests/spoilt.py` takes the demo as `snakemake` left it (``results/demo``) and makes the
standing checks of the run itself and of three copies:

- depth: lenses are kept only where there are at least six exposures in z, non-lenses only where
  there are fewer; the network is trained on that sample and the search scored again;
- leakage: the test split's lenses are written into the training split as well, table and records;
- bands: one chunk is scored with g and z exchanged.

Prints a table and ends with status 1 unless the right check is red, and it alone. Takes three to
ten minutes on two cores.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.candidates.find import find_candidates
from lenspipe.checks.run import run_checks
from lenspipe.config.settings import load_settings, read_config
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.evaluation.model import assess, predict_held_out
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.products.records import write_records
from lenspipe.sample.report import report_sample
from lenspipe.sample.shards import write_sample
from lenspipe.scoring.records import records_of_chunk
from lenspipe.scoring.score import score_chunk
from lenspipe.training.fitting import train

#: Exposures in z of a deep image.
MANY = 6
#: What write_sample takes from the cutouts again, or numbers anew.
MADE_ANEW = ("mag_", "nobs_", "galdepth_", "psfsize_", "shard", "row", "bin")


def write_anew(settings, sample):
    """Write table, records and report of a changed sample."""
    paths = settings.paths
    columns = [name for name in sample if not name.startswith(MADE_ANEW)]
    chosen = sample[columns].assign(exposures=sample["nobs_z"])
    splits = pd.read_csv(paths.splits)
    split_of = dict(zip(splits["brick"], splits["split"], strict=True))
    cutouts = CutoutFiles.of(settings)
    given = {"dtype": settings.records.dtype, "seed": settings.seed}
    lenses = pd.read_csv(paths.sample_lenses)
    write_sample(chosen, lenses, split_of, cutouts, settings.injection, **given)
    report_sample(settings)


def spoil_depth(settings):
    paths = settings.paths
    sample = pd.read_parquet(paths.sample)
    write_anew(settings, sample[(sample["label"] > 0.5) == (sample["nobs_z"] >= MANY)])
    own = settings.of_model(settings.training.name)
    shutil.rmtree(paths.model(own.training.name).parent)
    train(own)
    predict_held_out(own)
    assess(own)
    for chunk in sorted(pd.read_parquet(paths.bricks)["chunk"].unique()):
        records_of_chunk(settings, chunk)
        score_chunk(settings, chunk)
    find_candidates(settings)


def spoil_leakage(settings):
    sample = pd.read_parquet(settings.paths.sample)
    test = sample[(sample["split"] == "test") & (sample["label"] > 0.5)]
    write_anew(settings, pd.concat([sample, test.assign(split="train")], ignore_index=True))


def spoil_bands(settings):
    paths = settings.paths
    counts = pd.read_parquet(paths.bricks)["chunk"].value_counts()
    chunk = counts.index[(counts > 1) & (counts < counts.sum() / 2)][0]
    images, tables = zip(
        *(read_cutouts(paths.cutouts(brick))
          for brick in sorted(read_manifest(paths.manifest("cutouts", chunk)))),
        strict=True,
    )  # fmt: skip
    tables = pd.concat(tables, ignore_index=True)
    write_records(paths.records(chunk), np.concatenate(images)[:, ::-1], tables)
    score_chunk(settings, chunk)
    find_candidates(settings)


#: What is done to a copy -> the checks that are red then.
SPOILT = {
    "as it is": (None, []),
    "depth": (spoil_depth, ["depth leak"]),
    "leakage": (spoil_leakage, ["leakage"]),
    "bands": (spoil_bands, ["drift"]),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--only", nargs="+", choices=list(SPOILT), default=list(SPOILT))
    options = parser.parse_args()
    settings = load_settings(read_config([options.config]))
    source, wrong = settings.paths.root.resolve(), []
    for name in options.only:
        spoil, expected = SPOILT[name]
        with tempfile.TemporaryDirectory(dir=source.parent) as folder:
            # Files are linked: whatever lenspipe writes takes the place of an old file.
            shutil.copytree(source, Path(folder) / settings.paths.root, copy_function=os.link)
            os.chdir(folder)
            if spoil:
                spoil(settings)
            report = run_checks(settings)
            os.chdir(source)
        print(f"{name}:")
        for check in report["checks"]:
            number = "" if check["number"] is None else f"{check['number']:.3g} ({check['bar']:g})"
            print(f"  {check['check']:16}{check['status']:14}{number:14}{check['why']}")
        sys.stdout.flush()
        wrong += [name] * (report["red"] != expected)
    if wrong:
        sys.exit(f"not the checks that were expected to be red: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
