"""Set the model of lenses beside published forecasts, and its two estimates of arcs' brightness.

Lenses that Collett (2015, ApJ 811, 20, sect. 3) counts as detectable, per square degree, in images
like those of DES, of the CFHTLS and of this survey; with what they would be if a choice of the
model was another; and how signal to noise estimated from two round spots compares with that of
traced arcs. Takes two minutes.
"""

import argparse
import json
import time

import numpy as np
import pandas as pd

from lenspipe.completeness.expected.brightness import can_be_seen, estimate_snr, noise_of_depth
from lenspipe.completeness.expected.population import alternatives, draw_lenses

#: Bands, noise per pixel of 0.262 arcsec (nanomaggies), seeing (arcsec), and what was published per
#: square degree: of DES 2400 in 5000, of the CFHTLS 250 in 150. Noise is that of the sky, exposure
#: times and zero points of LensPop, the code that was published with them.
SURVEYS = {
    "des": ("gri", (0.0019, 0.0029, 0.0038), (1.2, 0.95, 0.95), 0.48),
    "cfhtls": ("gri", (0.0011, 0.0016, 0.0025), (0.8, 0.8, 0.8), 1.67),
    "this": ("grz", (0.0030, 0.0055, 0.0140), (1.3, 1.2, 1.1), None),
}
#: Colours of old galaxies against the last band.
RED = {"g": 3.0, "r": 1.2, "i": 0.45, "z": 0.0}


def conditions(bands, noise, fwhm):
    """Return galaxies of all magnitudes under one condition."""
    table = pd.DataFrame({f"mag_{bands[-1]}": np.linspace(15.5, 23, 2000)})
    mags = table[f"mag_{bands[-1]}"]
    for band, sigma, seeing in zip(bands, noise, fwhm, strict=True):
        table[f"mag_{band}"] = mags + RED[band] - RED[bands[-1]]
        table[f"psfsize_{band}"] = seeing
        table[f"galdepth_{band}"] = (noise_of_depth(1.0, seeing) / sigma) ** 2
    return table.assign(shape_r=10 ** (0.24 - 0.06 * (mags - 18.6)), shape_e1=0.05, shape_e2=0.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=6000, help="Lenses traced for each survey.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    result = {}
    for name, (bands, noise, fwhm, published) in SURVEYS.items():
        begin = time.perf_counter()
        rng = np.random.default_rng(1)
        lenses, on_sky = draw_lenses(rng, bands, conditions(bands, noise, fwhm), options.draws)
        snr = lenses[[f"snr_{band}" for band in bands]].to_numpy()
        weight = lenses["weight"].to_numpy()
        seen = weight * can_be_seen(lenses, snr, bands)
        estimate, magnification = estimate_snr(lenses, bands)
        spots = can_be_seen(lenses.assign(magnification=magnification), estimate, bands)
        ratio = (estimate.max(axis=1) / lenses["arc_snr"].clip(1e-9))[lenses["arc_snr"] > 10]
        result |= {
            f"{name}_on_sky": on_sky,
            f"{name}_detectable": seen.sum(),
            f"{name}_error": np.sqrt((seen**2).sum()),
            f"{name}_published": published,
            f"{name}_brighter_than_20": seen[(lenses[f"mag_{bands[-1]}"] < 20)].sum(),
            f"{name}_snr_40": (weight * can_be_seen(lenses, snr, bands, 40)).sum(),
            f"{name}_by_spots": (weight * spots).sum(),
            f"{name}_spots_over_traced": ratio.median(),
            f"{name}_spots_low": ratio.quantile(0.16),
            f"{name}_spots_high": ratio.quantile(0.84),
            f"{name}_draws_per_s": options.draws / (time.perf_counter() - begin),
        }
        for choice, factors in alternatives(lenses).items():
            result[f"{name}: {choice}"] = seen @ factors / seen.sum()
    if options.json:
        print(json.dumps({k: None if v is None else round(float(v), 4) for k, v in result.items()}))
        return
    for key, value in result.items():
        print(f"{key:<60} {'-' if value is None else format(value, '.3g')}")


if __name__ == "__main__":
    main()
