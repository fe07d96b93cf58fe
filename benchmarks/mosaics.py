"""Measure how fast pages of candidates are drawn.

Each candidate has its cutout in a different file, like the top ranks of a large search; files hold
55 galaxies each. Measured on one core: reading of the cutouts, and drawing with the colour panel
alone and with all panels. Times are CPU seconds, the minimum of the repeats; the pixels are a
galaxy with noise, the worst case for PNG.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings, load_settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page

PER_BRICK = 55
PANELS = {"rgb": ["rgb"], "all": ["rgb", "g", "r", "z", "residual"]}
NOISE = np.array([0.003, 0.006, 0.014])[:, None, None]


def settings_with(name: str) -> Settings:
    return load_settings(
        {"run": name, "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
        | {"mosaics": {"panels": PANELS[name]}}
    )


def write_bricks(settings: Settings, n_bricks: int, rng: np.random.Generator) -> pd.DataFrame:
    """Write files of cutouts; return the best galaxy of each."""
    size = settings.cutouts.size
    row, column = np.indices((size, size)) - size // 2
    light = np.exp(-np.hypot(row, column) / 5) * np.array([0.1, 0.4, 0.8])[:, None, None]
    tables = []
    for i in range(n_bricks):
        images = rng.normal(size=(PER_BRICK, 3, size, size)) * NOISE + light
        table = pd.DataFrame({"id": [f"9010-{i}-{k}" for k in range(PER_BRICK)]})
        for band in "grz":
            table[f"mag_{band}"], table[f"nobs_{band}"] = 18.43, 5
        table = table.assign(type="DEV", shape_e1=0.05, shape_e2=-0.1, flags=0)
        brick = f"{i:04d}p000"
        path = settings.paths.cutouts(brick)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = [np.array(list(table[name])) for name in table]
        arrays = [array.astype("S") if array.dtype.kind == "U" else array for array in arrays]
        with fitsio.FITS(str(path), "rw") as fits:
            fits.write(None)
            fits.write(images.astype(np.float32), extname="IMAGE")
            fits.write(arrays, names=list(table), extname="CATALOG")
        tables.append(table.iloc[[7]].assign(brick=brick))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(
        rank=np.arange(1, len(table) + 1), p=0.99, name="DESI-150.0473+32.0035", note="known lens"
    )


def best(repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Minimum CPU seconds of some runs, and the result of the last."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        result = work()
        times.append(time.process_time() - begin)
    return min(times), result


def measure(folder: Path, n_pages: int, repeats: int) -> dict[str, float]:
    """Return all results in one flat dict."""
    os.chdir(folder)
    flat: dict[str, float] = {"pages": n_pages}
    for name in PANELS:
        settings = settings_with(name)
        mosaics = settings.mosaics
        table = write_bricks(settings, n_pages * mosaics.per_page, np.random.default_rng(1))
        cutouts = CutoutFiles.of(settings)
        reading, (images, _) = best(
            repeats, lambda cutouts=cutouts, table=table: cutouts.read(table)
        )

        def draw(
            mosaics: Any = mosaics, table: pd.DataFrame = table, images: np.ndarray = images
        ) -> None:
            for number in range(n_pages):
                part = slice(number * mosaics.per_page, (number + 1) * mosaics.per_page)
                draw_page(
                    images[part], table.iloc[part], folder / "page.png", bands="grz",
                    pixel_scale_arcsec=0.262, panels=mosaics.panels, columns=mosaics.per_row,
                    title="Page",
                )  # fmt: skip

        drawing, _ = best(repeats, draw)
        flat |= {
            f"{name}_galaxies_per_page": mosaics.per_page,
            f"{name}_read_s_page": reading / n_pages,
            f"{name}_draw_s_page": drawing / n_pages,
            f"{name}_pages_per_s_core": n_pages / (reading + drawing),
            f"{name}_page_mb": (folder / "page.png").stat().st_size / 1e6,
        }
    flat["pages_per_s_core"] = min(flat[f"{name}_pages_per_s_core"] for name in PANELS)
    return {name: float(f"{value:.3g}") for name, value in flat.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the files (2 GB)")
    parser.add_argument("--pages", type=int, default=5, help="pages of each layout")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        flat = measure(Path(folder), options.pages, options.repeats)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
        return
    print(
        f"{'panels':8}{'galaxies':>10}{'read s':>9}{'draw s':>9}{'MB':>7}{'pages/s':>9}{'ratio':>8}"
    )
    for name in PANELS:
        values = {key.removeprefix(f"{name}_"): flat[key] for key in flat if key.startswith(name)}
        ratio = values["pages_per_s_core"] / flat["rgb_pages_per_s_core"]
        print(
            f"{name:8}{values['galaxies_per_page']:10.0f}{values['read_s_page']:9.3f}"
            f"{values['draw_s_page']:9.3f}{values['page_mb']:7.2f}"
            f"{values['pages_per_s_core']:9.2f}{ratio:8.2f}"
        )


if __name__ == "__main__":
    main()
