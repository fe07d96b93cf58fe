"""The candidates as a plain HTML table."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Threshold
from lenspipe.utils.files import atomic

__all__ = ["write_html_page"]


def write_html_page(
    shown: pd.DataFrame,
    pages: np.ndarray,
    record: Mapping[str, Any],
    run: str,
    threshold: Threshold | None,
    paths: RunPaths,
) -> None:
    """Write ``candidates/candidates.html``.

    Parameters
    ----------
    shown
        Candidates as returned by `lenspipe.candidates.columns.order_columns`, without hidden ones.
    pages
        Number of the page of mosaics that shows each of them.
    record
        Content of ``threshold.json``.
    run
        Name of the run.
    threshold
        None for a list of targets.
    """
    rows = []
    for row, number in zip(shown.itertuples(), pages, strict=True):
        page = f"../mosaics/{paths.mosaic_page(number).name}"
        links = f'<a href="{page}">page {number}</a>'
        if "viewer" in shown:
            links += f' <a href="{html.escape(row.viewer)}">sky viewer</a>'
        rows.append(
            f'<tr><td>{row.rank}<td class="name">{html.escape(row.name)}<td>{row.p:.4f}'
            f"<td>{row.ra:.5f}<td>{row.dec:+.5f}<td>{html.escape(row.known_as)}<td>{links}"
        )
    body = "\n".join(rows) or '<tr><td colspan="7">No galaxy passed the threshold.'
    title = html.escape(f"{'Lens candidates' if threshold else 'Targets'} of {run}")
    lines = _summary_lines(len(shown), record, threshold)
    text = "<p>".join(html.escape(line) for line in lines)
    with atomic(paths.candidates.with_suffix(".html")) as temporary:
        temporary.write_text(f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: 0.2em 0.9em; text-align: right; border-bottom: 1px solid #ddd; }}
.name {{ font-family: monospace; }}
</style>
<h1>{title}</h1>
<p>{text}
<table>
<tr><th>rank<th>name<th>p<th>RA (deg)<th>Dec (deg)<th>known lens<th>see
{body}
</table>
</html>
""")


def _summary_lines(
    n_shown: int, record: Mapping[str, Any], threshold: Threshold | None
) -> list[str]:
    """Lines above the table: number, threshold, expected performance, hidden lenses."""
    if threshold is None:
        return [f"{n_shown} targets, most probable first."]
    lines = [f"{n_shown} candidates, {threshold}, most probable first."]
    if hidden := record["n_hidden"]:
        lines.append(f"{hidden} known lenses are hidden; they are at the end of candidates.fits.")
    expected = record["expected"]
    rates = [
        f"{name} {100 * expected[name]:.3g} % ({100 * expected[f'{name}_low']:.3g} to "
        f"{100 * expected[f'{name}_high']:.3g} %)"
        for name in ("completeness", "purity")
        if expected[name] is not None
    ]
    if rates:
        lines.append(
            f"Expected from {record['measured_on']}, where one galaxy in {1 / record['prior']:.6g} "
            f"is a lens: {', '.join(rates)}, 95 % intervals."
        )
    return [*lines, "Their positions on the sky: sky.png beside this page."]
