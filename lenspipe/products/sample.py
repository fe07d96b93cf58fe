"""The labelled sample: its splits, versions and records."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.products.record_files import first_record
from lenspipe.products.records import dataset
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import tf

__all__ = ["SPLITS", "read_by_id", "read_images", "sample_version", "used_before"]

SPLITS = ("train", "validation", "test")


def sample_version(settings):
    """Return the version of the run's sample, from 1.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    int
    """
    return json.loads(settings.paths.records_manifest.read_text())["sample_version"]


def read_images(settings, table):
    """Read cutouts of galaxies of the sample from its records, as a network gets them.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    table : pandas.DataFrame
        Rows of ``sample/sample.parquet``, numbered from 0.

    Returns
    -------
    numpy.ndarray, float32, shape (N, B, S, S)
        Nanomaggies, in the order of the rows.

    Raises
    ------
    LenspipeError
        A galaxy is not where the table says.
    """
    size, n_bands = settings.cutouts.size, len(settings.survey.bands)
    images = np.empty((len(table), n_bands, size, size), np.float32)
    for shard, group in table.groupby("shard"):
        path = settings.paths.sample.with_name(shard)
        first, found = 0, 0
        for batch in dataset([path], 100, n_bands, size, columns=["image", "id"]):
            pixels, ids = batch["image"].numpy(), batch["id"].numpy().astype(str)
            here = group[group["row"].between(first, first + len(ids) - 1)]
            rows = here["row"].to_numpy() - first
            images[here.index] = pixels[rows]
            found += (ids[rows] == here["id"].to_numpy()).sum()
            first += len(ids)
        if found < len(group):
            raise LenspipeError(
                f"{path}: found {found} of {len(group)} galaxies where {settings.paths.sample} "
                "says, expected all; draw the labelled sample again"
            )
    return images


def read_by_id(
    shards: Iterable[Path], ids: Collection[str]
) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Read galaxies of the sample from its records by their ids, whatever the cutouts' shape.

    Returns
    -------
    images
        Nanomaggies, float32, (B, S, S) each: of the galaxies that were found, in the order of the
        records.
    table
        Columns id, ra, dec (degrees) of these.
    """
    images, tables = [], [pd.DataFrame({"id": [], "ra": [], "dec": []})]
    for shard in shards:
        first = first_record(shard)
        if first is None:
            continue
        shape = tf.train.Example.FromString(first).features.feature["shape"].int64_list.value
        columns = ["id", "ra", "dec", "image"]
        for batch in dataset([shard], 100, *shape[:2], columns=columns):
            values = {name: batch[name].numpy() for name in columns}
            values["id"] = values["id"].astype(str)
            selected = np.isin(values["id"], list(ids))
            images += list(values.pop("image")[selected])
            tables.append(pd.DataFrame({name: array[selected] for name, array in values.items()}))
    return images, pd.concat(tables[1:] or tables, ignore_index=True)


def used_before(settings):
    """Return the ids of all galaxies that were in a version of the sample.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    set of str
        Hosts of injected lenses by their own id.
    """
    folder = settings.paths.sample_version(1).parent
    tables = [pd.read_parquet(path, columns=["id"]) for path in sorted(folder.glob("*.parquet"))]
    return {id_.removeprefix("injected:") for table in tables for id_ in table["id"]}
