"""Flags of a cutout: its defects, and which of them reject it."""

import enum
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["BAD_FLAGS", "FLAGS", "MEANINGS", "flag_note", "has_rejected_flag"]


class FLAGS(enum.IntFlag):
    """Defects of a cutout; `MEANINGS` describes them."""

    MISSING_BAND = 1
    EDGE = 2
    MASKED = 4
    NONFINITE = 8
    NO_EXPOSURE = 16


#: Flag -> its meaning; `lenspipe.cutouts.stamps.flag_stamps` sets them.
MEANINGS = {
    FLAGS.MISSING_BAND: "a band has no coadd in this brick; its pixels are NaN",
    FLAGS.EDGE: "the stamp extends beyond the edge of the coadd; pixels beyond are NaN",
    FLAGS.MASKED: "a larger fraction of it is masked than `cutouts.max_masked_fraction`",
    FLAGS.NONFINITE: "a pixel that should have a value is NaN or infinite",
    FLAGS.NO_EXPOSURE: "the central pixel has no exposure in a band for which the brick has a "
    "coadd",
}

#: Flags that keep a cutout out of the labelled sample; a masked fraction does not.
BAD_FLAGS = FLAGS.MISSING_BAND | FLAGS.EDGE | FLAGS.NONFINITE | FLAGS.NO_EXPOSURE


def flag_note(flags: int) -> str:
    """Describe bits of `FLAGS` in words, such as ``missing band, edge``."""
    return ", ".join(
        str(flag.name).lower().replace("_", " ") for flag in FLAGS if int(flags) & flag
    )


def has_rejected_flag(flags: ArrayLike, reject_flags: Iterable[str]) -> np.ndarray:
    """Whether each cutout has one of some flags, such as those of ``candidates.reject_flags``."""
    mask = sum(int(FLAGS[name]) for name in set(reject_flags))
    return (np.asarray(flags, dtype=np.int64) & mask) != 0
