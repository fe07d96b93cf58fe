"""The simulated sky as a Legacy Surveys DR9 tree: bricks rendered, observed and written."""

import functools
import gzip
import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table

from lenspipe.config.data import Simulation
from lenspipe.config.paths import SkyPaths
from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.footprint.select import select_bricks
from lenspipe.products.files import write_json
from lenspipe.simulation.conditions import BANDS, Conditions, draw_conditions, exposure_map
from lenspipe.simulation.population import CONFUSING, draw_population
from lenspipe.simulation.rendering import Stamp, render_brick
from lenspipe.simulation.survey import (
    BRICK_PIXELS,
    MASK_BITS,
    PIXEL_SCALE_ARCSEC,
    RELEASE,
    ZERO_POINT_MAG,
)
from lenspipe.simulation.tractor import RELEASE_NUMBER, write_tractor
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.fits import create_fits
from lenspipe.utils.hashing import file_hash
from lenspipe.utils.progress import end_with, log
from lenspipe.utils.tables import write_table

__all__ = ["likely_published", "simulate"]

#: Flux per pixel above which a detector saturates, nanomaggies.
SATURATION = 20.0

#: Minimum Einstein radius and arc signal to noise of the planted lenses that earlier searches are
#: likely to have published: a fraction ``simulation.known_fraction`` of them is listed as known.
LIKELY_PUBLISHED_THETA_E_ARCSEC = 1.0
LIKELY_PUBLISHED_ARC_SNR = 10.0

#: Fractions of the remaining lenses, and of the confusing galaxies, that have been published.
PUBLISHED_FRACTION_OTHER = 0.2
PUBLISHED_FRACTION_CONFUSING = 0.6
_TRUTH = [
    "brick", "brickid", "objid", "id", "region", "ra", "dec", "kind", "type", "redshift",
    "flux_g", "flux_r", "flux_z", "r_half", "z_lens", "z_source", "theta_e_arcsec", "arc_mag_g",
    "arc_snr", "primary",
]  # fmt: skip


def likely_published(truth: pd.DataFrame) -> np.ndarray:
    """Mask of the planted lenses that earlier searches are likely to have published.

    They are wide and bright enough (`LIKELY_PUBLISHED_THETA_E_ARCSEC`,
    `LIKELY_PUBLISHED_ARC_SNR`) to be listed as known with probability
    ``simulation.known_fraction``.
    """
    wide = truth["theta_e_arcsec"] >= LIKELY_PUBLISHED_THETA_E_ARCSEC
    return (wide & (truth["arc_snr"] >= LIKELY_PUBLISHED_ARC_SNR)).to_numpy()


def simulate(
    settings: Settings, workers: int | None = None, root: str | os.PathLike[str] | None = None
) -> None:
    """Make the simulated sky; existing bricks made from the same settings are kept.

    Parameters
    ----------
    settings
        With a ``simulation`` section.
    workers
        Number of processes; all cores if not given.
    root
        Folder of the sky; that of the run if not given.

    Raises
    ------
    LenspipeError
        The settings describe real data.
    """
    simulation = settings.simulation
    if simulation is None:
        raise LenspipeError(
            "config key simulation: missing; a simulated sky needs that section (it may be empty: "
            "simulation: {})"
        )
    grid = brick_grid(RELEASE.brick_deg).table
    jobs = _jobs(select_bricks(settings), grid, simulation.overlap)
    paths = SkyPaths(root or settings.paths.sky)
    workers = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(
        max_workers=min(workers, len(jobs)), initializer=end_with, initargs=(os.getpid(),)
    ) as pool:
        begin = time.monotonic()
        pending = {
            pool.submit(_make_brick, settings.seed, simulation, paths, job, key)
            for job, key in ((job, content_key("simulate", settings, job)) for job in jobs)
        }
        while pending:
            done, pending = wait(pending, timeout=10, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            made, seconds = len(jobs) - len(pending), time.monotonic() - begin
            log.info("simulated bricks: %d of %d in %.0f s", made, len(jobs), seconds)
    _write_all_bricks(paths, grid)
    _assemble(settings.seed, simulation.known_fraction, paths, jobs)


def _jobs(bricks: pd.DataFrame, grid: pd.DataFrame, overlap: bool) -> list[dict[str, Any]]:
    """List the bricks to make, each with its region, edges and neighbours."""
    bricks = bricks.assign(primary=True)
    if overlap:
        south = bricks[bricks["region"] == "south"].sort_values(["dec", "ra"])
        if len(south):
            in_north_too = south.iloc[[-1]].assign(region="north", primary=False)
            bricks = pd.concat([bricks, in_north_too], ignore_index=True)
    by_name = grid.set_index("brickname", drop=False)
    jobs = []
    for row in bricks.itertuples():
        brick = by_name.loc[row.brick]
        near = np.abs(grid["dec"] - brick["dec"]) < 0.26
        step = np.abs((grid["ra"] - brick["ra"] + 180) % 360 - 180) * np.cos(
            np.radians(brick["dec"])
        )
        neighbours = grid[near & (step < 0.4)]
        jobs.append(
            {
                "brick": {name: _plain(brick[name]) for name in _BRICK_FIELDS},
                "region": row.region,
                "primary": row.primary,
                "around": [
                    {name: _plain(neighbour[name]) for name in _BRICK_FIELDS}
                    for _, neighbour in neighbours.iterrows()
                ],
            }
        )
    return jobs


_BRICK_FIELDS = ("brickname", "brickid", "ra", "dec", "ra1", "ra2", "dec1", "dec2")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _make_brick(
    seed: int, simulation: Simulation, paths: SkyPaths, job: dict[str, Any], key: str
) -> None:
    """Make one brick unless its truth, which is written last, exists with the same key."""
    path = paths.part(job["region"], job["brick"]["brickname"])
    if path.exists() and pd.read_parquet(path).attrs.get("key") == key:
        return
    brick, region = job["brick"], job["region"]
    north = region == "north"
    sources, components = _gather(seed, simulation, job)
    conditions = draw_conditions(seed, brick["brickid"], region)
    fwhm = {band: conditions[band].fwhm_arcsec for band in BANDS}
    lenses = sources[sources["kind"] == "lens"].set_index("number").to_dict("index")
    canvas, arcs = render_brick(
        components, lenses, components["x"].to_numpy(), components["y"].to_numpy(), fwhm
    )
    maps: dict[str, Any] = {"nexp": {}, "invvar": {}, "sigma": {}}
    for band in BANDS:
        exposures = exposure_map(seed, band, region, brick["ra"], brick["dec"])
        sky = np.float32(conditions[band].sigma_one) ** 2 / exposures
        saturated = canvas[band] > SATURATION
        maps["nexp"][band] = exposures
        maps["invvar"][band] = np.where(saturated, 0, 1 / sky).astype(np.float32)
        maps["sigma"][band] = np.sqrt(
            sky + conditions[band].shot_variance(canvas[band], exposures)
        ).astype(np.float32)
    maps["maskbits"] = _maskbits(sources, brick, canvas)
    rng = np.random.default_rng([seed, brick["brickid"], north, 13])
    for band in BANDS:
        noise = rng.standard_normal((BRICK_PIXELS, BRICK_PIXELS), dtype=np.float32)
        canvas[band] += noise * maps["sigma"][band]
        coadds = {
            "image": canvas[band],
            "invvar": maps["invvar"][band],
            "nexp": maps["nexp"][band],
            "psfsize": np.full_like(canvas[band], fwhm[band]),
        }
        for kind, image in coadds.items():
            coadd = paths.coadd(region, brick["brickname"], kind, band)
            _write_coadd(coadd, kind, [image], brick, band)
    wise = np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.uint8)
    planes = [maps["maskbits"], wise, wise]
    coadd = paths.coadd(region, brick["brickname"], "maskbits")
    _write_coadd(coadd, "maskbits", planes, brick, "grz")

    inside = sources["bx"].between(-0.5, BRICK_PIXELS - 0.5) & sources["by"].between(
        -0.5, BRICK_PIXELS - 0.5
    )
    listed = sources[inside].sort_values(["by", "bx"], ignore_index=True)
    brick["ebv"] = 0.015 + 0.02 * np.random.default_rng([seed, brick["brickid"], 14]).random()
    tractor = paths.tractor(region, brick["brickname"])
    write_tractor(tractor, rng, listed, brick, region, maps, conditions)
    truth = _truth(listed, job, arcs, maps["sigma"])
    truth.attrs = {"key": key, "brick": _brick_row(job, listed, maps, conditions)}
    with atomic(path) as temporary:
        truth.to_parquet(temporary)


@functools.lru_cache(32)
def _population(
    seed: int, brick: tuple[tuple[str, Any], ...], simulation: Simulation
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sources of a brick, cached because each brick is also a neighbour of its neighbours."""
    return draw_population(seed, dict(brick), simulation)


def _gather(
    seed: int, simulation: Simulation, job: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sources and components on a brick's image: its own, and its neighbours' near the edge."""
    wcs = brick_wcs(job["brick"]["ra"], job["brick"]["dec"], RELEASE)
    all_sources, all_components = [], []
    for brick in job["around"]:
        sources, components = _population(seed, tuple(brick.items()), simulation)
        # Joining an empty table of companions turns columns into type object.
        sources, components = sources.infer_objects(), components.copy()
        offset = 10**5 * brick["brickid"]
        sources["number"] += offset
        components["number"] += offset
        sources["bx"], sources["by"] = wcs.all_world2pix(sources["ra"], sources["dec"], 0)
        components["x"], components["y"] = wcs.all_world2pix(components["ra"], components["dec"], 0)
        components["x"] += components["dx"] / PIXEL_SCALE_ARCSEC
        components["y"] += components["dy"] / PIXEL_SCALE_ARCSEC
        sources["primary"] = brick["brickname"] == job["brick"]["brickname"]
        # Bright stars reach further than galaxies.
        bright = (components["profile"] == "psf") & (components["flux_r"] > 1000)
        reach = np.where(bright, 1200, 100)
        near = (np.abs(components[["x", "y"]] - BRICK_PIXELS / 2).max(axis=1)) < (
            BRICK_PIXELS / 2 + reach
        )
        all_components.append(components[near])
        all_sources.append(sources[sources["number"].isin(components["number"][near])
                                   | (sources["kind"] == "companion")])  # fmt: skip
    return (
        pd.concat(all_sources, ignore_index=True),
        pd.concat(all_components, ignore_index=True),
    )


def _maskbits(
    sources: pd.DataFrame, brick: Mapping[str, Any], canvas: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Mask of a brick: pixels outside its own area, around bright stars, and saturated ones."""
    mask = np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.int16)
    offset = (np.arange(BRICK_PIXELS) - (BRICK_PIXELS - 1) / 2) * PIXEL_SCALE_ARCSEC / 3600
    dec = brick["dec"] + offset
    ra = brick["ra"] - offset / np.cos(np.radians(brick["dec"]))
    outside_ra = (ra < brick["ra1"]) | (ra >= brick["ra2"])
    outside_dec = (dec < brick["dec1"]) | (dec >= brick["dec2"])
    mask[outside_dec[:, None] | outside_ra[None, :]] |= 1 << MASK_BITS["NPRIMARY"]
    mags = to_magnitude(sources["flux_r"], ZERO_POINT_MAG)
    stars = sources[(sources["kind"] == "star") & (mags < 16)]
    for x, y, mag in zip(stars["bx"], stars["by"], mags[stars.index], strict=True):
        # Radius of the survey's masks around stars (https://www.legacysurvey.org/dr9/external/).
        radius = 1630 * 1.396**-mag / PIXEL_SCALE_ARCSEC
        bit = MASK_BITS["BRIGHT"] if mag < 13 else MASK_BITS["MEDIUM"]
        x0, x1 = (int(np.clip(v, 0, BRICK_PIXELS)) for v in (x - radius, x + radius + 1))
        y0, y1 = (int(np.clip(v, 0, BRICK_PIXELS)) for v in (y - radius, y + radius + 1))
        rows, columns = np.ogrid[y0:y1, x0:x1]
        mask[y0:y1, x0:x1] |= ((columns - x) ** 2 + (rows - y) ** 2 < radius**2) * np.int16(
            1 << bit
        )
    for band in BANDS:
        saturated = canvas[band] > SATURATION
        bits = RELEASE.mask((f"SATUR_{band.upper()}", f"ALLMASK_{band.upper()}"))
        mask |= saturated * np.int16(bits)
    return mask


def _write_coadd(
    path: str | os.PathLike[str],
    kind: str,
    images: Iterable[np.ndarray],
    brick: Mapping[str, Any],
    band: str,
) -> None:
    """Write images compressed as the survey does: Rice, 100x100 tiles, dithered, steps of 1e-4."""
    header = brick_wcs(brick["ra"], brick["dec"], RELEASE).to_header()
    records = [
        {"name": card.keyword, "value": card.value, "comment": card.comment}
        for card in header.cards
        if card.keyword not in ("DATE", "DATE-OBS", "MJDREF", "LATPOLE", "LONPOLE", "WCSAXES")
    ]
    records += [
        {"name": "CD1_1", "value": -PIXEL_SCALE_ARCSEC / 3600},
        {"name": "CD1_2", "value": 0.0},
        {"name": "CD2_1", "value": 0.0},
        {"name": "CD2_2", "value": PIXEL_SCALE_ARCSEC / 3600},
        {"name": "BRICKNAM", "value": brick["brickname"], "comment": "LegacySurvey brick"},
        {"name": "BRICKID", "value": brick["brickid"], "comment": "LegacySurvey brick id"},
        {"name": "BRICKRA", "value": brick["ra"], "comment": "[deg] Brick center"},
        {"name": "BRICKDEC", "value": brick["dec"], "comment": "[deg] Brick center"},
        {"name": "DRVERSIO", "value": 9000, "comment": "Survey data release number"},
        {"name": "FILTER", "value": band, "comment": "Bands of this image"},
        {"name": "SIMULATD", "value": True, "comment": "A simulated sky, not the real one"},
    ]
    records = [r for r in records if not r["name"].startswith(("PC", "CDELT"))]
    # One dither per file, as in the survey, set by the brick so that equal seeds give equal bytes.
    dither = 1 + (brick["brickid"] * 7 + ord(band[0])) % 10000
    with atomic(path) as temporary, create_fits(temporary) as handle:
        for image in images:
            # Images are quantised in steps of 1e-4, other maps relative to their noise, which
            # keeps constant maps exact.
            options = {
                "qlevel": -1e-4 if kind == "image" else 16,
                "qmethod": "SUBTRACTIVE_DITHER_2",
                "dither_seed": dither,
            }
            handle.write(
                image,
                header=records,
                compress="RICE",
                tile_dims=[100, 100],
                **(options if image.dtype.kind == "f" else {}),
            )


def _planted_arc_snr(stamps: Sequence[Stamp], sigma: Mapping[str, np.ndarray]) -> float:
    """Signal to noise of planted arcs in the best band.

    Defined as in `lenspipe.simulation.injection.arc_snr`, in single precision, with the noise maps
    of a whole brick.
    """
    best = 0.0
    for band, (stamp, left, bottom) in zip(BANDS, stamps, strict=True):
        height, width = stamp.shape
        y0, y1 = max(bottom, 0), min(bottom + height, BRICK_PIXELS)
        x0, x1 = max(left, 0), min(left + width, BRICK_PIXELS)
        if y0 >= y1 or x0 >= x1:
            continue
        arc = stamp[y0 - bottom : y1 - bottom, x0 - left : x1 - left]
        noise = sigma[band][y0:y1, x0:x1]
        above = arc > noise
        if above.any():
            best = max(best, float(arc[above].sum() / np.sqrt((noise[above] ** 2).sum())))
    return best


def _truth(
    listed: pd.DataFrame,
    job: Mapping[str, Any],
    arcs: Mapping[int, Sequence[Stamp]],
    sigma: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    truth = listed.assign(
        brick=job["brick"]["brickname"], brickid=job["brick"]["brickid"], region=job["region"]
    )
    truth["objid"] = np.arange(len(truth), dtype=np.int32)
    release = RELEASE_NUMBER[job["region"]]
    truth["id"] = [f"{release}-{truth['brickid'].iloc[0]}-{i}" for i in truth["objid"]]
    lens = truth["kind"] == "lens"
    truth["z_lens"] = truth["redshift"].where(lens)
    truth["arc_snr"] = np.nan
    snr = [_planted_arc_snr(arcs[number], sigma) for number in truth.loc[lens, "number"]]
    truth.loc[lens, "arc_snr"] = snr
    truth["primary"] &= job["primary"]
    return truth[_TRUTH]


def _brick_row(
    job: Mapping[str, Any],
    listed: pd.DataFrame,
    maps: Mapping[str, Any],
    conditions: Mapping[str, Conditions],
) -> dict[str, Any]:
    """Row of the survey's table of bricks."""
    brick = job["brick"]
    row = {name: brick[name] for name in _BRICK_FIELDS}
    row["survey_primary"] = bool(job["primary"])
    row["ebv"] = brick["ebv"]
    primary = listed[listed["primary"]]
    row["nobjs"] = len(primary)
    for tractor_type in ("PSF", "REX", "EXP", "DEV", "SER"):
        row[f"n{tractor_type.lower()}"] = int((primary["type"] == tractor_type).sum())
    for band in BANDS:
        exposures = maps["nexp"][band]
        row[f"nexp_{band}"] = int(np.median(exposures))
        row[f"psfsize_{band}"] = float(conditions[band].fwhm_arcsec)
        s = conditions[band].fwhm_arcsec / 2.355 / PIXEL_SCALE_ARCSEC
        sigma = conditions[band].sigma_one / np.sqrt(np.median(exposures))
        row[f"psfdepth_{band}"] = float(1 / (4 * np.pi * s**2 * sigma**2))
    return row


def _write_all_bricks(paths: SkyPaths, grid: pd.DataFrame) -> None:
    """Write the table of all 662,174 bricks on the sky."""
    columns = ["brickname", "brickid", "brickq", "brickrow", "brickcol", *_BRICK_FIELDS[2:]]
    table = grid[columns].rename(columns=str.upper)
    _write_table(paths.all_bricks(), table)


def _write_table(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a gzipped FITS table without dates, so that equal tables give equal bytes."""
    plain = Table.from_pandas(table)
    for name in plain.colnames:
        if plain[name].dtype.kind == "O":
            plain[name] = plain[name].astype("S8")
    buffer = io.BytesIO()
    plain.write(buffer, format="fits")
    # Neither a file name nor a time in the gzip header.
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as handle,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as out,
    ):
        out.write(buffer.getvalue())


def _assemble(
    seed: int, known_fraction: float, paths: SkyPaths, jobs: Sequence[Mapping[str, Any]]
) -> None:
    """Write the files of the whole sky: brick tables, truth, published lists; the manifest last."""
    parts = [
        (job, pd.read_parquet(paths.part(job["region"], job["brick"]["brickname"]))) for job in jobs
    ]
    for region in paths.release.regions:
        rows = [part.attrs["brick"] for job, part in parts if job["region"] == region]
        if rows:
            _write_table(paths.bricks(region), pd.DataFrame(rows))
    truth = pd.concat([part for _, part in parts], ignore_index=True)
    with atomic(paths.truth) as temporary:
        truth.to_parquet(temporary)
    _publish(seed, known_fraction, paths, truth[truth["primary"]])
    hashes = {}
    for job, part in parts:
        tractor = Path(paths.tractor(job["region"], job["brick"]["brickname"]))
        content = file_hash(tractor)[:16]
        name = f"{job['region']}/{job['brick']['brickname']}"
        hashes[name] = {"key": part.attrs["key"], "tractor": content}
    write_json(paths.manifest, hashes, sort_keys=True)
    lenses = truth[(truth["kind"] == "lens") & truth["primary"]]
    log.info(
        "simulated sky: %d bricks, %d sources, %d lenses (%d of them likely to be published)",
        len(jobs), len(truth), len(lenses), likely_published(lenses).sum(),
    )  # fmt: skip


def _publish(seed: int, known_fraction: float, paths: SkyPaths, truth: pd.DataFrame) -> None:
    """Write what earlier searches would have published: some lenses, some false positives."""
    rng = np.random.default_rng([seed, 15])
    lenses = truth[truth["kind"] == "lens"].reset_index(drop=True)
    probability = np.where(likely_published(lenses), known_fraction, PUBLISHED_FRACTION_OTHER)
    known = lenses[rng.random(len(lenses)) < probability].reset_index(drop=True)
    score = (
        known["theta_e_arcsec"] * known["arc_snr"] * np.exp(0.3 * rng.standard_normal(len(known)))
    )
    grade = np.select([score > 60, score > 30], ["A", "B"], "C")
    # Published positions differ slightly from the true ones.
    ra = known["ra"] + rng.normal(0, 0.15 / 3600, len(known)) / np.cos(np.radians(known["dec"]))
    dec = known["dec"] + rng.normal(0, 0.15 / 3600, len(known))
    table = pd.DataFrame({"ra": ra.round(6), "dec": dec.round(6), "grade": grade})
    names = [f"SIM-{a:08.4f}{d:+08.4f}" for a, d in zip(ra, dec, strict=True)]
    table.insert(0, "name", names)
    write_table(paths.known_lenses, table)
    confusing = truth[truth["kind"].isin(list(CONFUSING))]
    confusing = confusing[rng.random(len(confusing)) < PUBLISHED_FRACTION_CONFUSING]
    write_table(paths.confusing, confusing[["ra", "dec", "kind"]].round(6))
