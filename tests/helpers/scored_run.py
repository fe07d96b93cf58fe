"""A small run as the steps up to scoring would leave it, drawn with numpy alone."""

import functools

import fitsio
import numpy as np
import pandas as pd

from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.products.manifests import write_manifest

CHUNK = "4-000070"
BRICKS = ("0101p000", "0103p000", "0106p000", "0108p000")
TRAINING_BRICKS = BRICKS[:2]
KINDS = np.array(["elliptical", "spiral", "ring", "merger"])


def make_settings(**sections):
    config = {
        "run": "tiny",
        "simulation": {},
        "footprint": {"bricks": BRICKS},
        "chunks": {"nside": 4},
        "mosaics": {"columns": 4, "rows": 2, "brick_tiles": 6},
        "cutouts": {"size": 41},
    }
    return load_settings(config | sections)


def draw_galaxies(rng, lens, size=41, scale=0.262):
    """Red galaxies, the lenses among them with a blue arc to the North: (N, 3, size, size)."""
    y, x = (np.indices((size, size)) - size // 2) * scale
    noise = np.array([0.003, 0.006, 0.014])[:, None, None]
    images = rng.normal(0, 1, (len(lens), 3, size, size)) * noise
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    for image, is_lens in zip(images, lens, strict=True):
        light = np.exp(-((radius / rng.uniform(0.7, 1.3)) ** 1.2))
        image += light * np.array([0.06, 0.25, 0.5])[:, None, None] * rng.uniform(0.5, 2)
        if is_lens:
            arc = np.exp(-(((radius - 2.0) / 0.35) ** 2) - ((angle - np.pi / 2) / 0.7) ** 2)
            image += arc * np.array([0.05, 0.06, 0.07])[:, None, None]
    return images.astype(np.float32)


def make_run(settings, per_brick=30, seed=1):
    """Write bricks, parent sample, cutouts, scores, labelled sample and truth; returns scores."""
    rng, paths, size = np.random.default_rng(seed), settings.paths, settings.cutouts.size
    bricks = pd.DataFrame({"brick": BRICKS, "region": "south", "chunk": CHUNK})
    bricks["brickid"] = np.arange(100, 104, dtype=np.int32)
    bricks["ra"], bricks["dec"] = 10.125 + 0.25 * np.arange(4), 0.0
    write_table(bricks, paths.bricks)
    tables = []
    for brick in bricks.itertuples():
        table = pd.DataFrame({"objid": np.arange(per_brick, dtype=np.int32)})
        table["release"], table["brickid"] = np.int16(9010), np.int32(brick.brickid)
        table["id"] = [f"9010-{brick.brickid}-{objid}" for objid in table["objid"]]
        table["brick"], table["region"], table["type"] = brick.brick, "south", "DEV"
        # A grid, so that nothing merges unless a test wants it.
        table["ra"] = brick.ra - 0.1 + 0.03 * (table["objid"] % 6)
        table["dec"] = -0.1 + 0.03 * (table["objid"] // 6)
        for band in "grz":
            table[f"mag_{band}"] = rng.uniform(18, 20, per_brick).astype(np.float32)
            table[f"nobs_{band}"] = np.int16(5)
            table[f"psfsize_{band}"] = np.float32(1.2)
        table["flags"] = np.int32(0)
        images = draw_galaxies(rng, is_lens(table), size)
        write_cutouts(paths.cutouts(brick.brick), images, table, seed)
        tables.append(table)
    galaxies = pd.concat(tables, ignore_index=True)
    lens = is_lens(galaxies)
    write_table(galaxies.drop(columns="flags"), paths.parent(CHUNK))
    scores = galaxies[
        ["id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "flags"]
    ]
    p = 1 / (1 + np.exp(-rng.normal(np.where(lens, 3, -2), 1.5)))
    scores = scores.assign(p_resnet=p.astype(np.float32), p=p.astype(np.float32))
    write_table(scores, paths.scores(CHUNK))
    truth = galaxies[["id", "brick", "brickid", "objid", "ra", "dec"]].copy()
    truth["kind"] = np.where(lens, "lens", KINDS[galaxies["objid"] % 4])
    truth["theta_e_arcsec"] = np.where(lens, rng.uniform(0.8, 2.5, len(truth)), np.nan)
    truth["arc_snr"] = np.where(lens, rng.uniform(5, 100, len(truth)), np.nan)
    truth["visible"] = (truth["theta_e_arcsec"] >= 1.2) & (truth["arc_snr"] >= 10)
    truth = truth.assign(beta=np.where(lens, 0.4, np.nan), primary=True)
    write_table(truth, paths.truth)
    sample = galaxies[["id", "brick"]].assign(label=lens.astype(np.float32))
    sample["class"] = np.where(lens, "lens", "random")
    sample["split"] = np.where(galaxies["brick"].isin(TRAINING_BRICKS), "train", "test")
    write_table(sample, paths.sample)
    truth[lens].assign(name="L", grade="A").to_csv(paths.known_lenses, index=False)
    merge_known(settings)
    model = paths.model(settings.training.name)
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(b"a model, of which only the hash matters")
    counts = {brick: {"status": "done", "count": per_brick, "hash": "x"} for brick in BRICKS}
    write_manifest(paths.manifest("cutouts", CHUNK), counts)
    return scores


@functools.cache
def plan_text(settings_json):
    settings = type(make_settings()).model_validate_json(settings_json)
    load_plan(settings)
    return settings.paths.plan.read_text()


def write_plan(settings):
    """Write the plan; making it takes seconds, so it is made once for all tests."""
    settings.paths.plan.write_text(plan_text(settings.model_dump_json()))


def is_lens(table):
    return table["objid"].to_numpy() % 3 == 0


def write_cutouts(path, images, table, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [table[name].to_numpy() for name in table]
    columns = [c.astype(bytes) if c.dtype == object else c for c in columns]
    with fitsio.FITS(str(path), "rw", clobber=True) as fits:
        fits.write(None)
        fits.write(images, extname="IMAGE", header={"LPHASH": f"content-{content}"})
        fits.write(columns, names=list(table), extname="CATALOG")


def write_table(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
