"""Records: cutouts as TFRecord files, each example with all that an evaluation asks of its galaxy.

Schema, version 2; one `tf.train.Example` per cutout:

===========================  ======  ============================================================
feature                      type    content
===========================  ======  ============================================================
``version``                  int64   of this schema
``shape``                    int64   (B, S, S)
``dtype``                    bytes   of the image: ``float32``, or ``float16`` where
                                     ``records.dtype`` says so (the labelled sample only)
``image``                    bytes   little-endian numbers of that type, nanomaggies, in the order
                                     of `shape`
``label``                    float   1 lens, 0 none, -1 unknown
``id``, ``brick``,           bytes   as in the parent sample
``region``, ``type``
``class``                    bytes   as in the labelled sample (``lens``, ``random``, ...); empty in
                                     records of chunks
``grade``                    bytes   of a known lens, ``A`` to ``D``; empty: none, or unknown
``release``, ``brickid``,    int64   as in the parent sample; ``flags`` of the cutout
``objid``, ``flags``
``position``                 bytes   little-endian float64 RA, Dec, degrees (a float feature is
                                     single precision: 0.08 arcsec)
``mag``, ``nobs``,           float   per band, in the order of the image; as in the parent sample
``psfsize``, ``galdepth``
``ebv``, ``sersic``,         float   as in the parent sample
``shape_r``
``theta_e_arcsec``           float   Einstein radius, arcsec; NaN: none, or unknown
===========================  ======  ============================================================

An example is two serialised messages, one after the other, which protobuf merges on parsing: the
small features, then the image, whose bytes so are copied once.

A float16 keeps 11 bits, 1/2000 of a pixel's value, far below its noise, and reaches to 65504; a
larger value is refused.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from google.protobuf.message import DecodeError

from lenspipe.products.record_files import VERSION, first_record, write_file
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import tf

__all__ = ["IDENTIFIERS", "dataset", "serialise_examples", "table_of", "write_records"]

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

_TEXT = ("id", "brick", "region", "type", "class", "grade")

_INTEGERS = ("release", "brickid", "objid", "flags")

_PER_BAND = ("mag", "nobs", "psfsize", "galdepth")

_FLOATS = ("ebv", "sersic", "shape_r", "theta_e_arcsec")

#: Columns that only the labelled sample has, and what stands for them elsewhere.
_DEFAULTS = {"class": "", "grade": "", "theta_e_arcsec": np.nan}

#: Examples among which the next one is drawn: 0.5 GB of cutouts of the usual size.
_WINDOW = 4096

#: Batches that are parsed at a time; it takes less long than to read them, in one thread.
_PARSED_AT_ONCE = 2


def _small_features(table, labels, bands):
    """Feature -> (kind of list, the rows' lists of values), but for those alike in all rows."""
    table = table.assign(**{name: _DEFAULTS[name] for name in _DEFAULTS if name not in table})
    positions = table[["ra", "dec"]].to_numpy("<f8")
    features = {
        "label": ("float_list", np.reshape(labels, (-1, 1)).tolist()),
        "position": ("bytes_list", [[position.tobytes()] for position in positions]),
    }
    for name in _TEXT:
        features[name] = "bytes_list", [[text.encode()] for text in table[name].tolist()]
    for name in _INTEGERS:
        features[name] = "int64_list", table[[name]].to_numpy(np.int64).tolist()
    for name in _FLOATS:
        features[name] = "float_list", table[[name]].to_numpy(np.float64).tolist()
    for name in _PER_BAND:
        columns = [f"{name}_{band}" for band in bands]
        features[name] = "float_list", table[columns].to_numpy(np.float64).tolist()
    return features


def _image_head(shape, dtype):
    """Serialised features of all images of a kind, up to where the bytes of an image begin."""
    example = tf.train.Example()
    features = example.features.feature
    features["version"].int64_list.value.append(VERSION)
    features["shape"].int64_list.value.extend(shape)
    features["dtype"].bytes_list.value.append(dtype.encode())
    alike = example.SerializeToString(deterministic=True)
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    example.Clear()
    example.features.feature["image"].bytes_list.value.append(bytes(n_bytes))
    return alike + example.SerializeToString()[:-n_bytes]


def serialise_examples(images, table, labels=None, dtype="float32"):
    """Yield serialised examples, rows in order."""
    # The table's columns are in the order of the images' bands.
    bands = [name.removeprefix("nobs_") for name in table.columns if name.startswith("nobs_")]
    if images.shape[:2] != (len(table), len(bands)):
        raise LenspipeError(
            f"cutouts: found images of shape {images.shape} for a table of {len(table)} rows with "
            f"magnitudes in {len(bands)} bands; expected (rows, bands, size, size); make them again"
        )
    labels = np.full(len(table), -1.0) if labels is None else np.asarray(labels, np.float64)
    features = _small_features(table, labels, bands)
    example = tf.train.Example()  # one for all rows: most of the time would go into making them
    places = [
        getattr(example.features.feature[name], kind).value for name, (kind, _) in features.items()
    ]
    head = _image_head(images.shape[1:], dtype)
    rows = zip(*(values for _, values in features.values()), strict=True)
    for i, (image, row) in enumerate(zip(images, rows, strict=True)):
        for place, values in zip(places, row, strict=True):
            place[:] = values
        try:
            with np.errstate(over="raise"):
                pixels = np.ascontiguousarray(image, np.dtype(dtype).newbyteorder("<"))
        except FloatingPointError:
            raise LenspipeError(
                f"galaxy {table['id'].iloc[i]}: found a pixel of "
                f"{np.abs(image[np.isfinite(image)]).max():g} nanomaggies, expected at most 65504 "
                "(float16); set records.dtype to float32"
            ) from None
        yield b"".join((example.SerializeToString(deterministic=True), head, pixels))


def write_records(path, images, table, labels=None, dtype="float32"):
    """Write cutouts as records; the same input gives the same bytes.

    Parameters
    ----------
    path : str or path-like
        TFRecord file.
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies.
    table : pandas.DataFrame
        A row per cutout with the columns of the cutouts' table and, where they are known, ``class``
        and ``grade`` (str) and ``theta_e_arcsec``; its ``nobs_<band>`` columns are in the order of
        the images' bands.
    labels : array of float, (N,), optional
        1 lens, 0 none; -1 (unknown) if not given.
    dtype : {"float32", "float16"}
        In what numbers images are kept.

    Returns
    -------
    dict
        The file's entry of a manifest, as of `lenspipe.products.record_files.measure`.

    Raises
    ------
    LenspipeError
        Images and table do not fit together, or a pixel is too large for float16.
    """
    return write_file(path, serialise_examples(images, table, labels, dtype))


def _check_first(path, bands, size):
    """Look at a file's first example (files are all of one kind): return its dtype, None if empty.

    Another version or shape is refused.
    """
    try:
        first = first_record(path)
        if first is None:
            return None
        features = tf.train.Example.FromString(first).features.feature
    except (OSError, ValueError, DecodeError) as error:
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
    return features["dtype"].bytes_list.value[0].decode()


def _parser(bands, size, dtype, columns):
    """Return a function from serialised examples to their columns; it skips what is not kept."""
    one = tf.io.FixedLenFeature
    schema = {
        "image": one([], tf.string),
        "label": one([], tf.float32),
        "position": one([], tf.string),
        **{name: one([], tf.string) for name in _TEXT},
        **{name: one([], tf.int64) for name in _INTEGERS},
        **{name: one([], tf.float32) for name in _FLOATS},
        **{name: one([bands], tf.float32) for name in _PER_BAND},
    }
    if columns is not None:
        needed = {"position" if name in ("ra", "dec") else name for name in columns}
        schema = {name: schema[name] for name in sorted(needed)}

    def parse(serialised):
        batch = tf.io.parse_example(serialised, schema)
        if "image" in batch:
            pixels = tf.io.decode_raw(batch["image"], dtype)
            batch["image"] = tf.cast(tf.reshape(pixels, (-1, bands, size, size)), tf.float32)
        if "position" in batch:
            position = tf.reshape(tf.io.decode_raw(batch.pop("position"), tf.float64), (-1, 2))
            batch |= {"ra": position[:, 0], "dec": position[:, 1]}
        return {name: batch[name] for name in columns or batch}

    return parse


def dataset(
    paths,
    batch_size,
    bands,
    size,
    columns=None,
    shuffle=None,
    drop_remainder=False,
    part=(0, 1),
):
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
        What is kept of an example, and all that is parsed; all if not given.
    shuffle : int, optional
        Seed of the order: of the files, and of the examples within a moving window of 4096.
        The files' order if not given.
    drop_remainder : bool
        Whether to leave out a last batch that is not full.
    part : (int, int)
        Which of how many equal parts of each batch to parse and return, from 0; all by default.

    Returns
    -------
    tf.data.Dataset
        Of dicts: ``image`` float32 (N, B, S, S), whatever it is kept in; ``label`` float32; ``id``,
        ``brick``, ``region``, ``type``, ``class``, ``grade`` bytes; ``release``, ``brickid``,
        ``objid``, ``flags`` int64; ``ra``, ``dec`` float64; ``ebv``, ``sersic``, ``shape_r``,
        ``theta_e_arcsec`` float32; ``mag``, ``nobs``, ``psfsize``, ``galdepth`` float32 (N, B).

    Raises
    ------
    LenspipeError
        A file is unreadable, or holds records of another version or shape; or some files hold
        float16 and others float32.

    Notes
    -----
    Nothing is cached: the operating system keeps files that fit into memory there, and reading
    them again is many times faster than any network.

    Threads exchange whole batches: one reads, others parse. Handing on single examples costs more
    than to read them, and most where cores are idle and have to be woken up.
    """
    paths = [str(path) for path in paths]
    dtypes = {_check_first(path, bands, size) for path in paths} - {None}
    if len(dtypes) > 1:
        raise LenspipeError(
            f"{Path(paths[0]).parent}: found records of {' and '.join(sorted(dtypes))}, expected "
            "one of them; delete the files and run again to write them anew"
        )
    parse = _parser(bands, size, *(dtypes or {"float32"}), columns)
    if shuffle is not None:
        paths = list(np.random.default_rng(shuffle).permutation(paths))
    # Without a buffer whole records are read, each at once; a buffer would be one more copy.
    data = tf.data.TFRecordDataset(paths, buffer_size=0)
    if shuffle is not None:
        data = data.shuffle(_WINDOW, seed=shuffle, reshuffle_each_iteration=False)
    data = data.batch(batch_size, drop_remainder)
    index, n_parts = part
    if n_parts > 1:
        size_of_part = batch_size // n_parts
        data = data.map(lambda batch: batch[index * size_of_part :][:size_of_part])
    data = data.map(parse, num_parallel_calls=_PARSED_AT_ONCE)
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
