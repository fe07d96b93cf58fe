"""Cutouts as a data set of Hugging Face, with the columns of the Multimodal Universe."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.tables import chunks_of, read_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

__all__ = ["write_dataset"]

#: Filters as the Multimodal Universe names those of this survey.
_FILTERS = {"g": "DES-G", "r": "DES-R", "i": "DES-I", "z": "DES-Z"}


def write_dataset(settings: Settings, folder: Path) -> int:
    """Write all cutouts of a run with their scores, a Parquet file for each brick.

    ``datasets.load_dataset("parquet", data_files="<folder>/*.parquet")`` reads them, with features.
    Columns are those of images in the Multimodal Universe (2024, arXiv:2412.02527): ``object_id``
    (the id), ``ra``, ``dec``, ``image`` (for each band ``band``, ``flux`` in nanomaggies, row 0 in
    the south, ``psf_fwhm`` in arcsec, ``scale`` in arcsec per pixel); besides ``p`` and ``flags``.
    What a run does not keep (``ivar``, ``mask``) is left out. A brick whose file exists is not
    written again.

    Returns
    -------
    int
        Number of galaxies.

    Raises
    ------
    LenspipeError
        The library is not installed, or scores or cutouts are missing.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise LenspipeError(
            f"{error.name}: not installed; this format needs it: pip install 'lenspipe[exchange]'"
        ) from None
    paths, size, bands = settings.paths, settings.cutouts.size, settings.survey.bands
    cutouts, number = CutoutFiles.of(settings), 0
    scale = cutouts.release.pixel_scale_arcsec
    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "object_id": datasets.Value("string"),
            "ra": datasets.Value("float64"),
            "dec": datasets.Value("float64"),
            "p": datasets.Value("float32"),
            "flags": datasets.Value("int32"),
            "image": datasets.List(
                {
                    "band": datasets.Value("string"),
                    "flux": datasets.Array2D(shape=(size, size), dtype="float32"),
                    "psf_fwhm": datasets.Value("float32"),
                    "scale": datasets.Value("float32"),
                }
            ),
        }
    )
    for chunk in chunks_of(paths.bricks):
        scores = read_table(paths.scores(chunk), "scores", columns=["id", "brick", "p"])
        for brick, group in scores.groupby("brick"):
            number += len(group)
            path = folder / f"{brick}.parquet"
            if path.exists():
                continue
            p = group.set_index("id")["p"]
            rows = list(_rows(cutouts.path(str(brick)), p, bands, scale))
            with atomic(path) as temporary:
                datasets.Dataset.from_list(rows, features=features).to_parquet(str(temporary))
    return number


def _rows(path: Path, p: pd.Series, bands: Sequence[str], scale: float) -> Iterator[dict[str, Any]]:
    images, catalogue = read_cutouts(path)
    for image, row in zip(images, catalogue.to_dict("records"), strict=True):
        if row["id"] not in p.index:
            continue
        yield {
            "object_id": row["id"],
            "ra": row["ra"],
            "dec": row["dec"],
            "p": p[row["id"]],
            "flags": row["flags"],
            "image": [
                {
                    "band": _FILTERS.get(band, band),
                    "flux": flux,
                    "psf_fwhm": row.get(f"psfsize_{band}"),
                    "scale": scale,
                }
                for band, flux in zip(bands, image, strict=True)
            ],
        }
