"""Whether training and held-out splits of the labelled sample share anything."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from scipy.spatial import cKDTree

from lenspipe.config.learning import Sample
from lenspipe.products.checks import not_measured, result
from lenspipe.products.record_files import check_shards
from lenspipe.products.records import dataset
from lenspipe.products.sample import SPLITS
from lenspipe.sample.splits import cells_of_bricks, near_lens_of_other_split
from lenspipe.utils.crossmatch import chord, unit_vectors

__all__ = ["check_leakage"]


def check_leakage(
    sample: pd.DataFrame | None,
    bricks: pd.DataFrame,
    records: Path,
    section: Sample,
    shape: tuple[int, int],
    side_arcsec: float,
) -> dict:
    """Count what splits of the labelled sample share: in its table, its records and on the sky.

    Counted are: galaxies in two splits; galaxies within ``sample.match_radius_arcsec`` of one of
    another split; galaxies with a lens of another split on their cutout; cells of the sky
    (``sample.split_nside``) in two splits; records that the table lists in another split or not at
    all, or that occur twice; injected lenses outside the training split, or whose host galaxy or
    cell is held out. The dict is that of `lenspipe.products.checks.result`.

    Parameters
    ----------
    sample
        The sample's table; None if the run has none.
    bricks
        Columns brick, ra, dec (degrees).
    records
        Manifest of its records, which may have been deleted after training.
    shape, side_arcsec
        Number of bands, and side of a cutout in pixels and in arcsec.
    """
    if sample is None:
        return not_measured("the run has no labelled sample")
    sample = sample.assign(host=sample["id"].str.removeprefix("injected:"))
    cells = cells_of_bricks(bricks, section.split_nside)
    sample["cell"] = sample["brick"].map(cells.to_dict())
    real = sample[sample["class"] != "injected"]
    lenses = real[real["label"] > 0.5]
    shards = {split: check_shards(records, split) for split in SPLITS if records.exists()}
    counts = {
        "galaxies in two splits": _count_shared(real, "id"),
        "galaxies near one of another split": _count_near(real, section.match_radius_arcsec),
        "galaxies with another split's lens on their cutout": int(
            near_lens_of_other_split(real, lenses, side_arcsec).sum()
        ),
        "cells of the sky in two splits": _count_shared(real, "cell"),
        "records of another split": _count_misplaced_records(shards, sample, *shape),
        "injected lenses on hosts of another split": _count_misplaced_hosts(sample),
    }
    number = sum(counts.values())
    findings = "; ".join(f"{n} {name}" for name, n in counts.items() if n)
    return result(
        number > 0,
        number,
        0,
        "galaxies, records and cells of the sky that two splits share",
        findings or f"none of {len(sample)} galaxies of the sample is shared by two splits",
        [{"what": name, "number": n} for name, n in counts.items()],
    )


def _count_shared(table: pd.DataFrame, column: str) -> int:
    """Count values of a column that occur in more than one split."""
    return int((table.groupby(column)["split"].nunique() > 1).sum())


def _count_near(table: pd.DataFrame, radius_arcsec: float) -> int:
    """Count galaxies at the position of a different galaxy of another split."""
    number = 0
    for split in SPLITS:
        inside, outside = table[table["split"] == split], table[table["split"] != split]
        if inside.empty or outside.empty:
            continue
        tree = cKDTree(unit_vectors(outside["ra"], outside["dec"]))
        ids = outside["id"].to_numpy()
        near = tree.query_ball_point(
            unit_vectors(inside["ra"], inside["dec"]), chord(radius_arcsec)
        )
        number += sum(
            any(ids[row] != id_ for row in rows)
            for id_, rows in zip(inside["id"], near, strict=True)
        )
    return number


def _count_misplaced_records(
    shards: Mapping[str, Sequence[Path]], sample: pd.DataFrame, n_bands: int, size: int
) -> int:
    """Count records that the table does not list in their split, and repeated ones."""
    number = 0
    for split, paths in shards.items():
        expected = set(sample.loc[sample["split"] == split, "id"])
        ids = [
            id_
            for batch in (dataset(paths, 256, n_bands, size, columns=["id"]) if paths else ())
            for id_ in batch["id"].numpy().astype(str)
        ]
        number += sum(id_ not in expected for id_ in ids) + len(ids) - len(set(ids))
    return number


def _count_misplaced_hosts(sample: pd.DataFrame) -> int:
    """Count injected lenses outside the training split, or on a held-out galaxy or cell."""
    injected = sample[sample["class"] == "injected"]
    held_out = sample[(sample["class"] != "injected") & (sample["split"] != "train")]
    misplaced = injected["host"].isin(held_out["host"]) | (injected["split"] != "train")
    misplaced |= injected["cell"].isin(held_out["cell"])
    return int(misplaced.sum())
