"""The standing checks as a page."""

import html

import pandas as pd

from lenspipe.products.checks import GREEN, RED
from lenspipe.utils.files import atomic

__all__ = ["write_page"]

_COLOURS = {GREEN: "#1a7f37", RED: "#c00000"}


def write_page(settings, report, off, path):
    """Write ``checks.html``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    report : dict
        What checks.json holds.
    off : pandas.DataFrame
        What drift.csv holds.
    path : pathlib.Path
    """
    title = html.escape(f"Checks of {settings.run}")
    rows = "\n".join(map(_row, report["checks"]))
    details = "\n".join(
        f"<h2>{html.escape(check['check'])}</h2>\n{_table(check['parts'])}"
        for check in report["checks"]
        if check["parts"]
    )
    if len(off):
        details += f"\n<h2>Bricks and chunks that are off</h2>\n{_table(off.head(100))}"
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
<tr><th>check</th><th></th><th>number</th><th>bar</th><th>what the number is</th><th>found</th></tr>
{rows}
</table>
<p>A red check stops nothing: docs/checks.md says what it means and what to do.</p>
{details}
</html>
""")


def _row(check):
    colour = _COLOURS.get(check["status"], "#777")
    number, bar = ("" if check[k] is None else f"{check[k]:.3g}" for k in ("number", "bar"))
    cells = [check["check"], check["status"], number, bar, check["what"] or "", check["why"]]
    name, status, *rest = map(html.escape, cells)
    rest = "".join(f"<td>{cell}</td>" for cell in rest)
    return f'<tr><td>{name}</td><td style="color: {colour}"><b>{status}</b></td>{rest}</tr>'


def _table(rows):
    return pd.DataFrame(rows).to_html(
        index=False, border=0, na_rep="", float_format="{:.3g}".format
    )
