"""Score real stamps of the survey with a model that has never been trained on them.

Reads the optional test data ($LENSPIPE_SHARED or ../shared): stamps of graded lenses, red galaxies,
groups, nearby galaxies, and small blue or disc galaxies as the sky viewer draws them, whose stretch
is inverted. For each class of non-lenses it prints the area under the ROC curve of the lenses with
grades A to C (and of those with A and B), and the fraction of these lenses found at 10 % false
positives, with 95 % intervals from bootstrap. Beside them is a discriminator without any network,
the flux in g within 4 arcsec over that within 1.57 arcsec: that fraction of the test is easy.

Never train on these stamps. Draw conclusions on one half (--half a) and confirm them on the other.

Lenses of the same population as on the simulated sky, but with Einstein radii and magnitudes of the
arcs uniform, are also injected into real luminous galaxies, and the fraction of these found at the
cut of 10 % false positives of all non-lenses is printed by Einstein radius and signal to noise.

    python benchmarks/real_stamps.py --run demo
    python benchmarks/real_stamps.py --model model.keras --json
    python benchmarks/real_stamps.py --model model.keras --pages pages
"""

import argparse
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_name, "1")

import galsim  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from lenspipe.config.learning import Injection  # noqa: E402
from lenspipe.config.quality import Selection  # noqa: E402
from lenspipe.config.surveys.legacy import RELEASES  # noqa: E402
from lenspipe.models.contents import normalisation  # noqa: E402
from lenspipe.plotting.colour import viewer_fluxes, viewer_rgb  # noqa: E402
from lenspipe.plotting.galaxy_pages import draw_page  # noqa: E402
from lenspipe.scoring.score import load_model, score_images  # noqa: E402
from lenspipe.simulation.injection import inject  # noqa: E402
from lenspipe.statistics.intervals import fraction_interval  # noqa: E402
from lenspipe.statistics.metrics import auc, completeness_at_fpr  # noqa: E402
from lenspipe.survey.photometry import to_magnitude  # noqa: E402
from lenspipe.utils.errors import LenspipeError  # noqa: E402
from lenspipe.utils.tensorflow import keras  # noqa: E402

BANDS = ("g", "r", "z")
RELEASE = RELEASES["dr9"]
PIXEL_SCALE_ARCSEC = RELEASE.pixel_scale_arcsec
#: Label in the file of stamps of each class of non-lenses.
CLASSES = {
    "red": "nonlens-red",
    "group": "group",
    "nearby": "nonlens-nearby",
    "other": "nonlens-other",
}
TITLES = {
    "red": "red galaxies",
    "group": "groups",
    "nearby": "nearby galaxies",
    "other": "small blue or disc galaxies",
    "all": "all",
}
#: Selections of lenses by grade: suffix of the keys, and the grades.
GRADES = {"": ("A", "B", "C"), "_ab": ("A", "B")}
FPR = 0.1
#: Radii of the discriminator without a network, arcsec.
CORE_ARCSEC, WIDE_ARCSEC = 1.57, 4.0
N_BOOTSTRAP = 1000
#: Injected arcs: how they are drawn, the number for each galaxy, and the bins in which they count.
SELECTION = Selection(theta_e_range=(0.8, 6.0), arc_mag_range=(19.5, 24.0))
N_INJECTED = 13
BINS = {"theta_e_arcsec": (0.8, 1.5, 2.0, 3.0, 4.0, 6.0), "arc_snr": (0, 10, 20, 40, 80, np.inf)}
#: Median seeing of DES (Abbott et al. 2021, ApJS 255, 20), arcsec.
SEEING_ARCSEC = {"g": 1.11, "r": 0.95, "z": 0.83}
#: Stamps on a page of the worst ones.
N_WORST = 30

#: A value and the ends of its interval.
Estimate = tuple[float | None, float | None, float | None]


def shared_folder() -> Path:
    """Folder of the optional test data."""
    folder = Path(os.environ.get("LENSPIPE_SHARED", "../shared"))
    if not (folder / "realdata").is_dir():
        raise LenspipeError(
            f"{folder}: no folder realdata with real stamps; set LENSPIPE_SHARED to the test data"
        )
    return folder


def read_stamps(half: str | None = None) -> tuple[np.ndarray, pd.DataFrame]:
    """Read the real stamps: nanomaggies, (N, 3, S, S), row 0 in the south, and their table.

    The table has ``class`` (lens, red, group, nearby or other), ``grade`` and ``name``. A half, a
    or b, is random and has half of each class and grade.
    """
    path = shared_folder() / "realdata" / "viewer-stamps" / "stamps.npz"
    with np.load(path) as content:
        rgb = content["rgb"]
        table = pd.DataFrame({key: content[key] for key in ("label", "grade", "source")})
    names = {label: name for name, label in CLASSES.items()}
    table["class"] = table["label"].replace(names)
    table["name"] = table["class"] + " " + table["grade"] + " " + table.index.astype(str)
    # The first row of an image is in the north, but one source turned its images over.
    turned = table["source"].str.contains("YOLOX-LS").to_numpy()
    rgb = np.where(turned[:, None, None, None], rgb, rgb[:, ::-1])
    if half:
        order = table.sample(frac=1, random_state=1)
        place = order.groupby(["class", "grade"]).cumcount().reindex(table.index)
        chosen = (place % 2 == "ab".index(half)).to_numpy()
        rgb, table = rgb[chosen], table[chosen].reset_index(drop=True)
    return viewer_fluxes(rgb), table


def find_model(run: str) -> Path:
    """Path of the model of a run."""
    folder = Path("results") / run / "models"
    paths = sorted(folder.glob("*/model.keras"))
    if len(paths) != 1:
        found = ", ".join(path.parent.name for path in paths) or "none"
        raise LenspipeError(f"{folder}: found models {found}, expected one; choose with --model")
    return paths[0]


def read_model(path: str | Path) -> keras.Model:
    """Load a model for stamps in g, r and z."""
    model = load_model(path)
    bands = tuple(normalisation(model)[0].bands)
    if bands != BANDS:
        raise LenspipeError(
            f"{path}: made for bands {','.join(bands)}, expected {','.join(BANDS)}, in which the "
            "real stamps are; give another model"
        )
    return model


def crop_for(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The central region of stamps that a model reads."""
    start = max(0, (images.shape[-1] - model.input_shape[-1]) // 2)
    window = slice(start, start + model.input_shape[-1])
    return np.ascontiguousarray(images[:, :, window, window])


def score(model: keras.Model, images: np.ndarray, symmetries: int) -> np.ndarray:
    """Score stamps."""
    return score_images(model, crop_for(model, images), symmetries=symmetries)


def flux_within(images: np.ndarray, radius_arcsec: float) -> np.ndarray:
    """Flux in each band, (N, 3), within a radius from the centre of stamps."""
    axis = (np.arange(images.shape[-1]) - images.shape[-1] // 2) * PIXEL_SCALE_ARCSEC
    return images[:, :, np.hypot(axis[:, None], axis) < radius_arcsec].sum(axis=-1)


def g_ratio(images: np.ndarray) -> np.ndarray:
    """The discriminator without a network: flux in g within 4 arcsec over that in the core."""
    wide, core = (flux_within(images, radius)[:, 0] for radius in (WIDE_ARCSEC, CORE_ARCSEC))
    return wide / np.maximum(core, 1e-3)


def measure(
    lenses: np.ndarray, nonlenses: np.ndarray, rng: np.random.Generator
) -> dict[str, Estimate]:
    """AUC and completeness at 10 % false positives from scores, with intervals from bootstrap."""

    def both(lens_scores: np.ndarray, other_scores: np.ndarray) -> list[float]:
        values = (
            auc(lens_scores, other_scores),
            completeness_at_fpr(lens_scores, other_scores, FPR)[0],
        )
        return [np.nan if value is None else value for value in values]

    samples = np.array([
        both(rng.choice(lenses, len(lenses)), rng.choice(nonlenses, len(nonlenses)))
        for _ in range(N_BOOTSTRAP)
    ])  # fmt: skip
    low, high = np.percentile(samples, (2.5, 97.5), axis=0)
    ends = zip(both(lenses, nonlenses), low, high, strict=True)
    found = [tuple(None if np.isnan(x) else float(x) for x in values) for values in ends]
    return dict(zip(("auc", "completeness10"), found, strict=True))


def measure_all(table: pd.DataFrame, suffix: str, grades: Sequence[str]) -> dict[str, float | None]:
    """The figures of every class for lenses of some grades, as a flat object."""
    is_lens = table["class"] == "lens"
    lenses = table[is_lens & table["grade"].isin(grades)]
    flat: dict[str, float | None] = {f"n_lens{suffix}": len(lenses)}
    for name in TITLES:
        nonlenses = table[~is_lens if name == "all" else table["class"] == name]
        flat[f"n_{name}"] = len(nonlenses)
        for column, prefix in (("p", ""), ("g_ratio", "g_ratio_")):
            scores = lenses[column].to_numpy(), nonlenses[column].to_numpy()
            for key, values in measure(*scores, np.random.default_rng(1)).items():
                for end, value in zip(("", "_low", "_high"), values, strict=True):
                    flat[f"{prefix}{key}_{name}{suffix}{end}"] = value
    return flat


def print_table(flat: Mapping[str, float | None], suffix: str, grades: Sequence[str]) -> None:
    """Print the figures of every class."""
    print(f"{flat[f'n_lens{suffix}']} lenses of grades {', '.join(grades)} against")
    rows = []
    for name, title in TITLES.items():
        cells = [title, f"{flat[f'n_{name}']}"]
        for prefix in ("", "g_ratio_"):
            area, low, high = _ends(flat, f"{prefix}auc_{name}{suffix}")
            cells.append("-" if area is None else f"{area:.3f} ({low:.3f} to {high:.3f})")
            found, low, high = _ends(flat, f"{prefix}completeness10_{name}{suffix}")
            cells.append(
                "-" if found is None else f"{found:.0%} ({100 * low:.0f} to {100 * high:.0f})"
            )
        rows.append(cells)
    columns = ["non-lenses", "number", "AUC", "found at 10 %", "AUC of g ratio", "found by g ratio"]
    print(pd.DataFrame(rows, columns=columns).to_string(index=False), end="\n\n")


def _ends(flat: Mapping[str, float | None], key: str) -> Estimate:
    return flat[key], flat[f"{key}_low"], flat[f"{key}_high"]


def through_stretch(images: np.ndarray) -> np.ndarray:
    """Stamps as they come out of the viewer's stretch of 8 bits and its inverse."""
    return viewer_fluxes(viewer_rgb(images))


def read_des_galaxies() -> tuple[np.ndarray, pd.DataFrame]:
    """Read stamps of real luminous galaxies, and their table as `inject` takes it."""
    with np.load(shared_folder() / "realdata" / "viewer-stamps" / "des-galaxies.npz") as content:
        images, names = content["image"], content["id"]
    mags = to_magnitude(flux_within(images, WIDE_ARCSEC), RELEASE.zero_point_mag)
    table = pd.DataFrame(mags, columns=[f"mag_{band}" for band in BANDS]).assign(id=names)
    for row, image in enumerate(images):
        shape = galsim.hsm.FindAdaptiveMom(galsim.Image(image[1].astype(float))).observed_shape
        # GalSim's axes are the image's; Tractor counts from the North towards the East.
        table.loc[row, ["shape_e1", "shape_e2"]] = -shape.g1, -shape.g2
    return images, table.assign(**{f"psfsize_{band}": SEEING_ARCSEC[band] for band in BANDS})


def inject_arcs(number: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Add arcs to each of the galaxies, a number of times; stamps and truth."""
    images, table = read_des_galaxies()
    places = np.tile(np.arange(len(images)), number)
    rng = np.random.default_rng(1)
    sample = images[places], table.iloc[places]
    lensed, truth = inject(*sample, rng, BANDS, RELEASE, Injection(), SELECTION)
    return through_stretch(lensed), truth


def injected_fractions(truth: pd.DataFrame, cut: float) -> pd.DataFrame:
    """The fraction of injected lenses found at a cut: all, and in bins."""
    rows = [("all", 0.0, np.inf, np.ones(len(truth), bool))]
    for name, edges in BINS.items():
        for low, high in itertools.pairwise(edges):
            rows.append((name, low, high, ((truth[name] >= low) & (truth[name] < high)).to_numpy()))
    found = (truth["p"] > cut).to_numpy()
    return pd.DataFrame([
        dict(zip(
            ("by", "from", "to", "number", "found", "low", "high"),
            (name, low, high, inside.sum(), *fraction_interval(found[inside])),
            strict=True,
        ))
        for name, low, high, inside in rows
    ])  # fmt: skip


def print_injected(fractions: pd.DataFrame) -> None:
    """Print the fractions of injected lenses found."""
    print("arcs injected into real luminous galaxies, found at 10 % false positives of all")
    titles = {"all": "all", "theta_e_arcsec": "theta_E", "arc_snr": "S/N"}
    for by, low, high, number, found, *ends in fractions.itertuples(index=False):
        span = "" if by == "all" else f" {low:g} to {high:g}"
        interval = (
            "-" if not number else f"{found:.0%} ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})"
        )
        print(f"{titles[by] + span:>20} {number:>5}  {interval}")


def draw_worst(folder: Path, images: np.ndarray, table: pd.DataFrame) -> None:
    """Draw the lenses with the lowest scores and, of each class, the non-lenses with the highest.

    The table has columns class, name and p.
    """
    titles = {**TITLES, "lens": "graded lenses", "injected": "galaxies with injected arcs"}
    for name, group in table.groupby("class"):
        missed = name in ("lens", "injected")
        worst = group.sort_values("p", ascending=missed).head(N_WORST)
        page = worst.assign(rank=np.arange(1, len(worst) + 1))
        what = "lowest" if missed else "highest"
        draw_page(
            images[worst.index], page, folder / f"{'missed' if missed else 'false'}-{name}.png",
            bands=BANDS, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
            title=f"{titles[name]}: the {len(worst)} {what} scores of {len(group)}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", help="file of the model (.keras)")
    which.add_argument("--run", default="demo", help="run whose model is used")
    parser.add_argument("--symmetries", type=int, choices=(1, 8), default=8)
    parser.add_argument("--half", choices=("a", "b"), help="half of the stamps (default: all)")
    parser.add_argument("--injected", type=int, default=N_INJECTED, help="lenses for each galaxy")
    parser.add_argument("--pages", type=Path, help="folder for pages of the worst of each class")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    model = read_model(options.model or find_model(options.run))
    images, table = read_stamps(options.half)
    table["p"] = score(model, images, options.symmetries)
    table["g_ratio"] = g_ratio(images)
    flat: dict[str, float | None] = {}
    for suffix, grades in GRADES.items():
        flat |= measure_all(table, suffix, grades)
    lensed, truth = inject_arcs(options.injected)
    truth["p"] = score(model, lensed, options.symmetries)
    is_lens = (table["class"] == "lens").to_numpy()
    _, cut = completeness_at_fpr(table["p"][is_lens], table["p"][~is_lens], FPR)
    fractions = injected_fractions(truth, cut)
    for by, low, _, number, *values in fractions.itertuples(index=False):
        key = "injected" if by == "all" else f"injected_{by}_{low:g}"
        flat |= {f"n_{key}": number}
        flat |= dict(zip((key, f"{key}_low", f"{key}_high"), values, strict=True))
    if options.pages:
        graded = table["grade"].isin(GRADES[""]).to_numpy()
        truth["name"] = (
            "theta_E " + truth["theta_e_arcsec"].round(1).astype(str)
            + "  S/N " + truth["arc_snr"].round().astype(int).astype(str)
        )  # fmt: skip
        shown = pd.concat([table[~is_lens | graded], truth.assign(**{"class": "injected"})])
        pixels = np.concatenate([images[~is_lens | graded], lensed])
        draw_worst(options.pages, pixels, shown.reset_index(drop=True))
    if options.json:
        print(json.dumps({key: value and float(f"{value:.4g}") for key, value in flat.items()}))
        return
    for suffix, grades in GRADES.items():
        print_table(flat, suffix, grades)
    print_injected(fractions)


if __name__ == "__main__":
    main()
