"""A simulated sky of eight small bricks, drawn with numpy: what rule `simulate` would leave."""

import json

import fitsio
import numpy as np
import pandas as pd

from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.survey.bricks import brick_wcs

BRICKS = ("0101p000", "0103p000", "0106p000", "0108p000",
          "0111p000", "0113p000", "0116p000", "0118p000")  # fmt: skip
NOISE = np.array([0.003, 0.006, 0.014])
COLUMNS, ROWS, STEP, SIDE = 8, 6, 50, 400
#: Of each brick's galaxies, in order: lenses, confusing ones, ellipticals.
KINDS = ["lens"] * 16 + ["spiral"] * 4 + ["elliptical"] * 28


def write_sky(paths, seed=0):
    """Write coadds, catalogues, truth and lists below ``results/<run>/sky``."""
    rng = np.random.default_rng(seed)
    rows, truths = [], []
    for number, brick in enumerate(BRICKS):
        ra, dec = 10.125 + 0.25 * number, 0.0
        wcs = brick_wcs(ra, dec, RELEASES["dr9"])
        wcs.wcs.crpix = [(SIDE + 1) / 2] * 2
        brickid = 331000 + number
        place = np.arange(len(KINDS))
        x = (place % COLUMNS + 0.5) * STEP + rng.uniform(-4, 4, len(place))
        y = (place // COLUMNS + 0.8) * STEP + rng.uniform(-4, 4, len(place))
        kinds = np.array(KINDS)[rng.permutation(len(KINDS))]
        mag = rng.uniform(17.5, 19.8, len(kinds))
        flux = {band: 10 ** ((22.5 - mag - off) / 2.5)
                for band, off in (("g", 1.6), ("r", 0.7), ("z", 0.0))}  # fmt: skip
        image = NOISE[:, None, None] * rng.normal(size=(3, SIDE, SIDE))
        for i, kind in enumerate(kinds):
            _draw(image, x[i], y[i], [flux[band][i] for band in "grz"], kind, rng)
        header = wcs.to_header()
        for band, pixels, sigma in zip("grz", image.astype("f4"), NOISE, strict=True):
            _coadd(paths.coadd("south", brick, "image", band), pixels, header)
            _coadd(paths.coadd("south", brick, "invvar", band),
                   np.full((SIDE, SIDE), sigma**-2, "f4"), header)  # fmt: skip
        _coadd(paths.coadd("south", brick, "maskbits"), np.zeros((SIDE, SIDE), "i2"), header)
        sky_ra, sky_dec = wcs.all_pix2world(x, y, 0)
        n = len(kinds)
        catalog = {"release": np.full(n, 9010, "i2"), "brickid": np.full(n, brickid, "i4")}
        catalog |= {"brickname": [brick] * n, "objid": np.arange(n, dtype="i4")}
        catalog |= {"brick_primary": np.ones(n, bool), "ra": sky_ra, "dec": sky_dec}
        catalog |= {"type": ["DEV"] * n, "maskbits": np.zeros(n, "i4")}
        for name, value in {"sersic": 4, "shape_r": 1.0, "shape_e1": 0.1, "shape_e2": -0.1,
                            "ebv": 0.02}.items():  # fmt: skip
            catalog[name] = np.full(n, value, "f4")
        for band, psf in zip("grz", (1.5, 1.3, 1.2), strict=True):
            catalog[f"flux_{band}"] = flux[band].astype("f4")
            catalog[f"nobs_{band}"] = np.full(n, 5, "i2")
            catalog[f"galdepth_{band}"] = rng.uniform(500, 900, n).astype("f4")
            catalog[f"psfsize_{band}"] = rng.uniform(psf - 0.1, psf + 0.1, n).astype("f4")
        _table(paths.tractor("south", brick), catalog)
        rows.append({"brickname": brick, "ra": ra, "dec": dec, "survey_primary": True,
                     "brickid": brickid} | {f"nexp_{band}": 5 for band in "grz"})  # fmt: skip
        lens = kinds == "lens"
        truth = pd.DataFrame({"brick": brick, "brickid": brickid, "objid": np.arange(n)})
        truth["id"] = [f"9010-{brickid}-{i}" for i in range(n)]
        truth = truth.assign(region="south", ra=sky_ra, dec=sky_dec, kind=kinds, type="DEV")
        truth = truth.assign(redshift=0.4, r_half=1.0, z_lens=0.4, z_source=1.5, primary=True)
        truth[[f"flux_{band}" for band in "grz"]] = np.transpose([flux[band] for band in "grz"])
        truth["theta_e_arcsec"] = np.where(lens, rng.uniform(0.9, 2.5, n), np.nan)
        truth["arc_mag_g"] = np.where(lens, rng.uniform(20, 23, n), np.nan)
        truth["arc_snr"] = np.where(lens, rng.uniform(5, 100, n), np.nan)
        truth = truth.assign(beta=np.where(lens, 0.4, np.nan), magnification=5.0)
        truth["visible"] = (truth["theta_e_arcsec"] >= 1.2) & (truth["arc_snr"] >= 10)
        truth["grade"] = np.where(truth["visible"], "B", "")
        truths.append(truth)
    table = pd.DataFrame(rows).to_dict("list")
    table["brickid"] = np.array(table["brickid"], "i4")
    _table(paths.bricks("south"), table)
    truth = pd.concat(truths, ignore_index=True)
    truth.to_parquet(paths.truth)
    lists = {"lens": paths.known_lenses, "spiral": paths.confusing}
    for kind, path in lists.items():
        some = truth[truth["kind"] == kind]
        some[["ra", "dec", "kind"]].assign(grade="A").to_csv(path, index=False)
    paths.manifest.write_text(json.dumps({"made": "by hand"}))


def _draw(image, x, y, flux, kind, rng):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    near = (abs(rows - y) < 22) & (abs(columns - x) < 22)
    dx, dy = columns[near] - x, rows[near] - y
    r = np.hypot(dx, dy)
    light = np.exp(-r / 3)
    light /= light.sum()
    extra = np.zeros_like(r)
    angle = rng.uniform(-np.pi, np.pi)
    if kind == "lens":
        off = (np.arctan2(dy, dx) - angle + np.pi) % (2 * np.pi) - np.pi
        extra = np.exp(-((r - 7) ** 2) / 4 - off**2 / 0.5)
    elif kind == "spiral":
        extra = np.exp(-((dx - 7 * np.cos(angle)) ** 2 + (dy - 7 * np.sin(angle)) ** 2) / 8)
    for band, (total, arc) in enumerate(zip(flux, (0.05, 0.06, 0.07), strict=True)):
        image[band][near] += total * light + arc * extra


def _table(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    with fitsio.FITS(str(path), "rw", clobber=True) as fits:
        fits.write({name: np.asarray(values) for name, values in columns.items()})


def _coadd(path, image, header):
    path.parent.mkdir(parents=True, exist_ok=True)
    lossy = {"qlevel": -1e-4, "qmethod": "SUBTRACTIVE_DITHER_2", "dither_seed": 1}
    with fitsio.FITS(str(path), "rw", clobber=True) as fits:
        fits.write(image, header=dict(header), compress="RICE", tile_dims=[100, 100],
                   **(lossy if image.dtype.kind == "f" else {}))  # fmt: skip
