"""Detectable lenses of the model under its assumptions, and its two estimates of signal to noise.

Number of lenses per square degree that are detectable by Collett (2015, ApJ 811, 20) in images like
those of DES and of this survey; the same under other assumptions of the model; and signal to noise
estimated from two round spots, compared with that of traced arcs. Takes a minute. What sets the
model apart from the published one: `benchmarks/forecast.py`.
"""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lenspipe.completeness.expected.brightness import estimate_snr
from lenspipe.completeness.expected.population import alternative_weights, draw_lenses
from lenspipe.simulation.injection import noise_from_depth
from lenspipe.simulation.survey import RELEASE

#: Bands, noise per pixel of 0.262 arcsec (nanomaggies), seeing (arcsec), and the published number
#: per square degree: DES 2400 in 5000. The noise follows from sky brightness, exposure times and
#: zero points in LensPop, the code that was published with it.
SURVEYS = {
    "des": ("gri", (0.0019, 0.0029, 0.0038), (1.2, 0.95, 0.95), 0.48),
    "this": ("grz", (0.0030, 0.0055, 0.0140), (1.3, 1.2, 1.1), None),
}
#: Colours of old galaxies relative to z.
OLD_GALAXY_COLOURS = {"g": 3.0, "r": 1.2, "i": 0.45, "z": 0.0}


def galaxies_under(
    bands: Sequence[str], noise: Sequence[float], fwhm: Sequence[float]
) -> pd.DataFrame:
    """Return galaxies of all magnitudes observed under the same conditions."""
    table = pd.DataFrame({f"mag_{bands[-1]}": np.linspace(15.5, 23, 2000)})
    mags = table[f"mag_{bands[-1]}"]
    for band, sigma, seeing in zip(bands, noise, fwhm, strict=True):
        table[f"mag_{band}"] = mags + OLD_GALAXY_COLOURS[band] - OLD_GALAXY_COLOURS[bands[-1]]
        table[f"psfsize_{band}"] = seeing
        table[f"galdepth_{band}"] = (
            noise_from_depth(1.0, seeing, RELEASE.pixel_scale_arcsec) / sigma
        ) ** 2
    return table.assign(shape_r=10 ** (0.24 - 0.06 * (mags - 18.6)), shape_e1=0.05, shape_e2=0.0)


def is_detectable(
    table: pd.DataFrame, snr: np.ndarray, bands: Sequence[str], min_snr: float = 20.0
) -> np.ndarray:
    """Which lenses are detectable by Collett (2015, ApJ 811, 20), as the published code has it.

    In the band of the greatest signal to noise that is above 20, and 2 theta_E^2 > 4 r_half^2 +
    seeing^2; the magnification is above 3, and times the half-light radius above the seeing. (The
    paper's text has theta_E^2 > r_half^2 + (seeing / 2)^2.) Lenses are those of
    `lenspipe.completeness.expected.population.draw_lenses`, N rows; `snr` has shape (N, B).
    """
    fwhm = table[[f"psfsize_{band}" for band in bands]].to_numpy(np.float64)
    r_half, theta_e, magnification = (
        table[[name]].to_numpy() for name in ("source_r_half", "theta_e_arcsec", "magnification")
    )
    resolved = 2 * theta_e**2 > 4 * r_half**2 + fwhm**2
    sheared = (magnification > 3) & (magnification * r_half > fwhm)
    best = snr == snr.max(axis=1, keepdims=True)
    return (best & (snr > min_snr) & resolved & sheared).any(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=6000, help="Lenses traced for each survey.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    result: dict[str, float | None] = {}
    for name, (bands, noise, fwhm, published) in SURVEYS.items():
        begin = time.perf_counter()
        rng = np.random.default_rng(1)
        galaxies = galaxies_under(bands, noise, fwhm)
        lenses, on_sky = draw_lenses(rng, bands, galaxies, options.draws, RELEASE)
        snr = lenses[[f"snr_{band}" for band in bands]].to_numpy()
        weight = lenses["weight"].to_numpy()
        detectable = weight * is_detectable(lenses, snr, bands)
        estimate, magnification = estimate_snr(lenses, bands, RELEASE)
        by_spots = is_detectable(lenses.assign(magnification=magnification), estimate, bands)
        ratio = (estimate.max(axis=1) / lenses["arc_snr"].clip(1e-9))[lenses["arc_snr"] > 10]
        result |= {
            f"{name}_on_sky": on_sky,
            f"{name}_detectable": detectable.sum(),
            f"{name}_error": np.sqrt((detectable**2).sum()),
            f"{name}_published": published,
            f"{name}_brighter_than_20": detectable[(lenses[f"mag_{bands[-1]}"] < 20)].sum(),
            f"{name}_snr_40": (weight * is_detectable(lenses, snr, bands, 40)).sum(),
            f"{name}_by_spots": (weight * by_spots).sum(),
            f"{name}_spots_over_traced": ratio.median(),
            f"{name}_spots_low": ratio.quantile(0.16),
            f"{name}_spots_high": ratio.quantile(0.84),
            f"{name}_draws_per_s": options.draws / (time.perf_counter() - begin),
        }
        for assumption, factors in alternative_weights(lenses).items():
            result[f"{name}: {assumption}"] = detectable @ factors / detectable.sum()
    if options.json:
        print(json.dumps({k: None if v is None else round(float(v), 4) for k, v in result.items()}))
        return
    for key, value in result.items():
        print(f"{key:<60} {'-' if value is None else format(value, '.3g')}")


if __name__ == "__main__":
    main()
