"""Records: cutouts as TFRecord files, with all that an evaluation needs to know of each galaxy.

Group `record` of the data dictionary describes the features, docs/outputs.md likewise.

An example is two serialised messages, one after the other, which protobuf merges on parsing: the
small features, then the image, so that the bytes of the image are copied only once.

A float16 has 11 significant bits, 1/2000 of the value of a pixel and far below its noise, and ends
at 65504; a larger value is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from google.protobuf.message import DecodeError

from lenspipe import utils
from lenspipe.products.record_files import VERSION, first_record, write_file
from lenspipe.products.schema import FLAGS, IDENTITY, RECORD, TRACTOR, dtypes_of
from lenspipe.utils.errors import LenspipeError

if TYPE_CHECKING:
    from tensorflow import Tensor
    from tensorflow.data import Dataset

__all__ = ["IDENTIFIERS", "dataset", "serialise_examples", "table_of", "write_records"]

#: Columns that are copied from the records into the scores: name -> type.
IDENTIFIERS = dtypes_of((*IDENTITY, *FLAGS))
#: Features that are not a column of the table as it is.
_OTHERS = ("version", "shape", "dtype", "image", "label", "position")
_KINDS = {c.name: c.dtype for c in RECORD if c.name not in _OTHERS}
_TEXT = [name for name, kind in _KINDS.items() if kind == "bytes"]
_INTEGERS = [name for name, kind in _KINDS.items() if kind == "int64"]
_COLUMNS_PER_BAND = {column.name.partition("_<")[0] for column in TRACTOR if "<" in column.name}
_PER_BAND = [name for name in _KINDS if name in _COLUMNS_PER_BAND]
_FLOATS = [name for name, kind in _KINDS.items() if kind == "float" and name not in _PER_BAND]
#: Columns that only the labelled sample has -> their values elsewhere.
_DEFAULTS = {"class": "", "grade": "", "theta_e_arcsec": np.nan}
#: Number of examples among which the next one is drawn: 0.5 GB of cutouts of the usual size.
_WINDOW = 4096
#: Number of batches parsed at a time; parsing is faster than reading, which one thread does.
_PARSED_AT_ONCE = 2


def _small_features(
    table: pd.DataFrame, labels: np.ndarray, bands: Sequence[str]
) -> dict[str, tuple[str, list]]:
    """Map features that differ between rows to the type of list and the values of the rows."""
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


def _image_head(shape: tuple[int, ...], dtype: str) -> bytes:
    """Serialise the features that images of a shape share, up to the first byte of the image."""
    example = utils.tf.train.Example()
    features = example.features.feature
    features["version"].int64_list.value.append(VERSION)
    features["shape"].int64_list.value.extend(shape)
    features["dtype"].bytes_list.value.append(dtype.encode())
    alike = example.SerializeToString(deterministic=True)
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    example.Clear()
    example.features.feature["image"].bytes_list.value.append(bytes(n_bytes))
    return alike + example.SerializeToString()[:-n_bytes]


def serialise_examples(
    images: np.ndarray,
    table: pd.DataFrame,
    labels: np.ndarray | None = None,
    dtype: str = "float32",
) -> Iterator[bytes]:
    """Yield serialised examples, in the order of the rows; parameters as in `write_records`."""
    # The table's columns are in the order of the images' bands.
    bands = [name.removeprefix("nobs_") for name in table.columns if name.startswith("nobs_")]
    if images.shape[:2] != (len(table), len(bands)):
        raise LenspipeError(
            f"cutouts: found images of shape {images.shape} for a table of {len(table)} rows with "
            f"magnitudes in {len(bands)} bands; expected (rows, bands, size, size); make them again"
        )
    labels = np.full(len(table), -1.0) if labels is None else np.asarray(labels, np.float64)
    features = _small_features(table, labels, bands)
    # One for all rows: creating them would take most of the time.
    example = utils.tf.train.Example()
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
        yield b"".join((example.SerializeToString(deterministic=True), head, pixels.data))


def write_records(
    path: str | os.PathLike[str],
    images: np.ndarray,
    table: pd.DataFrame,
    labels: np.ndarray | None = None,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Write cutouts as records; the same input gives the same bytes.

    Parameters
    ----------
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies.
    table
        A row per cutout with the columns of the cutouts' table and, if they are known, ``class``
        and ``grade`` (str) and ``theta_e_arcsec``; its ``nobs_<band>`` columns are in the order of
        the images' bands.
    labels : array of float, (N,), optional
        1 lens, 0 non-lens; -1 (unknown) if not given.
    dtype
        Type of the pixels, ``float32`` or ``float16``.

    Returns
    -------
    dict
        The file's entry of a manifest, as returned by `lenspipe.products.record_files.measure`.

    Raises
    ------
    LenspipeError
        Images and table do not fit together, or a pixel is too large for float16.
    """
    return write_file(path, serialise_examples(images, table, labels, dtype))


def _check_first(path: str, bands: int, size: int) -> str | None:
    """Return the type of the pixels of a file by its first example; None if it is empty.

    Another version or shape is refused.
    """
    try:
        first = first_record(path)
        if first is None:
            return None
        features = utils.tf.train.Example.FromString(first).features.feature
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


def _parser(
    bands: int, size: int, dtype: str, columns: Sequence[str] | None
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function from serialised examples to columns; it parses only what is needed."""
    tf = utils.tf
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

    @tf.autograph.experimental.do_not_convert
    def parse(serialised: Tensor) -> dict[str, Tensor]:
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
    paths: Sequence[str | os.PathLike[str]],
    batch_size: int,
    bands: int,
    size: int,
    columns: Sequence[str] | None = None,
    shuffle: int | None = None,
    drop_remainder: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Dataset:
    """Read records as batches.

    Parameters
    ----------
    paths
        TFRecord files, read in this order.
    batch_size
        Number of examples in a batch; the last batch may have fewer.
    bands, size
        Number of bands of the cutouts, and their width in pixels.
    columns
        Columns to return, and all that are parsed; all if not given.
    shuffle
        Seed of the order of the files, and of the examples within a moving window of 4096. The
        order of the files is kept if not given.
    drop_remainder
        Whether to leave out a last batch that is not full.
    part
        Number of the part of each batch to parse and return, from 0, and number of equal parts;
        all by default.

    Returns
    -------
    tf.data.Dataset
        Of dicts: ``image`` float32 (N, B, S, S), even if stored as float16; ``label`` float32;
        ``id``, ``brick``, ``region``, ``type``, ``class``, ``grade`` bytes; ``release``,
        ``brickid``, ``objid``, ``flags`` int64; ``ra``, ``dec`` float64; ``ebv``, ``sersic``,
        ``shape_r``, ``theta_e_arcsec`` float32; ``mag``, ``nobs``, ``psfsize``, ``galdepth``
        float32 (N, B).

    Raises
    ------
    LenspipeError
        A file is unreadable or holds records of another version or shape, or some files hold
        float16 and others float32.

    Notes
    -----
    Nothing is cached: the operating system caches files that fit into memory, and reading them
    again is many times faster than any network.

    Threads exchange whole batches: one reads, others parse. Exchanging single examples takes longer
    than reading them, in particular if cores are idle and have to be woken up.
    """
    names = [str(path) for path in paths]
    dtypes = {dtype for name in names if (dtype := _check_first(name, bands, size))}
    if len(dtypes) > 1:
        raise LenspipeError(
            f"{Path(names[0]).parent}: found records of {' and '.join(sorted(dtypes))}, expected "
            "one of them; delete the files and run again to write them anew"
        )
    parse = _parser(bands, size, next(iter(dtypes), "float32"), columns)
    if shuffle is not None:
        names = list(np.random.default_rng(shuffle).permutation(names))
    # Without a buffer each record is read at once; a buffer would be one more copy.
    data = utils.tf.data.TFRecordDataset(names, buffer_size=0)
    if shuffle is not None:
        data = data.shuffle(_WINDOW, seed=shuffle, reshuffle_each_iteration=False)
    data = data.batch(batch_size, drop_remainder)
    index, n_parts = part
    if n_parts > 1:
        size_of_part = batch_size // n_parts
        data = data.map(lambda batch: batch[index * size_of_part :][:size_of_part])
    data = data.map(parse, num_parallel_calls=_PARSED_AT_ONCE)
    return data.prefetch(utils.tf.data.AUTOTUNE)


def table_of(batch: Mapping[str, Tensor]) -> pd.DataFrame:
    """Return the columns `IDENTIFIERS` of a batch, as returned by `dataset`, as a table."""
    return pd.DataFrame(
        {name: batch[name].numpy().astype(dtype) for name, dtype in IDENTIFIERS.items()}
    )
