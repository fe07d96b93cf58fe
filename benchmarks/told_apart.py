"""Measure how well simulated stamps are told apart from real ones, and by what.

Real stamps are the optional test data ($LENSPIPE_SHARED or ../shared) as in `real_stamps.py`, and
simulated ones the labelled sample of a run on the simulated sky, or a file (.npz) with ``images``,
float32 (N, 3, S, S) in nanomaggies, and ``kind``, such as lens or elliptical. Simulated stamps go
through the viewer's stretch of 8 bits and back, as the real ones did. For each class a logistic
regression, cross-validated, tells real from simulated stamps; its area under the ROC curve is 0.5
if it cannot. It is given

    colours      g-r and r-z of the core and around it
    magnitudes   of the core and within 4 arcsec
    profiles     light in rings over the light within 4 arcsec, in each band
    neighbours   numbers of sources bluer than the galaxy, like it and redder, bright and faint
    features     what the model's last layer reads (with --model or --run)
    noise        sigma and autocorrelation at lags of 1 to 5 pixels, away from sources: float stamps
                 of DR10 and DES against simulated lenses and red galaxies, none of them stretched

(colours, magnitudes and neighbours with their squares and products). The quantity that differs most
by itself is named beside, with its means, and last the largest difference of all. Intervals are
those of `lenspipe.statistics.two_sample.average_auc`, 95 %. --page draws 36 real lenses (left)
beside 36 simulated ones.

    python benchmarks/told_apart.py --run demo --page lenses.png
    python benchmarks/told_apart.py --stamps simulated.npz --model model.keras --json
"""

import argparse
import itertools
import json
from pathlib import Path

# It sets the number of threads first.
from real_stamps import (
    BANDS,
    CORE_ARCSEC,
    GRADES,
    PIXEL_SCALE_ARCSEC,
    RELEASE,
    WIDE_ARCSEC,
    crop_for,
    find_model,
    flux_within,
    read_model,
    read_stamps,
    shared_folder,
    through_stretch,
)

import numpy as np  # isort: skip
import pandas as pd
import yaml
from scipy import ndimage

from lenspipe.config.settings import load_settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.activations import features
from lenspipe.plotting.colour import BAND_SCALES
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.tables import read_table
from lenspipe.statistics.metrics import auc
from lenspipe.statistics.two_sample import classifier_auc
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.errors import LenspipeError

#: Class of the real stamps that simulated ones of a kind are compared with. Galaxies of a run's
#: sample of class random are as the parent sample has them: ellipticals.
CLASS_OF_KIND = {"lens": "lens", "red": "red", "elliptical": "red", "random": "red"}
CLASS_OF_KIND |= {"group": "group", "nearby": "nearby", "nearby_elliptical": "nearby"}
CLASS_OF_KIND |= dict.fromkeys(
    ("other", "disk", "spiral", "edge_on", "merger", "ring", "blue_neighbour", "star_blend"),
    "other",
)
#: Maximum number of simulated stamps of a class.
MAX_SIMULATED = 500
#: Faintest magnitude that is told from none in 8 bits.
FAINTEST_MAG = 25.0
RINGS_ARCSEC = (0, 0.5, 0.8, 1.2, 1.7, 2.4, 3.2, 4.0, 5.5, 7.0)
LAGS = (1, 2, 3, 4, 5)
#: Side of the region in which noise is measured: what is valid in the smaller real stamps.
NOISE_PIXELS = 91
#: Neighbours: range of distances, limits in r, and the difference in g-r of one like the galaxy.
NEIGHBOUR_ARCSEC, NEIGHBOUR_MAGS, NEIGHBOUR_COLOUR = (2.5, 12.0), (0, 21.5, 23.5), 0.25
N_PAGE = 36


def magnitudes(fluxes: np.ndarray) -> np.ndarray:
    """AB magnitudes, FAINTEST_MAG where a flux is below its."""
    limit = 10 ** (0.4 * (RELEASE.zero_point_mag - FAINTEST_MAG))
    return to_magnitude(np.maximum(fluxes, limit), RELEASE.zero_point_mag)


def measure_colours(images: np.ndarray) -> pd.DataFrame:
    core, wide = (flux_within(images, radius) for radius in (CORE_ARCSEC, WIDE_ARCSEC))
    columns = {}
    for place, fluxes in (("core", core), ("around", wide - core)):
        g, r, z = magnitudes(fluxes).T
        columns |= {f"g-r {place}": g - r, f"r-z {place}": r - z}
    return pd.DataFrame(columns)


def measure_magnitudes(images: np.ndarray) -> pd.DataFrame:
    columns = {}
    for place, radius in (("core", CORE_ARCSEC), ("wide", WIDE_ARCSEC)):
        mags = magnitudes(flux_within(images, radius))
        columns |= {f"{band} {place}": mag for band, mag in zip(BANDS, mags.T, strict=True)}
    return pd.DataFrame(columns)


def measure_profiles(images: np.ndarray) -> pd.DataFrame:
    within = np.stack([flux_within(images, radius) for radius in RINGS_ARCSEC])
    total = np.maximum(flux_within(images, WIDE_ARCSEC), 1e-3)
    rings = np.log10(np.maximum(np.diff(within, axis=0) / total, 1e-3))
    return pd.DataFrame({
        f'{band} {low} to {high}"': rings[ring, :, i]
        for i, band in enumerate(BANDS)
        for ring, (low, high) in enumerate(itertools.pairwise(RINGS_ARCSEC))
    })  # fmt: skip


def measure_neighbours(images: np.ndarray) -> pd.DataFrame:
    """Numbers of sources around each galaxy by colour, relative to its own, and brightness."""
    own = measure_colours(images)["g-r core"]
    scales = np.array([BAND_SCALES[band] for band in BANDS])[:, None, None]
    return pd.DataFrame([
        _count_neighbours(image, scales, colour) for image, colour in zip(images, own, strict=True)
    ])  # fmt: skip


def _count_neighbours(image: np.ndarray, scales: np.ndarray, own: float) -> dict[str, int]:
    light = (image * scales).sum(axis=0)
    sharp = ndimage.gaussian_filter(light, 1.5) - ndimage.gaussian_filter(light, 4)
    sigma = 1.4826 * np.median(np.abs(sharp - np.median(sharp)))
    peaks = (sharp == ndimage.maximum_filter(sharp, 7)) & (sharp > 5 * sigma)
    rows, columns = np.nonzero(peaks)
    axis = np.arange(image.shape[-1])
    distances = np.hypot(rows - axis.size // 2, columns - axis.size // 2) * PIXEL_SCALE_ARCSEC
    near = (distances >= NEIGHBOUR_ARCSEC[0]) & (distances < NEIGHBOUR_ARCSEC[1])
    counts = {
        f"{kind} {brightness}": 0
        for kind in ("bluer", "like it", "redder")
        for brightness in ("bright", "faint")
    }
    for row, column in zip(rows[near], columns[near], strict=True):
        radius = np.hypot(axis[:, None] - row, axis - column) * PIXEL_SCALE_ARCSEC
        inside = radius < 1.0
        sky = np.median(image[:, (radius >= 1.6) & (radius < 2.6)], axis=1)
        g, r, _ = magnitudes(image[:, inside].sum(axis=1) - sky * inside.sum())
        place = np.searchsorted(NEIGHBOUR_MAGS, r) - 1
        if place < 2:
            kind = np.searchsorted((-NEIGHBOUR_COLOUR, NEIGHBOUR_COLOUR), g - r - own)
            counts[f"{('bluer', 'like it', 'redder')[kind]} {('bright', 'faint')[place]}"] += 1
    return counts


def measure_noise(images: np.ndarray) -> pd.DataFrame:
    """Sigma (nanomaggies) and autocorrelation of pixels away from sources, in each band."""
    return pd.DataFrame([_noise_of(image) for image in images])


def _noise_of(image: np.ndarray) -> dict[str, float]:
    start = (image.shape[-1] - NOISE_PIXELS) // 2
    image = image[:, start : start + NOISE_PIXELS, start : start + NOISE_PIXELS]
    axis = (np.arange(NOISE_PIXELS) - NOISE_PIXELS // 2) * PIXEL_SCALE_ARCSEC
    sky = np.hypot(axis[:, None], axis) > 5.0
    for band in image:
        smooth = ndimage.gaussian_filter(band, 2)
        level = np.median(smooth[sky])
        sigma = 1.4826 * np.median(np.abs(smooth[sky] - level))
        sky = sky & ~ndimage.binary_dilation(smooth - level > 3 * sigma, iterations=3)
    result = {}
    for name, band in zip(BANDS, image, strict=True):
        if sky.sum() < 500 or not band[sky].std():
            return {}
        values = np.where(sky, band - np.median(band[sky]), np.nan)
        variance = np.nanvar(values)
        result[f"log sigma {name}"] = 0.5 * np.log10(variance)
        for lag in LAGS:
            pairs = (values[lag:] * values[:-lag], values[:, lag:] * values[:, :-lag])
            result[f"{name} lag {lag}"] = np.mean([np.nanmean(pair) for pair in pairs]) / variance
    return result


def read_float_stamps() -> dict[str, np.ndarray]:
    """The real stamps whose noise is whole, by survey: DR10 cutouts of lenses, and DES galaxies."""
    folder = shared_folder() / "realdata"
    cutouts = []
    for path in sorted((folder / "dr10-cutouts").glob("*.npz")):
        with np.load(path) as content:
            cutouts.append(np.moveaxis(content["cutout"], -1, 0))
    with np.load(folder / "viewer-stamps" / "des-galaxies.npz") as content:
        return {"DR10": np.array(cutouts, np.float32), "DES": content["image"]}


def read_simulated(stamps: Path | None, run: str) -> tuple[np.ndarray, np.ndarray]:
    """Simulated stamps and their classes, as many of each as are compared."""
    rng = np.random.default_rng(1)
    if stamps:
        with np.load(stamps) as content:
            kinds, images = pd.Series(content["kind"].astype(str)), content["images"]
        rows = _choose(kinds, rng)
        return _without_gaps(images[rows.index], rows.to_numpy())
    configs = sorted((Path("results") / run / "models").glob("*/config.yaml"))
    if not configs:
        raise LenspipeError(f"results/{run}/models: no config.yaml; run the search {run} first")
    settings = load_settings(yaml.safe_load(configs[0].read_text()))
    table = read_table(settings.paths.sample, "sample")
    rows = _choose(table["class"].str.removeprefix("confusing:"), rng)
    images, _ = CutoutFiles.of(settings).read(table.loc[rows.index])
    return _without_gaps(images, rows.to_numpy())


def _choose(kinds: pd.Series, rng: np.random.Generator) -> pd.Series:
    """Classes of the stamps that are compared, by the number of their rows."""
    classes = kinds.map(CLASS_OF_KIND).dropna()
    if classes.empty:
        raise LenspipeError(
            f"simulated stamps: found kinds {', '.join(sorted(kinds.unique()))}, expected some of "
            f"{', '.join(CLASS_OF_KIND)}; name them so"
        )
    shuffled = classes.sample(frac=1, random_state=rng)
    return shuffled.groupby(shuffled).head(MAX_SIMULATED).sort_index()


def _without_gaps(images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stamps with data in all bands but for a few pixels, which are set to 0."""
    good = (np.isfinite(images) & (images != 0)).mean(axis=(2, 3)).min(axis=1) > 0.98
    return np.nan_to_num(images[good].astype(np.float32)), classes[good]


def with_products(table: pd.DataFrame) -> pd.DataFrame:
    """Add the squares and products of columns, standardised: a difference in scatter counts too."""
    scaled = (table - table.mean()) / table.std().replace(0, 1)
    pairs = itertools.combinations_with_replacement(table.columns, 2)
    return pd.concat(
        [scaled, pd.DataFrame({f"{a} x {b}": scaled[a] * scaled[b] for a, b in pairs})], axis=1
    )


def compare(real: pd.DataFrame, simulated: pd.DataFrame, products: bool) -> dict:
    """AUC of a classifier with its interval, and the quantity that differs most by itself."""
    both = pd.concat([real.dropna(), simulated.dropna()], ignore_index=True)
    is_real = np.arange(len(both)) < len(real.dropna())
    values = (with_products(both) if products else both).to_numpy(np.float64)
    # Shuffled: consecutive stamps are of one class, and a fold takes every fifth.
    group = np.random.default_rng(1).permutation(len(both))
    area, low, high = classifier_auc(values, is_real, group)
    single = {name: auc(both[name][is_real], both[name][~is_real]) for name in both}
    worst = max(single, key=lambda name: abs(single[name] - 0.5))
    means = [float(both[worst][chosen].mean()) for chosen in (is_real, ~is_real)]
    return {
        **{"n_real": int(is_real.sum()), "n_simulated": int((~is_real).sum())},
        **{"auc": area, "low": low, "high": high},
        **{"worst": worst, "worst_auc": single[worst], "means": means},
    }


def draw_lenses(path: Path, real: np.ndarray, simulated: np.ndarray) -> None:
    """Draw real lenses in the left half of a page and simulated ones in the right half."""
    rng = np.random.default_rng(1)
    halves = [images[rng.permutation(len(images))[:N_PAGE]] for images in (real, simulated)]
    if min(map(len, halves)) < N_PAGE:
        raise LenspipeError(f"{path}: found fewer than {N_PAGE} simulated lenses; give more")
    side = int(np.sqrt(N_PAGE))
    rows = np.stack([half.reshape(side, side, *half.shape[1:]) for half in halves], axis=1)
    names = np.tile(np.repeat(["real", "simulated"], side), side)
    table = pd.DataFrame({"rank": np.arange(1, len(names) + 1), "name": names})
    draw_page(
        rows.reshape(-1, *rows.shape[3:]), table, path,
        bands=BANDS, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC, columns=2 * side,
        title="Real lenses (left) and simulated ones (right)",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", help="run whose sample and model are used")
    parser.add_argument("--stamps", type=Path, help="file of simulated stamps, not the run's")
    parser.add_argument("--model", help="file of the model, not the run's")
    parser.add_argument("--half", choices=("a", "b"), help="half of the stamps (default: all)")
    parser.add_argument("--page", type=Path, help="file of the page of lenses (.png)")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    if not options.run and not options.stamps:
        parser.error("give --run or --stamps")
    raw, classes = read_simulated(options.stamps, options.run)
    simulated = through_stretch(raw)
    real, table = read_stamps(options.half)
    chosen = (table["class"] != "lens") | table["grade"].isin(GRADES[""])
    real, real_classes = real[chosen], table["class"][chosen].to_numpy()
    spaces = {
        "colours": (measure_colours, True),
        "magnitudes": (measure_magnitudes, True),
        "profiles": (measure_profiles, False),
        "neighbours": (measure_neighbours, True),
    }
    if path := options.model or (options.run and find_model(options.run)):
        model = read_model(path)
        spaces["features"] = (
            lambda images: pd.DataFrame(features(model, crop_for(model, images))).add_prefix(
                "no. "
            ),
            False,
        )
    results = {}
    for name in sorted(set(classes) & set(real_classes), key="lens red group nearby other".find):
        for space, (function, products) in spaces.items():
            tables = (function(real[real_classes == name]), function(simulated[classes == name]))
            results[space, name] = compare(*tables, products)
    noise = {survey: measure_noise(images) for survey, images in read_float_stamps().items()}
    real_noise = pd.concat(noise.values())
    noise["simulated"] = measure_noise(raw[np.isin(classes, ("lens", "red"))])
    results["noise", "all"] = compare(real_noise, noise["simulated"], products=False)
    medians = pd.DataFrame({survey: table.median() for survey, table in noise.items()})
    if options.page:
        draw_lenses(options.page, real[real_classes == "lens"], simulated[classes == "lens"])
    largest = max(results, key=lambda key: results[key]["auc"])
    if options.json:
        flat = {"largest": "_".join(largest)}
        for (space, name), result in results.items():
            key = f"auc_{space}" if space == "noise" else f"auc_{space}_{name}"
            values = zip(("", "_low", "_high"), ("auc", "low", "high"), strict=True)
            flat |= {key + end: round(result[value], 4) for end, value in values}
        for survey, values in medians.items():
            flat |= {f"{survey} {key}".replace(" ", "_"): round(x, 4) for key, x in values.items()}
        print(json.dumps(flat))
        return
    rows = [
        {
            "class": name,
            "by": space,
            "real": result["n_real"],
            "simulated": result["n_simulated"],
            "AUC": f"{result['auc']:.3f} ({result['low']:.3f} to {result['high']:.3f})",
            "most different": result["worst"],
            "AUC of it": f"{result['worst_auc']:.3f}",
            "real, simulated": "{:.3g}, {:.3g}".format(*result["means"]),
        }
        for (space, name), result in results.items()
    ]
    print(pd.DataFrame(rows).to_string(index=False), end="\n\n")
    print("noise, medians (logarithm of nanomaggies; correlation)")
    print(medians.round(3).to_string(), end="\n\n")
    print(f"largest: {largest[1]} by {largest[0]}, AUC {results[largest]['auc']:.3f}")


if __name__ == "__main__":
    main()
