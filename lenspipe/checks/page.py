"""The standing checks as a page."""

import html
import os

import pandas as pd

from lenspipe.products.checks import GREEN, RED
from lenspipe.utils.files import atomic

__all__ = ["write_page"]

_COLOURS = {GREEN: "#1a7f37", RED: "#c00000"}


def write_page(report: dict, outliers: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write ``checks.html`` from the content of checks.json and drift.csv."""
    title = html.escape(f"Checks of {report['run']}")
    rows = "\n".join(map(_format_row, report["checks"]))
    details = "\n".join(
        f"<h2>{html.escape(check['check'])}</h2>\n{_format_table(check['parts'])}"
        for check in report["checks"]
        if check["parts"]
    )
    if len(outliers):
        details += (
            "\n<h2>Bricks and chunks that differ from their neighbours</h2>\n"
            f"{_format_table(outliers.head(100))}"
        )
    with atomic(path) as temporary:
        temporary.write_text(f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: 0.2em 0.9em; text-align: left; border-bottom: 1px solid #ddd; }}
p {{ max-width: 60em; }}
</style>
<h1>{title}</h1>
<table>
<tr><th>check</th><th>status</th><th>number</th><th>limit</th><th>quantity</th><th>result</th></tr>
{rows}
</table>
<p>A red check stops nothing: docs/checks.md explains what it means and what to do.</p>
{details}
</html>
""")


def _format_row(check: dict) -> str:
    colour = _COLOURS.get(check["status"], "#777")
    number, bar = ("" if check[k] is None else f"{check[k]:.3g}" for k in ("number", "bar"))
    cells = [check["check"], check["status"], number, bar, check["what"] or "", check["why"]]
    name, status, *others = map(html.escape, cells)
    others_html = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr><td>{name}</td><td style="color: {colour}"><b>{status}</b></td>{others_html}</tr>'


def _format_table(rows: list[dict] | pd.DataFrame) -> str:
    return pd.DataFrame(rows).to_html(
        index=False, border=0, na_rep="", float_format="{:.3g}".format
    )
