"""A brick as large as the survey's full-depth ones, for measurements of reading and retrieval.

It is compressed as in the survey's pipeline: images in steps of 1e-4 nanomaggies with dither that
preserves zeros, inverse variances in sixteenths of their noise without dither (constant tiles, such
as those without an exposure in z, are gzipped), mask bits by HCOMPRESS. Noise is white and sources
are round: only the number of bytes per tile and its variation matter here.
"""

import argparse
import os
from pathlib import Path

import fitsio
import numpy as np

from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.survey.bricks import brick_wcs
from lenspipe.utils.files import atomic

BRICK, REGION, RA, DEC = "1501p320", "south", 150.14705882352942, 32.0
SIDE, TILE, SIZE = 3600, 100, 101

#: Sky noise per pixel at full depth, nanomaggies, and typical flux of a source.
_SKY = {"g": (0.003, 1.0), "r": (0.006, 2.0), "z": (0.014, 4.0)}


def names(number):
    """Return the names of the brick and of its copies."""
    return [f"{1501 + 3 * i}p320" for i in range(number)]


def coadds(tree, brick=BRICK):
    """Return the seven files: (kind, band) -> path or address; band None for the mask bits."""
    paths = RELEASES["dr9"].paths(tree)
    keys = [(kind, band) for band in "grz" for kind in ("image", "invvar")]
    return {key: paths.coadd(REGION, brick, *key) for key in [*keys, ("maskbits", None)]}


def make_bricks(tree, number=1, seed=5):
    """Write the brick's files below a folder unless they exist, and link copies to them.

    `number` includes the copies. Returns the files of the first brick, as `coadds` does.
    """
    files = coadds(tree)
    if not all(path.exists() for path in files.values()):
        _make_brick(files, seed)
    for brick in names(number)[1:]:
        for key, path in coadds(tree, brick).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                os.link(files[key], path)
    return files


def _make_brick(files, seed):
    rng = np.random.default_rng(seed)
    sources = _sources(rng)
    for band, (noise, flux) in _SKY.items():
        depth = _depth(rng)
        if band == "z":
            depth[:, -250:] = 0
        sigma = np.divide(noise, np.sqrt(depth), out=np.zeros_like(depth), where=depth > 0)
        image = _normal(rng) * sigma + np.where(depth > 0, flux * sources, 0)
        _write(files["image", band], [image], "RICE", -1e-4, "SUBTRACTIVE_DITHER_2")
        weights = depth * (1 + 0.02 * _normal(rng)) / np.float32(noise**2)
        # Cosmic rays and bad columns are in no exposure.
        weights[rng.random((SIDE, SIDE), np.float32) < 2e-3] = 0
        _write(files["invvar", band], [weights], "RICE", 16, "NO_DITHER")
    bits = (sources > 0.5).astype("i2") << 11
    bits[:82] |= 1
    wise = [(sources > level).astype("u1") for level in (0.8, 1.0)]
    _write(files["maskbits", None], [bits, *wise], "HCOMPRESS", None, None)


def targets(number, seed=11):
    """Draw pixels (x, y), each (N,) int64, of uniformly distributed targets.

    No stamp extends over the edge. Galaxies cluster, so real ones touch fewer tiles.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.integers(SIZE // 2 + 1, SIDE - SIZE // 2 - 1, (2, number))
    return x, y


def _normal(rng):
    return rng.standard_normal((SIDE, SIDE), np.float32)


def _depth(rng):
    """Exposures relative to full depth: 30 dithered rectangles and one of the whole brick."""
    depth = np.full((SIDE, SIDE), 0.1, np.float32)
    for _ in range(30):
        (left, bottom), (width, height) = rng.integers(-2000, 3000, 2), rng.integers(2000, 4096, 2)
        inside = np.s_[max(bottom, 0) : bottom + height, max(left, 0) : left + width]
        depth[inside] += rng.uniform(0.05, 0.15)
    return depth


def _sources(rng, number=6000):
    """Round sources with a steep distribution of fluxes, a few of them bright."""
    image = np.zeros((SIDE + 400, SIDE + 400), np.float32)
    for flux, x, y in zip(
        rng.pareto(1.1, number), *rng.uniform(200, SIDE + 200, (2, number)), strict=True
    ):
        half = 60 if flux > 50 else 15
        left, bottom = int(x) - half, int(y) - half
        steps = np.arange(2 * half + 1)
        radius2 = (steps + left - x) ** 2 + ((steps + bottom - y) ** 2)[:, None]
        moffat = flux / 50 * (1 + radius2 / 9) ** -2.5
        image[bottom : bottom + len(steps), left : left + len(steps)] += moffat
    return image[200:-200, 200:-200]


def _write(path, images, compress, qlevel, qmethod):
    header = dict(brick_wcs(RA, DEC, RELEASES["dr9"]).to_header())
    # The survey's headers are as long, with versions, settings and provenance.
    header |= {f"DEPVER{i:02d}": "/a/path/or/a/version/of/some/software" for i in range(100)}
    lossy = {"qlevel": qlevel, "qmethod": qmethod, "dither_seed": 1} if qmethod else {}
    lossless = {} if qmethod else {"hcomp_scale": 0}
    names = [None] if len(images) == 1 else ["MASKBITS", "WISEM1", "WISEM2"]
    with atomic(path) as temporary, fitsio.FITS(str(temporary), "rw") as fits:
        for image, name in zip(images, names, strict=True):
            fits.write(
                image, extname=name, header=header, compress=compress, tile_dims=[TILE, TILE],
                **lossy, **lossless,
            )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path, help="folder in which the tree is written")
    for path in make_bricks(parser.parse_args().tree).values():
        print(f"{path.stat().st_size:12,}  {path.name}")


if __name__ == "__main__":
    main()
