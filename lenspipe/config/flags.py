"""Flags of a cutout: what can be wrong with it, and which cutouts are rejected."""

import enum

import numpy as np

__all__ = ["FLAGS", "flag_note", "rejected"]


class FLAGS(enum.IntFlag):
    """What is wrong with a cutout."""

    #: A configured band has no coadd in this brick; its pixels are NaN.
    MISSING_BAND = 1
    #: The stamp reaches over the edge of the coadd; pixels beyond are NaN.
    EDGE = 2
    #: More of it is masked than cutouts.max_masked_fraction (see `flag_stamps`).
    MASKED = 4
    #: A pixel that should have a value is NaN or infinite.
    NONFINITE = 8
    #: The central pixel has no exposure in a band that the brick has.
    NO_EXPOSURE = 16


#: What keeps a cutout out of the sample; a masked part does not.
BAD_FLAGS = FLAGS.MISSING_BAND | FLAGS.EDGE | FLAGS.NONFINITE | FLAGS.NO_EXPOSURE


def flag_note(flags):
    """Say what is wrong with a cutout.

    Parameters
    ----------
    flags : int
        Bits of `FLAGS`.

    Returns
    -------
    str
        Such as ``missing band, edge``; empty if nothing is.
    """
    return ", ".join(flag.name.lower().replace("_", " ") for flag in FLAGS if int(flags) & flag)


def rejected(flags, settings):
    """Which cutouts have a flag of ``candidates.reject_flags``.

    Parameters
    ----------
    flags : array_like of int, shape (N,)
        As in the cutout files.
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    numpy.ndarray of bool, shape (N,)
    """
    mask = sum(int(FLAGS[name]) for name in set(settings.candidates.reject_flags))
    return (np.asarray(flags, dtype=np.int64) & mask) != 0
