"""Log and progress lines, and the end of processes whose parent has gone."""

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from lenspipe.utils.addresses import without_credentials

__all__ = ["configure_logging", "end_with", "log", "track"]

T = TypeVar("T")

#: The package's logger.
log = logging.getLogger("lenspipe")


def _remove_credentials(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_credentials(record.getMessage()), ()
    return True


log.addFilter(_remove_credentials)


class _LogFile(io.TextIOBase):
    """A file for tqdm that turns each refresh of the bar into a line of the log."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            log.info(line)
        return len(text)


def track(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    seconds: float = 10,
    status: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Iterate with a line in the log at the first item and then at most every few seconds.

    Parameters
    ----------
    description
        Start of each line.
    total
        Number of items; ``len(items)`` if not given.
    seconds
        Minimum time between two lines.
    status
        Returns the end of each line.
    """
    bar = tqdm(
        items,
        desc=description,
        total=total,
        file=_LogFile(),
        mininterval=seconds,
        maxinterval=seconds,
        ascii=True,
        bar_format="{desc}: {n_fmt}/{total_fmt} in {elapsed}, {remaining} left{postfix}",
    )
    for item in bar:
        yield item
        if status:
            bar.set_postfix_str(status(), refresh=False)


def configure_logging(path: str | os.PathLike[str] | None = None) -> None:
    """Send the package's log to standard error and, if a path is given, to that new file."""
    log.setLevel(logging.INFO)
    log.handlers.clear()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def end_with(pid: int) -> None:
    """End this process soon after process `pid` has ended, even if that was killed with -9."""
    threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def _watch(pid: int) -> None:
    while True:
        time.sleep(1)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            os._exit(1)
