"""Progress of a run, from the files that it has written so far."""

import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.products.manifests import read_manifest
from lenspipe.products.plan import Plan
from lenspipe.status.job_times import LONGEST_GAP_S, read_benchmarks, union_length

__all__ = ["STAGES", "Chunk", "read_chunks", "read_status"]

#: Stages that work chunk by chunk -> rule.
STAGES = {"parent": "parent", "cutouts": "cutouts", "scores": "scores", "mosaics": "chunk_mosaics"}

#: A run that has written nothing for this time has stopped, seconds.
_QUIET_S = 600

#: Speed is measured over the chunks finished within this time before the last one, seconds, and
#: over at least so many chunks.
_RECENT_S, _MIN_RECENT_CHUNKS = 3600, 10

#: Bytes read from the end of a log.
_TAIL = 8192

#: Brick -> (stage, reason, transient).
_Failures = dict[str, tuple[str, str, bool]]

_ERROR = re.compile(r"lenspipe: error: (.*)")
_BRICK = re.compile(r"\b\d{4}[pm]\d{3}\b")
_FOLDER = re.compile(r"/\d{3}/(?=[^/\s]*<brick>)")


@dataclass
class Chunk:
    """Progress of a chunk.

    Attributes
    ----------
    bricks
        Its bricks, as planned.
    stages
        Finished stage -> counts of the bricks by status (done, empty, failed) and ``galaxies``.
    in_progress
        The same, ``done`` and ``galaxies``, of existing cutouts if that stage is unfinished.
    failed
        Brick -> (stage, reason, transient).
    missing_bands
        Brick -> bands without data.
    """

    bricks: list[str]
    stages: dict[str, Counter[str]] = field(default_factory=dict)
    in_progress: Counter[str] = field(default_factory=Counter)
    failed: _Failures = field(default_factory=dict)
    missing_bands: dict[str, str] = field(default_factory=dict)


def read_chunks(paths: RunPaths) -> dict[str, Chunk]:
    """Read the progress of each chunk from its manifests; no chunks if the run has no plan.

    Scores have no manifest: a chunk with scores has scored all its cutouts.
    """
    plan = Plan.read(paths.plan)
    listings: dict[Path, set[str]] = {}
    return {
        name: _read_chunk(paths, name, [entry["brick"] for entry in bricks], listings)
        for name, bricks in (plan or {}).items()
    }


def _read_chunk(
    paths: RunPaths, name: str, bricks: list[str], listings: dict[Path, set[str]]
) -> Chunk:
    """Read a chunk; `listings` caches the file names in folders of cutouts."""
    chunk = Chunk(bricks)
    outputs = {
        "parent": paths.parent(name),
        "cutouts": paths.manifest("cutouts", name),
        "scores": paths.scores(name),
        "mosaics": paths.manifest("mosaics", name),
    }
    entries = {
        stage: read_manifest(paths.manifest(stage, name))
        for stage, path in outputs.items()
        if stage != "scores" and path.exists()
    }
    for stage, manifest in entries.items():
        chunk.stages[stage] = Counter(entry["status"] for entry in manifest.values())
        chunk.stages[stage]["galaxies"] = sum(entry["count"] for entry in manifest.values())
        for brick, entry in manifest.items():
            if entry["status"] == "failed":
                chunk.failed.setdefault(
                    brick, (stage, entry["reason"], entry.get("transient", False))
                )
            elif bands := entry.get("missing_bands"):
                chunk.missing_bands[brick] = bands
    if "cutouts" not in entries and paths.log("cutouts", name).exists():
        galaxies = entries.get("parent", {})
        for brick in bricks:
            folder = paths.cutouts(brick).parent
            if folder not in listings:
                listings[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
            if paths.cutouts(brick).name in listings[folder]:
                chunk.in_progress["done"] += 1
                chunk.in_progress["galaxies"] += galaxies.get(brick, {}).get("count", 0)
    if "cutouts" in chunk.stages and outputs["scores"].exists():
        chunk.stages["scores"] = chunk.stages["cutouts"]
    return chunk


def read_status(
    settings: Settings,
    chunks: Mapping[str, Chunk] | None = None,
    configs: Sequence[str | Path] = ("CONFIG",),
    now: float | None = None,
) -> dict[str, Any]:
    """Return the progress of a run.

    Only small files below the run's folder are read: plan, manifests, benchmarks, ends of logs. It
    is the object printed by ``lenspipe status --json``; see docs/outputs.md. The configuration
    files are for the suggested commands; none for Snakemake's default.
    """
    now = time.time() if now is None else now
    paths = settings.paths
    chunks = read_chunks(paths) if chunks is None else chunks
    jobs = _Jobs(paths)
    options = ["--configfile", *map(str, configs)] if configs else []
    command = shlex.join(["snakemake", "--cores", "N", *options])
    status: dict[str, Any] = {
        "run": settings.run,
        "state": jobs.state(now, paths.summary) if chunks else "not begun",
        "last_write_s": None if jobs.last is None else round(max(now - jobs.last, 0.0), 1),
        "chunks": len(chunks),
        "bricks": sum(len(chunk.bricks) for chunk in chunks.values()),
    }
    stages = [s for s in STAGES if s != "mosaics" or settings.mosaics.per_brick]
    status["stages"] = {stage: _count_stage(paths, stage, chunks) for stage in stages}
    status |= _time_left(status["stages"])
    failed = {brick: entry for chunk in chunks.values() for brick, entry in chunk.failed.items()}
    status["failed"] = _group_failures(failed)
    cutouts = [chunk.stages["cutouts"] for chunk in chunks.values() if "cutouts" in chunk.stages]
    missing = [bands for chunk in chunks.values() for bands in chunk.missing_bands.values()]
    status["skipped"] = {
        "empty": sum(counts["empty"] for counts in cutouts),
        "lacking_bands": dict(sorted(Counter(missing).items())),
    }
    status["failed_jobs"] = jobs.failed()
    status["at_work"] = jobs.at_work(now) if status["state"] == "running" else []
    status["go_on"] = command if status["state"] != "done" else None
    transient = [transient for _, _, transient in failed.values()]
    retries_transient = any(transient) and settings.failures.retry != "none"
    status["retry_transient"] = command if retries_transient else None
    status["retry_all"] = f"{command} --config 'failures={{retry: all}}'" if failed else None
    return status


def _count_stage(paths: RunPaths, stage: str, chunks: Mapping[str, Chunk]) -> dict[str, Any]:
    """Sum the counts of a stage, and measure its speed."""
    counts: Counter[str] = Counter()
    left = 0
    finished = {
        name: chunk.stages[stage] for name, chunk in chunks.items() if stage in chunk.stages
    }
    for name, chunk in chunks.items():
        if name in finished:
            counts += finished[name]
        else:
            in_progress = chunk.in_progress if stage == "cutouts" else Counter()
            counts += in_progress
            left += len(chunk.bricks) - in_progress["done"]
    return {
        "chunks_done": len(finished),
        **{status: counts[status] for status in ("done", "empty", "failed")},
        "to_do": left,
        "galaxies": counts["galaxies"],
        **_measure_speed(paths, STAGES[stage], finished),
    }


def _measure_speed(
    paths: RunPaths, rule: str, finished: Mapping[str, Counter[str]]
) -> dict[str, Any]:
    """Bricks and galaxies per second of a rule, over the chunks that were finished last.

    Time in which no job of any rule ran does not count: the run was stopped then.
    """
    unknown = {"bricks_per_s": None, "galaxies_per_s": None, "measured_on_chunks": 0}
    ends = sorted(
        (path.stat().st_mtime, path.stem)
        for path in paths.benchmark(rule).parent.glob("*.tsv")
        if path.stem in finished
    )
    if not ends:
        return unknown
    last = ends[-1][0]
    recent = max(sum(end > last - _RECENT_S for end, _ in ends), _MIN_RECENT_CHUNKS)
    before, window = ends[:-recent], ends[-recent:]
    jobs = read_benchmarks(paths.root / "benchmarks", since=before[-1][0] if before else 0.0)
    if before:
        first = before[-1][0]
    else:
        first = read_benchmarks(paths.benchmark(rule).parent)["start"].min()
    start, end = jobs["start"].clip(first, last), jobs["end"].clip(first, last)
    seconds = union_length(start, end, LONGEST_GAP_S)
    if seconds <= 0:
        return unknown
    counts = sum((finished[name] for _, name in window), Counter())
    bricks = sum(counts[status] for status in ("done", "empty", "failed"))
    return {
        "bricks_per_s": bricks / seconds,
        "galaxies_per_s": counts["galaxies"] / seconds,
        "measured_on_chunks": len(window),
    }


def _time_left(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Time that the slowest stage still takes; stages run in parallel."""
    left = {name: stage for name, stage in stages.items() if stage["to_do"]}
    times = {n: s["to_do"] / s["bricks_per_s"] for n, s in left.items() if s["bricks_per_s"]}
    slowest = max(times, key=times.__getitem__, default=None)
    return {
        "time_left_s": round(times[slowest], 1) if slowest else None if left else 0.0,
        "slowest": slowest,
        "speed_not_known": [name for name in left if name not in times],
    }


def _group_failures(failed: _Failures) -> list[dict[str, Any]]:
    """Group failed bricks by stage and reason, in which brick names are replaced."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for brick, (stage, reason, transient) in sorted(failed.items()):
        general = _FOLDER.sub("/<AAA>/", _BRICK.sub("<brick>", reason))
        groups.setdefault((stage, general, transient), []).append(brick)
    return [
        {
            "stage": stage,
            "reason": reason,
            "transient": transient,
            "n_bricks": len(bricks),
            "first_bricks": bricks[:5],
        }
        for (stage, reason, transient), bricks in sorted(groups.items(), key=lambda g: -len(g[1]))
    ]


class _Jobs:
    """Jobs that have begun, from their logs.

    Snakemake writes a job's benchmark when it succeeds. A job whose log is newer than its
    benchmark is running, or was killed, or failed.
    """

    def __init__(self, paths: RunPaths) -> None:
        logs, ends = _times(paths.root / "logs"), _times(paths.root / "benchmarks")
        self.last = max([*logs.values(), *ends.values()], default=None)
        if paths.summary.exists():
            # This job has no benchmark, and writes its log a moment longer.
            ends["summary", "all"] = paths.summary.stat().st_mtime + _QUIET_S
        self._open = {
            job: (last, paths.log(*job))
            for job, last in logs.items()
            if last > ends.get(job, 0.0) + 1
        }

    def state(self, now: float, summary: Path) -> str:
        """Return ``not begun``, ``running``, ``stopped`` or ``done``."""
        if self.last is None:
            return "not begun"
        # Further files may be requested after the run was done.
        if summary.exists():
            since = summary.stat().st_mtime
            recent = [last for last, _ in self._open.values() if last > since]
            return "running" if any(now - last < _QUIET_S for last in recent) else "done"
        return "running" if now - self.last < _QUIET_S else "stopped"

    def failed(self) -> list[dict[str, Any]]:
        """List jobs whose log ends in errors."""
        jobs = []
        for (rule, name), (_, path) in sorted(self._open.items()):
            if errors := _ERROR.findall(_tail(path)):
                jobs.append({"rule": rule, "name": name, "errors": errors})
        return jobs

    def at_work(self, now: float) -> list[dict[str, str]]:
        """List the last lines of jobs that have written recently, the latest first."""
        jobs = []
        for (rule, name), (last, path) in sorted(self._open.items(), key=lambda job: -job[1][0]):
            lines = _tail(path).splitlines()
            if now - last < _QUIET_S and lines and not _ERROR.search(lines[-1]):
                jobs.append({"rule": rule, "name": name, "line": lines[-1]})
        return jobs


def _times(folder: Path) -> dict[tuple[str, str], float]:
    """Return (rule, name) -> time of the file, below ``logs`` or ``benchmarks``."""
    times = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            times[path.parent.name, path.stem] = path.stat().st_mtime
    return times


def _tail(path: Path) -> str:
    with open(path, "rb") as handle:
        handle.seek(0, os.SEEK_END)
        handle.seek(max(handle.tell() - _TAIL, 0))
        return handle.read().decode(errors="replace")
