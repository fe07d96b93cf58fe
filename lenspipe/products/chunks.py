"""Work on all bricks of a chunk, where the failure of one brick does not affect the others."""

import concurrent.futures
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from lenspipe.utils.errors import DiskFullError, LenspipeError, RetrievalError
from lenspipe.utils.progress import track

__all__ = ["try_bricks"]

#: After so many transient failures in a row the server is taken to be down.
_IN_A_ROW = 5


def try_bricks(
    bricks: Sequence[tuple[Any, Any]],
    work: Callable[[Any, Any], Any],
    description: str,
    threads: int = 1,
    status: Callable[[], str] | None = None,
) -> tuple[dict[Any, Any], dict[Any, LenspipeError]]:
    """Do some work for each brick.

    Parameters
    ----------
    bricks
        Pairs (brick, region).
    work
        Called as ``work(brick, region)``; by several threads at a time if there are more than one.
    description
        Of the work, for the log.
    threads
        Number of bricks that are started ahead, for work that mostly waits for a server.
    status
        As in `lenspipe.utils.progress.track`.

    Returns
    -------
    results
        Brick -> result of the work, in the order of `bricks`.
    failures
        Brick -> the error that the work raised. After five transient errors in a row the
        remaining bricks are not tried: their errors say so and are transient.

    Raises
    ------
    DiskFullError
        There is no space left; no further brick is started.
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


def _ahead(
    bricks: Sequence[tuple[Any, Any]], work: Callable[[Any, Any], Any], threads: int
) -> Generator[tuple[Any, Callable[[], Any]], None, None]:
    """Yield each brick with a function that returns its result; several are started early."""
    if threads == 1:
        for brick, region in bricks:
            yield brick, functools.partial(work, brick, region)
        return
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    started: deque[tuple[str, concurrent.futures.Future[Any]]] = deque()
    rest = iter(bricks)
    try:
        while True:
            for brick, region in itertools.islice(rest, 2 * threads - len(started)):
                started.append((brick, pool.submit(work, brick, region)))
            if not started:
                return
            brick, future = started.popleft()
            yield brick, future.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
