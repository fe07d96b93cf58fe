"""Paths of all files of runs and of the simulated sky."""

import os
from pathlib import Path
from typing import Self

from lenspipe.config.surveys.legacy import RELEASES, LegacyPaths
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import path_part

__all__ = ["SHIPPED", "RunPaths", "SkyPaths", "model_file", "network_source"]

#: Reserved word for the model in the box; a file of that name is given as ``./shipped``.
SHIPPED = "shipped"

#: Folder of the model in the box: model.keras, card.json and card.md.
SHIPPED_FOLDER = Path(__file__).parents[1] / "models" / "shipped"


def model_file(model: str | os.PathLike[str]) -> Path:
    """Return the file of a model: that of a path, or of the shipped model for ``shipped``.

    A folder stands for the file model.keras in it. Only the text is a reserved word: a `Path` is
    always the user's own file.

    Raises
    ------
    LenspipeError
        The shipped model is requested, and this installation has none.
    """
    if model != SHIPPED:
        return Path(model) / "model.keras" if Path(model).is_dir() else Path(model)
    path = SHIPPED_FOLDER / "model.keras"
    if not path.is_file():
        raise LenspipeError(
            f"{path}: no such file, expected the shipped model; install lenspipe again, or train "
            "the model with `lenspipe train-shipped --output DIR` and give DIR/model.keras"
        )
    return path


def network_source(network: str) -> Path | None:
    """Return the Python file of a user-defined network, None for a built-in one.

    Parameters
    ----------
    network
        As in ``training.network``: a name, or a file, a colon and a function.
    """
    file = network.rpartition(":")[0]
    return Path(file) if file.endswith(".py") else None


class SkyPaths(LegacyPaths):
    """Files of a simulated sky: a tree of DR9, the truth, and lists of known and confusing objects.

    Parameters
    ----------
    tree
        Folder of the sky.
    """

    def __init__(self, tree: str | os.PathLike[str]) -> None:
        super().__init__(Path(tree), RELEASES["dr9"])
        self.tree: Path = Path(tree)
        self.manifest = self.tree / "sky.json"
        self.truth = self.tree / "truth.parquet"
        self.known_lenses = self.tree / "known-lenses.csv"
        self.confusing = self.tree / "confusing.csv"

    def part(self, region: str, brick: str) -> Path:
        """Truth of a brick, written after all its other files."""
        return self.tree / "parts" / f"{region}-{brick}.parquet"


class RunPaths:
    """Files of one run, below ``results/<run>``.

    Parameters
    ----------
    run
        Name of the run.
    results
        Folder of all runs.
    """

    def __init__(self, run: str, results: str | os.PathLike[str] = "results") -> None:
        self.root = Path(results) / run
        self.config = self.root / "config.yaml"
        self.page = self.root / "index.html"
        self.plan = self.root / "plan.json"
        self.given_hashes = self.root / "basis" / "hashes.json"
        self.hosts = self.root / "hosts.json"
        self.sky = self.root / "sky"
        sky = SkyPaths(self.sky)
        self.sky_manifest = sky.manifest
        self.truth = sky.truth
        self.known_lenses = sky.known_lenses
        self.confusing = sky.confusing
        self.bricks = self.root / "bricks.parquet"
        self.audit = self.root / "parent" / "audit.csv"
        self.lenses = self.root / "known" / "lenses.parquet"
        self.sample = self.root / "sample" / "sample.parquet"
        self.records_manifest = self.root / "sample" / "records.json"
        self.lens_references = self.root / "known" / "references.csv"
        self.sample_lenses = self.root / "sample" / "known-lenses.csv"
        self.splits = self.root / "sample" / "splits.csv"
        self.injected = self.root / "sample" / "injected.parquet"
        self.mined_index = self.root / "mined" / "pages.json"
        self.candidates = self.root / "candidates" / "candidates.fits"
        self.chunks = self.root / "manifests" / "chunks.json"
        self.cuts = self.candidate_file("cuts.json")
        self.threshold = self.candidate_file("threshold.json")
        self.mosaic_index = self.root / "mosaics" / "pages.json"
        self.summary = self.root / "summary.json"
        self.missing = self.root / "missing.csv"
        self.status_page = self.root / "status.html"

    @classmethod
    def at(cls, folder: str | os.PathLike[str]) -> Self:
        """Files of the run in a folder, whatever the folder is called."""
        folder = Path(folder)
        root = folder if folder.name not in ("", "..") else folder.resolve()
        return cls(root.name, root.parent)

    def parent(self, chunk: str) -> Path:
        """Parent sample of a chunk."""
        return self.root / "parent" / f"{chunk}.parquet"

    def parent_audit(self, chunk: str) -> Path:
        """Number of galaxies that each cut removed in a chunk."""
        return self.root / "parent" / "audit" / f"{chunk}.csv"

    def cutouts(self, brick: str, folder: str | None = None) -> Path:
        """Cutouts of a brick; `folder` only where the brick is a pattern."""
        return self.root / "cutouts" / (folder or path_part(brick)[:3]) / f"{brick}.fits"

    def manifest(self, stage: str, chunk: str) -> Path:
        """Results of a stage for the bricks of a chunk."""
        return self.root / "manifests" / stage / f"{chunk}.json"

    def records(self, chunk: str) -> Path:
        """Records of a chunk, for scoring."""
        return self.root / "records" / f"{chunk}.tfrecord"

    def sample_shards(self, split: str) -> Path:
        """Glob of the labelled sample's records of a split (train, validation or test)."""
        return self.root / "sample" / f"{split}-*.tfrecord"

    def sample_version(self, version: int | str) -> Path:
        """Table of the labelled sample as it was in a round; versions count from 1."""
        return self.root / "sample" / "versions" / f"{version}.parquet"

    def set_aside(self, version: int | str) -> Path:
        """Non-lenses of a version of the sample that a model classifies as lenses, to be graded."""
        return self.root / "sample" / "set-aside" / f"version-{version}.csv"

    def mined(self, version: int | str) -> Path:
        """Galaxies found by a model trained on a version of the sample, to be graded."""
        return self.root / "mined" / f"version-{version}.csv"

    def round(self, number: int | str, file: str) -> Path:
        """File of a round, counted from 1: list.csv, round.json, config.yaml or its cutouts."""
        return self.root / "rounds" / str(number) / file

    def sample_report(self, file: str) -> Path:
        """File of the labelled sample's report: report.html, report.json or a figure."""
        return self.root / "sample" / "report" / file

    def model(self, name: str, file: str = "model.keras") -> Path:
        """File of a trained model."""
        return self.root / "models" / name / file

    def sweep(self, file: str) -> Path:
        """File of the sweep: sweep.csv, best.yaml, sweep.png or study.log, Optuna's journal."""
        return self.root / "sweep" / file

    def scores(self, chunk: str) -> Path:
        """Scores of a chunk."""
        return self.root / "scores" / f"{chunk}.parquet"

    def score_parts(self, chunk: str) -> Path:
        """Folder of partial results of a chunk that is being scored."""
        return self.root / "scores" / "parts" / chunk

    def brick_scores(self, brick: str) -> Path:
        """Scores of one brick that was requested by name."""
        return self.root / "scores" / "bricks" / f"{path_part(brick)}.parquet"

    def evaluation(self, file: str) -> Path:
        """File of the evaluation of the search: metrics.json or a figure."""
        return self.root / "evaluation" / file

    def candidate_file(self, file: str) -> Path:
        """File about the candidates: viewer.fits, sky.png, searched.fits or searched.json."""
        return self.root / "candidates" / file

    @property
    def recovery_folder(self) -> Path:
        """Folder of the comparisons with published catalogues."""
        return self.root / "recovery"

    def recovery(self, file: str) -> Path:
        """File of the comparison with a published catalogue: <catalogue>.csv, .json or .png."""
        return self.recovery_folder / path_part(file)

    def selection(self, file: str) -> Path:
        """File of the selection function: injected lenses, selection.fits, summaries, figures."""
        return self.root / "selection" / file

    def population(self, name: str) -> Path:
        """Population of the user with the completeness of each lens."""
        return self.root / "selection" / "populations" / f"{path_part(name)}.csv"

    def purity(self, file: str) -> Path:
        """File on the rate of non-lenses that pass: purity.json, purity.csv or a figure."""
        return self.root / "purity" / file

    def expected(self, file: str) -> Path:
        """File on the expected number of lenses: expected.json, .csv or .png."""
        return self.root / "expected" / file

    def checks(self, file: str) -> Path:
        """File of the standing checks: checks.json, checks.html, drift.csv or a mosaic."""
        return self.root / "checks" / file

    def mosaic_page(self, page: int) -> Path:
        """Page of ranked candidates; pages count from 1."""
        return self.root / "mosaics" / f"page-{page:04d}.png"

    def brick_mosaic(self, brick: str) -> Path:
        """Mosaic of a brick's galaxies, ranked."""
        return self.root / "mosaics" / "bricks" / f"{path_part(brick)}.png"

    def sheet(self, file: str) -> Path:
        """File of the follow-up sheets: of a candidate, sheets.pdf or a table of targets."""
        return self.root / "sheets" / file

    def inspection(self, file: str = "grades.sqlite") -> Path:
        """File of the inspection: grades.sqlite, with every vote, or an export of it."""
        return self.root / "inspection" / file

    def exchange(self, format_name: str) -> Path:
        """Folder of what another project is given, in its format."""
        return self.root / "exchange" / format_name

    def log(self, rule: str, name: str = "all") -> Path:
        """Log of a job."""
        return self.root / "logs" / rule / f"{name}.log"

    def benchmark(self, rule: str, name: str = "all") -> Path:
        """Snakemake's measurement of a job."""
        return self.root / "benchmarks" / rule / f"{name}.tsv"
