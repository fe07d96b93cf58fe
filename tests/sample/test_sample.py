import hashlib

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from helpers.fake_run import make_run

from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.flags import FLAGS
from lenspipe.config.settings import load_settings
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.records import dataset
from lenspipe.products.sample import SPLITS
from lenspipe.sample.build import build_sample
from lenspipe.utils.errors import LenspipeError

LISTS = "results/fake/sky/known-lenses.csv", "results/fake/sky/confusing.csv"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A run of 8 bricks with 20 galaxies of 21 pixels each: 4 lenses, 3 confusing."""
    monkeypatch.chdir(tmp_path)
    return make_run(8, 20, 4, 3, size=21, sample={"negatives_per_lens": 3, "exclusion_arcsec": 3})


def change(settings, **sample):
    """The same run with other settings of the sample, and its known lenses merged anew."""
    config = settings.model_dump()
    changed = load_settings(config | {"sample": config["sample"] | sample})
    merge_known(changed)
    return changed


def relist(settings, path, table):
    """Write a list anew."""
    table.to_csv(path, index=False)
    merge_known(settings)


def read_split(settings, split):
    pattern = settings.paths.sample_shards(split)
    paths = sorted(pattern.parent.glob(pattern.name))
    batches = list(dataset(paths, 1000, 3, 21).as_numpy_iterator())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def set_flag(settings, brick, row, flag):
    with fits.open(settings.paths.cutouts(brick), mode="update") as hdus:
        hdus["CATALOG"].data["flags"][row] = flag


def test_classes_numbers_and_splits(settings):
    sample = build_sample(settings)
    pd.testing.assert_frame_equal(sample, pd.read_parquet(settings.paths.sample))
    assert sample["id"].is_unique
    assert (sample.groupby("brick")["split"].nunique() == 1).all()
    lenses = sample[sample["label"] == 1]
    assert len(lenses) == 32
    # fake_run puts a brick's lenses first, then its confusing galaxies.
    assert (lenses["objid"] < 4).all()
    assert (lenses["class"] == "lens").all()
    confusing = sample[sample["class"] == "confusing:spiral"]
    assert len(confusing) == 24
    assert confusing["objid"].between(4, 6).all()
    assert (sample.loc[sample["class"] == "random", "objid"] >= 7).all()
    for split, n in sample.groupby("split")["label"].agg(["sum", "size"]).iterrows():
        assert n["size"] == 4 * n["sum"], split
    n_lenses = lenses["split"].value_counts()
    assert n_lenses["train"] == 20
    assert n_lenses["validation"] + n_lenses["test"] == 12


def test_records_hold_the_pixels_of_the_rows_they_are_named_after(settings):
    sample = build_sample(settings)
    for split in SPLITS:
        rows = sample[sample["split"] == split]
        back = read_split(settings, split)
        assert back["id"].astype(str).tolist() == rows["id"].tolist()
        assert back["label"].tolist() == rows["label"].tolist()
        for i in range(0, len(rows), 7):
            images, table = read_cutouts(settings.paths.cutouts(rows["brick"].iloc[i]))
            image = images[table["id"] == rows["id"].iloc[i]][0]
            np.testing.assert_array_equal(back["image"][i], image)


def test_same_seed_gives_the_same_files_and_another_seed_others(settings):
    def content():
        folder = settings.paths.sample.parent
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}

    build_sample(settings)
    first = content()
    build_sample(settings)
    assert content() == first
    build_sample(load_settings(settings.model_dump() | {"seed": 5}))
    assert content() != first


def test_stale_shards_are_deleted(settings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lenspipe.sample.shards._SHARD", 10)
        sample = build_sample(settings)
    assert sample["shard"].nunique() > 10
    assert sample.groupby("shard").size().max() == 10
    assert len(read_split(settings, "train")["id"]) == (sample["split"] == "train").sum()
    build_sample(settings)
    assert len(list(settings.paths.sample.parent.glob("*.tfrecord"))) == 3


def test_bad_cutouts_are_left_out_and_counted(settings, caplog):
    caplog.set_level("INFO", "lenspipe")
    bad = build_sample(settings).query("label == 1").iloc[[0, 1, 2]]
    for (_, row), flag in zip(bad.iterrows(), (FLAGS.EDGE, FLAGS.MASKED, 1 + 8), strict=True):
        set_flag(settings, row["brick"], row["objid"], int(flag))
    gone = bad["id"].iloc[[0, 2]]
    sample = build_sample(settings)
    assert not sample["id"].isin(gone).any()
    assert sample["id"].isin(bad["id"].iloc[[1]]).any()
    assert "'MISSING_BAND': 1, 'EDGE': 1, 'NONFINITE': 1" in caplog.text


def test_bricks_without_cutouts_are_left_out(settings):
    brick = build_sample(settings)["brick"].iloc[0]
    settings.paths.cutouts(brick).unlink()
    assert brick not in set(build_sample(settings)["brick"])


def test_nothing_near_a_known_lens_is_a_non_lens(settings):
    # Neighbours of a lens in a brick are 36 arcsec away in right ascension, and 0 to 720 in Dec.
    known = pd.read_csv(LISTS[0])
    confusing = pd.read_csv(LISTS[1])
    # This one is on both lists: it is a lens. The next confusing galaxy is 5 arcsec from a lens.
    known.iloc[0, :2] = confusing.iloc[0, :2]
    known.loc[len(known)] = [confusing["ra"][1], confusing["dec"][1] + 5 / 3600, "lens"]
    relist(settings, LISTS[0], known)
    far = build_sample(change(settings, exclusion_arcsec=4))
    near = build_sample(change(settings, exclusion_arcsec=6))
    assert far["id"].isin(["9010-1500-4", "9010-1500-5"]).sum() == 2
    assert far.set_index("id")["label"]["9010-1500-4"] == 1
    assert near["id"].isin(["9010-1500-4", "9010-1500-5"]).sum() == 1


def test_only_the_nearest_galaxy_is_the_lens(settings):
    parent = settings.paths.parent("64-000000")
    table = pd.read_parquet(parent)
    twin = table["id"] == "9010-1500-19"
    table.loc[twin, "ra"] = table["ra"].iloc[0]
    table.loc[twin, "dec"] = table["dec"].iloc[0] + 1.5 / 3600
    table.to_parquet(parent)
    sample = build_sample(settings)
    assert "9010-1500-0" in set(sample.query("label == 1")["id"])
    assert "9010-1500-19" not in set(sample["id"])


def test_list_of_another_part_of_the_sky_is_refused(settings):
    relist(settings, LISTS[0], pd.DataFrame({"ra": [10.0], "dec": [-60.0]}))
    with pytest.raises(LenspipeError, match=r"found 1 known lenses, none of .*'off the bricks"):
        build_sample(settings)


def test_a_split_without_a_lens_is_refused(settings):
    relist(settings, LISTS[0], pd.read_csv(LISTS[0]).iloc[:2])
    with pytest.raises(LenspipeError, match="validation split has no lens: 2 known, 2 with good"):
        build_sample(settings)
    assert not settings.paths.sample.exists()


def test_fate_of_each_known_lens_is_listed(settings):
    known = pd.read_csv(LISTS[0]).assign(grade=["A", "B", "C", "A"] * 8)
    known.loc[0, "dec"] += 3 / 3600
    known.loc[len(known)] = [10.0, -60.0, "lens", "A"]
    relist(settings, LISTS[0], known)
    first = build_sample(settings).query("label == 1").iloc[0]
    set_flag(settings, first["brick"], first["objid"], int(FLAGS.EDGE))
    sample = build_sample(change(settings, grades=["A", "B"]))
    told = pd.read_csv(settings.paths.sample_lenses)
    assert len(told) == 33
    fates = told["fate"].value_counts()
    # Bricks of this run have other names than the survey's at the same place.
    assert fates["off the bricks of this run"] == 2
    assert fates["grade not chosen"] + (first["grade"] == "C") == 8
    lenses = sample[sample["label"] == 1]
    assert fates[["train", "validation", "test"]].sum() == len(lenses)
    assert set(lenses["grade"]) == {"A", "B"}
    used = told[told["fate"].isin(SPLITS)].set_index("id")
    assert used["fate"].to_dict() == lenses.set_index("id")["split"].to_dict()
    # Lenses of other grades are no non-lenses either.
    others = sample[sample["label"] == 0]
    assert not others["id"].isin(told["id"]).any()


def test_all_lenses_can_be_trained_on(settings):
    sample = build_sample(change(settings, fractions="none"))
    assert set(sample["split"]) == {"train"}
    assert (sample["label"] == 1).sum() == 32


def test_seventy_thirty_leaves_no_test_split(settings):
    sample = build_sample(change(settings, fractions=[0.7, 0.3]))
    counts = sample[sample["label"] == 1]["split"].value_counts()
    assert set(counts.index) == {"train", "validation"}
    assert abs(counts["train"] - 0.7 * 32) <= 4


def test_bins_of_both_classes_agree(settings):
    sample = build_sample(change(settings, negatives_per_lens=1))
    assert sample["bin"].str.fullmatch(r"DEV south \d").all()
    assert (sample["bin"].str[-1].astype(int) == sample["nobs_z"]).all()
    counts = sample.groupby(["split", "bin", "label"]).size().unstack(fill_value=0)
    # A few come from the next bin where there are too few.
    assert (counts[0.0] - counts[1.0]).abs().sum() <= 8
    assert counts[0.0].sum() == counts[1.0].sum()
