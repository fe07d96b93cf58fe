"""What a person sees while a step works, and how a workflow's script is run."""

import io
import logging
import os
import sys
import threading
import time
from pathlib import Path

from tqdm import tqdm

__all__ = ["configure_logging", "end_with", "log", "track"]

#: The package's logger.
log = logging.getLogger("lenspipe")


class _Lines(io.TextIOBase):
    """A file for tqdm that turns each refresh of the bar into a line of the log."""

    def write(self, text):
        if line := text.strip("\r\n "):
            log.info(line)
        return len(text)


def track(items, description, total=None, seconds=10, status=None):
    """Iterate with a line in the log at the first item and then at most every few seconds.

    Parameters
    ----------
    items : iterable
        What to go through.
    description : str
        What is being done.
    total : int, optional
        How many items; asked of `items` if not given.
    seconds : float
        Least time between two lines.
    status : callable, optional
        Returns what else a line says.

    Returns
    -------
    iterator
        Over the same items.
    """
    bar = tqdm(
        items,
        desc=description,
        total=total,
        file=_Lines(),
        mininterval=seconds,
        maxinterval=seconds,
        ascii=True,
        bar_format="{desc}: {n_fmt}/{total_fmt} in {elapsed}, {remaining} left{postfix}",
    )
    for item in bar:
        yield item
        if status:
            bar.set_postfix_str(status(), refresh=False)


def configure_logging(path=None):
    """Send the package's log to standard error and, if a path is given, to that file.

    Parameters
    ----------
    path : str or path-like, optional
        Log file, written anew.
    """
    log.setLevel(logging.INFO)
    log.handlers.clear()
    handlers = [logging.StreamHandler(sys.stderr)]
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def end_with(pid):
    """End this process soon after another one has gone, even if that was killed with -9.

    Parameters
    ----------
    pid : int
        The other process.
    """
    threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def _watch(pid):
    while True:
        time.sleep(1)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            os._exit(1)
