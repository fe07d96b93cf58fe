"""The page of a run: its numbers and figures, and the page in a browser, without a network."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from helpers.scored_run import make_run, make_settings
from playwright import sync_api

from lenspipe.candidates.find import find_candidates, forecast
from lenspipe.config.settings import load_settings
from lenspipe.config.stages import STAGES
from lenspipe.mosaics.pages import draw_candidate_pages
from lenspipe.plotting.galaxy_pages import TILE_PIXELS, page_layout
from lenspipe.products.checks import result
from lenspipe.products.files import write_json
from lenspipe.runs.figures import figures, figures_of_run
from lenspipe.runs.index import write_index
from lenspipe.runs.numbers import describe_numbers
from lenspipe.runs.steps import describe_end

ROOT = Path(__file__).parents[2]
SUMMARY = {
    "run": "tiny", "n_candidates": 40, "n_galaxies": 120, "n_bricks": 4, "n_bricks_failed": 1,
    "wall_s": 125.0, "disk_mb": 512.0,
}  # fmt: skip
PURITY = {"n_searched": 120, "n_random": 70, "left_out": {"flagged": 2, "near a known lens": 48}}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A run with a page: of a given model, so that there are no numbers of a training."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("model.keras").write_bytes(b"a model")
        settings = make_settings(inference={"model": "model.keras"}, candidates={"threshold": 0.3})
        make_run(settings)
        paths = settings.paths
        find_candidates(settings)
        forecast(settings)
        draw_candidate_pages(settings)
        write_json(paths.summary, SUMMARY)
        write_json(paths.purity("purity.json"), PURITY)
        checks = [result(True, 3.0, 2.0, "deviation", "a brick stands out") | {"check": "drift"}]
        write_json(paths.checks("checks.json"), {"run": "tiny", "red": ["drift"], "checks": checks})
        write_index(settings)
        # Figures that other stages make.
        for shown in figures_of_run(settings):
            path = paths.root / shown.file
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                shutil.copy(paths.mosaic_page(1), path)
        return settings.at(folder / paths.root)


def content_of(settings):
    text = settings.paths.page.read_text()
    return json.loads(re.search(r'id="listing-data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_candidates_are_those_of_the_table(settings):
    content = content_of(settings)
    table = pd.read_csv(settings.paths.candidates.with_suffix(".csv"))
    columns = [column["name"] for column in content["columns"]]
    name, p = columns.index("name"), columns.index("p")
    assert [row[name] for row in content["rows"]] == table["name"].tolist()
    assert [row[p][0] for row in content["rows"]] == pytest.approx(table["p"].tolist(), abs=1e-6)
    assert content["columns"][columns.index("ra")]["unit"] == "deg"
    assert content["places"] == list(range(len(table)))
    corners = page_layout(8, 4, ["rgb"]).corners
    assert content["corners"] == [list(corner) for corner in corners]
    assert (content["per_page"], content["tile"]) == (8, TILE_PIXELS)


def test_links_are_relative_and_lead_somewhere(settings):
    text = re.sub(r"(?s)<script.*?</script>", "", settings.paths.page.read_text())
    links = re.findall(r'(?:href|src)="([^"#]+)"', text)
    later = {"status.html", "missing.csv", "candidates/searched.fits", "config.yaml"}
    later |= {"checks/checks.html"}
    assert len(links) > 10
    missing = [link for link in links if not (settings.paths.root / link).exists()]
    assert set(missing) <= later
    assert "http" not in "".join(links)


def test_the_page_says_what_was_searched_and_found(settings):
    text = settings.paths.page.read_text()
    assert "gravitational lenses in 0.25 square degrees of a simulated sky" in text
    assert "4 bricks, 0.25 square degrees; 1 failed" in text
    assert '<td class="red">red</td><td>a brick stands out</td>' in text
    assert "70 other galaxies (120 galaxies searched without those" in text
    assert "lenspipe inspect results/tiny" in text
    assert "snakemake --cores 2 --configfile results/tiny/config.yaml mine" not in text


def test_each_number_names_its_galaxies():
    documents = {
        "summary": SUMMARY,
        "threshold": {
            "measured_on": "x (test split)", "expected": {"n_lenses": 192, "n_nonlenses": 232},
        },
        "training": {"name": "net", "counts": {"train": {"lens": 801, "other": 2003}}},
        "model_metrics": {"name": "net", "test_n_lenses": 192, "test_n_nonlenses": 460},
        "metrics": {
            "judged_by": "truth", "n_lenses": 242, "n_visible_lenses": 204, "n_nonlenses": 1408,
        },
        "purity": PURITY,
        "realism": {"n_real": 193, "trained_on": False},
        "selection": {"n_painted": 2000, "n_found": 363},
        "prediction": {"n": 242},
        "recovery": [{"catalogue": "huang", "n_entries": 9, "n_systems": 8}],
    }  # fmt: skip
    rows = describe_numbers(documents)
    assert [(row.n_lenses, row.n_others) for row in rows.values()] == [
        (None, None), (801, 2003), (192, 460), (192, 232), (242, 1408), (None, 70), (193, None),
        (2000, None), (242, None), (8, None),
    ]  # fmt: skip
    assert rows["model"].counts == "192 lenses and 460 other galaxies"
    assert "test split" in rows["model"].galaxies
    assert rows["recovery"].file == "recovery/huang.json"
    assert list(describe_numbers({"summary": SUMMARY, "threshold": {"measured_on": None}})) == [
        "searched"
    ]


def test_every_result_has_a_title_a_category_and_a_caption():
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    for key, figure in figures().items():
        assert figure.stage in STAGES
        assert figure.title
        assert len(figure.caption_text("net")) > 60
        assert "{{" not in figure.caption_text("net")
        assert figure.report or (figure.question.endswith("?") and figure.galaxies)
        used = f'"{key}"' in rules or f'"{key.removeprefix("evaluation_")}"' in rules
        assert used, f"no rule shows {key}"
    # Rules take these from the table, by one function.
    assert len(re.findall(r"(?<![\w.])report\(", rules)) == 1
    captions = {path.stem for path in (ROOT / "lenspipe/runs/captions").glob("*.rst")}
    assert captions == {figure.caption or key for key, figure in figures().items()}


def test_the_demo_shows_all_figures():
    settings = load_settings(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    files = [shown.file for shown in figures_of_run(settings)]
    assert len(files) == len(set(files)) > 20
    assert {"selection/prediction.png", "models/resnet/roc.png", "checks/drift.png"} <= set(files)
    assert not any("<" in file for file in files)


def test_the_end_of_a_run_names_the_page_and_two_commands(settings):
    lines = describe_end(make_settings()).splitlines()
    assert lines[0] == "Open results/tiny/index.html in a browser. Next:"
    assert [line.split("#")[0].strip() for line in lines[1:]] == [
        "lenspipe inspect results/tiny",
        "snakemake --cores 2 --configfile results/tiny/config.yaml mine",
    ]


@pytest.fixture(params=[1366, 390])
def page(browser, settings, request):
    """The page from its file, whose console stays empty and which asks for nothing elsewhere."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda wanted: asked.append(wanted.url))
    page.goto(settings.paths.page.resolve().as_uri())
    page.wait_for_selector("#listing tbody tr")
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("file://")] == []
    context.close()


def expect_names(page, expected):
    """The table sorts and searches a moment after the event."""
    names = page.locator("#listing tbody tr td:nth-child(3)")
    sync_api.expect(names).to_have_text(expected)


@pytest.mark.browser
def test_candidates_are_sorted_searched_and_opened(page, settings):
    table = pd.read_csv(settings.paths.candidates.with_suffix(".csv"))
    best = table["name"].tolist()
    expect_names(page, best[:25])
    page.locator("#listing th").filter(has_text="z (mag)").click()
    by_mag = table.sort_values("mag_z", kind="stable")["name"].tolist()
    expect_names(page, by_mag[:25])
    page.get_by_role("searchbox").fill(best[30])
    expect_names(page, [best[30]])
    page.locator("#listing tbody button").click()
    opened = page.locator(".opened dl > div").all_text_contents()
    assert f"id{table['id'][30]}" in opened
    assert f"ra{table['ra'][30]:.5f} deg" in opened
    page.locator(".opened a").click()
    assert page.evaluate("location.hash") == f"#{best[30].replace('+', '%2B')}"
    names = page.locator("#listing tbody tr td:nth-child(3)").all_inner_texts()
    assert best[30] in names
    assert page.locator(".opened").is_visible()


@pytest.mark.browser
def test_images_are_those_of_the_mosaics(page, settings):
    """The thumbnail of the tenth candidate is the second of the second page, at half its size."""
    thumb = page.locator("#listing .thumb").nth(9)
    assert thumb.get_attribute("href") == "mosaics/page-0002.png"
    x, y = page_layout(8, 4, ["rgb"]).corners[1]
    style = thumb.evaluate("e => getComputedStyle(e).backgroundPosition")
    assert [float(value.removesuffix("px")) for value in style.split()] == [-x / 2, -y / 2]
    # Drawn, not only asked for.
    shot = thumb.screenshot()
    assert len(np.unique(np.frombuffer(shot, np.uint8))) > 100


@pytest.mark.browser
def test_the_page_fits_and_axe_finds_nothing(page):
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("#listing tbody button").first.click()
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
