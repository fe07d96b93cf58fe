"""An HTTP server on the loopback interface that serves a folder as survey servers do, or worse.

`Loopback` answers ranges in the ways that servers differ in, over a link of a given latency and
bandwidth, with faults where a test wants them. `serve_in_process` runs one in another process.
`nginx` and `apache` serve a folder with the real ones.
"""

import collections
import contextlib
import dataclasses
import errno
import http.server
import os
import pickle
import random
import re
import select
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

ERRORS = ("401", "403", "404", "412", "416", "429", "500", "502", "503")
WITH_ANY = (*ERRORS, "reset", "truncated", "drip", "silence", "close")
WITH_ANY += ("redirect", "redirect-loop", "html", "call")
WITH_RANGE = ("whole", "short", "wrong-range", "wrong-bytes", "unconditional")
WITH_PARTS = ("missing-part", "shuffled")
KINDS = WITH_ANY + WITH_RANGE + WITH_PARTS
MODES = ("multi", "apache", "single", "coalesce", "first", "none")

LONGEST_HEADER = 8190  # bytes of a line without its end; nginx and Apache refuse 8192 with a 400
CHUNKED_FROM = 33  # parts from which Apache 2.4 sends no Content-Length
BLOCK = 262144
BURST_S = 0.02  # of the link's time that idling saves up, so that late wake-ups cost nothing
MOVED, LOOP = "/.moved", "/.loop"  # prefixes: the same file elsewhere; redirects to itself
RANGES = re.compile(r"bytes=\s*(\d+-\d*|-\d+)(\s*,\s*(\d+-\d*|-\d+))*\s*")
HTML = b"<!DOCTYPE html>\n<html><head><title>%b</title></head><body><h1>%b</h1></body></html>\n"

Connections = collections.namedtuple("Connections", "opened most_active")


@dataclasses.dataclass
class Request:
    """A request and how it was answered; `faults` sees the first seven fields."""

    number: int  # from 1, over the server's life or since reset()
    attempt: int  # from 1, of this file and Range
    method: str
    path: str
    file: str  # the path that it stands for, where it was redirected
    range: str | None
    headers: dict  # names in lower case
    port: int  # the client's
    fault: str | None = None
    status: int = 0
    query: str = ""
    bytes_sent: int = 0  # of the body; to a client that hung up, at most a block too many


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is to go wrong with an answer.

    401, 403, 404, 412, 416, 429, 500, 502, 503: that status. reset: RST within the body. truncated:
    closed within the body. drip: from somewhere in the body on, a byte per `pause_s`. silence:
    nothing until the client gives up. close: a good answer, then the connection is closed
    unannounced. redirect: `status` to `location` or to another path of the same file.
    redirect-loop. html: an error page with status 200, or `body` as `content_type`. unconditional:
    If-Range ignored. call: nothing but `call`. whole: Range ignored. short: part of the body, with
    a Content-Length that agrees and a Content-Range that doesn't. wrong-range: another range, so
    labelled. wrong-bytes: a range (or a part) has a byte count other than its Content-Range.
    missing-part, shuffled: multipart without a part, or in reverse order.
    """

    kind: str
    fraction: float | None = None  # of the body where it happens, or of the parts; None: at random
    retry_after: int | None = None  # seconds
    http_date: bool = False  # Retry-After as a date
    status: int = 302
    location: str | None = None
    pause_s: float = 0.05
    after: int | None = None  # bytes after which a longer body is reset or truncated
    body: bytes | None = None
    content_type: str = "text/html"
    call: object = None  # called without arguments before the file is opened

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"fault {self.kind!r}: expected one of {', '.join(KINDS)}")


class RandomFaults:
    """Draw faults, the same ones for the same requests whatever the order they come in.

    `kinds` are names or faults; those that make no sense for a request (no Range, no parts) are
    not drawn for it. A file and Range gets at most `at_most_per_request` of them, and a file at
    most `at_most_per_file`, so that a client that tries once more often than that ends.
    """

    def __init__(self, seed, probability, kinds, at_most_per_request=2, at_most_per_file=None):
        self.seed, self.probability = seed, probability
        self.kinds = [Fault(kind) if isinstance(kind, str) else kind for kind in kinds]
        self.at_most_per_request, self.at_most_per_file = at_most_per_request, at_most_per_file
        self.drawn = collections.Counter()

    def __call__(self, request):
        one, file = (request.file, request.range), request.file
        rng = random.Random(f"{self.seed} {one} {request.attempt}")
        kinds = [fault for fault in self.kinds if _makes_sense(fault.kind, request.range)]
        spent = self.drawn[one] >= self.at_most_per_request
        if self.at_most_per_file is not None:
            spent |= self.drawn[file] >= self.at_most_per_file
        if spent or not kinds or rng.random() >= self.probability:
            return None
        self.drawn.update([one, file])
        fault = rng.choice(kinds)
        fraction = rng.random() if fault.fraction is None else fault.fraction
        return dataclasses.replace(fault, fraction=fraction)


def _makes_sense(kind, ranges):
    """Whether a fault can happen to a request."""
    if kind in WITH_PARTS:
        return ranges is not None and "," in ranges
    return kind in WITH_ANY or ranges is not None


def parse_ranges(value, size):
    """Ranges (start, stop) that a header asks for and the file has; None where it is no such."""
    if not RANGES.fullmatch(value or ""):
        return None
    spans = []
    for part in value.removeprefix("bytes=").split(","):
        first, last = part.strip().split("-")
        if first and last and int(last) < int(first):
            return None
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start < stop:
            spans.append((start, stop))
    return spans


def _merge(spans):
    """Join ranges that touch the one before them."""
    merged = spans[:1]
    for start, stop in spans[1:]:
        first, last = merged[-1]
        if start <= last and stop >= first:
            merged[-1] = (min(first, start), max(last, stop))
        else:
            merged.append((start, stop))
    return merged


def _shift(span, size):
    """Another range, as long where the file has one."""
    start, stop = span
    if stop < size:
        return start + 1, stop + 1
    return (start - 1, stop - 1) if start else (start, max(stop - 1, 1))


def _cut(pieces, length):
    """The first bytes of a body."""
    kept = []
    for piece in pieces:
        start, stop = (0, len(piece)) if isinstance(piece, bytes) else piece
        stop = min(stop, start + length)
        length -= stop - start
        kept.append(piece[:stop] if isinstance(piece, bytes) else (start, stop))
    return kept


def _length(pieces):
    return sum(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces)


class _HangUp(Exception):
    """Ends a connection."""


class _Server(socketserver.ThreadingTCPServer):
    """Keeps the sockets in use and what went wrong within."""

    request_queue_size = 128

    def __init__(self, site):
        self.site, self.live, self.resetting, self.errors = site, set(), set(), []
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request, client_address):
        with self.site.lock:
            self.live.add(request)
            self.site.opened += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        if request in self.resetting:  # a FIN sent before would hide the RST
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def close_request(self, request):
        with self.site.lock:
            self.live.discard(request)
            self.resetting.discard(request)
        super().close_request(request)

    def handle_error(self, request, client_address):
        self.errors.append(sys.exception())

    def hang_up(self):
        """End all connections; their threads then end."""
        with self.site.lock:
            for connection in self.live:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    if error.errno != errno.ENOTCONN:
                        raise


class Loopback:
    """Serve a folder at `url` while the context lasts.

    Parameters
    ----------
    folder : str or path-like
    ranges : str
        What a request for several ranges gets. multi: multipart/byteranges as nginx sends it.
        apache: the same as Apache sends it (touching ranges are merged, no Content-Type in parts,
        chunked from 33 parts on). single: the whole file. coalesce: one range from the first to
        the last byte. first: the first range only. none: no Range is honoured at all.
    max_ranges : int
        With more ranges than that the whole file is sent.
    latency_s : float
        Wait before each answer, and once more on each new connection.
    bandwidth : float, optional
        Bytes per second of the link that all connections share.
    validators : tuple of str
        Of etag and last-modified, those that answers carry.
    faults : callable, optional
        Takes a `Request`, returns a `Fault` or None; one call at a time.
    log : callable, optional
        Called with each `Request` when its answer has ended.
    """

    def __init__(
        self,
        folder,
        *,
        ranges="multi",
        max_ranges=200,
        latency_s=0.0,
        bandwidth=None,
        validators=("etag", "last-modified"),
        faults=None,
        log=None,
    ):
        if ranges not in MODES:
            raise ValueError(f"ranges {ranges!r}: expected one of {', '.join(MODES)}")
        self.folder = Path(folder).resolve(strict=True)
        self.ranges, self.max_ranges, self.validators = ranges, max_ranges, validators
        self.latency_s, self.bandwidth, self.faults, self.log = latency_s, bandwidth, faults, log
        self.block = min(BLOCK, max(1024, int(bandwidth / 200))) if bandwidth else BLOCK
        self.lock, self.stop, self.free_at, self.active = threading.Lock(), threading.Event(), 0, 0
        self.opened = 0
        self.reset()

    def __enter__(self):
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()  # joins the threads of all connections
        self._thread.join()
        if self._server.errors and kind is None:
            raise self._server.errors[0]

    @property
    def bytes_sent(self):
        """Bytes of all bodies."""
        with self.lock:
            return sum(request.bytes_sent for request in self.requests)

    @property
    def connections(self):
        """TCP connections, and the most requests that were being answered at a time."""
        return Connections(self.opened, self.most_active)

    def counters(self):
        """Dict of requests (list of dicts), bytes_sent, opened (connections), most_active."""
        with self.lock:
            requests = [dataclasses.asdict(request) for request in self.requests]
        sent = sum(request["bytes_sent"] for request in requests)
        return {"requests": requests, "bytes_sent": sent, **self.connections._asdict()}

    def reset(self):
        """Count from zero; connections that are open stay uncounted."""
        with self.lock:
            self.requests, self.attempts = [], collections.Counter()
            self.opened, self.most_active = 0, self.active

    def _begin(self, handler):
        """Note a request and draw its fault."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
        file = path.removeprefix(LOOP).removeprefix(MOVED)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self.lock:
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            self.attempts[file, headers.get("range")] += 1
            attempt, number = self.attempts[file, headers.get("range")], len(self.requests) + 1
            what = (handler.command, path, file, headers.get("range"), headers)
            request = Request(number, attempt, *what, handler.client_address[1])
            request.query = urllib.parse.urlsplit(handler.path).query
            self.requests.append(request)
            loops = path.startswith(LOOP)
            fault = Fault("redirect-loop") if loops else self.faults and self.faults(request)
            request.fault = fault.kind if fault else None
        return request, fault or Fault("call")

    def _end(self):
        with self.lock:
            self.active -= 1

    def wait(self, seconds):
        """Sleep; a server that stops hangs up."""
        if seconds > 0 and self.stop.wait(seconds):
            raise _HangUp

    def send_over_link(self, count):
        """Wait for some bytes' turn on the shared link and for their passage."""
        if self.bandwidth:
            with self.lock:
                now = time.monotonic()
                self.free_at = max(self.free_at, now - BURST_S) + count / self.bandwidth
                due = self.free_at - now
            self.wait(due)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "loopback", ""
    disable_nagle_algorithm = True

    def handle(self):
        self.site = self.server.site
        try:
            self.site.wait(self.site.latency_s)
            super().handle()
        except (ConnectionError, _HangUp):
            self.close_connection = True

    def log_message(self, *_):
        """Print nothing."""

    def do_GET(self):
        self.record, fault = self.site._begin(self)
        self.ended = False
        try:
            self.site.wait(self.site.latency_s)
            self._answer(fault)
        finally:
            self._end()
            if self.site.log:
                self.site.log(self.record)

    do_HEAD = do_GET

    def _end(self):
        """The client may ask again as soon as it has the last byte, so this is called before."""
        if not self.ended:
            self.ended = True
            self.site._end()

    def _answer(self, fault):
        if fault.call:
            fault.call()
        if fault.kind == "silence":
            return self._wait_for_end()
        headers = self.record.headers
        if any(len(name) + len(value) + 2 > LONGEST_HEADER for name, value in headers.items()):
            self.close_connection = True
            return self._page(400)
        if fault.kind in ERRORS:
            return self._page(int(fault.kind), self._retry_after(fault))
        if fault.kind == "html" and fault.body:
            return self._send(200, {"Content-Type": fault.content_type}, [fault.body])
        if fault.kind == "html":
            return self._page(200, title=b"Scheduled maintenance")
        if fault.kind.startswith("redirect"):
            prefix = LOOP if fault.kind == "redirect-loop" else MOVED
            location = self.site.url + urllib.parse.quote(prefix + self.record.file)
            return self._page(fault.status, {"Location": fault.location or location})
        path = (self.site.folder / self.record.file.lstrip("/")).resolve()
        if not path.is_relative_to(self.site.folder) or not path.is_file():
            return self._page(404)
        with open(path, "rb") as handle:
            return self._file(handle.fileno(), fault)

    def _retry_after(self, fault):
        if fault.retry_after is None:
            return {}
        date = self.date_time_string(time.time() + fault.retry_after)
        return {"Retry-After": date if fault.http_date else str(fault.retry_after)}

    def _page(self, status, headers=None, title=None):
        """A page of HTML, as servers send along with a status."""
        title = title or b"%d %b" % (status, self.responses[status][0].encode())
        self._send(status, {"Content-Type": "text/html"} | (headers or {}), [HTML % (title, title)])

    def _file(self, descriptor, fault):
        """Answer with a file, or with ranges of it."""
        stat, record, mode = os.fstat(descriptor), self.record, self.site.ranges
        size, headers = stat.st_size, {}
        etag = f'"{size:x}-{stat.st_mtime_ns:x}-{stat.st_ino:x}"'
        modified = self.date_time_string(stat.st_mtime)
        if "last-modified" in self.site.validators:
            headers["Last-Modified"] = modified
        if "etag" in self.site.validators:
            headers["ETag"] = etag
        if mode != "none":
            headers["Accept-Ranges"] = "bytes"
        if record.headers.get("if-match", etag) not in (etag, "*"):
            return self._page(412)
        fraction = fault.fraction
        if fraction is None:
            fraction = random.Random(record.number).random()

        spans = parse_ranges(record.range, size)
        same = record.headers.get("if-range", etag) in set(headers.values()) | {etag}
        same |= fault.kind == "unconditional"
        if mode == "none" or fault.kind == "whole" or not same:
            spans = None
        if spans == []:
            return self._page(416, {"Content-Range": f"bytes */{size}"})
        if spans and len(spans) > 1:
            if mode == "single" or len(spans) > self.site.max_ranges:
                spans = None
            elif mode == "coalesce":
                spans = [(min(a for a, _ in spans), max(b for _, b in spans))]
            elif mode == "first":
                spans = spans[:1]
            elif mode == "apache":
                spans = _merge(spans)
        if spans and fault.kind == "wrong-range":
            spans = [_shift(span, size) for span in spans]
        multipart = spans is not None and len(spans) > 1
        if multipart and fault.kind == "missing-part":
            del spans[int(fraction * len(spans))]
        if multipart and fault.kind == "shuffled":
            spans.reverse()

        if multipart:
            boundary = f"{random.Random(record.number).getrandbits(64):016x}"
            headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
            pieces = _parts(spans, size, boundary, apache=mode == "apache")
        else:
            headers["Content-Type"] = "application/octet-stream"
            pieces = spans or [(0, size)]
        if spans and not multipart:
            start, stop = spans[0]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if spans and fault.kind == "wrong-bytes":
            pieces = _miscount(pieces, fraction)
        if fault.kind == "short":
            whole = _length(pieces)
            pieces = _cut(pieces, min(int(fraction * whole), whole - 1))
        if multipart and mode == "apache" and len(spans) >= CHUNKED_FROM:
            headers["Transfer-Encoding"] = "chunked"
        self._send(206 if spans else 200, headers, pieces, descriptor, fault, fraction)

    def _send(self, status, headers, pieces, descriptor=None, fault=None, fraction=0.0):
        """Send an answer whose body is made of bytes and of ranges of a file."""
        kind, length, sent = fault.kind if fault else "call", _length(pieces), 0
        chunked = "Transfer-Encoding" in headers
        self.record.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not chunked:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        if kind == "close":
            self.close_connection = True
        if self.command == "HEAD" or not length:
            self._end()
            return self.end_headers()
        self.end_headers()
        whole = length
        if kind in ("reset", "truncated") and (fault.after is None or fault.after < whole):
            length = int(fraction * whole) if fault.after is None else fault.after
            length = min(length, whole - 1)
            pieces = _cut(pieces, length)
        fast = int(fraction * whole) if kind == "drip" else whole
        for block in self._blocks(pieces, descriptor, fast):
            self.site.send_over_link(len(block))
            self.site.wait(fault.pause_s if sent >= fast else 0)
            self.record.bytes_sent += len(block)
            sent += len(block)
            if sent == length:
                self._end()
            self.connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.resetting.add(self.connection)
        if length < whole:
            raise _HangUp
        if chunked:
            self.connection.sendall(b"0\r\n\r\n")

    def _blocks(self, pieces, descriptor, fast):
        """The body in blocks of the site's size, and by the byte where it is fast no more."""
        held, given = bytearray(), 0
        for piece in pieces:
            start, stop = (0, len(piece)) if isinstance(piece, bytes) else piece
            while start < stop:
                size = min(self.site.block, fast - given) if given < fast else 1
                count = min(stop - start, size - len(held))
                if isinstance(piece, bytes):
                    held += piece[start : start + count]
                elif data := os.pread(descriptor, count, start):
                    held += data
                    count = len(data)
                else:  # the file was cut meanwhile
                    raise _HangUp
                start += count
                if len(held) == size:
                    yield bytes(held)
                    held, given = bytearray(), given + size
        if held:
            yield bytes(held)

    def _wait_for_end(self):
        """Answer nothing until the client hangs up."""
        while not select.select([self.connection], [], [], 0.02)[0]:
            self.site.wait(0.001)
        raise _HangUp


def _parts(spans, size, boundary, apache):
    """Body of multipart/byteranges, as nginx or Apache write it."""
    pieces = []
    for start, stop in spans:
        head = f"\r\n--{boundary}\r\n"
        head += "Content-range" if apache else "Content-Type: application/octet-stream\r\n"
        head += ("" if apache else "Content-Range") + f": bytes {start}-{stop - 1}/{size}\r\n\r\n"
        pieces += [head.encode(), (start, stop)]
    return [*pieces, f"\r\n--{boundary}--\r\n".encode()]


def _miscount(pieces, fraction):
    """A lone range gets bytes too many, one of several parts a byte too few."""
    if len(pieces) == 1:
        return [*pieces, b"\0" * 7]
    places = [place for place, piece in enumerate(pieces) if not isinstance(piece, bytes)]
    place = places[int(fraction * len(places))]
    start, stop = pieces[place]
    return [*pieces[:place], (start, stop - 1), *pieces[place + 1 :]]


class _Elsewhere:
    """A `Loopback` in another process."""

    def __init__(self, child):
        self._child, self._lock = child, threading.Lock()

    def _ask(self, what):
        with self._lock:
            pickle.dump(what, self._child.stdin)
            self._child.stdin.flush()
            return pickle.load(self._child.stdout)

    def counters(self):
        """As `Loopback.counters`."""
        return self._ask("counters")

    def reset(self):
        """As `Loopback.reset`."""
        self._ask("reset")


@contextlib.contextmanager
def serve_in_process(folder, **options):
    """Run a `Loopback` in a process of its own; `options` as there, and such as pickle takes."""
    code = f"from {__name__} import _serve; _serve()"
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )
    with child:  # closes its standard input, at which it ends, and waits
        server = _Elsewhere(child)
        server.url = server._ask((str(folder), options))
        yield server
    if child.returncode:
        raise RuntimeError(f"the server ended with status {child.returncode}")


def _serve():
    """The other process: takes questions from its standard input, until that ends."""
    folder, options = pickle.load(sys.stdin.buffer)
    with Loopback(folder, **options) as server:
        answer = server.url
        while True:
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            try:
                question = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            answer = getattr(server, question)()


def find_program(*names):
    """Path of the first of some programs that is installed, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


@contextlib.contextmanager
def nginx(folder, extra=""):
    """Serve a folder with nginx, if `find_program("nginx")`; yields its address.

    `extra` are further lines of its server block.
    """
    with tempfile.TemporaryDirectory(prefix="nginx-") as run:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"{kind}_temp_path {run}/{kind};" for kind in kinds)
        # Without a master process there is one process to end, and root stays root.
        config = f"""daemon off; master_process off; pid {run}/pid; error_log {run}/log;
            events {{ worker_connections 256; }}
            http {{ access_log off; default_type application/octet-stream; {temporary}
                server {{ listen 127.0.0.1:PORT; root "{Path(folder).resolve()}"; {extra} }} }}"""
        program = find_program("nginx")
        with _real([program, "-e", f"{run}/log", "-c", f"{run}/config"], run, config) as url:
            yield url


@contextlib.contextmanager
def apache(folder, extra=""):
    """Serve a folder with Apache, if `find_program("apache2", "httpd")`; yields its address.

    `extra` are further lines of its configuration. Apache gives up root's rights, which may be all
    that opens a test's folder, so root serves a copy.
    """
    program = find_program("apache2", "httpd")
    places = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules")
    modules = next((place for place in places if Path(place).is_dir()), "modules")
    with tempfile.TemporaryDirectory(prefix="apache-") as run:
        if os.geteuid() == 0:
            os.chmod(run, 0o755)
            folder = shutil.copytree(folder, f"{run}/site")
            for path in (folder, *Path(folder).rglob("*")):
                os.chmod(path, 0o755)
        load = "\n".join(
            f"<IfModule !{name}>\nLoadModule {name} {modules}/mod_{name[:-7]}.so\n</IfModule>"
            for name in ("unixd_module", "mpm_event_module", "authz_core_module")
        )
        config = f"""ServerRoot {run}\nServerName 127.0.0.1\nListen 127.0.0.1:PORT
            PidFile {run}/pid\nErrorLog {run}/log\nDefaultRuntimeDir {run}\n{load}
            User #65534\nGroup #65534\nDocumentRoot "{Path(folder).resolve()}"
            <Directory />\nRequire all granted\n</Directory>\n{extra}\n"""
        command = [program, "-D", "FOREGROUND", "-E", f"{run}/log", "-f", f"{run}/config"]
        with _real(command, run, config) as url:
            yield url


@contextlib.contextmanager
def _real(command, run, config):
    """A server with a configuration that says PORT, from when it answers to the block's end."""
    log = Path(run, "log")
    for _ in range(5):  # another program may take the port before the server does
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        Path(run, "config").write_text(config.replace("PORT", str(port)))
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while child.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except ConnectionRefusedError:
                    time.sleep(0.02)
                else:
                    yield f"http://127.0.0.1:{port}"
                    return
        finally:
            child.terminate()
            child.wait()
    said = log.read_text() if log.exists() else "nothing"
    raise RuntimeError(f"{command[0]} ended with status {child.returncode}: {said}")
