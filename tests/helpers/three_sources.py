"""One survey as Tractor files, as sweeps and as tables of a TAP service, across its two regions."""

from types import SimpleNamespace

import numpy as np
import numpy.lib.recfunctions as rfn
from conftest import write_fits_table

from lenspipe.config.surveys.legacy import RELEASES

#: Brick -> (id, RA, Dec, region); the second lies across RA 150, the third across Dec 30.
BRICKS = {
    "1498p320": (506099, 149.85294117647058, 32.0, "south"),
    "1499p325": (511000, 149.95065789473682, 32.5, "north"),
    "1500p300": (480000, 149.98557692307693, 30.0, "south"),
    "1501p320": (506100, 150.14705882352942, 32.0, "south"),
}
#: This one is all stars, and these are reduced in the other region, too.
STARS, BOTH = "1501p320", ("1498p320", "1499p325")
RELEASE = {"south": 9010, "north": 9011}
DTYPE = np.dtype(
    [("release", "i2"), ("brickid", "i4"), ("brickname", "U8"), ("objid", "i4")]
    + [("brick_primary", "i2"), ("maskbits", "i2"), ("type", "U4"), ("ra", "f8"), ("dec", "f8")]
    + [(f"flux_{band}", "f4") for band in "grz"]
    + [(f"nobs_{band}", "i2") for band in "grz"]
    + [(f"{kind}_{band}", "f4") for kind in ("galdepth", "psfsize") for band in "grz"]
    + [(name, "f4") for name in ("sersic", "shape_r", "shape_e1", "shape_e2", "ebv", "fiberflux_g")]
)


def measure(rng, brick, region, number):
    """Rows of a brick that meet each of the cuts, and pass them, at its very edge."""
    brickid, ra, dec, _ = BRICKS[brick]
    rows = np.zeros(number, DTYPE)
    rows["release"], rows["brickid"], rows["brickname"] = RELEASE[region], brickid, brick
    if region == "south":
        rows["release"][::3] = 9012
    rows["objid"] = rng.permutation(number)
    rows["brick_primary"] = rng.random(number) < 0.9
    width = np.where(rows["brick_primary"], 0.12, 0.13)
    rows["ra"] = ra + width * rng.choice([-1, 1], number) * rng.uniform(0.2, 1, number)
    rows["dec"] = dec + width * rng.choice([-1, 1], number) * rng.uniform(0.2, 1, number)
    kinds = ["PSF", "DUP"] if brick == STARS else ["PSF", "REX", "EXP", "DUP", *["DEV", "SER"] * 4]
    rows["type"] = rng.choice(kinds, number)
    edge = np.float32(10)
    z = [-3, 0, edge, np.nextafter(edge, np.float32(0)), 9.9999, 10.0001, 9, *[30] * 9]
    rows["flux_z"] = np.array(z, "f4")[rng.integers(len(z), size=number)]
    rows["flux_z"] *= np.where(rows["flux_z"] > 20, rng.uniform(1, 50, number), 1)
    rows["flux_g"], rows["flux_r"] = rng.normal(1, 1, (2, number))
    for band in "grz":
        rows[f"nobs_{band}"] = rng.choice([0, 2, 3, 5, 8, 8, 8], number)
        rows[f"galdepth_{band}"] = rng.uniform(100, 900, number)
        rows[f"psfsize_{band}"] = rng.choice([np.nan, 1.1, 1.3], number)
    rows["maskbits"] = rng.choice([0, 0, 0, 0, 1 << 1, 1 << 5, 1 << 10, (1 << 13) + 1], number)
    rows["sersic"] = np.where(rows["type"] == "SER", rng.choice([1.99, 2, 4.5], number), 0)
    for name in ("shape_r", "shape_e1", "shape_e2", "ebv"):
        rows[name] = rng.random(number)
    rows["flux_r"][rng.integers(0, number, number // 10)] = np.inf
    return rows


def write_tractor(path, rows):
    """Write a Tractor file: strings padded, the primary ones a boolean."""
    columns = {name: rows[name] for name in DTYPE.names}
    columns["type"] = np.char.ljust(rows["type"], 4).astype("S4")
    columns["brickname"] = rows["brickname"].astype("S8")
    columns["brick_primary"] = rows["brick_primary"].astype(bool)
    write_fits_table(path, columns)


def write_sweeps(folder, rows):
    """Write primary objects in boxes of 10 x 5 degrees, columns in upper case."""
    rows = rows[rows["brick_primary"] == 1]
    corners = np.stack([rows["ra"] // 10 * 10, rows["dec"] // 5 * 5], axis=1).astype(int)
    for ra, dec in np.unique(corners, axis=0):
        inside = rows[(corners == (ra, dec)).all(axis=1)]
        columns = {name.upper(): inside[name] for name in DTYPE.names if name != "brick_primary"}
        columns |= {name: columns[name].astype("S") for name in ("TYPE", "BRICKNAME")}
        write_fits_table(
            folder / f"sweep-{ra:03d}p{dec:03d}-{ra + 10:03d}p{dec + 5:03d}.fits", columns
        )


def write_survey(folder, number=400, change=lambda rows: None):
    """Write the survey below a folder; `change` may change the rows of a brick.

    Returns an object with tables (name -> array, for `tap_server.Service`; regions apart),
    joint (the same in one table for both) and config (settings that search it).
    """
    rng = np.random.default_rng(11)
    paths = RELEASES["dr9"].paths(folder)
    grid = {"BRICKNAME": list(BRICKS), "BRICKID": np.array([b[0] for b in BRICKS.values()], "i4")}
    grid |= {"RA": [b[1] for b in BRICKS.values()], "DEC": [b[2] for b in BRICKS.values()]}
    write_fits_table(paths.all_bricks(), grid)
    regions = {}
    for region in RELEASE:
        names = [name for name, (*_, own) in BRICKS.items() if own == region or name in BOTH]
        primary = [BRICKS[name][3] == region for name in names]
        table = {"brickname": names, "ra": [BRICKS[name][1] for name in names]}
        table |= {"dec": [BRICKS[name][2] for name in names], "survey_primary": primary}
        table |= {"brickid": np.array([BRICKS[name][0] for name in names], "i4")}
        table |= {f"nexp_{band}": np.full(len(names), 5, "i2") for band in "grz"}
        write_fits_table(paths.bricks(region), table)
        measured = [measure(rng, name, region, number) for name in names]
        for rows in measured:
            change(rows)
        for name, rows in zip(names, measured, strict=True):
            write_tractor(paths.tractor(region, name), rows)
        regions[region] = np.concatenate(measured)
        write_sweeps(folder / region / "sweep" / "9.0", regions[region])
    config = {
        "run": "three",
        "survey": {"release": "dr9", "tree": str(folder)},
        "chunks": {"nside": 1},
        "sample": {"known_lenses": "known.csv"},
    }
    return SimpleNamespace(
        folder=folder,
        tables={f"ls_dr9.tractor_{region[0]}": rows for region, rows in regions.items()},
        joint={"ls_dr9.tractor": np.concatenate(list(regions.values()))},
        config=config,
    )


def without(tables, *columns):
    """Drop columns of tables."""
    return {name: rfn.drop_fields(rows, columns) for name, rows in tables.items()}
