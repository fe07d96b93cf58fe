"""Progress of a run as text and as a page with a map."""

import base64
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from lenspipe.config.settings import Settings
from lenspipe.plotting import figures
from lenspipe.plotting.style import BLUE, ORANGE
from lenspipe.products.tables import read_table
from lenspipe.status.read import Chunk, read_chunks, read_status
from lenspipe.status.summary import summarise
from lenspipe.utils.html import write_html

__all__ = ["conclude_run", "format_status", "write_status_page"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_COLUMNS = ("stage", "chunks", "done", "empty", "failed", "to do", "galaxies", "per second")

#: Number of reasons and jobs shown; the object of ``--json`` has all reasons.
_N_SHOWN = 8


def format_status(status: Mapping[str, Any]) -> str:
    """Format the progress of a run, as returned by `lenspipe.status.read.read_status`, as text."""
    lines = [f"run {status['run']}: {_format_state(status)}"]
    if status["chunks"]:
        alignment = ("left", *["right"] * (len(_COLUMNS) - 1))
        table = tabulate(
            _rows(status), _COLUMNS, "plain", disable_numparse=True, colalign=alignment
        )
        lines += ["", table, ""]
    for heading, texts in _remarks(status).items():
        lines += [f"{'' if i else heading:13}{text}" for i, text in enumerate(texts)]
    return "\n".join(lines)


def _format_state(status: Mapping[str, Any]) -> str:
    n_chunks = status["chunks"]
    size = f"{status['bricks']:,} bricks in {n_chunks:,} chunk{'s' * (n_chunks != 1)}"
    if status["state"] == "not begun":
        return f"not begun; {size} planned" if n_chunks else "not begun, nor planned"
    state = "seems to have stopped" if status["state"] == "stopped" else status["state"]
    return f"{state}, last write {_format_duration(status['last_write_s'])} ago; {size}"


def _rows(status: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{stage['chunks_done']:,} of {status['chunks']:,}",
            *(f"{stage[key]:,}" for key in ("done", "empty", "failed", "to_do", "galaxies")),
            "" if stage["galaxies_per_s"] is None else f"{stage['galaxies_per_s']:,.3g}",
        )
        for name, stage in status["stages"].items()
    ]


def _remarks(status: Mapping[str, Any]) -> dict[str, list[str]]:
    remarks = {}
    if status["state"] not in ("done", "not begun"):
        remarks["time left"] = [_format_time_left(status)]
    if status["at_work"]:
        remarks["at work"] = _first(
            [f"{job['rule']} {job['name']}: {job['line']}" for job in status["at_work"]]
        )
    if status["failed"]:
        remarks["failed"] = _first([_format_failure(group) for group in status["failed"]])
    if status["failed_jobs"]:
        remarks["failed jobs"] = _first([_format_failed_job(job) for job in status["failed_jobs"]])
    if skipped := _format_skipped(status["skipped"]):
        remarks["skipped"] = [skipped]
    if status["retry_all"]:
        # Failed bricks are retried when all others are done.
        when = "" if status["state"] == "done" else ", once the run has ended"
        remarks["retry"] = [f"all failed bricks, and no others{when}: {status['retry_all']}"]
        if status["retry_transient"]:
            remarks["retry"].insert(0, f"transient failures{when}: {status['retry_transient']}")
    if status["go_on"] and status["state"] != "running":
        heading = "begin" if status["state"] == "not begun" else "continue"
        remarks[heading] = [status["go_on"]]
    return remarks


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _N_SHOWN
    return [*lines[:_N_SHOWN], *([f"... and {more} more"] if more > 0 else [])]


def _format_time_left(status: Mapping[str, Any]) -> str:
    if status["time_left_s"] is None:
        return "not known yet: no stage with work left has finished a chunk"
    if status["slowest"] is None:
        return "little: all chunks are done"
    stage = status["stages"][status["slowest"]]
    basis = (
        f"{stage['to_do']:,} bricks of {status['slowest']}, the slowest stage, at "
        f"{stage['bricks_per_s']:.3g} per second, as in the last {stage['measured_on_chunks']} "
        "chunks"
    )
    unknown = " and ".join(status["speed_not_known"])
    addition = f"; plus {unknown}, whose speed is not known yet" if unknown else ""
    return f"about {_format_duration(status['time_left_s'])}: {basis}{addition}"


def _format_failure(group: Mapping[str, Any]) -> str:
    bricks = ", ".join(group["first_bricks"])
    more = ", ..." if group["n_bricks"] > len(group["first_bricks"]) else ""
    retried = "retried by any later run" if group["transient"] else "not retried automatically"
    return (
        f"{group['n_bricks']:,} ({bricks}{more}), {retried}: {group['reason']} [{group['stage']}]"
    )


def _format_failed_job(job: Mapping[str, Any]) -> str:
    more = f" (and {len(job['errors']) - 1} more)" if len(job["errors"]) > 1 else ""
    return f"{job['rule']} {job['name']}: {job['errors'][0]}{more}; a later run tries again"


def _format_skipped(skipped: Mapping[str, Any]) -> str:
    """Describe which bricks had no galaxies, or not all bands."""
    parts = []
    if number := skipped["empty"]:
        parts.append(f"{number:,} bricks without a galaxy of the parent sample")
    if bands := skipped["lacking_bands"]:
        each = ", ".join(f"{name} {number:,}" for name, number in bands.items())
        parts.append(f"{sum(bands.values()):,} bricks lack a band ({each}): cut out and flagged")
    return "; ".join(parts)


def _format_duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR / _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY / _HOUR:.0f} h"


def write_status_page(
    settings: Settings,
    path: str | os.PathLike[str],
    configs: Sequence[str | Path] = ("CONFIG",),
) -> dict[str, Any]:
    """Write the progress of a run as a self-contained HTML page.

    Return the status shown. `configs` are as in `lenspipe.status.read.read_status`.
    """
    chunks = read_chunks(settings.paths)
    status = read_status(settings, chunks, configs)
    write_html(
        path,
        "status/page.html",
        title=f"Run {status['run']}",
        state=_format_state(status).capitalize(),
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        columns=_COLUMNS,
        rows=_rows(status),
        remarks=_remarks(status),
        sky_map=_plot_map(settings.paths.bricks, chunks, settings.release.brick_deg),
    )
    return status


def conclude_run(settings: Settings) -> None:
    """Write the summary of a complete run and its status page."""
    summarise(settings)
    write_status_page(settings, settings.paths.status_page)


def _plot_map(bricks: Path, chunks: Mapping[str, Chunk], brick_deg: float) -> str | None:
    """Return a map of the bricks by state, as base64-encoded PNG; None without a brick table."""
    if not chunks or not bricks.exists():
        return None
    table = read_table(bricks, "bricks", columns=["brick", "ra", "dec", "chunk"])
    stage = {
        name: "scored" if "scores" in c.stages else "cut out" if "cutouts" in c.stages else "to do"
        for name, c in chunks.items()
    }
    state = table["chunk"].map(stage).to_numpy()
    failed = table["brick"].isin([brick for c in chunks.values() for brick in c.failed]).to_numpy()
    colours = {"to do": "0.85", "cut out": "#9ecae1", "scored": BLUE}
    states = {name: ((state == name) & ~failed, colour) for name, colour in colours.items()}
    states["failed"] = failed, ORANGE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.png"
        ra, dec = np.array(table["ra"]), np.array(table["dec"])
        figures.plot_brick_states(ra, dec, states, brick_deg, path)
        return base64.b64encode(path.read_bytes()).decode()
