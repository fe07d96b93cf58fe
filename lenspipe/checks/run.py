"""All standing checks of a run, one after the other."""

import json

import pandas as pd

from lenspipe.catalogs.names import shown_names
from lenspipe.checks.depth import check_depth, check_regions, read_report
from lenspipe.checks.drift import Drift
from lenspipe.checks.duplicates import Duplicates
from lenspipe.checks.galaxies import draw_galaxies
from lenspipe.checks.leakage import check_leakage
from lenspipe.checks.page import write_page
from lenspipe.cutouts.reading import read_galaxies
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.bricks import chunks_of
from lenspipe.products.checks import RED, not_measured
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log, track

__all__ = ["run_checks"]

#: In drift.png: how many bricks, and galaxies of each.
_SHOWN_BRICKS, _SHOWN_GALAXIES = 6, 6


def run_checks(settings):
    """Make all standing checks of a run that has chosen its candidates.

    Writes below ``checks/``: ``drift.csv`` and ``drift.png``, the bricks that are far off,
    ``checks.html`` and, last, ``checks.json``. A red check is a line of the log and no error.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        What checks.json holds; see docs/checks.md.

    Raises
    ------
    LenspipeError
        Scores, or records of the labelled sample, are missing.
    """
    paths, chunks = settings.paths, chunks_of(settings.paths.bricks)
    final = paths.checks("checks.json")
    final.unlink(missing_ok=True)
    for chunk in chunks:
        if not paths.scores(chunk).exists():
            raise LenspipeError(
                f"{paths.scores(chunk)}: found no such file, expected scores; score chunk {chunk} "
                "first"
            )
    sample = None if settings.inference.model else pd.read_parquet(paths.sample)
    scores, random = draw_galaxies(settings)
    drift, duplicates = Drift(settings, scores), Duplicates(settings)
    for chunk in track(chunks, "checks: chunks"):
        table = pd.read_parquet(paths.scores(chunk), columns=["id", "brick", "ra", "dec", "p"])
        drift.add(chunk, table)
        duplicates.add(chunk, table)
    drifted, off = drift.result()
    with atomic(paths.checks("drift.csv")) as temporary:
        off.to_csv(temporary, index=False, float_format="%.6g")
    _draw_drift(settings, off, duplicates.chunk_of)
    targets = not_measured("the run looks at a list of targets") if settings.targets else None
    checks = {
        "depth leak": targets
        or check_depth(settings, random, read_report(settings) if sample is not None else None),
        "north and south": targets or check_regions(settings, random, sample),
        "leakage": check_leakage(settings, sample),
        "drift": drifted,
        "duplicates": duplicates.result(sample),
    }
    report = {
        "run": settings.run,
        "red": [name for name, check in checks.items() if check["status"] == RED],
        "checks": [{"check": name, **check} for name, check in checks.items()],
    }
    write_page(settings, report, off, paths.checks("checks.html"))
    with atomic(final) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    for name, check in checks.items():
        said = check["status"].upper() if check["status"] == RED else check["status"]
        log.info("checks: %s: %s: %s", name, said, check["why"])
    return report


def _draw_drift(settings, off, chunk_of):
    """Draw the highest galaxies of the bricks that are most off; of a chunk, two of its bricks."""
    bricks = []
    for row in off.itertuples():
        mine = [row.brick] if row.brick else [b for b in chunk_of if chunk_of[b] == row.chunk][:2]
        bricks += [brick for brick in mine if brick not in bricks]
    shown = []
    for brick in bricks[:_SHOWN_BRICKS]:
        table = pd.read_parquet(
            settings.paths.scores(chunk_of[brick]), filters=[("brick", "==", brick)]
        )
        shown.append(table.nlargest(_SHOWN_GALAXIES, "p").assign(note=brick))
    images, table = (), pd.DataFrame()
    if shown:
        table = pd.concat(shown, ignore_index=True)
        table = table.assign(rank=table.index + 1, name=shown_names(table, settings))
        images, _ = read_galaxies(settings, table)
    draw_page(
        images,
        table,
        settings.paths.checks("drift.png"),
        bands=settings.survey.bands,
        stretch=settings.mosaics.stretch,
        columns=_SHOWN_GALAXIES,
        title=f"{settings.run}: bricks whose scores are far off their neighbours'",
        subtitle=f"the highest galaxies of each; {len(bricks)} bricks in drift.csv",
        message="No brick's scores are far off its neighbours'.",
    )
