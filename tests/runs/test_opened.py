"""The Python interface: a run opened by its folder, its tables, galaxies, pages, and SAMP."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import astropy.units as u
import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable, Table
from helpers.scored_run import make_searched_run
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient

import lenspipe
from lenspipe.products.cutouts import read_cutout
from lenspipe.utils.errors import LenspipeError

DOCUMENT = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, results/demo, in which known lenses are hidden."""
    return make_searched_run(tmp_path_factory.mktemp("opened"), known="hide")


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return lenspipe.open_run("results/demo")


def test_the_import_is_light():
    code = (
        "import time; start = time.perf_counter(); import lenspipe; "
        "took = time.perf_counter() - start; import sys; dir(lenspipe); "
        "print(took, {'numpy', 'pandas', 'astropy'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    took, modules = output.stdout.split(maxsplit=1)
    assert float(took) < 0.2
    assert modules.strip() == "set()"
    assert "open_run" in dir(lenspipe)


def test_a_run_is_opened_from_anywhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lenspipe.open_run(folder / "results" / "demo")
    assert len(run.candidates) > 20
    assert repr(run) == f"<Run demo in {folder / 'results' / 'demo'}>"
    monkeypatch.chdir(folder / "results" / "demo")
    assert len(lenspipe.open_run(".").scores) == 120
    monkeypatch.chdir(folder)
    assert len(lenspipe.open_run("results/demo/config.yaml").scores) == 120


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results/none", "results/none: no such folder, expected that of a run, results/<run>, or"),
        ("results", "results: found no config.yaml, expected the folder of a run, results/<run>"),
        ("none.yaml", "none.yaml: can't be read as YAML"),
    ],
)
@pytest.mark.usefixtures("run")
def test_what_is_no_run_is_refused(name, message):
    with pytest.raises(LenspipeError) as error:
        lenspipe.open_run(name)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_run_that_has_not_begun(run, tmp_path):
    config = tmp_path / "new.yaml"
    config.write_text("run: new\nsimulation: {}\nfootprint: {bricks: [0101p000]}\n")
    with pytest.raises(LenspipeError, match="results/new: no such folder, expected that of run"):
        lenspipe.open_run(config)


def test_tables_have_units_and_descriptions(run):
    candidates = run.candidates
    assert isinstance(candidates, QTable)
    assert candidates["ra"].unit == u.deg
    assert candidates["mag_z"].unit == u.mag
    assert candidates["ra"].info.description == "Right ascension, J2000"
    shown = candidates["rank"] > 0
    assert 0 < shown.sum() < len(candidates)
    assert shown.tolist() == sorted(shown.tolist(), reverse=True)
    assert set(candidates["known"][~shown]) == {True}
    scores = run.scores
    assert len(scores) == 120
    assert scores["dec"].unit == u.deg
    assert (
        scores["p_resnet"].info.description == "probability of being a lens from that model, 0 to 1"
    )
    assert set(run.sample["split"]) <= {"train", "validation", "test"}


def test_files_that_are_missing_are_named_with_their_command(run):
    with pytest.raises(LenspipeError, match=r"inspect results/demo --export"):
        _ = run.grades
    with pytest.raises(LenspipeError, match=r"make it with `snakemake results/demo/summary\.json"):
        _ = run.summary
    with pytest.raises(LenspipeError, match="expected the selection function; make it with"):
        _ = run.selection_function


def test_a_galaxy_has_its_row_its_cutout_and_a_figure(run):
    row = run.candidates[0]
    galaxy = run.galaxy(row["name"])
    assert galaxy.row["id"] == row["id"]
    with fitsio.FITS(run.paths.cutouts(str(row["brick"]))) as hdus:
        ids = hdus["CATALOG"].read(columns=["id"])["id"].astype(str).tolist()
        image = read_cutout(hdus, ids.index(row["id"]))
    assert np.array_equal(galaxy.cutout, image)
    assert (galaxy.cutout.shape, galaxy.bands) == ((3, 41, 41), "grz")
    assert run.galaxy(row["id"]).name == row["name"]
    figure = galaxy.show()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["colour", "g", "r", "z", "residual"]
    # North up, East left.
    west, east = figure.axes[0].get_xlim()[::-1]
    assert (west, east) == pytest.approx((-41 * 0.131, 41 * 0.131))
    colour = galaxy.show(["rgb"]).axes[0].images[0]
    assert colour.origin == "lower"
    assert figure._repr_png_()[1:4] == b"PNG"
    assert row["name"] in figure.get_suptitle()


def test_a_galaxy_that_is_no_candidate_is_found_by_its_id(run):
    scores = run.scores
    lowest = scores[np.argmin(scores["p"])]
    galaxy = run.galaxy(lowest["id"])
    assert galaxy.name == lowest["id"]
    assert galaxy.row["p"] == lowest["p"]
    with pytest.raises(LenspipeError, match="DESI-nowhere: found no such candidate, nor a galaxy"):
        run.galaxy("DESI-nowhere")


def listed(page):
    """What the script of a page is given."""
    text = re.search(r'id="listing-data">(.*?)</script>', page.read_text(), re.DOTALL)[1]
    return json.loads(text)


def test_a_page_shows_a_table(run):
    candidates = run.candidates
    page = run.show(candidates[:11], title="Best & <first>")
    assert page == run.paths.root / "pages" / "page-1.html"
    content = listed(page)
    assert content["pages"] == ["page-1-0001.png", "page-1-0002.png"]
    assert all((page.parent / name).exists() for name in content["pages"])
    name = [column["name"] for column in content["columns"]].index("name")
    assert [row[name] for row in content["rows"]] == candidates["name"][:11].tolist()
    assert "<h1>Best &amp; &lt;first&gt;</h1>" in page.read_text()
    assert run.show(candidates["name"][:2]).name == "page-2.html"
    frame = run.scores["id", "brick", "p"].to_pandas().head(3)
    page = run.show(frame, output="mine.html")
    assert len(listed(page)["rows"]) == 3
    with pytest.raises(LenspipeError, match=r"mine\.html: exists; choose another output"):
        run.show(frame, output="mine.html")
    with pytest.raises(LenspipeError, match="expected also brick"):
        run.show(frame[["id"]])
    with pytest.raises(LenspipeError, match="found no galaxy, expected at least one"):
        run.show(frame[:0])


def test_text_in_a_table_is_no_markup(run):
    frame = run.scores["id", "brick"].to_pandas().head(1)
    frame["note"] = "</script><script>alert(1)</script>"
    text = run.show(frame).read_text()
    assert "alert(1)</script>" not in text
    assert "\\u003c/script>" in text


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A SAMP hub of our own."""
    lockfile = tmp_path / "samp"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lockfile.as_uri()}")
    hub = SAMPHubServer(web_profile=False, lockfile=str(lockfile), addr="127.0.0.1")
    hub.start()
    yield hub
    hub.stop()


def test_other_programs_receive_a_table(run, hub):
    received, client = [], SAMPIntegratedClient(name="TOPCAT")

    def receive(private_key, sender, kind, parameters, extra):
        received.append(parameters)

    client.connect()
    try:
        client.bind_receive_notification("table.load.votable", receive)
        candidates = run.candidates[:5]
        assert run.send(candidates, name="best") == ["TOPCAT"]
        assert run.send(candidates["name"][:2], to="topcat") == ["TOPCAT"]
        end = time.monotonic() + 10
        while len(received) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert [message["name"] for message in received] == ["best", "demo"]
        table = Table.read(received[0]["url"].removeprefix("file://"), format="votable")
        assert table["name"].tolist() == candidates["name"].tolist()
        assert table["mag_z"].unit == u.mag
        assert table["p"].description == "Probability of being a lens, the highest of its galaxies"
        assert len(Table.read(received[1]["url"].removeprefix("file://"), format="votable")) == 2
        with pytest.raises(
            LenspipeError, match=r"found TOPCAT among the programs.*expected aladin"
        ):
            run.send(candidates, to="aladin")
    finally:
        client.disconnect()


def test_without_a_hub_or_a_receiver_an_error_says_so(run, tmp_path, monkeypatch, hub):
    with pytest.raises(LenspipeError, match="SAMP: found none among the programs that take tables"):
        run.send(pd.DataFrame({"a": [1]}))
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(LenspipeError, match=r"SAMP: found no hub .*start TOPCAT"):
        run.send(run.candidates)


def test_the_examples_of_the_document_run(run, capsys):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 4
    namespace = {}
    for block in blocks:
        exec(compile(block, str(DOCUMENT), "exec"), namespace)
    assert "Probability of being a lens" in capsys.readouterr().out
    assert namespace["page"].exists()
