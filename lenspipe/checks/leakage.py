"""Whether anything that a network was trained on is also what it is judged on."""

import pandas as pd
from scipy.spatial import cKDTree

from lenspipe.products.checks import not_measured, result
from lenspipe.products.record_files import check_shards
from lenspipe.products.records import dataset
from lenspipe.products.sample import SPLITS
from lenspipe.sample.splits import cells_of_bricks, on_two_sides
from lenspipe.utils.crossmatch import chord, unit_vectors

__all__ = ["check_leakage"]


def check_leakage(settings, sample):
    """Count what is on two sides of the labelled sample: in its table, its records and on the sky.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    sample : pandas.DataFrame or None
        The labelled sample, if the run has one.

    Returns
    -------
    dict
        As of `lenspipe.products.checks.result`. The parts are counts of: galaxies in two splits;
        galaxies within ``sample.match_radius_arcsec`` of one of another split; galaxies with a
        lens of another split on their cutout; cells of the sky (``sample.split_nside``) in two
        splits; records that another split's table lists, or none, or that are there twice;
        injected lenses on a galaxy that is judged on, or in its cells.
    """
    if sample is None:
        return not_measured("the run has no sample of its own")
    sample = sample.assign(host=sample["id"].str.removeprefix("injected:"))
    real = sample[sample["class"] != "injected"]
    lenses = real[real["label"] > 0.5]
    cells = _cells(settings, real)
    counts = {
        "galaxies in two splits": _in_two(real, "id"),
        "galaxies near one of another split": _near(settings, real),
        "galaxies with another split's lens on their cutout": int(
            on_two_sides(settings, real, lenses).sum()
        ),
        "cells of the sky in two splits": _in_two(real.assign(cell=cells), "cell"),
        "records of another split": _odd_records(settings, sample),
        "injected lenses on hosts of another split": _odd_hosts(settings, sample, cells),
    }
    number = sum(counts.values())
    found = "; ".join(f"{n} {what}" for what, n in counts.items() if n)
    return result(
        number > 0,
        number,
        0,
        "galaxies, records and cells of the sky that are on two sides",
        found or f"nothing of {len(sample)} galaxies of the sample is on two sides",
        [{"what": what, "number": n} for what, n in counts.items()],
    )


def _in_two(table, column):
    """How many values of a column more than one split has."""
    return int((table.groupby(column)["split"].nunique() > 1).sum())


def _cells(settings, table):
    """Cell of the sky of each galaxy's brick."""
    bricks = pd.read_parquet(settings.paths.bricks, columns=["brick", "ra", "dec"])
    return table["brick"].map(cells_of_bricks(settings, bricks).to_dict())


def _near(settings, table):
    """How many galaxies are at the place of one of another split that is not themselves."""
    radius, number = chord(settings.sample.match_radius_arcsec), 0
    for split in SPLITS:
        mine, others = table[table["split"] == split], table[table["split"] != split]
        if mine.empty or others.empty:
            continue
        tree = cKDTree(unit_vectors(others["ra"], others["dec"]))
        ids = others["id"].to_numpy()
        near = tree.query_ball_point(unit_vectors(mine["ra"], mine["dec"]), radius)
        number += sum(
            any(ids[row] != own for row in rows) for own, rows in zip(mine["id"], near, strict=True)
        )
    return number


def _odd_records(settings, sample):
    """How many records are not those of the table's rows of their split."""
    shape, number = (len(settings.survey.bands), settings.cutouts.size), 0
    # What became of the records after the training is no matter of the search.
    if not settings.paths.records_manifest.exists():
        return 0
    for split in SPLITS:
        shards = check_shards(settings.paths.records_manifest, split)
        expected = set(sample.loc[sample["split"] == split, "id"])
        found = [
            id_
            for batch in (dataset(shards, 256, *shape, columns=["id"]) if shards else ())
            for id_ in batch["id"].numpy().astype(str)
        ]
        number += sum(id_ not in expected for id_ in found) + len(found) - len(set(found))
    return number


def _odd_hosts(settings, sample, cells):
    """How many injected lenses are not in the training split, or on a galaxy or cell of another."""
    injected = sample[sample["class"] == "injected"]
    judged = sample[(sample["class"] != "injected") & (sample["split"] != "train")]
    odd = injected["host"].isin(judged["host"]) | (injected["split"] != "train")
    odd |= _cells(settings, injected).isin(cells[judged.index])
    return int(odd.sum())
