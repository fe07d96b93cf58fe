"""A small run made of noise, round galaxies and arcs, for tests of what comes after cutouts."""

import numpy as np
import pandas as pd
from astropy.io import fits
from helpers.written import drawn, write_files

from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import load_settings
from lenspipe.products.manifests import write_manifest
from lenspipe.products.tables import parent_columns
from lenspipe.simulation.injection import noise_from_depth
from lenspipe.utils.files import atomic

NOISE = np.array([0.003, 0.006, 0.014])


def draw(kind, size, rng):
    """One cutout: a galaxy, with an arc ('lens') or a blob beside it, in g, r, z nanomaggies."""
    y, x = np.mgrid[:size, :size] - size // 2
    r = np.hypot(x, y)
    image = NOISE[:, None, None] * rng.normal(size=(3, size, size))
    image += np.array([0.05, 0.3, 0.6])[:, None, None] * rng.uniform(0.5, 2) * np.exp(-r / 3)
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(6, 9)
    if kind == "lens":
        off = (np.arctan2(y, x) - angle + np.pi) % (2 * np.pi) - np.pi
        extra = np.exp(-((r - radius) ** 2) / 4 - off**2 / 0.5)
    else:
        x0, y0 = radius * np.cos(angle), radius * np.sin(angle)
        extra = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8)
    image += np.array([0.05, 0.06, 0.07])[:, None, None] * rng.uniform(0.7, 1.5) * extra
    return image.astype(np.float32)


def make_table(brick, ra, dec, rng, bands="grz"):
    """Rows with all columns of a cutouts' table."""
    n = len(ra)
    table = pd.DataFrame({name: np.ones(n) for name in parent_columns(bands)})
    table = table.assign(release=9010, brickid=int(brick[:4]), objid=np.arange(n), brick=brick)
    table = table.assign(region="south", ra=ra, dec=dec, type="DEV")
    for band in bands:
        table[f"mag_{band}"] = rng.uniform(17, 21, n)
        table[f"nobs_{band}"] = rng.integers(1, 9, n)
        table[f"psfsize_{band}"] = rng.uniform(1, 2, n)
        unit = noise_from_depth(1.0, table[f"psfsize_{band}"], 0.262)
        table[f"galdepth_{band}"] = (unit / NOISE["grz".index(band)]) ** 2
    table["id"] = [f"9010-{row.brickid}-{row.objid}" for row in table.itertuples()]
    return table.astype(parent_columns(bands)).assign(flags=np.zeros(n, np.int32))


def write_cutouts(path, images, table):
    rows = table.to_records(index=False)
    kinds = [(n, f"U{max(table[n].str.len(), default=1)}" if d.kind == "O" else d)
             for n, (d, *_) in rows.dtype.fields.items()]  # fmt: skip
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(images, name="IMAGE"),
        fits.BinTableHDU(rows.astype(kinds), name="CATALOG"),
    ]
    with atomic(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)


def make_run(n_bricks=6, per_brick=20, lenses=6, confusing=4, size=33, seed=0, **config):
    """Write bricks, parents, cutouts, manifests and lists below results/fake of this folder.

    Each brick has first its lenses, then its confusing galaxies, then others.
    """
    settings = load_settings(
        {"run": "fake", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
        | {"cutouts": {"size": size}} | config
    )  # fmt: skip
    files, _ = drawn(_draw_run, n_bricks, per_brick, lenses, confusing, size, seed)
    write_files(settings.paths.root, files)
    merge_known(settings)
    return settings


def _draw_run(folder, n_bricks, per_brick, lenses, confusing, size, seed):
    paths, rng = RunPaths("fake", folder), np.random.default_rng(seed)
    kinds = ["lens"] * lenses + ["spiral"] * confusing
    kinds += ["plain"] * (per_brick - len(kinds))
    bricks, tables = [], []
    for i in range(n_bricks):
        brick = f"15{i // 10}{i % 10}p300"
        ra0, dec0 = 150 + 0.25 * (i % 4), 30 + 0.25 * (i // 4)
        chunk = f"64-{i // 3:06d}"
        bricks.append({"brick": brick, "brickid": int(brick[:4]), "region": "south", "ra": ra0,
                       "dec": dec0, "chunk": chunk})  # fmt: skip
        ra = ra0 - 0.1 + 0.2 * np.arange(per_brick) / per_brick
        table = make_table(brick, ra, dec0 + rng.uniform(-0.1, 0.1, per_brick), rng)
        images = np.array([draw(kind, size, rng) for kind in kinds])
        write_cutouts(paths.cutouts(brick), images, table)
        tables.append(table.assign(kind=kinds, chunk=chunk))
    everything = pd.concat(tables)
    pd.DataFrame(bricks).to_parquet(paths.bricks)
    for chunk, table in everything.groupby("chunk"):
        paths.parent(chunk).parent.mkdir(exist_ok=True)
        table.drop(columns=["flags", "kind", "chunk"]).to_parquet(paths.parent(chunk))
        entries = {name: {"status": "done", "count": per_brick, "hash": ""}
                   for name in table["brick"].unique()}  # fmt: skip
        write_manifest(paths.manifest("cutouts", chunk), entries)
    paths.known_lenses.parent.mkdir()
    for kind, path in (("lens", paths.known_lenses), ("spiral", paths.confusing)):
        everything[everything["kind"] == kind][["ra", "dec", "kind"]].to_csv(path, index=False)
    return paths.root, None
