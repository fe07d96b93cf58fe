"""The standing checks as a page."""

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lenspipe.utils.html import write_html

__all__ = ["write_page"]

#: Number of outliers that are listed.
_N_OUTLIERS = 100


def write_page(
    report: Mapping[str, Any], outliers: pd.DataFrame, path: str | os.PathLike[str]
) -> None:
    """Write ``checks.html`` from the content of checks.json and drift.csv."""
    tables = {
        check["check"]: _format_table(pd.DataFrame(check["parts"]))
        for check in report["checks"]
        if check["parts"]
    }
    if len(outliers):
        heading = "Bricks and chunks that differ from their neighbours"
        tables[heading] = _format_table(outliers.head(_N_OUTLIERS))
    title = f"Checks of {report['run']}"
    write_html(path, "checks/page.html", title=title, checks=report["checks"], tables=tables)


def _format_table(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="", float_format="{:.3g}".format)
