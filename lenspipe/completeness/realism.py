"""Realism of injected lenses: whether they can be told from known ones."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from scipy.optimize import linear_sum_assignment
from scipy.stats import ks_2samp

from lenspipe.catalogs.known_lenses import read_confusing
from lenspipe.completeness.hosts import HeldOutGalaxies
from lenspipe.completeness.plots import plot_realism
from lenspipe.config.flags import BAD_FLAGS
from lenspipe.config.learning import Sample
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.activations import features
from lenspipe.plotting.model_figures import plot_note
from lenspipe.products.candidates import read_cuts
from lenspipe.products.files import write_json
from lenspipe.products.schema import MEASURED, names_of_keys
from lenspipe.products.scores import Cuts
from lenspipe.products.tables import read_table
from lenspipe.scoring.score import load_model_for_run
from lenspipe.scoring.scorer import Scorer
from lenspipe.simulation.injection import check_bands, inject
from lenspipe.statistics.two_sample import classifier_auc, ring_fluxes
from lenspipe.utils.crossmatch import is_near
from lenspipe.utils.progress import log

__all__ = ["measure_realism"]

#: Minimum number of real lenses for a meaningful comparison, and the number beyond which more add
#: little.
_MIN_REAL_LENSES, _MAX_REAL_LENSES = 20, 1000

#: Galaxies among which hosts are searched for, per real lens.
_HOST_CANDIDATES_PER_LENS = 20


def measure_realism(settings: Settings) -> dict[str, Any]:
    """Compare injected lenses with known ones that the model was not trained on.

    Known lenses are those in held-out bricks whose cutouts have no bad flags. Injected ones, as
    many, are drawn as for training (section ``injection``), on galaxies of the same bricks that are
    in no list of confusing galaxies and closest to the known lenses in z magnitude and r-z: arcs
    are to be compared, not galaxies. Classifiers, cross-validated by brick, try to separate the two
    by the network's features (`lenspipe.models.activations.features`) and by their light in rings.
    Writes ``selection/realism.png`` and, last, ``selection/realism.json``; if there are fewer than
    20 known lenses both say so. Return the content of realism.json; None for what could not be
    measured.

    Raises
    ------
    LenspipeError
        lenstronomy or scikit-learn is not installed; there is no model; a galaxy has no cutout.
    """
    paths, sample, bands = settings.paths, settings.sample, settings.survey.bands
    check_bands(bands)
    rng = np.random.default_rng([settings.seed, 34])
    galaxies, cutouts = HeldOutGalaxies.of(settings), CutoutFiles.of(settings)
    bricks = galaxies.bricks()
    images, real = _good_cutouts(cutouts, _read_known_lenses(galaxies, bricks, sample, rng))
    hosts = real.iloc[:0]
    if len(real) >= _MIN_REAL_LENSES:
        bricks = bricks[bricks["brick"].isin(real["brick"])]
        pool = galaxies.read_pool(bricks)
        confusing = read_confusing(sample, paths, settings.retrieval, bool(settings.simulation))
        pool = pool[~is_near(pool, confusing, sample.match_radius_arcsec)]
        candidates = _host_candidates(pool, _HOST_CANDIDATES_PER_LENS * len(real), rng)
        backgrounds, hosts = _good_cutouts(cutouts, _match_hosts(candidates, real))
    result: dict[str, Any] = {"n_real": len(real), "n_injected": len(hosts)}
    result |= {"n_bricks": real["brick"].nunique()}
    result |= {"trained_on": None if settings.inference.model else False, "verdict": "measured"}
    result |= dict.fromkeys(names_of_keys(MEASURED))
    path = paths.selection("realism.png")
    if len(hosts) < _MIN_REAL_LENSES:
        few = f"hosts: {len(hosts)}"
        if len(real) < _MIN_REAL_LENSES:
            few = f"real lenses: {len(real)}"
        result["verdict"] = f"too few {few}, fewer than {_MIN_REAL_LENSES}"
        plot_note(f"Injected and real lenses: {result['verdict']}", path)
    else:
        generators = [
            np.random.default_rng([settings.seed, 35, zlib.crc32(name.encode())])
            for name in hosts["id"]
        ]
        release = settings.release
        injected, _ = inject(backgrounds, hosts, generators, bands, release, settings.injection)
        model = load_model_for_run(settings.model_path, bands, settings.cutouts.size)
        scorer = Scorer(model, settings.model_path, settings.training.name, settings.inference)
        both, batch_size = (images, injected), settings.inference.batch_size
        tables = [
            table.assign(p=_score(scorer, cutouts_of, batch_size))
            for cutouts_of, table in zip(both, (real, hosts), strict=True)
        ]
        cuts = read_cuts(paths.cuts, settings.candidates.threshold)
        all_images = np.concatenate(both)
        spaces = {
            "features": features(model, all_images),
            "photometry": ring_fluxes(all_images, release.pixel_scale_arcsec),
        }
        result |= _compare(tables, spaces, cuts)
        plot_realism(both, tables, spaces["features"], result, path, bands, "viewer")
    write_json(paths.selection("realism.json"), result)
    _log_result(result)
    return result


def _read_known_lenses(
    galaxies: HeldOutGalaxies, bricks: pd.DataFrame, sample: Sample, rng: np.random.Generator
) -> pd.DataFrame:
    """Galaxies in bricks that are known lenses and were not trained on."""
    paths = galaxies.paths
    known = read_table(paths.lenses, "known")
    known = known[(known["grade"] != "D") & known["visible"]]
    if sample.grades:
        known = known[known["grade"].isin(sample.grades)]
    trained_on = galaxies.trained_on()
    lenses = SkyCoord(known["ra"], known["dec"], unit="deg")
    tables = []
    for chunk, names in bricks.groupby("chunk")["brick"]:
        filters = [("brick", "in", [*names])]
        columns = ["id", "brick", "ra", "dec"]
        table = read_table(paths.parent(chunk), "parent", columns=columns, filters=filters)
        if len(table) and len(known):
            positions = SkyCoord(table["ra"], table["dec"], unit="deg")
            entry, distance, _ = positions.match_to_catalog_sky(lenses)
            table = table.assign(entry=entry, distance=distance.arcsec)
            table = table[table["distance"] < sample.match_radius_arcsec].sort_values("distance")
            tables.append(table.drop_duplicates("entry"))
    matched = pd.concat(tables) if tables else pd.DataFrame({"id": [], "brick": []})
    matched = matched[~matched["id"].isin(trained_on)]
    matched = matched.sort_values(["brick", "id"], ignore_index=True)
    return matched.iloc[np.sort(rng.permutation(len(matched))[:_MAX_REAL_LENSES])]


def _good_cutouts(cutouts: CutoutFiles, galaxies: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Cutouts without bad flags, with known seeing and magnitudes, and their rows."""
    images, table = cutouts.read(galaxies[["id", "brick"]].reset_index(drop=True))
    if table.empty:
        return images, galaxies[["id", "brick"]]
    good = (table["flags"] & BAD_FLAGS.value) == 0
    good &= (table[[f"psfsize_{band}" for band in cutouts.bands]] > 0).all(axis=1)
    good &= np.isfinite(table["mag_z"]) & np.isfinite(table["mag_r"])
    return images[good.to_numpy()], table[good].reset_index(drop=True)


def _host_candidates(pool: pd.DataFrame, number: int, rng: np.random.Generator) -> pd.DataFrame:
    """At most a number of random galaxies with known magnitudes."""
    pool = pool[np.isfinite(pool["mag_r"]) & np.isfinite(pool["mag_z"])]
    return pool.iloc[np.sort(rng.permutation(len(pool))[:number])]


def _match_hosts(candidates: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """One galaxy for each real lens, as close as possible in magnitude and colour."""

    def coordinates(table: pd.DataFrame) -> np.ndarray:
        return np.stack([table["mag_z"], 3 * (table["mag_r"] - table["mag_z"])])

    offsets = coordinates(real)[:, :, None] - coordinates(candidates)[:, None]
    return candidates.iloc[np.sort(linear_sum_assignment((offsets**2).sum(axis=0))[1])]


def _compare(
    tables: Sequence[pd.DataFrame], spaces: Mapping[str, np.ndarray], cuts: Cuts
) -> dict[str, Any]:
    """Measure how well two populations, the real lenses and the injected ones, can be separated.

    Tables have columns brick, p and those of the cuts; spaces are features of both, the real ones
    first.
    """
    real, injected = tables
    is_real = np.repeat([True, False], [len(real), len(injected)])
    brick = np.concatenate([real["brick"], injected["brick"]])
    result: dict[str, Any] = {}
    for name, space in spaces.items():
        area = classifier_auc(space, is_real, brick)
        keys = (f"auc_{name}{end}" for end in ("", "_low", "_high"))
        result |= dict(zip(keys, area, strict=True))
    test = ks_2samp(real["p"], injected["p"])
    result |= {"ks": float(test.statistic), "ks_p": float(test.pvalue)}
    for name, table in zip(("real", "injected"), tables, strict=True):
        result[f"found_{name}"] = float(cuts.passes(table).mean())
        result[f"median_p_{name}"] = float(table["p"].median())
    return result


def _score(scorer: Scorer, images: np.ndarray, batch_size: int) -> np.ndarray:
    starts = range(0, len(images), batch_size)
    return np.concatenate([scorer(images[start : start + batch_size])["p"] for start in starts])


def _log_result(result: Mapping[str, Any]) -> None:
    if result["auc_features"] is None:
        log.info("realism: %s", result["verdict"])
        return
    for space in ("features", "photometry"):
        log.info(
            "realism: %d real and %d injected lenses, by %s: AUC %.3f (95 %%: %.3f-%.3f)",
            result["n_real"], result["n_injected"], space,
            *(result[f"auc_{space}{end}"] for end in ("", "_low", "_high")),
        )  # fmt: skip
    log.info(
        "realism: found %.1f %% of real and %.1f %% of injected lenses; scores differ by %.2f "
        "(Kolmogorov-Smirnov, p %.2g)",
        100 * result["found_real"], 100 * result["found_injected"], result["ks"], result["ks_p"],
    )  # fmt: skip
