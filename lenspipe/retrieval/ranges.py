"""Which bytes to ask for in how many requests: runs of bytes, and what they cost."""

from dataclasses import dataclass

import numpy as np

__all__ = ["MOST_RANGES", "MOST_REQUESTS", "Link", "merge", "missing", "plan"]

#: Ranges in one request; Apache answers more than 200 with the whole file (its ``MaxRanges``).
MOST_RANGES = 180

#: Requests for one file where a server knows single ranges only.
MOST_REQUESTS = 16

#: What a part of a multipart answer costs besides its bytes.
PART_BYTES = 120


@dataclass
class Link:
    """What a request costs on the way to a server.

    Attributes
    ----------
    latency_s : float
        From asking to the first byte, seconds.
    bytes_per_s : float
        Of one connection.
    """

    latency_s: float = 0.1
    bytes_per_s: float = 1e7

    def seconds(self, requests):
        """Time that requests take, one after the other.

        Parameters
        ----------
        requests : list of list of tuple
            Ranges (start, stop) of each.

        Returns
        -------
        float
        """
        parts = [stop - start for ranges in requests for start, stop in ranges]
        body = sum(parts) + PART_BYTES * len(parts)
        return len(requests) * self.latency_s + body / self.bytes_per_s


def merge(runs, number=None, gap=0):
    """Join runs over the smallest gaps between them.

    Parameters
    ----------
    runs : iterable of tuple of int
        (start, stop); may overlap.
    number : int, optional
        Most runs that may be left.
    gap : int
        Gaps up to this are always joined, bytes.

    Returns
    -------
    list of tuple of int
        Sorted and disjoint.
    """
    runs = np.array(sorted(runs), np.int64).reshape(-1, 2)
    if not len(runs):
        return []
    stops = np.maximum.accumulate(runs[:, 1])
    gaps = runs[1:, 0] - stops[:-1]
    kept = gaps > gap
    if number is not None and kept.sum() >= number:
        largest = np.argsort(gaps, kind="stable")[len(gaps) - (number - 1) :]
        kept = np.zeros(len(gaps), bool)
        kept[largest] = True
    first = np.concatenate([[True], kept])
    last = np.concatenate([kept, [True]])
    return list(zip(runs[first, 0].tolist(), stops[last].tolist(), strict=True))


def missing(runs, received):
    """Return what of some runs has not been received.

    Parameters
    ----------
    runs, received : iterable of tuple of int
        (start, stop).

    Returns
    -------
    list of tuple of int
        Sorted and disjoint.
    """
    left = []
    received = merge(received)
    for start, stop in merge(runs):
        for begin, end in received:
            if begin < stop and end > start:
                if begin > start:
                    left.append((start, begin))
                start = max(start, end)
        if start < stop:
            left.append((start, stop))
    return left


def plan(runs, several, most_ranges, link):
    """Choose the cheapest requests for some runs of bytes.

    Parameters
    ----------
    runs : iterable of tuple of int
        (start, stop).
    several : bool
        Whether the server answers a request for several ranges.
    most_ranges : int
        How many it takes in a request.
    link : Link

    Returns
    -------
    list of list of tuple of int
        The ranges of each request; with what lies between runs where that is cheaper than to leave
        it out.
    """
    runs = merge(runs, gap=PART_BYTES)
    if several:
        options = range(1, -(-len(runs) // most_ranges) + 1)
        plans = [_deal(merge(runs, number * most_ranges), most_ranges) for number in options]
    else:
        options = range(1, min(len(runs), MOST_REQUESTS) + 1)
        plans = [_deal(merge(runs, number), 1) for number in options]
    return min(plans, key=link.seconds, default=[])


def _deal(runs, number):
    return [runs[start : start + number] for start in range(0, len(runs), number)]
