"""The labelled sample: known lenses and matched non-lenses, split by sky area."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from lenspipe.catalogs.known_lenses import read_confusing, read_graded_lists
from lenspipe.config.flags import BAD_FLAGS
from lenspipe.config.learning import Sample
from lenspipe.config.paths import model_file
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.products.cards import describe_model
from lenspipe.products.cutouts import read_flags
from lenspipe.products.sample import SPLITS, sample_version
from lenspipe.products.schema import WITH_TYPE, names_of
from lenspipe.products.tables import read_table
from lenspipe.sample.cleaning import Cleaner
from lenspipe.sample.grading_lists import write_for_grading
from lenspipe.sample.matched_draw import BIN, draw_matched, matched_ratio
from lenspipe.sample.shards import write_sample
from lenspipe.sample.splits import cells_of_bricks, near_lens_of_other_split, split_bricks
from lenspipe.scoring.score import load_model_for_run
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = ["build_sample"]

#: Order in which classes of non-lenses are drawn.
_PRIORITY = {"graded": 0, "confusing": 1, "random": 2}


def build_sample(settings: Settings) -> pd.DataFrame:
    """Select the labelled sample and write its records and, last, ``sample/sample.parquet``.

    Lenses are the galaxies of the parent sample nearest to a known lens that can be seen from the
    ground, of the selected grades, kinds and types, within the match radius;
    ``sample/known-lenses.csv`` lists the fate of each. Non-lenses are away from any known lens:
    galaxies graded D, then listed confusing ones, then random ones, with the same number per lens
    in each bin of Tractor type, region and exposures in the last band
    (`lenspipe.sample.matched_draw`). Bricks are assigned to splits by the HEALPix cell of their
    centre. Galaxies with a lens of another split on their cutout are left out, and so are cutouts
    with a missing band, an edge, non-finite pixels or no exposure. Non-lenses that a previous model
    takes for lenses are set aside (`lenspipe.sample.cleaning`). Only identifiers, positions and
    bins of the parent sample are kept in memory, about 200 bytes per galaxy. Return the content of
    sample.parquet; see docs/outputs.md.

    Raises
    ------
    LenspipeError
        A list is unreadable, or matches no galaxy; a split has no lens, or no non-lens.
    """
    paths, section, seed = settings.paths, settings.sample, settings.seed
    cutouts = CutoutFiles.of(settings)
    bricks = read_table(paths.bricks, "bricks")
    known = read_table(paths.lenses, "known")
    retrieval, simulated = settings.retrieval, bool(settings.simulation)
    lists = {
        "known": known,
        "graded": read_graded_lists(section.graded, retrieval, paths.hosts),
        "confusing": read_confusing(section, paths, retrieval, simulated),
    }
    chunks = {chunk: paths.parent(chunk) for chunk in sorted(bricks["chunk"].unique())}
    parent = _read_parent(chunks, f"nobs_{settings.survey.bands[-1]}", lists)
    lenses = _match_lenses(
        section, parent, known, bricks["brick"], settings.release.brick_deg, paths.lenses
    )
    usable = _UsableCutouts(cutouts)
    matched = parent.loc[lenses["row"].dropna().astype(int)].assign(
        grade=lenses["grade"].to_numpy()[lenses["row"].notna()],
        references=lenses["references"].to_numpy()[lenses["row"].notna()],
        system=lenses.index[lenses["row"].notna()],
    )
    good = usable.select(matched)
    lenses.loc[matched.loc[matched.index.difference(good.index), "system"], "fate"] = "bad cutout"
    # Graded galaxies change with each round; splits of bricks must not.
    stable = good[known["catalogued"].to_numpy()[good["system"]]]
    cells = cells_of_bricks(bricks, section.split_nside)
    split_of = split_bricks(cells, parent, stable if len(stable) else good, section.fractions, seed)
    parent["split"] = parent["brick"].map(split_of).astype(str)
    positives = good[good["system"].isin(lenses.index[lenses["fate"] == "used"])]
    positives = positives.assign(split=positives["brick"].map(split_of).astype(str))
    contaminated = near_lens_of_other_split(positives, positives, cutouts.side_arcsec)
    fate = "lens of another split on its cutout"
    lenses.loc[positives.loc[contaminated, "system"], "fate"] = fate
    positives = positives[~contaminated]
    lenses.loc[positives["system"], "fate"] = positives["split"].to_numpy()
    _check_splits(section, positives, len(known), paths.lenses)
    pool = _non_lenses(section, parent, lists, len(positives))
    pool = pool[~near_lens_of_other_split(pool, positives, cutouts.side_arcsec)]
    del parent

    cleaner = None
    if section.cleaning_model:
        size, batch_size = settings.cutouts.size, settings.inference.batch_size
        model = load_model_for_run(model_file(section.cleaning_model), cutouts.bands, size)
        cleaner = Cleaner(model, cutouts, section.cleaning_threshold, batch_size)

    def accept(rows: pd.DataFrame) -> pd.DataFrame:
        rows = usable.select(rows)
        return cleaner.select(rows) if cleaner else rows

    rng = np.random.default_rng([seed, 21])
    negatives = _draw(pool, positives, section.negatives_per_lens, accept, rng)
    rest = pool.drop(negatives.index)
    if cleaner:
        rest = rest.drop(cleaner.set_aside.index)
    hosts = _draw_hosts(
        rest,
        positives,
        section.injected_per_lens,
        usable.select,
        np.random.default_rng([seed, 22]),
    )
    usable.log_rejections()
    chosen = pd.concat([positives.assign(**{"class": "lens"}), negatives, hosts])
    chosen["label"] = chosen["class"].isin(["lens", "injected"]).astype("float32")
    dtype, lenses = settings.records.dtype, lenses.drop(columns="row")
    injection = settings.injection
    sample = write_sample(chosen, lenses, split_of, cutouts, injection, dtype=dtype, seed=seed)
    if cleaner and cleaner.set_aside.empty:
        log.info("cleaning: no non-lens has p >= %g", section.cleaning_threshold)
    elif cleaner:
        path = paths.set_aside(sample_version(paths.records_manifest))
        description = "set aside by cleaning"
        mosaics = settings.mosaics
        note = describe_model(model_file(section.cleaning_model)) if section.cleaning_model else ""
        write_for_grading(
            cleaner.set_aside, path, cutouts, mosaics, settings.run, description, note
        )
    return sample


def _read_parent(
    chunks: Mapping[str, Path], exposures: str, lists: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """The parent sample with the nearest entry of each list (-1: none).

    Column `exposures` of the files counts the exposures in the last band.
    """
    tables = []
    for chunk, path in track(chunks.items(), "sample: chunks matched", len(chunks)):
        table = read_table(path, "parent", columns=[*names_of(WITH_TYPE), exposures])
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


def _nearest(parent: pd.DataFrame, name: str, radius_arcsec: float) -> pd.Series:
    """Entry of a list -> row of the galaxy nearest to it, within a radius."""
    within = parent[parent[f"{name}_arcsec"] < radius_arcsec]
    return within.groupby(name)[f"{name}_arcsec"].idxmin()


def _match_lenses(
    section: Sample,
    parent: pd.DataFrame,
    known: pd.DataFrame,
    bricks: pd.Series,
    brick_deg: float,
    source: Path,
) -> pd.DataFrame:
    """Known lenses with the row of their galaxy (NaN: none) and their fate."""
    nearest = _nearest(parent, "known", section.match_radius_arcsec)
    lenses = known.assign(row=nearest.reindex(known.index))
    rows = lenses["row"].dropna().astype(int)
    for column in ("id", "brick", "type"):
        lenses[column] = parent[column].astype(object).reindex(rows).set_axis(rows.index)
    lenses["distance_arcsec"] = parent["known_arcsec"].reindex(rows).set_axis(rows.index)
    brick_names = brick_grid(brick_deg).bricks_at(known["ra"], known["dec"])[0]
    on_bricks = pd.Series(brick_names, known.index).isin(bricks)
    lenses["fate"] = "used"
    # Later fates take precedence.
    for fate, column, accepted in (
        ("not visible from the ground", known["visible"], (True,)),
        ("kind not chosen", known["kind"], section.kinds and ("", *section.kinds)),
        ("grade not chosen", known["grade"], section.grades),
        ("type not chosen", lenses["type"], section.lens_types),
    ):
        if accepted:
            lenses.loc[~column.isin(accepted), "fate"] = fate
    lenses.loc[lenses["row"].isna(), "fate"] = "no galaxy of the parent sample there"
    lenses.loc[lenses["row"].isna() & ~on_bricks, "fate"] = "off the bricks of this run"
    names = lenses["names"].where(lenses["names"] != "", lenses["ra"].map("{:.4f} ".format)
                                  + lenses["dec"].map("{:+.4f}".format))  # fmt: skip
    counts = lenses["fate"].value_counts()
    log.info("sample: %d of %d known lenses can be used", counts.get("used", 0), len(known))
    for fate, number in counts.drop("used", errors="ignore").items():
        first = ", ".join(names[lenses["fate"] == fate].head(3)) + ", ..." * (number > 3)
        log.info("sample: %d known lenses are left out: %s (%s)", number, fate, first)
    if "used" not in counts:
        raise LenspipeError(
            f"{source}: found {len(known)} known lenses, none of them usable among the "
            f"{len(parent)} galaxies of the parent sample ({counts.to_dict()}); give catalogues "
            "for this area of the sky (sample.known_lenses), or enlarge footprint, parent, "
            f"sample.match_radius_arcsec ({section.match_radius_arcsec:g}), grades or types"
        )
    return lenses


def _check_splits(section: Sample, positives: pd.DataFrame, number: int, source: Path) -> None:
    """Stop if a split of a fraction above 0 has no lens."""
    counts = positives["split"].value_counts()
    for split, fraction in zip(SPLITS, section.fractions, strict=True):
        if fraction and split not in counts:
            raise LenspipeError(
                f"{source}: the {split} split has no lens: {number} known, "
                f"{len(positives)} with good cutouts in this run; give more known lenses, search "
                "more sky (footprint), raise sample.split_nside, or change sample.fractions or seed"
            )


def _non_lenses(
    section: Sample, parent: pd.DataFrame, lists: Mapping[str, pd.DataFrame], n_lenses: int
) -> pd.DataFrame:
    """Galaxies that may be non-lenses, with class and priority."""
    near = parent["known_arcsec"] < section.exclusion_arcsec
    classes = pd.Series("random", parent.index, dtype=object)
    for name in ("confusing", "graded"):
        nearest = _nearest(parent, name, section.match_radius_arcsec)
        rows, entries = nearest.to_numpy(), lists[name].loc[nearest.index]
        if name == "confusing":
            classes[rows] = [f"confusing:{k}" if k else "confusing" for k in entries["kind"]]
        else:
            graded = ("graded:" + entries["tag"]).str.rstrip(":")
            classes[rows] = np.where(entries["grade"] == "D", graded, "undecided")
        log.info(
            "sample: %d of %d %s galaxies are in the parent sample, %d of them near a known lens",
            len(rows), len(lists[name]), name, near[rows].sum(),
        )  # fmt: skip
    log.info(
        "sample: %d galaxies within %.0f arcsec of a known lens are left out",
        near.sum() - n_lenses, section.exclusion_arcsec,
    )  # fmt: skip
    pool = parent.assign(**{"class": classes})[~near & (classes != "undecided")]
    group = pool["class"].str.partition(":")[0]
    return pool.assign(priority=group.map(_PRIORITY).astype(int))


def _draw(
    pool: pd.DataFrame,
    positives: pd.DataFrame,
    per_lens: float,
    accept: Callable[[pd.DataFrame], pd.DataFrame],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Non-lenses of all splits."""
    lenses, supply = (
        table.groupby(["split", *BIN], observed=True).size() for table in (positives, pool)
    )
    ratio = matched_ratio(lenses, supply.reindex(lenses.index, fill_value=0), per_lens)
    if ratio < per_lens:
        log.info(
            "sample: %.3g non-lenses per lens, not %g: the parent sample has no more in some bins",
            ratio, per_lens,
        )  # fmt: skip
    drawn = []
    for split in SPLITS:
        of_split = positives[positives["split"] == split]
        tables, short = draw_matched(pool[pool["split"] == split], of_split, ratio, accept, rng)
        drawn += tables
        counts = Counter(name for table in tables for name in table["class"])
        if len(of_split):
            log.info("sample: %s: %d lenses, %s", split, len(of_split), dict(counts))
            if not counts:
                raise LenspipeError(
                    f"sample: the {split} split has no non-lens; search more sky (footprint) or "
                    "lower sample.exclusion_arcsec"
                )
        if short:
            log.info("sample: %s: %d non-lenses fewer than required", split, short)
    return pd.concat(drawn)


def _draw_hosts(
    pool: pd.DataFrame,
    positives: pd.DataFrame,
    per_lens: float,
    accept: Callable[[pd.DataFrame], pd.DataFrame],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Random galaxies of the training split to inject lenses into, from the bins of the lenses."""
    if not per_lens:
        return pool.iloc[:0]
    pool = pool[(pool["split"] == "train") & (pool["class"] == "random")]
    lenses = positives[positives["split"] == "train"]
    tables, short = draw_matched(pool, lenses, per_lens, accept, rng)
    if short:
        log.info("sample: %d hosts for injected lenses fewer than required", short)
    hosts = pd.concat([pool.iloc[:0], *tables])
    return hosts.assign(id="injected:" + hosts["id"], **{"class": "injected"})


class _UsableCutouts:
    """Selects galaxies with a good cutout, and reads the flags of a brick when first needed."""

    def __init__(self, cutouts: CutoutFiles) -> None:
        self.cutouts = cutouts
        self.flags: dict[str, dict[str, int]] = {}
        self.rejected: Counter[str] = Counter()

    def select(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with good cutouts, and count why others are rejected."""
        good = np.zeros(len(rows), bool)
        if new := sorted(set(rows["brick"]) - set(self.flags)):
            for brick in track(new, "sample: flags of bricks"):
                self.flags[brick] = _read_flags(self.cutouts.path(brick))
        for brick, group in rows.reset_index(drop=True).groupby("brick"):
            flags = group["id"].map(self.flags[brick])
            self.rejected["no cutout"] += int(flags.isna().sum())
            bad = flags.fillna(0).to_numpy(int) & BAD_FLAGS.value
            for flag in BAD_FLAGS:
                self.rejected[str(flag.name)] += int((bad & flag.value > 0).sum())
            good[group.index] = flags.notna() & (bad == 0)
        return rows[good]

    def log_rejections(self) -> None:
        reasons = {reason: n for reason, n in self.rejected.items() if n}
        log.info("sample: galaxies left out for their cutouts: %s", reasons or "none")


def _read_flags(path: Path) -> dict[str, int]:
    """Galaxy -> flags of its cutout; empty if there is no such file."""
    return read_flags(path) if path.exists() else {}
