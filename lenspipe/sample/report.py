"""Report of the labelled sample: counts, comparison of its classes, sky maps, mosaics."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.plotting import figures
from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.products.files import write_json
from lenspipe.products.sample import SPLITS, read_images
from lenspipe.products.tables import read_table
from lenspipe.statistics.balance import compare_quantities, quantity_values
from lenspipe.utils.html import write_html
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log

__all__ = ["report_sample"]

#: Classes that get a mosaic, in this order; confusing galaxies of all kinds are one class.
_CLASSES = ("lens", "graded", "confusing", "random", "injected")

#: Axis labels of the compared quantities.
_LABELS = {
    "magnitude": "magnitude (AB)",
    "depth": "depth for galaxies (AB, 5 sigma)",
    "seeing": "seeing (FWHM, arcsec)",
    "exposures": "exposures",
}


def report_sample(settings: Settings) -> dict[str, Any]:
    """Write a report of the labelled sample to ``sample/report/``.

    Writes figures of the distributions (``distributions.png``) and of the sky (``sky.png``), a
    mosaic of each class (``mosaic-<class>.png``), ``report.html`` that shows them and, last, all
    numbers, ``report.json``. Lenses and non-lenses are compared in depth, seeing and exposures
    (`lenspipe.statistics.balance`), and in magnitude, though lenses may well be brighter. Injected
    lenses, whose hosts are drawn like non-lenses, are left out of the comparison. Return the
    content of report.json; see docs/outputs.md.

    Raises
    ------
    LenspipeError
        Table or records of the sample are missing, or do not match.
    """
    paths = settings.paths
    final = paths.sample_report("report.json")
    final.unlink(missing_ok=True)
    sample = read_table(paths.sample, "sample")
    sample["exposures"] = sample[f"nobs_{settings.survey.bands[-1]}"]
    real = sample[sample["class"] != "injected"].reset_index(drop=True)
    report = {"run": settings.run, "counts": _all_counts(sample, real)} | _count_bins(real)
    level, compared = compare_quantities(
        real,
        settings.survey.bands,
        settings.release.zero_point_mag,
        np.random.default_rng([settings.seed, 24]),
    )
    report |= {"differ_below_p": level, "quantities": compared}
    panels = [_panel(real, entry, settings.release.zero_point_mag) for entry in compared]
    figures.plot_distributions(
        panels, len(settings.survey.bands), paths.sample_report("distributions.png")
    )
    figures.plot_sky(real, paths.sample_report("sky.png"))
    report["mosaics"] = _draw_mosaics(settings, sample)
    _write_page(paths.sample_report("report.html"), report)
    write_json(final, report)
    return report


def _all_counts(sample: pd.DataFrame, real: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    lens = real["label"] > 0.5
    both = {"lenses ": real[lens], "non-lenses ": real[~lens]}
    graded = real[lens | (real["grade"] != "")]
    tables = {
        "class": _count({"": sample}, "class"),
        "grade": _count({"": graded.assign(grade=graded["grade"].replace("", "none"))}, "grade"),
        **{column: _count(both, column) for column in ("type", "region", "exposures")},
    }
    return {column: _rows(table) for column, table in tables.items()}


def _count(tables: Mapping[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """Count values of a column in each split of some tables, given by prefix of the columns."""
    counts = [
        pd.crosstab(table[column], table["split"])
        .reindex(columns=SPLITS, fill_value=0)
        .assign(total=lambda counted: counted.sum(axis=1))
        .add_prefix(prefix)
        for prefix, table in tables.items()
    ]
    joined = pd.concat(counts, axis=1).fillna(0).astype(int).sort_index()
    joined.loc["all"] = joined.sum()
    return joined.rename_axis(column).reset_index()


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records"))


def _count_bins(real: pd.DataFrame) -> dict[str, Any]:
    """Lenses, non-lenses and their ratio in each bin; fraction of non-lenses from other bins."""
    lens = real["label"] > 0.5
    counts = _count({"lenses ": real[lens], "non-lenses ": real[~lens]}, "bin")
    for name in (*SPLITS, "total"):
        lenses = counts[f"lenses {name}"].replace(0, np.nan)
        counts[f"ratio {name}"] = (counts[f"non-lenses {name}"] / lenses).round(2)
    bins, total, lacking = counts.iloc[:-1], counts.iloc[-1], 0
    for name in SPLITS:
        ratio = total[f"non-lenses {name}"] / max(total[f"lenses {name}"], 1)
        expected = ratio * bins[f"lenses {name}"]
        lacking += (expected - bins[f"non-lenses {name}"]).clip(lower=0).sum()
    fraction = float(lacking / max(total["non-lenses total"], 1))
    log.info("sample: %.1f %% of the non-lenses replace ones of another bin", 100 * fraction)
    return {"bins": _rows(counts), "from_other_bins": fraction}


def _panel(real: pd.DataFrame, entry: Mapping[str, Any], zero_point_mag: float) -> dict[str, Any]:
    name, band = entry["quantity"], entry["band"]
    values = quantity_values(real, name, band, zero_point_mag)
    lens = (real["label"] > 0.5).to_numpy()
    known = np.isfinite(values)
    p = "" if entry["p"] is None else f"p-value {entry['p']:.2g}, "
    return {
        "lenses": values[known & lens],
        "others": values[known & ~lens],
        "label": _LABELS[name],
        "title": f"{name} {band}: {p}{entry['verdict']}",
        "whole": name == "exposures",
        "marked": entry["verdict"] == "differ",
    }


def _draw_mosaics(settings: Settings, sample: pd.DataFrame) -> list[str]:
    """Show random galaxies of each class; returns the file names of the pages."""
    rng, mosaics = np.random.default_rng([settings.seed, 25]), settings.mosaics
    pattern = settings.paths.sample_report("mosaic-*.png")
    for path in pattern.parent.glob(pattern.name):
        path.unlink()
    class_and_kind = sample["class"].str.partition(":")
    group, kind = class_and_kind[0], class_and_kind[2]
    notes = zip(sample["grade"], kind.str.replace("_", " "), sample["split"], strict=True)
    sample = sample.assign(
        name=iau_name(sample["ra"], sample["dec"], settings.release.name_prefix),
        note=[", ".join(filter(None, parts)) for parts in notes],
        # Galaxies without a grade come last.
        order=sample["grade"].replace("", "none"),
    )
    tables = []
    for name in _CLASSES:
        rows = sample[group == name]
        shown = rows.iloc[rng.permutation(len(rows))[: mosaics.columns * mosaics.rows]]
        shown = shown.sort_values(["order", "class", "id"])
        tables.append(shown.assign(page=name, rank=np.arange(len(shown)) + 1, of=len(rows)))
    selected = pd.concat(tables, ignore_index=True)
    n_bands, size = len(settings.survey.bands), settings.cutouts.size
    images = read_images(settings.paths.sample, selected, n_bands, size)
    pages = []
    for name, shown in selected.groupby("page", sort=False):
        path = pattern.with_name(f"mosaic-{name}.png")
        draw_page(
            images[shown.index],
            shown,
            path,
            bands=settings.survey.bands,
            pixel_scale_arcsec=settings.release.pixel_scale_arcsec,
            stretch=mosaics.stretch,
            columns=mosaics.columns,
            title=f"{settings.run}: labelled sample, {name}",
            subtitle=f"{len(shown)} of {shown['of'].iloc[0]}, chosen at random; "
            f"{''.join(settings.survey.bands)}, {mosaics.stretch} stretch",
        )
        pages.append(path.name)
    return pages


def _write_page(path: Path, report: Mapping[str, Any]) -> None:
    compared = [
        {
            "quantity": f"{entry['quantity']} {entry['band']}",
            "mean of lenses": entry["mean_lenses"],
            "of non-lenses": entry["mean_others"],
            "distance": entry["distance"],
            "p": entry["p"],
            "classes": entry["verdict"],
        }
        for entry in report["quantities"]
    ]
    write_html(
        path,
        "sample/report.html",
        title=f"Labelled sample of {report['run']}",
        counts={column: _format_table(rows) for column, rows in report["counts"].items()},
        level=report["differ_below_p"],
        compared=_format_table(compared),
        from_other_bins=report["from_other_bins"],
        bins=_format_table(report["bins"]),
        mosaics=report["mosaics"],
    )


def _format_table(rows: Iterable[Mapping[str, Any]]) -> str:
    table = pd.DataFrame(list(rows))
    return table.to_html(index=False, border=0, na_rep="", float_format="{:.4g}".format)
