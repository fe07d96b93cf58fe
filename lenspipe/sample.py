"""The labelled sample: known lenses, confusing galaxies and random ones, divided by sky area."""

from collections import Counter

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix

from lenspipe.coadds import open_fits
from lenspipe.cutouts import read_cutouts
from lenspipe.errors import LenspipeError
from lenspipe.match import read_list
from lenspipe.paths import atomic
from lenspipe.progress import log, track
from lenspipe.records import write_records
from lenspipe.stamps import FLAGS

__all__ = ["SPLITS", "assign_cells", "build_sample"]

SPLITS = ("train", "validation", "test")
#: What keeps a cutout out of the sample; a masked part does not.
BAD_FLAGS = FLAGS.MISSING_BAND | FLAGS.EDGE | FLAGS.NONFINITE | FLAGS.NO_EXPOSURE
#: Most examples in a file of records.
_SHARD = 1000
_COLUMNS = ["id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "type"]


def assign_cells(lenses, galaxies, fractions, rng):
    """Give each cell on the sky to one split, so that lenses divide as the fractions say.

    Cells are shuffled, those with the most lenses go first, and each goes to the split that lacks
    most lenses; then cells without lenses go to the split that lacks most galaxies.

    Parameters
    ----------
    lenses, galaxies : array of int, (N,)
        How many of each there are in a cell.
    fractions : tuple of float
        Part of each split; they add up to 1.
    rng : numpy.random.Generator
        Decides among equals.

    Returns
    -------
    ndarray of int, (N,)
        Index of each cell's split.
    """
    lenses, galaxies = np.asarray(lenses), np.asarray(galaxies)
    order = rng.permutation(len(lenses))
    order = order[np.argsort(-lenses[order], kind="stable")]
    split = np.full(len(lenses), -1)
    lacking = {
        name: np.multiply(fractions, n.sum()) for name, n in (("l", lenses), ("g", galaxies))
    }
    for cell in order:
        split[cell] = np.argmax(lacking["l" if lenses[cell] else "g"])
        lacking["l"][split[cell]] -= lenses[cell]
        lacking["g"][split[cell]] -= galaxies[cell]
    return split


def build_sample(settings):
    """Choose the labelled sample and write its records and, last, ``sample/sample.parquet``.

    Lenses are the galaxies of the parent sample nearest to a known lens, within the match radius.
    Others are galaxies away from any known lens: first those of the list of confusing ones, then
    random ones, up to the configured number per lens in each split. Bricks are divided between
    splits by the HEALPix cell (nested) of their centre, so that no brick is on two sides. Cutouts
    with missing band, edge, non-finite pixels or no exposure are left out. Only identifiers and
    positions of the parent sample are kept in memory, about 200 bytes a galaxy.

    Parameters
    ----------
    settings : lenspipe.config.Settings
        The run's settings.

    Returns
    -------
    pandas.DataFrame
        What sample.parquet holds: id, release, brickid, objid, brick, region, ra, dec, type, chunk;
        label (float32, 1 or 0), class (``lens``, ``random``, ``confusing`` or
        ``confusing:<kind>``), split, shard (file name) and row in it; sorted by split, shard, row.

    Raises
    ------
    LenspipeError
        A list is unreadable, or matches no galaxy; the training or validation split has no lens.
    """
    paths, own = settings.paths, settings.sample
    bricks = pd.read_parquet(paths.bricks)
    lens_path = own.known_lenses or paths.known_lenses
    known, confusing = read_list(lens_path), _read_confusing(settings)
    parent = _read_parent(settings, sorted(bricks["chunk"].unique()), known, confusing)
    radius = own.match_radius_arcsec
    parent["class"] = "random"
    listed = _nearest(parent, "confusing", radius)
    kinds = confusing["kind"].to_numpy()[parent.loc[listed, "confusing"]]
    parent.loc[listed, "class"] = [f"confusing:{kind}" if kind else "confusing" for kind in kinds]
    lenses = _nearest(parent, "known", radius)
    parent.loc[lenses, "class"] = "lens"
    log.info(
        "sample: %d of %d known lenses and %d of %d confusing galaxies are in the parent sample of "
        "%d galaxies", len(lenses), len(known), len(listed), len(confusing), len(parent),
    )  # fmt: skip
    if len(lenses) == 0:
        raise LenspipeError(
            f"{lens_path}: found {len(known)} lenses, none within {radius} arcsec of the parent "
            f"sample's {len(parent)} galaxies; give a list for this part of the sky, enlarge "
            "footprint, or loosen parent"
        )
    near = (parent["class"] != "lens") & (parent["known_arcsec"] < own.exclusion_arcsec)
    log.info(
        "sample: %d galaxies within %.0f arcsec of a known lens are left out",
        near.sum(), own.exclusion_arcsec,
    )  # fmt: skip
    parent = parent[~near].sort_values(["brick", "id"], ignore_index=True)

    rng = np.random.default_rng(settings.seed)
    usable = _Usable(settings)
    lenses = usable.of(parent[parent["class"] == "lens"])
    split_of_brick = _split_bricks(settings, bricks, parent, lenses, rng)
    parent["split"] = parent["brick"].map(split_of_brick)
    chosen = []
    for split in SPLITS:
        part = parent[parent["split"] == split]
        positives = part[part.index.isin(lenses.index)]
        if split != "test" and positives.empty:
            raise LenspipeError(
                f"{lens_path}: the {split} split has no lens: {len(known)} in the list, "
                f"{len(lenses)} matched with good cutouts; give more known lenses, search more sky "
                "(footprint), raise sample.split_nside, or change sample.fractions or seed"
            )
        most = round(own.negatives_per_lens * len(positives))
        others = _draw_others(part, most, usable, rng)
        chosen += [positives, others]
        log.info(
            "sample: %s: %s", split, dict(Counter(positives["class"]) + Counter(others["class"]))
        )
    usable.say()
    sample = pd.concat(chosen)
    sample["label"] = (sample["class"] == "lens").astype("float32")
    return _write(settings, sample.drop(columns=["known", "known_arcsec", "confusing",
                                                 "confusing_arcsec"]), rng)  # fmt: skip


def _read_confusing(settings):
    """The list of confusing galaxies; empty in a search of real data that has none."""
    path = settings.sample.confusing
    if path is None and settings.simulation is None:
        return pd.DataFrame({"ra": [], "dec": [], "kind": []})
    return read_list(path or settings.paths.confusing)


def _read_parent(settings, chunks, known, confusing):
    """The parent sample with the nearest entry of each list (-1: none within a degree)."""
    tables = []
    for chunk in track(chunks, "sample: chunks matched"):
        path = settings.paths.parent(chunk)
        if not path.exists():
            raise LenspipeError(f"{path}: no such file; make the parent sample of {chunk} first")
        table = pd.read_parquet(path, columns=_COLUMNS).assign(chunk=chunk)
        here = SkyCoord(table["ra"], table["dec"], unit="deg")
        for name, entries in (("known", known), ("confusing", confusing)):
            table[name], table[f"{name}_arcsec"] = -1, np.inf
            if len(table) and len(entries):
                there = SkyCoord(entries["ra"], entries["dec"], unit="deg")
                index, distance, _ = here.match_to_catalog_sky(there)
                table[name], table[f"{name}_arcsec"] = index, distance.arcsec
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _nearest(parent, name, radius_arcsec):
    """Index of the galaxy nearest to each entry of a list, within a radius."""
    within = parent[parent[f"{name}_arcsec"] < radius_arcsec]
    return within.groupby(name)[f"{name}_arcsec"].idxmin().to_numpy()


def _split_bricks(settings, bricks, parent, lenses, rng):
    """Brick -> split."""
    grid = HEALPix(settings.sample.split_nside, order="nested")
    cells = grid.lonlat_to_healpix(
        bricks["ra"].to_numpy() * u.deg, bricks["dec"].to_numpy() * u.deg
    )
    table = pd.DataFrame({"brick": bricks["brick"], "cell": cells}).sort_values("brick")
    table["lenses"] = table["brick"].map(lenses["brick"].value_counts()).fillna(0).astype(int)
    table["galaxies"] = table["brick"].map(parent["brick"].value_counts()).fillna(0).astype(int)
    counts = table.groupby("cell")[["lenses", "galaxies"]].sum()
    split = assign_cells(counts["lenses"], counts["galaxies"], settings.sample.fractions, rng)
    names = pd.Series(np.array(SPLITS)[split], counts.index)
    return dict(zip(table["brick"], table["cell"].map(names), strict=True))


def _draw_others(part, most, usable, rng):
    """Non-lenses of a split: confusing ones first, each group in random order."""
    drawn = [part.iloc[:0]]
    for group in (part["class"].str.startswith("confusing"), part["class"] == "random"):
        rest = part[group]
        rest = rest.iloc[rng.permutation(len(rest))]
        while len(rest) and (wanted := most - sum(map(len, drawn))) > 0:
            drawn.append(usable.of(rest.iloc[:wanted]))
            rest = rest.iloc[wanted:]
    return pd.concat(drawn)


class _Usable:
    """Which galaxies have a good cutout; opens a brick's file when it is first asked about it."""

    def __init__(self, settings):
        self.settings = settings
        self.flags = {}
        self.left_out = Counter()

    def of(self, rows):
        """Return the rows with good cutouts and count the reasons of the others."""
        good = np.zeros(len(rows), bool)
        if new := sorted(set(rows["brick"]) - set(self.flags)):
            for brick in track(new, "sample: flags of bricks"):
                self.flags[brick] = self._read(brick)
        for brick, group in rows.reset_index(drop=True).groupby("brick"):
            flags = group["id"].map(self.flags[brick])
            self.left_out["no cutout"] += int(flags.isna().sum())
            bad = flags.fillna(0).to_numpy(int) & BAD_FLAGS.value
            for flag in BAD_FLAGS:
                self.left_out[flag.name] += int((bad & flag.value > 0).sum())
            good[group.index] = flags.notna() & (bad == 0)
        return rows[good]

    def _read(self, brick):
        path = self.settings.paths.cutouts(brick)
        if not path.exists():
            return {}
        with open_fits(path) as hdus:
            rows = hdus["CATALOG"].read(columns=["id", "flags"])
        return dict(zip(rows["id"].tolist(), rows["flags"].tolist(), strict=True))

    def say(self):
        """Log what was left out."""
        reasons = {reason: n for reason, n in self.left_out.items() if n}
        log.info("sample: left out for their cutouts: %s", reasons or "none")


def _write(settings, sample, rng):
    """Write the records in random order, then the table."""
    paths = settings.paths
    paths.sample.unlink(missing_ok=True)  # while records change, no table vouches for them
    parts, written = [], set()
    for split in SPLITS:
        part = sample[sample["split"] == split]
        part = part.iloc[rng.permutation(len(part))].reset_index(drop=True)
        pattern = paths.sample_shards(split)
        for i in track(range(-(-len(part) // _SHARD)), f"sample: shards of {split}"):
            rows = part.iloc[i * _SHARD : (i + 1) * _SHARD]
            path = pattern.with_name(pattern.name.replace("*", f"{i:05d}"))
            images, table = _gather(settings, rows)
            write_records(path, images, table, rows["label"].to_numpy())
            parts.append(rows.assign(shard=path.name, row=np.arange(len(rows))))
            written.add(path)
        for path in pattern.parent.glob(pattern.name):
            if path not in written:
                path.unlink()
    sample = pd.concat(parts, ignore_index=True)
    with atomic(paths.sample) as temporary:
        sample.to_parquet(temporary, index=False)
    return sample


def _gather(settings, rows):
    """Cutouts and their tables in the order of the rows."""
    images, tables, ids = [], [], []
    for brick, group in rows.groupby("brick"):
        pixels, table = read_cutouts(settings.paths.cutouts(brick))
        index = table.reset_index().set_index("id").loc[group["id"], "index"].to_numpy()
        images.append(pixels[index])
        tables.append(table.iloc[index])
        ids += group["id"].tolist()
    order = pd.Series(np.arange(len(ids)), ids)[rows["id"]].to_numpy()
    table = pd.concat(tables, ignore_index=True).iloc[order].reset_index(drop=True)
    return np.concatenate(images)[order], table
