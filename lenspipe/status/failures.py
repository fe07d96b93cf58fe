"""Bricks that failed: retrying them, and reporting them at the end of a run."""

import csv

from lenspipe.products.files import read_json
from lenspipe.products.manifests import read_manifest

__all__ = ["reopen", "what_failed"]

#: Of so many failed bricks the last lines of a run give the reason.
_SHOWN = 3


def reopen(settings, chunks):
    """Make a run try bricks again that failed in an earlier one.

    Which ones, ``failures.retry`` says; with ``failures.strict`` all of them, also of a run that
    has not ended. The outputs that lack such bricks are deleted, and so is the summary, so that
    Snakemake makes them again; each brick that is done is kept.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunks : iterable of str
    """
    paths = settings.paths
    wanted = "all" if settings.failures.strict else settings.failures.retry
    if wanted == "none" or not (settings.failures.strict or paths.summary.exists()):
        return
    if paths.summary.exists():
        summary = read_json(paths.summary, "summary")
        if not summary.get("n_bricks_failed" if wanted == "all" else "n_bricks_to_retry"):
            return

    def lacks(entry):
        return entry["status"] == "failed" and (wanted == "all" or entry.get("transient"))

    for chunk in chunks:
        outputs = {
            "parent": (paths.parent(chunk), paths.parent_audit(chunk)),
            "cutouts": (paths.manifest("cutouts", chunk),),
        }
        lacking = [
            path
            for stage, made in outputs.items()
            if any(map(lacks, read_manifest(paths.manifest(stage, chunk)).values()))
            for path in made
        ]
        for path in lacking:
            path.unlink(missing_ok=True)
    paths.summary.unlink(missing_ok=True)


def what_failed(settings):
    """Say which bricks a run that has ended could not search, and how to try them again.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    str
        A few lines; empty if no brick failed.
    """
    paths = settings.paths
    with open(paths.missing, newline="") as handle:
        rows = list(csv.DictReader(handle))
    if not rows:
        return ""
    number = read_json(paths.summary, "summary")["n_bricks"]
    lines = [
        f"{len(rows)} of {number} bricks failed, listed in {paths.missing}; the run is done "
        "without them."
    ]
    lines += [f"  brick {row['brick']}: {row['reason']}" for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines += ["  ..."]
    transient = sum(row.get("transient") == "True" for row in rows)
    again = {"transient": transient, "all": len(rows), "none": 0}[settings.failures.retry]
    if again:
        lines += [f"The same command, started again, tries {again} of them again."]
    if again < len(rows):
        lines += ["With --config 'failures={retry: all}' it tries all of them, and no others."]
    return "\n".join(lines)
