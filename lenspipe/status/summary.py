"""Summary of a run in one small file and a few log lines."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lenspipe.catalogs.targets import targets_without_data
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.products.cards import describe_model
from lenspipe.products.checks import describe_checks
from lenspipe.products.files import read_json, write_json
from lenspipe.products.manifests import read_manifests
from lenspipe.products.schema import MISSING, names_of
from lenspipe.products.tables import read_table, write_table
from lenspipe.statistics.intervals import format_percent, name_interval, named_interval
from lenspipe.status.job_times import LONGEST_GAP_S, peak_sum, read_benchmarks, union_length
from lenspipe.utils.progress import log

__all__ = ["summarise"]

_MIB = 2**20
_ENDS = ("", "_low", "_high")
_FROM_METRICS = (
    *(f"auc{end}" for end in _ENDS),
    *(f"completeness_threshold{end}" for end in _ENDS),
    *("n_lenses", "n_nonlenses"),
)


def summarise(settings: Settings) -> dict[str, Any]:
    """Write ``summary.json`` and ``missing.csv``, and log the results and where they are.

    ``wall_s`` is the time in which jobs ran, including gaps of less than a minute, so that the time
    between stopping a run and resuming it does not count. ``peak_rss_mb`` is the maximum sum of the
    peak memories of jobs that ran at the same time: an upper bound, since their peaks need not
    coincide. ``disk_mb`` is the size of all files of the run. MB are 2**20 bytes, as in Snakemake's
    benchmarks. ``auc``, ``n_lenses``, ``n_nonlenses`` and ``completeness_threshold``, at the cut of
    the candidates, are null where no split was held out or the model was given;
    ``false_positive_rate_threshold``, of all galaxies that no training saw, where there are none.
    ``n_bricks_to_retry`` counts the bricks that a server did not deliver but may deliver later;
    ``missing.csv`` beside the summary lists all failed bricks. ``n_bricks_unchecked`` counts those
    with files that were not checked against published sums; null where that is not configured.
    ``model`` is what a given model says of itself; null if it has no card.
    ``targets_without_data`` lists the targets without survey data; null where a footprint is
    searched. ``checks_red`` lists the standing checks that are red; null where none were made.

    Raises
    ------
    LenspipeError
        A file to be summarised is missing.
    """
    paths = settings.paths
    metrics = dict.fromkeys(_FROM_METRICS)
    if settings.held_out:
        metrics = read_json(paths.evaluation("metrics.json"), "metrics")
    expected = read_json(paths.threshold, "threshold")["expected"]
    rates = named_interval(expected, "false_positive_rate")
    pages = read_json(paths.mosaic_index, "mosaic_index")
    checks = None
    if paths.checks("checks.json").exists():
        checks = read_json(paths.checks("checks.json"), "checks")
    listed = read_table(paths.bricks, "bricks", columns=["brick", "chunk"])
    absent = None
    if settings.targets:
        absent = targets_without_data(
            settings.targets, listed["brick"], settings.release.brick_deg
        )["id"].to_list()
    chunks = listed["chunk"].unique()
    bricks = read_manifests(paths.manifest("cutouts", chunk) for chunk in chunks)
    missing = _write_missing(paths.missing, bricks)
    unchecked = [brick for brick, entry in bricks.items() if "unchecked" in entry]
    jobs = read_benchmarks(paths.root / "benchmarks")
    summary = {
        "run": settings.run,
        "model": describe_model(settings.model_path) or None,
        **{key: metrics[key] for key in _FROM_METRICS},
        **name_interval("false_positive_rate_threshold", rates),
        "n_random": expected["n_nonlenses"],
        "n_candidates": pages["n_candidates"],
        "n_mosaic_pages": len(pages["pages"]),
        "n_galaxies": sum(entry["count"] for entry in bricks.values() if "count" in entry),
        "n_bricks": len(bricks),
        "n_bricks_failed": len(missing),
        "n_bricks_to_retry": int(missing["transient"].sum()),
        "n_bricks_unchecked": len(unchecked) if settings.retrieval.checksums else None,
        "targets_without_data": absent,
        "checks_red": checks and checks["red"],
        "wall_s": round(union_length(jobs["start"], jobs["end"], LONGEST_GAP_S), 1),
        "peak_rss_mb": round(peak_sum(jobs["start"], jobs["end"], jobs["rss_mb"]), 1),
        "disk_mb": round(_size(paths.root) / _MIB, 1),
    }
    write_json(paths.summary, summary)
    noun = "targets" if settings.targets else "galaxies"
    _log_summary(summary, metrics if settings.held_out else None, checks, paths, noun)
    return summary


def _write_missing(path: Path, bricks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Write and return the bricks that could not be searched: brick, transient (bool), reason."""
    rows = [
        (brick, entry.get("transient", False), entry["reason"])
        for brick, entry in sorted(bricks.items())
        if entry["status"] == "failed"
    ]
    table = pd.DataFrame(rows, columns=names_of(MISSING))
    write_table(path, table)
    return table


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, without those that are deleted meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _log_summary(
    summary: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    checks: Mapping[str, Any] | None,
    paths: RunPaths,
    noun: str,
) -> None:
    n_failed = summary["n_bricks_failed"]
    searched = f"{summary['n_galaxies']} {noun} in {summary['n_bricks']} bricks"
    lines = [
        (
            "searched",
            searched + (f"; {n_failed} bricks FAILED, see {paths.missing}" * (n_failed > 0)),
        )
    ]
    if to_retry := summary["n_bricks_to_retry"]:
        text = f"{to_retry} bricks that a server did not deliver: run again to retry them"
        lines += [("not yet", text)]
    if unchecked := summary["n_bricks_unchecked"]:
        text = f"{unchecked} bricks have files that were not checked against published sums"
        lines += [("unchecked", f"{text}; see {paths.root / 'manifests'}")]
    if absent := summary["targets_without_data"]:
        more = ", ..." if len(absent) > 5 else ""
        lines += [("no data", f"{len(absent)} targets: {', '.join(absent[:5])}{more}")]
    if metrics or summary["false_positive_rate_threshold"] is not None:
        lines += [("at the cut", _format_metrics(summary))]
    if summary["model"]:
        lines += [("model", summary["model"])]
    lines += [
        ("candidates", f"{summary['n_candidates']} in {paths.candidates}"),
        ("mosaics", f"{summary['n_mosaic_pages']} pages, {paths.mosaic_page(1)} first"),
    ]
    if metrics:
        mistakes = paths.evaluation("missed.png"), paths.evaluation("false.png")
        lines += [("mistakes", f"{mistakes[0]}, {mistakes[1]}")]
    if checks:
        lines += [("checks", f"{describe_checks(checks)}; see {paths.checks('checks.html')}")]
    resources = (
        f"{summary['wall_s']:.0f} s, at most {summary['peak_rss_mb']:.0f} MB of memory, "
        f"{summary['disk_mb']:.0f} MB on disk"
    )
    log.info("run %s: done", summary["run"])
    for heading, text in [*lines, ("took", resources)]:
        log.info("  %-12s%s", heading, text)


def _format_metrics(summary: Mapping[str, Any]) -> str:
    """Describe the search at the cut of its candidates in a line."""
    texts = [
        f"completeness {format_percent(summary, 'completeness_threshold')}",
        f"false-positive rate {format_percent(summary, 'false_positive_rate_threshold')} of "
        f"{summary['n_random']} galaxies that no training saw",
    ]
    if summary["auc"] is not None:
        texts.append(
            f"AUC {summary['auc']:.4f} ({summary['auc_low']:.4f} to {summary['auc_high']:.4f}; "
            f"{summary['n_lenses']} lenses, {summary['n_nonlenses']} non-lenses)"
        )
    return "; ".join(texts)
