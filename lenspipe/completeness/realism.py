"""How real painted lenses are: whether they can be told from known ones."""

import json
import zlib

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from scipy.optimize import linear_sum_assignment
from scipy.stats import ks_2samp

from lenspipe.catalogs.known_lenses import read_confusing
from lenspipe.completeness.hosts import learnt_by_all, read_pool
from lenspipe.completeness.realism_plot import draw_realism
from lenspipe.config.flags import BAD_FLAGS
from lenspipe.cutouts.reading import read_galaxies
from lenspipe.models.activations import features
from lenspipe.plotting.model_figures import draw_note
from lenspipe.products.candidates import read_cuts
from lenspipe.products.known_lenses import read_known
from lenspipe.products.truth import held_out_bricks
from lenspipe.scoring.score import load_fitting
from lenspipe.scoring.scorer import Scorer
from lenspipe.simulation.injection import check_bands, inject
from lenspipe.statistics.two_sample import ring_fluxes, tell_apart
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["measure_realism"]

#: Fewer real lenses say nothing; more add nothing.
_FEWEST, _MOST = 20, 1000

#: Galaxies among which a host is looked for, of each real lens.
_POOL_EACH = 20

_MEASURED = [
    *(f"auc_{space}{end}" for space in ("features", "photometry") for end in ("", "_low", "_high")),
    *("ks", "ks_p", "found_real", "found_injected", "median_p_real", "median_p_injected"),
]


def measure_realism(settings):
    """Compare painted lenses with known ones that the model never learnt from.

    Known lenses are those in held-out bricks whose cutouts have nothing wrong. Painted ones, as
    many, are drawn as section ``injection`` says, as for training, on galaxies of the same bricks
    that are in no list of confusing ones and most like the known lenses' in magnitude in z and in
    r-z: arcs are to be compared, not galaxies. Classifiers, cross-validated by brick, try to tell
    them apart by what the network makes of them (`lenspipe.models.activations.features`), and by
    their light in rings. Writes ``selection/realism.png`` and, last, ``selection/realism.json``;
    both say so where there are fewer than 20 known lenses.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict
        What realism.json holds; None for what could not be measured.

    Raises
    ------
    LenspipeError
        lenstronomy or scikit-learn is not installed; there is no model; a galaxy has no cutout.
    """
    check_bands(settings.survey.bands)
    rng = np.random.default_rng([settings.seed, 34])
    bricks = held_out_bricks(settings.paths, settings.held_out)
    images, real = _good_cutouts(settings, _known_lenses(settings, bricks, rng))
    hosts = real.iloc[:0]
    if len(real) >= _FEWEST:
        bricks = bricks[bricks["brick"].isin(real["brick"])]
        backgrounds, hosts = _good_cutouts(settings, _hosts_like(settings, bricks, real, rng))
    result = {"n_real": len(real), "n_injected": len(hosts), "n_bricks": real["brick"].nunique()}
    result |= {"trained_on": None if settings.inference.model else False, "verdict": "measured"}
    result |= dict.fromkeys(_MEASURED)
    path = settings.paths.selection("realism.png")
    if len(hosts) < _FEWEST:
        few, number = ("real lenses", len(real)) if len(real) < _FEWEST else ("hosts", len(hosts))
        result["verdict"] = f"too few {few}: {number}, fewer than {_FEWEST}"
        draw_note(f"Painted and real lenses: {result['verdict']}", path)
    else:
        each = [
            np.random.default_rng([settings.seed, 35, zlib.crc32(name.encode())])
            for name in hosts["id"]
        ]
        painted, _ = inject(backgrounds, hosts, each, settings)
        result |= _compare(settings, images, real, painted, hosts, path)
    with atomic(settings.paths.selection("realism.json")) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    _report(result)
    return result


def _known_lenses(settings, bricks, rng):
    """Galaxies of some bricks that are known lenses, with magnitudes."""
    own, known = settings.sample, read_known(settings.paths.lenses)
    known = known[known["grade"] != "D"]
    if own.grades:
        known = known[known["grade"].isin(own.grades)]
    learnt = learnt_by_all(settings)
    there = SkyCoord(known["ra"], known["dec"], unit="deg")
    tables = []
    for chunk, names in bricks.groupby("chunk")["brick"]:
        filters = [("brick", "in", [*names])]
        columns = ["id", "brick", "ra", "dec"]
        table = pd.read_parquet(settings.paths.parent(chunk), columns=columns, filters=filters)
        if len(table) and len(known):
            here = SkyCoord(table["ra"], table["dec"], unit="deg")
            entry, distance, _ = here.match_to_catalog_sky(there)
            table = table.assign(entry=entry, distance=distance.arcsec)
            table = table[table["distance"] < own.match_radius_arcsec].sort_values("distance")
            tables.append(table.drop_duplicates("entry"))
    found = pd.concat(tables) if tables else pd.DataFrame({"id": [], "brick": []})
    found = found[~found["id"].isin(learnt)].sort_values(["brick", "id"], ignore_index=True)
    return found.iloc[np.sort(rng.permutation(len(found))[:_MOST])]


def _good_cutouts(settings, galaxies):
    """Cutouts with nothing wrong, and their rows."""
    bands = settings.survey.bands
    images, table = read_galaxies(settings, galaxies[["id", "brick"]].reset_index(drop=True))
    if table.empty:
        return images, galaxies[["id", "brick"]]
    good = (table["flags"] & BAD_FLAGS.value) == 0
    good &= (table[[f"psfsize_{band}" for band in bands]] > 0).all(axis=1)
    good &= np.isfinite(table["mag_z"]) & np.isfinite(table["mag_r"])
    return images[good.to_numpy()], table[good].reset_index(drop=True)


def _hosts_like(settings, bricks, real, rng):
    """One galaxy for each real lens, as near as can be in magnitude and colour."""
    pool = read_pool(settings, bricks)
    if len(confusing := read_confusing(settings)) and len(pool):
        there = SkyCoord(confusing["ra"], confusing["dec"], unit="deg")
        here = SkyCoord(pool["ra"], pool["dec"], unit="deg")
        distance = here.match_to_catalog_sky(there)[1].arcsec
        pool = pool[distance >= settings.sample.match_radius_arcsec]
    pool = pool[np.isfinite(pool["mag_r"]) & np.isfinite(pool["mag_z"])]
    pool = pool.iloc[np.sort(rng.permutation(len(pool))[: _POOL_EACH * len(real)])]

    def place(table):
        return np.stack([table["mag_z"], 3 * (table["mag_r"] - table["mag_z"])])

    distance = ((place(real)[:, :, None] - place(pool)[:, None]) ** 2).sum(axis=0)
    return pool.iloc[np.sort(linear_sum_assignment(distance)[1])]


def _compare(settings, images, real, painted, hosts, path):
    """What tells the two apart, and the figure."""
    model = load_fitting(settings)
    scorer = Scorer(model, settings.model_path, settings.training.name, settings.inference)
    tables = [_score(scorer, *pair, settings) for pair in ((images, real), (painted, hosts))]
    cuts = read_cuts(settings.paths.threshold, settings.candidates.threshold)
    both = np.concatenate([images, painted])
    is_real = np.arange(len(both)) < len(images)
    brick = np.concatenate([real["brick"], hosts["brick"]])
    spaces = {"features": features(model, both), "photometry": ring_fluxes(both)}
    result = {}
    for name, space in spaces.items():
        found = tell_apart(space, is_real, brick)
        keys = (f"auc_{name}{end}" for end in ("", "_low", "_high"))
        result |= dict(zip(keys, found, strict=True))
    test = ks_2samp(tables[0]["p"], tables[1]["p"])
    result |= {"ks": float(test.statistic), "ks_p": float(test.pvalue)}
    for name, table in zip(("real", "injected"), tables, strict=True):
        result[f"found_{name}"] = float(cuts.passes(table).mean())
        result[f"median_p_{name}"] = float(table["p"].median())
    draw_realism(settings, (images, painted), tables, spaces["features"], result, path)
    return result


def _score(scorer, images, table, settings):
    size = settings.inference.batch_size
    parts = [scorer(images[start : start + size])["p"] for start in range(0, len(images), size)]
    return table.assign(p=np.concatenate(parts))


def _report(result):
    if result["auc_features"] is None:
        log.info("realism: %s", result["verdict"])
        return
    for space in ("features", "photometry"):
        log.info(
            "realism: %d real and %d painted lenses, by %s: AUC %.3f (95 %%: %.3f-%.3f)",
            result["n_real"], result["n_injected"], space,
            *(result[f"auc_{space}{end}"] for end in ("", "_low", "_high")),
        )  # fmt: skip
    log.info(
        "realism: found %.1f %% of real and %.1f %% of painted lenses; scores differ by %.2f "
        "(Kolmogorov and Smirnov, p %.2g)",
        100 * result["found_real"], 100 * result["found_injected"], result["ks"], result["ks_p"],
    )  # fmt: skip
