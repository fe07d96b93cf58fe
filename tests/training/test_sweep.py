import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from helpers.fake_run import make_run
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from lenspipe.config.settings import load_settings
from lenspipe.sample.build import build_sample
from lenspipe.statistics.metrics import auc, completeness_at_fpr
from lenspipe.training.sweep import plan, trial
from lenspipe.training.sweep.merit import check_fpr, merit
from lenspipe.training.sweep.plan import (
    check_sweep,
    trial_name,
    trial_parameters,
    trial_settings,
    trials,
)
from lenspipe.training.sweep.proposals import Proposal
from lenspipe.training.sweep.summary import summarise_sweep
from lenspipe.training.sweep.trial import run_trial
from lenspipe.utils.errors import DiskFullError, LenspipeError

NETWORK = {"widths": [4, 8], "units": 1, "stem_filters": 4, "stem_stride": 2, "compress": True}
TRAINING = {
    "name": "small",
    "network_settings": NETWORK,
    "epochs": 8,
    "batch_size": 16,
    "learning_rate": 0.003,
    "decay_epochs": [7],
}
RATES = {"learning_rate": [0.1, 0.01, 0.001]}
RANGE = {"learning_rate": {"low": 1e-4, "high": 1.0, "log": True}}


def configure(training=(), seed=1, **sweep):
    """Settings of a sweep; a grid over learning rates if nothing else is said."""
    return load_settings(
        {"run": "fake", "seed": seed, "simulation": {}, "cutouts": {"size": 21},
         "footprint": {"ra": [150, 151], "dec": [30, 31]}, "training": TRAINING | dict(training),
         "sample": {"negatives_per_lens": 2}, "sweep": {"settings": RATES, "fpr": 0.1} | sweep}
    )  # fmt: skip


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Folder of a run with a sample; its validation split has 12 lenses and 24 others."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_sample(make_run(6, 60, 12, 12, size=21, sample={"negatives_per_lens": 2}))
    return folder


@pytest.fixture
def run(sample, tmp_path, monkeypatch):
    """A run of its own with that sample, as current folder."""
    (tmp_path / "results" / "fake").mkdir(parents=True)
    (tmp_path / "results" / "fake" / "sample").symlink_to(sample / "results" / "fake" / "sample")
    monkeypatch.chdir(tmp_path)


def scores_of(quality, n_lenses=12, n_others=24):
    """Scores of lenses, the given part of them above all others, and of others."""
    found = round(quality * n_lenses)
    lenses = np.concatenate([np.linspace(0.8, 0.9, found), np.full(n_lenses - found, 0.05)])
    return lenses.astype(np.float32), np.linspace(0.1, 0.6, n_others).astype(np.float32)


@pytest.fixture
def stand_in(run, monkeypatch):
    """Trainings that take no time: a learning rate near 0.01 is good, one above 0.9 fails.

    Returns the settings under which it was called.
    """
    calls = []

    def quality(training):
        return 1 - min(abs(np.log10(training.learning_rate) + 2) / 3, 1)

    def train(settings, after_epoch):
        own = settings.training
        calls.append(own)
        if own.learning_rate > 0.9:
            raise LenspipeError("the loss is not\nfinite")
        for epoch in range(1, own.epochs + 1):
            scores = scores_of(quality(own) * epoch / own.epochs)
            after_epoch({"epoch": epoch, "val_loss": 1 / epoch, "val_auc": 0.5}, *scores)
        return {"val_loss": 0.2, "kept_epoch": own.epochs, "epochs": own.epochs, "seconds": 3.5,
                "parameters": 100}  # fmt: skip

    monkeypatch.setattr(trial, "train", train)

    def score_split(*_):
        lenses, others = scores_of(quality(calls[-1]))
        label = np.repeat([1, 0], [len(lenses), len(others)])
        return pd.DataFrame({"label": label, "p": np.concatenate([lenses, others])})

    monkeypatch.setattr(trial, "score_split", score_split)
    return calls


def run_all(settings):
    return [run_trial(settings, number) for number in range(settings.sweep.n_trials)]


def result(settings, number):
    path = settings.paths.model(trial_name(settings, number), "trial.json")
    return json.loads(path.read_text())


# Settings


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"lerning_rate": [1]}, ".lerning_rate: unknown, .* did you mean 'learning_rate'"),
        ({"x.y": [1]}, ".x.y: unknown, expected a key of section training"),
        ({"learning_rate": 3}, ".learning_rate: found 3, expected a list of values, or a map"),
        ({"learning_rate": []}, r".learning_rate: found \[\], expected a list of values"),
        ({"learning_rate": {"low": 1}}, ".learning_rate.high: missing, expected a number"),
        ({"learning_rate": {"low": "a", "high": 1}}, ".learning_rate.low: found 'a', expected a n"),
        (
            {"learning_rate": {"low": 1, "high": 2, "log": "?"}},
            r".learning_rate.log: found '\?', expected true or false",
        ),
        ({"learning_rate": {"low": 1, "high": 2, "by": 1}}, ".learning_rate.by: unknown, expected"),
        ({"learning_rate": {"low": 2, "high": 1}}, ".learning_rate: found .*, expected low below"),
        (
            {"learning_rate": {"low": 0, "high": 1, "log": True}},
            ".learning_rate: found .*, expected .* above 0 where log is true",
        ),
        ({"refit": [True]}, ".refit: can't be swept, trials are compared on a validation"),
        ({"name": ["a"]}, ".name: can't be swept"),
        ([1], r": found \[1\], input should be a valid dict"),
    ],
)
def test_wrong_settings_are_said_in_one_line(settings, line):
    with pytest.raises(LenspipeError, match=f"^config key sweep.settings{line}") as caught:
        configure(method="random", settings=settings)
    assert str(caught.value).count("found") <= 1
    assert "\n" not in str(caught.value)


def test_all_wrong_settings_come_at_once():
    with pytest.raises(LenspipeError, match=r"refit: can't .*; epochs: found 3, expected a list"):
        configure(settings={"refit": [True], "epochs": 3})


def test_values_are_checked_like_the_keys_they_are_for():
    with pytest.raises(LenspipeError, match=r"sweep.settings.augmentation.noise: .*greater"):
        configure(settings={"augmentation.noise": [0.1, -1]})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (RANGE, "sweep.settings.learning_rate: found a range, expected a list of values for a gr"),
        ({"epochs": [*range(1, 200)], "batch_size": [*range(1, 200)]}, "found 39601 trials, exp"),
    ],
)
def test_grids_that_are_none(settings, line):
    with pytest.raises(LenspipeError, match=line):
        configure(settings=settings)


def test_settings_survive_yaml():
    settings = configure(method="optuna", settings=RANGE | {"batch_size": [8, 16]})
    plain = yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json")))
    assert load_settings(plain) == settings


# Plan


def test_a_grid_has_all_combinations():
    found = trials(configure(settings={"learning_rate": ["1e-3", 0.1], "decay_epochs": [[3], []]}))
    assert [tuple(one.values()) for one in found] == [
        (0.001, [3]),
        (0.001, []),
        (0.1, [3]),
        (0.1, []),
    ]
    assert trials(configure(settings={})) == []


MIXED = RANGE | {
    "augmentation.noise": {"low": 0.0, "high": 0.5},
    "network_settings.units": {"low": 1, "high": 3},
    "batch_size": {"low": 8, "high": 64, "log": True},
    "schedule": ["steps", "cosine"],
}


def test_random_trials_stay_as_they_are_when_there_are_more():
    few = trials(configure(method="random", trials=5, settings=MIXED))
    assert trials(configure(method="random", trials=50, settings=MIXED))[:5] == few
    fewer = {key: MIXED[key] for key in ("schedule", "learning_rate")}
    for one, other in zip(
        trials(configure(method="random", trials=5, settings=fewer)), few, strict=True
    ):
        assert one == {key: other[key] for key in fewer}
    assert trials(configure(method="random", trials=5, settings=MIXED, seed=2)) != few


@given(st.integers(0, 10**6))
def test_random_values_lie_in_their_ranges(seed):
    (found,) = trials(configure(method="random", trials=1, settings=MIXED, seed=seed))
    assert 1e-4 <= found["learning_rate"] <= 1
    assert 0 <= found["augmentation.noise"] <= 0.5
    assert found["network_settings.units"] in (1, 2, 3)
    assert found["batch_size"] in range(8, 65)
    assert found["schedule"] in ("steps", "cosine")


def test_random_values_fill_their_ranges():
    found = pd.DataFrame(trials(configure(method="random", trials=400, settings=MIXED)))
    assert (found["learning_rate"] < 0.01).mean() == pytest.approx(0.5, abs=0.07)
    assert (found["augmentation.noise"] < 0.25).mean() == pytest.approx(0.5, abs=0.07)
    assert found["network_settings.units"].value_counts().min() > 100
    assert (found["batch_size"] < 23).mean() == pytest.approx(0.5, abs=0.07)
    assert found["schedule"].value_counts().min() > 160


def test_a_trial_differs_in_its_own_keys_only():
    settings = configure({"refit": True, "augmentation": {"shift_pixels": 2}})
    values = {
        "augmentation.noise": 0.2,
        "network_settings.units": 2,
        "optimizer_settings.beta_1": 0.8,
    }
    own = trial_settings(settings, 7, values).training
    assert own.name == "small_trial_007"
    assert (own.augmentation.noise, own.augmentation.shift_pixels) == (0.2, 2)
    assert own.network_settings == NETWORK | {"units": 2}
    assert own.optimizer_settings == {"beta_1": 0.8}
    assert not own.refit
    assert own.epochs == settings.training.epochs


def test_another_network_does_not_inherit_the_arguments_of_this_one():
    values = {"network_settings.units": 2, "network": "shielded_resnet"}
    own = trial_settings(configure(), 0, values).training
    assert own.network_settings == {"units": 2}
    own = trial_settings(configure(), 0, {"network": "cmu_deeplens"}).training
    assert own.network_settings == NETWORK


def test_a_trial_is_made_from_what_changes_its_training():
    base = configure(method="random", trials=3, settings=RANGE)

    def of(settings):
        return trial_parameters(settings, 1, trials(settings)[1])

    assert of(configure(method="random", trials=9, settings=RANGE, fpr=0.2)) == of(base)
    assert of(configure({"epochs": 9}, method="random", trials=3, settings=RANGE)) != of(base)
    assert of(configure(method="random", trials=3, settings=RANGE, seed=2)) != of(base)
    # Of Optuna all trials are made from all, but for their number.
    base = configure(method="optuna", trials=3, settings=RANGE)
    assert of(configure(method="optuna", trials=9, settings=RANGE)) == of(base)
    assert of(configure(method="optuna", trials=3, settings=RANGE, fpr=0.2)) != of(base)


def test_what_a_sweep_needs(monkeypatch):
    with pytest.raises(LenspipeError, match=r"sweep\.settings: found none, expected keys"):
        check_sweep(configure(settings={}))
    monkeypatch.setattr(plan.importlib.util, "find_spec", lambda name: None)
    check_sweep(configure())
    with pytest.raises(LenspipeError, match=r"optuna, which is not installed; pip install"):
        check_sweep(configure(method="optuna"))


# Comparison


@given(st.integers(1, 10**6))
def test_the_smallest_rate_that_is_offered_can_be_measured(n_others):
    with pytest.raises(LenspipeError, match="expected at least") as caught:
        check_fpr(0.9 / n_others, n_others)
    offered = float(str(caught.value).split("at least ")[1].split(",")[0])
    assert 1 / n_others <= offered <= 1.01 / n_others
    if offered < 1:
        check_fpr(offered, n_others)


@given(st.data())
def test_merit_orders_by_completeness_and_then_by_area(data):
    scores = st.lists(st.integers(0, 20), min_size=12, max_size=12)
    one, other = ((np.array(data.draw(scores)), np.array(data.draw(scores))) for _ in range(2))
    # Equal areas may differ by rounding.
    keys = [(completeness_at_fpr(*pair, 0.1)[0], round(auc(*pair), 12)) for pair in (one, other)]
    merits = [merit(*pair, 0.1) for pair in (one, other)]
    if keys[0] == keys[1]:
        assert merits[0] == pytest.approx(merits[1], abs=1e-12)
    else:
        assert (merits[0] > merits[1]) == (keys[0] > keys[1])


def test_a_rate_that_can_not_be_measured_ends_before_the_training(stand_in):
    with pytest.raises(LenspipeError, match=r"sweep\.fpr: found 0.01, expected at least 0.0417, o"):
        run_trial(configure(fpr=0.01), 0)
    assert stand_in == []


def test_trials_become_a_table_a_figure_and_a_section_of_the_configuration(stand_in):
    settings = configure({"refit": True}, settings=RATES | {"decay_epochs": [[3], [5]]})
    run_all(settings)
    table = summarise_sweep(settings)
    written = pd.read_csv(settings.paths.sweep("sweep.csv"))
    assert written["trial"].tolist() == list(range(6))
    assert set(written["status"]) == {"done"}
    assert written["training.learning_rate"].tolist() == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert written["training.decay_epochs"].tolist() == ["[3]", "[5]"] * 3
    # 0.01 is the best rate; of its two trials, which are alike, the first.
    assert written["rank"].tolist()[2:4] == [1, 2]
    assert written["completeness"].tolist()[2:4] == [1, 1]
    assert written["completeness"].iloc[0] == pytest.approx(8 / 12)
    assert (written["low"] < written["completeness"]).all()
    assert (written["high"] >= written["low"]).all()
    assert (written[["epochs", "kept_epoch", "parameters"]] == [8, 8, 100]).all().all()
    assert (written["seconds"] == 3.5).all()
    assert table["trial"].tolist() == written["trial"].tolist()
    best = yaml.safe_load(settings.paths.sweep("best.yaml").read_text())
    plain = settings.model_dump(mode="json", exclude={"sweep", "training"})
    own = load_settings(plain | best).training
    assert own.learning_rate == 0.01
    assert own.decay_epochs == (3,)
    assert (own.name, own.refit) == ("small", True)
    assert own.network_settings == NETWORK
    assert "trial 002 of 6: completeness 1.000" in settings.paths.sweep("best.yaml").read_text()
    assert imread(settings.paths.sweep("sweep.png")).std() > 0.05


def test_equal_completeness_is_decided_by_area_then_by_loss(stand_in):
    settings = configure(settings={"learning_rate": [0.01, 0.011, 0.012, 0.013]})
    run_all(settings)
    lenses, others = scores_of(0.5)
    higher = others.copy()
    higher[12:] -= 0.3  # the threshold is among the highest, which stay
    higher[-3:] = others[-3:]
    lenses[-1] = 0.15
    for number, (scores, loss) in enumerate(
        [
            ((lenses, others), 0.1),
            ((lenses, higher), 0.9),
            ((lenses, higher), 0.8),
            ((lenses, others), 0),
        ]
    ):
        path = settings.paths.model(trial_name(settings, number), "validation.parquet")
        label = [1] * 12 + [0] * 24
        pd.DataFrame({"label": label, "p": np.concatenate(scores)}).to_parquet(path)
        path.with_name("trial.json").write_text(
            json.dumps(result(settings, number) | {"val_loss": loss})
        )
    table = summarise_sweep(settings)
    assert table["completeness"].nunique() == 1
    assert table["rank"].tolist() == [4, 2, 1, 3]


def test_a_trial_that_fails_is_a_row_and_the_others_go_on(stand_in):
    settings = configure(settings={"learning_rate": [1.0, 0.001]})
    folder = settings.paths.model("small_trial_000").parent
    (folder / "backup").mkdir(parents=True)
    (folder / "model.keras").write_text("of other settings")
    run_all(settings)
    assert {path.name for path in folder.iterdir()} == {"trial.json", "validation.parquet"}
    table = summarise_sweep(settings)
    assert table["status"].tolist() == ["failed", "done"]
    assert table["reason"].tolist() == ["the loss is not finite", ""]
    assert table["rank"].isna().tolist() == [True, False]
    assert table["completeness"].isna().tolist() == [True, False]


def test_where_all_fail_the_first_says_why(stand_in):
    settings = configure(settings={"learning_rate": [1.0, 2.0]})
    run_all(settings)
    with pytest.raises(
        LenspipeError, match=r"no trial that was completed among 2; .*_000, failed: the loss is"
    ):
        summarise_sweep(settings)
    assert not settings.paths.sweep("sweep.csv").exists()


def test_a_trial_that_was_not_run_is_named(stand_in):
    with pytest.raises(LenspipeError, match=r"small_trial_000/trial\.json: no such file"):
        summarise_sweep(configure())


@pytest.mark.parametrize("error", [DiskFullError("no space"), ZeroDivisionError()])
def test_what_is_no_fault_of_the_settings_ends_the_job(stand_in, monkeypatch, error):
    def train(*_):
        raise error

    monkeypatch.setattr(trial, "train", train)
    with pytest.raises(type(error)):
        run_trial(configure(), 0)
    assert not configure().paths.model("small_trial_000", "trial.json").exists()


def test_a_damaged_sample_is_no_result_of_a_trial(stand_in):
    settings = configure()
    folder = settings.paths.sample.parent
    original = folder.resolve()
    folder.unlink()
    folder.mkdir()
    for path in original.glob("*.*"):
        (folder / path.name).symlink_to(path)
    (folder / "train-00000.tfrecord").unlink()
    with pytest.raises(LenspipeError, match=r"train-00000\.tfrecord: no such file"):
        run_trial(settings, 0)


def test_real_trainings(run):
    settings = configure(
        {"epochs": 2, "decay_epochs": []}, settings={"learning_rate": [0.003, 1e30]}
    )
    done, failed = run_all(settings)
    assert done["status"] == "done"
    assert done["settings"] == {"learning_rate": 0.003}
    assert (done["epochs"], done["parameters"] > 100) == (2, True)
    scores = pd.read_parquet(settings.paths.model("small_trial_000", "validation.parquet"))
    assert scores["label"].value_counts().to_dict() == {0: 24, 1: 12}
    assert scores["p"].between(0, 1).all()
    notes = json.loads(settings.paths.model("small_trial_000", "training.json").read_text())
    assert done["val_loss"] == notes["val_loss"]
    lenses, others = (scores.loc[scores["label"] == label, "p"] for label in (1, 0))
    assert auc(lenses, others) == pytest.approx(notes["val_auc"], abs=0.02)
    assert failed["status"] == "failed"
    assert "not finite" in failed["reason"]
    assert not settings.paths.model("small_trial_001").exists()
    assert summarise_sweep(settings)["rank"].tolist()[0] == 1


# Optuna


def study_of(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return Proposal(settings, 0).study


def states(study):
    return [(one.user_attrs["trial"], one.state.name) for one in study.trials]


def test_optuna_proposes_and_breaks_off_what_falls_behind(stand_in, caplog):
    choices = RANGE | {"batch_size": ["8", 16], "decay_epochs": [[3], [5]]}
    settings = configure(method="optuna", trials=14, settings=choices)
    caplog.set_level("INFO")
    run_all(settings)
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    table = summarise_sweep(settings)
    assert {"done", "pruned"} <= set(table["status"])
    pruned = table[table["status"] == "pruned"]
    assert (pruned["epochs"] < 8).all()
    assert (pruned["epochs"] > 2).all()
    assert pruned["reason"].str.match("behind the others after epoch").all()
    assert pruned["rank"].isna().all()
    assert pruned["completeness"].notna().all()
    assert set(table["training.batch_size"]) == {8, 16}
    best = table[table["rank"] == 1].iloc[0]
    done = table[table["status"] == "done"]
    assert best["completeness"] == done["completeness"].max()
    assert table["training.learning_rate"].nunique() == 14
    for number in pruned["trial"]:
        folder = settings.paths.model(trial_name(settings, number)).parent
        names = {path.name for path in folder.iterdir()}
        assert names == {"trial.json", "validation.parquet", "proposal.json"}


def test_what_fails_counts_as_the_worst_for_optuna(stand_in):
    settings = configure(method="optuna", trials=2, settings={"learning_rate": [1.0, 2.0]})
    assert run_trial(settings, 1)["status"] == "failed"
    trial_of_optuna = study_of(settings).trials[0]
    assert trial_of_optuna.state.name == "PRUNED"
    assert trial_of_optuna.intermediate_values == {}


def test_a_killed_trial_goes_on_with_its_settings(stand_in, monkeypatch):
    settings = configure(method="optuna", trials=3, settings=RANGE)

    def killed(settings, after_epoch):
        after_epoch({"epoch": 1, "val_loss": 1.0}, *scores_of(0.25))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trial, "train", killed)
        for number in (0, 1):
            with pytest.raises(KeyboardInterrupt):
                run_trial(settings, number)
    proposed = [
        json.loads(settings.paths.model(f"small_trial_00{number}", "proposal.json").read_text())
        for number in (0, 1)
    ]
    # The stand-in starts over, and is heard from the second epoch on.
    assert run_trial(settings, 1)["settings"] == proposed[1]["values"]
    study = study_of(settings)
    assert states(study) == [(0, "RUNNING"), (1, "COMPLETE")]
    assert study.trials[1].params == proposed[1]["values"]
    assert list(study.trials[1].intermediate_values) == list(range(1, 8))
    assert study.trials[1].intermediate_values[1] == merit(*scores_of(0.25), 0.1)
    # Another job's trial is left alone.
    run_trial(settings, 2)
    run_trial(settings, 0)
    assert [state for _, state in states(study)] == ["COMPLETE"] * 3


def test_a_trial_whose_values_were_deleted_begins_anew(stand_in):
    settings = configure(method="optuna", trials=2, settings=RANGE)
    first = Proposal(settings, 1)
    first.path.unlink()
    second = Proposal(settings, 1)
    assert states(second.study) == [(1, "FAIL"), (1, "RUNNING")]


@pytest.mark.parametrize("journal_is_lost", [False, True])
def test_an_ended_trial_that_is_run_again_keeps_its_settings(stand_in, journal_is_lost):
    choices = RANGE | {"decay_epochs": [[3], [5]], "batch_size": [8, 16]}
    settings = configure(method="optuna", trials=2, settings=choices)
    before = run_trial(settings, 1)
    if journal_is_lost:
        settings.paths.sweep("study.log").unlink()
    assert run_trial(settings, 1) == before
    expected = [(1, "COMPLETE")] * (1 if journal_is_lost else 2)
    assert states(Proposal(settings, 1).study)[: len(expected)] == expected


def test_other_settings_make_another_study(stand_in):
    settings = configure(method="optuna", trials=2, settings=RANGE)
    run_trial(settings, 1)
    other = configure({"epochs": 4}, method="optuna", trials=2, settings=RANGE)
    assert Proposal(other, 1).trial.number == 0
    more = configure(method="optuna", trials=5, settings=RANGE)
    assert Proposal(more, 4).trial.number == 1


def test_jobs_that_begin_at_once_get_trials_of_their_own(run):
    settings = configure(method="optuna", trials=6, settings=RANGE)
    settings.paths.sweep("study.log").parent.mkdir()
    settings.paths.sweep("study.log").touch()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: Proposal(settings, number), range(6)))
    assert {one.trial.number for one in found} == set(range(6))
    assert len({one.values["learning_rate"] for one in found}) == 6


def test_a_garbled_journal_is_named(run):
    settings = configure(method="optuna", trials=2, settings=RANGE)
    Proposal(settings, 0)
    path = settings.paths.sweep("study.log")
    path.write_bytes(b'{"op_code": 4, "wor' + path.read_bytes())
    with pytest.raises(LenspipeError, match=r"study\.log: can't be read as Optuna's journal .*del"):
        Proposal(settings, 1)
