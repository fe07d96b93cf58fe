"""The labelled sample's files: records in shards, tables, and the versions of each round."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lenspipe.config.learning import Injection
from lenspipe.config.paths import RunPaths
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.files import write_json
from lenspipe.products.record_files import VERSION
from lenspipe.products.records import write_records
from lenspipe.products.sample import SPLITS
from lenspipe.products.schema import CONDITIONS, SAMPLE, band_values, names_of
from lenspipe.products.tables import read_table, write_table
from lenspipe.sample.matched_draw import bin_names
from lenspipe.simulation.injection import inject
from lenspipe.utils.progress import log, track
from lenspipe.utils.tables import content_hash

__all__ = ["write_sample"]

#: Maximum number of examples in a file of records.
_SHARD = 1000


def write_sample(
    chosen: pd.DataFrame,
    lenses: pd.DataFrame,
    split_of: Mapping[str, str],
    cutouts: CutoutFiles,
    injection: Injection,
    *,
    dtype: str,
    seed: int,
) -> pd.DataFrame:
    """Write the chosen galaxies as records in random order, and the tables; sample.parquet last.

    Return the content of sample.parquet; see docs/outputs.md. These have identifiers, positions and
    bins; label, class, split and, for lenses, grade and references. The id of an injected lens is
    ``injected:`` and the id of its host.
    """
    paths = cutouts.paths
    for path in (paths.sample, paths.records_manifest, paths.injected):
        path.unlink(missing_ok=True)  # no table may describe records that are being replaced
    chosen = chosen.assign(bin=bin_names(chosen))
    chosen[["grade", "references"]] = chosen[["grade", "references"]].fillna("")
    rng = np.random.default_rng([seed, 23])
    tables, truths, shards = [], [], {}
    values = band_values(cutouts.bands)
    for split in SPLITS:
        of_split = chosen[chosen["split"] == split].sort_values(["brick", "id"])
        of_split = of_split.iloc[rng.permutation(len(of_split))].reset_index(drop=True)
        pattern = paths.sample_shards(split)
        for i in track(range(-(-len(of_split) // _SHARD)), f"sample: shards of {split}"):
            rows = of_split.iloc[i * _SHARD : (i + 1) * _SHARD].reset_index(drop=True)
            path = pattern.with_name(pattern.name.replace("*", f"{i:05d}"))
            images, table, truth = _gather(rows, cutouts, injection, rng)
            labels = rows["label"].to_numpy()
            shards[path.name] = write_records(path, images, table, labels, dtype)
            conditions = table[names_of(CONDITIONS, **values)]
            rows = rows.assign(shard=path.name, row=np.arange(len(rows)))
            tables.append(pd.concat([rows, conditions.reset_index(drop=True)], axis=1))
            truths.append(truth)
        for path in pattern.parent.glob(pattern.name):
            if path.name not in shards:
                path.unlink()
    sample = pd.concat(tables, ignore_index=True)
    sample = sample[names_of(SAMPLE, **values)]
    sample = sample.astype(dict.fromkeys(("region", "type", "chunk"), str))
    if truths := [truth for truth in truths if len(truth)]:
        write_table(paths.injected, pd.concat(truths, ignore_index=True))
    write_table(paths.sample_lenses, lenses)
    write_table(paths.splits, pd.DataFrame(sorted(split_of.items()), columns=["brick", "split"]))
    manifest = {
        "version": VERSION,
        "dtype": dtype,
        "sample_version": _keep_version(paths, sample),
        "shards": shards,
    }
    write_json(paths.records_manifest, manifest)
    write_table(paths.sample, sample)
    return read_table(paths.sample, "sample")


def _gather(
    rows: pd.DataFrame, cutouts: CutoutFiles, injection: Injection, rng: np.random.Generator
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Cutouts, their tables and the truth of injected lenses, in the order of the rows."""
    pixels_by_brick, tables, positions = [], [], []
    for brick, group in rows.groupby("brick"):
        pixels, table = read_cutouts(cutouts.path(brick))
        hosts = group["id"].str.removeprefix("injected:")
        index = table.reset_index().set_index("id").loc[hosts, "index"].to_numpy()
        pixels_by_brick.append(pixels[index])
        tables.append(table.iloc[index])
        positions.append(group.index.to_numpy())
    order = np.argsort(np.concatenate(positions))
    images = np.concatenate(pixels_by_brick)[order]
    table = pd.concat(tables, ignore_index=True).iloc[order].reset_index(drop=True)
    table = table.assign(
        id=rows["id"], theta_e_arcsec=np.nan, **{name: rows[name] for name in ("class", "grade")}
    )
    injected = (rows["class"] == "injected").to_numpy()
    if not injected.any():
        return images, table, pd.DataFrame()
    hosts = images[injected], table[injected]
    images[injected], truth = inject(*hosts, rng, cutouts.bands, cutouts.release, injection)
    table.loc[injected, "theta_e_arcsec"] = truth["theta_e_arcsec"].to_numpy()
    return images, table, truth


def _keep_version(paths: RunPaths, sample: pd.DataFrame) -> int:
    """Keep the table under the next version number, unless an equal one has a number already."""
    key = content_hash(sample[["id", "label", "class", "grade", "split"]])
    version = 1
    while (path := paths.sample_version(version)).exists():
        table = read_table(path, "sample_version")
        if content_hash(table[["id", "label", "class", "grade", "split"]]) == key:
            log.info("sample: version %d, unchanged", version)
            return version
        version += 1
    write_table(path, sample)
    log.info("sample: version %d", version)
    return version
