"""The wider field around a candidate, and images of other surveys, with servers that misbehave."""

import http.server
import io
import json
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import fitsio
import numpy as np
import pandas as pd
import pytest
from helpers.loopback import Fault, Loopback
from helpers.portal import Grader, make_run, serving
from PIL import Image

from lenspipe.config.results import Inspection
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.inspection.around import Around, OtherSurvey, Place, WideField
from lenspipe.inspection.images import Cutout
from lenspipe.retrieval.cache import Cache
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.utils.errors import LenspipeError

SEARCH = {"inference": {"model": "shipped"}}
SIZE = 81  # of the wider field in the tests, pixels


@pytest.fixture
def field(small_survey, tmp_path, monkeypatch):
    """A run in a tree of small bricks; returns (address or folder of the tree) -> its field."""
    monkeypatch.chdir(tmp_path)

    def make(tree):
        config = {"run": "fake", "survey": {"release": "dr9", "tree": str(tree)}, **SEARCH}
        config |= {"retrieval": {"contact": "me@example.org", "cache": str(tmp_path / "cache")}}
        config |= {"inspection": {"wide_arcsec": 0.262 * SIZE}, "cutouts": {"size": 33}}
        settings = load_settings(config)
        paths = settings.paths
        paths.bricks.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"brick": small_survey.bricks, "region": "south"})
        table.assign(ra=0.0, dec=0.0).to_parquet(paths.bricks)
        return WideField.of(settings)

    brick = small_survey.bricks[0]
    wcs = brick_wcs(*brick_grid(0.25).centre(brick), RELEASES["dr9"])
    wcs.wcs.crpix = [200.5, 200.5]
    ra, dec = wcs.all_pix2world(120.2, 380.4, 0)
    coadd = RELEASES["dr9"].paths(small_survey.tree).coadd("south", brick, "image", "r")
    own = Cutout(np.full((3, 33, 33), 7, np.float32), "grz", (np.nan, np.nan))
    place = Place(brick, float(ra), float(dec))
    return SimpleNamespace(make=make, place=place, cutout=own, whole=fitsio.read(str(coadd)))


def check(field, image):
    """Coadd pixels around column 120, row 380, up to the edge at 400; the cutout in the middle."""
    assert image.shape == (3, SIZE, SIZE)
    expected = np.full((SIZE, SIZE), np.nan, np.float32)
    expected[:60] = field.whole[340:400, 80:161]
    expected[24:57, 24:57] = 7
    np.testing.assert_array_equal(image[1], expected)


def test_the_wider_field_is_of_the_brick(field, small_survey):
    wide = field.make(small_survey.tree)
    check(field, wide.read(field.place, field.cutout))
    elsewhere = Place("0001p000", *(field.place.ra, field.place.dec))
    with pytest.raises(LenspipeError, match="found no brick 0001p000"):
        wide.read(elsewhere, field.cutout)
    with pytest.raises(LenspipeError, match="found cutouts in gr, expected grz"):
        wide.read(field.place, Cutout(field.cutout.image[:2], "gr", (np.nan, np.nan)))


def test_a_remote_field_is_fetched_once(field, small_survey):
    broken = [False]

    def faults(request):
        return Fault("404") if broken[0] and "coadd" in request.path else None

    with Loopback(small_survey.tree, faults=faults) as server:
        wide = field.make(server.url)
        check(field, wide.read(field.place, field.cutout))
        number = len(server.requests)
        check(field, wide.read(field.place, field.cutout))
        assert len(server.requests) == number
        broken[0] = True
        elsewhere = Place(small_survey.bricks[1], field.place.ra + 0.3, field.place.dec)
        with pytest.raises(LenspipeError, match="no image in any band"):
            wide.read(elsewhere, field.cutout)


class Hips:
    """A service like hips2fits; `mode` is what it does: image, blank, small, html, 500 or slow."""

    def __enter__(self):
        service = self
        self.mode, self.queries = "image", []
        self.end = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                service.queries.append(parse_qs(urlsplit(self.path).query))
                mode, body = service.mode, b"<html>busy</html>"
                if mode == "slow":
                    service.end.wait(20)
                if mode in ("image", "blank", "small"):
                    body = service.picture()
                elif mode == "500":
                    body = json.dumps({"title": "Internal error", "description": "no"}).encode()
                self.send_response(500 if mode == "500" else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/hips2fits"
        threading.Thread(target=self.server.serve_forever, args=(0.02,)).start()
        return self

    def picture(self):
        side = 30 if self.mode == "small" else 400
        pixels = np.zeros((side, side, 4), np.uint8)
        if self.mode == "image":
            y, x = np.mgrid[:side, :side] - side / 2
            pixels[np.hypot(x, y) < 150] = (0, 255, 0, 255)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    def __exit__(self, *_):
        self.end.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hips():
    pytest.importorskip("astroquery")
    with Hips() as service:
        yield service


def survey(hips, folder, timeout_s=10.0):
    section = Inspection(hips_server=hips.address, timeout_s=timeout_s)
    return OtherSurvey("PS1", "CDS/P/PanSTARRS/DR1/color-i-r-g", section, Cache(folder, 1e9))


def test_images_of_other_surveys_are_kept(hips, tmp_path):
    ps1 = survey(hips, tmp_path)
    image = Image.open(io.BytesIO(ps1.read(150.1, 2.2, 26.46)))
    assert (image.size, image.mode) == ((400, 400), "RGB")
    assert image.getpixel((200, 200)) == (0, 255, 0)
    (query,) = hips.queries
    assert query["hips"] == ["CDS/P/PanSTARRS/DR1/color-i-r-g"]
    assert (query["width"], query["height"], query["projection"]) == (["400"], ["400"], ["TAN"])
    found = [float(query[name][0]) for name in ("ra", "dec", "fov")]
    assert found == pytest.approx([150.1, 2.2, 26.46 / 3600])
    hips.mode = "500"
    assert survey(hips, tmp_path).read(150.1, 2.2, 26.46)
    # No coverage is remembered, too.
    hips.mode = "blank"
    for _ in range(2):
        with pytest.raises(LenspipeError, match=r"^PS1 has no image of this place\.$"):
            ps1.read(10.0, -40.0, 26.46)
    assert len(hips.queries) == 2


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("500", "Internal error: no"), ("html", "cannot identify image"), ("small", "shape"),
     ("slow", "no answer in 0.3 s"), ("away", "cannot be reached")],
)  # fmt: skip
def test_a_service_that_fails_is_left_alone_for_a_minute(hips, tmp_path, mode, reason, monkeypatch):
    ps1 = survey(hips, tmp_path, timeout_s=0.3)
    hips.mode = mode
    if mode == "away":
        hips.server.shutdown()
        hips.server.server_close()
    begin = time.monotonic()
    for place in (10.0, 20.0):
        with pytest.raises(LenspipeError, match="PS1: no image from the service for now") as error:
            ps1.read(place, 0.0, 26.46)
        assert reason in str(error.value)
    assert len(hips.queries) == (mode != "away")
    assert time.monotonic() - begin < 5
    if mode == "500":
        hips.mode, ps1._failed_at = "image", -np.inf
        assert ps1.read(10.0, 0.0, 26.46)


def test_panels_keep_nobody_waiting(hips, tmp_path, small_survey):
    """A slow service: its panel says so, while images and votes come as before."""
    paths = make_run(tmp_path, n=6, per_brick=6)
    config = {"run": "fake", "survey": {"tree": str(small_survey.tree)}, **SEARCH}
    config |= {"retrieval": {"cache": str(tmp_path / "cache")}, "cutouts": {"size": 33}}
    config["inspection"] = {
        "surveys": {"PS1": "a", "HSC": "b"}, "hips_server": hips.address, "timeout_s": 0.5
    }  # fmt: skip
    around = Around.of(load_settings(config).at(paths.root))
    assert [panel["title"] for panel in around.panels()] == ["1′ field", "PS1", "HSC"]
    with serving(paths, repeats=0, around=around) as (address, store):
        anna = Grader(address, "anna")
        about = anna.list()
        assert about["around"][0]["side"] == pytest.approx(229 * 0.262, abs=0.6)

        def panel(name):
            return anna.session.get(f"{anna.address}/around/0/{name}", timeout=60)

        image = Image.open(io.BytesIO(panel(1).content))
        assert image.size == (400, 400)
        answer = panel(0)
        assert answer.status_code == 404
        assert "bricks.parquet: no such file" in answer.json()["error"]
        assert panel(3).status_code == panel("x").status_code == 404
        hips.mode = "slow"
        begin = time.monotonic()
        waiting = [threading.Thread(target=panel, args=(2,)) for _ in range(10)]
        for thread in waiting:
            thread.start()
        assert anna.session.get(f"{anna.address}/image/1", timeout=60).status_code == 200
        anna.grade(about, {1: "A"})
        assert time.monotonic() - begin < 2
        for thread in waiting:
            thread.join()
        assert time.monotonic() - begin < 8
        assert [vote["grade"] for vote in store.votes()] == ["A"]
        assert panel(2).json()["error"].startswith(("HSC: no image", "No image after 0.5 s"))


def test_a_simulated_sky_is_in_no_other_survey(tmp_path):
    config = {"run": "fake", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [2, 3]}}
    config |= {"inspection": {"surveys": {"PS1": "a"}}}
    settings = load_settings(config).at(tmp_path)
    settings.paths.sky_manifest.parent.mkdir()
    settings.paths.sky_manifest.write_text("{}")
    assert [panel["title"] for panel in Around.of(settings).panels()] == ["1′ field"]
