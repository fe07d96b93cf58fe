"""Lenses injected into galaxies of the search, scored and selected as the search does."""

import zlib

import numpy as np
import pandas as pd
import pyarrow as pa

from lenspipe.completeness.hosts import HeldOutGalaxies, choose_hosts
from lenspipe.config.flags import has_rejected_flag
from lenspipe.config.learning import Injection
from lenspipe.config.paths import RunPaths
from lenspipe.config.quality import Selection
from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.candidates import model_note, read_cuts
from lenspipe.products.parts import open_parts
from lenspipe.products.schema import HOST, band_values, names_of
from lenspipe.products.tables import read_table, write_table
from lenspipe.scoring.score import load_model_for_run
from lenspipe.scoring.scorer import Scorer, hash_model
from lenspipe.simulation.injection import check_bands, inject
from lenspipe.utils.progress import log, track
from lenspipe.utils.tables import content_hash

__all__ = ["inject_and_score", "injected_images", "show_injected"]


def inject_and_score(settings: Settings) -> pd.DataFrame:
    """Inject ``selection.number`` lenses, score them, and determine which the search would find.

    Writes ``selection/injected.parquet``, a row per lens; columns: docs/outputs.md. Hosts are
    chosen by `lenspipe.completeness.hosts.choose_hosts`. A lens depends only on the seed, its
    galaxy and the number of lenses injected into that before. Hosts with flags are kept: where the
    search rejects them their lenses are lost. One batch of cutouts is in memory at a time, and a
    job that was killed resumes, losing at most the last few seconds of work. Return the content of
    injected.parquet.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed; there is no model, or no galaxy to inject a lens into; the
        candidates were not chosen yet; a galaxy has no cutout, or its chunk no scores.
    """
    paths, bands, selection = settings.paths, settings.survey.bands, settings.selection
    check_bands(bands)
    cuts = read_cuts(paths.cuts, settings.candidates.threshold)
    path, cutouts = settings.model_path, CutoutFiles.of(settings)
    model = load_model_for_run(path, bands, settings.cutouts.size)
    hosts = choose_hosts(HeldOutGalaxies.of(settings), selection, bands[-1], settings.seed)
    scorer = Scorer(model, path, settings.training.name, settings.inference)
    size = settings.inference.batch_size
    key = content_key("paint", settings, content_hash(hosts), hash_model(path))
    injected_as = settings.seed, settings.injection, selection
    tables: list[pd.DataFrame] = []
    with open_parts(paths.selection("parts"), key) as parts:
        if parts:
            tables += parts.tables()
        starts = range(size * (parts.batches if parts else 0), len(hosts), size)
        for start in track(starts, "selection: batches injected"):
            batch = hosts[start : start + size]
            table = _score_batch(scorer, cutouts, batch, *injected_as)
            tables.append(pa.Table.from_pandas(table, preserve_index=False))
            if parts:
                parts.add(tables[-1])
        injected = pa.concat_tables(tables).to_pandas()
        lost = has_rejected_flag(injected["flags"], settings.candidates.reject_flags)
        host_scores = _read_host_scores(paths, hosts)
        if scorer.note:
            injected["model"] = scorer.note
        injected["p_host"] = hosts["id"].map(host_scores).to_numpy(np.float32)
        injected["found"] = cuts.passes(injected) & ~lost
        write_table(paths.selection("injected.parquet"), injected)
    log.info(
        "selection: %d of %d injected lenses found; %d are on cutouts that the search rejects",
        injected["found"].sum(), len(injected), lost.sum(),
    )  # fmt: skip
    return injected


def injected_images(
    cutouts: CutoutFiles,
    hosts: pd.DataFrame,
    seed: int,
    injection: Injection,
    selection: Selection,
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Read cutouts of galaxies and inject their lenses.

    Hosts have columns id, brick and draw, N rows; a galaxy may occur more than once. Return images,
    float32 (N, B, S, S) nanomaggies; their rows in the catalogues of the cutouts' files; and the
    truth, as `lenspipe.simulation.injection.inject` returns it.
    """
    galaxies = hosts[["id", "brick"]].drop_duplicates("id").reset_index(drop=True)
    images, catalog = cutouts.read(galaxies)
    rows = pd.Index(galaxies["id"]).get_indexer(hosts["id"])
    catalog = catalog.iloc[rows].reset_index(drop=True)
    generators = [
        np.random.default_rng([seed, 32, zlib.crc32(name.encode()), draw])
        for name, draw in zip(hosts["id"], hosts["draw"], strict=True)
    ]
    bands, release = cutouts.bands, cutouts.release
    images, truth = inject(images[rows], catalog, generators, bands, release, injection, selection)
    return images, catalog, truth


def _score_batch(
    scorer: Scorer,
    cutouts: CutoutFiles,
    hosts: pd.DataFrame,
    seed: int,
    injection: Injection,
    selection: Selection,
) -> pd.DataFrame:
    """Rows of a batch of injected lenses, without whether they are found."""
    images, catalog, truth = injected_images(cutouts, hosts, seed, injection, selection)
    table = catalog.assign(draw=hosts["draw"].to_numpy())
    table = table[names_of(HOST, **band_values(cutouts.bands))]
    # A lens stands for those of all galaxies of its magnitude, of which some are drawn more often.
    truth["weight"] *= hosts["share"].to_numpy()
    return pd.concat([table, truth.drop(columns="id")], axis=1).assign(**scorer(images))


def _read_host_scores(paths: RunPaths, hosts: pd.DataFrame) -> pd.Series:
    """The search's score p of each galaxy without an injected lens, by id."""
    tables = []
    for chunk, names in hosts.groupby("chunk")["brick"]:
        filters = [("brick", "in", names.unique().tolist())]
        table = read_table(paths.scores(chunk), "scores", columns=["id", "p"], filters=filters)
        tables.append(table)
    return pd.concat(tables).set_index("id")["p"]


def show_injected(settings: Settings) -> None:
    """Plot a random subset of the injected lenses, in descending order of signal to noise.

    Writes the page ``selection/injected.png``.
    """
    injected = read_table(settings.paths.selection("injected.parquet"), "injected_lenses")
    mosaics = settings.mosaics
    rng = np.random.default_rng([settings.seed, 33])
    rows = rng.permutation(len(injected))[: mosaics.columns * mosaics.rows]
    shown = injected.iloc[rows].sort_values(["arc_snr", "id"], ascending=[False, True])
    shown = shown.reset_index(drop=True)
    cutouts = CutoutFiles.of(settings)
    injected_as = settings.seed, settings.injection, settings.selection
    images = injected_images(cutouts, shown, *injected_as)[0]
    shown["rank"] = np.where(shown["found"], "found", "lost")
    shown["name"] = shown["id"] + " " + shown["draw"].astype(str)
    shown["note"] = [
        f'{row.theta_e_arcsec:.1f}", S/N {row.arc_snr:.0f}' for row in shown.itertuples()
    ]
    draw_page(
        images,
        shown,
        settings.paths.selection("injected.png"),
        bands=cutouts.bands,
        pixel_scale_arcsec=cutouts.release.pixel_scale_arcsec,
        stretch=mosaics.stretch,
        columns=mosaics.columns,
        title=f"{settings.run}: injected lenses",
        subtitle=f"{len(shown)} of {len(injected)} at random, by signal to noise of the arcs, with "
        f"theta_E and signal to noise; {injected['found'].sum()} found at "
        f"{settings.candidates.threshold}",
        note=model_note(shown),
    )
