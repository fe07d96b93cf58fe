"""Compare a simulated sky with the real one: counts, colours, sizes, shapes, types, neighbours.

Reads the catalogues and the truth of a simulated sky, by default those of the demo, prints tables,
and writes them and a figure to docs/simulated-sky.md:

    python benchmarks/sky_statistics.py [results/demo/sky] [--json] [--dry]

Rows that are off by more than 20 % (counts, fractions, sizes, Einstein radii) or 0.1 (magnitudes,
colours, redshifts) in a median or number are marked.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import fitsio
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lenspipe.config.paths import SkyPaths
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.galaxies import mag_star
from lenspipe.simulation.kinds import CONFUSING, NON_LENSES
from lenspipe.simulation.survey import ZERO_POINT_MAG
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.files import atomic

DOCS = Path(__file__).resolve().parent.parent / "docs"

#: Faintest r of the real sky's bright-galaxy class.
BRIGHT_R = 20.175

#: The luminous red class: bluest g-r, lowest redshift, and how much fainter than a characteristic
#: old galaxy it is at most, mag.
RED_GR, RED_REDSHIFT, RED_FAINTER = 1.25, 0.3, 0.7

#: Radius and faintest r magnitude of neighbours, arcsec.
NEIGHBOUR_RADIUS, NEIGHBOUR_R = 10.0, 23.0

QUARTILES, SIGMAS, WIDE = (25, 50, 75), (16, 50, 84), (5, 25, 50, 75, 95)

#: Largest differences that are not marked: of magnitudes, colours and redshifts, and relative.
ABSOLUTE, RELATIVE = 0.1, 0.2


class Row(NamedTuple):
    """Percentiles of a quantity of a group of sources on the real sky."""

    group: str
    quantity: str
    percentiles: tuple[int, ...]
    real: tuple[float, ...]


#: The real sky: published lenses and those of grades A to C of a search of this survey, the false
#: positives of a published network, and DR9 galaxies by target class and type.
REAL = [
    Row("lenses", "g", QUARTILES, (20.27, 21.10, 21.78)),
    Row("lenses", "r", QUARTILES, (18.62, 19.62, 20.34)),
    Row("lenses", "z", QUARTILES, (17.58, 18.41, 19.05)),
    Row("lenses", "g-r", QUARTILES, (1.50, 1.70, 1.86)),
    Row("lenses", "r-z", QUARTILES, (0.97, 1.27, 1.56)),
    Row("lenses", "redshift", QUARTILES, (0.39, 0.55, 0.68)),
    Row("lenses", "deflector r", WIDE, (18.0, 19.2, 20.0, 20.8, 21.6)),
    Row("lenses", "theta_E", WIDE, (1.05, 1.5, 2.05, 3.2, 5.5)),
    Row("confusing", "g", QUARTILES, (19.97, 20.78, 21.64)),
    Row("confusing", "r", QUARTILES, (18.62, 19.34, 20.11)),
    Row("confusing", "z", QUARTILES, (17.67, 18.32, 18.93)),
    Row("confusing", "redshift", QUARTILES, (0.27, 0.38, 0.59)),
    Row("luminous red SER", "z", SIGMAS, (17.96, 18.58, 19.26)),
    Row("luminous red SER", "g-r", SIGMAS, (1.38, 1.68, 1.86)),
    Row("luminous red SER", "r-z", SIGMAS, (0.87, 1.02, 1.27)),
    Row("luminous red SER", "log size", SIGMAS, (0.02, 0.23, 0.43)),
    Row("luminous red DEV", "z", SIGMAS, (18.82, 19.57, 20.31)),
    Row("luminous red DEV", "g-r", SIGMAS, (1.48, 1.80, 2.09)),
    Row("luminous red DEV", "r-z", SIGMAS, (1.13, 1.50, 1.87)),
    Row("luminous red DEV", "log size", SIGMAS, (-0.19, 0.03, 0.26)),
    Row("bright SER", "r", SIGMAS, (18.10, 18.97, 19.74)),
    Row("bright SER", "g-r", SIGMAS, (0.66, 1.06, 1.45)),
    Row("bright SER", "r-z", SIGMAS, (0.44, 0.66, 0.85)),
    Row("bright SER", "log size", SIGMAS, (-0.05, 0.17, 0.41)),
    Row("bright DEV", "r", SIGMAS, (18.72, 19.36, 19.88)),
    Row("bright DEV", "g-r", SIGMAS, (1.09, 1.39, 1.67)),
    Row("bright DEV", "r-z", SIGMAS, (0.65, 0.79, 0.93)),
    Row("bright DEV", "log size", SIGMAS, (-0.22, 0.01, 0.25)),
    Row("bright EXP", "r", SIGMAS, (19.07, 19.60, 20.04)),
    Row("bright EXP", "g-r", SIGMAS, (0.54, 0.84, 1.15)),
    Row("bright EXP", "r-z", SIGMAS, (0.35, 0.55, 0.77)),
    Row("bright EXP", "log size", SIGMAS, (-0.04, 0.13, 0.31)),
    Row("bright", "|e1|", SIGMAS, (0.05, 0.14, 0.34)),
    Row("bright", "|e2|", SIGMAS, (0.05, 0.14, 0.34)),
]

#: Single numbers with their range on the real sky, if known.
REAL_NUMBERS: dict[str, tuple[float, float] | None] = {
    "lenses SER, fraction": (0.60, 0.60),
    "lenses DEV, fraction": (0.26, 0.26),
    "lenses REX, fraction": (0.11, 0.11),
    "lenses EXP, fraction": (0.03, 0.03),
    "early-type galaxies z < 20, per brick": (55, 55),
    "galaxies z < 20, per brick": (200, 200),
    "sources, per brick": (5000, 10_000),
    "visible lenses, fraction": None,
    "arcs as sources, per visible lens": None,
    "red neighbours of visible lenses": None,
    "other neighbours of visible lenses": None,
    "red neighbours of ellipticals": None,
    "other neighbours of ellipticals": None,
    "AUC of colours and magnitude, lenses against all": None,
    "AUC of colours and magnitude, lenses against confusing": None,
}


def read_sky(paths: SkyPaths) -> tuple[pd.DataFrame, int]:
    """Read what the catalogues list, each source once, with the truth; and the number of bricks."""
    truth = pd.read_parquet(paths.truth)
    truth = truth[truth["primary"]].rename(columns={f"flux_{b}": f"true_{b}" for b in BANDS})
    columns = ["release", "brickid", "objid", "sersic", "shape_r", "shape_e1", "shape_e2"]
    columns += [f"flux_{band}" for band in BANDS]
    bricks = truth[["region", "brick"]].drop_duplicates()
    tables = []
    for region, brick in bricks.itertuples(index=False):
        table = fitsio.read(paths.tractor(region, brick), columns=columns)
        native = {name: table[name].astype(table[name].dtype.newbyteorder("=")) for name in columns}
        tables.append(pd.DataFrame(native))
    table = pd.concat(tables, ignore_index=True)
    table["id"] = [
        f"{release}-{brick}-{number}"
        for release, brick, number in zip(
            table["release"], table["brickid"], table["objid"], strict=True
        )
    ]
    table = table.drop(columns=["brickid", "objid"]).merge(truth, on="id", validate="1:1")
    for band in BANDS:
        table[band] = to_magnitude(table[f"flux_{band}"], ZERO_POINT_MAG)
    table["deflector r"] = to_magnitude(table["true_r"], ZERO_POINT_MAG)
    table["g-r"], table["r-z"] = table["g"] - table["r"], table["r"] - table["z"]
    table["log size"] = np.log10(table["shape_r"].where(table["shape_r"] > 0))
    table["|e1|"], table["|e2|"] = table["shape_e1"].abs(), table["shape_e2"].abs()
    return table.rename(columns={"theta_e_arcsec": "theta_E"}), len(bricks)


def is_early_type(table: pd.DataFrame) -> pd.Series:
    """Mask of the sources that the default parent sample keeps, before exposures and masks."""
    steep = (table["type"] == "DEV") | ((table["type"] == "SER") & (table["sersic"] >= 2))
    return steep & (table["z"] < 20)


def group_rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Sources of a group of `REAL`."""
    if name == "lenses":
        return table[table["visible"]]
    galaxies = table[~table["kind"].isin(["lens", "arc", "star"]) & (table["type"] != "PSF")]
    if name == "confusing":
        return galaxies[galaxies["kind"].isin(list(CONFUSING)) & is_early_type(galaxies)]
    target_class, _, tractor_type = name.rpartition(" ")
    if name == "bright":
        # Round models have no ellipticity.
        return galaxies[(galaxies["r"] < BRIGHT_R) & (galaxies["type"] != "REX")]
    typed = galaxies[galaxies["type"] == tractor_type]
    if target_class == "luminous red":
        luminous = typed["z"] < mag_star(typed["redshift"]) + RED_FAINTER
        distant = typed["redshift"] > RED_REDSHIFT
        return typed[luminous & distant & (typed["g-r"] > RED_GR)]
    return typed[typed["r"] < BRIGHT_R]


def photometric_auc(table: pd.DataFrame) -> float:
    """How well colours and magnitude alone separate visible lenses from the parent sample."""
    parent = table[is_early_type(table) & (table["visible"] | (table["kind"] != "lens"))].dropna(
        subset=["g-r", "r-z", "z"]
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    features, label = parent[["g-r", "r-z", "z"]].to_numpy(), parent["visible"].to_numpy()
    score = cross_val_predict(model, features, label, cv=5, method="decision_function")
    return float(roc_auc_score(label, score))


def count_neighbours(table: pd.DataFrame, galaxies: pd.DataFrame) -> tuple[float, float]:
    """Mean number of neighbours as red as each galaxy, and of others, arcs left out."""
    others = table[(table["r"] < NEIGHBOUR_R) & (table["kind"] != "arc")]
    sky = Sky(others["ra"], others["dec"], NEIGHBOUR_RADIUS)
    rows, entries, separation = sky.pairs(galaxies["ra"], galaxies["dec"])
    apart = separation > 0.5
    own = galaxies["g-r"].to_numpy()[rows[apart]]
    red = np.abs(others["g-r"].to_numpy()[entries[apart]] - own) < 0.2
    return red.sum() / len(galaxies), (~red).sum() / len(galaxies)


def numbers(table: pd.DataFrame, bricks: int) -> dict[str, float]:
    """Simulated values of `REAL_NUMBERS`; counts leave out lenses, whose density is raised."""
    lenses = group_rows(table, "lenses")
    lens_kinds = table["kind"].isin(["lens", "arc"])
    non_lenses = table[~lens_kinds]
    extended = non_lenses["type"] != "PSF"
    values = {
        f"lenses {name}, fraction": (lenses["type"] == name).mean()
        for name in ("SER", "DEV", "REX", "EXP")
    }
    confusing = [kind for kind in NON_LENSES if kind in CONFUSING]
    red = table[(table["kind"] == "elliptical") & is_early_type(table)]
    neighbours = [*count_neighbours(table, lenses), *count_neighbours(table, red)]
    names = [name for name in REAL_NUMBERS if "neighbours of" in name]
    values |= dict(zip(names, neighbours, strict=True))
    arcs = table[table["kind"] == "arc"]
    near = Sky(arcs["ra"], arcs["dec"], 12.0).pairs(lenses["ra"], lenses["dec"])[0]
    values |= {
        "early-type galaxies z < 20, per brick": is_early_type(non_lenses).sum() / bricks,
        "galaxies z < 20, per brick": (extended & (non_lenses["z"] < 20)).sum() / bricks,
        "sources, per brick": len(non_lenses) / bricks,
        "visible lenses, fraction": table.loc[table["kind"] == "lens", "visible"].mean(),
        "arcs as sources, per visible lens": len(near) / len(lenses),
        "AUC of colours and magnitude, lenses against all": photometric_auc(table),
        "AUC of colours and magnitude, lenses against confusing": photometric_auc(
            table[table["kind"].isin(["lens", *confusing])]
        ),
    }
    return {name: round(float(values[name]), 3) for name in REAL_NUMBERS}


def compare(table: pd.DataFrame) -> list[tuple[Row, np.ndarray, bool]]:
    """Rows with the simulated percentiles, and whether the median is off."""
    result = []
    for row in REAL:
        values = group_rows(table, row.group)[row.quantity].dropna()
        ours = np.percentile(values, row.percentiles) if len(values) else np.full(
            len(row.percentiles), np.nan
        )  # fmt: skip
        middle = row.percentiles.index(50)
        difference = ours[middle] - row.real[middle]
        if row.quantity in ("theta_E", "|e1|", "|e2|"):
            off = abs(difference) > RELATIVE * row.real[middle]
        else:
            # 20 % of a size are 0.08 in its logarithm.
            off = abs(difference) > (0.08 if row.quantity == "log size" else ABSOLUTE)
        result.append((row, ours, bool(off)))
    return result


def is_off(name: str, value: float) -> bool:
    """Whether a number is more than 20 % out of the range of the real sky."""
    known = REAL_NUMBERS[name]
    return known is not None and not (
        (1 - RELATIVE) * known[0] <= value <= (1 + RELATIVE) * known[1]
    )


def flat(
    rows: list[tuple[Row, np.ndarray, bool]], simulated: dict[str, float]
) -> dict[str, float | None]:
    """All numbers in one dict."""
    result: dict[str, float | None] = {}
    for row, values, _ in rows:
        for p, value, real in zip(row.percentiles, values, row.real, strict=True):
            result[f"{row.group} {row.quantity} p{p}"] = round(float(value), 3)
            result[f"{row.group} {row.quantity} p{p} (real)"] = real
    for name, value in simulated.items():
        known = REAL_NUMBERS[name]
        result[name] = value
        result[f"{name} (real)"] = None if known is None else sum(known) / 2
    return result


def markdown(rows: list[tuple[Row, np.ndarray, bool]], simulated: dict[str, float]) -> str:
    lines = ["| group | quantity | percentiles | simulated | real | |", "|---|---|---|---|---|---|"]
    for row, values, off in rows:
        cells = [", ".join(f"{v:.2f}" for v in vector) for vector in (values, row.real)]
        name = row.quantity.replace("|", r"\|")
        columns = [row.group, name, ", ".join(map(str, row.percentiles)), *cells]
        lines.append(f"| {' | '.join(columns)} | {'off' if off else ''} |")
    lines += ["", "| number | simulated | real | |", "|---|---|---|---|"]
    for name, value in simulated.items():
        known = REAL_NUMBERS[name]
        real = "" if known is None else " to ".join(f"{v:g}" for v in dict.fromkeys(known))
        lines.append(f"| {name} | {value:.4g} | {real} | {'off' if is_off(name, value) else ''} |")
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
    parent = table[is_early_type(table)]
    kinds: dict[str, tuple[str, Any]] = {
        "lenses": ("C3", parent["visible"]),
        "confusing": ("C0", parent["kind"].isin(list(CONFUSING))),
        "other galaxies": ("0.5", parent["kind"].isin(["elliptical", "nearby_elliptical"])),
    }
    panels = {"g": (18.5, 23.5), "r": (17, 22), "z": (16, 20.2), "g-r": (0, 2.4), "r-z": (0, 2.2)}
    for axis, (name, limits) in zip(axes, panels.items(), strict=False):
        for offset, (label, (colour, mask)) in enumerate(kinds.items()):
            bins = np.linspace(*limits, 31)
            axis.hist(
                parent.loc[mask, name], bins, density=True, histtype="step", color=colour,
                label=label, lw=1.4,
            )  # fmt: skip
            for row in REAL:
                if (row.group, row.quantity, row.percentiles) == (label, name, QUARTILES):
                    low, middle, high = row.real
                    y = -0.05 * (1 + offset) * axis.get_ylim()[1]
                    axis.plot([low, high], [y, y], color=colour, lw=3, solid_capstyle="butt")
                    axis.plot([middle], [y], "k|", ms=7)
        axis.set(xlabel=name, yticks=[])
    axes[3].legend(frameon=False, fontsize=8, loc="upper left")
    axes[5].hist(parent.loc[kinds["lenses"][1], "theta_E"], 30, color="C3", histtype="step")
    axes[5].set(xlabel="Einstein radius, arcsec", yticks=[])
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sky", type=Path, nargs="?", default=Path("results/demo/sky"),
                        help="folder of the simulated sky (default: results/demo/sky)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--dry", action="store_true", help="do not change the documents")
    options = parser.parse_args()
    table, bricks = read_sky(SkyPaths(options.sky))
    rows, simulated = compare(table), numbers(table, bricks)
    text = markdown(rows, simulated)
    print(json.dumps(flat(rows, simulated), indent=1) if options.json else text)
    if not options.dry:
        save_tables(text, DOCS / "simulated-sky.md")
        save_figure(table, DOCS / "figures" / "simulated-sky.png")


if __name__ == "__main__":
    main()
