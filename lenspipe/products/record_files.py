"""Files of records: written, counted, and compared with the manifest of the labelled sample.

`lenspipe.products.records` has the content of a record.
"""

import fnmatch
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lenspipe import utils
from lenspipe.config.stages import RECORD_VERSION
from lenspipe.products.files import read_json
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["VERSION", "check_shards", "first_record", "measure", "write_file"]

#: Version of the schema of the records and of their manifest.
VERSION = RECORD_VERSION
#: Bytes around a record: before it its length (8) with a checksum (4), after it its own checksum.
_BEFORE, _AFTER = 12, 4


def write_file(path: str | os.PathLike[str], examples: Iterable[bytes]) -> dict[str, Any]:
    """Write serialised examples as a TFRecord file, and `measure` it."""
    with atomic(path) as temporary:
        with utils.tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in examples:
                writer.write(example)
        return measure(temporary)


def measure(path: Path) -> dict[str, Any]:
    """Count the records of a file and compute the checksum of their frames.

    Returns
    -------
    dict
        The file's entry of a manifest: ``count`` of records, ``bytes``, and ``frames_crc32`` (8
        hexadecimal digits), the CRC-32 of the frames, 16 bytes around each record.

    Notes
    -----
    A frame holds the length of a record and the CRC-32C of its content, which every reader of
    TFRecords compares, so the checksum of the frames stands for the whole file. It takes 3 us per
    cutout; reading the file again takes 85 us for its CRC-32 and 145 us for its SHA-256, whereas
    writing takes 185 us.
    """
    count, total = 0, 0
    with open(path, "rb", buffering=0) as file:
        while before := file.read(_BEFORE):
            file.seek(int.from_bytes(before[:8], "little"), os.SEEK_CUR)
            total = zlib.crc32(before + file.read(_AFTER), total)
            count += 1
    return {"count": count, "bytes": path.stat().st_size, "frames_crc32": f"{total:08x}"}


def first_record(path: str | os.PathLike[str]) -> bytes | None:
    """Read the first record of a file in 0.1 ms (a reader of TensorFlow takes 50 ms to set up).

    Returns
    -------
    bytes or None
        None if the file is empty. The checksum is not compared.

    Raises
    ------
    ValueError
        The file does not begin with a whole record.
    OSError
        It cannot be read.
    """
    with open(path, "rb") as file:
        before = file.read(_BEFORE)
        length = int.from_bytes(before[:8], "little")
        if not before:
            return None
        if not 0 < length <= os.path.getsize(path) - _BEFORE - _AFTER:
            raise ValueError(f"{path}: a first record of {length} bytes")
        return file.read(length)


def check_shards(manifest: Path, split: str, full: bool = False) -> list[Path]:
    """Compare the files of a split of the labelled sample with their manifest; list them in order.

    Parameters
    ----------
    manifest
        ``sample/records.json``; the files are beside it.
    full
        Whether to read all records and compare each with its checksum, as reading them for use does
        anyway. Otherwise only sizes and frames are compared.

    Raises
    ------
    LenspipeError
        The manifest is missing or of another version; or a file is missing, damaged, or not the
        one that was written.
    """
    sample = manifest.with_name("sample.parquet")
    remedy = f"delete {sample} and run again to write the sample anew"
    content = read_json(manifest, "records_manifest")
    if content["version"] != VERSION:
        raise LenspipeError(
            f"{manifest}: found records of version {content['version']}, expected {VERSION}; "
            f"{remedy}"
        )
    names = sorted(fnmatch.filter(content["shards"], f"{split}-*.tfrecord"))
    paths = [manifest.with_name(name) for name in names]
    for path in paths:
        if problem := _compare(path, content["shards"][path.name], full):
            raise LenspipeError(f"{path}: {problem} ({manifest.name}); {remedy}")
    return paths


def _compare(path: Path, entry: Mapping[str, Any], full: bool) -> str | None:
    """Describe how a file differs from its entry; None if it does not."""
    if not path.exists():
        return f"no such file, expected {entry['count']} records"
    # The size first: a truncated file lacks frames.
    found: dict[str, Any] = {"bytes": path.stat().st_size}
    if found["bytes"] == entry["bytes"]:
        found = measure(path)
    for key, value in found.items():
        if value != entry[key]:
            return f"found {key} {value}, expected {entry[key]}"
    if full:
        try:
            for _ in utils.tf.data.TFRecordDataset(str(path)):
                pass
        except utils.tf.errors.DataLossError:
            return "found a record that does not fit its checksum, expected none"
    return None
