"""The labelled sample: known lenses and non-lenses, drawn fairly and divided by sky area."""

from collections import Counter

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.catalogs.known_lenses import read_confusing, read_graded
from lenspipe.config.flags import BAD_FLAGS
from lenspipe.cutouts.chunk import cutouts_at
from lenspipe.products.known_lenses import read_known
from lenspipe.products.sample import SPLITS, sample_version
from lenspipe.sample.cleaning import Cleaner
from lenspipe.sample.fair_draw import BIN, draw_fairly, fair_ratio
from lenspipe.sample.shards import write_sample
from lenspipe.sample.splits import on_two_sides, split_bricks
from lenspipe.survey.bricks import bricks_at
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import open_fits
from lenspipe.utils.progress import log, track

__all__ = ["build_sample"]

_COLUMNS = ["id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "type"]

#: Which non-lenses are drawn first.
_PRIORITY = {"graded": 0, "confusing": 1, "random": 2}


def build_sample(settings):
    """Choose the labelled sample and write its records and, last, ``sample/sample.parquet``.

    Lenses are the galaxies of the parent sample nearest to a known lens of the chosen grades, kinds
    and types, within the match radius; ``sample/known-lenses.csv`` says what became of each.
    Non-lenses are away from any known lens: galaxies graded D, then listed confusing ones, then
    random ones, as many per lens in each bin of Tractor type, region and exposures in the last band
    (`lenspipe.sample.fair_draw`). Bricks are divided between splits by the HEALPix cell of their
    centre, so that no brick is on two sides; a galaxy with a lens of another split on its cutout is
    left out. So are cutouts with missing band, edge, non-finite pixels or no exposure. What a
    previous model takes for a lens is set aside (`lenspipe.sample.cleaning`). Of the whole parent
    sample only identifiers, positions and bins are kept in memory, about 200 bytes a galaxy.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings.

    Returns
    -------
    pandas.DataFrame
        What sample.parquet holds; see docs/outputs.md.

    Raises
    ------
    LenspipeError
        A list is unreadable, or matches no galaxy; a split has no lens, or no non-lens.
    """
    bricks = pd.read_parquet(settings.paths.bricks)
    lists = {
        "known": read_known(settings.paths.lenses),
        "graded": read_graded(settings),
        "confusing": read_confusing(settings),
    }
    parent = _read_parent(settings, sorted(bricks["chunk"].unique()), lists)
    lenses = _match_lenses(settings, parent, lists["known"], bricks)
    usable = _Usable(settings)
    matched = parent.loc[lenses["row"].dropna().astype(int)].assign(
        grade=lenses["grade"].to_numpy()[lenses["row"].notna()],
        references=lenses["references"].to_numpy()[lenses["row"].notna()],
        system=lenses.index[lenses["row"].notna()],
    )
    good = usable.of(matched)
    lenses.loc[matched.loc[matched.index.difference(good.index), "system"], "fate"] = "bad cutout"
    # Graded galaxies come and go with each round; the sides on which bricks are do not.
    stable = good[lists["known"]["catalogued"].to_numpy()[good["system"]]]
    split_of = split_bricks(settings, bricks, parent, stable if len(stable) else good)
    parent["split"] = parent["brick"].map(split_of).astype(str)
    positives = good[good["system"].isin(lenses.index[lenses["fate"] == "used"])]
    positives = positives.assign(split=positives["brick"].map(split_of).astype(str))
    positives = _on_one_side(settings, positives, lenses)
    lenses.loc[positives["system"], "fate"] = positives["split"].to_numpy()
    _check_splits(settings, positives, len(lists["known"]))
    pool = _non_lenses(settings, parent, lists, positives)
    del parent

    cleaner = Cleaner(settings)
    negatives = _draw(settings, pool, positives, lambda rows: cleaner.of(usable.of(rows)))
    left = pool.drop(negatives.index).drop(cleaner.aside.index)
    hosts = _draw_hosts(settings, left, positives, usable)
    usable.say()
    chosen = pd.concat([positives.assign(**{"class": "lens"}), negatives, hosts])
    chosen["label"] = chosen["class"].isin(["lens", "injected"]).astype("float32")
    sample = write_sample(settings, chosen, lenses.drop(columns="row"), split_of)
    cleaner.write(sample_version(settings.paths.records_manifest))
    return sample


def _read_parent(settings, chunks, lists):
    """The parent sample with the nearest entry of each list (-1: none)."""
    exposures = f"nobs_{settings.survey.bands[-1]}"
    tables = []
    for chunk in track(chunks, "sample: chunks matched"):
        path = settings.paths.parent(chunk)
        if not path.exists():
            raise LenspipeError(f"{path}: no such file; make the parent sample of {chunk} first")
        table = pd.read_parquet(path, columns=[*_COLUMNS, exposures])
        table = table.rename(columns={exposures: "exposures"}).assign(chunk=chunk)
        here = SkyCoord(table["ra"], table["dec"], unit="deg")
        for name, entries in lists.items():
            table[name], table[f"{name}_arcsec"] = -1, np.inf
            if len(table) and len(entries):
                there = SkyCoord(entries["ra"], entries["dec"], unit="deg")
                index, distance, _ = here.match_to_catalog_sky(there)
                table[name], table[f"{name}_arcsec"] = index, distance.arcsec
        tables.append(table)
    parent = pd.concat(tables, ignore_index=True).sort_values(["brick", "id"], ignore_index=True)
    return parent.astype(dict.fromkeys(("region", "type", "chunk"), "category"))


def _nearest(settings, parent, name):
    """Entry of a list -> row of the galaxy nearest to it, within the match radius."""
    within = parent[parent[f"{name}_arcsec"] < settings.sample.match_radius_arcsec]
    return within.groupby(name)[f"{name}_arcsec"].idxmin()


def _match_lenses(settings, parent, known, bricks):
    """Known lenses with the row of their galaxy (NaN: none) and what becomes of them."""
    own = settings.sample
    lenses = known.assign(row=_nearest(settings, parent, "known").reindex(known.index))
    found = lenses["row"].dropna().astype(int)
    for column in ("id", "brick", "type"):
        lenses[column] = parent[column].astype(object).reindex(found).set_axis(found.index)
    lenses["distance_arcsec"] = parent["known_arcsec"].reindex(found).set_axis(found.index)
    here = pd.Series(bricks_at(known["ra"], known["dec"])[0], known.index).isin(bricks["brick"])
    lenses["fate"] = "used"
    for fate, those in (
        ("kind not chosen", own.kinds and ~known["kind"].isin(["", *(own.kinds or ())])),
        ("grade not chosen", own.grades and ~known["grade"].isin(own.grades or ())),
        ("type not chosen", own.lens_types and ~lenses["type"].isin(own.lens_types or ())),
        ("no galaxy of the parent sample there", lenses["row"].isna()),
        ("off the bricks of this run", lenses["row"].isna() & ~here),
    ):
        if those is not None:
            lenses.loc[those, "fate"] = fate
    called = lenses["names"].where(lenses["names"] != "", lenses["ra"].map("{:.4f} ".format)
                                   + lenses["dec"].map("{:+.4f}".format))  # fmt: skip
    counts = lenses["fate"].value_counts()
    log.info("sample: of %d known lenses %d can be used", len(known), counts.get("used", 0))
    for fate, number in counts.drop("used", errors="ignore").items():
        first = ", ".join(called[lenses["fate"] == fate].head(3)) + ", ..." * (number > 3)
        log.info("sample: %d known lenses are left out: %s (%s)", number, fate, first)
    if "used" not in counts:
        raise LenspipeError(
            f"{settings.paths.lenses}: found {len(known)} known lenses, none of them usable among "
            f"the parent sample's {len(parent)} galaxies ({counts.to_dict()}); give catalogues for "
            "this part of the sky (sample.known_lenses), or enlarge footprint, parent, "
            f"sample.match_radius_arcsec ({own.match_radius_arcsec:g}), grades or types"
        )
    return lenses


def _on_one_side(settings, positives, lenses):
    """Lenses without those that have a lens of another split on their cutout."""
    both = on_two_sides(settings, positives, positives)
    lenses.loc[positives.loc[both, "system"], "fate"] = "lens of another split on its cutout"
    return positives[~both]


def _check_splits(settings, positives, number):
    """Stop where a split that is asked for has no lens."""
    counts = positives["split"].value_counts()
    for split, part in zip(SPLITS, settings.sample.fractions, strict=True):
        if part and split not in counts:
            raise LenspipeError(
                f"{settings.paths.lenses}: the {split} split has no lens: {number} known, "
                f"{len(positives)} with good cutouts in this run; give more known lenses, search "
                "more sky (footprint), raise sample.split_nside, or change sample.fractions or seed"
            )


def _non_lenses(settings, parent, lists, positives):
    """Galaxies that may be non-lenses, with class and priority."""
    near = parent["known_arcsec"] < settings.sample.exclusion_arcsec
    kinds = pd.Series("random", parent.index, dtype=object)
    for name in ("confusing", "graded"):
        entry = _nearest(settings, parent, name)
        found, entries = entry.to_numpy(), lists[name].loc[entry.index]
        if name == "confusing":
            kinds[found] = [f"confusing:{k}" if k else "confusing" for k in entries["kind"]]
        else:
            kinds[found] = np.where(entries["grade"] == "D", "graded", "undecided")
        log.info(
            "sample: %d of %d %s galaxies are in the parent sample, %d of them near a known lens",
            len(found), len(lists[name]), name, near[found].sum(),
        )  # fmt: skip
    log.info(
        "sample: %d galaxies within %.0f arcsec of a known lens are left out",
        near.sum() - len(positives), settings.sample.exclusion_arcsec,
    )  # fmt: skip
    pool = parent.assign(**{"class": kinds})[~near & (kinds != "undecided")]
    pool = pool[~on_two_sides(settings, pool, positives)]
    group = pool["class"].str.partition(":")[0]
    return pool.assign(priority=group.map(_PRIORITY).astype(int))


def _draw(settings, pool, positives, accept):
    """Non-lenses of all splits."""
    rng = np.random.default_rng([settings.seed, 21])
    lenses, supply = (
        table.groupby(["split", *BIN], observed=True).size() for table in (positives, pool)
    )
    ratio = fair_ratio(
        lenses, supply.reindex(lenses.index, fill_value=0), settings.sample.negatives_per_lens
    )
    if ratio < settings.sample.negatives_per_lens:
        log.info(
            "sample: %.3g non-lenses per lens, not %g: the parent sample has no more for all bins",
            ratio, settings.sample.negatives_per_lens,
        )  # fmt: skip
    drawn = []
    for split in SPLITS:
        mine = positives[positives["split"] == split]
        parts, short = draw_fairly(pool[pool["split"] == split], mine, ratio, accept, rng)
        drawn += parts
        got = Counter(kind for part in parts for kind in part["class"])
        if len(mine):
            log.info("sample: %s: %d lenses, %s", split, len(mine), dict(got))
            if not got:
                raise LenspipeError(
                    f"sample: the {split} split has no non-lens; search more sky (footprint) or "
                    "lower sample.exclusion_arcsec"
                )
        if short:
            log.info("sample: %s: %d non-lenses could not be had", split, short)
    return pd.concat(drawn)


def _draw_hosts(settings, left, positives, usable):
    """Random galaxies of the training split that lensed arcs are painted on, binned as the rest."""
    wanted = settings.sample.injected_per_lens
    if not wanted:
        return left.iloc[:0]
    pool = left[(left["split"] == "train") & (left["class"] == "random")]
    rng = np.random.default_rng([settings.seed, 22])
    lenses = positives[positives["split"] == "train"]
    parts, short = draw_fairly(pool, lenses, wanted, usable.of, rng)
    if short:
        log.info("sample: %d galaxies short of hosts for injected lenses", short)
    hosts = pd.concat([pool.iloc[:0], *parts])
    return hosts.assign(id="injected:" + hosts["id"], **{"class": "injected"})


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
        path = cutouts_at(self.settings, brick)
        if not path.exists():
            return {}
        with open_fits(path) as hdus:
            rows = hdus["CATALOG"].read(columns=["id", "flags"])
        return dict(zip(rows["id"].astype(str), rows["flags"].tolist(), strict=True))

    def say(self):
        """Log what was left out."""
        reasons = {reason: n for reason, n in self.left_out.items() if n}
        log.info("sample: left out for their cutouts: %s", reasons or "none")
