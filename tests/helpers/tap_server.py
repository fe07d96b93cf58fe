"""A TAP service on the loopback: TAP 1.1, UWS 1.1, VOSI and VOTable over sqlite.

The text of a query counts: it is run as it comes, but for TOP n and for what sqlite lacks. A test
injects faults with `Service.faults`: a function (request) -> fault or None.
"""

import contextlib
import dataclasses
import http.server
import io
import re
import socket
import sqlite3
import struct
import threading
import urllib.parse
import warnings
from collections import Counter
from xml.sax.saxutils import escape

import numpy as np
from astropy.io.votable.tree import Field, Info, Resource, TableElement, VOTableFile

from lenspipe.utils.table_formats import write_votable

#: numpy kind and size -> VOTable datatype, TAP_SCHEMA type, sqlite type.
TYPES = {
    "i2": ("short", "SMALLINT", "INTEGER"),
    "i4": ("int", "INTEGER", "INTEGER"),
    "i8": ("long", "BIGINT", "INTEGER"),
    "f4": ("float", "REAL", "REAL"),
    "f8": ("double", "DOUBLE", "REAL"),
    "U": ("char", "VARCHAR", "TEXT"),
}
SCHEMA = {
    "schemas": {"schema_name": "U", "description": "U"},
    "tables": {"schema_name": "U", "table_name": "U", "table_type": "U", "description": "U"},
    "columns": {"table_name": "U", "column_name": "U", "datatype": "U", "indexed": "i4"},
}
UWS = (
    '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" version="1.1" '
    'xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
)
CAPABILITIES = """<?xml version="1.0"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"
 xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0">
<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
<interface role="std" xsi:type="vs:ParamHTTP" version="1.1"><accessURL use="base">%s</accessURL>
</interface><language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>
</language><outputFormat><mime>application/x-votable+xml</mime></outputFormat>
<outputLimit><default unit="row">%d</default><hard unit="row">%d</hard></outputLimit>
</capability></vosi:capabilities>"""


@dataclasses.dataclass
class Request:
    """A request: `kind` is sync, create, run, look, result, delete, or a VOSI resource."""

    kind: str
    query: str = ""
    maxrec: int | None = None
    agent: str = ""
    attempt: int = 1


@dataclasses.dataclass
class Job:
    """A UWS job."""

    number: int
    parameters: dict
    phase: str = "PENDING"
    looks: int = 0
    error: str = ""
    body: bytes = b""


class Service:
    """Serves tables (name -> structured array) until its block ends.

    Parameters
    ----------
    tables : dict
        Such as ``ls_dr9.tractor``.
    limit : int
        Rows of an answer at most.
    silent : bool
        Whether answers that are cut short don't say so.
    sync_limit : int or None
        A lower limit for synchronous queries.
    slow_looks : int
        How often a job is looked at before it goes on to the next phase.
    serialization : {'tabledata', 'binary2'}
    nan : bool
        Whether missing floats are NaN, above all numbers as in PostgreSQL, and not NULL.
    digits : int or None
        Significant digits of the floats in answers.
    """

    def __init__(
        self,
        tables,
        limit=10**6,
        silent=False,
        sync_limit=None,
        slow_looks=0,
        serialization="tabledata",
        nan=False,
        digits=None,
    ):
        self.tables, self.limit, self.silent = tables, limit, silent
        self.sync_limit, self.slow_looks = sync_limit, slow_looks
        self.serialization, self.nan, self.digits = serialization, nan, digits
        self.faults = lambda request: None
        self.requests, self.bytes_sent = [], 0
        self.jobs, self.lock, self.attempts = {}, threading.Lock(), Counter()
        self.most_jobs = self.made = 0
        self.open = set()
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self._fill()

    def _fill(self):
        schemas = sorted({name.split(".")[0] for name in self.tables})
        content = {"schemas": [(name, "") for name in schemas]}
        content["tables"] = [(n.split(".")[0], n, "table", "") for n in self.tables]
        content["columns"] = [
            (name, column, TYPES[_kind(array.dtype[column])][1], 0)
            for name, array in self.tables.items()
            for column in array.dtype.names
        ]
        self.kinds = {f"tap_schema.{name}": kinds for name, kinds in SCHEMA.items()}
        for name in ["tap_schema", *schemas]:
            self.database.execute(f"ATTACH ':memory:' AS {name}")
        for name, rows in content.items():
            self._create(f"tap_schema.{name}", SCHEMA[name], rows)
        for name, array in self.tables.items():
            self.kinds[name] = {column: _kind(array.dtype[column]) for column in array.dtype.names}
            # sqlite takes NaN for NULL.
            rows = array.tolist()
            if self.nan:
                rows = [[_NAN if value != value else value for value in row] for row in rows]
            self._create(name, self.kinds[name], rows)

    def _create(self, name, kinds, rows):
        columns = ", ".join(f"{column} {TYPES[kind][2]}" for column, kind in kinds.items())
        self.database.execute(f"CREATE TABLE {name} ({columns})")
        marks = ", ".join("?" * len(kinds))
        self.database.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)

    def __enter__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.service, self._server.daemon_threads = self, False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tap"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()
        self.database.close()

    def queries(self, pattern=""):
        """Texts of the queries asked so far that contain a pattern, in order."""
        asked = [r.query for r in self.requests if r.kind in ("sync", "create")]
        return [query for query in asked if re.search(pattern, query)]

    def note(self, request):
        """Count a request and draw its fault."""
        with self.lock:
            self.attempts[request.kind, request.query] += 1
            request.attempt = self.attempts[request.kind, request.query]
            self.requests.append(request)
        return self.faults(request)

    def answer(self, parameters, sync):
        """Run a query: a VOTable; raises `sqlite3.Error` for a bad one."""
        if parameters.get("LANG", "").split("-")[0] not in ("ADQL", ""):
            raise sqlite3.Error(f"no such language: {parameters['LANG']}")
        limit = min(self.limit, self.sync_limit or self.limit) if sync else self.limit
        limit = min(limit, int(parameters.get("MAXREC") or limit))
        with self.lock:
            cursor = self.database.execute(_translate(parameters["QUERY"]))
            rows = cursor.fetchmany(limit + 1)
        names = [entry[0] for entry in cursor.description]
        table = re.search(r"\bFROM\s+([\w.]+)", parameters["QUERY"], re.I)[1].lower()
        kinds = [self.kinds[table].get(name.lower(), "i8") for name in names]
        overflow = len(rows) > limit and not self.silent
        rows = [[self._print(value) for value in row] for row in rows]
        return votable(names, kinds, rows[:limit], overflow, self.serialization)

    def _print(self, value):
        if not isinstance(value, float):
            return value
        if value == _NAN:
            return np.nan
        return float(f"{value:.{self.digits}g}") if self.digits else value


#: Stands for NaN in the database, which takes its own NaN for NULL.
_NAN = 9e99


def _kind(dtype):
    return "U" if dtype.kind in "SU" else dtype.str[1:]


def _translate(query):
    """ADQL to what sqlite understands; it has no operators for bits."""
    if re.search(r"[&|~^]", query):
        raise sqlite3.Error("ADQL 2.0 has no such operator")
    if match := re.match(r"\s*SELECT\s+TOP\s+(\d+)\s+(.*)", query, re.I | re.S):
        return f"SELECT {match[2]} LIMIT {match[1]}"
    return query


def votable(names, kinds, rows, overflow=False, serialization="tabledata"):
    """Write a VOTable of results as DALI 1.1, section 4.4, says."""
    document, resource = VOTableFile(version="1.3"), Resource(type="results")
    document.resources.append(resource)
    resource.infos.append(Info(name="QUERY_STATUS", value="OK"))
    table = TableElement(document)
    resource.tables.append(table)
    table.fields.extend(
        Field(
            document,
            name=name,
            datatype=TYPES[kind][0],
            **({"arraysize": "*"} if kind == "U" else {}),
        )
        for name, kind in zip(names, kinds, strict=True)
    )
    table.create_arrays(len(rows))
    for index, row in enumerate(rows):
        blank = ["" if kind == "U" else 0 for kind in kinds]
        table.array[index] = tuple(b if v is None else v for v, b in zip(row, blank, strict=True))
        table.array.mask[index] = tuple(value is None for value in row)
    table.format = serialization
    body = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_votable(document, body)
    text = body.getvalue()
    if overflow:
        # After the table: only there a service knows.
        end = b'<INFO name="QUERY_STATUS" value="OVERFLOW"/></RESOURCE>'
        text = text.replace(b"</RESOURCE>", end)
    return text


def error_document(message):
    """Write what a service says to a bad query."""
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        '<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">'
        f"{escape(message)}</INFO></RESOURCE></VOTABLE>"
    ).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, server_version = "HTTP/1.1", "loopback-tap"
    disable_nagle_algorithm = True

    def handle(self):
        self.server.service.open.add(self.connection)
        with contextlib.suppress(ConnectionError):
            super().handle()
        self.server.service.open.discard(self.connection)

    def finish(self):
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_):
        """Print nothing."""

    def do_GET(self):
        self._route({})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._route(dict(urllib.parse.parse_qsl(body)))

    def do_DELETE(self):
        self._route({"ACTION": "DELETE"})

    def _route(self, parameters):
        parts = urllib.parse.urlsplit(self.path)
        parameters = {k.upper(): v for k, v in parameters.items()} | {
            k.upper(): v for k, v in urllib.parse.parse_qsl(parts.query)
        }
        path, self.service = parts.path.removeprefix("/tap").strip("/"), self.server.service
        steps = path.split("/")
        if steps[0] in ("capabilities", "availability", "tables"):
            return self._vosi(steps[0])
        if path == "sync":
            return self._sync(parameters)
        if steps[0] != "async" or not parts.path.startswith("/tap/"):
            return self._send(404, b"no such resource", "text/plain")
        if len(steps) == 1:
            return self._create(parameters)
        job = self.service.jobs.get(steps[1])
        return self._job(job, steps[2:], parameters)

    def _fault(self, kind, parameters):
        """Draw the fault of a request, and play it if it is no answer at all."""
        maxrec = int(parameters["MAXREC"]) if "MAXREC" in parameters else None
        agent = self.headers.get("User-Agent", "")
        self.request_noted = Request(kind, parameters.get("QUERY", ""), maxrec, agent)
        fault = self.service.note(self.request_noted)
        if isinstance(fault, tuple):
            status, headers = fault
            self._send(status, b"<html>try again</html>", "text/html", headers)
        elif isinstance(fault, int):
            self._send(fault, b"<html>out of order</html>", "text/html")
        elif fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
        else:
            return fault, False
        return fault, True

    def _sync(self, parameters):
        fault, answered = self._fault("sync", parameters)
        if answered:
            return None
        if callable(fault):
            fault()
        try:
            body = self.service.answer(parameters, sync=True)
        except (sqlite3.Error, KeyError) as error:
            return self._send(400, error_document(str(error)))
        return self._body(body, fault)

    def _body(self, body, fault):
        """Send a VOTable, whole or not."""
        if fault == "garbled":
            body = body[: len(body) // 2]
        if fault == "failed":
            end = b'<INFO name="QUERY_STATUS" value="ERROR">disk</INFO></RESOURCE>'
            body = body.replace(b"</RESOURCE>", end)
        return self._send(200, body, cut=len(body) // 2 if fault == "truncated" else None)

    def _create(self, parameters):
        _, answered = self._fault("create", parameters)
        if answered:
            return None
        with self.service.lock:
            self.service.made += 1
            number = self.service.made
            self.service.jobs[str(number)] = Job(number, parameters)
            self.service.most_jobs = max(self.service.most_jobs, len(self.service.jobs))
        return self._send(303, b"", headers={"Location": f"/tap/async/{number}"})

    def _job(self, job, steps, parameters):
        kind = "look"
        if parameters.get("ACTION") == "DELETE":
            kind = "delete"
        elif steps == ["phase"] and "PHASE" in parameters:
            kind = "run"
        elif steps[:1] == ["results"]:
            kind = "result"
        query = job.parameters.get("QUERY", "") if job else ""
        fault, answered = self._fault(kind, {"QUERY": query} | parameters)
        if answered:
            return None
        if fault == "vanish" and job:
            del self.service.jobs[str(job.number)]
            job = None
        if job is None:
            return self._send(404, b"no such job", "text/plain")
        where = f"/tap/async/{job.number}"
        if kind == "delete":
            del self.service.jobs[str(job.number)]
            return self._send(303, b"", headers={"Location": "/tap/async"})
        if kind == "run":
            job.phase = {"RUN": "QUEUED", "ABORT": "ABORTED"}[parameters["PHASE"]]
            return self._send(303, b"", headers={"Location": where})
        if kind == "result":
            return self._body(job.body, fault)
        self._advance(job, fault)
        small = {"phase": job.phase, "quote": "", "executionduration": "600", "destruction": ""}
        if steps and steps[0] in small:
            return self._send(200, small[steps[0]].encode(), "text/plain")
        return self._send(200, self._describe(job, where).encode(), "text/xml")

    def _advance(self, job, fault):
        """Jobs go from QUEUED to EXECUTING to their end, a phase each few looks."""
        job.looks += 1
        if job.looks <= self.service.slow_looks or job.phase not in ("QUEUED", "EXECUTING"):
            return
        job.looks = 0
        if job.phase == "QUEUED" and self.service.slow_looks:
            job.phase = "EXECUTING"
            return
        if fault in ("ERROR", "ABORTED"):
            job.phase, job.error = fault, "the database is out of space & patience"
            return
        try:
            job.body = self.service.answer(job.parameters, sync=False)
            job.phase = "COMPLETED"
        except (sqlite3.Error, KeyError) as error:
            job.phase, job.error = "ERROR", str(error)

    def _describe(self, job, where):
        results = ""
        if job.phase == "COMPLETED":
            href = f"http://{self.headers['Host']}{where}/results/result"
            results = f'<uws:result id="result" xlink:href="{href}"/>'
        error = ""
        if job.error and job.phase == "ERROR":
            error = '<uws:errorSummary type="fatal" hasDetail="false"><uws:message>'
            error += f"{escape(job.error)}</uws:message></uws:errorSummary>"
        parameters = "".join(
            f'<uws:parameter id="{name.lower()}">{escape(value)}</uws:parameter>'
            for name, value in job.parameters.items()
        )
        return (
            f'<?xml version="1.0"?>{UWS}<uws:jobId>{job.number}</uws:jobId>'
            f'<uws:ownerId xsi:nil="true"/><uws:phase>{job.phase}</uws:phase>'
            '<uws:quote xsi:nil="true"/><uws:startTime xsi:nil="true"/>'
            '<uws:endTime xsi:nil="true"/><uws:executionDuration>600</uws:executionDuration>'
            '<uws:destruction xsi:nil="true"/>'
            f"<uws:parameters>{parameters}</uws:parameters>"
            f"<uws:results>{results}</uws:results>{error}</uws:job>"
        )

    def _vosi(self, name):
        _, answered = self._fault(name, {})
        if answered:
            return None
        if name == "capabilities":
            limit = self.service.limit
            return self._send(200, (CAPABILITIES % (self.service.url, limit, limit)).encode())
        if name == "availability":
            text = '<availability xmlns="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
            return self._send(200, f"{text}<available>true</available></availability>".encode())
        tables = "".join(
            f"<table><name>{table}</name>"
            + "".join(f"<column><name>{c}</name></column>" for c in array.dtype.names)
            + "</table>"
            for table, array in self.service.tables.items()
        )
        text = '<tableset xmlns="http://www.ivoa.net/xml/VOSITables/v1.0"><schema><name>ls</name>'
        return self._send(200, f"{text}{tables}</schema></tableset>".encode())

    def _send(self, status, body, kind="application/x-votable+xml", headers=None, cut=None):
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": len(body),
            **(headers or {}),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[:cut])
        with self.service.lock:
            self.service.bytes_sent += len(body[:cut])
        if cut is not None:
            self.close_connection = True
            self.connection.close()
