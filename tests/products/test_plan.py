"""The plan: small in its file and in memory, whole where it is looked at."""

import numpy as np
import pandas as pd
import pytest

from lenspipe.products.plan import Plan
from lenspipe.utils.hashing import digest

RNG = np.random.default_rng(2)


@pytest.fixture
def table():
    """Bricks in any order, of two regions, in some chunks."""
    names = [f"{ra:04d}p{dec:03d}" for ra in range(0, 3600, 40) for dec in (310, 325, 340)]
    table = pd.DataFrame({"brick": RNG.permutation(names)})
    table["region"] = np.where(table.brick.str.endswith("340"), "north", "south")
    table["chunk"] = "16-" + table.brick.str[:1].str.zfill(6)
    return table


def test_it_holds_what_the_table_does(table, tmp_path):
    Plan.of(table).write(tmp_path / "plan.json", "a key")
    plan = Plan.read(tmp_path / "plan.json", "a key")
    assert list(plan) == sorted(set(table.chunk))
    for chunk, rows in table.sort_values("brick").groupby("chunk"):
        assert plan[chunk] == rows[["brick", "region"]].to_dict("records")
        assert plan.digest(chunk) == digest(plan[chunk])
    for row in table.itertuples():
        assert plan.find(row.brick) == (row.chunk, row.region)
    assert plan == Plan.of(table)


def test_only_whole_names_are_found(table):
    plan = Plan.of(table)
    for name in ("0000p31", "000p310", "p310", "0000p310 0040p310", "", " ", "0001p310"):
        assert plan.find(name) is None


def test_another_key_is_another_plan(table, tmp_path):
    path = tmp_path / "plan.json"
    assert Plan.read(path, "a key") is None
    Plan.of(table).write(path, "a key")
    assert Plan.read(path, "another") is None


def test_the_digest_follows_the_bricks_of_its_own_chunk(table):
    plan, less = Plan.of(table), Plan.of(table[table.brick != "0040p310"])
    changed = [chunk for chunk in plan if plan.digest(chunk) != less.digest(chunk)]
    assert changed == [plan.find("0040p310")[0]]
