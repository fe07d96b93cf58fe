"""What products tell of galaxies that training never saw."""

import json

from lenspipe.products.models import read_unseen

RATE = {"n": 6, "passed": 2, "rate": 1 / 3, "low": 0.1, "high": 0.7}
OF_TYPE = {"group": "cut", "value": "DEV", **RATE}
NEVER = {"group": "all", "value": "never trained on", **RATE}


def test_rates_of_unseen_galaxies(tmp_path):
    path = tmp_path / "purity.json"
    assert read_unseen(path, [()]) == {}
    # Where nothing tells which galaxies a given model was trained on, there is no such row.
    path.write_text(json.dumps({"at_cuts": [OF_TYPE]}))
    assert read_unseen(path, [()]) == {}
    assert read_unseen(path, [("DEV",), ("SER",)]) == {("DEV",): OF_TYPE}
    path.write_text(json.dumps({"at_cuts": [OF_TYPE, NEVER]}))
    assert read_unseen(path, [()]) == {None: NEVER, (): NEVER}
    assert read_unseen(path, [("DEV",)]) == {None: NEVER, ("DEV",): OF_TYPE}
