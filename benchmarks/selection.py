"""Measure how often the selection function's 95 % intervals contain the number of lenses found.

Lenses are injected by `lenspipe.simulation.injection.inject`, uniformly as in a run, into
ellipticals of the simulated sky's population in 24 bricks that differ in seeing and depth: one
pool, 6,000 by default. Each of 50 searches has a mock network: a weighted sum, over six rings, of
the signal to noise in g after subtraction of the light in z, reduced for bright galaxies, with
noise drawn for each cutout. Weights, noise and cut differ between searches. For each search half of
the galaxies are drawn: the function is fitted to 2,000 lenses in these. Of the lenses in the other
half 200 are planted, drawn to have radii and signal to noise like published ones. The searches
share the pool, and differ by their networks, noise and halves.

Counted are the searches in which the number of planted lenses found lies within its interval, and
of their six bins each those that do; also the searches for an interval without uncertainty of the
function, only the binomial scatter of which lenses are found. Takes about two minutes on one core.
"""

import argparse
import json
import os
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from injection import BANDS, NOISE_NMGY, SEEING_ARCSEC, SIZE, make_hosts  # noqa: E402
from scipy.stats import binom  # noqa: E402

from lenspipe.completeness.prediction import compare_planted  # noqa: E402
from lenspipe.completeness.quantities import selection_quantities  # noqa: E402
from lenspipe.completeness.selection_function import SelectionFunction  # noqa: E402
from lenspipe.config.settings import Settings, load_settings  # noqa: E402
from lenspipe.simulation.injection import inject, noise_from_depth, sky_noise  # noqa: E402
from lenspipe.simulation.survey import PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG  # noqa: E402
from lenspipe.statistics.intervals import binomial_interval  # noqa: E402

N_HOSTS, N_BRICKS = 600, 24
N_INJECTED, N_PLANTED = 2000, 200
#: Edges of the rings of the mock networks.
RING_EDGES_ARCSEC = (0.8, 1.4, 2.0, 2.6, 3.2, 4.0, 5.0)


def make_pool(number: int, settings: Settings) -> pd.DataFrame:
    """Return the lenses of the pool with the networks' input: signal to noise in each ring."""
    images, hosts = make_hosts(N_HOSTS)
    rng = np.random.default_rng(2)
    brick = np.arange(len(hosts)) % N_BRICKS
    noise_factor = rng.uniform(1.0, 1.7, N_BRICKS)[brick]
    seeing_factor = rng.uniform(0.85, 1.25, N_BRICKS)[brick]
    hosts["brick"] = brick.astype(str)
    for band in BANDS:
        hosts[f"psfsize_{band}"] = SEEING_ARCSEC[band] * seeing_factor
        unit = noise_from_depth(1.0, hosts[f"psfsize_{band}"], PIXEL_SCALE_ARCSEC)
        hosts[f"galdepth_{band}"] = (unit / (NOISE_NMGY[band] * noise_factor)) ** 2
    noise = np.array([NOISE_NMGY[band] for band in BANDS])
    # Noise added to make a shallower brick, drawn for each lens.
    added = noise[None] * np.sqrt(noise_factor**2 - 1)[:, None]
    tables = []
    injected_as = settings.survey.bands, settings.release, settings.injection, settings.selection
    for _ in range(-(-number // len(hosts))):
        noisy = images + added[:, :, None, None] * rng.standard_normal(images.shape)
        lensed, truth = inject(noisy.astype(np.float32), hosts, rng, *injected_as)
        rings = pd.DataFrame([_rings(image) for image in lensed]).add_prefix("ring_")
        tables.append(pd.concat([hosts, truth.drop(columns="id"), rings], axis=1))
    return pd.concat(tables, ignore_index=True)[:number]


def _rings(image: np.ndarray) -> list[float]:
    """Signal to noise in g after subtraction of the light in z, in rings."""
    axis = (np.arange(SIZE) - SIZE // 2) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(axis[:, None], axis)
    core = radius < RING_EDGES_ARCSEC[0]
    scale = image[0][core].sum() / image[-1][core].sum()
    residual = image[0] - scale * image[-1]
    sigma = sky_noise(image)
    noise = np.hypot(sigma[0], scale * sigma[-1])
    ring = np.digitize(radius, RING_EDGES_ARCSEC)
    return [
        residual[ring == i].sum() / (noise * np.sqrt((ring == i).sum()))
        for i in range(1, len(RING_EDGES_ARCSEC))
    ]


def search(pool: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return injected and planted lenses of a search with a mock network."""
    rng = np.random.default_rng([3, seed])
    rings = pool.filter(like="ring_").to_numpy()
    weights = rng.dirichlet(np.full(rings.shape[1], 3.0))
    signal = np.log1p((rings @ weights).clip(0)) - 0.15 * (19 - pool["mag_z"]).clip(0)
    score = signal + 0.3 * rng.standard_normal(len(pool))
    found = score > np.quantile(score, rng.uniform(0.55, 0.8))
    table = pool.assign(found=found)
    hosts = rng.permutation(pool["id"].unique())
    in_first_half = pool["id"].isin(hosts[: len(hosts) // 2]).to_numpy()
    injected = rng.permutation(np.flatnonzero(in_first_half))[:N_INJECTED]
    # As published: mostly 1 to 3 arcsec, visible arcs.
    density = np.exp(-0.5 * ((pool["theta_e_arcsec"] - 1.8) / 0.7) ** 2)
    density *= np.exp(-0.5 * ((np.log10(1 + pool["arc_snr"]) - 1.5) / 0.35) ** 2)
    probability = np.where(in_first_half, 0, density)
    probability /= probability.sum()
    planted = rng.choice(len(pool), N_PLANTED, replace=False, p=probability)
    return table.iloc[injected], table.iloc[planted]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=50)
    parser.add_argument("--pool", type=int, default=6000, help="total number of lenses injected")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    config = {"run": "benchmark", "footprint": {"bricks": ["1501p320"]}, "simulation": {}}
    settings = load_settings(config)
    begin = time.perf_counter()
    pool = make_pool(options.pool, settings)
    injecting = time.perf_counter() - begin
    quantities = selection_quantities(BANDS)
    totals, bins, binomial_only, expected, found = 0, 0, 0, [], []
    begin = time.perf_counter()
    for seed in range(options.searches):
        injected, planted = search(pool, seed)
        function = SelectionFunction.fit(injected, quantities, ZERO_POINT_MAG)
        result = compare_planted(function, planted)
        totals += result["inside"]
        bins += result["n_bins_inside"]
        p = function.completeness(planted)["completeness"]
        half_width = 1.96 * np.sqrt((p * (1 - p)).sum())
        binomial_only += abs(result["found"] - p.sum()) <= half_width
        expected.append(result["expected"])
        found.append(result["found"])
    fitting = time.perf_counter() - begin
    n_bins = 6 * options.searches
    error = np.array(found) - expected
    flat = {
        "searches": options.searches,
        "totals_inside": totals,
        "totals_part": totals / options.searches,
        "bins": n_bins,
        "bins_inside": bins,
        "bins_part": bins / n_bins,
        "totals_inside_scatter_alone": int(binomial_only),
        "found_mean": np.mean(found),
        "expected_mean": np.mean(expected),
        "error_mean": error.mean(),
        "error_rms": np.sqrt((error**2).mean()),
        "painting_s": injecting,
        "s_per_search": fitting / options.searches,
    }
    flat = {key: float(f"{value:.4g}") for key, value in flat.items()}
    if options.json:
        print(json.dumps(flat))
        return
    print(f"{len(pool)} lenses injected in {injecting:.0f} s; {flat['s_per_search']:.2f} s/search")
    print(f"of {N_PLANTED} planted: {np.mean(found):.1f} found, {np.mean(expected):.1f} expected")
    for unit, k, n in (("searches", totals, options.searches), ("bins", bins, n_bins)):
        low, high = binomial_interval(k, n)
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        minimum = int(binom.ppf(0.025, n, 0.95))
        print(
            f"{unit}: {k} of {n} inside, {100 * k / n:.1f} % ({interval}); "
            f"for 95 % intervals at least {minimum} are expected"
        )
    print(f"searches, with binomial scatter only: {binomial_only} of {options.searches}")


if __name__ == "__main__":
    main()
