"""Damaged requests to the inspection portal, as anyone on the network may send them."""

import contextlib
import json
import logging
import random
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from helpers.portal import make_run, serving, vote

PATHS = (
    "/", "/g/anna/", "/g/anna/list", "/g/anna/image/0", "/g/anna/votes", "/g/anna/result",
    "/g/anna/around/0/0", "/g/anna/example/0", "/g/anna/examples", "/g/anna/truth/0",
    "/static/portal.js",
)  # fmt: skip

#: Parts of addresses: too long, of other encodings, of other types.
PIECES = (
    "%00", "%ff", "%ed%a0%80", "..%2f", "../", "%", "%zz", "?", "#", "?token=%e2%82%ac",
    "?gain=nan", "?gain=-inf", "?gain=1e999", "?stretch=%00", "9" * 400, "9" * 5000, "-1", "1e5",
    "a" * 300, "/" * 50, "\\", "%0d%0aX: y",
)  # fmt: skip

METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "X" * 40)

#: JSON values, as texts, in place of one of a vote.
VALUES = (
    "null", "true", "[]", "{}", '""', "-1", "1e999", "-1e999", "NaN", "Infinity", "9" * 400,
    "9" * 5000, "1." + "0" * 400, '"\\ud800"', '"\\ud800aaaaaaaaaaaa"', '"\\u0000aaaaaaaaaa"',
    '"' + "x" * 5000 + '"', "[" * 3000 + "]" * 3000, "[" * 100000, '{"a":' * 100000, '"\\x"',
    "\x01",
)  # fmt: skip

HEADERS = (
    "Content-Type: text/plain", "Content-Type: application/json; charset=utf-16",
    "Content-Length: " + "9" * 30, "Content-Length: -1", "Content-Length: 5",
    "Transfer-Encoding: chunked", "Origin: http://[", "Origin: null", "Host: [", "Host: \xff",
    "Cookie: token=\xff; token=\"\\777", "Cookie: =;;=", "Accept: text/html", "Range: bytes=9-1",
    "Expect: 100-continue", "Accept-Encoding: \x00", "X: " + "y" * 20000, "If-None-Match: \xff",
    "If-Modified-Since: never", "Sec-Fetch-Site: cross-site", "Upgrade: websocket",
)  # fmt: skip


def fuzz_portal(seed: int, requests: int) -> list[str]:
    """Send damaged requests to a portal on this machine.

    Returns
    -------
    list of str
        A line for every answer with a status of 500 or above, and for every stack trace in the
        server's log; empty if all was answered as it should be.
    """
    rng, problems, traces = random.Random(seed), [], _Traces()
    logger = logging.getLogger("uvicorn.error")
    with tempfile.TemporaryDirectory() as folder:
        with serving(make_run(Path(folder), n=6), repeats=0) as (address, store):
            logger.addHandler(traces)
            port = int(address.rpartition(":")[2])
            for number in range(requests):
                request, shown = _request(rng, port, store.identity)
                answer = _send(port, request, hang_up=rng.random() < 0.1)
                where = f"seed {seed}, request {number}: {shown}"
                status = re.match(rb"HTTP/1.1 (\d+)", answer)
                if status and int(status[1]) >= 500:
                    problems.append(f"{where}: status {int(status[1])}")
                if b"Traceback" in answer:
                    problems.append(f"{where}: stack trace in the answer")
                problems += [f"{where}: {line}" for line in traces.take()]
            if b" 200 " not in _send(port, _plain(port), hang_up=False):
                problems.append(f"seed {seed}: the portal no longer answers")
        logger.removeHandler(traces)
    return problems + [f"seed {seed}: {line}" for line in traces.take()]


class _Traces(logging.Handler):
    """Keeps the last line of every stack trace that is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        if record.exc_info or "Traceback" in text:
            self.lines.append(f"stack trace: {text.strip().splitlines()[-1]}")

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def _plain(port: int) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()


def _request(rng: random.Random, port: int, identity: int) -> tuple[bytes, str]:
    """A request with some damage, and the beginning of it as text."""
    method, path = ("POST", "/g/anna/votes") if rng.random() < 0.5 else ("GET", rng.choice(PATHS))
    if rng.random() < 0.2:
        method = rng.choice(METHODS)
    if rng.random() < 0.4:
        place = rng.randrange(len(path) + 1)
        path = path[:place] + rng.choice(PIECES) + path[place:]
    body = _body(rng, identity)
    headers = {
        "Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Connection": "close",
        "Content-Type": "application/json", "Content-Length": str(len(body)),
    }  # fmt: skip
    for header in rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 2))):
        name, _, value = header.partition(": ")
        headers[name] = value
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + body, f"{lines[0][:90]} {body[:90]!r}"


def _body(rng: random.Random, identity: int) -> bytes:
    """Votes as JSON, with a value, the encoding or some bytes damaged."""
    content = {"file": identity, "stage": 1, "votes": [vote(rng.randrange(6), "A")]}
    text = json.dumps(content)
    damage: list[Callable[[], bytes]] = [
        text.encode,
        lambda: _with_value(rng, content).encode("utf-8", "surrogatepass"),
        lambda: _with_value(rng, content).encode("utf-8", "surrogatepass"),
        lambda: text[: rng.randrange(len(text))].encode(),
        lambda: text.encode(rng.choice(("utf-16", "utf-32", "cp037", "utf-8-sig"))),
        lambda: rng.randbytes(rng.randrange(200)),
        lambda: rng.choice(VALUES).encode(),
        lambda: text.replace("A", "\ud800").encode("utf-8", "surrogatepass"),
    ]
    return rng.choice(damage)()


def _with_value(rng: random.Random, content: dict) -> str:
    """JSON of votes with one value replaced by the text of another."""
    where = rng.choice((content, content["votes"][0]))
    name = rng.choice(list(where))
    where[name] = "@"
    return json.dumps(content).replace('"@"', rng.choice(VALUES))


def _send(port: int, request: bytes, hang_up: bool) -> bytes:
    """Answer to a request; if the connection is dropped instead, after a part of it, none."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as client:
        if hang_up:
            client.sendall(request[: -len(request) // 8])
            return b""
        client.settimeout(1)  # the server waits for the rest of an incomplete body
        client.sendall(request)
        while len(answer) < 100_000 and (piece := client.recv(65536)):
            answer += piece
    return answer
