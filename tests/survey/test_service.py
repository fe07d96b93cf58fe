"""Stamps from a cutout service, which here is one of our own that can misbehave."""

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from helpers.clock import Clock

from lenspipe import __version__
from lenspipe.config.settings import load_settings
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.retrieval import hosts, retry
from lenspipe.survey import service
from lenspipe.survey.bricks import brick_wcs
from lenspipe.survey.service import CutoutService, read_answer
from lenspipe.utils.errors import NotFoundError, RetrievalError

#: Bricks that overlap, and their centres.
BRICKS = {"1501p320": (150.147, 32.0), "1504p320": (150.441, 32.0)}
PIXELS = np.array([[1800, 1799], [3540, 1700], [60, 2222]])


def value(brick, band, kind, x, y):
    """What the coadd has in a pixel: unlike any other's nearby."""
    offset = ["1501p320", "1504p320"].index(brick) + 10 * "grz".index(band)
    return np.float32((x % 97) * 101 + y % 101 + 1e4 * offset + (0.5 if kind == "invvar" else 0))


def render(ra, dec, size, bands="grz", scale=1.0, only=None):
    """An answer as the real service writes it, edges and rounding included."""
    hdus = [fits.PrimaryHDU()]
    for brick, centre in BRICKS.items():
        wcs = brick_wcs(*centre, RELEASES["dr9"])
        corner = np.rint(wcs.all_world2pix([[ra, dec]], 1)[0] - size / 2).astype(int) - 1
        x0, y0 = np.clip(corner, 0, RELEASES["dr9"].brick_pixels - 1).tolist()
        x1, y1 = np.clip(corner + size - 1, 0, RELEASES["dr9"].brick_pixels - 1).tolist()
        if x0 == x1 or y0 == y1 or only not in (None, brick):
            continue
        y, x = np.mgrid[y0 : y1 + 1, x0 : x1 + 1]
        for band in bands:
            for kind in ("image", "invvar"):
                hdu = fits.ImageHDU(value(brick, band, kind, x, y))
                hdu.header.update(BRICK=brick, BRICK_X0=x0, BRICK_Y0=y0, BAND=band, IMAGETYP=kind)
                hdu.header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN")
                hdu.header.update(CRVAL1=centre[0], CRVAL2=centre[1])
                hdu.header.update(CRPIX1=1800.5 - x0, CRPIX2=1800.5 - y0)
                hdu.header.update(CD1_1=-scale * 0.262 / 3600, CD1_2=0.0)
                hdu.header.update(CD2_1=0.0, CD2_2=scale * 0.262 / 3600)
                hdus.append(hdu)
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers as the first of the server's moods says, else well."""

    def do_GET(self):
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append((urlsplit(self.path).path, query, dict(self.headers)))
        mood = self.server.moods.pop(0) if self.server.moods else ""
        ra, dec, size = float(query["ra"]), float(query["dec"]), int(query["size"])
        status, headers, body = 200, {}, b""
        if mood.isdigit():
            status, headers = int(mood), {"Retry-After": "7"} if mood == "503" else {}
        elif mood == "html":
            body = b"<html>Out for maintenance</html>"
            headers = {"Content-Type": "text/html"}
        elif mood == "json":
            body, headers = b'{"error": "too busy"}', {"Content-Type": "application/json"}
        elif mood in ("no such layer", "No cutouts enabled"):
            body, headers = mood.encode(), {"Content-Type": "text/html; charset=utf-8"}
        elif mood == "elsewhere":
            body = render(ra + 0.02, dec, size)
        elif mood == "small":
            body = render(ra, dec, size - 20)
        elif mood == "coarse":
            body = render(ra, dec, size, scale=2)
        elif mood == "other":
            body = render(ra, dec, size, only="1504p320")
        else:
            body = render(ra, dec, size, bands=self.server.bands)
        if mood == "cut file":
            body = body[: len(body) // 2]
        self.send_response(status)
        for name, text in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if mood == "cut transfer" else body)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A service without delays; `waits` gathers how long was waited between tries."""
    monkeypatch.setattr(service, "PAUSE_S", 0.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.moods, server.bands = [], [], "grz"
    clock = Clock()
    server.waits = clock.waits
    monkeypatch.setattr(retry.tenacity.nap, "time", clock)
    monkeypatch.setattr(hosts, "time", clock)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_settings(
        {
            "run": "few",
            "survey": {
                "tree": "tree",
                "service": f"http://127.0.0.1:{server.server_port}/viewer/",
            },
            "inference": {"model": "model.keras"},
            "cutouts": {"source": "service", "size": 21},
            "retrieval": {"contact": "me@example.org", "attempts": 3},
        }
    )


def positions(pixels, brick="1501p320"):
    """Positions somewhere within these pixels."""
    offsets = np.random.default_rng(1).uniform(-0.49, 0.49, (len(pixels), 2))
    return brick_wcs(*BRICKS[brick], RELEASES["dr9"]).all_pix2world(pixels + offsets, 0).T


def fetch(settings, brick="1501p320", pixels=PIXELS[:1]):
    address, bands, size = settings.survey.service, settings.survey.bands, settings.cutouts.size
    service = CutoutService(address, settings.release, bands, size, settings.retrieval)
    return service.fetch_stamps(brick, "south", *positions(pixels, brick))


@pytest.mark.parametrize("brick", BRICKS)
def test_stamps_are_the_pixels_of_the_coadd(settings, server, brick):
    images, invvar, inside = fetch(settings, brick, PIXELS)
    assert images.shape == invvar.shape == (3, 3, 21, 21)
    assert images.dtype == invvar.dtype == np.float32
    assert inside.all()
    steps = np.arange(21) - 10
    for i, (x, y) in enumerate(PIXELS):
        for j, band in enumerate("grz"):
            expected = [value(brick, band, k, x + steps, y + steps[:, None]) for k in
                        ("image", "invvar")]  # fmt: skip
            np.testing.assert_array_equal(images[i, j], expected[0])
            np.testing.assert_array_equal(invvar[i, j], expected[1])
    path, query, headers = server.asked[0]
    assert path == "/viewer/cutout.fits"
    assert query["layer"] == "ls-dr9-south"
    assert (query["bands"], query["pixscale"], query["invvar"]) == ("grz", "0.262", "1")
    assert headers["User-Agent"] == f"lenspipe/{__version__} (me@example.org)"
    assert len(server.asked) == 3


def test_random_positions_are_rounded_as_our_own_cutouts_are(settings):
    pixels = np.random.default_rng(2).integers(10, RELEASES["dr9"].brick_pixels - 10, (40, 2))
    images, _, _ = fetch(settings, pixels=pixels)
    expected = value("1501p320", "g", "image", *pixels.T)
    np.testing.assert_array_equal(images[:, 0, 10, 10], expected)


def test_a_stamp_over_the_edge_says_where(settings):
    images, invvar, inside = fetch(settings, pixels=np.array([[3, 1000], [3598, 3599]]))
    assert not inside[0, :, :7].any()
    assert inside[0, :, 7:].all()
    assert inside[1, :11, :12].all()
    assert inside[1].sum() == 11 * 12
    assert (np.isnan(images) == ~inside[:, None]).all()
    assert ((invvar == 0) == ~inside[:, None]).all()


def test_a_band_that_the_brick_lacks_is_empty(settings, server):
    server.bands = "gz"
    images, invvar, inside = fetch(settings)
    assert np.isnan(images[0, 1]).all()
    assert (invvar[0, 1] == 0).all()
    assert np.isfinite(images[0, [0, 2]]).all()
    assert inside.all()


@pytest.mark.parametrize("mood", ["503", "500", "429", "html", "json", "cut file", "cut transfer"])
def test_what_may_pass_is_tried_again(settings, server, caplog, mood):
    server.moods = [mood]
    with caplog.at_level("INFO", logger="lenspipe"):
        images, _, _ = fetch(settings)
    assert np.isfinite(images).all()
    assert len(server.asked) == 2
    assert len(server.waits) == 1
    assert caplog.text.count("try 2 of 3") == 1
    if mood == "503":
        assert 7 <= server.waits[0] < 8
    if mood == "429":
        assert 16 <= server.waits[0] <= 32


def test_patience_ends(settings, server):
    server.moods = ["500"] * 9
    with pytest.raises(RetrievalError, match="500 Internal Server Error") as caught:
        fetch(settings)
    assert caught.value.transient
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ("elsewhere", "found pixels of another position"),
        ("small", "expected at least 21 x 21"),
        ("coarse", "found pixels of 0.524 arcsec, expected 0.262"),
        ("other", "found no image of brick 1501p320"),
        ("400", "400 Bad Request"),
        ("no such layer", "answers 'no such layer'; check config keys survey.service"),
        ("No cutouts enabled", "answers 'No cutouts enabled'"),
    ],
)
def test_what_is_wrong_for_good_is_not_tried_again(settings, server, mood, message):
    server.moods = [mood]
    with pytest.raises(RetrievalError, match=message) as caught:
        fetch(settings, pixels=PIXELS[1:2])
    assert not caught.value.transient
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 1


def test_the_service_is_asked_less_often_when_it_says_so(settings, server, monkeypatch):
    """And by all jobs; after good answers a little more often each time."""
    monkeypatch.setattr(service, "PAUSE_S", 1.5)
    known = hosts.Hosts("results/cache/hosts.json", settings.retrieval, 1.5)
    fetch(settings, pixels=PIXELS)
    assert server.waits == pytest.approx([1.5, 1.5])
    server.moods = ["429"]
    fetch(settings)
    assert known.host(settings.survey.service).pause_s == pytest.approx(3 * 0.97)
    del server.waits[:]
    fetch(settings, pixels=np.repeat(PIXELS, 10, axis=0))
    assert max(server.waits) == pytest.approx(3, abs=0.1)
    assert server.waits[-1] == pytest.approx(1.5, abs=0.1)
    assert known.host(settings.survey.service).pause_s == 0


def test_no_such_service(settings, server):
    server.moods = ["404"]
    with pytest.raises(NotFoundError):
        fetch(settings)


def test_names_of_the_layers():
    releases = [("dr7", "south"), ("dr8", "north"), ("dr9", "north"), ("dr10", "south")]
    names = [RELEASES[release].viewer_layer(region) for release, region in releases]
    assert names == ["decals-dr7", "ls-dr8-north", "ls-dr9-north", "ls-dr10-south"]


def test_an_image_without_its_variance_is_refused():
    ra, dec = positions(PIXELS[:1])
    with fits.open(io.BytesIO(render(ra[0], dec[0], 23))) as hdus:
        del hdus[2]
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    with pytest.raises(RetrievalError, match="no inverse variance in band g"):
        read_answer(
            buffer.getvalue(), "address", "1501p320", "grz", ra[0], dec[0], 21, RELEASES["dr9"]
        )


@pytest.mark.shared
def test_a_real_answer_is_read(shared):
    path = shared / "realdata" / "dr9-cutout" / "cutout_59.1067_-30.4848.fits"
    place = "grz", 59.1067, -30.4848, 101
    images, invvar, inside = read_answer(
        path.read_bytes(), "address", "0591m305", *place, RELEASES["dr9"]
    )
    with fits.open(path) as hdus:
        # Pixel (128, 128) of the file is the nearest to the position.
        np.testing.assert_array_equal(images[1], hdus[3].data[78:179, 78:179])
        np.testing.assert_array_equal(invvar[2], hdus[6].data[78:179, 78:179])
    assert inside.all()
