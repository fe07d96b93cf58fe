"""Going through a chunk's bricks: what fails for one keeps no other from being tried."""

import concurrent.futures
import contextlib
import functools
import itertools
from collections import Counter, deque

from lenspipe.errors import DiskFullError, LenspipeError, RetrievalError
from lenspipe.paths import is_remote
from lenspipe.progress import log, track

__all__ = ["brick_table", "failed_entries", "failure_in", "fetched", "try_bricks"]

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
        As of `lenspipe.progress.track`.

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
            in_a_row = in_a_row + 1 if getattr(error, "passing", False) else 0
            if in_a_row == _IN_A_ROW:
                outcomes.close()
                reason = f"not tried: {_IN_A_ROW} bricks in a row failed, the last with {error}"
                left = [name for name, _ in bricks if name not in {**results, **failures}]
                failures |= {name: RetrievalError(reason, passing=True) for name in left}
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


@contextlib.contextmanager
def fetched(path):
    """Read a file that `lenspipe.retrieval` made local; if it can't be read, blame its address.

    Parameters
    ----------
    path : str or path-like
        What was asked for.

    Raises
    ------
    RetrievalError
        The block could not read a file that is remote; a later run won't fare better.
    LenspipeError
        It could not read a local file.
    """
    try:
        yield
    except LenspipeError as error:
        if isinstance(error, DiskFullError | RetrievalError) or not is_remote(path):
            raise
        raise RetrievalError(f"{path}: not readable as fetched ({error})", passing=False) from None


def brick_table(settings, bricks):
    """Look up where bricks are.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    bricks : iterable of str

    Returns
    -------
    pandas.DataFrame
        A row for each, in their order: index brick; brickid (int32), ra, dec (degrees).

    Raises
    ------
    LenspipeError
        The run's table of bricks isn't there.
    """
    import pandas as pd

    path = settings.paths.bricks
    if not path.exists():
        raise LenspipeError(f"{path}: no such file; make the table of bricks first")
    table = pd.read_parquet(path, columns=["brick", "brickid", "ra", "dec"])
    return table.set_index("brick").loc[list(bricks)]


def failed_entries(settings, failures):
    """Turn failures into entries of a manifest, and say in the log what is left out.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    failures : dict
        Brick -> `LenspipeError`.

    Returns
    -------
    dict
        Brick -> entry: status ('failed'), count, hash, reason and, where a server did not give
        what the brick needs, passing (bool).

    Raises
    ------
    LenspipeError
        There are failures and ``failures.strict`` is set; a line for each reason.
    """
    first = {str(error): brick for brick, error in reversed(failures.items())}
    problems = []
    for reason, number in Counter(map(str, failures.values())).items():
        more = f" and {number - 1} more" if number > 1 else ""
        problems.append(f"brick {first[reason]}{more}: {reason}")
    if problems and settings.failures.strict:
        advice = "to go on without these bricks set config key failures.strict: false"
        raise LenspipeError("\n".join([*problems, advice]))
    for problem in problems:
        log.info("left out: %s", problem)
    return {
        brick: {"status": "failed", "count": 0, "hash": "", "reason": str(error)}
        | ({"passing": error.passing} if isinstance(error, RetrievalError) else {})
        for brick, error in failures.items()
    }


def failure_in(entry):
    """Turn an entry of a manifest back into the error that it tells of.

    Parameters
    ----------
    entry : dict

    Returns
    -------
    LenspipeError or None
        None if the status is another than 'failed'.
    """
    if entry.get("status") != "failed":
        return None
    if "passing" in entry:
        return RetrievalError(entry["reason"], entry["passing"])
    return LenspipeError(entry["reason"])
