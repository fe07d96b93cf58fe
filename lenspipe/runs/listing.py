"""Tables of galaxies with images, for pages: sortable, searchable, without a server."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.plotting.galaxy_pages import TILE_PIXELS, format_probability, page_layout
from lenspipe.products.schema import CANDIDATES, band_values, expand

__all__ = ["library", "listing"]

_STATIC = Path(__file__).parent / "static"

#: Columns that are shown; all others appear when a row is opened.
_SHOWN = ("rank", "name", "p", "grade", "mag", "type", "ra", "dec", "known_as")


@functools.cache
def library() -> dict[str, str]:
    """Return the scripts and styles of the tables, which pages contain."""
    names = ("dataTables.min.js", "dataTables.min.css", "listing.js", "listing.css")
    texts = {name.replace(".", "_"): (_STATIC / name).read_text("utf8") for name in names}
    return {"licence": (_STATIC / "dataTables.LICENSE.txt").read_text("utf8"), **texts}


def listing(
    table: pd.DataFrame,
    pages: Sequence[str],
    per_page: int,
    places: np.ndarray,
    *,
    bands: Sequence[str],
    columns: int,
    panels: Sequence[str],
    note: str = "",
) -> str:
    """Describe galaxies as JSON, for ``static/listing.js``.

    Parameters
    ----------
    table
        The galaxies, in the order of the rows of the page, with any columns.
    pages
        Addresses of the images that `lenspipe.plotting.galaxy_pages.draw_page` drew of them.
    per_page
        Galaxies on each.
    places
        Place of each galaxy among those drawn on all pages, from 0.
    columns, panels, note
        As for `draw_page`.

    Returns
    -------
    str
        JSON that is safe within a script element.
    """
    layout = page_layout(per_page, columns, panels, note)
    models = [name.removeprefix("p_") for name in table if name.startswith("p_")]
    known = {
        column.name: column
        for column in expand(CANDIDATES, {**band_values(bands), "model": models})
    }
    content = {
        "columns": [
            {
                "name": name,
                "unit": known[name].unit if name in known else "",
                "about": known[name].description if name in known else "",
            }
            for name in table
        ],
        "shown": [n for n in _with_band(bands) if n in table and not _is_empty(table[n])],
        "rows": [_plain(row) for row in table.to_dict("records")],
        "places": places.tolist(),
        "pages": list(pages),
        "per_page": per_page,
        "corners": layout.corners,
        "width": layout.width,
        "tile": TILE_PIXELS,
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _is_empty(values: pd.Series) -> bool:
    """Whether a column of texts says nothing, such as references of known lenses without any."""
    return len(values) > 0 and bool((values.astype(str) == "").all())


def _with_band(bands: Sequence[str]) -> list[str]:
    return [f"mag_{bands[-1]}" if name == "mag" else name for name in _SHOWN]


def _plain(row: Mapping[Any, Any]) -> list[Any]:
    """Values of a row as JSON has them; a probability as number and text."""
    return [
        [_json(value), format_probability(float(value))] if name == "p" else _json(value)
        for name, value in row.items()
    ]


def _json(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) or value is None else str(value)
