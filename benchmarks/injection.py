"""Measure the rate at which lensed arcs are injected into cutouts, on one core, and their truth.

Hosts are ellipticals of the simulated sky's population, 101 x 101 pixels in g, r and z with the
survey's typical noise and seeing; `--cutouts` takes those of a run instead. A rate is the median of
several runs over all hosts in one process with one thread, by wall time (`per_s_core`) and by CPU
time (`per_s_cpu`, less affected by other work on the machine). Takes a minute.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from lenspipe.config.data import Simulation  # noqa: E402
from lenspipe.config.settings import Settings, load_settings  # noqa: E402
from lenspipe.simulation.injection import inject  # noqa: E402
from lenspipe.simulation.population import draw_population  # noqa: E402
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG  # noqa: E402
from lenspipe.survey.photometry import to_magnitude  # noqa: E402

BANDS, SIZE = "grz", 101
NOISE_NMGY = {"g": 0.0030, "r": 0.0055, "z": 0.0140}
SEEING_ARCSEC = {"g": 1.30, "r": 1.20, "z": 1.10}
BRICK = {"brickid": 506100, "ra1": 150.0, "ra2": 150.3, "dec1": 31.875, "dec2": 32.125}
#: Columns of the truth whose percentiles are printed.
TRUTH_COLUMNS = ["z_lens", "z_source", "sigma_v", "theta_e_arcsec", "source_mag_g", "source_r_half"]
TRUTH_COLUMNS += ["magnification", "arc_mag_g", "arc_snr"]
PERCENTILES = (5, 25, 50, 75, 95)


def make_hosts(number: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Return cutouts of ellipticals, de Vaucouleurs profiles with noise, and their table."""
    rng = np.random.default_rng(1)
    others = {"faint_per_brick": 0, "stars_per_brick": 0, "lenses_per_brick": 0}
    simulation = Simulation(galaxies_per_brick=max(5 * number, 50), **others)
    sources, _, _ = draw_population(1, BRICK, simulation)
    mag_z = to_magnitude(sources["flux_z"], ZERO_POINT_MAG)
    hosts = sources[(sources["kind"] == "elliptical") & (mag_z < 20)][:number]
    table = pd.DataFrame({"id": [f"host-{i}" for i in range(len(hosts))]})
    axis = (np.arange(SIZE) - SIZE // 2) * PIXEL_SCALE_ARCSEC
    # A core of about the seeing in place of the cusp.
    radius = np.hypot(np.hypot(axis[None, :], axis[:, None]), 0.4)
    scaled = radius / hosts["r_half"].to_numpy()[:, None, None]
    shape = np.exp(-7.67 * scaled**0.25)
    shape /= shape.sum(axis=(1, 2), keepdims=True)
    images = np.empty((len(hosts), len(BANDS), SIZE, SIZE), np.float32)
    for i, band in enumerate(BANDS):
        flux = hosts[f"flux_{band}"].to_numpy()
        images[:, i] = flux[:, None, None] * shape + rng.normal(0, NOISE_NMGY[band], shape.shape)
        table[f"mag_{band}"] = to_magnitude(flux, ZERO_POINT_MAG)
        table[f"psfsize_{band}"] = SEEING_ARCSEC[band]
    table["shape_e1"], table["shape_e2"] = hosts["e1"].to_numpy(), hosts["e2"].to_numpy()
    return images, table


def read_hosts(paths: Sequence[Path], number: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Return cutouts of a run and their table."""
    from lenspipe.products.cutouts import read_cutouts

    images, tables = zip(*(read_cutouts(path) for path in paths), strict=True)
    return np.concatenate(images)[:number], pd.concat(tables, ignore_index=True)[:number]


def measure(
    images: np.ndarray, table: pd.DataFrame, settings: Settings, repeats: int
) -> tuple[float, float, pd.DataFrame]:
    """Return injections per second of wall time and of CPU time, and the truth."""
    injected_as = settings.survey.bands, settings.release, settings.injection
    inject(images[:3], table[:3], np.random.default_rng(0), *injected_as)  # imports, caches
    per_s_wall, per_s_cpu = [], []
    for _ in range(repeats):
        begin = time.perf_counter(), time.process_time()
        _, truth = inject(images, table, np.random.default_rng(1), *injected_as)
        per_s_wall.append(len(images) / (time.perf_counter() - begin[0]))
        per_s_cpu.append(len(images) / (time.process_time() - begin[1]))
    return statistics.median(per_s_wall), statistics.median(per_s_cpu), truth


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=500, help="maximum number of hosts")
    parser.add_argument("--repeats", type=int, default=5, help="runs over all of them")
    parser.add_argument("--cutouts", type=Path, nargs="+", help="cutout files of a run (grz)")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    hosts = read_hosts(options.cutouts, options.number) if options.cutouts else None
    images, table = hosts or make_hosts(options.number)
    flat: dict[str, float] = {"hosts": len(images)}
    rows = []
    for mode in ("dispersion", "drawn"):
        config = {"run": "benchmark", "footprint": {"bricks": ["1501p320"]}, "simulation": {}}
        settings = load_settings(config | {"injection": {"theta_e": mode}})
        per_s_wall, per_s_cpu, truth = measure(images, table, settings, options.repeats)
        suffix = "" if mode == "dispersion" else "_drawn"
        flat |= {f"per_s_core{suffix}": per_s_wall, f"per_s_cpu{suffix}": per_s_cpu}
        flat[f"raised_fraction{suffix}"] = (truth["theta_e_from"] == "raised").mean()
        for name in TRUTH_COLUMNS:
            values = np.percentile(truth[name], PERCENTILES)
            flat[f"{name}_p50{suffix}"] = values[2]
            rows.append((mode, name, values))
    flat = {key: float(f"{value:.4g}") for key, value in flat.items()}
    if options.json:
        print(json.dumps(flat))
        return
    print(f"{len(images)} hosts; injections per second of wall time and of CPU time, one core:")
    for suffix, mode in (("", "dispersion"), ("_drawn", "drawn")):
        print(f"  theta_e {mode:12}{flat['per_s_core' + suffix]:8.0f}", end="")
        print(f"{flat['per_s_cpu' + suffix]:8.0f}")
    print(f"\n{'theta_e':12}{'quantity':18}" + "".join(f"{p:7} %" for p in PERCENTILES))
    for mode, name, values in rows:
        print(f"{mode:12}{name:18}" + "".join(f"{value:9.4g}" for value in values))


if __name__ == "__main__":
    main()
