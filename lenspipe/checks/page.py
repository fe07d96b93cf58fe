"""The standing checks as a page."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.products.schema import DRIFT
from lenspipe.utils.html import write_html

__all__ = ["COLUMNS", "write_page"]

#: Number of outliers that are listed.
_N_OUTLIERS = 100

#: Column of the rows of a check in checks.json -> its heading on the page, and what it means.
COLUMNS = {
    "of": ("compared", "scores of random galaxies, or lenses and non-lenses of the sample"),
    "quantity": ("quantity", "observing condition, at the galaxy"),
    "band": ("band", "of that quantity"),
    "galaxies": ("within", "all: ranks within each region; within bricks: also within each brick"),
    "n": ("galaxies", "number of galaxies compared"),
    "correlation": ("correlation", "Spearman's rank correlation of score and quantity"),
    "p": (
        "p-value",
        "probability of at least this correlation, or difference, by chance; neighbours count as "
        "one witness",
    ),
    "rate_ratio": (
        "ratio of rates",
        "rate of high scores in the third with the largest values of the quantity over that in the "
        "third with the smallest, or the inverse if that is larger",
    ),
    "p_rates": ("p-value of the ratio", "probability of at least this ratio by chance"),
    "enough": (
        "measurable",
        "whether there are enough bricks for the correlation to be significant at all; only then "
        "it counts in the number of the check",
    ),
    "distance": ("distance", "of Kolmogorov and Smirnov, between lenses and non-lenses"),
    "region": ("region", "of the survey"),
    "n_random": ("random galaxies", "number of random galaxies"),
    "rate": ("rate", "fraction of the random galaxies with a high score"),
    "n_lenses": ("lenses", "number of lenses trained on"),
    "n_non_lenses": ("non-lenses", "number of non-lenses trained on"),
    "what": ("what is counted", "galaxies, records, names or pairs that are counted"),
    "number": ("number", "how many there are"),
    "judged": ("counts", "whether any of them makes the check red; others are for information"),
    "bricks": ("bricks", "number of bricks compared with their neighbours"),
    "chunks": ("chunks", "number of chunks compared with their neighbours"),
    "largest_deviation": ("largest deviation", "in units of the scatter of the scores"),
}


def write_page(
    report: Mapping[str, Any], outliers: pd.DataFrame, path: str | os.PathLike[str]
) -> None:
    """Write ``checks.html`` from the content of checks.json and drift.csv."""
    tables = {
        check["check"]: _describe(pd.DataFrame(check["parts"]), COLUMNS)
        for check in report["checks"]
        if check["parts"]
    }
    if len(outliers):
        meanings = {c.name: (c.name, c.description.replace("`", "")) for c in DRIFT}
        heading = "Bricks and chunks that differ from their neighbours"
        tables[heading] = _describe(outliers.head(_N_OUTLIERS), meanings)
    title = f"Checks of {report['run']}"
    write_html(path, "checks/page.html", title=title, checks=report["checks"], tables=tables)


def _describe(table: pd.DataFrame, meanings: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """A table as HTML with headings in words, and the meaning of each column."""
    known = {name: meanings.get(name, (name, "")) for name in table}
    shown = table.rename(columns={name: heading for name, (heading, _) in known.items()})
    shown = shown.map(
        lambda value: ("no", "yes")[int(value)] if isinstance(value, bool | np.bool_) else value
    )
    return {
        "html": shown.to_html(index=False, border=0, na_rep="", float_format="{:.3g}".format),
        "meanings": [pair for pair in known.values() if pair[1]],
    }
