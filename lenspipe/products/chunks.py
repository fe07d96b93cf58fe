"""Going through a chunk's bricks: what fails for one keeps no other from being tried."""

import concurrent.futures
import functools
import itertools
from collections import deque

from lenspipe.utils.errors import DiskFullError, LenspipeError, RetrievalError
from lenspipe.utils.progress import track

__all__ = ["try_bricks"]

#: After so many bricks in a row that a server did not give, though it might later, it is down.
_IN_A_ROW = 5


def try_bricks(bricks, work, description, threads=1, status=None):
    """Do a piece of work for each brick.

    Parameters
    ----------
    bricks : list of tuple
        (brick, region).
    work : function
        Called as ``work(brick, region)``; by several threads at a time if there are more than one.
    description : str
        What is being done, for the log.
    threads : int
        How many bricks are begun ahead, for work that waits for a server most of the time.
    status : callable, optional
        As of `lenspipe.utils.progress.track`.

    Returns
    -------
    results : dict
        Brick -> what the work returned, in the order of `bricks`.
    failures : dict
        Brick -> the `LenspipeError` that the work raised. After five `RetrievalError`s in a row
        that may pass the remaining bricks are not tried: theirs says so, and may pass.

    Raises
    ------
    DiskFullError
        There is no space left; nothing else is begun.
    """
    results, failures, in_a_row = {}, {}, 0
    outcomes = _ahead(bricks, work, threads)
    for brick, outcome in track(outcomes, description, len(bricks), status=status):
        try:
            results[brick] = outcome()
            in_a_row = 0
        except DiskFullError:
            outcomes.close()
            raise
        except LenspipeError as error:
            failures[brick] = error
            in_a_row = in_a_row + 1 if getattr(error, "transient", False) else 0
            if in_a_row == _IN_A_ROW:
                outcomes.close()
                reason = f"not tried: {_IN_A_ROW} bricks in a row failed, the last with {error}"
                left = [name for name, _ in bricks if name not in {**results, **failures}]
                failures |= {name: RetrievalError(reason, transient=True) for name in left}
                break
    return results, failures


def _ahead(bricks, work, threads):
    """Yield each brick with what gives its result; several are begun early."""
    if threads == 1:
        for brick, region in bricks:
            yield brick, functools.partial(work, brick, region)
        return
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    begun, rest = deque(), iter(bricks)
    try:
        while True:
            for brick, region in itertools.islice(rest, 2 * threads - len(begun)):
                begun.append((brick, pool.submit(work, brick, region)))
            if not begun:
                return
            brick, future = begun.popleft()
            yield brick, future.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
