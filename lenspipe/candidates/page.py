"""The candidates as a plain HTML table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.config.results import Threshold
from lenspipe.products.candidates import model_note
from lenspipe.utils.html import write_html

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

    `record` is the content of ``threshold.json``.

    Parameters
    ----------
    shown
        Candidates as returned by `lenspipe.candidates.columns.order_columns`, without hidden ones.
    pages
        Number of the page of mosaics that shows each of them.
    threshold
        None for a list of targets.
    """
    write_html(
        paths.candidates.with_suffix(".html"),
        "candidates/page.html",
        title=f"{'Lens candidates' if threshold else 'Targets'} of {run}",
        note=model_note(shown),
        lines=_summary_lines(len(shown), record, threshold),
        candidates=shown.to_dict("records"),
        pages=[(number, paths.mosaic_page(number).name) for number in pages],
    )


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
