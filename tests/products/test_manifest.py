"""Manifests: what a later run tries again, and what a run says of bricks that failed."""

import json

import pytest

from lenspipe.config.settings import load_settings
from lenspipe.products.manifests import read_manifest, update_manifest, write_manifest
from lenspipe.products.plan import Plan, read_plan
from lenspipe.status.failures import describe_failures, reopen, reopen_pages
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import read_kept

DONE = {"status": "done", "count": 3, "hash": "abc"}
LATER = {"status": "failed", "count": 0, "hash": "", "reason": "503", "transient": True}
BAD = {"status": "failed", "count": 0, "hash": "", "reason": "a.fits: truncated"}
CHUNKS = {"16-0001": {"a": DONE, "b": LATER}, "16-0002": {"c": BAD}, "16-0003": {"d": DONE}}


def make(**failures):
    return load_settings(
        {
            "run": "few",
            "survey": {"tree": "tree"},
            "sample": {"known_lenses": "known.csv"},
            "failures": failures,
        }
    )


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """Files of a run that has ended: one brick may be had later, one is damaged."""
    monkeypatch.chdir(tmp_path)
    paths = make().paths
    for chunk, entries in CHUNKS.items():
        write_manifest(paths.manifest("cutouts", chunk), entries)
        write_manifest(paths.manifest("parent", chunk), dict.fromkeys(entries, DONE))
        for path in (paths.parent(chunk), paths.parent_audit(chunk), paths.scores(chunk)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    paths.chunks.touch()
    summary = {"n_bricks": 4, "n_bricks_failed": 2, "n_bricks_to_retry": 1}
    paths.summary.write_text(json.dumps(summary))
    return paths


def gone(paths):
    return [c for c in CHUNKS if not paths.manifest("cutouts", c).exists()]


@pytest.mark.parametrize(
    ("failures", "wanted"),
    [
        ({}, ["16-0001"]),
        ({"retry": "all"}, ["16-0001", "16-0002"]),
        ({"retry": "none"}, []),
        ({"strict": True}, ["16-0001", "16-0002"]),
    ],
)
def test_which_chunks_are_tried_again(paths, failures, wanted):
    reopen(make(**failures), CHUNKS)
    assert gone(paths) == wanted
    # What stands for these chunks goes as well, or Snakemake would not make them again.
    assert [chunk for chunk in CHUNKS if not paths.scores(chunk).exists()] == wanted
    assert paths.chunks.exists() == paths.summary.exists() == (not wanted)
    assert all(paths.parent(chunk).exists() for chunk in CHUNKS)


def test_a_failed_catalogue_is_read_again(paths):
    write_manifest(paths.manifest("parent", "16-0002"), {"c": BAD})
    reopen(make(retry="all"), CHUNKS)
    assert not paths.parent("16-0002").exists()
    assert not paths.parent_audit("16-0002").exists()
    assert paths.parent("16-0001").exists()


def test_a_run_under_way_is_left_alone_unless_it_is_strict(paths):
    paths.summary.unlink()
    reopen(make(retry="all"), CHUNKS)
    assert gone(paths) == []
    reopen(make(strict=True), CHUNKS)
    assert gone(paths) == ["16-0001", "16-0002"]


def test_nothing_failed_nothing_is_looked_at(paths):
    paths.summary.write_text(json.dumps({"n_bricks_failed": 0, "n_bricks_to_retry": 0}))
    reopen(make(retry="all"), CHUNKS)
    assert gone(paths) == []
    assert paths.summary.exists()


def test_last_lines(paths):
    paths.missing.write_text("brick,transient,reason\n")
    assert describe_failures(make()) == ""
    paths.missing.write_text('brick,transient,reason\nb,True,503\nc,False,"a.fits: cut, short"\n')
    assert describe_failures(make()).splitlines() == [
        f"2 of 4 bricks failed, listed in {paths.missing}; the run finished without them.",
        "  brick b: 503",
        "  brick c: a.fits: cut, short",
        "Running the same command again retries 1 of them.",
        "With --config 'failures={retry: all}' it retries all of them, and no others.",
    ]
    assert describe_failures(make(retry="all")).splitlines()[-1].endswith("retries 2 of them.")
    paths.missing.write_text("brick,transient,reason\n" + "b,True,503\n" * 9)
    lines = describe_failures(make()).splitlines()
    assert lines[1:] == ["  brick b: 503"] * 3 + [
        "  ...",
        "Running the same command again retries 9 of them.",
    ]


def test_an_equal_entry_writes_nothing(paths):
    path = paths.manifest("cutouts", "16-0001")
    before = path.stat().st_mtime_ns
    update_manifest(path, {"a": DONE})
    assert path.stat().st_mtime_ns == before
    update_manifest(path, {"b": DONE})
    assert read_manifest(path) == {"a": DONE, "b": DONE}
    update_manifest(paths.manifest("cutouts", "16-0009"), {"a": DONE})
    assert not paths.manifest("cutouts", "16-0009").exists()


def test_damaged_manifest_and_summary_are_named(paths):
    manifest = paths.manifest("cutouts", "16-0001")
    manifest.write_text(manifest.read_text()[:20])
    text = (
        r"16-0001\.json: can't be read \(.*delete it and make it again with `snakemake results/few/"
    )
    for act in (
        lambda: read_manifest(manifest),
        lambda: reopen(make(retry="all"), CHUNKS),
        lambda: update_manifest(manifest, {"a": BAD}),
    ):
        with pytest.raises(LenspipeError, match=text):
            act()
    paths.summary.write_text("")
    with pytest.raises(LenspipeError, match=r"summary\.json: can't be read"):
        reopen(make(retry="all"), CHUNKS)


@pytest.mark.parametrize("content", ["", "{", '{"key": "a", "chunks": {', "null", "\ufffd"])
def test_files_that_are_kept_to_save_work_are_made_anew(content, tmp_path, caplog):
    caplog.set_level("INFO", "lenspipe")
    path = tmp_path / "plan.json"
    path.write_bytes(content.encode("utf-16") if content == "\ufffd" else content.encode())
    assert read_kept(path) is None
    assert Plan.read(path, "key") is None
    assert ("plan.json: can't be read" in caplog.text) == (content != "null")
    with pytest.raises(LenspipeError, match=r"plan\.json: damaged, expected the plan of the run"):
        read_plan(path)
    Plan({}).write(path, "key")
    assert Plan.read(path, "key") is not None


@pytest.mark.parametrize("lost", [1, 3, None])
def test_pages_are_drawn_again_where_one_is_gone(paths, lost):
    pages = [paths.mosaic_page(number) for number in (1, 2, 3)]
    paths.mosaic_index.parent.mkdir(parents=True)
    for page in pages:
        page.touch()
    paths.mosaic_index.write_text(json.dumps({"pages": [page.name for page in pages]}))
    if lost:
        paths.mosaic_page(lost).unlink()
    reopen_pages(make())
    assert paths.mosaic_index.exists() == (lost is None)
