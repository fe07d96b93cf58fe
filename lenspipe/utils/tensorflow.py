"""TensorFlow and Keras, imported in one place: quietly, and with the backend lenspipe needs.

Messages that TensorFlow's libraries print while they load (such as missing accelerators) go to the
log at level DEBUG. Set ``TF_CPP_MIN_LOG_LEVEL=0`` to see them, and all later messages, on standard
error.
"""

import contextlib
import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

from lenspipe.utils.progress import log

__all__ = ["as_if_missing", "gpus", "keras", "tf"]


@contextlib.contextmanager
def _quiet_standard_error() -> Iterator[None]:
    """Capture the output of C++ libraries to file descriptor 2; show it if the import fails."""
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(standard_error, messages.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
        messages.seek(0)
        log.debug(messages.read().decode(errors="replace"))


@contextlib.contextmanager
def as_if_missing(*names: str) -> Iterator[None]:
    """Make modules appear not installed to an import, unless they have been imported before."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


os.environ["KERAS_BACKEND"] = "tensorflow"  # the records and the saved models need it

_verbose = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0"

# Keras imports both, if installed, for its image galleries and wrappers, which lenspipe does not
# use: a fifth of the time of the import.
_without_extras = as_if_missing("matplotlib.pyplot", "sklearn")

# The garbage collector need not traverse half a million objects that stay until the end: a fifth
# of the remaining time, and a fraction of all later work.
_gc_was_enabled = gc.isenabled()

gc.disable()

with contextlib.nullcontext() if _verbose else _quiet_standard_error(), _without_extras:
    import keras
    import tensorflow as tf

    #: GPUs that TensorFlow can use.
    gpus = tf.config.list_physical_devices("GPU")
    for _gpu in gpus:
        # Otherwise each process takes all memory of all GPUs.
        tf.config.experimental.set_memory_growth(_gpu, True)

gc.freeze()

if _gc_was_enabled:
    gc.enable()

# glibc returns a freed batch to the system, which then clears the same memory for the next one:
# a third of the time of reading records. Instead blocks of up to 64 MB are kept, at most 512 MB of
# them. -3 and -1 are M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h.
_libc = ctypes.CDLL(None)

if hasattr(_libc, "mallopt"):
    _libc.mallopt(-3, 64 << 20)
    _libc.mallopt(-1, 512 << 20)
