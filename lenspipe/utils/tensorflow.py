"""TensorFlow and Keras, imported in one place: quietly, and with the backend lenspipe is made for.

What TensorFlow's libraries print while they load (which accelerators they did not find, and the
like) goes to the log at level DEBUG. Set ``TF_CPP_MIN_LOG_LEVEL=0`` to see it, and all later
messages, on standard error.
"""

import contextlib
import ctypes
import gc
import os
import sys
import tempfile

from lenspipe.utils.progress import log

__all__ = ["as_if_missing", "gpus", "keras", "tf"]


@contextlib.contextmanager
def _quiet_standard_error():
    """Keep back what C++ libraries write to file descriptor 2; show it only if the import fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(kept, messages.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        messages.seek(0)
        log.debug(messages.read().decode(errors="replace"))


@contextlib.contextmanager
def as_if_missing(*names):
    """Let an import find that these are not installed, unless they have been imported before."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


os.environ["KERAS_BACKEND"] = "tensorflow"  # the records and the saved models need it

_talkative = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0"

# Keras imports both where they are installed, for its galleries of images and its wrappers, which
# nothing here uses: a fifth of the time that the import takes.
_lean = as_if_missing("matplotlib.pyplot", "sklearn")
# Nor need the garbage collector go through half a million objects that stay until the end: a fifth
# of what is left of that time, and a part of whatever comes after.
_collects = gc.isenabled()

gc.disable()

with contextlib.nullcontext() if _talkative else _quiet_standard_error(), _lean:
    import keras
    import tensorflow as tf

    #: GPUs that TensorFlow can use.
    gpus = tf.config.list_physical_devices("GPU")
    for _gpu in gpus:
        # Otherwise each process takes all memory of all GPUs.
        tf.config.experimental.set_memory_growth(_gpu, True)

gc.freeze()

if _collects:
    gc.enable()

# glibc gives a freed batch back to the system, which then clears the same memory for the next one:
# a third of the time of reading records. Blocks up to 64 MB are kept instead, 512 MB of them at
# most. -3 and -1 are M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h.
_libc = ctypes.CDLL(None)

if hasattr(_libc, "mallopt"):
    _libc.mallopt(-3, 64 << 20)
    _libc.mallopt(-1, 512 << 20)
