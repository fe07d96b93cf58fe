"""Count how often the selection function's intervals hold what a search finds: 95 % is asked for.

Lenses are painted by `lenspipe.simulation.injection.inject`, evenly as for a run, onto ellipticals
of the simulated sky's population in 24 bricks with seeing and depth of their own: one pool, 6,000
by default. Each of 50 searches has a network of its own, which stands for a real one: the signal to
noise of what is left of g when z's light is subtracted, in six rings with weights of its own, less
where the galaxy is bright, and with noise of its own, drawn anew for each cutout; and a cut of its
own. Half of the galaxies, others for each search, are painted on: 2,000 of their lenses give the
function. Of the other half 200 lenses are planted, drawn to have radii and signal to noise as
published ones. What is planted is never painted, but searches share the pool: they are as
independent as their networks, their noise, and which half is whose.

Then: in how many searches is the number found of all planted lenses inside its interval, and in how
many of their six bins each? Also of a function without interval, the scatter of who is found alone.
Takes about two minutes on one core.
"""

import argparse
import json
import os
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from injection import BANDS, NOISE, SEEING, SIZE, make_hosts  # noqa: E402
from scipy.stats import binom  # noqa: E402

from lenspipe.completeness.prediction import compare_planted  # noqa: E402
from lenspipe.completeness.quantities import quantities_of  # noqa: E402
from lenspipe.completeness.selection_function import SelectionFunction  # noqa: E402
from lenspipe.config.releases import PIXEL_SCALE_ARCSEC  # noqa: E402
from lenspipe.config.settings import load_settings  # noqa: E402
from lenspipe.simulation.injection import inject, sky_noise  # noqa: E402
from lenspipe.statistics.metrics import wilson_interval  # noqa: E402

HOSTS, BRICKS = 600, 24
PAINTED, PLANTED = 2000, 200
#: Edges of the rings that networks look at, arcsec.
RINGS = (0.8, 1.4, 2.0, 2.6, 3.2, 4.0, 5.0)


def make_pool(number, settings):
    """Return the lenses of the pool with what networks see: signal to noise in each ring."""
    images, hosts = make_hosts(HOSTS)
    rng = np.random.default_rng(2)
    brick = np.arange(len(hosts)) % BRICKS
    deeper = rng.uniform(1.0, 1.7, BRICKS)[brick]
    sharper = rng.uniform(0.85, 1.25, BRICKS)[brick]
    hosts["brick"] = brick.astype(str)
    for band in BANDS:
        hosts[f"psfsize_{band}"] = SEEING[band] * sharper
        width = hosts[f"psfsize_{band}"] / 2.355 / PIXEL_SCALE_ARCSEC
        hosts[f"galdepth_{band}"] = 1 / (4 * np.pi * (width * NOISE[band] * deeper) ** 2)
    tables = []
    for _ in range(-(-number // len(hosts))):
        # More noise makes a shallower brick; each lens has its own.
        more = np.array([NOISE[band] for band in BANDS])[None] * np.sqrt(deeper**2 - 1)[:, None]
        noisy = images + more[:, :, None, None] * rng.standard_normal(images.shape)
        lensed, truth = inject(noisy.astype(np.float32), hosts, rng, settings, settings.selection)
        rings = pd.DataFrame([_rings(image) for image in lensed]).add_prefix("ring_")
        tables.append(pd.concat([hosts, truth.drop(columns="id"), rings], axis=1))
    return pd.concat(tables, ignore_index=True)[:number]


def _rings(image):
    """Signal to noise of what is left of g when z's light is subtracted, in rings."""
    axis = (np.arange(SIZE) - SIZE // 2) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(axis[:, None], axis)
    core = radius < RINGS[0]
    scale = image[0][core].sum() / image[-1][core].sum()
    left = image[0] - scale * image[-1]
    sigma = sky_noise(image)
    noise = np.hypot(sigma[0], scale * sigma[-1])
    place = np.digitize(radius, RINGS)
    return [
        left[place == i].sum() / (noise * np.sqrt((place == i).sum())) for i in range(1, len(RINGS))
    ]


def search(pool, seed):
    """Return painted and planted lenses of a search with a network of its own."""
    rng = np.random.default_rng([3, seed])
    rings = pool.filter(like="ring_").to_numpy()
    weights = rng.dirichlet(np.full(rings.shape[1], 3.0))
    signal = np.log1p((rings @ weights).clip(0)) - 0.15 * (19 - pool["mag_z"]).clip(0)
    score = signal + 0.3 * rng.standard_normal(len(pool))
    found = score > np.quantile(score, rng.uniform(0.55, 0.8))
    table = pool.assign(found=found)
    hosts = rng.permutation(pool["id"].unique())
    ours = pool["id"].isin(hosts[: len(hosts) // 2]).to_numpy()
    painted = rng.permutation(np.flatnonzero(ours))[:PAINTED]
    # As published: most of 1 to 3 arcsec, arcs that can be seen.
    like = np.exp(-0.5 * ((pool["theta_e_arcsec"] - 1.8) / 0.7) ** 2)
    like *= np.exp(-0.5 * ((np.log10(1 + pool["arc_snr"]) - 1.5) / 0.35) ** 2)
    chance = np.where(ours, 0, like)
    planted = rng.choice(len(pool), PLANTED, replace=False, p=chance / chance.sum())
    return table.iloc[painted], table.iloc[planted]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=50)
    parser.add_argument("--pool", type=int, default=6000, help="lenses painted in all")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    config = {"run": "benchmark", "footprint": {"bricks": ["1501p320"]}, "simulation": {}}
    settings = load_settings(config | {"selection": {"source_mag_range": [22.0, 26.5]}})
    begin = time.perf_counter()
    pool = make_pool(options.pool, settings)
    painting = time.perf_counter() - begin
    quantities = quantities_of(BANDS)
    totals, bins, bare, expected, found = 0, 0, 0, [], []
    begin = time.perf_counter()
    for seed in range(options.searches):
        painted, planted = search(pool, seed)
        function = SelectionFunction.fit(painted, quantities)
        result = compare_planted(function, planted)
        totals += result["inside"]
        bins += result["n_bins_inside"]
        p = function.completeness(planted)["completeness"]
        bare += abs(result["found"] - p.sum()) <= 1.96 * np.sqrt((p * (1 - p)).sum())
        expected.append(result["expected"])
        found.append(result["found"])
    fitting = time.perf_counter() - begin
    n_bins = 6 * options.searches
    off = np.array(found) - expected
    flat = {
        "searches": options.searches,
        "totals_inside": totals,
        "totals_part": totals / options.searches,
        "bins": n_bins,
        "bins_inside": bins,
        "bins_part": bins / n_bins,
        "totals_inside_scatter_alone": int(bare),
        "found_mean": np.mean(found),
        "expected_mean": np.mean(expected),
        "error_mean": off.mean(),
        "error_rms": np.sqrt((off**2).mean()),
        "painting_s": painting,
        "s_per_search": fitting / options.searches,
    }
    flat = {key: float(f"{value:.4g}") for key, value in flat.items()}
    if options.json:
        return print(json.dumps(flat))
    print(f"{len(pool)} lenses painted in {painting:.0f} s; {flat['s_per_search']:.2f} s a search")
    print(f"of {PLANTED} planted: {np.mean(found):.1f} found, {np.mean(expected):.1f} expected")
    for what, k, n in (("searches", totals, options.searches), ("bins", bins, n_bins)):
        low, high = wilson_interval(k, n)
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        least = int(binom.ppf(0.025, n, 0.95))
        print(
            f"{what}: {k} of {n} inside, {100 * k / n:.1f} % ({interval}); "
            f"of 95 % one would expect {least} or more"
        )
    print(f"searches, by the scatter of who is found alone: {bare} of {options.searches}")
    return None


if __name__ == "__main__":
    main()
