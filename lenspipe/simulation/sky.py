"""The simulated sky as a Legacy Surveys DR9 tree: bricks rendered, observed and written."""

import gzip
import io
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import replace
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
from lenspipe.simulation.artefacts import (
    BRIGHT_FLUX,
    GHOST_FLUX,
    SATURATION,
    add_bad_columns,
    add_bright_star,
    add_cosmic_rays,
    add_ghosts,
    add_sky_residuals,
    add_trails,
)
from lenspipe.simulation.brick import Patch, add_arcs, gather, paint
from lenspipe.simulation.catalogue import Conditions, detect
from lenspipe.simulation.dust import (
    TYPICAL_EBV,
    add_cirrus,
    at_positions,
    dust_map,
    transmission,
)
from lenspipe.simulation.exposures import (
    BANDS,
    SIGMA_ONE_EXPOSURE,
    TILE_PIXELS,
    Exposures,
    draw_exposures,
)
from lenspipe.simulation.noise import brick_noise, large_scale_noise, variance
from lenspipe.simulation.survey import (
    BRICK_PIXELS,
    MASK_BITS,
    PIXEL_SCALE_ARCSEC,
    RELEASE,
    ZERO_POINT_MAG,
)
from lenspipe.simulation.tractor import RELEASE_NUMBER, depths, write_tractor
from lenspipe.simulation.truth import lens_truth, publish
from lenspipe.survey.bricks import brick_grid, brick_wcs
from lenspipe.survey.photometry import to_magnitude
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.fits import create_fits
from lenspipe.utils.hashing import file_hash
from lenspipe.utils.progress import end_with, log

__all__ = ["simulate"]

_TRUTH = [
    "brick", "brickid", "objid", "id", "region", "ra", "dec", "kind", "type", "redshift",
    "flux_g", "flux_r", "flux_z", "r_half", "z_lens", "z_source", "theta_e_arcsec", "beta",
    "magnification", "arc_mag_g", "arc_snr", "visible", "grade", "primary",
]  # fmt: skip


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
    effects = simulation.effects
    patch = gather(seed, simulation, brick, job["around"])
    sources, components = patch.sources, patch.components
    if "cirrus" in effects:
        ebv = dust_map(seed, brick["ra"], brick["dec"])
        _redden(sources, ebv, sources["bx"], sources["by"])
        _redden(components, ebv, components["x"], components["y"])
        _redden_arcs(patch, ebv)
    else:
        ebv = np.full((1, 1), TYPICAL_EBV)
    exposures = _observe(seed, brick, region, effects)
    clean, saturated = _paint(seed, components, exposures, region, "bright_stars" in effects)
    relative = _relative_noise(region, effects)
    canvas, arcs = add_arcs(clean, patch, exposures, relative)
    rng = np.random.default_rng([seed, brick["brickid"], north, 13])
    if "ghosts" in effects:
        for star in sources[sources["kind"] == "star"].to_dict("records"):
            fluxes = [star[f"flux_{band}"] for band in BANDS]
            if max(fluxes) > GHOST_FLUX:
                star_rng = np.random.default_rng([seed, int(star["number"]), 18])
                add_ghosts(
                    [canvas[band] for band in BANDS], star["bx"], star["by"], fluxes, star_rng
                )
    if "cirrus" in effects:
        add_cirrus(canvas, ebv)
    maps: dict[str, dict[str, np.ndarray]] = {
        kind: {} for kind in ("nexp", "invvar", "psfsize", "sigma")
    }
    for band in BANDS:
        maps_of_band = _observe_band(rng, canvas[band], saturated[band], exposures[band], effects)
        for kind, image in maps_of_band.items():
            maps[kind][band] = image
    maskbits = _maskbits(sources, brick, saturated)
    for band in BANDS:
        coadds = {
            "image": canvas[band],
            "invvar": np.where(saturated[band], np.float32(0), maps["invvar"][band]),
            "nexp": maps["nexp"][band],
            "psfsize": maps["psfsize"][band],
        }
        for kind, image in coadds.items():
            coadd = paths.coadd(region, brick["brickname"], kind, band)
            _write_coadd(coadd, kind, [image], brick, band)
    wise = np.zeros((BRICK_PIXELS, BRICK_PIXELS), np.uint8)
    coadd = paths.coadd(region, brick["brickname"], "maskbits")
    _write_coadd(coadd, "maskbits", [maskbits, wise, wise], brick, "grz")

    detection_rng = np.random.default_rng([seed, brick["brickid"], north, 19])
    listed = detect(detection_rng, patch, arcs, clean, Conditions(maps, relative))
    inside = listed["bx"].between(-0.5, BRICK_PIXELS - 0.5) & listed["by"].between(
        -0.5, BRICK_PIXELS - 0.5
    )
    listed = listed[inside].sort_values(["by", "bx"], ignore_index=True)
    listed["ebv"] = at_positions(ebv, listed["bx"], listed["by"])
    listed["primary"] = listed["ra"].between(brick["ra1"], brick["ra2"], "left") & listed[
        "dec"
    ].between(brick["dec1"], brick["dec2"], "left")
    brick["ebv"] = float(np.median(ebv))
    tractor = paths.tractor(region, brick["brickname"])
    write_tractor(tractor, rng, listed, brick, region, {"maskbits": maskbits, **maps}, relative)
    of_lenses = lens_truth(patch.lenses, arcs, maps["sigma"])
    truth = _truth(listed, job, of_lenses)
    truth.attrs = {"key": key, "brick": _brick_row(job, listed, maps, relative)}
    with atomic(path) as temporary:
        truth.to_parquet(temporary)


def _observe(
    seed: int, brick: Mapping[str, Any], region: str, effects: Collection[str]
) -> dict[str, Exposures]:
    """Exposures of a brick in each band."""
    result = {}
    for band in BANDS:
        exposures = draw_exposures(
            seed, band, region, brick["ra"], brick["dec"], "missing_bands" in effects
        )
        result[band] = exposures if "varying_psf" in effects else exposures.without_variation()
    return result


def _paint(
    seed: int,
    components: pd.DataFrame,
    exposures: Mapping[str, Exposures],
    region: str,
    bright_stars: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Light of all sources but the arcs; masks of saturated pixels."""
    bright = np.zeros(len(components), bool)
    if bright_stars:
        fluxes = components[[f"flux_{band}" for band in BANDS]].max(axis=1)
        bright = ((components["profile"] == "psf") & (fluxes > BRIGHT_FLUX)).to_numpy()
    rest, stars = components[~bright], components[bright]
    canvas = paint(rest, exposures)
    bleeds = {band: np.zeros((BRICK_PIXELS, BRICK_PIXELS), bool) for band in BANDS}
    for star in stars.to_dict("records"):
        add_bright_star(
            [canvas[band] for band in BANDS], [bleeds[band] for band in BANDS],
            star["x"], star["y"], [star[f"flux_{band}"] for band in BANDS],
            [exposures[band].psf_at(star["x"], star["y"]) for band in BANDS], region,
            np.random.default_rng([seed, int(star["number"]), 17]),
        )  # fmt: skip
    saturated = {band: (canvas[band] > SATURATION) | bleeds[band] for band in BANDS}
    return canvas, saturated


def _redden(table: pd.DataFrame, ebv: np.ndarray, x: pd.Series, y: pd.Series) -> None:
    """Change the fluxes of sources from those behind typical dust to those behind this dust."""
    at = at_positions(ebv, x.to_numpy(), y.to_numpy())
    for band in BANDS:
        table[f"flux_{band}"] *= transmission(at - TYPICAL_EBV, band)


def _redden_arcs(patch: Patch, ebv: np.ndarray) -> None:
    """Redden the lensed sources like all others, in place."""
    places = patch.sources.set_index("number")[["bx", "by"]]
    for number, lens in patch.lenses.items():
        at = at_positions(ebv, *places.loc[[number]].to_numpy().T)[0]
        factor = np.array([transmission(at - TYPICAL_EBV, band) for band in BANDS])
        patch.lenses[number] = replace(lens, fluxes=lens.fluxes * factor)


def _observe_band(
    rng: np.random.Generator,
    image: np.ndarray,
    saturated: np.ndarray,
    exposures: Exposures,
    effects: Collection[str],
) -> dict[str, np.ndarray]:
    """Add the noise and the artefacts of exposures to an image, in place; return maps.

    These are the number of exposures (``nexp``), the inverse variance (``invvar``), not yet 0 where
    pixels are saturated, the FWHM of the PSF (``psfsize``), and the noise of sky and sources
    (``sigma``), as sums over many pixels have it.
    """
    region, band = exposures.region, exposures.band
    number, invvar = exposures.maps()
    if "bad_columns" in effects:
        add_bad_columns(exposures, number, invvar)
    if "missing_bands" not in effects:
        # One exposure where there is none.
        empty = number == 0
        number[empty], invvar[empty] = 1, SIGMA_ONE_EXPOSURE[region][band] ** -2
    pixel_variance = variance(image, invvar, band)
    image[saturated] = SATURATION
    image += brick_noise(rng, exposures, pixel_variance, "correlated_noise" in effects)
    if "sky_residuals" in effects:
        add_sky_residuals(image, exposures)
    if "trails" in effects:
        add_trails(image, exposures, number, invvar)
    if "cosmic_rays" in effects:
        add_cosmic_rays(image, exposures, number, invvar)
    empty = number == 0
    image[empty] = 0
    fwhm = [[psf.fwhm_arcsec for psf in row] for row in exposures.tile_psfs()]
    psfsize = np.array(fwhm, np.float32).repeat(TILE_PIXELS, axis=0).repeat(TILE_PIXELS, axis=1)
    psfsize[empty] = 0
    return {
        "nexp": number,
        "invvar": invvar,
        "psfsize": psfsize,
        "sigma": np.float32(_relative_noise(region, effects)[band]) * np.sqrt(pixel_variance),
    }


def _relative_noise(region: str, effects: Collection[str]) -> dict[str, float]:
    """Noise of sums over many pixels relative to what the inverse variance says, by band."""
    correlated = "correlated_noise" in effects
    return {band: large_scale_noise(region, band) if correlated else 1.0 for band in BANDS}


def _maskbits(
    sources: pd.DataFrame, brick: Mapping[str, Any], saturated: Mapping[str, np.ndarray]
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
        bits = RELEASE.mask((f"SATUR_{band.upper()}", f"ALLMASK_{band.upper()}"))
        mask |= saturated[band] * np.int16(bits)
    return mask


def _write_coadd(
    path: str | os.PathLike[str],
    kind: str,
    images: Iterable[np.ndarray],
    brick: Mapping[str, Any],
    band: str,
) -> None:
    """Write images compressed as the survey does: Rice, 100x100 tiles, dithered."""
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
            # Images are quantised in fixed steps, other maps relative to their noise, which keeps
            # constant maps exact.
            options = {
                "qlevel": -RELEASE.quantization_step if kind == "image" else 16,
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


def _truth(listed: pd.DataFrame, job: Mapping[str, Any], of_lenses: pd.DataFrame) -> pd.DataFrame:
    truth = listed.assign(
        brick=job["brick"]["brickname"], brickid=job["brick"]["brickid"], region=job["region"]
    )
    truth["objid"] = np.arange(len(truth), dtype=np.int32)
    release = RELEASE_NUMBER[job["region"]]
    truth["id"] = [f"{release}-{truth['brickid'].iloc[0]}-{i}" for i in truth["objid"]]
    truth = truth.join(of_lenses, on="number")
    truth["visible"] = truth["visible"].fillna(False).astype(bool)
    truth["grade"] = truth["grade"].fillna("")
    truth["primary"] &= job["primary"]
    return truth[_TRUTH]


def _brick_row(
    job: Mapping[str, Any],
    listed: pd.DataFrame,
    maps: Mapping[str, Mapping[str, np.ndarray]],
    relative_noise: Mapping[str, float],
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
        # One pixel in 100 is enough.
        number, psfsize, invvars = (
            maps[kind][band][5::10, 5::10] for kind in ("nexp", "psfsize", "invvar")
        )
        covered = number > 0
        row[f"nexp_{band}"] = int(np.median(number))
        if covered.any():
            fwhm, invvar = (float(np.median(values[covered])) for values in (psfsize, invvars))
            row[f"psfsize_{band}"] = fwhm
            sigma = relative_noise[band] / np.sqrt(invvar)
            row[f"psfdepth_{band}"] = float(depths(fwhm, sigma)[0])
        else:
            row[f"psfsize_{band}"] = row[f"psfdepth_{band}"] = 0.0
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
    publish(seed, known_fraction, paths, truth[truth["primary"]])
    hashes = {}
    for job, part in parts:
        tractor = Path(paths.tractor(job["region"], job["brick"]["brickname"]))
        content = file_hash(tractor)[:16]
        name = f"{job['region']}/{job['brick']['brickname']}"
        hashes[name] = {"key": part.attrs["key"], "tractor": content}
    write_json(paths.manifest, hashes, sort_keys=True)
    lenses = truth[(truth["kind"] == "lens") & truth["primary"]]
    log.info(
        "simulated sky: %d bricks, %d sources, %d lenses (%d of them visible)",
        len(jobs), len(truth), len(lenses), lenses["visible"].sum(),
    )  # fmt: skip
