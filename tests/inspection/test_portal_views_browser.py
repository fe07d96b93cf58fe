"""Every view of the portal in Chromium: circles stay circles, and nobody is kept waiting.

One browser and one run; where shapes are measured, all images show the same disc.
"""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from axe_playwright_python.sync_playwright import Axe
from helpers.browser import SIZES, Page, disc
from helpers.fake_run import draw
from helpers.portal import make_run, serving
from PIL import Image
from playwright import sync_api

from lenspipe.config.settings import load_settings
from lenspipe.inspection.around import Around
from lenspipe.products.cutouts import write_cutouts

pytestmark = pytest.mark.browser

#: The windows in which every view is looked at; the last is the laptop at 200 %.
WINDOWS = ("phone", "half", "portrait", "laptop", "large", "zoomed")

#: Views: keys that lead from each to the next, and what is looked at.
VIEWS = {
    "single": ("", "#single canvas"), "residual": ("r", "#single canvas"),
    "difference": ("e", "#single canvas"), "zoom": ("e+", "#single canvas"),
    "inverted": ("0i", "#single canvas"), "Lupton": ("0l", "#single canvas"),
    "linear": ("l", "#single canvas"), "asinh": ("l", "#single canvas"),
    "logarithmic": ("l", "#single canvas"), "around": ("0w", "#single canvas"),
    "around, inverted": ("i", "#single canvas"), "grid": ("0g", ".tile canvas"),
    "grid of residuals": ("r", ".tile canvas"), "help": ("0g?", "#keys img"),
}  # fmt: skip

# Width and height of the disc of each picture on the screen, and the size of a pixel, all in CSS
# pixels: along the row and the column in the middle, from the first to the last pixel of the
# disc's colour.
EXTENTS = """(pictures) => pictures.filter((e) => e.checkVisibility()).map((picture) => {
    const isImage = picture.tagName === 'IMG';
    const canvas = isImage ? document.createElement('canvas') : picture;
    if (isImage) {
        Object.assign(canvas, { width: picture.naturalWidth, height: picture.naturalHeight });
        canvas.getContext('2d').drawImage(picture, 0, 0);
    }
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    const isDisc = (x, y) => data[4 * (y * width + x) + 1] > 128 && data[4 * (y * width + x)] < 64;
    const along = (n, test) => {
        const hits = [...Array(n).keys()].filter(test);
        return hits.at(-1) - hits[0] + 1;
    };
    const box = picture.getBoundingClientRect();
    return [
        along(width, (x) => isDisc(x, height >> 1)) * box.width / width,
        along(height, (y) => isDisc(width >> 1, y)) * box.height / height,
        Math.max(box.width / width, box.height / height),
    ];
})"""


def known_images(path, grades):
    """Write images of known lenses of some grades; those of D are rings."""
    rng, n = np.random.default_rng(4), len(grades)
    table = pd.DataFrame({"id": [f"g{i}" for i in range(n)], "ra": 150.0, "dec": 2.0})
    table = table.assign(ra=150 + 0.01 * np.arange(n), theta_e_arcsec=1.3, simulated=True)
    table["label"] = [float(grade != "D") for grade in grades]
    table["class"] = ["confusing:ring" if grade == "D" else "lens" for grade in grades]
    table["grade"] = ["" if grade == "D" else grade for grade in grades]
    kinds = ["spiral" if grade == "D" else "lens" for grade in grades]
    path.parent.mkdir(exist_ok=True)
    images = np.stack([draw(kind, 33, rng) for kind in kinds])
    write_cutouts(path, images, table, fits.Header())
    return path


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    """A run with a wider field, two other surveys and examples, served for several graders."""
    paths = make_run(tmp_path_factory.mktemp("views"), n=60, per_brick=60)
    config = {"run": "fake", "survey": {"tree": "/nowhere"}, "inference": {"model": "shipped"}}
    config["inspection"] = {"surveys": {"PS1": "a", "HSC": "b"}, "hips_server": "http://[::1]:9/"}
    config["retrieval"] = {"cache": str(paths.root / "cache")}
    around = Around.of(load_settings(config).at(paths.root))
    examples = known_images(paths.inspection("examples.fits"), "AABBCCDD")
    names = ("anna", "ben", "carl")
    panels = {"around": around, "examples": lambda: examples}
    with serving(paths, names, repeats=0, **panels) as (address, store):
        yield SimpleNamespace(address=address, store=store, paths=paths, examples=examples)


def first_image(strip):
    """The first image of a strip alone."""
    file = io.BytesIO()
    Image.open(io.BytesIO(strip)).crop((0, 0, 101, 101)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", WINDOWS)
def test_circles_stay_circles(browser, portal, name):
    (width, height), scale = SIZES[name]
    size = {"width": width, "height": height}
    settings = {"device_scale_factor": scale, "expected": "willReadFrequently"}
    one_disc = first_image(disc())
    answers = {"**/image/**": disc(), "**/around/**": one_disc, "**/example/*": one_disc}
    with Page(browser, portal.address, size=size, answers=answers, **settings) as anna:
        page = anna.page
        page.wait_for_selector("#large[data-place]")
        for view, (pressed, selector) in VIEWS.items():
            anna.press(*pressed)
            anna.settle()
            if view.startswith("around"):
                page.wait_for_function(
                    "() => [...document.querySelectorAll('#around p')].every((e) => !e.textContent)"
                )
            if view == "help":
                page.wait_for_selector("#keys img")
                page.wait_for_function(
                    "() => [...document.querySelectorAll('#keys img')].every((e) => e.naturalWidth)"
                )
            found = page.locator(selector).evaluate_all(EXTENTS)
            expected = 9 if view.startswith("around") else 8 if view == "help" else 6
            assert len(found) == expected or "grid" in view, view
            for x, y, pixel in found:
                assert x == pytest.approx(y, rel=0.01, abs=pixel), view
                assert x > 20, view


def test_what_lies_around_is_loaded_on_request_and_keeps_nobody_waiting(browser, portal):
    with Page(browser, portal.address, "ben", expected="404") as ben:
        page, asked = ben.page, []
        page.on("request", lambda request: "/around/" in request.url and asked.append(request.url))
        ben.press("a")
        ben.settle()
        assert asked == []
        ben.press("w")
        notes = page.locator("#around .note")
        sync_api.expect(notes.nth(0)).to_contain_text("bricks.parquet: no such file")
        sync_api.expect(notes.nth(1)).to_contain_text("PS1: no image from the service for now")
        assert page.locator("#around figcaption").all_inner_texts() == ["1′ field", "PS1", "HSC"]
        page.route("**/around/**", lambda route: None)  # never answered
        ben.press("b", "c", "d", "a")
        assert ben.text("#count") == "5 of 60 graded"
        page.wait_for_timeout(400)
        asked.clear()
        ben.press("0")
        assert page.is_hidden("#around")
        ben.press("b")
        page.wait_for_timeout(400)
        assert asked == []
        ben.saved()


def test_training_tells_the_truth(browser, portal):
    file = known_images(portal.paths.inspection("training-0.fits"), "ABCDDD")
    votes = len(portal.store.votes())
    with serving(portal.paths, ("anna",), training=file) as (address, store):
        with Page(browser, address) as anna:
            page = anna.page
            for number in range(6):
                assert anna.text("#truth") == "Grade this image to see what it is."
                anna.press("b")
                sync_api.expect(page.locator("#truth")).to_contain_text("ens")
                is_lens = "A lens, Einstein radius 1.3″, published grade" in anna.text("#truth")
                assert anna.text("#truth").startswith("✓ You gave B. " if is_lens else "✗ You gave")
                assert is_lens or "Not a lens: ring." in anna.text("#truth")
                anna.press("d", "u", "g")
                assert anna.text("#message") == "Training shows one image at a time."
                assert number or axe(page) == []
                anna.press("ArrowRight")
            page.wait_for_selector("#next li")
            rows = [row.split("\t") for row in anna.text("#result").splitlines()]
            assert rows == [
                ["Lenses graded A to C", "3 of 3 (100 %)"],
                ["Non-lenses graded A to C", "3 of 3 (100 %)"],
            ]
            assert axe(page) == []
            anna.saved()
        assert [vote["grade"] for vote in store.votes()] == ["B"] * 6
    assert len(portal.store.votes()) == votes


def axe(page):
    """What axe-core finds: rule and element."""
    violations = Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in violations]


@pytest.mark.parametrize("name", ["phone", "laptop"])
def test_nothing_is_inaccessible(browser, portal, name):
    (width, height), _ = SIZES[name]
    size = {"width": width, "height": height}
    with Page(browser, portal.address, "carl", size=size, expected="404") as carl:
        carl.press("w")
        sync_api.expect(carl.page.locator("#around .note").last).to_contain_text("HSC: no image")
        for keys in ([], ["j"], ["Escape", "?"], ["Escape", "0", "g"]):
            carl.press(*keys)
            carl.page.wait_for_timeout(100)
            assert axe(carl.page) == []
        if name == "laptop":
            while carl.page.is_hidden("#done"):
                carl.press("n")
            carl.page.wait_for_selector("#next li")
            assert axe(carl.page) == []
