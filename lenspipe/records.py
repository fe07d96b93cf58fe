"""Records: cutouts as TFRecord files, each example with the identifiers of its galaxy.

Schema, version 1; one `tf.train.Example` per cutout:

=============================  ======  ==========================================================
feature                        type    content
=============================  ======  ==========================================================
``version``                    int64   of this schema
``shape``                      int64   (B, S, S)
``image``                      bytes   little-endian float32, nanomaggies, in the order of `shape`
``label``                      float   1 lens, 0 none, -1 unknown
``id``, ``brick``,             bytes   as in the parent sample
``region``, ``type``
``release``, ``brickid``,      int64   as in the parent sample; ``flags`` of the cutout
``objid``, ``flags``
``position``                   bytes   little-endian float64 RA, Dec, degrees (a float feature is
                                       single precision: 0.08 arcsec)
``mag``, ``nobs``, ``psfsize`` float   per band, in the order of the image
=============================  ======  ==========================================================
"""

import numpy as np
import pandas as pd
from google.protobuf.message import DecodeError

from lenspipe._tensorflow import tf
from lenspipe.cutouts import read_cutouts
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest
from lenspipe.paths import atomic
from lenspipe.progress import log, track

__all__ = [
    "IDENTIFIERS",
    "VERSION",
    "dataset",
    "records_of_chunk",
    "table_of",
    "write_records",
]

#: Version of the schema, kept in every example.
VERSION = 1

#: Columns that go on from the records into the scores, and their types.
IDENTIFIERS = {
    "id": str,
    "release": "int16",
    "brickid": "int32",
    "objid": "int32",
    "brick": str,
    "region": str,
    "ra": "float64",
    "dec": "float64",
    "flags": "int32",
}

_TEXT = ("id", "brick", "region", "type")
_INTEGERS = ("release", "brickid", "objid", "flags")
_PER_BAND = ("mag", "nobs", "psfsize")
#: Examples among which the next one is drawn: 0.5 GB of cutouts of the usual size.
_WINDOW = 4096


def _integers(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _serialise(image, row, label, bands):
    features = {
        "version": _integers([VERSION]),
        "shape": _integers(image.shape),
        "image": _bytes(np.ascontiguousarray(image, "<f4").tobytes()),
        "label": _floats([label]),
        "position": _bytes(np.array([row["ra"], row["dec"]], "<f8").tobytes()),
    }
    features |= {name: _bytes(str(row[name]).encode()) for name in _TEXT}
    features |= {name: _integers([int(row[name])]) for name in _INTEGERS}
    features |= {name: _floats([row[f"{name}_{band}"] for band in bands]) for name in _PER_BAND}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
        deterministic=True
    )


def _examples(images, table, labels):
    """Yield serialised examples, rows in order."""
    # The table's columns are in the order of the images' bands.
    bands = [name.removeprefix("nobs_") for name in table.columns if name.startswith("nobs_")]
    if images.shape[:2] != (len(table), len(bands)):
        raise LenspipeError(
            f"cutouts: found images of shape {images.shape} for a table of {len(table)} rows with "
            f"magnitudes in {len(bands)} bands; expected (rows, bands, size, size); make them again"
        )
    labels = np.full(len(table), -1.0) if labels is None else labels
    for image, row, label in zip(images, table.to_dict("records"), labels, strict=True):
        yield _serialise(image, row, label, bands)


def write_records(path, images, table, labels=None):
    """Write cutouts as records.

    Parameters
    ----------
    path : str or path-like
        TFRecord file.
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies.
    table : pandas.DataFrame
        A row per cutout with the columns of the cutouts' table; its ``nobs_<band>`` columns are in
        the order of the images' bands.
    labels : array of float, (N,), optional
        1 lens, 0 none; -1 (unknown) if not given.

    Raises
    ------
    LenspipeError
        Images and table do not fit together.
    """
    with atomic(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for example in _examples(images, table, labels):
            writer.write(example)


def records_of_chunk(settings, chunk):
    """Write the records of a chunk, brick after brick in the order of their names.

    Bricks whose cutouts failed are left out, with a line in the log; flagged cutouts stay.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        The run's settings.
    chunk : str
        Name of the chunk.

    Returns
    -------
    int
        How many records were written.
    """
    bricks = read_manifest(settings.paths.manifest("cutouts", chunk))
    path = settings.paths.records(chunk)
    count = 0
    with atomic(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for brick, entry in track(sorted(bricks.items()), f"chunk {chunk}: records of bricks"):
            if entry["status"] == "failed":
                log.info("brick %s: left out, it has no cutouts: %s", brick, entry.get("reason"))
            elif entry["count"]:
                images, table = read_cutouts(settings.paths.cutouts(brick))
                for example in _examples(images, table, None):
                    writer.write(example)
                count += len(table)
    log.info("chunk %s: %d records of %d bricks", chunk, count, len(bricks))
    return count


def _check_first(path, bands, size):
    """Refuse a file whose first example has another version or shape; files are all of one kind."""
    try:
        first = next(iter(tf.data.TFRecordDataset(str(path))), None)
        if first is None:
            return
        features = tf.train.Example.FromString(first.numpy()).features.feature
    except (tf.errors.OpError, DecodeError) as error:
        raise LenspipeError(
            f"{path}: can't be read as records ({type(error).__name__}); delete it and run again"
        ) from error
    version = list(features["version"].int64_list.value)
    if version != [VERSION]:
        raise LenspipeError(
            f"{path}: found records of version {version[0] if version else 'unknown'}, expected "
            f"{VERSION}; delete the file and run again to write it anew"
        )
    shape = tuple(features["shape"].int64_list.value)
    if shape != (bands, size, size):
        raise LenspipeError(
            f"{path}: found cutouts of shape {shape}, expected {(bands, size, size)} (bands, size, "
            "size); set survey.bands and cutouts.size as they were, or delete the file and run "
            "again to write it anew"
        )


def _parser(bands, size, columns):
    one = tf.io.FixedLenFeature
    schema = {
        "image": one([], tf.string),
        "position": one([], tf.string),
        "label": one([], tf.float32),
        **{name: one([], tf.string) for name in _TEXT},
        **{name: one([], tf.int64) for name in _INTEGERS},
        **{name: one([bands], tf.float32) for name in _PER_BAND},
    }

    def parse(serialised):
        batch = tf.io.parse_example(serialised, schema)
        pixels = tf.io.decode_raw(batch["image"], tf.float32)
        batch["image"] = tf.reshape(pixels, (-1, bands, size, size))
        position = tf.reshape(tf.io.decode_raw(batch.pop("position"), tf.float64), (-1, 2))
        batch |= {"ra": position[:, 0], "dec": position[:, 1]}
        return {name: batch[name] for name in columns or batch}

    return parse


def dataset(paths, batch_size, bands, size, columns=None, shuffle=None, drop_remainder=False):
    """Read records as batches.

    Parameters
    ----------
    paths : sequence of path-like
        TFRecord files, read in this order.
    batch_size : int
        Examples in a batch; the last batch may have fewer.
    bands, size : int
        Number of bands and side of the cutouts.
    columns : sequence of str, optional
        What is kept of an example; all if not given.
    shuffle : int, optional
        Seed of the order: of the files, and of the examples within a moving window of 4096.
        The files' order if not given.
    drop_remainder : bool
        Whether to leave out a last batch that is not full.

    Returns
    -------
    tf.data.Dataset
        Of dicts: ``image`` float32 (N, B, S, S); ``label`` float32; ``id``, ``brick``, ``region``,
        ``type`` bytes; ``release``, ``brickid``, ``objid``, ``flags`` int64; ``ra``, ``dec``
        float64; ``mag``, ``nobs``, ``psfsize`` float32 (N, B).

    Raises
    ------
    LenspipeError
        A file is unreadable, or holds records of another version or shape.

    Notes
    -----
    Nothing is cached: the operating system keeps files that fit into memory there, and reading
    them again is many times faster than any network.
    """
    paths = [str(path) for path in paths]
    for path in paths:
        _check_first(path, bands, size)
    if shuffle is not None:
        paths = list(np.random.default_rng(shuffle).permutation(paths))
    data = tf.data.TFRecordDataset(paths)
    if shuffle is not None:
        data = data.shuffle(_WINDOW, seed=shuffle, reshuffle_each_iteration=False)
    data = data.batch(batch_size, drop_remainder).map(_parser(bands, size, columns))
    return data.prefetch(tf.data.AUTOTUNE)


def table_of(batch):
    """Return the identifiers of a batch as a table.

    Parameters
    ----------
    batch : dict of tensors
        As `dataset` gives it, with all columns.

    Returns
    -------
    pandas.DataFrame
        With the columns `IDENTIFIERS`.
    """
    return pd.DataFrame(
        {name: batch[name].numpy().astype(dtype) for name, dtype in IDENTIFIERS.items()}
    )
