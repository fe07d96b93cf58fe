"""How far a run is, told from the files that it has left so far."""

import os
import re
import shlex
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lenspipe.products.manifests import read_manifest
from lenspipe.products.plan import Plan
from lenspipe.status.job_times import LONGEST_GAP_S, read_benchmarks, union_length

__all__ = ["STAGES", "Chunk", "read_chunks", "read_status"]

#: Stages that go chunk by chunk, and the rule of each.
STAGES = {"parent": "parent", "cutouts": "cutouts", "scores": "scores", "mosaics": "chunk_mosaics"}

#: A run that has written nothing for longer than this has stopped, seconds.
_QUIET_S = 600

#: Speed is that of the chunks done within so many seconds of the last, and of so many at least.
_RECENT_S, _RECENT_CHUNKS = 3600, 10

#: So much of a log's end is read, bytes.
_TAIL = 8192

_ERROR = re.compile(r"lenspipe: error: (.*)")

_BRICK = re.compile(r"\b\d{4}[pm]\d{3}\b")

_FOLDER = re.compile(r"/\d{3}/(?=[^/\s]*<brick>)")


@dataclass
class Chunk:
    """What has been done in a chunk.

    Attributes
    ----------
    bricks : list of str
        Its bricks, as planned.
    stages : dict
        Stage -> counts of the bricks by status (done, empty, failed) and ``galaxies``; only stages
        that are done.
    under_way : collections.Counter
        The same of cutouts that are there though the chunk isn't done: ``done``, ``galaxies``.
    failed : dict
        Brick -> (stage, reason, transient).
    lacking : dict
        Brick -> bands that it lacks.
    """

    bricks: list
    stages: dict = field(default_factory=dict)
    under_way: Counter = field(default_factory=Counter)
    failed: dict = field(default_factory=dict)
    lacking: dict = field(default_factory=dict)


def read_chunks(settings):
    """Read what each chunk's manifests say.

    Scores have no manifest: a chunk that has them has scored whatever was cut out.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        Chunk -> `Chunk`; empty where the run is not even planned.
    """
    plan, listed = Plan.read(settings.paths.plan), {}
    return {
        name: _read_chunk(settings.paths, name, [entry["brick"] for entry in bricks], listed)
        for name, bricks in (plan or {}).items()
    }


def _read_chunk(paths, name, bricks, listed):
    """Read a chunk; `listed` holds the folders of cutouts that have been looked into."""
    chunk = Chunk(bricks)
    made = {
        "parent": paths.parent(name),
        "cutouts": paths.manifest("cutouts", name),
        "scores": paths.scores(name),
        "mosaics": paths.manifest("mosaics", name),
    }
    entries = {
        stage: read_manifest(paths.manifest(stage, name))
        for stage, path in made.items()
        if stage != "scores" and path.exists()
    }
    for stage, found in entries.items():
        chunk.stages[stage] = Counter(entry["status"] for entry in found.values())
        chunk.stages[stage]["galaxies"] = sum(entry["count"] for entry in found.values())
        for brick, entry in found.items():
            if entry["status"] == "failed":
                chunk.failed.setdefault(
                    brick, (stage, entry["reason"], entry.get("transient", False))
                )
            elif bands := entry.get("missing_bands"):
                chunk.lacking[brick] = bands
    if "cutouts" not in entries and paths.log("cutouts", name).exists():
        galaxies = entries.get("parent", {})
        for brick in bricks:
            folder = paths.cutouts(brick).parent
            if folder not in listed:
                listed[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
            if paths.cutouts(brick).name in listed[folder]:
                chunk.under_way["done"] += 1
                chunk.under_way["galaxies"] += galaxies.get(brick, {}).get("count", 0)
    if "cutouts" in chunk.stages and made["scores"].exists():
        chunk.stages["scores"] = chunk.stages["cutouts"]
    return chunk


def read_status(settings, chunks=None, configs=("CONFIG",), now=None):
    """Tell how far a run is.

    Nothing but small files below the run's folder is read: plan, manifests, benchmarks, ends of
    logs.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chunks : dict, optional
        As `read_chunks` returns.
    configs : sequence of str
        Configuration files, for the commands that are advised; none for Snakemake's own choice.
    now : float, optional
        Seconds since 1970.

    Returns
    -------
    dict
        What ``lenspipe status --json`` prints; see docs/outputs.md.
    """
    now = time.time() if now is None else now
    paths = settings.paths
    chunks = read_chunks(settings) if chunks is None else chunks
    jobs = _Jobs(paths)
    given = ["--configfile", *map(str, configs)] if configs else []
    again = shlex.join(["snakemake", "--cores", "N", *given])
    status = {
        "run": settings.run,
        "state": jobs.state(now, paths.summary) if chunks else "not begun",
        "last_write_s": None if jobs.last is None else round(max(now - jobs.last, 0.0), 1),
        "chunks": len(chunks),
        "bricks": sum(len(chunk.bricks) for chunk in chunks.values()),
    }
    stages = [s for s in STAGES if s != "mosaics" or settings.mosaics.per_brick]
    status["stages"] = {stage: _sum_up(paths, stage, chunks) for stage in stages}
    status |= _time_left(status["stages"])
    failed = {brick: why for chunk in chunks.values() for brick, why in chunk.failed.items()}
    status["failed"] = _group(failed)
    cut = [chunk.stages.get("cutouts", {}) for chunk in chunks.values()]
    lacking = [bands for chunk in chunks.values() for bands in chunk.lacking.values()]
    status["skipped"] = {
        "empty": sum(counts.get("empty", 0) for counts in cut),
        "lacking_bands": dict(sorted(Counter(lacking).items())),
    }
    status["failed_jobs"] = jobs.failed()
    status["at_work"] = jobs.at_work(now) if status["state"] == "running" else []
    status["go_on"] = again if status["state"] != "done" else None
    transient = [transient for _, _, transient in failed.values()]
    asked_again = any(transient) and settings.failures.retry != "none"
    status["retry_transient"] = again if asked_again else None
    status["retry_all"] = f"{again} --config 'failures={{retry: all}}'" if failed else None
    return status


def _sum_up(paths, stage, chunks):
    """Add up a stage's counts, with its speed."""
    counts, left = Counter(), 0
    ready = {name: chunk.stages[stage] for name, chunk in chunks.items() if stage in chunk.stages}
    for name, chunk in chunks.items():
        if name in ready:
            counts += ready[name]
        else:
            part = chunk.under_way if stage == "cutouts" else Counter()
            counts += part
            left += len(chunk.bricks) - part["done"]
    return {
        "chunks_done": len(ready),
        **{status: counts[status] for status in ("done", "empty", "failed")},
        "to_do": left,
        "galaxies": counts["galaxies"],
        **_speed(paths, STAGES[stage], ready),
    }


def _speed(paths, rule, ready):
    """Bricks and galaxies per second of a stage, over the chunks that were done last.

    Time in which no job of any rule ran does not count: it is time in which the run stood still.
    """
    names = {"bricks_per_s": None, "galaxies_per_s": None, "measured_on_chunks": 0}
    ends = sorted(
        (path.stat().st_mtime, path.stem)
        for path in paths.benchmark(rule).parent.glob("*.tsv")
        if path.stem in ready
    )
    if not ends:
        return names
    last = ends[-1][0]
    recent = max(sum(end > last - _RECENT_S for end, _ in ends), _RECENT_CHUNKS)
    before, window = ends[:-recent], ends[-recent:]
    jobs = read_benchmarks(paths.root / "benchmarks", since=before[-1][0] if before else 0.0)
    if before:
        first = before[-1][0]
    else:
        own = read_benchmarks(paths.benchmark(rule).parent)
        first = own["start"].min()
    start, end = jobs["start"].clip(first, last), jobs["end"].clip(first, last)
    seconds = union_length(start, end, LONGEST_GAP_S)
    if seconds <= 0:
        return names
    done = sum((ready[name] for _, name in window), Counter())
    bricks = sum(done[status] for status in ("done", "empty", "failed"))
    return {
        "bricks_per_s": bricks / seconds,
        "galaxies_per_s": done["galaxies"] / seconds,
        "measured_on_chunks": len(window),
    }


def _time_left(stages):
    """Time that the slowest stage still takes; stages go on side by side."""
    left = {name: stage for name, stage in stages.items() if stage["to_do"]}
    times = {n: s["to_do"] / s["bricks_per_s"] for n, s in left.items() if s["bricks_per_s"]}
    slowest = max(times, key=times.get, default=None)
    return {
        "time_left_s": round(times[slowest], 1) if times else None if left else 0.0,
        "slowest": slowest,
        "speed_not_known": [name for name in left if name not in times],
    }


def _group(failed):
    """Group failed bricks by stage and reason, in which a brick's name is put aside."""
    groups = {}
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
    """Jobs that have begun, told from their logs.

    A log that is younger than the job's benchmark, which Snakemake writes when a job ends well,
    is of a job that is at work, or was killed, or failed.
    """

    def __init__(self, paths):
        logs, ends = _times(paths.root / "logs"), _times(paths.root / "benchmarks")
        self.last = max([*logs.values(), *ends.values()], default=None)
        if paths.summary.exists():
            # This job has no benchmark, and goes on writing its log for a moment.
            ends["summary", "all"] = paths.summary.stat().st_mtime + _QUIET_S
        self._open = {
            job: (last, paths.log(*job))
            for job, last in logs.items()
            if last > ends.get(job, 0.0) + 1
        }

    def state(self, now, summary):
        """Say whether the run has begun, is running, has stopped or is done."""
        if self.last is None:
            return "not begun"
        # Something may be asked for after the run was done.
        if summary.exists():
            since = summary.stat().st_mtime
            young = [last for last, _ in self._open.values() if last > since]
            return "running" if any(now - last < _QUIET_S for last in young) else "done"
        return "running" if now - self.last < _QUIET_S else "stopped"

    def failed(self):
        """List jobs whose log ends in errors."""
        found = []
        for (rule, name), (_, path) in sorted(self._open.items()):
            if errors := _ERROR.findall(_tail(path)):
                found.append({"rule": rule, "name": name, "errors": errors})
        return found

    def at_work(self, now):
        """List the last lines of jobs that have written lately, the youngest first."""
        found = []
        for (rule, name), (last, path) in sorted(self._open.items(), key=lambda job: -job[1][0]):
            lines = _tail(path).splitlines()
            if now - last < _QUIET_S and lines and not _ERROR.search(lines[-1]):
                found.append({"rule": rule, "name": name, "line": lines[-1]})
        return found


def _times(folder):
    """Return (rule, name) -> time of the file, below ``logs`` or ``benchmarks``."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            place = Path(path, name)
            found[place.parent.name, place.stem] = place.stat().st_mtime
    return found


def _tail(path):
    """Read the end of a log."""
    with open(path, "rb") as handle:
        handle.seek(0, os.SEEK_END)
        handle.seek(max(handle.tell() - _TAIL, 0))
        return handle.read().decode(errors="replace")
