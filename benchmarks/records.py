"""Measure how fast records are written and read, against a bare writer and a bare reader.

Cutouts of 3 x 101 x 101 pixels of noise, with the table of a sample, in files of 1000 as the
labelled sample has them, in a temporary folder:

- the bare writer passes the same, already serialised, records to TensorFlow's writer,
- the bare reader makes batches of them with TensorFlow's reader, unparsed;
- ours goes from arrays and a table to a file, and from files to batches of the requested columns.

The writers are measured with and without waiting for the disk (fsync), as a run does for every
file. Everything is read from the page cache. Each figure is the median of the repeats, in which the
methods take turns, and so is each ratio, taken within one repeat. CPU time is that of all threads.
Takes three minutes.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from tqdm import tqdm

from lenspipe.products import records
from lenspipe.products.tables import parent_columns
from lenspipe.utils.tensorflow import tf

BANDS, SIZE, BATCH, PER_FILE = "grz", 101, 128, 1000
TRAINING = ["image", "label"]
#: Method -> the one it is compared with.
REFERENCE = {
    "write_float32": "write_bare",
    "write_float32_fsync": "write_bare_fsync",
    "write_float16_fsync": "write_bare_fsync",
    "read_float32": "read_bare",
    "read_float32_shuffled": "read_bare",
    "read_float32_all_columns": "read_bare",
    "read_float16": "read_bare",
}


def make_sample(rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Return the images, table and labels of one file."""
    images = rng.normal(0, 0.01, (PER_FILE, len(BANDS), SIZE, SIZE)).astype(np.float32)
    table = pd.DataFrame({name: rng.random(PER_FILE) for name in parent_columns(BANDS)})
    table = table.assign(brickid=rng.integers(0, 662_174, PER_FILE), objid=np.arange(PER_FILE))
    table = table.assign(release=9010, brick="1500p300", region="south", type="DEV")
    table["id"] = [f"9010-{row.brickid}-{row.objid}" for row in table.itertuples()]
    table = table.astype(parent_columns(BANDS))
    return images, table.assign(flags=0, grade="", **{"class": "random"}), rng.random(PER_FILE)


@contextlib.contextmanager
def no_fsync() -> Iterator[None]:
    with mock.patch.object(os, "fsync"):
        yield


def write_bare(path: Path, examples: list[bytes], wait: bool) -> None:
    """Write serialised records."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
    if wait:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def write(
    paths: list[Path], sample: tuple[np.ndarray, pd.DataFrame, np.ndarray], dtype: str
) -> None:
    """Write a sample once for each path."""
    for path in paths:
        records.write_records(path, *sample, dtype)


def read(data: tf.data.Dataset) -> int:
    """Read a data set to its end; return the number of examples."""
    return sum(len(batch if tf.is_tensor(batch) else batch["label"]) for batch in data)


def methods(folder: Path, files: int) -> dict[str, Callable[[], int | None]]:
    """Return {name: function}; those that write come before those that read what they wrote."""
    sample = make_sample(np.random.default_rng(0))
    paths = {
        name: [folder / f"{name}-{i:05d}.tfrecord" for i in range(files)]
        for name in ("bare", "float32", "float16")
    }
    records.write_records(paths["float32"][0], *sample)
    serialised = [example.numpy() for example in tf.data.TFRecordDataset(str(paths["float32"][0]))]

    def bare(wait: bool) -> None:
        for path in paths["bare"]:
            write_bare(path, serialised, wait)

    def without_fsync(dtype: str) -> None:
        with no_fsync():
            write(paths[dtype], sample, dtype)

    def dataset(dtype: str, columns: list[str] | None, times: int = 1, **options: Any) -> int:
        data = records.dataset(
            paths[dtype] * times, BATCH, len(BANDS), SIZE, columns=columns, **options
        )
        return read(data)

    return {
        "write_bare": lambda: bare(wait=False),
        "write_float32": lambda: without_fsync("float32"),
        "write_bare_fsync": lambda: bare(wait=True),
        "write_float32_fsync": lambda: write(paths["float32"], sample, "float32"),
        "write_float16_fsync": lambda: write(paths["float16"], sample, "float16"),
        "read_bare": lambda: read(
            tf.data.TFRecordDataset(list(map(str, paths["bare"]))).batch(BATCH).prefetch(2)
        ),
        "read_float32": lambda: dataset("float32", TRAINING),
        # Three times, to have more than the window from which the next example is drawn.
        "read_float32_shuffled": lambda: dataset("float32", TRAINING, times=3, shuffle=1),
        "read_float32_all_columns": lambda: dataset("float32", None),
        "read_float16": lambda: dataset("float16", TRAINING),
        "read_float16_all_columns": lambda: dataset("float16", None),
    }


def measure(folder: Path, files: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Take turns; return {method: list of (cutouts per second, CPU seconds per cutout)}."""
    number = files * PER_FILE
    results: dict[str, list[tuple[float, float]]] = {}
    functions = methods(folder, files)
    turns = [(name, i) for i in range(repeats + 1) for name in functions]
    for name, i in tqdm(turns, disable=None, unit="run", mininterval=5):
        cpu, begin = time.process_time(), time.perf_counter()
        n_read = functions[name]()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        done = n_read or number
        if done % number:
            raise SystemExit(f"{name}: {n_read} cutouts read, expected {number}")
        if i:  # the first turn fills caches
            results.setdefault(name, []).append((done / seconds, cpu / done))
    return results


def summarise(results: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Return one flat dict: medians, and the two headline figures by short names."""
    flat = {}
    for name, runs in results.items():
        flat[f"{name}_per_s"] = statistics.median(speed for speed, _ in runs)
        flat[f"{name}_best_per_s"] = max(speed for speed, _ in runs)
        flat[f"{name}_cpu_us"] = 1e6 * statistics.median(cpu for _, cpu in runs)
        if other := REFERENCE.get(name):
            pairs = zip(runs, results[other], strict=True)
            flat[f"{name}_over_bare"] = statistics.median(a / b for (a, _), (b, _) in pairs)
    flat["read_per_s"] = flat["read_float32_per_s"]
    flat["write_per_s"] = flat["write_float32_fsync_per_s"]
    return {key: float(f"{value:.4g}") for key, value in flat.items()}


def print_table(flat: dict[str, float], options: argparse.Namespace) -> None:
    """Print all methods side by side."""
    print(f"{options.files} files of {PER_FILE} cutouts, medians of {options.repeats} runs;")
    print("image and label are read unless all columns are\n")
    print(f"{'':28}{'cutouts/s':>10}{'best':>8}{'CPU us':>8}{'of bare':>9}")
    for key in flat:
        name = key.removesuffix("_cpu_us")
        if name == key:
            continue
        of_bare = f"{flat[f'{name}_over_bare']:.2f}" if name in REFERENCE else "-"
        print(
            f"{name.replace('_', ' '):28}{flat[f'{name}_per_s']:10.0f}"
            f"{flat[f'{name}_best_per_s']:8.0f}{flat[key]:8.0f}{of_bare:>9}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the files (0.3 GB each)")
    parser.add_argument(
        "--files", type=int, default=4, help="files of 1000 cutouts for each method"
    )
    parser.add_argument("--repeats", type=int, default=7, help="runs of each method")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        flat = summarise(measure(Path(folder), options.files, options.repeats))
    if options.json:
        json.dump(flat, sys.stdout)
        print()
    else:
        print_table(flat, options)


if __name__ == "__main__":
    main()
