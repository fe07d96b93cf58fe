"""A run in one small file and a few lines of the log."""

import os

import pandas as pd

from lenspipe.catalogs.targets import targets_without_data
from lenspipe.products.checks import describe_checks
from lenspipe.products.files import read_json, write_json
from lenspipe.products.manifests import read_manifests
from lenspipe.products.schema.declarations import names_of
from lenspipe.products.schema.results import MISSING
from lenspipe.products.tables import read_table, write_table
from lenspipe.status.job_times import LONGEST_GAP_S, peak_sum, read_benchmarks, union_length
from lenspipe.utils.progress import log

__all__ = ["summarise"]

_MIB = 2**20

_FROM_METRICS = ("auc", "completeness_fpr01", "n_lenses", "n_nonlenses")


def summarise(settings):
    """Write ``summary.json`` and say in the log what came out and where it is.

    ``wall_s`` is the time in which jobs ran, gaps of less than a minute between them included, so
    that a run that was killed and resumed doesn't count the night in between. ``peak_rss_mb`` is
    the largest sum of the peak memories of jobs that ran at the same time: an upper bound, since
    their peaks need not coincide. ``disk_mb`` is the size of all files of the run. MB are 2**20
    bytes, as in Snakemake's benchmarks. Where all is trained on, or a given model searched with,
    there is nothing to compare with: ``auc``, ``completeness_fpr01``, ``n_lenses`` and
    ``n_nonlenses`` are null.
    ``n_bricks_to_retry`` counts the bricks that a server did not give but might give a later run;
    ``missing.csv`` beside the summary names all that failed.
    ``targets_without_data`` lists the targets that the survey has no data for; null where a
    footprint is searched. ``checks_red`` lists the standing checks that are red; null where none
    were made.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        The summary.

    Raises
    ------
    LenspipeError
        Something that it sums up is missing.
    """
    paths = settings.paths
    metrics = dict.fromkeys(_FROM_METRICS)
    if settings.held_out:
        metrics = read_json(paths.evaluation("metrics.json"), "metrics")
    pages = read_json(paths.mosaic_index, "mosaic_index")
    checks = None
    if paths.checks("checks.json").exists():
        checks = read_json(paths.checks("checks.json"), "checks")
    listed = read_table(paths.bricks, "bricks", columns=["brick", "chunk"])
    absent = None
    if settings.targets:
        absent = targets_without_data(settings.targets, listed["brick"])["id"].to_list()
    chunks = listed["chunk"].unique()
    bricks = read_manifests(paths.manifest("cutouts", chunk) for chunk in chunks)
    missing = _write_missing(paths.missing, bricks)
    jobs = read_benchmarks(paths.root / "benchmarks")
    summary = {
        "run": settings.run,
        **{key: metrics[key] for key in _FROM_METRICS},
        "n_candidates": pages["n_candidates"],
        "n_mosaic_pages": len(pages["pages"]),
        "n_galaxies": sum(entry["count"] for entry in bricks.values() if "count" in entry),
        "n_bricks": len(bricks),
        "n_bricks_failed": len(missing),
        "n_bricks_to_retry": int(missing["transient"].sum()),
        "targets_without_data": absent,
        "checks_red": checks and checks["red"],
        "wall_s": round(union_length(jobs["start"], jobs["end"], LONGEST_GAP_S), 1),
        "peak_rss_mb": round(peak_sum(jobs["start"], jobs["end"], jobs["rss_mb"]), 1),
        "disk_mb": round(_size(paths.root) / _MIB, 1),
    }
    write_json(paths.summary, summary)
    _report(summary, metrics, checks, settings)
    return summary


def _write_missing(path, bricks):
    """Write and return the bricks that could not be searched: brick, transient (bool), reason."""
    rows = [
        (brick, entry.get("transient", False), entry["reason"])
        for brick, entry in sorted(bricks.items())
        if entry["status"] == "failed"
    ]
    table = pd.DataFrame(rows, columns=names_of(MISSING))
    write_table(path, table)
    return table


def _size(folder):
    """Bytes of all files below a folder; one that goes away meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _report(summary, metrics, checks, settings):
    """Log the summary for a reader."""
    paths, failed = settings.paths, summary["n_bricks_failed"]
    what = "targets" if settings.targets else "galaxies"
    lines = [
        f"run {summary['run']}: done",
        f"  searched    {summary['n_galaxies']} {what} in {summary['n_bricks']} bricks"
        + (f"; {failed} bricks FAILED, see {paths.missing}" if failed else ""),
    ]
    if again := summary["n_bricks_to_retry"]:
        lines += [f"  not yet     {again} bricks that a server didn't give: run again to ask again"]
    if absent := summary["targets_without_data"]:
        more = ", ..." if len(absent) > 5 else ""
        lines += [f"  no data     {len(absent)} targets: {', '.join(absent[:5])}{more}"]
    if settings.held_out:
        lines += [f"  how well    {_how_well(summary, metrics)}"]
    lines += [
        f"  candidates  {summary['n_candidates']} in {paths.candidates}",
        f"  mosaics     {summary['n_mosaic_pages']} pages, {paths.mosaic_page(1)} first",
    ]
    if settings.held_out:
        mistakes = paths.evaluation("missed.png"), paths.evaluation("false.png")
        lines += [f"  mistakes    {mistakes[0]}, {mistakes[1]}"]
    if checks:
        lines += [f"  checks      {describe_checks(checks)}; see {paths.checks('checks.html')}"]
    lines += [
        f"  took        {summary['wall_s']:.0f} s, at most {summary['peak_rss_mb']:.0f} MB of "
        f"memory, {summary['disk_mb']:.0f} MB on disk",
    ]
    for line in lines:
        log.info(line)


def _how_well(summary, metrics):
    """Say in a line what the evaluation found."""
    at = summary["completeness_fpr01"]
    found = "not measurable" if at is None else f"{100 * at:.1f} %"
    if at is not None and metrics.get("completeness_fpr01_low") is not None:
        low, high = metrics["completeness_fpr01_low"], metrics["completeness_fpr01_high"]
        found += f" ({100 * low:.1f}-{100 * high:.1f} at 95 % confidence)"
    return (
        f"AUC {summary['auc']:.4f}; completeness {found} at 1 % false positives "
        f"({summary['n_lenses']} lenses, {summary['n_nonlenses']} non-lenses)"
    )
