"""The labelled sample: its splits, versions and records."""

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe import utils
from lenspipe.products.files import read_json
from lenspipe.products.record_files import first_record
from lenspipe.products.records import dataset
from lenspipe.products.tables import read_table
from lenspipe.utils.errors import LenspipeError

__all__ = ["SPLITS", "ids_in_all_versions", "read_by_id", "read_images", "sample_version"]

SPLITS = ("train", "validation", "test")


def sample_version(path: Path) -> int:
    """Return the version of the labelled sample, from 1, by its ``records.json``."""
    return read_json(path, "records_manifest")["sample_version"]


def read_images(path: Path, table: pd.DataFrame, n_bands: int, size: int) -> np.ndarray:
    """Read cutouts of galaxies of the labelled sample from its records.

    Parameters
    ----------
    path
        ``sample/sample.parquet``; the records are beside it.
    table
        Rows of that table, with an index from 0.
    n_bands, size
        Number of bands of a cutout, and its width in pixels.

    Returns
    -------
    numpy.ndarray, float32, shape (N, B, S, S)
        Nanomaggies, in the order of the rows.

    Raises
    ------
    LenspipeError
        A galaxy is not where the table says.
    """
    images = np.empty((len(table), n_bands, size, size), np.float32)
    for shard, group in table.groupby("shard"):
        records = path.with_name(shard)
        first, n_read = 0, 0
        for batch in dataset([records], 100, n_bands, size, columns=["image", "id"]):
            pixels, ids = batch["image"].numpy(), batch["id"].numpy().astype(str)
            here = group[group["row"].between(first, first + len(ids) - 1)]
            rows = here["row"].to_numpy() - first
            images[here.index] = pixels[rows]
            n_read += (ids[rows] == here["id"].to_numpy()).sum()
            first += len(ids)
        if n_read < len(group):
            raise LenspipeError(
                f"{records}: found {n_read} of {len(group)} galaxies where {path} says, expected "
                "all; draw the labelled sample again"
            )
    return images


def read_by_id(
    shards: Iterable[Path], ids: Collection[str]
) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Read galaxies of the labelled sample from its records by id, with cutouts of any shape.

    Returns
    -------
    images
        Nanomaggies, float32, (B, S, S) each, of the galaxies that were found, in the order of the
        records.
    table
        Columns id, ra, dec (degrees) of these.
    """
    images, tables = [], [pd.DataFrame({"id": [], "ra": [], "dec": []})]
    columns = ["id", "ra", "dec", "image"]
    for shard in shards:
        first = first_record(shard)
        if first is None:
            continue
        features = utils.tf.train.Example.FromString(first).features.feature
        n_bands, size, _ = features["shape"].int64_list.value
        for batch in dataset([shard], 100, n_bands, size, columns=columns):
            values = {name: batch[name].numpy() for name in columns}
            values["id"] = values["id"].astype(str)
            selected = np.isin(values["id"], list(ids))
            images += list(values.pop("image")[selected])
            tables.append(pd.DataFrame({name: array[selected] for name, array in values.items()}))
    return images, pd.concat(tables[1:] or tables, ignore_index=True)


def ids_in_all_versions(folder: Path) -> set[str]:
    """Return the ids of all galaxies in the versions of the sample in a folder.

    Hosts of injected lenses are among them by their own id.
    """
    paths = sorted(folder.glob("*.parquet"))
    tables = [read_table(path, "sample_version", columns=["id"]) for path in paths]
    return {id_.removeprefix("injected:") for table in tables for id_ in table["id"]}
