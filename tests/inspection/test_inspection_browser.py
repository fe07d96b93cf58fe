"""The inspection portal in a real browser: a person's way through it."""

import shutil

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.portal import make_run, serving
from playwright import sync_api

from lenspipe.inspection.grades import export_grades

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt install chromium"),
]
SMALL, LARGE = {"width": 1366, "height": 768}, {"width": 2560, "height": 1440}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def paths(tmp_path):
    return make_run(tmp_path, n=30, size=33)


class Page:
    """A grader's page, whose console has to stay empty but for lines with what is expected."""

    def __init__(self, browser, address, grader="anna", size=SMALL, expected=None):
        self.context = browser.new_context(viewport=size)
        self.page, self.said, self.expected = self.context.new_page(), [], expected
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(f"{address}/g/{grader}/")
        sync_api.expect(self.page.locator("#count")).not_to_be_empty()

    def settle(self):
        """Wait until every image on the screen is painted: the large one, or the page's tiles."""
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('#large, .tile')]
                .filter((e) => e.checkVisibility()).every((e) => e.ariaBusy === 'false')"""
        )

    def press(self, *keys):
        for key in keys:
            self.settle()
            self.page.keyboard.press(key)

    def click(self, selector):
        self.settle()
        self.page.click(selector)

    def text(self, selector):
        return self.page.inner_text(selector)

    def saved(self):
        sync_api.expect(self.page.locator("#saved")).to_have_text("all saved", timeout=20000)

    def shown(self):
        """Place whose picture is on the screen."""
        return int(self.page.get_attribute("#large", "data-place"))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            known = self.expected
            assert [text for text in self.said if not known or known not in text] == []


def test_a_person_grades_with_the_keyboard(browser, paths):
    with serving(paths, ("anna", "ben"), repeats=0) as (address, store):
        with Page(browser, address) as anna:
            assert anna.text("#count") == "0 of 30 graded"
            first = anna.text("#name")
            anna.press("a", "b")
            assert anna.text("#count") == "2 of 30 graded"
            anna.press("u", "u")
            assert anna.text("#name") == first
            assert anna.text("#count") == "0 of 30 graded"
            anna.press("m")
            anna.page.keyboard.type("blue arc, d?")
            anna.press("Enter", "c", "s", "d", "ArrowLeft", "ArrowLeft", "ArrowLeft")
            assert anna.text("#name") == first
            assert anna.page.input_value("#comment") == "blue arc, d?"
            pressed = anna.page.get_attribute("footer [data-grade=C]", "aria-pressed")
            assert pressed == "true"
            anna.press("m")
            anna.page.keyboard.type("never kept")
            anna.press("Escape")
            assert anna.page.input_value("#comment") == "blue arc, d?"
            anna.saved()
            anna.page.reload()
            anna.page.wait_for_selector("#large[data-place]")
            assert anna.text("#count") == "2 of 30 graded"
            assert anna.shown() == 3  # after the last vote; what was skipped comes at the end
            anna.press("u")
            assert anna.text("#count") == "1 of 30 graded"
            for number in range(29):
                anna.press("dcba"[number % 4])
            anna.page.wait_for_selector("#result table")
            assert anna.text("#count") == "30 of 30 graded"
            assert "Known lenses" in anna.text("#result")
            anna.page.click("#again")
            assert anna.text("#name") == first
        standing = store.votes("anna", latest=True)
        assert len(standing) == 30
        assert len(store.votes("anna")) > 33
        assert [v["comment"] for v in standing if v["comment"]] == ["blue arc, d?"]
        assert all(v["seconds"] >= 0 for v in standing)
        with Page(browser, address, "ben", LARGE) as ben:
            assert ben.text("#count") == "0 of 30 graded"
            assert ben.text("#name") != first
            for _ in range(30):
                ben.press("1")
            ben.page.wait_for_selector("#result table")
            assert "With anna" in ben.text("#result")
        export_grades(paths, store)
    table = pd.read_csv(paths.inspection("grades.csv"))
    assert (table["n_votes"] == 2).all()
    assert (table["mean"] >= 1).all()


def test_a_person_grades_with_the_mouse(browser, paths):
    with serving(paths, repeats=0) as (address, store), Page(browser, address) as anna:
        page = anna.page
        anna.click("footer [data-grade=B]")
        anna.click("footer [data-grade=A]")
        anna.click("footer [data-do=undo]")
        assert anna.text("#count") == "1 of 30 graded"
        page.fill("#comment", "ring")
        anna.click("footer [data-grade=A]")
        anna.click("#mode")
        anna.settle()
        tiles = page.locator("#grid .tile")
        assert tiles.count() == 21
        tiles.nth(4).get_by_role("button", name="Grade C").click()
        tiles.nth(6).locator(".picture").click()
        anna.click("footer [data-grade=D]")
        anna.click("footer [data-do=rest]")
        assert anna.text("#count") == "21 of 30 graded"
        assert tiles.count() == 9
        anna.click("footer [data-do=undo]")
        assert anna.text("#count") == "4 of 30 graded"
        tiles.nth(4).locator(".picture").dblclick()
        assert page.is_visible("#single")
        assert page.get_attribute("footer [data-grade=C]", "aria-pressed") == "true"
        anna.saved()
        assert [v["grade"] for v in store.votes("anna", latest=True) if v["grade"]] == list("BACD")
        assert [v["comment"] for v in store.votes(latest=True)].count("ring") == 1


def test_the_grid_by_keyboard(browser, paths):
    with serving(paths, repeats=0) as (address, store), Page(browser, address) as anna:
        anna.press("g", "ArrowRight", "ArrowDown", "b", "ArrowUp", "c")
        tiles = anna.page.locator("#grid .tile")
        given = [tiles.nth(i).get_attribute("aria-label") for i in range(21)]
        assert [i for i, label in enumerate(given) if "graded" in label] == [2, 8]
        anna.press("n")
        assert anna.text("#count") == "21 of 30 graded"
        anna.press("PageUp")
        assert tiles.count() == 21
        anna.press("Enter")
        assert anna.page.is_visible("#single")
        anna.press("g", "PageDown", "n")
        anna.page.wait_for_selector("#result table")
        assert len(store.votes("anna", latest=True)) == 30


def test_what_is_seen_changes_as_asked(browser, paths):
    with serving(paths) as (address, _), Page(browser, address) as anna:
        pixels = "() => document.querySelector('#large').toDataURL()"
        anna.page.wait_for_selector("#large[data-place]")
        seen = {anna.page.evaluate(pixels)}
        for key in ("r", "r", "l", "l", "]", "]", "+", "+"):
            before = anna.page.evaluate(pixels)
            anna.press(key)
            anna.page.wait_for_function(f"before => ({pixels})() !== before", arg=before)
            seen.add(anna.page.evaluate(pixels))
        assert len(seen) == 7
        anna.press("0", ".")
        assert "contrast(1.15)" in anna.page.get_attribute("#large", "style")
        anna.press("0")
        anna.page.mouse.move(300, 300)
        anna.page.mouse.wheel(0, -100)
        assert anna.page.input_value("#zoom") == "1"
        anna.press("?")
        assert anna.page.is_visible("#keys")
        anna.page.uncheck("#letters")
        anna.press("Escape", "a")
        assert anna.text("#count").startswith("0 of")


def away(browser, address):
    """A page that may say that it has no connection."""
    return Page(browser, address, expected="ERR_INTERNET_DISCONNECTED")


def test_votes_wait_while_the_portal_is_away(browser, paths):
    with serving(paths, repeats=0) as (address, store), away(browser, address) as anna:
        anna.page.wait_for_selector("#large[data-place]")
        anna.context.set_offline(True)
        anna.press("a", "b", "c")
        sync_api.expect(anna.page.locator("#saved")).to_have_text("3 not saved yet")
        assert "your votes are kept here" in anna.text("#problem")
        assert store.votes() == []
        anna.context.set_offline(False)
        anna.saved()
        assert anna.page.is_hidden("#problem")
        assert [v["grade"] for v in store.votes()] == ["A", "B", "C"]


def test_nobody_grades_what_is_not_seen(browser, paths):
    with serving(paths) as (address, store), Page(browser, address) as anna:
        anna.page.route("**/image/**", lambda route: None)  # pictures never come
        anna.page.reload()
        for view in ("#single", "#grid"):
            anna.page.wait_for_selector(view)
            anna.page.keyboard.press("a")
            assert anna.text("#announcement") == "The image is not loaded yet"
            anna.page.keyboard.press("g")
        anna.page.keyboard.press("g")
        anna.page.keyboard.press("n")
        assert anna.text("#announcement") == "Not all images are loaded yet"
        anna.saved()
        assert store.votes() == []


def test_a_lost_picture_is_said(browser, paths):
    for path in paths.root.glob("cutouts/*/*.fits"):
        path.unlink()
    with serving(paths) as (address, store), Page(browser, address, expected="404") as anna:
        expected = "no such file, expected cutouts"
        sync_api.expect(anna.page.locator("#problem")).to_contain_text(expected)
        anna.page.keyboard.press("a")
        assert anna.text("#announcement") == "The image is not loaded yet"
        assert store.votes() == []


def test_votes_outlive_a_page_that_is_closed_before_they_are_sent(browser, paths):
    with serving(paths, repeats=0) as (address, store), away(browser, address) as anna:
        anna.page.wait_for_selector("#large[data-place]")
        anna.context.set_offline(True)
        anna.press("a", "b")
        anna.page.close()
        anna.context.set_offline(False)
        anna.page = anna.context.new_page()
        anna.page.goto(f"{address}/g/anna/")
        sync_api.expect(anna.page.locator("#count")).to_have_text("2 of 30 graded")
        anna.saved()
        assert [v["grade"] for v in store.votes()] == ["A", "B"]


def test_two_browsers_of_one_grader(browser, paths):
    with serving(paths, repeats=0) as (address, store):
        with Page(browser, address) as one, Page(browser, address) as two:
            one.press("a", "a")
            two.press("b", "b", "b")
            one.saved()
            two.saved()
        assert len(store.votes("anna")) == 5
        assert len(store.votes("anna", latest=True)) == 3


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_nothing_is_cut_off_and_axe_finds_nothing(browser, paths, size):
    inside = """() => [...document.querySelectorAll('button, canvas, textarea, input, h2')]
        .filter((e) => e.checkVisibility()).map((e) => [e.id || e.textContent, e])
        .map(([name, e]) => [name, e.getBoundingClientRect()])
        .filter(([, b]) => Math.min(b.left, b.top) < 0 || b.right > innerWidth
            || b.bottom > innerHeight)
        .map(([name]) => name)"""
    with serving(paths) as (address, _), Page(browser, address, size=size) as anna:
        anna.page.wait_for_selector("#large[data-place]")
        large = anna.page.locator("#large").bounding_box()
        assert large["width"] > 0.7 * size["height"]
        assert large["width"] == pytest.approx(large["height"], abs=1)
        for keys in ([], ["g"], ["?"], ["Escape", "n", *["n"] * 10]):
            anna.press(*keys)
            anna.page.wait_for_timeout(100)
            assert anna.page.evaluate(inside) == []
            found = Axe().run(anna.page).response["violations"]
            assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
    with serving(paths) as (address, _):
        page = browser.new_page(viewport=size)
        page.goto(address)
        assert Axe().run(page).response["violations"] == []
        page.close()
