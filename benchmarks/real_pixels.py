"""Score real cutouts with the network that the demo trained, and plot them in a mosaic.

Reads the optional test data ($LENSPIPE_SHARED or ../shared): five graded lens candidates of DR10
and a cutout of DR9. Prints a table, with --json one flat object, and plots them with simulated
lenses of the run, to show where the simulated sky looks different from the real one.
"""

import argparse
import json
import os
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
import yaml

from lenspipe.config.settings import load_settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.candidates import read_candidates
from lenspipe.scoring.score import load_model, score_images


def read_real(folder, size):
    """Return cutouts (N, 3, size, size) in nanomaggies and their names."""
    images, names = [], []
    for path in sorted((folder / "realdata" / "dr10-cutouts").glob("*.npz")):
        with np.load(path) as content:
            images.append(np.moveaxis(content["cutout"], -1, 0))
        names.append(f"DR10 {path.stem}")
    for path in sorted((folder / "realdata" / "dr9-cutout").glob("cutout_*.fits")):
        with fitsio.FITS(path) as hdus:
            # Images and inverse variances alternate, in g, r, z.
            cube = np.array([hdus[i].read() for i in (1, 3, 5)])
        begin = cube.shape[1] // 2 - size // 2
        images.append(cube[:, begin : begin + size, begin : begin + size])
        names.append(f"DR9 {path.stem.removeprefix('cutout_')}")
    return np.array(images, np.float32), names


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="demo", help="run whose model is used")
    parser.add_argument("--page", default="real-pixels.png", help="file of the mosaic")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    run = Path("results") / options.run
    (config,) = run.glob("models/*/config.yaml")
    settings = load_settings(yaml.safe_load(config.read_text()))
    shared = Path(os.environ.get("LENSPIPE_SHARED", "../shared"))
    images, names = read_real(shared, settings.cutouts.size)
    model = load_model(settings.paths.model(settings.training.name))
    p = score_images(model, images, symmetries=settings.inference.symmetries)
    table = pd.DataFrame({"name": names, "p": p})
    if options.json:
        print(
            json.dumps({name: round(float(value), 4) for name, value in zip(names, p, strict=True)})
        )
    else:
        print(table.to_string(index=False))
    simulated = read_candidates(settings.paths.candidates).head(18)
    both = pd.concat([table, simulated[["name", "p"]]], ignore_index=True)
    both["rank"] = np.arange(1, len(both) + 1)
    cutouts, _ = CutoutFiles.of(settings).read(simulated)
    draw_page(
        np.concatenate([images, cutouts]), both, options.page,
        bands=settings.survey.bands,
        pixel_scale_arcsec=settings.release.pixel_scale_arcsec, stretch="viewer", columns=6,
        title="Real cutouts (first row) and simulated candidates", subtitle="",
    )  # fmt: skip


if __name__ == "__main__":
    main()
