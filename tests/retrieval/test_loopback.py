"""The server that retrieval is tested against does what it says, and what real ones do."""

import email.utils
import http.client
import os
import re
import shutil
import socket
import threading
import time
import urllib.parse

import pytest
from helpers.loopback import (
    CHUNKED_FROM,
    ERRORS,
    KINDS,
    LOOP,
    MOVED,
    Fault,
    Loopback,
    RandomFaults,
    apache,
    find_program,
    nginx,
    parse_ranges,
    serve_in_process,
)

DATA = bytes(byte for i in range(40_000) for byte in i.to_bytes(3, "big"))
SIZE = len(DATA)
TWO = "bytes=0-9,1000-1999"


class Once:
    """A fault for the first try of each request."""

    def __init__(self, *args, **options):
        self.fault = Fault(*args, **options)

    def __call__(self, request):
        return self.fault if request.attempt == 1 else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "sub dir").mkdir()
    (folder / "sub dir" / "a.fits.fz").write_bytes(DATA)
    (folder / "b.bin").write_bytes(DATA)
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture
def connect():
    """Opens connections to a server's address, closed at the end."""
    opened = []

    def open_connection(url):
        opened.append(http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=10))
        return opened[-1]

    yield open_connection
    for connection in opened:
        connection.close()


def ask(connection, ranges=None, path="/b.bin", method="GET", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=headers | ({"Range": ranges} if ranges else {}))
    answer = connection.getresponse()
    return answer, answer.read()


def parts(answer, body):
    """Ranges and contents of a multipart body, split strictly."""
    boundary = re.fullmatch(
        r"multipart/byteranges; boundary=(\w+)", answer.headers["Content-Type"]
    )[1].encode()
    first, *rest, last = body.split(b"\r\n--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    found = []
    for part in rest:
        head, content = part.removeprefix(b"\r\n").split(b"\r\n\r\n", 1)
        start, stop, size = re.search(
            rb"^content-range: bytes (\d+)-(\d+)/(\d+)$", head, re.I | re.M
        ).groups()
        assert int(size) == SIZE
        found.append((int(start), int(stop) + 1, content))
    return found


def are_true(found):
    return all(content == DATA[start:stop] for start, stop, content in found)


def many(count, step=200, length=100):
    return "bytes=" + ",".join(f"{i * step}-{i * step + length - 1}" for i in range(count))


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        ("bytes=0-9", [(0, 10)]),
        ("bytes=90-", [(90, 100)]),
        ("bytes=-5", [(95, 100)]),
        ("bytes=-500", [(0, 100)]),
        ("bytes=90-500", [(90, 100)]),
        ("bytes=0-9, 20-29", [(0, 10), (20, 30)]),
        ("bytes=0-9,200-300", [(0, 10)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=9-0", None),
        ("bytes=0-9,x", None),
        ("bytes=-", None),
        ("lines=0-9", None),
        (None, None),
    ],
)
def test_ranges_are_parsed(value, spans):
    assert parse_ranges(value, 100) == spans


@pytest.mark.parametrize("mode", ["multi", "apache", "single", "coalesce", "first", "none"])
def test_modes(folder, connect, mode):
    with Loopback(folder, ranges=mode) as server:
        connection = connect(server.url)
        answer, body = ask(connection, "bytes=100-199")
        if mode == "none":
            assert (answer.status, body) == (200, DATA)
            assert "Accept-Ranges" not in answer.headers
        else:
            assert (answer.status, body) == (206, DATA[100:200])
            assert answer.headers["Content-Range"] == f"bytes 100-199/{SIZE}"
        answer, body = ask(connection, TWO)
        assert int(answer.headers["Content-Length"]) == len(body) == server.requests[-1].bytes_sent
        if mode in ("multi", "apache"):
            assert answer.status == 206
            found = parts(answer, body)
            assert [span[:2] for span in found] == [(0, 10), (1000, 2000)]
            assert are_true(found)
            assert "Content-Range" not in answer.headers
        else:
            status, content, span = {
                "single": (200, DATA, None),
                "none": (200, DATA, None),
                "coalesce": (206, DATA[:2000], f"bytes 0-1999/{SIZE}"),
                "first": (206, DATA[:10], f"bytes 0-9/{SIZE}"),
            }[mode]
            assert (answer.status, body) == (status, content)
            assert answer.headers["Content-Range"] == span
        assert server.connections == (1, 1)


def test_too_many_ranges_get_the_whole_file(folder, connect):
    with Loopback(folder, max_ranges=40) as server:
        connection = connect(server.url)
        answer, body = ask(connection, many(40))
        assert len(parts(answer, body)) == 40
        answer, body = ask(connection, many(41))
        assert (answer.status, body) == (200, DATA)


def test_unsatisfiable_and_unknown(folder, connect):
    outside = os.path.relpath(__file__, folder)
    with Loopback(folder) as server:
        connection = connect(server.url)
        answer, _ = ask(connection, f"bytes={SIZE}-")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
        for path in ("/nothing", "/", "/sub%20dir", f"/{outside}"):
            assert ask(connection, path=path)[0].status == 404
        answer, body = ask(connection, path="/sub%20dir/a.fits.fz?x=1")
        assert (answer.status, body) == (200, DATA)
        assert ask(connection, path="/empty")[1] == b""
        assert ask(connection, X_Long="x" * 9000)[0].status == 400


def test_head_and_validators(folder, connect):
    with Loopback(folder) as server:
        connection = connect(server.url)
        answer, body = ask(connection, method="HEAD")
        assert (answer.status, body) == (200, b"")
        assert int(answer.headers["Content-Length"]) == SIZE
        stat = os.stat(folder / "b.bin")
        modified = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"])
        assert modified.timestamp() == int(stat.st_mtime)
        etag = answer.headers["ETag"]
        assert ask(connection, "bytes=0-9", If_Range=etag)[0].status == 206
        assert ask(connection, "bytes=0-9", If_Range='"other"')[0].status == 200
        assert ask(connection, "bytes=0-9", If_Match='"other"')[0].status == 412
        assert server.bytes_sent == 10 + SIZE + server.requests[-1].bytes_sent
    with Loopback(folder, validators=()) as server:
        answer, _ = ask(connect(server.url))
        assert {"ETag", "Last-Modified"}.isdisjoint(answer.headers)


def test_etag_changes_with_the_file(tmp_path, connect):
    (tmp_path / "b.bin").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    stat = os.stat(tmp_path / "b.bin")
    os.utime(tmp_path / "new", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    swap = Fault("call", call=lambda: shutil.move(tmp_path / "new", tmp_path / "b.bin"))
    with Loopback(tmp_path, faults=lambda request: swap if request.number == 2 else None) as server:
        connection = connect(server.url)
        (one, old), (two, new) = ask(connection), ask(connection)
        assert (old, new) == (b"old", b"new")
        assert one.headers["ETag"] != two.headers["ETag"]


def test_records(folder, connect):
    logged = []
    with Loopback(folder, log=logged.append, faults=Once("500")) as server:
        for _ in range(2):
            ask(connect(server.url), "bytes=0-9", User_Agent="lenspipe/1")
        one, two = server.requests
        assert (one.number, one.attempt, one.status, one.fault) == (1, 1, 500, "500")
        assert (two.number, two.attempt, two.status, two.fault) == (2, 2, 206, None)
        assert (two.method, two.path, two.range) == ("GET", "/b.bin", "bytes=0-9")
        assert (two.bytes_sent, two.headers["user-agent"]) == (10, "lenspipe/1")
        assert one.port != two.port
        assert server.connections == (2, 1)
        assert server.counters()["requests"][1]["bytes_sent"] == 10
        server.reset()
        assert (server.requests, server.bytes_sent, server.connections) == ([], 0, (0, 0))
    # A request is logged when its connection has been served, which may be after the next.
    assert sorted(logged, key=lambda request: request.number) == [one, two]


def test_concurrent_requests_are_counted(folder, connect):
    together = threading.Barrier(3)
    meet = Fault("call", call=lambda: together.wait(10))
    with Loopback(folder, faults=lambda request: meet) as server:
        threads = [
            threading.Thread(target=ask, args=(connect(server.url), "bytes=0-9")) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == (3, 3)


@pytest.mark.parametrize("status", ERRORS)
def test_errors(folder, connect, status):
    with Loopback(folder, faults=Once(status, retry_after=7)) as server:
        connection = connect(server.url)
        answer, _ = ask(connection, TWO)
        assert (answer.status, answer.headers["Retry-After"]) == (int(status), "7")
        assert ask(connection, TWO)[0].status == 206
        assert server.connections.opened == 1


def test_retry_after_as_a_date(folder, connect):
    with Loopback(folder, faults=Once("503", retry_after=60, http_date=True)) as server:
        answer, _ = ask(connect(server.url))
        until = email.utils.parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
        assert 0 < until - time.time() < 61


@pytest.mark.parametrize("mode", ["multi", "apache"])
def test_reset_and_truncated(folder, connect, mode):
    ranges = many(CHUNKED_FROM, step=1000, length=900)
    with Loopback(folder, ranges=mode, faults=Once("reset", fraction=0.5)) as server:
        connection = connect(server.url)
        with pytest.raises(ConnectionResetError):
            ask(connection, ranges)
    assert 10_000 < server.bytes_sent < 20_000
    with Loopback(folder, ranges=mode, faults=Once("truncated", fraction=0.5)) as server:
        with pytest.raises(http.client.IncompleteRead):
            ask(connect(server.url), ranges)
        answer, body = ask(connect(server.url), ranges)
        assert are_true(parts(answer, body))


def test_short_body(folder, connect):
    with Loopback(folder, faults=Once("short", fraction=0.3)) as server:
        connection = connect(server.url)
        answer, body = ask(connection, "bytes=0-99")
        assert (answer.headers["Content-Range"], body) == (f"bytes 0-99/{SIZE}", DATA[:30])
        assert answer.headers["Content-Length"] == "30"
        answer, body = ask(connection, TWO)
        assert not body.endswith(b"--\r\n")
        assert ask(connection, "bytes=0-99")[1] == DATA[:100]


def test_drip_and_silence_last_until_the_client_gives_up(folder, connect):
    with Loopback(folder, faults=lambda request: Fault("drip", fraction=0.1)) as server:
        connection = connect(server.url)
        connection.request("GET", "/b.bin")
        answer = connection.getresponse()
        got = answer.read(SIZE // 10 + 2)
        assert got == DATA[: SIZE // 10 + 2]
        answer.close()
    assert server.bytes_sent < SIZE // 10 + 100
    with Loopback(folder, faults=Once("silence")) as server:
        connection = connect(server.url)
        connection.timeout = 0.1
        with pytest.raises(TimeoutError):
            ask(connection)
        connection.close()
        assert ask(connect(server.url))[1] == DATA


def test_drip_ends_with_the_whole_body(folder, connect):
    with Loopback(folder, faults=Once("drip", fraction=0.9, pause_s=0.001)) as server:
        assert ask(connect(server.url), "bytes=0-99")[1] == DATA[:100]


def test_close_unannounced(folder, connect):
    with Loopback(folder, faults=Once("close")) as server:
        connection = connect(server.url)
        answer, body = ask(connection)
        assert (body, answer.headers["Connection"]) == (DATA, None)
        assert connection.sock.recv(1) == b""


def test_range_ignored_once(folder, connect):
    with Loopback(folder, faults=Once("whole")) as server:
        connection = connect(server.url)
        assert (ask(connection, TWO)[0].status, ask(connection, TWO)[0].status) == (200, 206)


@pytest.mark.parametrize("ranges", ["bytes=0-99", "bytes=-100", "bytes=0-"])
def test_wrong_range(folder, connect, ranges):
    with Loopback(folder, faults=Once("wrong-range")) as server:
        connection = connect(server.url)
        (wrong, content), (right, _) = ask(connection, ranges), ask(connection, ranges)
        assert (wrong.status, right.status) == (206, 206)
        labels = [answer.headers["Content-Range"] for answer in (wrong, right)]
        assert labels[0] != labels[1]
        first, last = map(int, re.findall(r"\d+", labels[0])[:2])
        assert content == DATA[first : last + 1]
        found = parts(*ask(connection, TWO))
        assert [span[:2] for span in found] == [(1, 11), (1001, 2001)]
        assert are_true(found)


def test_wrong_number_of_bytes(folder, connect):
    with Loopback(folder, faults=Once("wrong-bytes", fraction=0.9)) as server:
        connection = connect(server.url)
        answer, body = ask(connection, "bytes=0-99")
        assert answer.headers["Content-Range"] == f"bytes 0-99/{SIZE}"
        assert len(body) == int(answer.headers["Content-Length"]) == 107
        found = parts(*ask(connection, TWO))
        assert [stop - start - len(content) for start, stop, content in found] == [0, 1]
        assert are_true(parts(*ask(connection, TWO)))


def test_parts_missing_or_in_another_order(folder, connect):
    ranges = many(4)
    with Loopback(folder, faults=Once("missing-part", fraction=0.5)) as server:
        found = parts(*ask(connect(server.url), ranges))
        assert [start for start, _, _ in found] == [0, 200, 600]
        assert are_true(found)
    with Loopback(folder, faults=Once("shuffled")) as server:
        found = parts(*ask(connect(server.url), ranges))
        assert [start for start, _, _ in found] == [600, 400, 200, 0]
        assert are_true(found)


def test_redirects(folder, connect):
    with Loopback(folder, faults=lambda request: Fault("redirect", status=307)) as server:
        answer, _ = ask(connect(server.url), TWO)
        assert answer.status == 307
        assert answer.headers["Location"] == f"{server.url}{MOVED}/b.bin"
    with Loopback(folder, faults=Once("redirect")) as server:
        connection = connect(server.url)
        assert ask(connection, TWO)[0].status == 302
        assert are_true(parts(*ask(connection, TWO, path=f"{MOVED}/b.bin")))
        assert server.requests[-1].attempt == 2
    with Loopback(folder, faults=Once("redirect-loop")) as server:
        connection, path = connect(server.url), "/b.bin"
        for _ in range(3):
            answer, _ = ask(connection, TWO, path=path)
            path = answer.headers["Location"].removeprefix(server.url)
            assert (answer.status, path) == (302, f"{LOOP}/b.bin")
        assert ask(connection, TWO)[0].status == 206


def test_page_with_status_200(folder, connect):
    with Loopback(folder, faults=Once("html")) as server:
        answer, body = ask(connect(server.url), TWO)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
        assert body.startswith(b"<!DOCTYPE html>")


def test_apache_merges_and_chunks(folder, connect):
    with Loopback(folder, ranges="apache") as server:
        connection = connect(server.url)
        answer, body = ask(connection, "bytes=0-9,10-19,15-29")
        assert (answer.headers["Content-Range"], body) == (f"bytes 0-29/{SIZE}", DATA[:30])
        assert "Content-Length" in ask(connection, many(CHUNKED_FROM - 1))[0].headers
        answer, body = ask(connection, many(CHUNKED_FROM))
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert len(found := parts(answer, body)) == CHUNKED_FROM
        assert are_true(found)
        assert server.requests[-1].bytes_sent == len(body)


def test_random_faults_do_not_depend_on_order(folder, connect):
    def run(seed, ranges):
        faults = RandomFaults(seed, 0.7, [*ERRORS, "html", "shuffled"], at_most_per_request=2)
        with Loopback(folder, faults=faults) as server:
            connection = connect(server.url)
            for value in ranges:
                for _ in range(5):
                    ask(connection, value)
            return {(r.range, r.attempt): r.fault for r in server.requests}

    ranges = [f"bytes={i}-{i + 9}" for i in range(6)]
    drawn = run(1, ranges)
    assert drawn == run(1, ranges[::-1])
    assert drawn != run(2, ranges)
    assert None in drawn.values()
    assert len(set(drawn.values())) > 5
    assert "shuffled" not in drawn.values()
    for value in ranges:
        assert sum(drawn[value, attempt] is not None for attempt in range(1, 6)) <= 2


def test_random_faults_of_a_file_are_limited(folder, connect):
    faults = RandomFaults(1, 1, ["500"], at_most_per_request=2, at_most_per_file=3)
    with Loopback(folder, faults=faults) as server:
        connection = connect(server.url)
        drawn = [ask(connection, f"bytes={i}-99")[0].status for i in (0, 0, 0, 1, 1, 2)]
        assert drawn == [500, 500, 206, 500, 206, 206]


def test_wrong_options_are_refused(folder):
    with pytest.raises(ValueError, match="expected one of"):
        Fault("nonsense")
    with pytest.raises(ValueError, match="expected one of multi"):
        Loopback(folder, ranges="nonsense")
    assert {Fault(kind).kind for kind in KINDS} == set(KINDS)


def test_link_is_shared(folder, connect):
    clock, order = time.monotonic(), []
    with Loopback(folder, bandwidth=2e6, latency_s=0.01, log=order.append) as server:
        threads = [threading.Thread(target=ask, args=(connect(server.url),)) for _ in range(2)]
        threads += [threading.Thread(target=ask, args=(connect(server.url), "bytes=0-9999"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [request.bytes_sent for request in order] == [10_000, SIZE, SIZE]
    # A lower limit only: less than this the link can't take, and a busy machine takes longer.
    assert time.monotonic() - clock > 0.02 + (2 * SIZE + 10_000) / 2e6 - 0.021


def test_threads_end_and_nothing_is_printed(folder, connect, capfd):
    before = threading.active_count()
    with Loopback(folder, faults=lambda request: Fault("silence"), latency_s=0.01) as server:
        for _ in range(3):
            connect(server.url).request("GET", "/b.bin")
        with socket.create_connection(server._server.server_address) as raw:
            raw.sendall(b"GET /b.bin HT")
        idle = connect(server.url)
        idle.connect()
        time.sleep(0.05)
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert capfd.readouterr() == ("", "")


def test_errors_within_are_not_lost(folder, connect):
    def broken(request):
        raise KeyError("a bug of the test")

    closed = pytest.raises(http.client.RemoteDisconnected)
    with pytest.raises(KeyError, match="a bug"), Loopback(folder, faults=broken) as server, closed:
        ask(connect(server.url))


def test_another_process(folder, connect):
    faults = RandomFaults(3, 1, ["503"], at_most_per_request=1)
    with serve_in_process(folder, ranges="apache", faults=faults) as server:
        connection = connect(server.url)
        assert ask(connection, TWO)[0].status == 503
        answer, body = ask(connection, TWO)
        assert are_true(parts(answer, body))
        counters = server.counters()
        assert [request["status"] for request in counters["requests"]] == [503, 206]
        assert counters["requests"][1]["bytes_sent"] == len(body)
        assert (counters["opened"], counters["most_active"]) == (1, 1)
        server.reset()
        assert server.counters()["requests"] == []


COMPARED = ["bytes=5-9", "bytes=-5", TWO, "bytes=900-999,0-9", "bytes=0-9,10-19,15-29"]
COMPARED += ["bytes=0-9,999999-", many(CHUNKED_FROM - 1), many(CHUNKED_FROM), many(200)]


@pytest.mark.parametrize(("real", "mode"), [(nginx, "multi"), (apache, "apache")])
def test_answers_are_those_of_real_servers(folder, connect, real, mode):
    names = {nginx: ("nginx",), apache: ("apache2", "httpd")}[real]
    if not find_program(*names):
        pytest.skip(f"{' or '.join(names)} is not installed")
    path = "/sub%20dir/a.fits.fz"
    with real(folder) as url, Loopback(folder, ranges=mode) as server:
        for ranges in COMPARED:
            answers = []
            for address in (url, server.url):
                answer, body = ask(connect(address), ranges, path)
                kind = (answer.headers["Content-Type"] or "").partition("boundary=")
                if kind[1]:
                    assert are_true(parts(answer, body))
                    length = answer.headers["Content-Length"]
                    assert length is None or int(length) == len(body)
                    body = body.replace(kind[2].encode(), b"BOUNDARY")
                    length = length and "given"
                else:
                    length = answer.headers["Content-Length"]
                transfer = answer.headers["Transfer-Encoding"]
                label = answer.headers["Content-Range"]
                answers.append((answer.status, kind[1], label, length, transfer, body))
            assert answers[0] == answers[1], ranges
        if real is apache:
            for address in (url, server.url):
                assert ask(connect(address), many(201), path)[0].status == 200
        for address in (url, server.url):
            assert ask(connect(address), path="/nothing")[0].status == 404
            assert ask(connect(address), X_Long="x" * 9000)[0].status == 400
