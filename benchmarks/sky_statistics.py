"""Compare the simulated sky with the real one: magnitudes, colours, sizes, types and counts.

Draws the sources of some bricks without rendering them (about 10 s for 40), prints tables, and
writes them and a figure to docs/simulated-sky.md:

    python benchmarks/sky_statistics.py [--bricks 40] [--seed 1] [--json] [--dry]
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lenspipe.config.data import Simulation
from lenspipe.simulation.conditions import BANDS
from lenspipe.simulation.population import CONFUSING, draw_population
from lenspipe.simulation.survey import ZERO_POINT_MAG
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.files import atomic

DOCS = Path(__file__).resolve().parent.parent / "docs"

#: Faintest r of the real sky's bright-galaxy class.
BRIGHT_R = 20.175

QUARTILES, SIGMAS = (25, 50, 75), (16, 50, 84)

#: Group, quantity, percentiles and their values on one sky.
Row = tuple[str, str, tuple[int, ...], tuple[float, ...]]

#: The real sky: published lenses, the false positives of a published network, lenses of grades A
#: and B (colours), and DR9 galaxies by target class and type.
REAL: list[Row] = [
    ("lenses", "g", QUARTILES, (20.27, 21.10, 21.78)),
    ("lenses", "r", QUARTILES, (18.62, 19.62, 20.34)),
    ("lenses", "z", QUARTILES, (17.58, 18.41, 19.05)),
    ("lenses", "g-r", QUARTILES, (1.50, 1.70, 1.86)),
    ("lenses", "r-z", QUARTILES, (0.97, 1.27, 1.56)),
    ("lenses", "redshift", QUARTILES, (0.39, 0.55, 0.68)),
    ("confusing", "g", QUARTILES, (19.97, 20.78, 21.64)),
    ("confusing", "r", QUARTILES, (18.62, 19.34, 20.11)),
    ("confusing", "z", QUARTILES, (17.67, 18.32, 18.93)),
    ("confusing", "redshift", QUARTILES, (0.27, 0.38, 0.59)),
    ("luminous red SER", "z", SIGMAS, (17.96, 18.58, 19.26)),
    ("luminous red SER", "g-r", SIGMAS, (1.38, 1.68, 1.86)),
    ("luminous red SER", "r-z", SIGMAS, (0.87, 1.02, 1.27)),
    ("luminous red SER", "log r_half", SIGMAS, (0.02, 0.23, 0.43)),
    ("luminous red DEV", "z", SIGMAS, (18.82, 19.57, 20.31)),
    ("luminous red DEV", "g-r", SIGMAS, (1.48, 1.80, 2.09)),
    ("luminous red DEV", "r-z", SIGMAS, (1.13, 1.50, 1.87)),
    ("luminous red DEV", "log r_half", SIGMAS, (-0.19, 0.03, 0.26)),
    ("bright SER", "r", SIGMAS, (18.10, 18.97, 19.74)),
    ("bright SER", "g-r", SIGMAS, (0.66, 1.06, 1.45)),
    ("bright SER", "r-z", SIGMAS, (0.44, 0.66, 0.85)),
    ("bright SER", "log r_half", SIGMAS, (-0.05, 0.17, 0.41)),
    ("bright DEV", "r", SIGMAS, (18.72, 19.36, 19.88)),
    ("bright DEV", "g-r", SIGMAS, (1.09, 1.39, 1.67)),
    ("bright DEV", "r-z", SIGMAS, (0.65, 0.79, 0.93)),
    ("bright DEV", "log r_half", SIGMAS, (-0.22, 0.01, 0.25)),
    ("bright EXP", "r", SIGMAS, (19.07, 19.60, 20.04)),
    ("bright EXP", "g-r", SIGMAS, (0.54, 0.84, 1.15)),
    ("bright EXP", "r-z", SIGMAS, (0.35, 0.55, 0.77)),
    ("bright EXP", "log r_half", SIGMAS, (-0.04, 0.13, 0.31)),
    ("galaxies", "|e1|", SIGMAS, (0.05, 0.14, 0.34)),
    ("galaxies", "|e2|", SIGMAS, (0.05, 0.14, 0.34)),
]

#: Single numbers with their value on the real sky, if known.
REAL_NUMBERS: dict[str, float | None] = {
    "lenses SER, fraction": 0.60,
    "lenses DEV, fraction": 0.26,
    "lenses REX, fraction": 0.11,
    "lenses EXP, fraction": 0.03,
    "lenses theta_E 1-3 arcsec, fraction": None,
    "early-type galaxies z < 20, per brick": 55,
    "galaxies z < 20, per brick": 200,
    "sources, per brick": 7500,  # 5 to 10 thousand
    "AUC of colours and magnitude, lenses against all": None,
    "AUC of colours and magnitude, lenses against confusing": None,
}


def draw(bricks: int, seed: int, simulation: Simulation | None = None) -> pd.DataFrame:
    """Sources of bricks numbered from 1, all at the same place, with magnitudes and colours."""
    tables = []
    for brickid in range(1, bricks + 1):
        brick = {"brickid": brickid, "ra1": 150.0, "ra2": 150.3, "dec1": 30.0, "dec2": 30.25}
        tables.append(draw_population(seed, brick, simulation or Simulation())[0])
    table = pd.concat(tables, ignore_index=True)
    for band in BANDS:
        table[band] = to_magnitude(table[f"flux_{band}"], ZERO_POINT_MAG)
    table["g-r"], table["r-z"] = table["g"] - table["r"], table["r"] - table["z"]
    table["log r_half"] = np.log10(table["r_half"].where(table["r_half"] > 0))
    table["|e1|"], table["|e2|"] = table["e1"].abs(), table["e2"].abs()
    return table


def early_type(table: pd.DataFrame) -> pd.Series:
    """Mask of the sources that the default parent sample keeps, before exposures and masks."""
    steep = (table["type"] == "DEV") | ((table["type"] == "SER") & (table["sersic"] >= 2))
    return steep & (table["z"] < 20)


def group_rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Sources of a group of `REAL`."""
    kind = table["kind"]
    if name == "lenses":
        return table[kind == "lens"]
    galaxies = table[~kind.isin(["lens", "star", "faint", "companion"])]
    if name == "galaxies":
        return galaxies
    if name == "confusing":
        return galaxies[galaxies["kind"].isin(list(CONFUSING)) & early_type(galaxies)]
    target_class, _, tractor_type = name.rpartition(" ")
    typed = galaxies[galaxies["type"] == tractor_type]
    if target_class == "luminous red":
        return typed[typed["kind"] == "elliptical"]
    return typed[typed["r"] < BRIGHT_R]


def photometric_auc(table: pd.DataFrame) -> float:
    """How well colours and magnitude alone separate lenses from the rest of the parent sample."""
    parent = table[early_type(table) & (table["kind"] != "companion")]
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    features, label = parent[["g-r", "r-z", "z"]].to_numpy(), (parent["kind"] == "lens").to_numpy()
    score = cross_val_predict(model, features, label, cv=5, method="decision_function")
    return roc_auc_score(label, score)


def numbers(table: pd.DataFrame, bricks: int) -> dict[str, float]:
    """Simulated values of `REAL_NUMBERS`; counts leave out lenses, whose density is raised."""
    lenses = group_rows(table, "lenses")
    non_lenses = table[table["kind"] != "lens"]
    extended = non_lenses["type"] != "PSF"
    types = ("SER", "DEV", "REX", "EXP")
    values = {f"lenses {name}, fraction": (lenses["type"] == name).mean() for name in types}
    values |= {
        "lenses theta_E 1-3 arcsec, fraction": lenses["theta_e_arcsec"].between(1, 3).mean(),
        "early-type galaxies z < 20, per brick": early_type(non_lenses).sum() / bricks,
        "galaxies z < 20, per brick": (extended & (non_lenses["z"] < 20)).sum() / bricks,
        "sources, per brick": len(non_lenses) / bricks,
        "AUC of colours and magnitude, lenses against all": photometric_auc(table),
        "AUC of colours and magnitude, lenses against confusing": photometric_auc(
            table[table["kind"].isin(["lens", *CONFUSING])]
        ),
    }
    return {name: round(float(values[name]), 3) for name in REAL_NUMBERS}


def compare(table: pd.DataFrame) -> list[tuple]:
    """Rows of (group, quantity, percentiles, simulated, real)."""
    return [
        (group, name, percentiles, np.percentile(group_rows(table, group)[name], percentiles), real)
        for group, name, percentiles, real in REAL
    ]


def flat(rows: list[tuple], simulated: Mapping[str, float]) -> dict[str, float | None]:
    """All numbers in one dict."""
    result: dict[str, float | None] = {}
    for group, name, percentiles, values, real in rows:
        for p, value, real_value in zip(percentiles, values, real, strict=True):
            result[f"{group} {name} p{p}"] = round(float(value), 3)
            result[f"{group} {name} p{p} (real)"] = real_value
    for name, value in simulated.items():
        result[name] = value
        result[f"{name} (real)"] = REAL_NUMBERS[name]
    return result


def markdown(rows: list[tuple], simulated: Mapping[str, float]) -> str:
    lines = ["| group | quantity | percentiles | simulated | real |", "|---|---|---|---|---|"]
    for group, name, percentiles, values, real in rows:
        cells = [", ".join(f"{v:.2f}" for v in vector) for vector in (values, real)]
        columns = [group, name.replace("|", r"\|"), ", ".join(map(str, percentiles)), *cells]
        lines.append(f"| {' | '.join(columns)} |")
    lines += ["", "| number | simulated | real |", "|---|---|---|"]
    for name, value in simulated.items():
        real = "" if REAL_NUMBERS[name] is None else f"{REAL_NUMBERS[name]:g}"
        lines.append(f"| {name} | {value:.4g} | {real} |")
    return "\n".join(lines)


def save_tables(text: str, path: Path) -> None:
    """Replace the tables between the marks of a document."""
    begin, end = "<!-- tables: begin -->\n", "<!-- tables: end -->"
    head, rest = path.read_text().split(begin)
    tail = rest.split(end)[1]
    with atomic(path) as temporary:
        temporary.write_text(f"{head}{begin}{text}\n{end}{tail}")


def save_figure(table: pd.DataFrame, path: Path) -> None:
    """Plot histograms of the parent sample by kind, with quartiles of the real sky below."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    parent = table[early_type(table)]
    kinds = {
        "lenses": ("C3", parent["kind"] == "lens"),
        "confusing": ("C0", parent["kind"].isin(list(CONFUSING))),
        "other galaxies": ("0.5", parent["kind"].isin(["elliptical", "disk"])),
    }
    panels = {"g": (18.5, 23.5), "r": (17, 22), "z": (16, 20.2), "g-r": (0, 2.4), "r-z": (0, 2.2)}
    for axis, (name, limits) in zip(axes, panels.items(), strict=False):
        for offset, (label, (colour, mask)) in enumerate(kinds.items()):
            bins = np.linspace(*limits, 41)
            axis.hist(
                parent.loc[mask, name], bins, density=True, histtype="step", color=colour,
                label=label, lw=1.4,
            )  # fmt: skip
            for group, quantity, percentiles, real in REAL:
                if (group, quantity, percentiles) == (label, name, QUARTILES):
                    low, middle, high = real
                    y = -0.05 * (1 + offset) * axis.get_ylim()[1]
                    axis.plot([low, high], [y, y], color=colour, lw=3, solid_capstyle="butt")
                    axis.plot([middle], [y], "k|", ms=7)
        axis.set(xlabel=name, yticks=[])
    axes[3].legend(frameon=False, fontsize=8, loc="upper left")
    axes[5].hist(parent.loc[kinds["lenses"][1], "theta_e_arcsec"], 40, color="C3", histtype="step")
    axes[5].set(xlabel="Einstein radius, arcsec", yticks=[])
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bricks", type=int, default=40, help="number of bricks (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="seed (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--dry", action="store_true", help="do not change the documents")
    options = parser.parse_args()
    table = draw(options.bricks, options.seed)
    rows, simulated = compare(table), numbers(table, options.bricks)
    text = markdown(rows, simulated)
    print(json.dumps(flat(rows, simulated), indent=1) if options.json else text)
    if not options.dry:
        save_tables(text, DOCS / "simulated-sky.md")
        save_figure(table, DOCS / "figures" / "simulated-sky.png")


if __name__ == "__main__":
    main()
