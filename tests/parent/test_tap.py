"""The parent sample by queries to a TAP service, which answers by the book or not at all."""

import contextlib
import functools
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import three_sources
from helpers.tap_server import Service

from lenspipe.config.data import Parent
from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent import tap as queries
from lenspipe.parent.cuts import CUTS
from lenspipe.parent.select import merge_audits, parent_of_brick, parent_of_chunk
from lenspipe.parent.tap import conditions
from lenspipe.products.manifests import read_manifest
from lenspipe.products.plan import bricks_of_chunk
from lenspipe.retrieval import hosts, retry, tap
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.errors import LenspipeError, RetrievalError
from lenspipe.utils.tables import content_hash


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return three_sources.write_survey(tmp_path_factory.mktemp("three"))


def make_settings(survey, run, catalogs="tap", url=None, parent=None, tree=None, **retrieval):
    """Make settings for a source, with a table of bricks, in the current folder."""
    config = survey.config | {"run": run, "parent": parent or {}}
    config["survey"] = config["survey"] | {"catalogs": catalogs}
    config["survey"] |= {"tap": url} if url else {}
    config["survey"] |= {"tree": str(tree)} if tree else {}
    limits = {"attempts": 3, "patience_s": 20.0, "timeout_s": 5.0}
    config["retrieval"] = {"contact": "someone@example.org"} | limits | retrieval
    made = load_settings(config)
    write_bricks(made)
    return made


@pytest.fixture
def make(survey, tmp_path, monkeypatch):
    """Make settings in a folder of their own, for queries that are soon tried again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(tap, "_FIRST_POLL_S", 0.01)
    monkeypatch.setattr(hosts, "_LIMITED", 1)
    monkeypatch.setattr(hosts, "_FIRST_PAUSE_S", 0.001)
    return functools.partial(make_settings, survey)


def run(settings):
    """Make the parent sample of the only chunk: table, audit and manifest."""
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    paths = settings.paths
    table = pd.read_parquet(paths.parent(chunk))
    audit = pd.read_csv(paths.parent_audit(chunk))
    return table, audit, read_manifest(paths.manifest("parent", chunk))


@pytest.fixture(scope="module")
def expected(survey, tmp_path_factory):
    with contextlib.chdir(tmp_path_factory.mktemp("expected")):
        return run(make_settings(survey, "files", "tractor"))


def check(found, expected):
    for one, other in zip(found[:2], expected[:2], strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert found[2] == expected[2]
    assert content_hash(found[0]) == content_hash(expected[0])


def folder_of(settings):
    return settings.paths.root / "parent" / "tap"


def test_the_survey_meets_every_cut(expected):
    table, audit, manifest = expected
    assert (audit.removed > 0).all()
    assert {brick: entry["status"] for brick, entry in manifest.items()} == {
        "1498p320": "done",
        "1499p325": "done",
        "1500p300": "done",
        "1501p320": "empty",
    }
    assert table.groupby("brick").release.agg(set).to_dict() == {
        "1498p320": {9010, 9012},
        "1499p325": {9011},
        "1500p300": {9010, 9012},
    }
    assert table.psfsize_g.isna().any()
    assert (np.float32(20) == table.mag_z).any()


@pytest.mark.parametrize("tables", ["tables", "joint"])
@pytest.mark.parametrize("form", ["tabledata", "binary2"])
@pytest.mark.parametrize("sync_bricks", [32, 0])
def test_same_as_files(survey, make, expected, tables, form, sync_bricks, monkeypatch):
    monkeypatch.setattr(queries, "_SYNC_BRICKS", sync_bricks)
    with Service(getattr(survey, tables), serialization=form) as service:
        settings = make("queries", url=service.url)
        check(run(settings), expected)
        (agent,) = {request.agent for request in service.requests}
        assert agent.startswith("lenspipe/")
        assert agent.endswith("(someone@example.org)")
        assert not service.queries(r"\*(?!\))")
        assert service.jobs == {}
        assert service.most_jobs == (0 if sync_bricks else 1)
    assert not folder_of(settings).joinpath(next(iter(load_plan(settings)))).exists()


@pytest.mark.parametrize(
    "parent",
    [
        {"types": ["DEV"], "maskbits": []},
        {"types": ["SER", "REX"], "sersic_min": 3.0, "min_exposures": 0, "mag_z_max": 19.3},
        {"mag_z_max": 5.0},
    ],
)
def test_same_with_other_cuts(survey, make, parent):
    with Service(survey.tables) as service:
        found = run(make("queries", url=service.url, parent=parent))
    check(found, run(make("files", "tractor", parent=parent)))


def test_one_brick(survey, make):
    with Service(survey.tables) as service:
        settings = make("queries", url=service.url)
        for brick, region in bricks_of_chunk(settings.paths.plan, *load_plan(settings)):
            found = parent_of_brick(settings, brick, region)
            wanted = parent_of_brick(make("files", "tractor"), brick, region)
            for one, other in zip(found, wanted, strict=True):
                pd.testing.assert_frame_equal(one, other, check_dtype=len(other) > 0)
    assert not list(folder_of(settings).glob("*"))


@pytest.mark.parametrize("mag", [14.0, 17.77, 20.0, 20.5, 23.123])
def test_edge_of_the_magnitudes(mag):
    condition = conditions(Parent(mag_z_max=mag), "grz", 22.5)["mag_z_max"]
    limit = float(condition.removeprefix("flux_z > "))
    near = np.arange(-300, 300, dtype="i4") + np.float32(limit).view("i4")
    fluxes = near.view("f4")
    passes = to_magnitude(fluxes, 22.5).astype("f4") <= np.float32(mag)
    assert 0 < passes.sum() < len(passes)
    assert ((fluxes.astype("f8") > limit) == passes).all()


@pytest.mark.parametrize(("mag", "all_pass"), [(-60.0, False), (90.0, True)])
def test_magnitudes_beyond_all_fluxes(mag, all_pass):
    condition = conditions(Parent(mag_z_max=mag), "grz", 22.5)["mag_z_max"]
    limit = float(condition.removeprefix("flux_z > "))
    assert [flux > limit for flux in (1e-6, 1e6)] == [all_pass] * 2
    assert limit > 0


@pytest.mark.parametrize("nan", [False, True])
def test_missing_numbers(make, tmp_path, nan):
    """NaN, which PostgreSQL takes to be above all numbers, passes no cut; nor does NULL."""

    def spoil(rows):
        rows["flux_z"][::7] = rows["sersic"][::5] = rows["flux_g"][::3] = np.nan

    survey = three_sources.write_survey(tmp_path / "tree", change=spoil)
    with Service(survey.tables, nan=nan) as service:
        found = run(make("queries", url=service.url, tree=survey.folder))
    check(found, run(make("files", "tractor", tree=survey.folder)))
    assert {entry["status"] for entry in found[2].values()} == {"done", "empty"}


@pytest.mark.parametrize("digits", [6, 7, 9])
def test_floats_as_they_are_printed(survey, make, expected, digits):
    """They may differ in the last digit from those of the files, also at the edge of a cut."""
    with Service(survey.tables, digits=digits) as service:
        table, audit, manifest = run(make("queries", url=service.url))
    pd.testing.assert_frame_equal(audit, expected[1])
    assert {entry["status"] for entry in manifest.values()} == {"done", "empty"}
    pd.testing.assert_frame_equal(table, expected[0], rtol=1.1 * 10.0 ** (1 - digits), atol=1e-6)


def test_the_audit_says_what_a_table_of_primaries_lacks(survey, make, expected):
    tables = {name: table[table["brick_primary"] == 1] for name, table in survey.tables.items()}
    with Service(tables) as service:
        table, audit, manifest = run(make("queries", url=service.url))
    pd.testing.assert_frame_equal(table, expected[0])
    assert manifest == expected[2]
    counts = ["cut", "before", "after", "removed"]
    pd.testing.assert_frame_equal(audit[counts][1:], expected[1][counts][1:])
    assert audit.before[0] == audit.after[0] == expected[1].after[0]
    assert audit.not_counted.fillna("").tolist() == [
        "objects that are not primary: ls_dr9.tractor_s has none; "
        "objects that are not primary: ls_dr9.tractor_n has none",
        *[""] * 6,
    ]
    settings = make("queries", url=service.url)
    merge_audits(settings)
    total = pd.read_csv(settings.paths.audit)
    pd.testing.assert_frame_equal(total, audit)
    assert expected[1].not_counted.isna().all()


def test_optional_columns_may_be_absent(survey, make, expected):
    tables = three_sources.without(survey.tables, "psfsize_r", "ebv")
    with Service(tables) as service:
        table, audit, _ = run(make("queries", url=service.url))
    assert table[["psfsize_r", "ebv"]].isna().all(axis=None)
    same = table.columns.drop(["psfsize_r", "ebv"])
    pd.testing.assert_frame_equal(table[same], expected[0][same])
    pd.testing.assert_frame_equal(audit, expected[1])


def test_what_the_service_lacks(survey, make, tmp_path):
    tables = three_sources.without(survey.tables, "nobs_r", "brick_primary")
    with Service(tables) as service:
        text = "no column nobs_r, brick_primary in table ls_dr9.tractor_s; correct config key"
        with pytest.raises(LenspipeError, match=text):
            run(make("columns", url=service.url))
    with Service({"ls_dr7.tractor": survey.joint["ls_dr9.tractor"]}) as service:
        with pytest.raises(LenspipeError, match=r"no table ls_dr9\.tractor_s or ls_dr9\.tr"):
            run(make("tables", url=service.url))
        with pytest.raises(LenspipeError, match=r"404 Not Found; correct config key"):
            run(make("address", url=service.url.replace("/tap", "/top")))
    settings = make("release")
    config = settings.survey.model_copy(update={"release": "dr7"})
    settings = settings.model_copy(update={"survey": config})
    with pytest.raises(
        LenspipeError, match=r"survey\.catalogs: found 'tap' with survey.release dr"
    ):
        parent_of_brick(settings, "1498p320", "south")


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("limit", [80, 120, 3])
def test_low_limits_lose_nothing(survey, make, expected, limit, silent):
    with Service(survey.tables, limit=10**6, silent=silent) as service:

        def cap(request):
            service.limit = limit if "FROM ls_" in request.query else 10**6

        service.faults = cap
        found = run(make("queries", url=service.url))
    if limit > 3:
        check(found, expected)
        assert len(service.queries("SELECT brickid, brickname")) > 2
    else:
        # No brick fits in three rows, but one that has none.
        assert {b: e.get("transient") for b, e in found[2].items()} == {
            "1498p320": False,
            "1499p325": False,
            "1500p300": False,
            "1501p320": None,
        }
        assert "limit is too low" in found[2]["1498p320"]["reason"]


def test_low_limit_of_synchronous_queries(survey, make, expected):
    with Service(survey.tables, sync_limit=50) as service:

        def cap(request):
            service.sync_limit = 50 if "FROM ls_" in request.query else None

        service.faults = cap
        check(run(make("queries", url=service.url)), expected)
        assert len(service.queries("flux_g, flux_r")) == 3
        assert next(r.kind for r in service.requests if "flux_g," in r.query) == "sync"


def test_counts_cut_short_in_silence(survey, make, expected):
    with Service(survey.tables, silent=True) as service:

        def cap(request):
            service.limit = 2 if "GROUP BY" in request.query else 10**6

        service.faults = cap
        check(run(make("queries", url=service.url)), expected)
        assert service.queries(r"COUNT\(\*\) AS sources FROM \S+ WHERE brickid IN \(\d+\)")


class Killed(BaseException):
    """The job ends here."""


def test_goes_on_after_a_kill(survey, make, expected, monkeypatch):
    monkeypatch.setattr(queries, "_PAGE_ROWS", 40)
    pages = "SELECT brickid, brickname"
    with Service(survey.tables) as service:
        settings = make("queries", url=service.url)
        select, answered = queries.tractor_table, []

        def killed(*values):
            if len(answered) == 2:
                raise Killed
            answered.append(values)
            return select(*values)

        with monkeypatch.context() as patch:
            patch.setattr(queries, "tractor_table", killed)
            with pytest.raises(Killed):
                run(settings)
        first = service.queries(pages)
        assert len(first) == 3
        (folder,) = folder_of(settings).iterdir()
        kept = sorted(folder.glob("*.parquet"))
        assert len(kept) == 2
        service.requests.clear()
        check(run(settings), expected)
        assert service.queries(pages) == first[2:]
        assert not service.queries("tractor_s WHERE .* GROUP BY")
        assert not folder.exists()


def test_other_cuts_use_no_page_of_before(survey, make):
    with Service(survey.tables) as service:
        settings = make("queries", url=service.url)
        (chunk,) = load_plan(settings)
        service.faults = lambda request: 500 if "ls_dr9.tractor_n" in request.query else None
        before = run(settings)
        assert before[2]["1499p325"] == {
            "status": "failed",
            "count": 0,
            "hash": "",
            "reason": f"{service.url}: 500 Internal Server Error",
            "transient": True,
        }
        assert set(before[0].brick) == {"1498p320", "1500p300"}
        assert len(list((folder_of(settings) / chunk).glob("*.parquet"))) == 1
        service.faults = lambda request: None
        settings = make("queries", url=service.url, parent={"mag_z_max": 19.5})
        found = run(settings)
    check(found, run(make("files", "tractor", parent={"mag_z_max": 19.5})))


ONCE = {
    "503": (503, {"Retry-After": "0"}),
    "429": (429, {"Retry-After": "0"}),
    "500": 500,
    "reset": "reset",
    "truncated": "truncated",
    "garbled": "garbled",
    "failed": "failed",
}


@pytest.mark.parametrize("fault", ONCE)
def test_fault_of_a_synchronous_query(survey, make, expected, fault, caplog):
    caplog.set_level("INFO", "lenspipe")
    with Service(survey.tables) as service:
        service.faults = lambda request: ONCE[fault] if request.attempt == 1 else None
        check(run(make("queries", url=service.url)), expected)
        assert not service.made
    assert "; try 2 of 3 in " in caplog.text


#: Steps of a job, and the faults that the service can play in each.
FAULTS = {
    "create": (503, "reset"),
    "run": (503, "reset", "vanish"),
    "look": (503, "reset", "vanish", "ERROR", "ABORTED"),
    "result": (503, "reset", "vanish", "truncated"),
    "delete": (503, "reset", "vanish"),
}


@pytest.mark.parametrize(
    ("kind", "fault"), [(kind, fault) for kind in FAULTS for fault in FAULTS[kind]]
)
def test_fault_of_a_job(survey, make, expected, kind, fault, monkeypatch):
    monkeypatch.setattr(queries, "_SYNC_BRICKS", 0)
    with Service(survey.tables, slow_looks=1) as service:

        def once(request):
            hit = request.kind == kind and request.attempt == 1 and "brickname" in request.query
            return fault if hit else None

        service.faults = once
        check(run(make("queries", url=service.url)), expected)


def test_slow_synchronous_query_becomes_a_job(survey, make, expected):
    with Service(survey.tables) as service:
        service.faults = lambda request: 504 if request.kind == "sync" else None
        check(run(make("queries", url=service.url)), expected)
        assert len([r for r in service.requests if r.kind == "sync"]) == 1


def test_silence_becomes_a_job(survey, make, expected):
    import threading

    end = threading.Event()
    with Service(survey.tables) as service:
        service.faults = lambda request: end.wait if request.kind == "sync" else None
        try:
            check(run(make("queries", url=service.url, timeout_s=0.3)), expected)
        finally:
            end.set()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (503, "503 Service Unavailable"),
        ("reset", "ConnectionError"),
        ("garbled", "unreadable answer: "),
    ],
)
def test_down_for_good(survey, make, fault, reason):
    with Service(survey.tables) as service:
        service.faults = lambda request: fault
        table, audit, manifest = run(make("queries", url=service.url))
        assert len(service.requests) == 3
    assert table.empty
    assert audit.before.tolist() == [0] * len(CUTS)
    assert {(e["status"], e["transient"]) for e in manifest.values()} == {("failed", True)}
    assert pd.Series([e["reason"] for e in manifest.values()]).str.contains(reason).all()
    assert "0x" not in str(manifest)


@pytest.mark.parametrize("end", ["ERROR", "ABORTED"])
def test_jobs_that_always_fail(survey, make, end, monkeypatch):
    monkeypatch.setattr(queries, "_SYNC_BRICKS", 0)
    with Service(survey.tables) as service:
        service.faults = lambda request: end if request.kind == "look" else None
        _, _, manifest = run(make("queries", url=service.url, attempts=2))
        assert service.made == 2
        assert service.jobs == {}
    assert {entry["transient"] for entry in manifest.values()} == {True}
    assert f"job ended in phase {end}" in manifest["1498p320"]["reason"]


def test_job_that_never_ends(survey, make, monkeypatch):
    monkeypatch.setattr(queries, "_SYNC_BRICKS", 0)
    with Service(survey.tables, slow_looks=10**6) as service:
        _, _, manifest = run(make("queries", url=service.url, patience_s=0.2))
        assert service.jobs == {}
    assert "job in phase QUEUED for 0.2 s" in manifest["1498p320"]["reason"]
    assert manifest["1498p320"]["transient"]


def test_refused_query_is_not_asked_again(survey, make, monkeypatch):
    monkeypatch.setattr(queries, "conditions", lambda *_: {"type": "MAGIC(type) = 1"})
    with Service(survey.tables) as service:
        _, _, manifest = run(make("queries", url=service.url))
        assert len(service.queries("MAGIC")) == 1
    assert {entry["transient"] for entry in manifest.values()} == {False}
    assert "no such function: MAGIC" in manifest["1498p320"]["reason"]


def test_rows_beyond_the_count(survey, make):
    with Service(survey.tables) as service:
        settings = make("queries", url=service.url)
        run(settings)
        (_chunk,) = load_plan(settings)
        doubled = "INSERT INTO ls_dr9.tractor_n SELECT * FROM ls_dr9.tractor_n"

        def grows(request):
            if "brickname" in request.query and "tractor_n" in request.query:
                with service.lock:
                    service.database.execute(doubled)

        service.faults = grows
        _, _, manifest = run(settings)
    assert "run again" in manifest["1499p325"]["reason"]
    assert manifest["1499p325"]["transient"]
    assert manifest["1498p320"]["status"] == "done"


def test_rows_that_miss_their_own_cuts(survey, make, monkeypatch):
    cuts = conditions(Parent(), "grz", 22.5) | {"min_exposures": "nobs_g >= 0"}
    monkeypatch.setattr(queries, "conditions", lambda *_: cuts)
    with Service(survey.tables) as service:
        _, _, manifest = run(make("queries", url=service.url))
    assert "do not pass the cuts of their query" in manifest["1499p325"]["reason"]
    assert manifest["1499p325"]["transient"] is False


def test_no_brick_table(survey, make):
    with Service(survey.tables) as service:
        settings = make("queries", url=service.url)
        shutil.rmtree(settings.paths.root)
        with pytest.raises(LenspipeError, match=r"bricks\.parquet: no such file"):
            run(settings)
    assert issubclass(RetrievalError, LenspipeError)


def test_types_that_are_none(survey, make):
    """As was reported for DR11, whose types were in ref_cat."""
    tables = {name: rows.copy() for name, rows in survey.tables.items()}
    for rows in tables.values():
        rows["type"] = np.where(rows["type"] == "PSF", "G3", "")
    with Service(tables) as service:
        text = "column type of ls_dr9.tractor_s holds G3, no text; expected REX, EXP, DEV, SER; "
        with pytest.raises(LenspipeError, match=text):
            run(make("types", url=service.url))
