"""Tests of the portal's server: who is let in, what is refused, what is answered."""

import io
import json
import re
import sqlite3
import threading

import numpy as np
import pandas as pd
import pytest
import requests
from astropy.table import Table
from helpers.cards import NOTE
from helpers.fuzz_portal import fuzz_portal
from helpers.portal import Grader, Started, make_run, serving, vote, write_candidates
from PIL import Image

from lenspipe.cli.main import main
from lenspipe.inspection.images import candidates_to_grade
from lenspipe.inspection.store import Store


@pytest.fixture
def paths(tmp_path):
    return make_run(tmp_path, n=20)


def test_a_list_tells_nothing_that_it_should_not(paths):
    with serving(paths, repeats=0.2) as (address, _):
        about = Grader(address, "anna").list()
    assert len(about["entries"]) == 24
    assert set(about["entries"][0]) == {
        "place", "name", "ra", "dec", "flags", "viewer", "grade", "comment", "n", "tags"
    }  # fmt: skip
    assert [e["flags"] for e in about["entries"] if e["flags"]][:1] == ["masked"]
    assert about["bands"] == "grz"


def test_pages_name_a_model_with_a_card(paths):
    with serving(paths) as (address, _):
        assert 'class="model"' not in requests.get(f"{address}/g/anna/").text
    table = Table.read(paths.candidates)
    table["model"] = NOTE
    table.write(paths.candidates, overwrite=True)
    with serving(paths) as (address, _):
        for page in ("", "g/anna/"):
            text = requests.get(f"{address}/{page}").text
            assert f'<p class="model">Scores of the {NOTE}.</p>' in text


def test_the_sky_viewer_is_for_real_skies(paths):
    import fitsio

    for path in paths.root.glob("cutouts/*/*.fits"):
        with fitsio.FITS(str(path), "rw") as fits:
            fits["IMAGE"].write_key("RELEASE", "dr8")
    with serving(paths) as (address, _):
        entry = Grader(address, "anna").list()["entries"][0]
        position = f"ra={entry['ra']:.5f}&dec={entry['dec']:.5f}"
        assert entry["viewer"].startswith(f"https://www.legacysurvey.org/viewer?{position}")
        assert "layer=ls-dr8&" in entry["viewer"]
        paths.sky_manifest.parent.mkdir()
        paths.sky_manifest.write_text("{}")
        assert Grader(address, "anna").list()["entries"][0]["viewer"] is None


def test_votes_are_kept_and_shown_again(paths):
    with serving(paths, ("anna", "ben")) as (address, store):
        anna, ben = Grader(address, "anna"), Grader(address, "ben")
        about = anna.list()
        keys = anna.grade(about, {0: "A", 1: "D"})
        assert anna.post(about, [vote(0, "B", "blue arc")]).json()["kept"]
        entries = anna.list()["entries"]
        assert [(e["grade"], e["comment"]) for e in entries[:3]] == [
            ("B", "blue arc"), ("D", ""), ("", "")
        ]  # fmt: skip
        assert not any(e["grade"] or e["comment"] for e in ben.list()["entries"])
        assert {v["key"] for v in store.votes()} > set(keys)
        assert store.votes()[0]["seconds"] == 1.5
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", store.votes()[0]["time"])


def test_others_are_shown_to_who_is_done(paths):
    with serving(paths, ("anna", "ben"), repeats=0.1) as (address, _):
        anna, ben = Grader(address, "anna"), Grader(address, "ben")
        ben.grade(ben.list(), {0: "A"})
        about = anna.list()
        anna.grade(about, {e["place"]: "B" for e in about["entries"][:-1]})
        before = anna.session.get(f"{anna.address}/result", timeout=60)
        assert before.status_code == 403
        assert "once you have graded all images" in before.json()["error"]
        anna.grade(about, {about["entries"][-1]["place"]: "B"})
        result = anna.session.get(f"{anna.address}/result", timeout=60).json()
        assert sum(result["counts"].values()) == 20
        assert result["own"]["repeats"] == {"n": 2, "same": 1.0, "mean_difference": 0.0}
        assert result["own"]["found_known"] == {"n": 4, "found": 1.0}
        assert result["pairs"][0]["n"] == 1
        assert result["places"] == {"disagreements": [], "missed": []}
        assert result["next_stage"] == 20


def test_places_to_review_once_all_is_graded(paths):
    known = set(candidates_to_grade(paths).query("known")["name"])
    with serving(paths, ("anna", "ben"), repeats=0) as (address, _):
        anna, ben = Grader(address, "anna"), Grader(address, "ben")
        about = anna.list()
        names = {e["place"]: e["name"] for e in about["entries"]}
        anna.grade(about, dict.fromkeys(names, "D"))
        theirs = ben.list()
        first, second = sorted(names)[3], sorted(names)[7]
        grades = {names[first]: "A", names[second]: "C"}
        ben.grade(theirs, {e["place"]: grades.get(e["name"], "D") for e in theirs["entries"]})
        result = anna.session.get(f"{anna.address}/result", timeout=60).json()
        assert result["places"]["disagreements"] == [first]
        assert {names[place] for place in result["places"]["missed"]} == known
        assert result["next_stage"] == 1  # A and D: 2.5


def test_tags_are_kept(paths):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        about = anna.list()
        assert anna.post(about, [vote(0, "A") | {"tags": ["ring"]}]).status_code == 200
        assert anna.post(about, [vote(1, "A") | {"tags": ["donut"]}]).status_code == 400
        assert [e["tags"] for e in anna.list()["entries"][:2]] == [["ring"], []]
        assert [v["tags"] for v in store.votes()] == ["ring"]


def test_the_second_stage(paths):
    with serving(paths, stage=2) as (address, _):
        about = Grader(address, "anna").list()
        assert about["message"] == "No candidate has a mean of at least 2 in the previous stage."
    with serving(paths, repeats=0) as (address, _):
        anna = Grader(address, "anna")
        about = anna.list()
        names = [e["name"] for e in about["entries"]]
        anna.grade(about, {i: "ABCD"[i % 4] for i in range(8)})
    with serving(paths, ("anna", "carl"), stage=2, limit=2.5, repeats=0) as (address, store):
        for name, grade in (("anna", "A"), ("carl", "C")):
            grader = Grader(address, name)
            about = grader.list()
            assert {e["name"] for e in about["entries"]} == {names[i] for i in (0, 1, 4, 5)}
            assert not any(e["grade"] for e in about["entries"])
            grader.grade(about, {0: grade, 1: grade, 2: grade, 3: grade})
        result = grader.session.get(f"{grader.address}/result", timeout=60).json()
        assert result["counts"] == {"B": 4}
        assert len(store.votes(stage=1)) == len(store.votes(stage=2)) == 8


def test_pictures_differ_by_what_is_asked(paths):
    with serving(paths) as (address, _):
        seen = set()
        for query in (
            "",
            "?show=residual",
            "?show=difference",
            "?stretch=lupton",
            "?stretch=log",
            "?gain=3",
        ):
            answer = requests.get(f"{address}/g/anna/image/0{query}", timeout=60)
            assert answer.headers["content-type"] == "image/png"
            assert Image.open(io.BytesIO(answer.content)).size == (6 * 33, 33)
            seen.add(answer.content)
        assert len(seen) == 6
        for path in ("image/99", "image/-1", "image/0/..%2f..%2flist"):
            assert requests.get(f"{address}/g/anna/{path}", timeout=60).status_code == 404
        for query in ("stretch=x", "gain=x", "show=x"):
            assert requests.get(f"{address}/g/anna/image/0?{query}", timeout=60).status_code == 400


def test_a_lost_cutout_is_said(paths):
    paths.cutouts("1000p300").unlink()
    with serving(paths, repeats=0) as (address, _):
        answers = [requests.get(f"{address}/g/anna/image/{i}", timeout=60) for i in range(20)]
        bad = [answer for answer in answers if answer.status_code != 200]
        assert len(bad) == 10
        assert "1000p300.fits: no such file, expected cutouts" in bad[0].json()["error"]


def test_no_candidates_are_said(paths):
    write_candidates(paths, pd.DataFrame({n: [] for n in ("id", "ra", "dec", "brick", "flags")}))
    with serving(paths) as (address, _):
        about = Grader(address, "anna").list()
    assert about["entries"] == []
    assert about["message"] == "The search found no candidates."
    paths.candidates.unlink()
    with serving(paths) as (address, _):
        assert "no candidates yet" in Grader(address, "anna").list()["message"]


# --- Who is refused ---


def test_unknown_graders_and_wrong_tokens_are_refused(paths):
    with serving(paths, ("anna", "ben"), tokens=True, hosts=None) as (address, store):
        token, other = store.new_token("anna"), store.new_token("ben")
        for name, given in (
            ("anna", None), ("anna", "x"), ("anna", other), ("carl", token), ("..%2Fanna", token)
        ):  # fmt: skip
            cookies = {} if given is None else {"token": given}
            for path in ("", "list", "image/0", "result"):
                url = f"{address}/g/{name}/{path}"
                assert requests.get(url, cookies=cookies, timeout=60).status_code in (403, 404)
        wrong = requests.get(f"{address}/g/anna/?token={other}", timeout=60)
        assert wrong.status_code == 403
        assert "ask whoever runs the portal" in wrong.json()["error"]
        asked = {"Accept": "text/html,*/*"}
        wrong = requests.get(f"{address}/g/anna/", headers=asked, timeout=60)
        assert wrong.status_code == 403
        assert "<p>unknown grader or wrong token" in wrong.text
        session = requests.Session()
        page = session.get(f"{address}/g/anna/?token={token}", timeout=60)
        assert page.status_code == 200
        assert token not in page.url
        (cookie,) = session.cookies
        assert cookie.path == "/g/anna/"
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert session.get(f"{address}/g/anna/list", timeout=60).json()["grader"] == "anna"
        assert "anna" not in requests.get(address, timeout=60).text


def test_a_grader_with_a_token_always_has_to_show_it(paths):
    with serving(paths, ("anna", "ben")) as (address, store):
        store.new_token("anna")
        assert requests.get(f"{address}/g/anna/list", timeout=60).status_code == 403
        assert requests.get(f"{address}/g/ben/list", timeout=60).status_code == 200
        page = requests.get(address, timeout=60).text
        assert "/g/ben/" in page
        assert "/g/anna/" not in page


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Origin": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_other_pages_cannot_vote(paths, headers, code):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        about = anna.list()
        anna.session.headers.update(headers)
        answer = anna.post(about, [vote(0, "A")])
        if "Content-Type" in headers:
            answer = anna.session.post(f"{anna.address}/votes", data="{}", timeout=60)
        assert answer.status_code == code
        assert len(store.votes()) == (code == 200)


def test_another_name_for_this_machine_sees_nothing(paths):
    with serving(paths) as (address, _):
        for host in ("evil.example", "127.0.0.1.evil.example", "[::1", ""):
            answer = requests.get(f"{address}/g/anna/list", headers={"Host": host}, timeout=60)
            assert answer.status_code in (400, 403)
        port = address.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1:9", f"localhost:{port}"):
            answer = requests.get(f"{address}/g/anna/list", headers={"Host": host}, timeout=60)
            assert answer.status_code == 200


def test_every_answer_forbids_what_is_not_ours(paths):
    with serving(paths) as (address, _):
        for path in ("", "g/anna/", "static/portal.js", "nothing", "g/carl/"):
            headers = requests.get(f"{address}/{path}", timeout=60).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
        page = requests.get(f"{address}/g/anna/", timeout=60).text
        assert not re.search(r"(src|href)=\"(https?:)?//", page)


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd"])
def test_names_that_leave_the_folder_are_refused(paths, name):
    with serving(paths) as (address, _), requests.Session() as session:
        request = requests.Request("GET", address).prepare()
        request.url = f"{address}/static/{name}"
        answer = session.send(request, timeout=60)
        assert answer.status_code in (403, 404)
        assert "import" not in answer.text


@pytest.mark.parametrize(
    "change",
    [
        {"grade": "E"}, {"place": 99}, {"place": -1}, {"place": "0"}, {"comment": "x" * 2001},
        {"comment": None}, {"key": "short"}, {"seconds": "x"}, {"seconds": float("nan")},
        {"seconds": -1},
    ],
)  # fmt: skip
def test_what_is_no_vote_is_refused(paths, change):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        answer = anna.session.post(
            f"{anna.address}/votes",
            data=json.dumps(
                {"file": store.identity, "stage": 1, "votes": [vote(1, "A"), vote(0, "A") | change]}
            ),
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        assert answer.status_code == 400
        assert store.votes() == []


def test_any_comment_is_kept(paths):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        about = anna.list()
        for comment in (
            "Bögen 🔭",
            "'; DROP TABLE votes; --",
            "<script>alert(1)</script>",
        ):
            assert anna.post(about, [vote(0, "A", comment)]).status_code == 200
        kept = [v["comment"] for v in store.votes()]
        assert kept == ["Bögen 🔭", "'; DROP TABLE votes; --", "<script>alert(1)</script>"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: "[" * 100_000,
        lambda body: body.replace("1.5", "9" * 400),
        lambda body: body.replace("1.5", "9" * 5000),
        lambda body: body.replace('"place": 0', f'"place": {"9" * 400}'),
        lambda body: body.replace('"comment": ""', r'"comment": "\ud800"'),
        lambda body: body.replace('"key": "', r'"key": "\udfff'),
        lambda body: body.replace('"stage": 1', '"stage": ' + '{"a":' * 50_000),
        lambda body: body[:-9],
        lambda body: "",
    ],
)
def test_damaged_votes_are_refused_in_one_line(paths, damage):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        body = json.dumps({"file": store.identity, "stage": 1, "votes": [vote(0, "A")]})
        anna.session.headers["Content-Type"] = "application/json"
        answer = anna.session.post(f"{anna.address}/votes", data=damage(body), timeout=60)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("invalid votes: ")
        assert len(answer.json()["error"].splitlines()) == 1
        assert store.votes() == []


def test_no_damaged_request_ends_in_a_stack_trace():
    assert fuzz_portal(seed=1, requests=150) == []


def test_a_page_of_another_run_or_stage_cannot_vote(paths):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        about = anna.list()
        for change in ({"file": 1}, {"stage": 2}):
            answer = anna.post(about | change, [vote(0, "A")])
            assert answer.status_code == 409
            assert "reload this page" in answer.json()["error"]
        assert store.votes() == []


def test_votes_that_cannot_be_kept_are_not_acknowledged(paths, monkeypatch):
    with serving(paths) as (address, store):
        anna = Grader(address, "anna")
        about = anna.list()
        monkeypatch.setattr("lenspipe.inspection.store.LOCK_TIMEOUT_S", 0.2)
        store._connection.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = anna.post(about, [vote(0, "A")])
        assert answer.status_code == 503
        assert "could not be stored (database is locked)" in answer.json()["error"]
        other.execute("ROLLBACK")
        other.close()
        assert anna.post(about, [vote(0, "A")]).status_code == 200


def test_many_graders_at_once(paths):
    names = [f"grader{i}" for i in range(8)]
    with serving(paths, names) as (address, store):
        lists = {}

        def work(name):
            grader = Grader(address, name)
            about = grader.list()
            lists[name] = [e["place"] for e in about["entries"]]
            for number in range(20):
                grader.grade(about, {number: "ABCD"[number % 4]})

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.votes()) == 160
        assert all(len(store.votes(name, latest=True)) == 20 for name in names)


# --- The command ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{run}", "--host", "0.0.0.0"], "--host: found 0.0.0.0, expected also --tokens"),
        (["{run}/nothing"], "no such file or folder, expected a run's folder"),
        (["{run}", "--repeats", "2"], "--repeats: found 2, expected 0 to 1"),
        (["{run}", "--grader", "../x"], "--grader: found '../x', expected 1 to 40 letters"),
        (["{run}", "--export"], "no such file, expected a database of votes"),
        (["{run}", "--injected", "3"], "--injected: found no"),
        (["{run}", "--known", "{run}/no.fits"], "no.fits: no such file"),
        (["{run}", "--port", "99999999"], "can't listen there"),
    ],
)
def test_mistakes_are_said_in_one_line(paths, capsys, arguments, said):
    filled = [argument.format(run=paths.root) for argument in arguments]
    assert main(["inspect", *filled]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("lenspipe: error: ")
    assert said in line


def test_the_command_serves_exports_and_gives_tokens(paths, capsys):
    with Started(paths, "--grader", "anna", "--grader", "ben", "--tokens") as portal:
        links = dict(re.findall(r"^  (\w+): (http\S+)$", "".join(portal.lines), re.MULTILINE))
        assert set(links) == {"anna", "ben"}
        anna = Grader(portal.address, "anna")
        assert anna.session.get(links["anna"], timeout=60).status_code == 200
        anna.grade(anna.list(), {0: "A", 1: "C"})
    with Started(paths, "--tokens", "--grader", "ben") as portal:
        text = "".join(portal.lines)
        assert "anna: link as before" in text
        assert links["ben"] not in text
        assert "ben: http" in text
    assert main(["inspect", str(paths.root), "--export"]) == 0
    assert "1 A, 0 B, 1 C, 0 D, 18 without a grade" in capsys.readouterr().out
    graded = pd.read_csv(paths.inspection("grades.csv"))
    assert np.count_nonzero(graded["n_votes"]) == 2
    store = Store(paths.inspection())
    assert store.graders() == ["anna", "ben"]
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:60]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096)),
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes().replace(b"an arc", b"\xff\xff arc")),
        lambda path: _replace(path, "CREATE TABLE votes (grader TEXT, grade TEXT)"),
        lambda path: _replace(path, "CREATE TABLE stars (ra REAL, dec REAL)"),
        lambda path: _replace(path, "PRAGMA user_version = 3"),
    ],
    ids=["empty", "head", "half", "zeros", "zeros at the end", "random", "text", "columns", "other",
         "no tables"],
)  # fmt: skip
def test_damaged_votes_leave_the_exports_alone(paths, capsys, damage):
    command, folder = ["inspect", str(paths.root), "--export"], paths.inspection().parent
    store = Store(paths.inspection())
    store.add_grader("anna")
    for i in range(300):
        key = f"a long key {i}"
        row = {
            "key": key,
            "item": f"9010-1000-{i}",
            "grade": "A",
            "comment": "an arc",
            "seconds": 1,
        }
        store.add_votes("anna", 1, [row])
    store.close()
    assert main(command) == 0
    damage(paths.inspection())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert main(command) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"lenspipe: error: {paths.inspection()}: ")
    assert "expected" in line
    assert "restore it from a copy" in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _replace(path, statement):
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()


def test_a_store_with_fewer_votes_than_were_exported_is_not_exported(paths, capsys):
    store = Store(paths.inspection())
    store.add_grader("anna")
    store.add_votes("anna", 1, [vote(0, "A") | {"item": "9010-1000-0"}])
    store.close()
    command = ["inspect", str(paths.root), "--export"]
    assert main(command) == 0
    before = paths.inspection("votes.csv").read_bytes()
    paths.inspection().unlink()
    Store(paths.inspection()).close()
    assert main(command) == 1
    assert "found 0 votes, expected at least the 1 of votes.csv" in capsys.readouterr().err
    assert paths.inspection("votes.csv").read_bytes() == before


def test_an_empty_file_or_other_database_is_not_taken_for_a_new_one(paths, capsys):
    path = paths.inspection()
    path.parent.mkdir()
    path.write_bytes(b"")
    assert main(["inspect", str(paths.root)]) == 1
    assert "empty file, expected a database of votes" in capsys.readouterr().err
    assert path.read_bytes() == b""
    _replace(path, "CREATE TABLE stars (ra REAL, dec REAL)")
    before = path.read_bytes()
    assert main(["inspect", str(paths.root)]) == 1
    assert "found stars (ra, dec), expected graders, votes, lists" in capsys.readouterr().err
    assert path.read_bytes() == before
