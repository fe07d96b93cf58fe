"""Tests of lenspipe.utils.fits: file names that mean something else to CFITSIO."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from lenspipe.products.cutouts import read_cutouts, write_cutouts
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.fits import create_fits, open_fits, read_fits_table

NAMES = [
    *("a.fits", "a b.fits", "a[1].fits", "run [v2]/a.fits", "a+1.fits", "a.fits+1", "a(b).fits"),
    *(
        "!a.fits",
        "~/a.fits",
        "$HOME/a.fits",
        "-",
        "stdin",
        "a.fits.gz",
        "a",
        "ä.fits",
        "mem:a.fits",
    ),
    *("x{1}.fits", "a;b.fits", "a=b.fits", "a,b.fits", "file:a.fits", "a.fits[EVENTS]"),
]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_as_it_is(name, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    with create_fits(path) as fits:
        fits.write(np.array([(1, 2.5)], [("id", "i4"), ("ra", "f8")]))
    files = [str(file) for file in Path().rglob("*") if file.is_file()]
    assert files == [str(path)]
    # CFITSIO itself compresses what is called so.
    if zipped and not name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    for given in (path, path.absolute()):
        assert read_fits_table(given, ["id", "ra"])["ra"].tolist() == [2.5]
    # No other file is taken in its place.
    path.rename("other.gz")
    with pytest.raises(LenspipeError, match="no such file"), open_fits(path):
        pass


def test_cutouts_in_a_folder_with_brackets(tmp_path, monkeypatch):
    import pandas as pd
    from astropy.io import fits

    path = tmp_path / "run [v2]" / "150" / "1501p320.fits"
    catalog = pd.DataFrame({"id": ["1-2-3"], "ra": [1.0]})
    write_cutouts(path, np.zeros((1, 3, 5, 5), "f4"), catalog, fits.Header())
    images, table = read_cutouts(path)
    assert images.shape == (1, 3, 5, 5)
    assert len(table) == 1


def test_only_one_module_gives_names_to_cfitsio():
    package = Path(__file__).resolve().parents[2] / "lenspipe"
    words = ("fitsio.FITS(", "fitsio.read", "fitsio.write", "from fitsio")
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(word in path.read_text() for word in words)
    ]
    assert found == ["utils/fits.py"]
