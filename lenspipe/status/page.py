"""How far a run is, as text and as a page with a map."""

import base64
import html
import tempfile
import time
from pathlib import Path

import numpy as np

from lenspipe.plotting import figures
from lenspipe.plotting.style import BLUE, ORANGE
from lenspipe.products.tables import read_table
from lenspipe.status.read import read_chunks, read_status
from lenspipe.utils.files import atomic

__all__ = ["status_text", "write_status_page"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_COLUMNS = ("stage", "chunks", "done", "empty", "failed", "to do", "galaxies", "per second")

#: Reasons and jobs that are shown; the object of ``--json`` has all reasons.
_SHOWN = 8


def status_text(status):
    """Say how far a run is.

    Parameters
    ----------
    status : dict
        As `lenspipe.status.read.read_status` returns.

    Returns
    -------
    str
    """
    lines = [f"run {status['run']}: {_state(status)}"]
    rows = [_COLUMNS, *_rows(status)]
    if status["chunks"]:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", *("  ".join(_aligned(row, widths)).rstrip() for row in rows), ""]
    for name, texts in _remarks(status).items():
        lines += [f"{'' if i else name:13}{text}" for i, text in enumerate(texts)]
    return "\n".join(lines)


def _aligned(row, widths):
    first, *others = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]


def _state(status):
    """Say in a line whether the run goes on."""
    size = (
        f"{status['bricks']:,} bricks in {status['chunks']:,} chunk{'s' * (status['chunks'] != 1)}"
    )
    if status["state"] == "not begun":
        return f"not begun; {size} planned" if status["chunks"] else "not begun, nor planned"
    ago = f"last write {_span(status['last_write_s'])} ago"
    said = {"stopped": "seems to have stopped", "running": "running"}
    return f"{said.get(status['state'], status['state'])}, {ago}; {size}"


def _rows(status):
    """Rows of the table of stages, as text."""
    return [
        (
            name,
            f"{stage['chunks_done']:,} of {status['chunks']:,}",
            *(f"{stage[key]:,}" for key in ("done", "empty", "failed", "to_do", "galaxies")),
            "" if stage["galaxies_per_s"] is None else f"{stage['galaxies_per_s']:,.3g}",
        )
        for name, stage in status["stages"].items()
    ]


def _remarks(status):
    """Heading -> lines of what is to be said beside the table."""
    remarks = {}
    if status["state"] not in ("done", "not begun"):
        remarks["time left"] = [_time_left(status)]
    if status["at_work"]:
        remarks["at work"] = _first(
            [f"{job['rule']} {job['name']}: {job['line']}" for job in status["at_work"]]
        )
    if status["failed"]:
        remarks["failed"] = _first([_failure(group) for group in status["failed"]])
    if status["failed_jobs"]:
        remarks["failed jobs"] = _first([_failed_job(job) for job in status["failed_jobs"]])
    if skipped := _skipped(status["skipped"]):
        remarks["skipped"] = [skipped]
    if status["retry_all"]:
        # Failed bricks wait until all others are done.
        when = "" if status["state"] == "done" else ", once the run has ended"
        remarks["retry"] = [f"all that failed, and no others{when}: {status['retry_all']}"]
        if status["retry_transient"]:
            remarks["retry"].insert(0, f"transient failures{when}: {status['retry_transient']}")
    if status["go_on"] and status["state"] != "running":
        word = "begin" if status["state"] == "not begun" else "go on"
        remarks[word] = [status["go_on"]]
    return remarks


def _first(lines):
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])]


def _time_left(status):
    """Say how long it will take, and how that is known."""
    if status["time_left_s"] is None:
        return "not known yet: no chunk of a stage with work left is done"
    lacking = " and ".join(status["speed_not_known"])
    if status["slowest"] is None:
        return "little: all chunks are done"
    stage = status["stages"][status["slowest"]]
    how = (
        f"{stage['to_do']:,} bricks of {status['slowest']}, the slowest stage, at "
        f"{stage['bricks_per_s']:.3g} a second, as in the last {stage['measured_on_chunks']} chunks"
    )
    beside = f"; besides {lacking}, whose speed is not known yet" if lacking else ""
    return f"about {_span(status['time_left_s'])}: {how}{beside}"


def _failure(group):
    bricks = ", ".join(group["first_bricks"])
    more = ", ..." if group["n_bricks"] > len(group["first_bricks"]) else ""
    again = "tried again by any later run" if group["transient"] else "not tried again by itself"
    return f"{group['n_bricks']:,} ({bricks}{more}), {again}: {group['reason']} [{group['stage']}]"


def _failed_job(job):
    more = f" (and {len(job['errors']) - 1} more)" if len(job["errors"]) > 1 else ""
    return f"{job['rule']} {job['name']}: {job['errors'][0]}{more}; a later run tries again"


def _skipped(skipped):
    """Say which bricks had nothing to search, or not in all bands."""
    parts = []
    if number := skipped["empty"]:
        parts.append(f"{number:,} bricks without a galaxy of the parent sample")
    if bands := skipped["lacking_bands"]:
        each = ", ".join(f"{name} {number:,}" for name, number in bands.items())
        parts.append(f"{sum(bands.values()):,} bricks lack a band ({each}): cut out and flagged")
    return "; ".join(parts)


def _span(seconds):
    """Seconds in words."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR / _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY / _HOUR:.0f} h"


def write_status_page(settings, path, configs=("CONFIG",)):
    """Write how far a run is as an HTML page that stands for itself.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    path : str or path-like
    configs : sequence of str
        As of `lenspipe.status.read.read_status`.

    Returns
    -------
    dict
        The status, as the page shows it.
    """
    chunks = read_chunks(settings)
    status = read_status(settings, chunks, configs)
    picture = _map(settings, chunks)
    with atomic(path) as temporary:
        temporary.write_text(_page(status, picture))
    return status


def _map(settings, chunks):
    """Draw the bricks by what has become of them, as PNG; None without a table of bricks."""
    if not chunks or not settings.paths.bricks.exists():
        return None
    table = read_table(settings.paths.bricks, "bricks", columns=["brick", "ra", "dec", "chunk"])
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
        figures.plot_brick_states(np.array(table["ra"]), np.array(table["dec"]), states, path)
        return path.read_bytes()


def _page(status, picture):
    title = html.escape(f"Run {status['run']}")
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>"
        for row in _rows(status)
    )
    remarks = "\n".join(
        f"<dt>{name}</dt>{''.join(f'<dd>{html.escape(text)}</dd>' for text in texts)}"
        for name, texts in _remarks(status).items()
    )
    if picture:
        data = base64.b64encode(picture).decode()
        picture = f'<h2>Bricks on the sky</h2>\n<img alt="map" src="data:image/png;base64,{data}">'
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; max-width: 62em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: 0.2em 0.9em; text-align: right; border-bottom: 1px solid #ddd; }}
td:first-child, th:first-child {{ text-align: left; }}
dt {{ font-weight: bold; margin-top: 0.8em; }}
dd {{ margin: 0 0 0.2em 1.5em; overflow-wrap: anywhere; }}
img {{ max-width: 100%; }}
</style>
<h1>{title}</h1>
<p>{html.escape(_state(status).capitalize())}. Written {when}.</p>
<table>
<tr>{head}</tr>
{rows}
</table>
<p>Bricks: done, empty (no galaxy of the parent sample), failed, still to do. Galaxies per second
are those of the last hour in which the stage was at work.</p>
<dl>
{remarks}
</dl>
{picture or ""}
</html>
"""
