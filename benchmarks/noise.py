"""Compare the correlation of the simulated noise between pixels with that of real images.

Measures the sky of real stamps and coadds (optional test data: $LENSPIPE_SHARED or ../shared) and
simulated noise in the same way, outside sources, which are masked in the sum of all bands; what is
correlated between bands, too, is light of sources too faint to be masked. Prints a table, with
--json one flat object:

    python benchmarks/noise.py [--stamps 400] [--json]

Sets: `coadds`, 23 stamps of coadds of the Dark Energy Survey; `dr9`, a coadd of DR9, 256 pixels
wide; `service`, 5 stamps of DR10 from the cutout service, which resamples coadds once more; `bass`,
a coadd of one exposure of DR6 in g. Uncertainties are those of the mean of stamps, of pieces of 200
pixels in `bass`, and of the noise of the measurement in `dr9`.
"""

import argparse
import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
from scipy import ndimage

from lenspipe.simulation.exposures import BANDS, StampConditions, draw_stamp_conditions
from lenspipe.simulation.noise import stamp_noise

LAGS = range(1, 6)

#: Lags at which noise has no correlation left: what is measured there is an uneven background, and
#: is subtracted at all lags.
FAR_LAGS = range(12, 17)

#: Offsets whose correlations are measured: along the axes, and along both diagonals.
OFFSETS = {
    "axis": [pair for lag in LAGS for pair in ((0, lag), (lag, 0))],
    "diagonal": [pair for lag in LAGS for pair in ((lag, lag), (lag, -lag))],
    "far": [pair for lag in FAR_LAGS for pair in ((0, lag), (lag, 0))],
}


def sky_mask(images: np.ndarray, threshold: float = 3.0, grow: int = 4) -> np.ndarray:
    """Pixels (H, W) far from sources, sought in the smoothed sum of all bands (B, H, W)."""
    total = np.zeros(images.shape[1:])
    for image in images:
        valid = np.isfinite(image)
        weight = ndimage.gaussian_filter(valid.astype(float), 1.5).clip(0.3)
        filled = np.where(valid, image - np.nanmedian(image), 0)
        smooth = ndimage.gaussian_filter(filled, 1.5) / weight
        sky = valid
        for _ in range(8):
            centre = np.median(smooth[sky])
            sigma = 1.4826 * np.median(np.abs(smooth[sky] - centre))
            sky = valid & (np.abs(smooth - centre) < 3 * sigma)
        total += (smooth - centre) / sigma
    sources = ndimage.binary_dilation(total / np.sqrt(len(images)) > threshold, iterations=grow)
    return ~sources & np.isfinite(images).all(axis=0)


def correlations(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Correlation of the pixels of a mask in two images at every lag, by direction."""
    height, width = mask.shape
    one, other = (np.where(mask, image - image[mask].mean(), 0) for image in (one, other))
    variance = np.sqrt((one**2).sum() * (other**2).sum()) / mask.sum()
    result = {}
    for name, offsets in OFFSETS.items():
        each = []
        for dy, dx in offsets:
            first = slice(0, height - dy), slice(max(-dx, 0), width - max(dx, 0))
            second = slice(dy, height), slice(max(dx, 0), width - max(-dx, 0))
            pairs = (mask[first] & mask[second]).sum()
            each.append((one[first] * other[second]).sum() / pairs / variance)
        result[name] = np.array(each).reshape(-1, 2).mean(axis=1)
    far = result.pop("far").mean()
    return {name: (values - far) / (1 - far) for name, values in result.items()}


def noise_correlations(images: np.ndarray, mask: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Correlation in each band, less the mean one between bands: light of faint sources."""
    pairs = [correlations(one, other, mask) for one, other in itertools.combinations(images, 2)]
    light = {
        name: np.mean([pair[name] for pair in pairs], axis=0) if pairs else 0
        for name in ("axis", "diagonal")
    }
    return [
        {name: values - light[name] for name, values in correlations(image, image, mask).items()}
        for image in images
    ]


def read_coadds(folder: Path) -> list[np.ndarray]:
    """Stamps (3, S, S) of the Dark Energy Survey, without their padding."""
    with np.load(folder / "viewer-stamps" / "des-galaxies.npz") as content:
        pairs = zip(content["image"], content["valid"], strict=True)
        return [image[:, low:high, low:high].astype(float) for image, (low, high) in pairs]


def read_dr9(folder: Path) -> list[np.ndarray]:
    """A cutout of a DR9 coadd; images and inverse variances alternate."""
    (path,) = (folder / "dr9-cutout").glob("cutout_*.fits")
    with fitsio.FITS(path) as hdus:
        return [np.array([hdus[i].read() for i in (1, 3, 5)], float)]


def read_service(folder: Path) -> list[np.ndarray]:
    """Stamps of DR10 as the cutout service sends them."""
    stamps = []
    for path in sorted((folder / "dr10-cutouts").glob("*.npz")):
        with np.load(path) as content:
            stamps.append(np.moveaxis(content["cutout"], -1, 0).astype(float))
    return stamps


def read_bass(folder: Path) -> list[np.ndarray]:
    """Pieces of a BASS coadd in g, NaN where there are no data."""
    (path,) = (folder / "dr6-coadd-0959p805").glob("*-image-g.fits.fz")
    image = fitsio.read(path).astype(float)
    image[fitsio.read(str(path).replace("image", "invvar")) <= 0] = np.nan
    side = 200
    pieces = image.reshape(3600 // side, side, 3600 // side, side).swapaxes(1, 2)
    pieces = pieces.reshape(-1, 1, side, side)
    return [piece for piece in pieces if np.isfinite(piece).mean() > 0.6]


#: Set: its reader, bands, and which simulated stamps correspond to it.
SETS: dict[str, tuple[Callable[[Path], list[np.ndarray]], Sequence[str], str, bool]] = {
    "coadds": (read_coadds, BANDS, "south", False),
    "dr9": (read_dr9, BANDS, "south", False),
    "service": (read_service, BANDS, "south", True),
    "bass": (read_bass, ("g",), "north", False),
}


def measure(stamps: Sequence[np.ndarray], bands: Sequence[str]) -> pd.DataFrame:
    """Mean correlation, its uncertainty and scatter from stamp to stamp."""
    masks = [sky_mask(images) for images in stamps]
    used = [(images, mask) for images, mask in zip(stamps, masks, strict=True) if mask.sum() > 800]
    pixels = np.mean([mask.sum() for _, mask in used])
    measured = [noise_correlations(images, mask) for images, mask in used]
    rows = []
    for i, band in enumerate(bands):
        each = [of_bands[i] for of_bands in measured]
        for direction in ("axis", "diagonal"):
            values = np.array([one[direction] for one in each])
            scatter = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(len(LAGS), np.nan)
            error = scatter / np.sqrt(len(values)) if len(values) > 1 else (2 * pixels) ** -0.5
            rows.append(
                pd.DataFrame(
                    {
                        "band": band,
                        "direction": direction,
                        "lag": list(LAGS),
                        "correlation": values.mean(axis=0),
                        "error": error,
                        "scatter": scatter,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def simulate(number: int, region: str, service: bool, seed: int) -> list[np.ndarray]:
    """Draw stamps of noise without sources."""
    rng, stamps = np.random.default_rng(seed), []
    while len(stamps) < number:
        conditions: StampConditions = draw_stamp_conditions(rng, region)
        if (conditions.service_phase is not None) == service:
            empty = np.zeros((len(BANDS), 101, 101), np.float32)
            stamps.append(stamp_noise(rng, conditions, empty).astype(float))
    return stamps


def compare(folder: Path, number: int, seed: int) -> pd.DataFrame:
    """Table of real and simulated correlations."""
    tables = []
    for name, (read, bands, region, service) in SETS.items():
        simulated = measure(simulate(number, region, service, seed), BANDS)
        simulated = simulated.rename(
            columns={"correlation": "simulated", "scatter": "simulated_scatter"}
        ).drop(columns="error")
        real = measure(read(folder), bands) if folder.is_dir() else None
        if real is None:
            table = simulated
        else:
            table = real.merge(simulated, on=["band", "direction", "lag"])
            table["ratio"] = table["simulated"] / table["correlation"]
            table["sigmas"] = (table["simulated"] - table["correlation"]) / table["error"]
        tables.append(table.assign(set=name))
    result = pd.concat(tables, ignore_index=True)
    return result[["set", *(column for column in result if column != "set")]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamps", type=int, default=400, help="simulated stamps of each set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    folder = Path(os.environ.get("LENSPIPE_SHARED", "../shared")) / "realdata"
    table = compare(folder, options.stamps, options.seed)
    if options.json:
        flat = {}
        for row in table.to_dict("records"):
            name = f"{row['set']}_{row['band']}_{row['direction']}_{row['lag']}"
            flat |= {
                f"{column}_{name}": round(float(row[column]), 4)
                for column in ("correlation", "error", "simulated")
                if column in row
            }
        print(json.dumps(flat))
    else:
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
