"""The table of targets for a telescope proposal."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Column, Table

from lenspipe.plotting.galaxy_pages import format_redshift
from lenspipe.utils.files import atomic

__all__ = ["einstein_radius", "format_position", "write_targets"]

_PRIORITIES = {"A": "1", "B": "2", "C": "3"}
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {sign: rf"\{sign}" for sign in "&%$#_{}"}


def format_position(ra: float, dec: float) -> tuple[str, str]:
    """Format a position (degrees) in sexagesimal notation: ``10:00:11.35``, ``+32:00:12.6``."""
    # In units of the last digit, so that 59.999 s rounds to a minute and 24 h to 0 h.
    seconds = round(ra / 15 * 360_000) % 8_640_000
    arcseconds = round(abs(dec) * 36_000)
    sign = "-" if dec < 0 and arcseconds else "+"
    return _sexagesimal(seconds, 100, 2), sign + _sexagesimal(arcseconds, 10, 1)


def _sexagesimal(units: int, per_second: int, digits: int) -> str:
    whole, fraction = divmod(units, per_second)
    minutes, seconds = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{fraction:0{digits}d}"


def einstein_radius(arrows: pd.DataFrame) -> float:
    """Estimate the Einstein radius as the mean distance of the source's images from the galaxy.

    Arcsec, from columns dx and dy, arcsec; NaN without images.
    """
    return float(np.hypot(arrows["dx"], arrows["dy"]).mean()) if len(arrows) else np.nan


def write_targets(
    table: pd.DataFrame, arrows: Mapping[str, pd.DataFrame], bands: Sequence[str], folder: Path
) -> None:
    """Write the table of targets as ``targets.csv``, ``targets.tex`` and ``targets.txt``.

    Candidates have name, ra, dec (degrees), magnitudes, grade, and optionally redshifts; arrows, by
    id, are those of `lenspipe.followup.choice.read_arrows`.
    """
    rows = table.to_dict("records")
    positions = [format_position(row["ra"], row["dec"]) for row in rows]
    radii = [einstein_radius(arrows[row["id"]]) for row in rows]
    columns = {
        "name": [row["name"] for row in rows],
        "ra": [ra for ra, _ in positions],
        "dec": [dec for _, dec in positions],
    }
    for band in bands:
        magnitudes = [row[f"mag_{band}"] for row in rows]
        columns[f"mag_{band}"] = [f"{m:.2f}" if np.isfinite(m) else "" for m in magnitudes]
    columns["z"] = [format_redshift(row) for row in rows]
    columns["theta_e_arcsec"] = [f"{r:.1f}" if np.isfinite(r) else "" for r in radii]
    columns["priority"] = [_PRIORITIES.get(row["grade"], "") for row in rows]
    # Strings, so that empty cells remain empty and 15.30 does not become 15.3.
    targets = Table([Column(values, name, dtype=str) for name, values in columns.items()])
    _write(targets, folder / "targets.csv", "ascii.csv")
    _write(targets, folder / "targets.txt", "ascii.fixed_width", delimiter=None)
    for name in ("name", "z"):
        targets[name] = Column([_escape(text) for text in targets[name]], dtype=str)
    titles = {"name": "Name", "ra": r"$\alpha$ (J2000)", "dec": r"$\delta$ (J2000)"}
    titles |= {f"mag_{band}": f"${band}$" for band in bands} | {"z": "Redshift"}
    titles |= {"theta_e_arcsec": r"$\theta_\mathrm{E}$ (arcsec)", "priority": "Priority"}
    targets.rename_columns(list(titles), list(titles.values()))
    style = {"tabletype": "table", "col_align": "l" * len(titles)}
    style |= {"header_start": r"\hline", "header_end": r"\hline", "data_end": r"\hline"}
    _write(targets, folder / "targets.tex", "ascii.latex", latexdict=style)


def _write(table: Table, path: Path, table_format: str, **options: Any) -> None:
    with atomic(path) as temporary:
        table.write(temporary, format=table_format, **options)


def _escape(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match[0]], str(text))
