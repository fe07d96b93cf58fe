import hashlib

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from fake_run import make_run
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.config import load_settings
from lenspipe.cutouts import read_cutouts
from lenspipe.errors import LenspipeError
from lenspipe.records import dataset
from lenspipe.sample import SPLITS, assign_cells, build_sample
from lenspipe.stamps import FLAGS

LISTS = "results/fake/sky/known-lenses.csv", "results/fake/sky/confusing.csv"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A run of 8 bricks with 20 galaxies of 21 pixels each: 4 lenses, 3 confusing."""
    monkeypatch.chdir(tmp_path)
    return make_run(8, 20, 4, 3, size=21, sample={"negatives_per_lens": 3, "exclusion_arcsec": 3})


def change(settings, **sample):
    """The same run with other settings of the sample."""
    config = settings.model_dump()
    return load_settings(config | {"sample": config["sample"] | sample})


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
        return {p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.iterdir()}

    build_sample(settings)
    first = content()
    build_sample(settings)
    assert content() == first
    build_sample(load_settings(settings.model_dump() | {"seed": 5}))
    assert content() != first


def test_stale_shards_are_deleted(settings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lenspipe.sample._SHARD", 10)
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
    known.to_csv(LISTS[0], index=False)
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
    pd.DataFrame({"ra": [10.0], "dec": [-60.0]}).to_csv(LISTS[0], index=False)
    with pytest.raises(LenspipeError, match=r"found 1 lenses, none within 2\.0 arcsec of the"):
        build_sample(settings)


def test_a_split_without_a_lens_is_refused(settings):
    pd.read_csv(LISTS[0]).iloc[:2].to_csv(LISTS[0], index=False)
    with pytest.raises(LenspipeError, match="validation split has no lens: 2 in the list, 2 match"):
        build_sample(settings)
    assert not settings.paths.sample.exists()


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 300)), min_size=1, max_size=60),
    st.integers(0, 9),
)
def test_cells_divide_as_the_fractions_say(cells, seed):
    lenses, galaxies = np.array(cells).T
    fractions = np.array([0.6, 0.15, 0.25])
    split = assign_cells(lenses, galaxies, fractions, np.random.default_rng(seed))
    assert np.isin(split, [0, 1, 2]).all()
    got = np.bincount(split, lenses, minlength=3)
    # No split gets more than its part and one cell.
    assert (got <= fractions * lenses.sum() + lenses.max() + 1e-9).all()


def test_a_split_with_no_part_gets_no_cell():
    split = assign_cells([5, 5, 0, 0], [9, 9, 9, 9], (0.5, 0.5, 0.0), np.random.default_rng(0))
    assert 2 not in split
