"""Tests of lenspipe.training.shipped: the model that is trained on simulated stamps alone."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
from helpers.scored_run import draw_galaxies

from lenspipe.cli.main import main
from lenspipe.config.training import ShippedTraining
from lenspipe.models.contents import ensemble_members, normalisation
from lenspipe.products.cards import find_card, format_card, write_card
from lenspipe.scoring.score import load_model, score_images
from lenspipe.statistics.metrics import auc
from lenspipe.training import shipped, simulated_stamps
from lenspipe.training.devices import choose_devices
from lenspipe.training.shipped import train_shipped
from lenspipe.utils.errors import LenspipeError

TINY = ShippedTraining(
    shift=0,
    noise=0.0,
    blur=0.0,
    colour=0.0,
    lenses=96,
    non_lenses=160,
    held_out=0.5,
    members=2,
    epochs=3,
    crop=33,
    width=8,
    seed=5,
)


class Sky:
    """Draws stamps, and remembers what was asked for; ends like a killed process if it has to."""

    def __init__(self, ends_at=None):
        self.calls, self.ends_at = [], ends_at

    def __call__(self, kind, number, seed, workers):
        if len(self.calls) == self.ends_at:
            raise KeyboardInterrupt
        self.calls.append((kind, number, seed, workers))
        rng = np.random.default_rng(seed)
        images = draw_galaxies(rng, np.full(number, kind == "lens"), size=101)
        return images, pd.DataFrame({"kind": [kind] * number})


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(simulated_stamps, "_PER_SHARD", 64)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_stamps, "_PER_SHARD", 64)
        return folder, train_shipped(folder, TINY, Sky(), 2)


@pytest.fixture(scope="module")
def model(finished):
    return load_model(finished[0] / "model.keras")


def test_it_leaves_a_model_with_its_card(finished, model):
    folder, card = finished
    assert find_card(folder / "model.keras") == card
    assert (folder / "card.md").read_text() == format_card(card)
    assert card.counts == {
        "lenses": 96, "non_lenses": 160, "held_out_lenses": 48, "held_out_non_lenses": 80,
    }  # fmt: skip
    assert card.command.startswith("lenspipe train-shipped --output shipped --lenses 96 ")
    assert len(ensemble_members(model)) == len(normalisation(model)) == 2
    assert model.input_shape == (None, 3, 101, 101)


def test_its_figures_are_those_of_the_model_that_it_wrote(finished, model):
    """The networks were trained on crops, and the model crops whole cutouts itself."""
    folder, card = finished
    sky, kinds, held_out = Sky(), [], []
    for path in sorted(folder.glob("stamps/*/*held-out*.npy")):
        kind, _, shard, count = path.stem.replace("held-out", "held").split("-")
        place = [5, int(kind == "lens"), 1_000_000 + int(shard)]
        seed = int(np.random.SeedSequence(place).generate_state(1)[0] % 2**31)
        images = sky(kind, int(count), seed, None)[0]
        assert (np.load(path) == images[:, :, 30:71, 30:71]).all()
        kinds += [kind] * len(images)
        held_out.append(images)
    p = score_images(model, np.concatenate(held_out), batch_size=128, symmetries=8)
    value = auc(*(p[np.array(kinds) == kind] for kind in ("lens", "nonlens")))
    assert value == pytest.approx(card.simulated["8"]["auc"], abs=1e-6)
    assert value > 0.6


def test_what_is_there_is_kept_and_only_the_card_is_written_again(finished):
    folder, card = finished
    before = (folder / "model.keras").read_bytes()
    sky = Sky(ends_at=0)
    again = train_shipped(folder, TINY, sky, 2, real={"auc_all": 0.97})
    assert sky.calls == []
    assert (folder / "model.keras").read_bytes() == before
    assert again == card.model_copy(update={"real": {"auc_all": 0.97}})
    assert "| the same, against all non-lenses | 0.970 | |" in " ".join(
        (folder / "card.md").read_text().replace("  ", " ").splitlines()
    )
    write_card(card, folder)


def test_a_killed_training_goes_on_and_ends_alike(model, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train_shipped(tmp_path, TINY, Sky(ends_at=3), 2)
    assert len(list(tmp_path.glob("stamps/*/*.npy"))) == 3
    sky, save, saved = Sky(), shipped.Backup.save, []
    # Its figure and the numbers of its card are no part of the training.
    monkeypatch.setattr(shipped, "write_history", lambda *_: None)
    monkeypatch.setattr(shipped, "score_images", lambda _, images, **__: np.zeros(len(images)))

    def save_and_end(self, *arguments):
        save(self, *arguments)
        saved.append(self.folder)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(shipped.Backup, "save", save_and_end)
    with pytest.raises(KeyboardInterrupt):
        train_shipped(tmp_path, TINY, sky, 2)
    assert len(sky.calls) == 5  # 8 shards in all
    train_shipped(tmp_path, TINY, Sky(ends_at=0), 2)
    assert [path.parent.name for path in saved] == ["member_1"] * 3 + ["member_2"] * 3
    resumed = load_model(tmp_path / "model.keras")
    for a, b in zip(model.weights, resumed.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_stamps_of_all_shards_and_seeds_differ(tmp_path):
    sky, settings = Sky(), TINY.model_copy(update={"lenses": 130, "non_lenses": 130})
    for each in (settings, settings.model_copy(update={"seed": 6})):
        for split in ("train", "held-out"):
            simulated_stamps.read_stamps(tmp_path / str(each.seed), split, each, sky, None)
    seeds = [seed for _, _, seed, _ in sky.calls]
    assert len(seeds) == len(set(seeds)) == 20
    assert len(list(tmp_path.glob("*/*.npy"))) == len(list(tmp_path.glob("*/*.parquet"))) == 20


def test_batches_hold_each_stamp_once_with_its_label():
    n = 100
    images = np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((3, 41, 41), np.float32)
    stamps = simulated_stamps.Stamps(images, (np.arange(n) % 4 == 0).astype(np.float32))
    training = TINY.model_copy(update={"batch_size": 20, "shift": 4})
    batches = simulated_stamps.StampBatches(stamps, training, 0, choose_devices("one"))
    rows = []
    for step, (pixels, draws, labels, weights) in enumerate(batches.epoch(2)):
        assert pixels.shape == (20, 3, 33, 33)
        assert draws.shape == (20, 8)
        number = pixels.numpy()[:, 0, 0, 0].astype(int)
        assert (labels.numpy()[:, 0] == (number % 4 == 0)).all()
        assert (weights.numpy()[:, 0] == np.where(number % 4 == 0, 3, 1)).all()
        names = [f"{'lens' if row % 4 == 0 else 'nonlens'}-{row}" for row in number]
        assert batches.ids(2, step) == names
        rows += list(number)
    assert sorted(rows) == list(range(n))
    assert batches.ids(3, 0) != batches.ids(2, 0)


def test_smoothing_and_colours_keep_what_they_should():
    rng = np.random.default_rng(0)
    images = np.zeros((200, 3, 9, 9), np.float32)
    images[:, :, 4, 4] = 1
    blurred = simulated_stamps._augment(images, TINY.model_copy(update={"blur": 0.2}), rng)
    np.testing.assert_allclose(blurred.sum((2, 3)), 1, atol=1e-5)
    peaks = blurred[:, 0, 4, 4]
    assert 0.3 < (peaks == 1).mean() < 0.7
    assert peaks.min() == pytest.approx(0.36, abs=0.03)
    coloured = simulated_stamps._augment(images, TINY.model_copy(update={"colour": 0.1}), rng)
    assert np.log(coloured[:, :, 4, 4]).std() == pytest.approx(0.1, rel=0.1)
    assert (simulated_stamps._augment(images, TINY, rng) == images).all()


def test_a_model_too_large_for_the_package_is_refused(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(shipped, "MAX_BYTES", 1000)
    with pytest.raises(LenspipeError, match=r"found 0\.\d MB, expected at most 0; lower --members"):
        train_shipped(folder, TINY, Sky(ends_at=0), 2)


@pytest.fixture
def trained(monkeypatch):
    """What the command trains, instead of minutes of work."""
    made = []
    module = types.ModuleType("lenspipe.simulation.stamps")
    module.draw_stamps = Sky()
    monkeypatch.setitem(sys.modules, "lenspipe.simulation.stamps", module)

    def train(*arguments):
        made.append(arguments)
        return types.SimpleNamespace(note="a note")

    monkeypatch.setattr(shipped, "train_shipped", train)
    return made


def test_options_become_settings(trained, tmp_path, capsys):
    (tmp_path / "real.json").write_text('{"auc_all": 0.98}')
    arguments = ["train-shipped", "--output", str(tmp_path / "out"), "--lenses", "7", "--workers"]
    arguments += ["2", "--seed", "3", "--blur", "0.1", "--real", str(tmp_path / "real.json")]
    assert main(arguments) == 0
    ((folder, training, _, workers, real),) = trained
    assert folder == tmp_path / "out"
    assert training == ShippedTraining(lenses=7, seed=3, blur=0.1)
    assert (workers, real) == (2, {"auc_all": 0.98})
    assert capsys.readouterr().out == f"{folder / 'model.keras'}: a note\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--crop", "50"], "--crop: found 50; "),
        (["--members", "0"], "--members: found 0; "),
        (["--real", "none.json"], "none.json: can't be read"),
        (["--real", "other.json"], "other.json: found no key auc_all"),
    ],
)
def test_wrong_options_are_said_in_one_line(trained, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    assert main(["train-shipped", "--output", "out", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert trained == []
