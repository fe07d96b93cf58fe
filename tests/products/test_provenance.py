"""Files of what a step is made from."""

import json

import pandas as pd

from lenspipe.config.settings import load_settings
from lenspipe.products.plan import Plan
from lenspipe.products.provenance import write_basis, write_chunks


def test_a_basis_tells_settings_and_files_apart(tmp_path):
    listed, path = tmp_path / "list.csv", tmp_path / "basis" / "sample.json"

    def written(content, **settings):
        listed.write_text(content)
        write_basis(path, settings, [listed])
        return path.read_bytes()

    first = written("ra,dec", seed=1, bands=["g", "r"])
    assert written("ra,dec", bands=["g", "r"], seed=1) == first
    assert written("ra,dec", seed=2, bands=["g", "r"]) != first
    assert written("dec,ra", seed=1, bands=["g", "r"]) != first


def test_a_chunk_counts_as_changed_only_with_another_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        {"run": "fake", "simulation": {}, "footprint": {"bricks": ["0001m002"]}}
    )
    paths, chunks = settings.paths, ["64-000001", "64-000002"]
    bricks = {"chunk": chunks, "brick": ["0001m002", "0002m002"], "region": "south"}
    Plan.of(pd.DataFrame(bricks)).write(paths.plan, "key")

    def written(**contents):
        for chunk in chunks:
            for path in (
                paths.parent(chunk),
                paths.manifest("cutouts", chunk),
                paths.scores(chunk),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(contents.get(path.parent.name, "as before"))
        write_chunks(settings)
        return json.loads(paths.chunks.read_text())

    first = written()
    assert list(first) == chunks
    assert written() == first
    for folder in ("parent", "cutouts", "scores"):
        assert not {*written(**{folder: "other"}).values()} & {*first.values()}
