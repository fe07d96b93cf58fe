"""Which ranges of bytes to request in how many requests, and how long the requests take."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "MAX_RANGES",
    "MAX_REQUESTS",
    "PART_BYTES",
    "Link",
    "Ranges",
    "merge",
    "missing",
    "plan",
]

#: Ranges of bytes, (start, stop).
Ranges = list[tuple[int, int]]

#: Ranges in one request; Apache answers more than 200 with the whole file (its ``MaxRanges``).
MAX_RANGES = 180

#: Requests for one file from a server that supports single ranges only.
MAX_REQUESTS = 16

#: Bytes of a part of a multipart answer besides its content.
PART_BYTES = 120


@dataclass
class Link:
    """Speed of the connections to a server.

    Attributes
    ----------
    latency_s
        From the request to the first byte, seconds.
    bytes_per_s
        Of one connection.
    """

    latency_s: float = 0.1
    bytes_per_s: float = 1e7

    def seconds(self, requests: list[Ranges]) -> float:
        """Return the time that requests, each for some ranges, take one after the other."""
        lengths = [stop - start for ranges in requests for start, stop in ranges]
        body = sum(lengths) + PART_BYTES * len(lengths)
        return len(requests) * self.latency_s + body / self.bytes_per_s


def merge(ranges: Iterable[tuple[int, int]], number: int | None = None, gap: int = 0) -> Ranges:
    """Join ranges over the smallest gaps between them.

    Parameters
    ----------
    ranges
        May overlap.
    number
        Maximum number of ranges that may remain.
    gap
        Gaps up to this are always joined, bytes.

    Returns
    -------
    list of tuple of int
        Sorted and disjoint.
    """
    edges = np.array(sorted(ranges), np.int64).reshape(-1, 2)
    if not len(edges):
        return []
    stops = np.maximum.accumulate(edges[:, 1])
    gaps = edges[1:, 0] - stops[:-1]
    is_cut = gaps > gap
    if number is not None and is_cut.sum() >= number:
        largest = np.argsort(gaps, kind="stable")[len(gaps) - (number - 1) :]
        is_cut = np.zeros(len(gaps), bool)
        is_cut[largest] = True
    first = np.concatenate([[True], is_cut])
    last = np.concatenate([is_cut, [True]])
    return list(zip(edges[first, 0].tolist(), stops[last].tolist(), strict=True))


def missing(ranges: Iterable[tuple[int, int]], received: Iterable[tuple[int, int]]) -> Ranges:
    """Return the parts of ranges that have not been received, sorted and disjoint."""
    left = []
    received = merge(received)
    for start, stop in merge(ranges):
        for begin, end in received:
            if begin < stop and end > start:
                if begin > start:
                    left.append((start, begin))
                start = max(start, end)
        if start < stop:
            left.append((start, stop))
    return left


def plan(
    ranges: Iterable[tuple[int, int]], several: bool, most_ranges: int, link: Link
) -> list[Ranges]:
    """Choose the fastest requests for ranges of bytes.

    Parameters
    ----------
    several
        Whether the server answers a request for several ranges.
    most_ranges
        How many it accepts in a request.

    Returns
    -------
    list of list of tuple of int
        The ranges of each request; they include gaps that take less time to transfer than to skip.
    """
    ranges = merge(ranges, gap=PART_BYTES)
    if several:
        options = range(1, -(-len(ranges) // most_ranges) + 1)
        plans = [_split(merge(ranges, number * most_ranges), most_ranges) for number in options]
    else:
        options = range(1, min(len(ranges), MAX_REQUESTS) + 1)
        plans = [_split(merge(ranges, number), 1) for number in options]
    return min(plans, key=link.seconds, default=[])


def _split(ranges: Ranges, number: int) -> list[Ranges]:
    return [ranges[start : start + number] for start in range(0, len(ranges), number)]
