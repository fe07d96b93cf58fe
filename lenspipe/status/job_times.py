"""Times and memory of jobs, from Snakemake's benchmark files."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lenspipe.utils.errors import LenspipeError

__all__ = ["LONGEST_GAP_S", "peak_sum", "read_benchmarks", "union_length"]

#: A longer gap without jobs means that the run was stopped and started again, seconds.
LONGEST_GAP_S = 60.0

#: Entries of a benchmark where nothing could be measured.
_NO_VALUE = ("-", "NA", "")


def read_benchmarks(folder: Path, since: float = 0.0) -> np.ndarray:
    """Read when each job ran and how much memory it took, from Snakemake's benchmark files.

    The folder is searched recursively; Snakemake writes a file when its job ends, so that the
    file's time is the end of the job. Jobs that ended before `since`, seconds since 1970, are left
    out. A row per job has the fields ``start``, ``end`` (seconds since 1970) and ``rss_mb`` (the
    job's largest resident memory in MB of 2**20 bytes; 0 where it ended before it could be
    measured), float64.

    Raises
    ------
    LenspipeError
        A file is not a benchmark.
    """
    jobs = []
    for path in sorted(folder.glob("**/*.tsv")):
        stat = path.stat()
        end = stat.st_mtime
        # An empty one is about to be written.
        if end < since or stat.st_size == 0:
            continue
        # A large search has thousands of files, and pandas would take ten times as long for each.
        names, *rows = (line.split("\t") for line in path.read_text().splitlines())
        values = [dict(zip(names, row, strict=False)) for row in rows]
        seconds = [float(v["s"]) for v in values if v.get("s", "-") not in _NO_VALUE]
        if not {"s", "max_rss"} <= set(names) or not seconds:
            raise LenspipeError(
                f"{path}: found columns {', '.join(names)}, expected Snakemake's s and "
                "max_rss with a value of s; remove the file"
            )
        rss = [float(v["max_rss"]) for v in values if v["max_rss"] not in _NO_VALUE]
        jobs.append((end - sum(seconds), end, max(rss, default=0.0)))
    return np.array(jobs, [("start", float), ("end", float), ("rss_mb", float)])


def union_length(start: ArrayLike, end: ArrayLike, longest_gap: float = 0.0) -> float:
    """Return the length of the union of intervals, including gaps shorter than `longest_gap`.

    Ends of the intervals have shape (N,); start <= end.
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    if len(start) == 0:
        return 0.0
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    gaps = np.maximum(start[1:] - reach[:-1], 0)
    return float(reach[-1] - start[0] - gaps[gaps >= longest_gap].sum())


def peak_sum(start: ArrayLike, end: ArrayLike, weight: ArrayLike) -> float:
    """Return the maximum sum of the weights of overlapping intervals.

    Intervals are half-open, [start, end), and weights >= 0, shape (N,).
    """
    times, weight = np.concatenate([start, end]), np.asarray(weight, float)
    change = np.concatenate([weight, -weight])
    # At equal times, ends come before starts.
    order = np.lexsort((change, times))
    return float(np.max(np.cumsum(change[order]), initial=0.0))
