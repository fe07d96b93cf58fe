"""The labelled sample's files: records in shards, tables, and the versions of each round."""

import numpy as np
import pandas as pd

from lenspipe.cutouts.chunk import cutouts_at
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.files import write_json
from lenspipe.products.record_files import VERSION
from lenspipe.products.records import write_records
from lenspipe.products.sample import SPLITS
from lenspipe.products.schema.columns import CONDITIONS
from lenspipe.products.schema.declarations import names_of
from lenspipe.products.schema.learning import SAMPLE
from lenspipe.products.schema.registry import band_values
from lenspipe.products.tables import read_table, write_table
from lenspipe.sample.fair_draw import bin_names
from lenspipe.simulation.injection import inject
from lenspipe.utils.progress import log, track
from lenspipe.utils.tables import content_hash

__all__ = ["write_sample"]

#: Most examples in a file of records.
_SHARD = 1000


def write_sample(settings, chosen, lenses, split_of):
    """Write the chosen galaxies as records in random order, and the tables; sample.parquet last.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    chosen : pandas.DataFrame
        Identifiers, positions and bins of the galaxies; label, class, split and, of lenses, grade
        and references. Injected lenses have the id of their host after ``injected:``.
    lenses : pandas.DataFrame
        What became of the known lenses.
    split_of : dict
        Brick -> split.

    Returns
    -------
    pandas.DataFrame
        What sample.parquet holds; see docs/outputs.md.
    """
    paths, dtype = settings.paths, settings.records.dtype
    for path in (paths.sample, paths.records_manifest, paths.injected):
        path.unlink(missing_ok=True)  # while records change, no table vouches for them
    chosen = chosen.assign(bin=bin_names(chosen))
    chosen[["grade", "references"]] = chosen[["grade", "references"]].fillna("")
    rng = np.random.default_rng([settings.seed, 23])
    tables, truths, shards = [], [], {}
    values = band_values(settings.survey.bands)
    for split in SPLITS:
        part = chosen[chosen["split"] == split].sort_values(["brick", "id"])
        part = part.iloc[rng.permutation(len(part))].reset_index(drop=True)
        pattern = paths.sample_shards(split)
        for i in track(range(-(-len(part) // _SHARD)), f"sample: shards of {split}"):
            rows = part.iloc[i * _SHARD : (i + 1) * _SHARD].reset_index(drop=True)
            path = pattern.with_name(pattern.name.replace("*", f"{i:05d}"))
            images, table, truth = _gather(settings, rows, rng)
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
        "sample_version": _keep_version(settings, sample),
        "shards": shards,
    }
    write_json(paths.records_manifest, manifest)
    write_table(paths.sample, sample)
    return read_table(paths.sample, "sample")


def _gather(settings, rows, rng):
    """Cutouts, their tables and the truth of injected lenses, in the order of the rows."""
    images, tables, at = [], [], []
    for brick, group in rows.groupby("brick"):
        pixels, table = read_cutouts(cutouts_at(settings, brick))
        hosts = group["id"].str.removeprefix("injected:")
        index = table.reset_index().set_index("id").loc[hosts, "index"].to_numpy()
        images.append(pixels[index])
        tables.append(table.iloc[index])
        at.append(group.index.to_numpy())
    order = np.argsort(np.concatenate(at))
    images = np.concatenate(images)[order]
    table = pd.concat(tables, ignore_index=True).iloc[order].reset_index(drop=True)
    table = table.assign(
        id=rows["id"], theta_e_arcsec=np.nan, **{name: rows[name] for name in ("class", "grade")}
    )
    injected = (rows["class"] == "injected").to_numpy()
    if not injected.any():
        return images, table, pd.DataFrame()

    images[injected], truth = inject(images[injected], table[injected], rng, settings)
    table.loc[injected, "theta_e_arcsec"] = truth["theta_e_arcsec"].to_numpy()
    return images, table, truth


def _keep_version(settings, sample):
    """Keep the table under the next number, unless one like it has a number already."""
    key = content_hash(sample[["id", "label", "class", "grade", "split"]])
    version = 1
    while (path := settings.paths.sample_version(version)).exists():
        table = pd.read_parquet(path)
        if content_hash(table[["id", "label", "class", "grade", "split"]]) == key:
            log.info("sample: version %d, as before", version)
            return version
        version += 1
    write_table(path, sample)
    log.info("sample: version %d", version)
    return version
