"""Damage to a survey's FITS files, at random, and what the search makes of it."""

import contextlib
import logging
import os
import shutil
import tempfile
import traceback
import warnings
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
from astropy.io import fits
from helpers import tiny_sky

from lenspipe.config.flags import FLAGS
from lenspipe.config.paths import SkyPaths
from lenspipe.config.settings import load_settings
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.footprint.plan import load_plan
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest

BAD, GOOD, OTHER = tiny_sky.BRICKS[:3]
COADDS = [(kind, band) for band in "grz" for kind in ("image", "invvar")] + [("maskbits", None)]
BLOCK = 2880
#: Cards that say which pixels these are; wrong ones are seen even where the checksums are right.
WHERE = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "PC1_1",
         "BRICK", "IMTYPE", "FILTERX")  # fmt: skip
TEXTS = ("type", "brickname")


def fuzz_fits(seed: int, number: int) -> list[str]:
    """Damage files of a brick in many ways, search it and an undamaged one, and compare.

    Returns
    -------
    list of str
        A line for each stack trace, failure that says too little, lost brick, and silent change of
        pixels.
    """
    before = Path.cwd()
    logging.getLogger("lenspipe").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            return _fuzz(seed, number)
        finally:
            os.chdir(before)
            logging.getLogger("lenspipe").setLevel(logging.NOTSET)


def _fuzz(seed, number):
    settings = _make_survey(seed)
    (chunk,) = load_plan(settings)
    paths = settings.survey_paths
    files = [paths.coadd("south", BAD, *coadd) for coadd in COADDS]
    tractor = paths.tractor("south", BAD)
    _search(settings, chunk)
    expected = {brick: read_cutouts(settings.paths.cutouts(brick)) for brick in (BAD, GOOD)}
    originals = {path: path.read_bytes() for path in [*files, tractor]}
    problems = []
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        on_tractor = rng.random() < 0.4
        path = tractor if on_tractor else files[rng.integers(len(files))]
        damages = TRACTOR if on_tractor else COADD
        name = sorted(damages)[rng.integers(len(damages))]
        silent = None
        with contextlib.suppress(FileNotFoundError):
            silent = damages[name](path, rng, paths)
        line = f"{seed}/{i} {name} {path.name}"
        try:
            _search(settings, chunk)
            problems += [
                f"{line}: {text}" for text in _problems(settings, chunk, expected, path, silent)
            ]
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            problems.append(f"{line}: {type(error).__name__} in {place}: {str(error)[:200]}")
        path.write_bytes(originals[path])
    return problems


def _make_survey(seed):
    tree = Path("tree")
    tiny_sky.write_sky(SkyPaths(tree), seed)
    settings = load_settings(
        {
            "run": "fuzz",
            "survey": {"release": "dr9", "tree": str(tree)},
            "footprint": {"bricks": [BAD, GOOD]},
            "chunks": {"nside": 1},
            "cutouts": {"size": 21},
            "sample": {"known_lenses": str(SkyPaths(tree).known_lenses)},
        }
    )
    paths = settings.survey_paths
    for brick in (BAD, GOOD, OTHER):
        for kind, band in COADDS:
            with fitsio.FITS(paths.coadd("south", brick, kind, band), "rw") as hdus:
                hdus[1].write_key("BRICK", brick)
                hdus[1].write_key("IMTYPE", kind)
                hdus[1].write_key("FILTERX", band or "grz")
                hdus[1].write_checksum()
        with fitsio.FITS(paths.tractor("south", brick), "rw") as hdus:
            hdus[1].write_checksum()
    return settings


def _search(settings, chunk):
    parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)


def _problems(settings, chunk, expected, path, silent):
    """Yield what is wrong with the outcome; `silent` is what the damage may do unnoticed."""
    manifests = {
        stage: read_manifest(settings.paths.manifest(stage, chunk))
        for stage in ("parent", "cutouts")
    }
    parent = pd.read_parquet(settings.paths.parent(chunk))
    audit = pd.read_csv(settings.paths.parent_audit(chunk))
    for brick, (images, catalog) in expected.items():
        entry = manifests["cutouts"][brick]
        if brick == GOOD:
            if entry["status"] != "done" or entry["count"] != len(images):
                yield f"the undamaged brick is {entry}"
            continue
        if entry["status"] == "failed":
            reason = entry["reason"]
            if silent == "harmless":
                yield f"a file that is right is refused: {reason}"
            if "\n" in reason or path.name not in reason or len(reason) > 400:
                yield f"reason: {reason!r}"
            continue
        if silent == "anything":
            continue
        rows = parent[parent["brick"] == brick]
        its_images, its_catalog = (
            read_cutouts(settings.paths.cutouts(brick)) if len(rows) else (images[:0], catalog[:0])
        )
        lost = set(catalog["id"]) - set(its_catalog["id"])
        if len(lost) > audit["removed"].sum():
            yield f"{len(lost)} galaxies are lost, the audit counts {audit['removed'].sum()}"
        if silent == "harmless" and (lost or set(its_catalog["id"]) - set(catalog["id"])):
            yield "other galaxies"
        if not its_catalog["id"].is_unique or not np.isfinite(its_catalog[["ra", "dec"]]).all(None):
            yield "galaxies with the same id or without a position"
        places = pd.Index(catalog["id"]).get_indexer(its_catalog["id"])
        if silent != "pixels" and (places < 0).any():
            yield "galaxies that are not in the catalogue"
            continue
        equal = np.isclose(its_images, images[places], rtol=0, atol=2e-4, equal_nan=True)
        flagged = (its_catalog["flags"] & int(FLAGS.NONFINITE | FLAGS.MISSING_BAND)) > 0
        wrong = ~equal.all(axis=(1, 2, 3)) & ~flagged.to_numpy()
        if wrong.any() and silent != "pixels":
            yield f"{wrong.sum()} of {len(wrong)} galaxies have other pixels"
        flags = its_catalog["flags"].to_numpy() != catalog["flags"].to_numpy()[places]
        if (flags & ~flagged).any() and silent != "pixels":
            yield f"{flags.sum()} galaxies have other flags"


# Damage: functions of a path, a random generator and the survey's paths. What they return may go
# unnoticed: "harmless" (nothing has changed), "pixels", "anything" or None.


def _flip(path, rng, paths, start=0, stop=None, number=20):
    data = bytearray(path.read_bytes())
    stop = min(stop or len(data), len(data))
    for place in rng.integers(start, stop, rng.integers(1, number)):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)


def flip_anywhere(path, rng, paths):
    """Flip some bytes."""
    _flip(path, rng, paths)


def flip_header(path, rng, paths):
    """Flip some bytes of the first headers."""
    _flip(path, rng, paths, 0, 4 * BLOCK, 4)


def text_in_header(path, rng, paths):
    """Write random bytes over some of the header's cards."""
    data = bytearray(path.read_bytes())
    for card in rng.integers(BLOCK // 80, 3 * BLOCK // 80, 2):
        data[80 * card + 10 : 80 * card + 30] = rng.bytes(20)
    path.write_bytes(data)


def truncate(path, rng, paths):
    """Cut the file short."""
    data = path.read_bytes()
    stop = int(rng.integers(0, len(data)))
    path.write_bytes(data[: stop if rng.random() < 0.5 else stop // BLOCK * BLOCK])


def other_content(path, rng, paths):
    """Write something else."""
    contents = [b"", b"<html>404</html>", rng.bytes(20_000), bytes(30_000), b"SIMPLE  ="]
    path.write_bytes(contents[rng.integers(len(contents))])


def append(path, rng, paths):
    """Add bytes at the end."""
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 5000))))


def hole(path, rng, paths):
    """Lose a block of a disk."""
    data = bytearray(path.read_bytes())
    start = int(rng.integers(0, len(data))) // 512 * 512
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(data)


def repeated(path, rng, paths):
    """Write a block over another."""
    data = bytearray(path.read_bytes())
    one, other = (int(x) // 512 * 512 for x in rng.integers(0, len(data) - 512, 2))
    data[one : one + 512] = data[other : other + 512]
    path.write_bytes(data)


def card(path, rng, paths):
    """Change any card of the last header; the checksums stay."""
    data = bytearray(path.read_bytes())
    start = data.index(b"XTENSION")
    end = data.index(b"END     ", start)
    place = start + 80 * int(rng.integers(0, (end - start) // 80))
    values = [
        b"0",
        b"-1",
        b"1",
        b"999999999",
        b"1E400",
        b"'A       '",
        b"T",
        b"NaN",
        b"\xff\xfe",
        b"",
    ]
    data[place + 10 : place + 80] = values[rng.integers(len(values))].rjust(20).ljust(70)
    path.write_bytes(data)


def card_without_sums(path, rng, paths):
    """Change any card of the last header, and remove the checksums."""
    _remove_sums(path)
    card(path, rng, paths)
    return "anything"


def flip_without_sums(path, rng, paths):
    """Flip some bytes of a file without checksums."""
    _remove_sums(path)
    _flip(path, rng, paths, BLOCK)
    return "anything"


def hole_without_sums(path, rng, paths):
    """Lose a block of a disk, of a file without checksums."""
    _remove_sums(path)
    hole(path, rng, paths)
    return "anything"


def _remove_sums(path):
    with fitsio.FITS(path, "rw") as hdus:
        hdus[1].delete_key("CHECKSUM")
        hdus[1].delete_key("DATASUM")


def place(path, rng, paths):
    """Change a card that says which pixels these are; the checksums are right."""
    with fitsio.FITS(path, "rw") as hdus:
        key = WHERE[rng.integers(len(WHERE))]
        value = hdus[1].read_header()[key]
        if path.name.count("maskbits") and key in ("IMTYPE", "FILTERX"):
            key, value = "CRPIX1", 200.5
        if isinstance(value, str):
            values = ["", "nonsense", "DEC--SIN", "0000p000", "y", "GLON-TAN"]
        else:
            values = [0, -1, 1e30, 2 * value + 1, value + 1, "text", np.nan]
        value = values[rng.integers(len(values))]
        if isinstance(value, float) and np.isnan(value):
            value = "NaN"
        hdus[1].write_key(key, value)
        hdus[1].write_checksum()


def other_file(path, rng, paths):
    """Put another file of the survey here."""
    choices = [paths.coadd("south", brick, *coadd) for brick in (BAD, OTHER) for coadd in COADDS]
    choices += [paths.tractor("south", brick) for brick in (BAD, OTHER)] + [paths.bricks("south")]
    choices.remove(path)
    shutil.copy(choices[rng.integers(len(choices))], path)


def absent(path, rng, paths):
    """Delete the file."""
    path.unlink()


def _rewrite(path, spoil=lambda image: image, cards=(), **options):
    """Write a coadd anew with other pixels."""
    with fitsio.FITS(path) as hdus:
        image, header = hdus[1].read(), hdus[1].read_header()
    header = {key: header[key] for key in (*WHERE, "PC2_2", "CUNIT1", "CUNIT2") if key in header}
    with fitsio.FITS(path, "rw", clobber=True) as hdus:
        hdus.write(spoil(image), header=header | dict(cards), **options)
        hdus[-1].write_checksum()


def other_compression(path, rng, paths):
    """Write the same pixels in another form."""
    forms = [{}, {"compress": "GZIP", "qlevel": 0}, {"compress": "GZIP_2", "qlevel": 0}]
    forms += [{"compress": "GZIP", "qlevel": 0, "tile_dims": [400, 1]}]
    forms += [{"compress": "GZIP", "qlevel": 0, "tile_dims": [70, 130]}]
    _rewrite(path, **forms[rng.integers(len(forms))])
    return "harmless"


def non_finite(path, rng, paths):
    """Write NaN and infinities into an image."""
    values = np.array([np.nan, np.inf, -np.inf, 3e38])

    def spoil(image):
        if image.dtype.kind == "f":
            x, y = rng.integers(0, len(image), (2, 500))
            image[y, x] = rng.choice(values[:3], 500)
        return image

    _rewrite(path, spoil, compress="GZIP", qlevel=0)
    return "pixels" if "invvar" in path.name else None


def other_shape(path, rng, paths):
    """Write an image of another shape or type."""
    shapes = [lambda i: i[:-1], lambda i: i[:, 3:], lambda i: np.pad(i, 5), lambda i: i[None]]
    shapes += [
        lambda i: i[:0],
        lambda i: i.ravel(),
        lambda i: np.tile(i, (2, 2)),
        lambda i: i[:1, :1],
    ]
    spoil = shapes[rng.integers(len(shapes))]
    if spoil(np.zeros((9, 9))).size:
        _rewrite(path, spoil)
    else:
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU()]).writeto(path, overwrite=True)


def other_type(path, rng, paths):
    """Write an image with pixels of another type."""
    is_mask = "maskbits" in path.name
    kinds = ["f4", "f8"] if is_mask else ["i2", "u1", "i4"]
    _rewrite(path, lambda image: image.astype(kinds[rng.integers(len(kinds))]))
    return None if is_mask or "image" in path.name else "pixels"


def _rewrite_table(path, spoil):
    with fitsio.FITS(path) as hdus:
        rows = hdus[1].read()
    columns = spoil({name: rows[name] for name in rows.dtype.names})
    with fitsio.FITS(path, "rw", clobber=True) as hdus:
        hdus.write(columns)
        hdus[-1].write_checksum()


def column_kind(path, rng, paths):
    """Write a column of another kind or shape."""

    def spoil(columns):
        name = list(columns)[rng.integers(len(columns))]
        values = columns[name]
        if name in TEXTS:
            forms = [np.arange(len(values)), np.zeros(len(values)), np.stack([values] * 2, 1)]
        else:
            forms = [values.astype("S"), np.stack([values] * 3, 1), values.astype("c16")]
            forms += [np.array(["x"] * len(values)), values[:, None, None]]
        columns[name] = forms[rng.integers(len(forms))]
        return columns

    _rewrite_table(path, spoil)
    return "pixels"


def column_absent(path, rng, paths):
    """Leave a column out, or give it another name."""

    def spoil(columns):
        name = list(columns)[rng.integers(len(columns))]
        values = columns.pop(name)
        return columns | ({"x" + name: values} if rng.random() < 0.5 else {})

    _rewrite_table(path, spoil)
    return "anything"


def column_values(path, rng, paths):
    """Write wrong values into some rows of a column."""

    def spoil(columns):
        name = list(columns)[rng.integers(len(columns))]
        values = columns[name]
        some = rng.integers(0, len(values), rng.integers(1, 6))
        if values.dtype.kind == "f":
            values[some] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1, 0])
        elif values.dtype.kind == "U":
            values[some] = rng.choice(["", "XXX", "../x", "0000p000"])
        elif values.dtype.kind == "i":
            limits = np.iinfo(values.dtype)
            values[some] = rng.choice([limits.min, limits.max, -1, 0])
        return columns

    _rewrite_table(path, spoil)
    # Wrong numbers that could be right.
    return "anything"


def positions(path, rng, paths):
    """Write positions that are none."""

    def spoil(columns):
        name = ["ra", "dec", "flux_g", "flux_z"][rng.integers(4)]
        columns[name][rng.integers(0, len(columns[name]), 5)] = rng.choice(
            [np.nan, np.inf, -np.inf]
        )
        return columns

    _rewrite_table(path, spoil)


def large_numbers(path, rng, paths):
    """Write numbers beyond the catalogue's types."""

    def spoil(columns):
        name = ["objid", "brickid", "release", "maskbits", "nobs_g"][rng.integers(5)]
        values = columns[name].astype("i8")
        values[rng.integers(0, len(values), 3)] += 2 ** int(rng.integers(33, 60))
        return columns | {name: values}

    _rewrite_table(path, spoil)


def equal_numbers(path, rng, paths):
    """Write rows twice, or the same objid in two rows."""

    def spoil(columns):
        if rng.random() < 0.5:
            return {name: np.concatenate([v, v[:3]]) for name, v in columns.items()}
        columns["objid"][3] = columns["objid"][7]
        return columns

    _rewrite_table(path, spoil)


def no_rows(path, rng, paths):
    """Write a table without rows, or none."""
    if rng.random() < 0.5:
        with fits.open(path) as hdus:
            rows = hdus[1].data[:0].copy()
        fits.BinTableHDU(rows).writeto(path, overwrite=True)
    else:
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU()]).writeto(path, overwrite=True)


def beyond_ascii(path, rng, paths):
    """Write bytes beyond ASCII into texts."""

    def spoil(columns):
        name = TEXTS[rng.integers(2)]
        columns[name] = columns[name].astype("S8")
        columns[name][rng.integers(0, len(columns[name]))] = b"\xe9\xff\x80"
        return columns

    _rewrite_table(path, spoil)


def other_order(path, rng, paths):
    """Write the same rows in another order, or columns in capitals."""

    def spoil(columns):
        order = rng.permutation(len(columns["objid"]))
        upper = rng.random() < 0.5
        return {name.upper() if upper else name: v[order] for name, v in columns.items()}

    _rewrite_table(path, spoil)
    return "harmless"


def other_name(path, rng, paths):
    """Write another brick's name or number."""

    def spoil(columns):
        if rng.random() < 0.5:
            some = slice(None) if rng.random() < 0.5 else slice(3)
            columns["brickname"][some] = rng.choice([OTHER, "", "../../x", GOOD])
        else:
            columns["brickid"][:3] = rng.choice([0, -1, 331001, 5])
        return columns

    _rewrite_table(path, spoil)


_ANY = (flip_anywhere, flip_header, text_in_header, truncate, other_content, append, hole,
        repeated, card, card_without_sums, flip_without_sums, hole_without_sums, other_file,
        absent)  # fmt: skip
_COADD = (place, place, other_compression, non_finite, other_shape, other_type)
_TRACTOR = (column_kind, column_absent, column_values, positions, large_numbers, equal_numbers,
            no_rows, beyond_ascii, other_order, other_name)  # fmt: skip
COADD = {damage.__name__: damage for damage in (*_ANY, *_COADD)}
TRACTOR = {damage.__name__: damage for damage in (*_ANY, *_TRACTOR)}
