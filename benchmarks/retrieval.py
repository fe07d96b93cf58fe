"""Measure the retrieval of the stamps of bricks: whole files against the tiles that stamps touch.

Cuts 55 and 200 stamps of 101 x 101 pixels out of the seven coadds of a brick similar to one of full
depth,

a. from whole files, decoded by astropy,
b. from whole files, in sections by fitsio,
c. by lenspipe, tile by tile,
d. from the same tiles fetched by fsspec, one request per range of bytes (once, one brick),

from a local tree and from servers on this machine (with a given latency before each answer and a
given bandwidth for all connections together) that answer several ranges in a request, or only one.
All methods use four connections, and all but (d) decode while more is fetched. Each measurement
cuts several bricks, copies of one, in a separate process, whose start is not counted; the methods
alternate; medians per brick are shown. The first brick from a server, about which nothing is known
yet, is measured separately. The benchmark stops if stamps differ. It takes eight minutes.

Targets are distributed uniformly. Galaxies cluster, so real ones touch fewer tiles.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fitsio
import numpy as np
from deep_brick import REGION, SIDE, SIZE, TILE, coadds, make_bricks, names, targets
from tqdm import tqdm

from lenspipe.utils.files import is_remote

NUMBERS = (55, 200)
CONNECTIONS = 4
#: Servers: name -> how they answer several ranges (option of tests/helpers/loopback.py).
SERVERS = {"http": "multi", "http_single_range": "single"}
#: Modules that each method imports before the clock starts.
IMPORTS = {
    "a": ["astropy.io.fits", "requests"],
    "b": ["requests"],
    "c": ["lenspipe.cutouts.chunk", "lenspipe.retrieval.remote"],
    "d": [
        "aiohttp",
        "fsspec.implementations.http",
        "lenspipe.survey.coadds",
        "lenspipe.retrieval.tiles",
    ],
}
NAMES = {
    "a": "whole files, astropy",
    "b": "whole files, fitsio",
    "c": "lenspipe",
    "d": "fsspec, same tiles",
}


def slices(x, y):
    """Return the slices of the stamps in a coadd."""
    half = SIZE // 2
    return [
        (slice(row - half, row + half + 1), slice(column - half, column + half + 1))
        for column, row in zip(x.tolist(), y.tolist(), strict=True)
    ]


class StampCollector:
    """Collects stamps: those of the first brick are kept, of the others a checksum is compared.

    Attributes
    ----------
    stamps
        Kind and band -> (N, size, size) array.
    """

    def __init__(self):
        self.stamps, self._sums = {}, {}

    def add(self, key, stamps):
        """Add a brick's stamps from one of its coadds."""
        name = "-".join(filter(None, key))
        stamps = np.ascontiguousarray(stamps, stamps.dtype.newbyteorder("="))
        self.stamps.setdefault(name, stamps)
        checksum = zlib.crc32(stamps)
        if checksum != self._sums.setdefault(name, checksum):
            raise SystemExit(f"{name}: pixels differ from those read from the same file before")


@contextlib.contextmanager
def whole_files(tree, bricks):
    """Yield an iterator of (key, local path); remote files are downloaded with four connections."""
    files = [item for brick in names(bricks) for item in coadds(tree, brick).items()]
    if not is_remote(tree):
        yield files
        return
    import requests

    def download(item):
        key, url = item
        path = Path(folder) / url.rpartition("/")[2]
        with session.get(url, stream=True, timeout=60) as response, open(path, "wb") as file:
            response.raise_for_status()
            for piece in response.iter_content(1 << 18):
                file.write(piece)
        return key, path

    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        requests.Session() as session,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        yield pool.map(download, files)


def way_a(tree, bricks, x, y, collector):
    from astropy.io import fits

    with whole_files(tree, bricks) as files:
        for key, path in files:
            with fits.open(path) as hdus:
                pixels = hdus[1].data
                collector.add(key, np.stack([pixels[box] for box in slices(x, y)]))


def way_b(tree, bricks, x, y, collector):
    with whole_files(tree, bricks) as files:
        for key, path in files:
            with fitsio.FITS(str(path)) as hdus:
                collector.add(key, np.stack([hdus[1][box] for box in slices(x, y)]))


def way_c(tree, bricks, x, y, collector):
    from lenspipe.config.data import Retrieval
    from lenspipe.config.paths import RunPaths
    from lenspipe.cutouts.chunk import BRICKS_AT_ONCE
    from lenspipe.products.chunks import try_bricks
    from lenspipe.retrieval.sources import open_source
    from lenspipe.survey.coadds import read_stamps
    from lenspipe.utils.fits import clip_boxes

    retrieval = Retrieval(contact="benchmark@localhost", connections=CONNECTIONS)

    def boxes(_wcs, shape):
        return clip_boxes(x, y, SIZE, shape)

    def cut(brick, _region):
        with source.coadds(coadds(tree, brick), boxes) as files:
            for key, path in files.items():
                collector.add(key, read_stamps(path, x, y, SIZE, 0))

    with open_source(retrieval, RunPaths("benchmark").hosts, tree) as source:
        threads = BRICKS_AT_ONCE if is_remote(tree) else 1
        work = [(brick, REGION) for brick in names(bricks)]
        _, failures = try_bricks(work, cut, "bricks", threads)
    for error in failures.values():
        raise error


def way_d(tree, bricks, x, y, collector):
    from fsspec.implementations.http import HTTPFileSystem

    from lenspipe.retrieval.ranges import PART_BYTES, merge
    from lenspipe.retrieval.tiles import read_layout
    from lenspipe.survey.coadds import read_stamps
    from lenspipe.utils.fits import clip_boxes

    filesystem, first = HTTPFileSystem(), 1 << 16
    boxes = clip_boxes(x, y, SIZE, (SIDE, SIDE))

    def fetch(requests):
        urls, starts, stops = map(list, zip(*requests, strict=True))
        return filesystem.cat_ranges(urls, starts, stops, batch_size=CONNECTIONS)

    def cut(files, folder):
        paths = {url: folder / url.rpartition("/")[2] for url in files.values()}
        pieces, more = fetch([(url, 0, first) for url in paths]), []
        for url, piece in zip(paths, pieces, strict=True):
            paths[url].write_bytes(piece)
            layout = read_layout(paths[url], first, 1 << 30)
            os.truncate(paths[url], layout.end)
            ranges = merge(layout.ranges(boxes), gap=PART_BYTES)
            more += [(url, max(start, first), stop) for start, stop in ranges if stop > first]
        for (url, start, _), piece in zip(more, fetch(more), strict=True):
            with open(paths[url], "r+b") as file:
                file.seek(start)
                file.write(piece)
        for key, url in files.items():
            collector.add(key, read_stamps(paths[url], x, y, SIZE, 0))

    for brick in names(bricks):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            cut(coadds(tree, brick), Path(folder))


def measure(way, tree, bricks, number):
    """Measure one method in this process; write stamps and figures, per brick, to this folder."""
    for name in IMPORTS[way]:
        importlib.import_module(name)
    x, y = targets(number)
    collector = StampCollector()
    before, begin = _peak_mb(), time.perf_counter()
    globals()[f"way_{way}"](tree, bricks, x, y, collector)
    seconds = (time.perf_counter() - begin) / bricks
    figures = {"seconds": seconds, "peak_mb": _peak_mb(), "before_mb": before}
    np.savez("stamps.npz", **collector.stamps)
    Path("figures.json").write_text(json.dumps(figures))


def _peak_mb():
    # The peak that getrusage gives is at least that of the process that started this one.
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def run(way, tree, bricks, number, folder):
    """Run a measurement in a separate process; return figures and stamps."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        __file__,
        "--work",
        ".",
        "--one",
        way,
        str(tree),
        str(bricks),
        str(number),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"method {way}, {number} stamps from {tree} failed:\n{done.stderr}")
    with np.load(folder / "stamps.npz") as content:
        stamps = dict(content)
    return json.loads((folder / "figures.json").read_text()), stamps


def compare(label, exact, stamps, reference):
    """Stop if stamps are not those of the reference."""
    if stamps.keys() != reference.keys():
        raise SystemExit(f"{label}: stamps of {sorted(stamps)}, expected {sorted(reference)}")
    for key, expected in reference.items():
        # Decoders of dithered pixels may round the last bit differently.
        rtol, atol = (0, 0) if exact else (2e-7, 1e-9)
        same = stamps[key].shape == expected.shape and stamps[key].dtype.kind == expected.dtype.kind
        if not same or not np.allclose(stamps[key], expected, rtol, atol):
            raise SystemExit(
                f"{label}: pixels of {key} differ from those fitsio reads from whole files"
            )


def needed_bytes(tree, number):
    """Bytes of headers, tables and touched tiles of all files; computed without lenspipe."""
    from astropy.io import fits

    touched = np.zeros((SIDE // TILE, SIDE // TILE), bool)
    for rows, columns in slices(*targets(number)):
        touched[
            rows.start // TILE : (rows.stop - 1) // TILE + 1,
            columns.start // TILE : (columns.stop - 1) // TILE + 1,
        ] = True
    total = 0
    for path in coadds(tree).values():
        with fits.open(path, disable_image_compression=True) as hdus:
            header, start = hdus[1].header, hdus[1].fileinfo()["datLoc"]
        formats = [header[f"TFORM{i}"] for i in range(1, header["TFIELDS"] + 1)]
        dtype = [
            (f"f{i}", ">i4", 2) if form.startswith("1P") else (f"f{i}", ">f8")
            for i, form in enumerate(formats)
        ]
        table = np.fromfile(path, dtype, touched.size, offset=start)
        total += start + table.nbytes
        for i, form in enumerate(formats):
            if form.startswith("1P"):
                total += int(table[f"f{i}"][touched.ravel(), 0].sum())
    return total


def measure_all(options, folder):
    """Alternate between the methods; return {(place, number, way, which): list of figures}."""
    from helpers.loopback import serve_in_process

    tree = options.work / "tree"
    link = {"latency_s": options.latency_ms / 1e3, "bandwidth": options.mb_per_s * 1e6}
    results, references = {}, {}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(serve_in_process(tree, ranges=ranges, **link))
            for name, ranges in SERVERS.items()
        }
        turns = [("first", place, number, "c") for place in SERVERS for number in NUMBERS]
        for repeat in range(options.repeats):
            for place, number in itertools.product(("local", *SERVERS), NUMBERS):
                turns += [("later", place, number, way) for way in "abc"]
                if place == "http" and not repeat:
                    turns.append(("later", place, number, "d"))
        for which, place, number, way in tqdm(turns, disable=None, unit="run", mininterval=5):
            server = servers.get(place)
            if server:
                server.reset()
            # What (c) records of a server is in its folder, so that it is new to the first run.
            work = folder / place / str(number) / way
            bricks = 1 if which == "first" or way == "d" else options.bricks
            figures, stamps = run(way, server.url if server else tree, bricks, number, work)
            if server:
                counters = server.counters()
                figures["bytes"] = counters["bytes_sent"] / bricks
                figures["requests"] = len(counters["requests"]) / bricks
            if number not in references:
                references[number] = run("b", tree, 1, number, folder / "reference")[1]
            compare(f"{NAMES[way]}, {place}", way != "a", stamps, references[number])
            results.setdefault((place, number, way, which), []).append(figures)
    return results


def summarize(results, tree):
    """Return medians {(place, number, way): figures} and one flat dict of the main figures."""
    medians = {
        (place, number, way): {
            key: statistics.median(run[key] for run in runs) for key in runs[0]
        }
        for (place, number, way, which), runs in results.items()
        if which == "later"
    }  # fmt: skip
    flat = {}
    for number in NUMBERS:
        needed = needed_bytes(tree, number)
        tiles, whole = medians["http", number, "c"], medians["http", number, "a"]
        flat[f"bytes_fraction_{number}"] = tiles["bytes"] / whole["bytes"]
        flat[f"bytes_over_needed_{number}"] = tiles["bytes"] / needed
        flat[f"requests_per_file_{number}"] = tiles["requests"] / len(coadds(tree))
        flat[f"needed_mb_{number}"] = needed / 1e6
        single = medians["http_single_range", number, "c"]
        flat[f"bytes_fraction_single_range_{number}"] = single["bytes"] / whole["bytes"]
        flat[f"requests_per_file_single_range_{number}"] = single["requests"] / len(coadds(tree))
    for (place, number, way), figures in medians.items():
        whole = medians[place, number, "a"]["seconds"]
        name = {"b": "_fitsio", "c": "", "d": "_fsspec"}.get(way)
        if name is not None:
            flat[f"speedup{name}_{place}_{number}"] = whole / figures["seconds"]
        if way == "c" and place != "local":
            (first,) = results[place, number, way, "first"]
            flat[f"speedup_{place}_{number}_first_brick"] = whole / first["seconds"]
        flat[f"seconds_{way}_{place}_{number}"] = figures["seconds"]
    runs = [(key[2], run) for key, each in results.items() for run in each]
    for way, name in {"a": "_astropy", "b": "_fitsio", "c": ""}.items():
        flat[f"peak_rss{name}_mb"] = max(run["peak_mb"] for each, run in runs if each == way)
    flat["imports_rss_mb"] = max(run["before_mb"] for way, run in runs if way == "c")
    return medians, {key: float(f"{value:.4g}") for key, value in flat.items()}


def print_table(medians, flat, options):
    """Print the medians of all methods and the figures derived from them."""
    print(f"link: {options.latency_ms:g} ms, {options.mb_per_s:g} MB/s, {CONNECTIONS} connections;")
    print(
        f"medians of {options.repeats} runs over {options.bricks} bricks, per brick; "
        "peak MB with the interpreter and its libraries\n"
    )
    print(
        f"{'from':18}{'stamps':>7}  {'method':22}{'MB':>8}{'requests':>9}{'s':>8}{'peak MB':>9}",
        end="",
    )
    print(f"{'bytes/(a)':>11}{'(a)/s':>8}")
    for (place, number, way), figures in medians.items():
        whole = medians[place, number, "a"]
        megabytes, requests, fraction = "-", "-", "-"
        if place != "local":
            megabytes, requests = f"{figures['bytes'] / 1e6:.2f}", f"{figures['requests']:.0f}"
            fraction = f"{figures['bytes'] / whole['bytes']:.3f}"
        print(
            f"{place.replace('_', ' '):18}{number:7}  {NAMES[way]:22}{megabytes:>8}{requests:>9}"
            f"{figures['seconds']:8.3f}{figures['peak_mb']:9.0f}{fraction:>11}"
            f"{whole['seconds'] / figures['seconds']:7.2f}x"
        )
    print()
    for key, value in flat.items():
        if not key.startswith("seconds"):
            print(f"{key:44}{value:10g}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder to keep the brick in (88 MB)")
    parser.add_argument("--bricks", type=int, default=3, help="bricks cut in a run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method")
    parser.add_argument("--latency-ms", type=float, default=60, help="latency of each answer")
    parser.add_argument(
        "--mb-per-s", type=float, default=25, help="bandwidth of all connections together"
    )
    parser.add_argument("--json", action="store_true", help="print one flat object")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, tree, bricks, number = options.one
        return measure(way, tree, int(bricks), int(number))
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    with tempfile.TemporaryDirectory() as temporary:
        options.work = (options.work or Path(temporary)).resolve()
        make_bricks(options.work / "tree", options.bricks)
        results = measure_all(options, Path(temporary) / "runs")
        medians, flat = summarize(results, options.work / "tree")
    if options.json:
        print(json.dumps(flat))
    else:
        print_table(medians, flat, options)


if __name__ == "__main__":
    main()
