"""A run with candidates to grade, and the inspection portal on it, in this process or its own."""

import asyncio
import contextlib
import queue
import re
import secrets
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import requests
import uvicorn
from astropy.table import Table
from helpers.fake_run import draw, make_table, write_cutouts

from lenspipe.config.paths import RunPaths
from lenspipe.inspection.app import make_app
from lenspipe.inspection.guard import LOCAL_HOSTS
from lenspipe.inspection.lists import Lists, Mix
from lenspipe.inspection.queue import Queue
from lenspipe.inspection.store import Store
from lenspipe.inspection.training import TrainingList
from lenspipe.utils.names import iau_name

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from lenspipe.cli.main import main; sys.exit(main())",
    "inspect",
]


def make_run(folder, n=30, per_brick=10, size=33, seed=0):
    """Write candidates and cutouts of a run below a folder; returns its paths.

    Every third is a lens, every sixth a known one; the second has a flag.
    """
    paths, rng, tables = RunPaths("fake", folder), np.random.default_rng(seed), []
    for first in range(0, n, per_brick):
        brick, number = f"{1000 + first // per_brick:04d}p300", min(per_brick, n - first)
        ra = 100 + 0.25 * (first // per_brick) + 0.01 * np.arange(number)
        table = make_table(brick, ra, 30 + rng.uniform(-0.1, 0.1, number), rng)
        table = table.assign(shape_r=0.8, shape_e1=0.0, shape_e2=0.0)
        kinds = ["lens" if (first + i) % 3 == 0 else "spiral" for i in range(number)]
        write_cutouts(
            paths.cutouts(brick), np.array([draw(kind, size, rng) for kind in kinds]), table
        )
        tables.append(table)
    write_candidates(paths, pd.concat(tables, ignore_index=True))
    return paths


def write_candidates(paths, galaxies):
    """Write a table of candidates with some of the usual columns."""
    table = galaxies[["id", "ra", "dec", "brick", "flags"]].assign(p=0.95)
    table.insert(0, "rank", np.arange(1, len(table) + 1, dtype=np.int32))
    table["name"] = iau_name(table["ra"], table["dec"], "DESI")
    table["known"] = table["rank"] % 6 == 1
    table.loc[table["rank"] == 2, "flags"] = 4
    paths.candidates.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        name: np.array(table[name].tolist()) if len(table) else np.zeros(0, "U1") for name in table
    }
    Table(columns).write(paths.candidates, format="fits", overwrite=True)


class _Server(uvicorn.Server):
    """A server that ends as soon as it is told to, not when it looks next, ten times a second."""

    def __init__(self, config):
        super().__init__(config)
        self.told = threading.Event()

    async def main_loop(self):
        await self.on_tick(0)
        await asyncio.to_thread(self.told.wait)


@contextlib.contextmanager
def serving(
    paths,
    graders=("anna",),
    tokens=False,
    hosts=LOCAL_HOSTS,
    queue=None,
    training=None,
    around=None,
    examples=lambda: None,
    **mix,
):
    """Serve a run from a thread; yields the address and the store.

    With a `Retirement` as queue, the next image is the one whose vote tells most; with a file as
    training, its images are shown instead of the candidates.
    """
    store = Store(training.with_suffix(".sqlite") if training else paths.inspection())
    for grader in graders:
        store.add_grader(grader)
    lists = TrainingList(paths, store, training) if training else Lists(paths, store, Mix(**mix))
    queue = queue and Queue(store, lists, queue)
    app = make_app(paths, store, lists, tokens, hosts, queue, around, examples)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A configuration of logging would close other libraries' handlers, and pytest's stream.
        config = uvicorn.Config(app, log_config=None, log_level="error", ws="none", lifespan="off")
        server = _Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", store
        finally:
            server.told.set()
            thread.join()
            store.close()


class Started:
    """The command in a process of its own."""

    def __init__(self, paths, *arguments, port=0):
        self.process = subprocess.Popen(
            [*COMMAND, str(paths.root), "--port", str(port), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines, arrived = [], queue.Queue()
        threading.Thread(target=self._read, args=(arrived,), daemon=True).start()
        begin = time.monotonic()
        while not any("Ctrl-C" in line for line in self.lines):
            assert time.monotonic() - begin < 120, self.lines
            line = arrived.get(timeout=120)
            assert line is not None, self.lines
            self.lines.append(line)
        text = "".join(self.lines)
        self.address = re.search(r"http://[\w.]+:\d+", text)[0]
        self.port = int(self.address.rpartition(":")[2])

    def _read(self, arrived):
        for line in self.process.stdout:
            arrived.put(line)
        arrived.put(None)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdout.close()


class Grader:
    """A grader without a browser."""

    def __init__(self, address, name):
        self.address, self.session = f"{address}/g/{name}", requests.Session()
        self.session.headers["Origin"] = address

    def list(self):
        answer = self.session.get(f"{self.address}/list", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def post(self, about, votes):
        content = {"file": about["file"], "stage": about["stage"], "votes": votes}
        return self.session.post(f"{self.address}/votes", json=content, timeout=90)

    def grade(self, about, grades):
        """Send grades, place -> grade, and return their keys."""
        votes = [vote(place, grade) for place, grade in grades.items()]
        self.post(about, votes).raise_for_status()
        return [v["key"] for v in votes]


def vote(place, grade, comment="", seconds=1.5):
    key = secrets.token_hex(16)
    return {"key": key, "place": place, "grade": grade, "comment": comment, "seconds": seconds}
