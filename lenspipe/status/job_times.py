"""When jobs ran and what they took, from the files that Snakemake leaves."""

import numpy as np

from lenspipe.utils.errors import LenspipeError

__all__ = ["LONGEST_GAP_S", "peak_sum", "read_benchmarks", "union_length"]

#: A run that stands still for longer than this was stopped and started again, seconds.
LONGEST_GAP_S = 60.0

#: What stands in a benchmark where nothing could be measured.
_NO_VALUE = ("-", "NA", "")


def read_benchmarks(folder, since=0.0):
    """When each job ran and what memory it took, from Snakemake's benchmark files.

    Parameters
    ----------
    folder : str or path-like
        Searched with all that is below it. Snakemake writes a job's file as it ends, so that the
        file's time is the job's end.
    since : float
        Jobs that ended before are left out, seconds since 1970.

    Returns
    -------
    numpy.ndarray, float64
        A row per job with the fields ``start``, ``end`` (seconds since 1970) and ``rss_mb`` (the
        job's largest resident memory in MB of 2**20 bytes; 0 where it ended before it could be
        measured).

    Raises
    ------
    LenspipeError
        A file is no benchmark.
    """
    jobs = []
    for path in sorted(folder.glob("**/*.tsv")):
        stat = path.stat()
        end = stat.st_mtime
        # An empty one is about to be written.
        if end < since or stat.st_size == 0:
            continue
        # A large search has thousands: no pandas, which would take ten times as long for each.
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


def union_length(start, end, longest_gap=0.0):
    """Length of the union of intervals, with short gaps between them filled in.

    Parameters
    ----------
    start, end : array_like, shape (N,)
        Ends of the intervals; start <= end.
    longest_gap : float
        Gaps shorter than this are counted as well.

    Returns
    -------
    float
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    if len(start) == 0:
        return 0.0
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    gaps = np.maximum(start[1:] - reach[:-1], 0)
    return float(reach[-1] - start[0] - gaps[gaps >= longest_gap].sum())


def peak_sum(start, end, weight):
    """Largest sum of the weights of intervals that overlap.

    Parameters
    ----------
    start, end, weight : array_like, shape (N,)
        Intervals, of which the end no longer belongs to them, and weights >= 0.

    Returns
    -------
    float
    """
    times, weight = np.concatenate([start, end]), np.asarray(weight, float)
    change = np.concatenate([weight, -weight])
    # At equal times what ends goes first.
    order = np.lexsort((change, times))
    return float(np.max(np.cumsum(change[order]), initial=0.0))
