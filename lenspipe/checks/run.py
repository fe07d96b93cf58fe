"""All standing checks of a run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lenspipe.catalogs.names import shown_names
from lenspipe.checks.depth import check_depth, check_regions
from lenspipe.checks.drift import Drift
from lenspipe.checks.duplicates import Duplicates
from lenspipe.checks.galaxies import draw_galaxies
from lenspipe.checks.leakage import check_leakage
from lenspipe.checks.page import write_page
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.evaluation.random_galaxies import RandomGalaxies, find_training_sample
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.candidates import model_note, read_candidates
from lenspipe.products.checks import RED, not_measured
from lenspipe.products.files import read_json, require, write_json
from lenspipe.products.schema import DRIFT, names_of
from lenspipe.products.tables import chunks_of, read_table, write_table
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.progress import log, track

__all__ = ["run_checks"]

#: Maximum number of bricks in drift.png, and of galaxies of each.
_SHOWN_BRICKS, _SHOWN_GALAXIES = 6, 6


def run_checks(settings: Settings) -> dict:
    """Run all standing checks of a run whose candidates are selected.

    Writes below ``checks/``: ``drift.csv`` and ``drift.png``, the bricks that differ strongly from
    their neighbours, ``checks.html`` and, last, ``checks.json``, whose content is returned
    (docs/checks.md). A red check is logged and is not an error.

    Raises
    ------
    LenspipeError
        Scores, or records of the labelled sample, are missing.
    """
    paths, chunks = settings.paths, chunks_of(settings.paths.bricks)
    final = paths.checks("checks.json")
    final.unlink(missing_ok=True)
    for chunk in chunks:
        require(paths.scores(chunk), "scores")
    sample = read_table(paths.sample, "sample") if settings.trains else None
    training = None
    if settings.has_model:
        training = find_training_sample(
            settings.recovery.sample,
            settings.inference.model,
            paths.sample,
            settings.training_splits,
        )
    flags, simulated = settings.candidates.reject_flags, bool(settings.simulation)
    population = RandomGalaxies.read(paths, training, settings.sample, flags, simulated=simulated)
    rng, number = np.random.default_rng([settings.seed, 60]), settings.checks.galaxies
    scores, random = draw_galaxies(paths, population, flags, number, rng)
    drift = Drift(settings.checks, scores)
    duplicates = Duplicates(paths, brick_grid(settings.release.brick_deg))
    for chunk in track(chunks, "checks: chunks"):
        table = read_table(paths.scores(chunk), "scores", columns=["id", "brick", "ra", "dec", "p"])
        drift.add(chunk, table)
        duplicates.add(chunk, table)
    names = read_candidates(paths.candidates, hidden=True)["name"]
    bricks = read_table(paths.bricks, "bricks", columns=["brick", "region", "ra", "dec"])
    if settings.targets:
        depth = regions = drifted = not_measured("the run scores a list of targets")
        outliers = pd.DataFrame(columns=names_of(DRIFT))
        # A position that is listed twice is a candidate twice.
        names = names.iloc[:0]
    else:
        report_path = paths.sample_report("report.json")
        has_report = sample is not None and report_path.exists()
        sample_report = read_json(report_path, "sample_report") if has_report else None
        drifted, outliers = drift.result(bricks)
        zero_point_mag = settings.release.zero_point_mag
        depth = check_depth(
            settings.checks, settings.survey.bands, zero_point_mag, random, sample_report
        )
        regions = check_regions(
            settings.checks, settings.seed, sorted(bricks["region"].unique()), random, sample
        )
    write_table(paths.checks("drift.csv"), outliers, float_format="%.6g")
    cutouts = CutoutFiles.of(settings)
    shown = _choose_bricks(outliers, duplicates.chunk_of)
    table = _highest_scores(shown[:_SHOWN_BRICKS], duplicates.chunk_of, paths)
    if len(table):
        table["name"] = shown_names(table, settings.targets, settings.release)
    _draw_outliers(table, len(shown), cutouts, settings.mosaics.stretch, settings.run)
    shape = len(cutouts.bands), settings.cutouts.size
    leakage = check_leakage(
        sample, bricks, paths.records_manifest, settings.sample, shape, cutouts.side_arcsec
    )
    checks = {
        "depth leak": depth,
        "north and south": regions,
        "leakage": leakage,
        "drift": drifted,
        "duplicates": duplicates.result(names, sample),
    }
    report = {
        "run": settings.run,
        "red": [name for name, check in checks.items() if check["status"] == RED],
        "checks": [{"check": name, **check} for name, check in checks.items()],
    }
    write_page(report, outliers, paths.checks("checks.html"))
    write_json(final, report)
    for name, check in checks.items():
        status = check["status"].upper() if check["status"] == RED else check["status"]
        log.info("checks: %s: %s: %s", name, status, check["why"])
    return report


def _choose_bricks(outliers: pd.DataFrame, chunk_of: Mapping[str, str]) -> list[str]:
    """Names of outlying bricks, and of two bricks of each outlying chunk."""
    bricks: list[str] = []
    for row in outliers.itertuples():
        names = [row.brick] if row.brick else [b for b in chunk_of if chunk_of[b] == row.chunk]
        bricks += [name for name in names[:2] if name not in bricks]
    return bricks


def _draw_outliers(
    table: pd.DataFrame, n_bricks: int, cutouts: CutoutFiles, stretch: str, run: str
) -> None:
    """Draw the highest-scoring galaxies of outlying bricks as ``drift.png``."""
    draw_page(
        cutouts.read(table)[0] if len(table) else (),
        table,
        cutouts.paths.checks("drift.png"),
        bands=cutouts.bands,
        pixel_scale_arcsec=cutouts.release.pixel_scale_arcsec,
        stretch=stretch,
        columns=_SHOWN_GALAXIES,
        title=f"{run}: bricks whose scores differ strongly from their neighbours'",
        subtitle=f"the highest scores of each; {n_bricks} bricks in drift.csv",
        note=model_note(table),
        message="No brick's scores differ strongly from its neighbours'.",
    )


def _highest_scores(
    bricks: list[str], chunk_of: Mapping[str, str], paths: RunPaths
) -> pd.DataFrame:
    tables = [
        read_table(paths.scores(chunk_of[brick]), "scores", filters=[("brick", "==", brick)])
        .nlargest(_SHOWN_GALAXIES, "p")
        .assign(note=brick)
        for brick in bricks
    ]
    if not tables:
        return pd.DataFrame()
    return pd.concat(tables, ignore_index=True).assign(rank=lambda table: table.index + 1)
