"""Votes by skill in the portal: posterior, retirement, and what is shown next."""

import json

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from helpers.portal import Grader, make_run, serving

from lenspipe.inspection import queue as queue_module
from lenspipe.inspection.controls import control_files, copy_known_controls
from lenspipe.inspection.grades import export_grades
from lenspipe.inspection.lists import Lists, Mix
from lenspipe.inspection.posterior import Retirement, estimate_posterior
from lenspipe.inspection.queue import Queue
from lenspipe.inspection.store import Store


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of 30 candidates, its votes, and a way to vote."""
    monkeypatch.setattr(queue_module, "_PAUSE_S", 0)
    paths = make_run(tmp_path)
    store = Store(paths.inspection())
    for name in ("anna", "ben", "carl"):
        store.add_grader(name)

    def put(grader, grades):
        store.add_votes(
            grader, 1,
            [{"key": f"{grader} {item} {grade}", "item": item, "grade": grade, "comment": "",
              "seconds": 1.0} for item, grade in grades.items()],
        )  # fmt: skip

    yield paths, store, put
    store.close()


def candidates(n, **columns):
    ids = [f"g{i}" for i in range(n)]
    return pd.DataFrame({"known": False, "p_calibrated": np.nan} | columns, index=ids)


def votes_of(grader, grades, prefix=""):
    return [{"grader": grader, "item": prefix + item, "grade": g} for item, g in grades.items()]


def test_who_misses_controls_counts_less():
    votes = votes_of("good", {f"{i}": "A" for i in range(30)}, "known:")
    votes += votes_of("poor", {f"{i}": "D" for i in range(30)}, "known:")
    votes += votes_of("good", {f"g{i}": "D" for i in range(20)})
    votes += votes_of("poor", {f"g{i}": "D" for i in range(20)} | {"g20": "D", "g21": "D"})
    votes += votes_of("good", {"g21": "A"})
    result = estimate_posterior(votes, candidates(22))
    skills = result.skills()
    # 30 of 30 beside the 20 votes that are expected of anybody.
    assert skills["good"]["lens"]["A"] == pytest.approx((30 + 6) / 50, abs=0.05)
    assert skills["poor"]["lens"]["D"] == pytest.approx((30 + 3) / 50, abs=0.05)
    p = result.table["posterior"]
    # A D of who misses lenses says little, one of who finds them much.
    assert p["g0"] < 0.3 * p["g20"]
    assert p["g21"] > 0.5
    assert result.table.loc["g21", "n_graders"] == 2


def test_repeats_count_as_one_vote():
    votes = votes_of("anna", {"g0": "A", "g1": "A", "g2": "D"})
    twice = votes + votes_of("anna", {"g0": "A", "g1": "D"}, "repeat:")
    once, both = (estimate_posterior(v, candidates(3)).table for v in (votes, twice))
    assert both["n_graders"].tolist() == once["n_graders"].tolist() == [1, 1, 1]
    assert both["posterior"]["g0"] == pytest.approx(once["posterior"]["g0"], abs=0.12)
    assert both["posterior"]["g1"] < both["posterior"]["g0"] - 0.1


def test_the_calibrated_network_joins_in():
    table = candidates(10, p_calibrated=[0.9] * 5 + [0.1] * 5)
    p = estimate_posterior(votes_of("anna", {"g0": "C", "g9": "C"}), table).table["posterior"]
    assert p["g0"] > p["g9"] + 0.1
    # Certainty of a calibration counts as 1,000 to 1.
    table = candidates(2, p_calibrated=[1.0, 0.0])
    assert np.isfinite(estimate_posterior([], table).table["posterior"]).all()


def test_the_next_one_is_not_yet_decided(run):
    paths, store, put = run
    copy_known_controls(paths, paths.cutouts("1001p300"))
    lists = Lists(paths, store, Mix(controls=control_files(paths), repeats=0.2))
    items = lists.for_grader("anna")
    queue = Queue(store, lists, Retirement(0.05, 0.95, 2))
    first = queue.next_places("anna", items)
    # Candidates and controls; no repeats before their candidates.
    assert first["left"] == 30 + 10
    assert not any(items[place].startswith("repeat:") for place in first["places"])
    ids = list(lists.candidates.index)
    put("ben", dict.fromkeys(ids[:25], "D"))
    put("carl", dict.fromkeys(ids[:25], "D") | {ids[29]: "B"})
    table = queue.posterior().table
    retired = Retirement(0.05, 0.95, 2).applies(table)
    assert retired[ids[:25]].sum() >= 20
    assert not retired[ids[25:]].any()
    after = queue.next_places("anna", items)
    shown = [items[place] for place in after["places"]]
    assert not set(shown) & set(retired.index[retired])
    assert next(item for item in shown if ":" not in item) == ids[29]
    put("anna", {item: "D" for item in items if ":" not in item})
    left = [items[place] for place in queue.next_places("anna", items)["places"]]
    assert left
    assert all(":" in item for item in left)
    assert any(item.startswith("repeat:") for item in left)


def test_the_page_is_told_what_comes_next(run):
    paths, store, put = run
    lists = Lists(paths, store, Mix(repeats=0))
    retirement = Retirement(0.2, 0.95, 1)
    with serving(paths, queue=retirement, repeats=0) as (address, _):
        anna = Grader(address, "anna")
        assert anna.list()["next"]["left"] == 30
        assert anna.session.get(f"{anna.address}/result", timeout=60).status_code == 403
        put("ben", dict.fromkeys(lists.candidates.index, "D"))
        answer = anna.session.get(f"{anna.address}/next", timeout=60).json()
        assert answer == {"next": {"places": [], "left": 0}}
    with serving(paths, repeats=0) as (address, _):
        anna = Grader(address, "anna")
        assert anna.session.get(f"{anna.address}/next", timeout=60).json() == {"next": None}


def test_the_export_has_posterior_and_skills(run):
    paths, store, put = run
    ids = list(Lists(paths, store, Mix()).candidates.index)
    for name in ("anna", "ben", "carl"):
        put(name, {item: "A" if i < 6 else "D" for i, item in enumerate(ids)})
    export_grades(paths, store, Retirement(0.1, 0.9, 3))
    table = Table.read(paths.inspection("grades.fits")).to_pandas()
    assert (table["posterior"][:6] > 0.95).all()
    assert (table["posterior"][6:] < 0.05).all()
    assert (table["posterior_low"] <= table["posterior"]).all()
    assert (table["posterior"] <= table["posterior_high"]).all()
    assert table["retired"].all()
    skills = json.loads(paths.inspection("agreement.json").read_text())["skills"]
    assert sorted(skills) == ["anna", "ben", "carl"]
    assert sum(skills["anna"]["lens"].values()) == pytest.approx(1)
    assert skills["anna"]["non_lens"]["D"] > 0.7
