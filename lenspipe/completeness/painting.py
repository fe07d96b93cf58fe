"""Lenses painted onto galaxies of the search, and scored and judged as the search does."""

import hashlib
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa

from lenspipe.completeness.hosts import choose_hosts
from lenspipe.config.flags import rejected
from lenspipe.cutouts.reading import read_galaxies
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.candidates import read_cuts
from lenspipe.products.parts import open_parts
from lenspipe.scoring.score import load_fitting
from lenspipe.scoring.scorer import Scorer
from lenspipe.simulation.injection import check_bands, inject
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log, track
from lenspipe.utils.tables import content_hash

__all__ = ["paint", "painted_images"]

#: Raise it where the same input gives other lenses.
VERSION = 2

_HOST = ("id", "draw", "release", "brickid", "objid", "brick", "region", "type", "ra", "dec")

_CONDITIONS = ("mag_", "nobs_", "galdepth_", "psfsize_")


def paint(settings):
    """Paint ``selection.number`` lenses, score them, and say which the search would have found.

    Writes ``selection/injected.png``, a page of them for the eye, and last
    ``selection/injected.parquet``, a row per lens; columns: docs/outputs.md. Hosts are chosen by
    `lenspipe.completeness.hosts.choose_hosts`. A lens depends on the seed, its galaxy and how many
    are on that before it, on nothing else. Hosts with flags are kept: where the search rejects them
    their lenses are lost. One batch of cutouts is in memory at a time, and a job that was killed
    goes on where it was, but for the last seconds.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        What injected.parquet holds.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed; there is no model, or no galaxy to paint on; the candidates
        were not chosen yet; a galaxy has no cutout, or its chunk no scores.
    """
    check_bands(settings.survey.bands)
    cuts = read_cuts(settings.paths.threshold, settings.candidates.threshold)
    path = settings.model_path
    model = load_fitting(settings, path)
    hosts = choose_hosts(settings)
    scorer = Scorer(model, path, settings.training.name, settings.inference)
    size = settings.inference.batch_size
    tables = []
    with open_parts(settings.paths.selection("parts"), _key(settings, hosts, path)) as parts:
        if parts:
            tables += parts.tables()
        starts = range(size * (parts.batches if parts else 0), len(hosts), size)
        for start in track(starts, "selection: batches painted"):
            table = _paint_batch(settings, hosts[start : start + size], scorer)
            tables.append(pa.Table.from_pandas(table, preserve_index=False))
            if parts:
                parts.add(tables[-1])
        painted = pa.concat_tables(tables).to_pandas()
        lost = rejected(painted["flags"], settings)
        painted["p_host"] = hosts["id"].map(_scores_of(settings, hosts)).to_numpy(np.float32)
        painted["found"] = cuts.passes(painted) & ~lost
        _draw(settings, painted)
        with atomic(settings.paths.selection("injected.parquet")) as temporary:
            painted.to_parquet(temporary, index=False)
    log.info(
        "selection: %d of %d painted lenses found; %d are on cutouts that the search rejects",
        painted["found"].sum(), len(painted), lost.sum(),
    )  # fmt: skip
    return painted


def painted_images(settings, hosts):
    """Read cutouts of galaxies and paint their lenses.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    hosts : pandas.DataFrame
        Columns id, brick and draw; a galaxy may occur more than once.

    Returns
    -------
    images : (N, B, S, S) float32 array
        Nanomaggies.
    catalog, truth : pandas.DataFrame
        N rows: of the cutouts' files, and of `lenspipe.simulation.injection.inject`.
    """
    single = hosts[["id", "brick"]].drop_duplicates("id").reset_index(drop=True)
    images, catalog = read_galaxies(settings, single)
    places = pd.Index(single["id"]).get_indexer(hosts["id"])
    catalog = catalog.iloc[places].reset_index(drop=True)
    each = [
        np.random.default_rng([settings.seed, 32, zlib.crc32(name.encode()), draw])
        for name, draw in zip(hosts["id"], hosts["draw"], strict=True)
    ]
    images, truth = inject(images[places], catalog, each, settings, settings.selection)
    return images, catalog, truth


def _paint_batch(settings, hosts, scorer):
    """Rows of a batch of painted lenses, but for whether they are found."""
    images, catalog, truth = painted_images(settings, hosts)
    table = catalog.assign(draw=hosts["draw"].to_numpy())
    columns = [*_HOST, *(name for name in table if name.startswith(_CONDITIONS)), "flags"]
    return pd.concat([table[columns], truth.drop(columns="id")], axis=1).assign(**scorer(images))


def _scores_of(settings, hosts):
    """Galaxy -> what the search says of it without a painted lens."""
    parts = []
    for chunk, names in hosts.groupby("chunk")["brick"]:
        path = settings.paths.scores(chunk)
        if not path.exists():
            raise LenspipeError(f"{path}: no such file; score chunk {chunk} first")
        filters = [("brick", "in", names.unique().tolist())]
        parts.append(pd.read_parquet(path, columns=["id", "p"], filters=filters))
    return pd.concat(parts).set_index("id")["p"]


def _key(settings, hosts, model):
    """Hash all that painted lenses and their scores depend on."""
    files = [path for path in (model, model.with_name("calibration.json")) if path.exists()]
    return digest(
        VERSION,
        content_hash(hosts),
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
        settings.seed,
        settings.selection.theta_e_range,
        settings.selection.source_mag_range,
        settings.selection.lenses,
        settings.injection,
        settings.inference,
        settings.training.name,
    )


def _draw(settings, painted):
    """Draw some of the lenses, the clearest first."""
    own = settings.mosaics
    rng = np.random.default_rng([settings.seed, 33])
    rows = rng.permutation(len(painted))[: own.columns * own.rows]
    shown = painted.iloc[rows].sort_values(["arc_snr", "id"], ascending=[False, True])
    shown = shown.reset_index(drop=True)
    images = painted_images(settings, shown)[0]
    shown["rank"] = np.where(shown["found"], "found", "lost")
    shown["name"] = shown["id"] + " " + shown["draw"].astype(str)
    shown["note"] = [
        f'{row.theta_e_arcsec:.1f}", S/N {row.arc_snr:.0f}' for row in shown.itertuples()
    ]
    draw_page(
        images,
        shown,
        settings.paths.selection("injected.png"),
        bands=settings.survey.bands,
        stretch=own.stretch,
        columns=own.columns,
        title=f"{settings.run}: painted lenses",
        subtitle=f"{len(shown)} of {len(painted)} at random, the clearest first, with theta_E and "
        f"signal to noise; {painted['found'].sum()} found at {settings.candidates.threshold}",
    )
