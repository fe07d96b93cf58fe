"""Processes that run `lenspipe`, forked from one that has imported TensorFlow.

A new Python needs seconds to import what a training of the tests does in one. The process from
which all are forked has used none of it, so that each begins as a new one would.
"""

import functools
import multiprocessing
import os
import signal
import sys
import tempfile


@functools.cache
def context():
    """How processes are started, by `multiprocessing`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lenspipe.cli.main", "lenspipe.training.fitting"])
    return context


def _run(arguments, before, folder, environment, stderr):
    """Run the command in this process, which has just been forked."""
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.chdir(folder)
    exec(before, {})
    from lenspipe.cli.main import main

    sys.exit(main(arguments))


class Forked:
    """A process that runs the command `lenspipe`, and what it writes to standard error."""

    def __init__(self, folder, *arguments, before="", **environment):
        descriptor, self._path = tempfile.mkstemp(dir=folder, suffix=".stderr")
        os.close(descriptor)
        self._process = context().Process(
            target=_run, args=(arguments, before, str(folder), environment, self._path)
        )
        self._process.start()

    def output(self):
        with open(self._path) as file:
            return file.read()

    def kill(self):
        self._process.kill()

    def wait(self, seconds):
        """Wait for the end; exit status, negative if a signal ended it."""
        self._process.join(seconds)
        return self._process.exitcode
