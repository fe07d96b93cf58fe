"""Rounds: what is chosen, what the record holds, and when a network is kept."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.fake_run import make_run

from lenspipe.cli.main import main
from lenspipe.config.paths import RunPaths
from lenspipe.config.runs import note_settings
from lenspipe.config.settings import load_settings
from lenspipe.inspection.given import make_run_of_cutouts
from lenspipe.inspection.store import Store
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.sample import ids_in_all_versions
from lenspipe.products.verify import compare_run
from lenspipe.rounds import begin, finish
from lenspipe.rounds.comparison import measure_recovery_of_both
from lenspipe.sample.build import build_sample
from lenspipe.statistics.choice import disagreement
from lenspipe.utils.errors import LenspipeError

CHUNKS = "64-000000", "64-000001", "64-000002"
FRACTIONS = {"score": 0.5, "disagreement": 0.25, "diversity": 0.25}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A run of 8 bricks with 40 galaxies, scored by an ensemble of two networks."""
    monkeypatch.chdir(tmp_path)
    for module in ("sample.mining", "rounds.begin"):
        monkeypatch.setattr(f"lenspipe.{module}.read_plan", lambda path: dict.fromkeys(CHUNKS))
    monkeypatch.setattr(begin, "features_of_galaxies", features)
    settings = make_run(
        8, 40, 4, 3, size=21, sample={"negatives_per_lens": 2, "exclusion_arcsec": 3},
        round={"number": 12, "fractions": FRACTIONS, "preselected": 2},
    )  # fmt: skip
    build_sample(settings)
    note_settings(settings)
    rng = np.random.default_rng(3)
    for chunk in CHUNKS:
        table = pd.read_parquet(settings.paths.parent(chunk))[["id", "brick", "ra", "dec"]]
        members = rng.random((len(table), 2)).astype("float32")
        p = members.mean(axis=1)
        columns = {"p_a": members[:, 0], "p_b": members[:, 1], "p_resnet": p, "p": p}
        settings.paths.scores(chunk).parent.mkdir(exist_ok=True)
        table.assign(flags=0, **columns).to_parquet(settings.paths.scores(chunk))
    return settings


def features(settings, table):
    """One number for each galaxy: that of its id."""
    return table["id"].str.split("-").str[2].astype(float).to_numpy()[:, None]


def free(settings):
    """Scores of the galaxies that may be chosen."""
    scores = pd.concat([pd.read_parquet(settings.paths.scores(chunk)) for chunk in CHUNKS])
    split = pd.read_csv(settings.paths.splits).set_index("brick")["split"]
    used = ids_in_all_versions(settings.paths.sample_version(1).parent)
    listed = scores["id"].str.split("-").str[2].astype(int) < 7
    train = scores["brick"].map(split) == "train"
    return scores[train & ~listed & ~scores["id"].isin(used)].set_index("id")


def grade(settings, number, grades):
    path = settings.paths.round(number, "list.csv")
    table = pd.read_csv(path, keep_default_na=False)
    table["grade"] = list(grades)
    table.to_csv(path, index=False)
    return table


@pytest.fixture
def trained(monkeypatch):
    """Replace training and comparison; holds the gain and the settings that were trained with."""
    held = {"gain": 0.1}

    def train(settings, config, snakemake):
        held["settings"], held["snakemake"] = settings, list(snakemake)
        note_settings(settings)

    def compare(before, settings):
        held["before"] = str(before)
        numbers = {"held_out": "test", "n_lenses": 40, "n_nonlenses": 900}
        numbers |= {"false_positive_rate": 0.01}
        for name, value in (("recovery_before", 0.5), ("recovery_after", 0.5 + held["gain"]),
                            ("gain", held["gain"]), ("gain_auc", 0.01)):  # fmt: skip
            numbers |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        return numbers

    monkeypatch.setattr(finish, "_train", train)
    monkeypatch.setattr(finish, "compare_networks", compare)
    return held


def test_galaxies_are_chosen_in_three_ways(settings):
    record = begin.begin_round(settings, 1)
    assert record["chosen"] == {"score": 6, "disagreement": 3, "diversity": 3}
    assert record["network"] == "resnet"
    everything = free(settings)
    assert record["n_searched"] == len(everything) > 60
    table = pd.read_csv(settings.paths.round(1, "list.csv")).set_index("id")
    ways = {way: set(rows.index) for way, rows in table.groupby("chosen_by")}
    best = everything.nlargest(6, "p")
    assert ways["score"] == set(best.index)
    rest = everything.drop(best.index)
    spread = pd.Series(disagreement(rest[["p_a", "p_b"]].to_numpy()), rest.index)
    assert ways["disagreement"] == set(spread.nlargest(3).index)
    # The others are among the preselected, 2 x 12 in number.
    rest = everything.drop(best.index).drop(list(ways["disagreement"]))
    assert ways["diversity"] <= set(rest.nlargest(24, "p").index)
    images, catalog = read_cutouts(begin.cutouts_of_round(settings.paths, 1))
    assert sorted(catalog["id"]) == sorted(table.index)
    assert images.shape == (12, 3, 21, 21)


def test_one_network_has_no_disagreement(settings):
    for chunk in CHUNKS:
        path = settings.paths.scores(chunk)
        pd.read_parquet(path).drop(columns=["p_a", "p_b"]).to_parquet(path)
    record = begin.begin_round(settings, 1)
    assert record["chosen"] == {"score": 9, "disagreement": 0, "diversity": 3}


def test_a_round_is_graded_trained_and_recorded(settings, trained, capsys):
    folder = str(settings.paths.root)
    assert main(["round", folder]) == 0
    assert "12 of" in capsys.readouterr().out
    # Not graded, or only in part.
    assert main(["round", folder]) == 1
    assert "found grades of 0 of the 12 galaxies of round 1" in capsys.readouterr().err
    first = grade(settings, 1, "AD" * 5 + "BD")
    assert main(["round", folder, "--snakemake", "--cores 3"]) == 0
    out = capsys.readouterr().out
    assert "round 1: 6 lenses among 12 graded, 500 per 1,000" in out
    assert "round 1: keep resnet_round_1: recovery of 40 held-out lenses" in out
    assert "50 % (95 %: 40 to 60) before, 60 % (95 %: 50 to 70) now" in out
    assert trained["snakemake"] == ["--cores", "3"]
    assert trained["before"].endswith("models/resnet/model.keras")
    record = json.loads(settings.paths.round(1, "round.json").read_text())
    assert record["grades"] == {"A": 5, "B": 1, "C": 0, "D": 6}
    lens = first["grade"].isin(["A", "B"])
    by_score = 1000 * lens[first["chosen_by"] == "score"].mean()
    assert record["yield_per_1000_by"]["score"] == pytest.approx(by_score)
    assert record["kept"] is True
    assert record["graders_hours"] is None
    # The run goes on with that network, and other galaxies.
    noted = yaml.safe_load(settings.paths.config.read_text())
    assert noted["training"]["name"] == "resnet_round_1"
    assert noted["sample"]["graded"] == [str(settings.paths.round(1, "list.csv"))]
    assert main(["round", folder]) == 0
    second = pd.read_csv(settings.paths.round(2, "list.csv"))
    assert not second["id"].isin(first["id"]).any()
    problems, _ = compare_run(settings.paths.root)
    assert not [line for line in problems if "rounds/" in line]


def test_a_network_that_recovers_less_is_refused_unless_asked_for(settings, trained, capsys):
    trained["gain"] = -0.05
    folder, before = str(settings.paths.root), settings.paths.config.read_text()
    main(["round", folder])
    grade(settings, 1, "D" * 12)
    assert main(["round", folder]) == 0
    assert "round 1: do not keep resnet_round_1" in capsys.readouterr().out
    assert settings.paths.config.read_text() == before
    # Its grades count in the next round.
    main(["round", folder])
    grade(settings, 2, "A" * 12)
    assert main(["round", folder, "--keep"]) == 0
    assert "round 2: keep resnet_round_2" in capsys.readouterr().out
    graded = trained["settings"].sample.graded
    assert graded == tuple(str(settings.paths.round(n, "list.csv")) for n in (1, 2))


def test_votes_in_the_browser_are_the_grades_of_a_round(settings, trained, caplog):
    begin.begin_round(settings, 1)
    cutouts = begin.cutouts_of_round(settings.paths, 1)
    own = RunPaths(cutouts.stem)
    assert make_run_of_cutouts(cutouts, own) == 12
    filled = pd.read_csv(settings.paths.round(1, "list.csv"))
    filled.assign(grade=["B"] * 3 + [""] * 9).to_csv(
        settings.paths.round(1, "list.csv"), index=False
    )
    ids = filled["id"].tolist()
    store = Store(own.inspection())
    store.add_grader("anna")
    votes = [
        {"key": id_, "item": id_, "grade": "AD"[i % 2], "comment": "", "seconds": seconds}
        for i, (id_, seconds) in enumerate(zip(ids, [30.0, 9999.0], strict=False))
    ]
    store.add_votes("anna", 1, votes)
    store.close()
    path, grades, work = finish.grades_of_round(settings.paths, 1)
    assert path == own.inspection("grades.csv")
    assert grades.set_index("id")["grade"].to_dict() == dict.fromkeys(ids, "") | {
        ids[0]: "A",
        ids[1]: "D",
    }
    # A vote after a pause counts as two minutes.
    assert work == {"n_graders": 1, "n_votes": 2, "graders_hours": pytest.approx(150 / 3600)}
    assert finish.finish_round(settings, 1, [])["n_graded"] == 2
    assert "round 1: 3 grades in results/fake/rounds/1/list.csv do not count" in caplog.text


def test_members_of_an_ensemble_get_names_of_their_own(settings):
    config = settings.model_dump(mode="json")
    config["ensemble"]["members"] = {"a": {"seed": 1}, "b_round_1": {"seed": 2}}
    changed = finish.next_settings(load_settings(config), 2, [])
    assert sorted(changed.models) == ["a_round_2", "b_round_2"]
    assert changed.training.name == "resnet_round_2"
    assert changed.of_model("b_round_2").training.seed == 2


def test_recovery_of_both_is_that_of_the_same_galaxies():
    rng = np.random.default_rng(2)
    before, after = rng.random(1000), rng.random(1000)
    lenses = pd.DataFrame({"label": 1.0, "p_before": [0.5, 2, 2, 2], "p": [0.5, 0.5, 2, 2]})
    others = pd.DataFrame({"label": 0.0, "p_before": before, "p": after})
    result = measure_recovery_of_both(pd.concat([lenses, others]), 0.01, seed=1)
    assert (result["recovery_before"], result["recovery_after"]) == (0.75, 0.5)
    assert result["gain"] == -0.25
    assert result["gain_low"] <= -0.25 <= result["gain_high"]
    assert not finish.decide(result, keep=False)
    assert finish.decide(result, keep=True)
    few = measure_recovery_of_both(pd.concat([lenses, others[:50]]), 0.01, seed=1)
    assert few["gain"] is None
    assert few["gain_auc"] < 0
    assert not finish.decide(few, keep=False)


def test_a_workflow_that_fails_leaves_the_round_open(settings, monkeypatch):
    begin.begin_round(settings, 1)
    grade(settings, 1, "D" * 12)
    with pytest.raises(LenspipeError, match="Snakefile: no such file"):
        finish.finish_round(settings, 1, [])
    assert not json.loads(settings.paths.round(1, "round.json").read_text())["finished"]


def test_fractions_add_up():
    config = {"run": "x", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
    with pytest.raises(LenspipeError, match=r"round\.fractions: .*add up to 1"):
        load_settings(config | {"round": {"fractions": {"score": 0.5, "diversity": 0.4}}})
