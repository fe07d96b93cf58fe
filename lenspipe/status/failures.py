"""What a run has to make again: failed bricks, which it also reports at its end, and lost pages."""

import csv
from collections.abc import Iterable, Mapping
from typing import Any

from lenspipe.config.settings import Settings
from lenspipe.products.files import read_json
from lenspipe.products.manifests import read_manifest

__all__ = ["describe_failures", "reopen", "reopen_pages"]

#: Number of failed bricks whose reasons are shown at the end of a run.
_N_SHOWN = 3


def reopen(settings: Settings, chunks: Iterable[str]) -> None:
    """Make a run retry bricks that failed in an earlier one.

    ``failures.retry`` selects them; with ``failures.strict`` all are retried, also in a run that
    has not ended. The outputs that lack such bricks are deleted, and so is the summary, so that
    Snakemake makes them again; finished bricks are kept.
    """
    paths = settings.paths
    retry = "all" if settings.failures.strict else settings.failures.retry
    if retry == "none" or not (settings.failures.strict or paths.summary.exists()):
        return
    if paths.summary.exists():
        summary = read_json(paths.summary, "summary")
        if not summary.get("n_bricks_failed" if retry == "all" else "n_bricks_to_retry"):
            return

    def is_retried(entry: Mapping[str, Any]) -> bool:
        return entry["status"] == "failed" and (retry == "all" or bool(entry.get("transient")))

    for chunk in chunks:
        outputs = {
            "parent": (paths.parent(chunk), paths.parent_audit(chunk)),
            "cutouts": (paths.manifest("cutouts", chunk),),
        }
        incomplete = [
            path
            for stage, files in outputs.items()
            if any(map(is_retried, read_manifest(paths.manifest(stage, chunk)).values()))
            for path in files
        ]
        # Scores stand for these files: Snakemake would not look for them while there are scores.
        for path in [*incomplete, *([paths.scores(chunk)] if incomplete else [])]:
            path.unlink(missing_ok=True)
    for path in (paths.chunks, paths.summary):
        path.unlink(missing_ok=True)


def reopen_pages(settings: Settings) -> None:
    """Make a run plot the pages of candidates again where one of them is gone.

    Snakemake cannot know how many pages there are: it looks at the first, and at their index.
    """
    index = settings.paths.mosaic_index
    if index.exists() and any(
        not index.with_name(page).exists()
        for page in read_json(index, "mosaic_index").get("pages", [])
    ):
        index.unlink()


def describe_failures(settings: Settings) -> str:
    """List bricks that a finished run could not search, and how to retry them, in a few lines.

    The text is empty if no brick failed.
    """
    paths = settings.paths
    with open(paths.missing, newline="") as handle:
        rows = list(csv.DictReader(handle))
    if not rows:
        return ""
    number = read_json(paths.summary, "summary")["n_bricks"]
    lines = [
        f"{len(rows)} of {number} bricks failed, listed in {paths.missing}; the run finished "
        "without them."
    ]
    lines += [f"  brick {row['brick']}: {row['reason']}" for row in rows[:_N_SHOWN]]
    if len(rows) > _N_SHOWN:
        lines += ["  ..."]
    transient = sum(row.get("transient") == "True" for row in rows)
    retried = {"transient": transient, "all": len(rows), "none": 0}[settings.failures.retry]
    if retried:
        lines += [f"Running the same command again retries {retried} of them."]
    if retried < len(rows):
        lines += ["With --config 'failures={retry: all}' it retries all of them, and no others."]
    return "\n".join(lines)
