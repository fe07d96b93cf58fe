"""A grader's page in Chromium, and images of discs for what is measured on it."""

import functools
import io

import numpy as np
from PIL import Image, ImageDraw
from playwright import sync_api

SMALL = {"width": 1366, "height": 768}
SIZES = {
    "phone": ((390, 844), 3), "half": ((683, 768), 1), "portrait": ((1080, 1920), 1),
    "laptop": ((1366, 768), 1), "large": ((2560, 1440), 1), "zoomed": ((683, 384), 2),
    "zoomed half": ((342, 384), 2), "huge": ((3840, 2160), 1),
}  # fmt: skip


class Page:
    """A grader's page, whose console has to stay empty but for lines with what is expected.

    `answers` are bodies by pattern of address, in place of the portal's; None is never answered.
    """

    def __init__(
        self, browser, address, grader="anna", size=SMALL, expected=None, answers=(), **context
    ):
        self.context = browser.new_context(viewport=size, **context)
        self.page, self.said, self.expected = self.context.new_page(), [], expected
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        for pattern, body in dict(answers).items():
            self.page.route(pattern, lambda route, _, body=body: body and route.fulfill(body=body))
        self.page.goto(f"{address}/g/{grader}/")
        sync_api.expect(self.page.locator("#count")).not_to_be_empty(timeout=20_000)

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


@functools.cache
def disc():
    """A strip of six images, each a green disc on black."""
    strip = Image.new("RGB", (6 * 101, 101))
    for left in range(0, 606, 101):
        ImageDraw.Draw(strip).ellipse((left + 20, 20, left + 80, 80), fill=(0, 255, 0))
    file = io.BytesIO()
    strip.save(file, "PNG")
    return file.getvalue()


def extents(locator):
    """Width and height of the disc on the screen, in pixels of the screenshot."""
    pixels = np.asarray(Image.open(io.BytesIO(locator.screenshot()))).astype(int)
    green = (pixels[..., 1] > 128) & (pixels[..., 0] < 64)
    return np.ptp(np.flatnonzero(green.any(0))) + 1, np.ptp(np.flatnonzero(green.any(1))) + 1
