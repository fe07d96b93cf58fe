"""Cleaning, mining, grading, and the samples that follow."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run
from PIL import Image

from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.settings import load_settings
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.records import dataset
from lenspipe.products.sample import ids_in_all_versions, sample_version
from lenspipe.products.schema import product_of
from lenspipe.products.verify import compare_file, placeholder_values
from lenspipe.sample.build import build_sample
from lenspipe.sample.mining import mine

CHUNKS = "64-000000", "64-000001", "64-000002"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A run of 8 bricks with 40 galaxies of 21 pixels each: 4 lenses, 3 confusing."""
    monkeypatch.chdir(tmp_path)
    plan = {chunk: [] for chunk in CHUNKS}
    monkeypatch.setattr("lenspipe.sample.mining.read_plan", lambda path: plan)
    return make_run(8, 40, 4, 3, size=21, sample={"negatives_per_lens": 4, "exclusion_arcsec": 3,
                                                  "mined": 12})  # fmt: skip


@pytest.fixture
def model(monkeypatch):
    """A model whose score is a galaxy's peak in r."""
    monkeypatch.setattr("lenspipe.sample.build.load_model_for_run", lambda path, *_: path)

    def score(model, images, batch_size):
        assert str(model) == "before.keras"
        return images[:, 1, 10, 10]

    monkeypatch.setattr("lenspipe.sample.cleaning.score_images", score)


def change(settings, **sample):
    config = settings.model_dump()
    changed = load_settings(config | {"sample": config["sample"] | sample})
    merge_known(changed)
    return changed


def grade(path, grades):
    """Write grades into a list, in the order of its rows."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[: len(grades) - 1, "grade"] = list(grades)
    table.to_csv(path, index=False)
    return table["id"].tolist()


def write_scores(settings, p_of=None):
    """Scores of all galaxies of the parent sample; random unless given."""
    rng = np.random.default_rng(3)
    for chunk in CHUNKS:
        table = pd.read_parquet(settings.paths.parent(chunk))[["id", "brick", "ra", "dec"]]
        table = table.assign(flags=0, p=rng.random(len(table)).astype("float32"))
        settings.paths.scores(chunk).parent.mkdir(exist_ok=True)
        table.to_parquet(settings.paths.scores(chunk))


def test_what_a_model_takes_for_lenses_is_set_aside_and_replaced(settings, model):
    plain = build_sample(settings)
    cleaned = build_sample(change(settings, cleaning_model="before.keras", cleaning_threshold=0.5))
    assert sample_version(settings.paths.records_manifest) == 2
    path = settings.paths.set_aside(2)
    aside = pd.read_csv(path, keep_default_na=False)
    assert len(aside) > 3
    assert (aside["p"] >= 0.5).all()
    assert (aside["grade"] == "").all()
    assert aside["rank"].tolist() == list(range(1, len(aside) + 1))
    assert not cleaned["id"].isin(aside["id"]).any()
    assert plain["id"].isin(aside["id"]).any()
    assert len(cleaned) == len(plain)
    # Galaxies that a person calls confusing stay, whatever the model says.
    assert (cleaned["class"].str.startswith("confusing")).sum() == 24
    with Image.open(path.with_name("version-2-page-0001.png")) as page:
        assert page.width > 1000


def test_the_next_sample_reads_the_grades(settings, model):
    own = {"cleaning_model": "before.keras", "cleaning_threshold": 0.5}
    build_sample(change(settings, **own))
    path = settings.paths.set_aside(1)
    ids = grade(path, "DDA")
    assert len(ids) > 4
    # A tag of a lens is no class of non-lenses.
    tags = {ids[1]: "ring: 2 | merger: 1", ids[2]: "ring: 1"}
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(tags=table["id"].map(tags).fillna("")).to_csv(path, index=False)
    changed = change(settings, **own, graded=str(path))
    sample = build_sample(changed).set_index("id")
    assert sample.loc[ids[:2], "class"].tolist() == ["graded", "graded:ring"]
    assert (sample.loc[ids[:2], "label"] == 0).all()
    assert sample.loc[ids[2], ["class", "label", "grade"]].tolist() == ["lens", 1, "A"]
    assert sample.loc[ids[2], "references"].endswith("version-1:A")
    # Without a grade they stay aside, and are not asked about again.
    assert not sample.index.isin(ids[3:]).any()
    if settings.paths.set_aside(2).exists():
        assert not pd.read_csv(settings.paths.set_aside(2))["id"].isin(ids).any()


def test_splits_of_bricks_do_not_change_with_graded_galaxies(settings):
    build_sample(settings)
    before = settings.paths.splits.read_text()
    write_scores(settings)
    mine(settings)
    path = settings.paths.mined(1)
    grade(path, "AAABBBDDD")
    build_sample(change(settings, graded=[str(path)]))
    assert settings.paths.splits.read_text() == before


def test_versions_count_and_are_kept(settings):
    first = build_sample(settings)
    assert sample_version(settings.paths.records_manifest) == 1
    build_sample(settings)
    assert sample_version(settings.paths.records_manifest) == 1
    second = build_sample(change(settings, negatives_per_lens=2))
    assert sample_version(settings.paths.records_manifest) == 2
    pd.testing.assert_frame_equal(pd.read_parquet(settings.paths.sample_version(1)), first)
    assert ids_in_all_versions(settings.paths.sample_version(1).parent) == set(first["id"]) | set(
        second["id"]
    )
    # The first one again: its number comes back.
    build_sample(settings)
    assert sample_version(settings.paths.records_manifest) == 1


def test_mining_gives_the_highest_that_nobody_knows(settings):
    sample = build_sample(settings)
    write_scores(settings)
    mined = mine(settings)
    assert mined["p"].is_monotonic_decreasing
    assert len(mined) == 12
    split = pd.read_csv(settings.paths.splits).set_index("brick")["split"]
    assert (mined["brick"].map(split) == "train").all()
    assert not mined["id"].isin(sample["id"]).any()
    # Those that may be mined: neither lenses, nor confusing, nor in the sample, in training bricks.
    scores = pd.concat([pd.read_parquet(settings.paths.scores(chunk)) for chunk in CHUNKS])
    objid = scores["id"].str.split("-").str[2].astype(int)
    free = scores[(objid >= 7) & (scores["brick"].map(split) == "train")
                  & ~scores["id"].isin(sample["id"])]  # fmt: skip
    assert set(mined["id"]) == set(free.nlargest(12, "p")["id"])
    index = json.loads(settings.paths.mined_index.read_text())
    assert index == {"list": "version-1.csv", "pages": ["version-1-page-0001.png"]}


def test_mining_again_keeps_grades(settings):
    build_sample(settings)
    write_scores(settings)
    mine(settings)
    path = settings.paths.mined(1)
    ids = grade(path, "DA")
    mine(settings)
    table = pd.read_csv(path, keep_default_na=False).set_index("id")
    assert table.loc[ids[0], "grade"] == "D"
    assert table.loc[ids[1], "grade"] == "A"
    # Fewer are asked for: what was graded stays in the list.
    fewer = mine(change(settings, mined=1))
    table = pd.read_csv(path, keep_default_na=False)
    assert len(fewer) == 1
    assert table["id"].tolist() == ids[:2]


def test_a_round_goes_into_the_next(settings):
    build_sample(settings)
    write_scores(settings)
    mine(settings)
    path = settings.paths.mined(1)
    ids = grade(path, "D" * 12)
    changed = change(settings, graded=str(path))
    sample = build_sample(changed)
    assert set(sample.loc[sample["class"] == "graded", "id"]) == set(ids)
    again = mine(changed)
    assert not again["id"].isin(ids).any()
    assert settings.paths.mined(2).exists()
    assert path.exists()


def test_mining_where_nothing_is_left_gives_an_empty_list(settings):
    build_sample(change(settings, negatives_per_lens=33))
    write_scores(settings)
    everything = pd.concat([pd.read_parquet(settings.paths.parent(chunk)) for chunk in CHUNKS])
    everything[["ra", "dec"]].assign(grade="D").to_csv("all.csv", index=False)
    assert mine(change(settings, graded="all.csv")).empty
    assert pd.read_csv(settings.paths.mined(1)).empty
    assert json.loads(settings.paths.mined_index.read_text())["pages"] == []


def test_injected_lenses_join_the_training_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = {"negatives_per_lens": 2, "exclusion_arcsec": 3, "injected_per_lens": 0.5}
    settings = make_run(4, 40, 4, 3, size=61, sample=sample)
    table = build_sample(settings)
    injected = table[table["class"] == "injected"]
    lenses = (table["class"] == "lens") & (table["split"] == "train")
    assert len(injected) == round(0.5 * lenses.sum()) > 2
    assert (injected["split"] == "train").all()
    assert (injected["label"] == 1).all()
    hosts = injected["id"].str.removeprefix("injected:")
    assert not table["id"].isin(hosts).any()
    assert set(hosts) <= ids_in_all_versions(settings.paths.sample_version(1).parent)
    product, values = product_of("sample/injected.parquet"), placeholder_values(settings.paths.root)
    assert compare_file(settings.paths.injected, product, values) == []
    truth = pd.read_parquet(settings.paths.injected).set_index("id")
    assert set(truth.index) == set(injected["id"])
    shards = sorted(settings.paths.sample.parent.glob("train-*.tfrecord"))
    (batch,) = dataset(shards, 1000, 3, 61).as_numpy_iterator()
    for i in np.flatnonzero(batch["class"] == b"injected"):
        name = batch["id"][i].decode()
        assert batch["theta_e_arcsec"][i] == pytest.approx(truth.loc[name, "theta_e_arcsec"])
        cutouts, catalog = read_cutouts(settings.paths.cutouts(batch["brick"][i].decode()))
        added = batch["image"][i] - cutouts[catalog["id"] == name.removeprefix("injected:")][0]
        assert added[0].sum() > 0.2
        assert np.abs(added[:, 0]).max() < 1e-3
    real = batch["class"] != b"injected"
    assert np.isnan(batch["theta_e_arcsec"][real]).all()
