"""A network must learn lenses from the sample, not how deep an image is."""

import functools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers.fake_run import make_table, write_cutouts

from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.settings import load_settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.registry import build
from lenspipe.products.manifests import write_manifest
from lenspipe.sample.build import build_sample
from lenspipe.statistics.metrics import auc
from lenspipe.utils.tensorflow import keras

SIZE = 21
#: Exposures -> part of the galaxies, and of lenses among them.
EXPOSURES = {2: (0.5, 0.1), 4: (0.3, 0.2), 6: (0.2, 0.4)}
N_BRICKS, PER_BRICK = 40, 400


def draw_galaxies(rng, lens, exposures):
    """Round galaxies with two blue spots: about opposite in lenses, anywhere in others.

    The noise falls with the exposures. It is too low to hide a spot, so that nothing but a leak
    makes a network look at it.
    """
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    galaxy = np.array([0.1, 0.3, 0.6])[:, None, None] * np.exp(-np.hypot(x, y) / 2)
    images = np.repeat(galaxy[None], len(lens), axis=0)
    angle = rng.uniform(0, 2 * np.pi, (len(lens), 2))
    angle[lens, 1] = angle[lens, 0] + rng.normal(np.pi, 0.8, lens.sum())
    radius = rng.uniform(5, 7, len(lens))[:, None]
    for dx, dy in zip((radius * np.cos(angle)).T, (radius * np.sin(angle)).T, strict=True):
        distance = (x - dx[:, None, None]) ** 2 + (y - dy[:, None, None]) ** 2
        images[:, :2] += 0.12 * np.exp(-distance / 3)[:, None]
    noise = np.array([0.004, 0.008, 0.016])[:, None, None] / np.sqrt(exposures)[:, None, None, None]
    return (images + noise * rng.normal(size=images.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A sample of a sky where lenses are found in deep images far more often than in others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        yield make_sample()


def make_sample():
    settings = load_settings(
        {"run": "fake", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]},
         "cutouts": {"size": SIZE}, "sample": {"negatives_per_lens": 1, "fractions": [0.5, 0.5]}}
    )  # fmt: skip
    rng, paths = np.random.default_rng(5), settings.paths
    bricks, tables, known = [], [], []
    for i in range(N_BRICKS):
        brick, ra, dec = f"{1500 + i}p300", 150 + i % 4, 20.0 + i // 4
        bricks.append({"brick": brick, "brickid": i, "region": "south", "ra": ra, "dec": dec,
                       "chunk": "64-000000"})  # fmt: skip
        table = make_table(brick, ra + rng.uniform(-0.12, 0.12, PER_BRICK),
                           dec + rng.uniform(-0.12, 0.12, PER_BRICK), rng)  # fmt: skip
        parts, lensing = zip(*EXPOSURES.values(), strict=True)
        nobs = rng.choice(len(parts), PER_BRICK, p=parts)
        table["nobs_z"] = np.array(list(EXPOSURES), np.int16)[nobs]
        lens = rng.random(PER_BRICK) < np.array(lensing)[nobs]
        write_cutouts(
            paths.cutouts(brick), draw_galaxies(rng, lens, table["nobs_z"].to_numpy()), table
        )
        tables.append(table.drop(columns="flags"))
        known.append(table[lens])
    pd.DataFrame(bricks).to_parquet(paths.bricks)
    paths.parent("64-000000").parent.mkdir()
    pd.concat(tables).to_parquet(paths.parent("64-000000"))
    entries = {row["brick"]: {"status": "done", "count": 1, "hash": ""} for row in bricks}
    write_manifest(paths.manifest("cutouts", "64-000000"), entries)
    paths.known_lenses.parent.mkdir()
    pd.concat(known)[["ra", "dec"]].to_csv(paths.known_lenses, index=False)
    pd.DataFrame({"ra": [], "dec": []}).to_csv(paths.confusing, index=False)
    merge_known(settings)
    return settings, build_sample(settings), pd.concat(tables)


@functools.cache
def network():
    """A network that is compiled once, and what all its variables are before it is trained."""
    keras.utils.set_random_seed(1)
    model = build("cmu_deeplens", "grz", SIZE, widths=[8, 16], units=1, stem_filters=8,
                  stem_stride=2, compress=True)  # fmt: skip
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    return model, [(variable, variable.numpy()) for variable in variables]


def train(images, labels):
    """The network, trained from its beginning."""
    model, beginning = network()
    for variable, value in beginning:
        variable.assign(value)
    model.get_layer("normalise").adapt(images[:512])
    keras.utils.set_random_seed(1)
    model.fit(images, labels, batch_size=64, epochs=4, verbose=0)
    return model


def predict(model, images):
    return model.predict(images, batch_size=1024, verbose=0)[:, 0]


def naive(table, parent):
    """The sample with non-lenses drawn whatever their exposures."""
    lenses = table[table["label"] == 1]
    others = parent[~parent["id"].isin(lenses["id"])].sample(len(lenses), random_state=0)
    split = table.drop_duplicates("brick").set_index("brick")["split"]
    others = others.assign(label=0.0, split=others["brick"].map(split))
    return pd.concat([lenses, others], ignore_index=True)


def auc_from_shuffled_labels(settings, table):
    """AUC on held-out galaxies, of all and for each number of exposures.

    Labels are shuffled among galaxies of equal exposures: what is left to learn is the depth.
    """
    rng, labels = np.random.default_rng(2), table["label"].to_numpy().copy()
    for rows in table.groupby("nobs_z").indices.values():
        labels[rows] = rng.permutation(labels[rows])
    images, here = CutoutFiles.of(settings).read(table)[0], (table["split"] == "train").to_numpy()
    model = train(images[here], labels[here])
    held, labels, p = table[~here], labels[~here], predict(model, images[~here])
    every = {"all": np.arange(len(held)), **held.groupby("nobs_z").indices}
    return {n: auc(p[rows][labels[rows] == 1], p[rows][labels[rows] == 0])
            for n, rows in every.items()}  # fmt: skip


def correlation_with_exposures(settings, table, others):
    """Of the scores of held-out non-lenses (Spearman)."""
    here = table["split"] == "train"
    model = train(CutoutFiles.of(settings).read(table[here])[0], table["label"][here].to_numpy())
    p = predict(model, CutoutFiles.of(settings).read(others)[0])
    return scipy.stats.spearmanr(p, others["nobs_z"]).statistic


def test_nothing_is_learned_from_shuffled_labels(sample):
    settings, table, parent = sample
    found = auc_from_shuffled_labels(settings, table)
    assert set(found) == {"all", *EXPOSURES}
    for n, value in found.items():
        assert abs(value - 0.5) < 0.05, n
    # The same network finds out a draw that ignores exposures.
    assert auc_from_shuffled_labels(settings, naive(table, parent))["all"] > 0.6


def test_scores_of_held_out_galaxies_do_not_follow_exposures(sample):
    settings, table, parent = sample
    held = table[(table["split"] != "train") & (table["label"] == 0)]
    noise = 1 / np.sqrt(len(held) - 1)
    assert abs(correlation_with_exposures(settings, table, held)) < 2.5 * noise
    assert correlation_with_exposures(settings, naive(table, parent), held) > 3 * noise
