"""The inspection portal in a real browser: a person's way through it."""

import io

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.browser import SIZES, Page, disc, extents
from helpers.portal import Grader, make_run, serving
from PIL import Image, ImageDraw
from playwright import sync_api

from lenspipe.inspection.grades import export_grades
from lenspipe.plotting.colour import sky_level

pytestmark = pytest.mark.browser


@pytest.fixture
def paths(tmp_path):
    return make_run(tmp_path, n=30, size=33)


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
        with Page(browser, address, "ben") as ben:
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
        assert tiles.count() == 24
        tiles.nth(4).get_by_role("button", name="Grade C").click()
        tiles.nth(6).locator(".picture").click()
        anna.click("footer [data-grade=D]")
        anna.click("footer [data-do=rest]")
        assert anna.text("#count") == "24 of 30 graded"
        assert tiles.count() == 6
        assert anna.text("#message") == "D: 20 of this page. Undo with U."
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
        given = [tiles.nth(i).get_attribute("aria-label") for i in range(24)]
        assert [i for i, label in enumerate(given) if "graded" in label] == [2, 9]
        anna.press("n")
        assert anna.text("#count") == "24 of 30 graded"
        anna.press("PageUp")
        assert tiles.count() == 24
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
        for key in ("r", "r", "e", "e", *"lllll", "]", "p", "+", "+"):
            before = anna.page.evaluate(pixels)
            anna.press(key)
            anna.page.wait_for_function(f"before => ({pixels})() !== before", arg=before)
            seen.add(anna.page.evaluate(pixels))
        assert len(seen) == 11
        assert anna.text("#view") == "brightness +2, zoom +2 (0 resets)"
        anna.press("0", ".", ".", "i", "l", "e")
        state = "g\u2212z, Lupton stretch, inverted, contrast +2 (0 resets)"
        assert anna.text("#view") == state
        assert anna.page.get_attribute("#invert", "aria-pressed") == "true"
        anna.press("g")
        assert anna.text("#view") == f"page 1 of 2; {state}"
        anna.press("g", "0")
        assert anna.text("#view") == ""
        anna.page.mouse.move(300, 300)
        anna.page.mouse.wheel(0, -100)
        assert anna.page.input_value("#zoom") == "1"
        anna.press("?")
        assert anna.page.is_visible("#keys")
        anna.page.uncheck("#letters")
        anna.press("Escape", "a")
        assert anna.text("#count").startswith("0 of")


def test_contrast_keeps_the_sky(browser, paths):
    """The sky stays at its level, brighter light becomes brighter; inverted, it is light."""
    sky = round(255 * sky_level("viewer"))
    grey = [sky, sky + 20]
    strip = Image.new("RGB", (6 * 101, 101), (grey[0],) * 3)
    for left in range(0, 606, 101):
        ImageDraw.Draw(strip).rectangle((left + 50, 0, left + 100, 100), fill=(grey[1],) * 3)
    file = io.BytesIO()
    strip.save(file, "PNG")
    answers = {"**/image/**": file.getvalue()}
    with serving(paths) as (address, _), Page(browser, address, answers=answers) as anna:
        anna.settle()

        def levels():
            anna.page.wait_for_timeout(150)
            shot = Image.open(io.BytesIO(anna.page.locator("#large").screenshot()))
            width, height = shot.size
            points = [(int(width * x), height // 2) for x in (0.25, 0.75)]
            return [np.mean(shot.convert("RGB").getpixel(point)) for point in points]

        assert levels() == pytest.approx(grey, abs=1)
        anna.press(*"." * 5)
        high = sky + 20 * 1.15**5
        assert levels() == pytest.approx([sky, high], abs=2)
        anna.press("i")
        assert levels() == pytest.approx([255 - sky, 255 - high], abs=2)
        anna.press("i", *"," * 8)
        assert levels() == pytest.approx([sky, sky + 20 * 1.15**-3], abs=2)


def test_jump_filters_and_tags(browser, paths):
    with serving(paths, ("anna", "ben"), repeats=0) as (address, store):
        ben = Grader(address, "ben")
        theirs = ben.list()
        ben.grade(theirs, {e["place"]: "D" for e in theirs["entries"]})
        with Page(browser, address) as anna:
            name = anna.text("#name")
            anna.press("5", "h")
            assert anna.page.get_attribute("[data-tag=ring]", "aria-pressed") == "true"
            anna.press("a", "a", "b", "s")
            anna.press("j")
            anna.page.keyboard.type("12")
            anna.page.keyboard.press("Enter")
            assert anna.text("#place") == "candidate 12 of 30"
            anna.press("j")
            anna.page.keyboard.type(name[5:].lower())
            anna.page.keyboard.press("Enter")
            assert anna.text("#place") == "candidate 1 of 30"
            anna.press("j")
            buttons = anna.page.locator("#filters button").all_inner_texts()
            assert buttons == [
                "all (30)", "skipped (1)", "ungraded (27)", "my A (2)", "my B (1)", "my C (0)",
                "my D (0)", "commented (0)", "tagged (1)",
            ]  # fmt: skip
            anna.page.click("#filters button:has-text('my A')")
            assert anna.text("#view") == "my A: 1 of 2"
            anna.press("ArrowRight", "ArrowRight", "c")
            assert anna.text("#message") == 'The last of "my A" is graded. F shows all again.'
            anna.press("u", "g")
            assert anna.page.locator(".tile").count() == 2
            anna.press("f", "g")
            assert anna.text("#view") == ""
            anna.press("j")
            anna.page.keyboard.press("Escape")
            while anna.page.is_hidden("#done"):
                anna.press("j")
                anna.page.click("#filters button:has-text('all')")
                anna.press("g", *"n" * 2)
            anna.page.wait_for_selector("#next li")
            assert anna.page.locator("#next li").count() == 4
            anna.page.click("#disagreements")
            assert anna.text("#view").startswith("disagreements: 1 of 3")
            anna.press("j")
            anna.page.click("#filters button:has-text('missed')")
            anna.press("b")
            assert anna.text("#message").startswith("Not graded: it is known")
            anna.saved()
        tagged = [v for v in store.votes("anna", latest=True) if v["tags"]]
        assert [v["tags"] for v in tagged] == ["ring other-survey"]
        assert tagged[0]["grade"] == "A"


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
    answers = {"**/image/**": None}  # pictures never come
    with serving(paths) as (address, store), Page(browser, address, answers=answers) as anna:
        for view in ("#single", "#grid"):
            anna.page.wait_for_selector(view)
            anna.page.keyboard.press("a")
            sync_api.expect(anna.page.locator("#message")).to_be_in_viewport()
            assert anna.text("#message").startswith("Not graded: the image of DESI-")
            anna.page.keyboard.press("g")
        anna.page.keyboard.press("g")
        anna.page.keyboard.press("n")
        assert anna.text("#message").startswith("Not graded: not all images of this page")
        anna.saved()
        assert store.votes() == []


def test_a_lost_picture_is_said(browser, paths):
    for path in paths.root.glob("cutouts/*/*.fits"):
        path.unlink()
    with serving(paths) as (address, store), Page(browser, address, expected="404") as anna:
        expected = "no such file, expected cutouts"
        sync_api.expect(anna.page.locator("#note")).to_contain_text(expected)
        anna.page.keyboard.press("a")
        assert anna.text("#message").startswith("Not graded")
        anna.page.keyboard.press("g")
        sync_api.expect(anna.page.locator(".tile .note").last).to_contain_text(expected)
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


def test_one_press_is_one_vote(browser, paths):
    with serving(paths, repeats=0) as (address, store), Page(browser, address) as anna:
        name = anna.text("#name")
        anna.settle()
        hold(anna, "a")
        assert anna.text("#count") == "1 of 30 graded"
        assert anna.text("#message") == f"A: {name}. Undo with U."
        sync_api.expect(anna.page.locator("#message")).to_be_in_viewport()
        hold(anna, "u")
        assert anna.text("#count") == "0 of 30 graded"
        assert anna.text("#message") == f"Undone: {name} is not graded."
        anna.click("footer [data-grade=B]")
        for key in ("Enter", "Space"):  # the button was left again
            anna.press(key)
        assert anna.text("#count") == "1 of 30 graded"
        anna.settle()
        anna.page.dblclick("footer [data-grade=C]")
        assert anna.text("#count") == "2 of 30 graded"
        anna.settle()
        anna.page.focus("footer [data-grade=D]")  # who comes by the keyboard may use it again
        hold(anna, "Enter")
        assert anna.text("#count") == "3 of 30 graded"
        anna.press("Enter", "Space")
        assert anna.text("#count") == "5 of 30 graded"
        anna.press("g", "ArrowRight")
        hold(anna, "a")
        anna.settle()
        anna.page.locator("[aria-current=true] button").first.dblclick()
        assert anna.text("#count") == "7 of 30 graded"
        hold(anna, "n")
        assert anna.text("#count") == "24 of 30 graded"
        anna.saved()
        assert len([v for v in store.votes("anna", latest=True) if v["grade"]]) == 24


def hold(grader, key):
    """Hold a key until it has repeated ten times."""
    for _ in range(11):
        grader.page.keyboard.down(key)
    grader.page.keyboard.up(key)


def test_sliders_give_the_arrow_keys_back(browser, paths):
    with serving(paths) as (address, _), Page(browser, address) as anna:
        anna.settle()
        first, box = anna.shown(), anna.page.locator("#brightness").bounding_box()
        anna.page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        assert int(anna.page.input_value("#brightness")) > 5
        anna.press("ArrowRight")
        anna.settle()
        assert anna.shown() != first
        anna.page.click(".sliders span:has-text('Contrast')")
        anna.press("ArrowLeft")
        anna.settle()
        assert anna.shown() == first
        anna.page.focus("#contrast")
        anna.press("ArrowRight")
        assert anna.page.input_value("#contrast") == "1"
        assert anna.shown() == first


ALT_GR = {"ctrlKey": True, "altKey": True, "modifierAltGraph": True}


@pytest.mark.parametrize(
    ("event", "changed"),
    [
        ({"key": "]"}, "brightness"),
        ({"key": "]", **ALT_GR}, "brightness"),  # Windows
        ({"key": "]", "modifierAltGraph": True}, "brightness"),  # Linux
        ({"key": "]", "altKey": True}, "brightness"),  # a Mac, with Option
        ({"key": "p"}, "brightness"),
        ({"key": "P", "shiftKey": True}, "brightness"),
        ({"key": "+", "shiftKey": True}, "zoom"),
        ({"key": "4", "shiftKey": True}, "graded"),  # French
        ({"key": "]", "ctrlKey": True}, ""),
        ({"key": "]", "altKey": True, "metaKey": True}, ""),
        ({"key": "+", "ctrlKey": True}, ""),
        ({"key": "a", "ctrlKey": True}, ""),
        ({"key": "d", "altKey": True}, ""),
        ({"key": "a", **ALT_GR}, ""),
        ({"key": "a", "modifierAltGraph": True}, ""),
        ({"key": "a", "isComposing": True}, ""),
    ],
)
def test_keys_of_all_keyboards(keyboard, event, changed):
    before = keyboard.evaluate(WATCHED)
    keyboard.evaluate(
        """(event) => document.body.dispatchEvent(
            new KeyboardEvent('keydown', { ...event, bubbles: true, cancelable: true }))""",
        event,
    )
    after = keyboard.evaluate(WATCHED)
    assert [name for name in before if before[name] != after[name]] == [changed] * bool(changed)


WATCHED = """() => ({ brightness: document.querySelector('#brightness').value,
    zoom: document.querySelector('#zoom').value,
    graded: document.querySelector('#count').textContent })"""


@pytest.fixture(scope="module")
def keyboard(browser, tmp_path_factory):
    paths = make_run(tmp_path_factory.mktemp("keys"), n=30)
    with serving(paths) as (address, _), Page(browser, address) as anna:
        anna.settle()
        yield anna.page


def test_images_come_by_themselves_when_the_portal_is_back(browser, paths):
    with serving(paths) as (address, store), away(browser, address) as anna:
        anna.settle()
        anna.page.clock.install()
        anna.context.set_offline(True)
        anna.page.keyboard.press("r")
        anna.page.keyboard.press("ArrowRight")
        note = anna.page.locator("#note")
        sync_api.expect(note).to_have_text("The portal does not answer; asking again.")
        sync_api.expect(note).to_be_in_viewport()
        anna.page.keyboard.press("a")
        assert anna.text("#message").startswith("Not graded")
        anna.context.set_offline(False)
        anna.page.clock.fast_forward(2000)
        sync_api.expect(note).to_be_empty()
        anna.settle()
        anna.context.set_offline(True)
        anna.page.keyboard.press("l")
        anna.page.keyboard.press("g")
        notes = anna.page.locator(".tile .note.failed")
        sync_api.expect(notes).to_have_count(24)
        anna.context.set_offline(False)
        anna.page.clock.fast_forward(2000)
        anna.settle()
        assert notes.filter(has_text="portal").count() == 0
        assert store.votes() == []


# Names of visible controls that cannot be scrolled into view, are covered, or are too small.
UNREACHABLE = """(smallest) => [...document.querySelectorAll('button, a, textarea, input, #large')]
    .filter((e) => e.checkVisibility()).filter((e) => {
        e.scrollIntoView({ block: 'center' });
        const { left, top, right, bottom, width, height } = e.getBoundingClientRect();
        const x = (left + right) / 2, y = (top + bottom) / 2;
        const hit = document.elementFromPoint(x, y);
        return left < 0 || right > innerWidth + 0.5 || !(e.contains(hit) || hit?.contains(e))
            || (e.matches('button') && Math.min(width, height) < smallest);
    }).map((e) => e.id || e.textContent || e.tagName)"""

OVERFLOW = """() => [document.documentElement, document.querySelector('main')]
    .filter((e) => e && e.scrollWidth > e.clientWidth).map((e) => e.tagName)"""


def check_reachable(page, smallest):
    assert page.evaluate(OVERFLOW) == []
    assert page.evaluate(UNREACHABLE, smallest) == []


@pytest.mark.parametrize("name", SIZES)
def test_every_window(browser, discs, name):
    (width, height), scale = SIZES[name]
    touch = name == "phone"
    settings = {"device_scale_factor": scale, "has_touch": touch}
    settings["answers"] = {"**/image/**": disc()}
    smallest = 42 if touch else 24
    size = {"width": width, "height": height}
    with Page(browser, discs, size=size, **settings) as anna:
        anna.settle()
        canvases = anna.page.locator("#single canvas")
        for i in range(canvases.count()):
            x, y = extents(canvases.nth(i))
            assert x == pytest.approx(y, rel=0.01, abs=scale)  # to a pixel of CSS
        assert canvases.count() == 6
        backing = anna.page.evaluate(
            "[...document.querySelectorAll('#single canvas')].map((c) => [c.width, c.height])"
        )
        assert all(x == y for x, y in backing)
        large = anna.page.locator("#large").bounding_box()
        assert large["width"] == pytest.approx(large["height"], rel=0.01)
        assert large["width"] > 0.5 * min(width, height)
        check_reachable(anna.page, smallest)
        anna.press("g")
        anna.settle()
        tiles = anna.page.locator(".tile canvas")
        for i in (0, tiles.count() - 1):
            x, y = extents(tiles.nth(i))
            assert x == pytest.approx(y, rel=0.01, abs=scale)  # to a pixel of CSS
        check_reachable(anna.page, smallest)
        anna.press("?")
        anna.page.get_by_role("button", name="Close").click(trial=True)
        box = anna.page.locator("#keys").bounding_box()
        assert min(box["x"], box["y"]) >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        anna.page.goto(discs)
        check_reachable(anna.page, 0)


@pytest.fixture(scope="module")
def discs(browser, tmp_path_factory):
    with serving(make_run(tmp_path_factory.mktemp("discs"), n=60)) as (address, _):
        yield address


@pytest.mark.parametrize("name", ["phone", "laptop"])
def test_axe_finds_nothing(browser, paths, name):
    (width, height), _ = SIZES[name]
    size = {"width": width, "height": height}
    with serving(paths) as (address, _), Page(browser, address, size=size) as anna:
        for keys in (["a"], ["g"], ["?"], ["Escape", "n", *["n"] * 10]):
            anna.press(*keys)
            anna.page.wait_for_timeout(100)
            found = Axe().run(anna.page).response["violations"]
            assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
        anna.page.goto(address)
        assert Axe().run(anna.page).response["violations"] == []
