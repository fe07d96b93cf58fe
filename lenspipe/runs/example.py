"""A small run, written in seconds without simulation or training, to try the Python interface."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits

from lenspipe.candidates.find import find_candidates
from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.completeness.cells import measure_cells
from lenspipe.completeness.quantities import selection_quantities
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.config.runs import note_settings
from lenspipe.config.settings import Settings, load_settings
from lenspipe.products import cutouts
from lenspipe.products.manifests import write_manifest
from lenspipe.utils.errors import LenspipeError

__all__ = [
    "BRICKS",
    "CHUNK",
    "draw_galaxies",
    "is_lens",
    "write_cutouts",
    "write_example_run",
    "write_scored_run",
]

#: The chunk of a scored run and its bricks, of which the first two were used in training.
CHUNK = "4-000070"
BRICKS = ("0101p000", "0103p000", "0106p000", "0108p000")
_TRAINING_BRICKS = BRICKS[:2]
_KINDS = np.array(["elliptical", "spiral", "ring", "merger"])
_N_INJECTED = 2000


def write_example_run(folder: str | os.PathLike[str]) -> Path:
    """Write a run of 120 drawn galaxies, with candidates and a selection function.

    It has the files of a real run, with fewer columns, and `lenspipe.open_run` opens it. Its
    numbers mean nothing: the scores are drawn from two normal distributions of log odds, one for
    lenses and one for other galaxies, and the injected lenses are found with a probability that is
    a formula.

    Parameters
    ----------
    folder
        In which ``results/example`` is written; it may not exist yet.

    Returns
    -------
    Path
        Folder of the run.

    Raises
    ------
    LenspipeError
        There is such a run.
    """
    config = {
        "run": "example",
        "simulation": {},
        "footprint": {"bricks": BRICKS},
        "chunks": {"nside": 4},
        "cutouts": {"size": 41},
        "candidates": {"threshold": 0.5, "known": "show"},
    }
    settings = load_settings(config).at(Path(folder) / "results" / "example")
    root = settings.paths.root
    if root.exists():
        raise LenspipeError(
            f"{root}: found a folder, expected none; delete it or give another folder"
        )
    write_scored_run(settings)
    find_candidates(settings)
    _write_selection_function(settings)
    note_settings(settings)
    return root


def _write_selection_function(settings: Settings) -> None:
    """Fit a selection function to drawn lenses: bright arcs of large radius are found."""
    rng, n = np.random.default_rng(2), _N_INJECTED
    injected = pd.DataFrame(
        {
            "theta_e_arcsec": rng.uniform(0.5, 3.5, n),
            "arc_snr": 10 ** rng.uniform(0, 2.3, n),
            "psfsize_g": rng.normal(1.5, 0.15, n),
            "galdepth_g": 10 ** rng.normal(3.0, 0.15, n),
            "mag_z": rng.uniform(17, 20, n),
        }
    )
    log_odds = (
        4 * (np.log10(injected["arc_snr"]) - 1.3) + 1.5 * (injected["theta_e_arcsec"] - 1.5)
    ).clip(-6, 3)
    injected["found"] = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    quantities, path = selection_quantities("grz"), settings.paths.selection("selection.fits")
    function = SelectionFunction.fit(injected, quantities, settings.release.zero_point_mag)
    bins = {quantity.name: 4 for quantity in quantities}
    path.parent.mkdir(parents=True, exist_ok=True)
    function.write(path, measure_cells(injected, function, bins, path))


def draw_galaxies(
    rng: np.random.Generator, lens: np.ndarray, size: int = 41, scale: float = 0.262
) -> np.ndarray:
    """Draw red galaxies, the lenses among them with a blue arc to the North: (N, 3, size, size).

    Nanomaggies in g, r and z, in pixels of `scale` arcsec.
    """
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


def write_scored_run(settings: Settings, per_brick: int = 30, seed: int = 1) -> pd.DataFrame:
    """Write bricks, parent sample, cutouts, scores, labelled sample and truth; return the scores.

    The scores are drawn, with no network behind them; a third of the galaxies are lenses.
    """
    rng, paths, size = np.random.default_rng(seed), settings.paths, settings.cutouts.size
    bricks = pd.DataFrame({"brick": BRICKS, "region": "south", "chunk": CHUNK})
    bricks["brickid"] = np.arange(100, 104, dtype=np.int32)
    bricks["ra"], bricks["dec"] = 10.125 + 0.25 * np.arange(4), 0.0
    _write_table(bricks, paths.bricks)
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
    _write_table(galaxies.drop(columns="flags"), paths.parent(CHUNK))
    scores = galaxies[
        ["id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "flags"]
    ]
    p = 1 / (1 + np.exp(-rng.normal(np.where(lens, 3, -2), 1.5)))
    scores = scores.assign(p_resnet=p.astype(np.float32), p=p.astype(np.float32))
    _write_table(scores, paths.scores(CHUNK))
    truth = galaxies[["id", "brick", "brickid", "objid", "ra", "dec"]].copy()
    truth["kind"] = np.where(lens, "lens", _KINDS[galaxies["objid"] % 4])
    truth["theta_e_arcsec"] = np.where(lens, rng.uniform(0.8, 2.5, len(truth)), np.nan)
    truth["arc_snr"] = np.where(lens, rng.uniform(5, 100, len(truth)), np.nan)
    truth["visible"] = (truth["theta_e_arcsec"] >= 1.2) & (truth["arc_snr"] >= 10)
    truth = truth.assign(beta=np.where(lens, 0.4, np.nan), primary=True)
    _write_table(truth, paths.truth)
    sample = galaxies[["id", "brick", "ra", "dec"]].assign(label=lens.astype(np.float32))
    sample["class"] = np.where(lens, "lens", "random")
    sample["split"] = np.where(galaxies["brick"].isin(_TRAINING_BRICKS), "train", "test")
    _write_table(sample, paths.sample)
    splits = sample[["brick", "split"]].drop_duplicates("brick")
    splits.to_csv(paths.splits, index=False)
    truth[lens].assign(name="L", grade="A").to_csv(paths.known_lenses, index=False)
    merge_known(settings)
    model = paths.model(settings.training.name)
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(b"a model, of which only the hash matters")
    counts = {brick: {"status": "done", "count": per_brick, "hash": "x"} for brick in BRICKS}
    write_manifest(paths.manifest("cutouts", CHUNK), counts)
    return scores


def is_lens(table: pd.DataFrame) -> np.ndarray:
    """Say which galaxies of a scored run are lenses: every third of a brick."""
    return table["objid"].to_numpy() % 3 == 0


def write_cutouts(path: Path, images: np.ndarray, table: pd.DataFrame, content: int) -> None:
    """Write the cutouts of a brick; `content` stands for the hash of what they were made from."""
    header = fits.Header()
    header["LPHASH"] = f"content-{content}"
    cutouts.write_cutouts(path, images, table, header)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
