"""The page of a run, ``index.html``: what was searched and found, how good it is, what is next."""

import html
import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits

from lenspipe.candidates.area import area_deg2, format_area, searched_bricks
from lenspipe.config.settings import Settings
from lenspipe.products.candidates import model_note, page_order, read_candidates
from lenspipe.products.checks import describe_checks
from lenspipe.products.files import read_json
from lenspipe.products.grades import add_grades, read_grades
from lenspipe.runs.figures import Shown, figures_of_run
from lenspipe.runs.listing import library, listing
from lenspipe.runs.numbers import Number, describe_numbers
from lenspipe.runs.steps import next_steps
from lenspipe.statistics.intervals import format_percent
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.html import write_html
from lenspipe.utils.progress import log

__all__ = ["write_index"]

#: Maximum number of candidates on the page; the tables have all.
_MOST_LISTED = 5000

#: Products whose key is another one.
_KEYS = {"stamps": "judged_stamps"}

#: Files with the candidates: name, path below the run's folder.
_DOWNLOADS = (
    ("FITS", "candidates/candidates.fits"),
    ("CSV", "candidates/candidates.csv"),
    ("VOTable", "candidates/candidates.vot"),
    ("DS9 regions", "candidates/candidates.reg"),
    ("list for the sky viewer", "candidates/viewer.fits"),
)

#: Further files: name, path below the run's folder.
_FILES = (
    ("state of the bricks, stage by stage", "status.html"),
    ("bricks that could not be searched, and why", "missing.csv"),
    ("coverage map of the area searched (MOC)", "candidates/searched.fits"),
    ("known lenses, merged from all catalogues", "known/lenses.csv"),
    ("main numbers", "summary.json"),
    ("all settings", "config.yaml"),
)


def write_index(settings: Settings) -> None:
    """Write ``index.html`` in the folder of the run, with relative links to its other files.

    Raises
    ------
    LenspipeError
        A file of the run is missing or damaged.
    """
    paths = settings.paths
    documents = _read_documents(settings)
    numbers = describe_numbers(documents)
    table = read_candidates(paths.candidates)
    note = model_note(table)
    summary, threshold = documents["summary"], documents["threshold"]
    noun = "Targets" if settings.targets else "Candidates"
    bricks = searched_bricks(paths, brick_grid(settings.release.brick_deg))
    area = area_deg2(bricks, settings.release.brick_deg)
    figures = [_figure(shown, numbers) for shown in figures_of_run(settings)]
    sections = [("candidates", noun), ("figures", "Figures"), ("numbers", "Numbers")]
    sections += [("checks", "Checks"), ("next", "Next steps"), ("files", "Files")]
    files = [*_FILES]
    if settings.trains:
        files.insert(0, ("report on the labelled sample", "sample/report/report.html"))
    write_html(
        paths.page,
        "runs/index.html",
        title=f"Run {settings.run}",
        note=note,
        introduction=_introduction(settings, area),
        sections=sections,
        facts=_facts(settings, documents, area),
        noun=noun,
        lines=_lines(settings, threshold, len(table)),
        downloads=_DOWNLOADS,
        library=library(),
        content=_candidates(settings, table, note),
        figures=[
            (category, list(group)) for category, group in groupby(figures, lambda f: f["category"])
        ],
        numbers=list(numbers.values()),
        checks=documents["checks"]["checks"],
        steps=next_steps(settings, str(table["name"].iloc[0]) if len(table) else ""),
        files=files,
        provenance=_provenance(settings),
    )
    log.info("page: %s: %d of %d %s", paths.page, min(len(table), _MOST_LISTED),
             summary["n_candidates"], noun.lower())  # fmt: skip


def _read_documents(settings: Settings) -> dict[str, Any]:
    """Read the numbers of the run, by the key of their product."""
    paths = settings.paths
    files = {
        "summary": paths.summary,
        "threshold": paths.threshold,
        "checks": paths.checks("checks.json"),
    }
    if settings.held_out:
        files["metrics"] = paths.evaluation("metrics.json")
    if settings.simulation and settings.evaluation.stamps:
        files["stamps"] = paths.evaluation("stamps.json")
    if settings.trains:
        files["model_metrics"] = paths.model(settings.training.name, "metrics.json")
        files["training"] = paths.model(settings.training.name, "training.json")
    if not settings.targets:
        files["purity"] = paths.purity("purity.json")
    if settings.selection.number:
        files["realism"] = paths.selection("realism.json")
        files["selection"] = paths.selection("selection.json")
        files["expected"] = paths.expected("expected.json")
        if settings.simulation and settings.held_out:
            files["prediction"] = paths.selection("prediction.json")
    documents = {key: read_json(path, _KEYS.get(key, key)) for key, path in files.items()}
    documents["recovery"] = [
        read_json(paths.recovery(f"{catalogue.label}.json"), "recovery")
        for catalogue in settings.recovery.catalogs
    ]
    return documents


def _introduction(settings: Settings, area: float) -> str:
    survey = "a simulated sky" if settings.simulation else settings.release.survey
    what = "a list of positions" if settings.targets else f"{format_area(area)}"
    data = "" if settings.simulation else f", data release {settings.survey.release.upper()}"
    return f"Search for strong gravitational lenses in {what} of {survey}{data}."


def _facts(settings: Settings, documents: Mapping[str, Any], area: float) -> list[dict[str, str]]:
    """Main numbers: name, value, more."""
    summary, threshold = documents["summary"], documents["threshold"]
    failed = summary["n_bricks_failed"]
    facts = [
        _fact(
            "targets searched" if settings.targets else "galaxies searched",
            f"{summary['n_galaxies']:,}",
            f"{summary['n_bricks']:,} bricks, {format_area(area)}"
            + (f"; {failed:,} failed" if failed else ""),
        )
    ]
    if not settings.targets:
        hidden = threshold["n_hidden"]
        facts.append(
            _fact(
                "candidates",
                f"{summary['n_candidates']:,}",
                f"{settings.candidates.threshold}"
                + (f"; {hidden:,} known lenses besides, hidden" if hidden else ""),
            )
        )
    expected = threshold["expected"]
    for name in ("completeness", "purity"):
        if expected[name] is not None:
            where = f"; one galaxy in {_rounded(1 / threshold['prior'])} a lens"
            value = f"{100 * expected[name]:.3g} %"
            facts.append(
                _fact(
                    f"expected {name}",
                    value,
                    f"95 %: {_range(expected, name)}{where if name == 'purity' else ''}",
                )
            )
    if settings.held_out:
        facts.append(
            _fact(
                "area under the ROC curve",
                f"{summary['auc']:.3f}",
                "bricks never trained on; completeness at the cut: "
                f"{format_percent(summary, 'completeness_threshold')}",
            )
        )
    facts.append(_fact("checks", describe_checks(documents["checks"]), "see below"))
    hours = summary["wall_s"] / 3600
    time = f"{hours:,.1f} h" if hours >= 2 else f"{summary['wall_s'] / 60:,.0f} min"
    facts.append(_fact("time", time, f"{summary['disk_mb'] / 1024:,.3g} GiB on disk"))
    return facts


def _rounded(number: float) -> str:
    """A number with three significant digits, never in powers of ten: 10,000 or 8.33."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _fact(name: str, value: str, more: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "more": more}


def _range(values: Mapping[str, float], name: str) -> str:
    low, high = (100 * values[f"{name}_{end}"] for end in ("low", "high"))
    return f"{low:.3g} to {high:.3g} %"


def _lines(settings: Settings, threshold: Mapping[str, Any], number: int) -> list[str]:
    """Lines above the table of candidates."""
    if settings.targets:
        order = "most probable first" if settings.has_model else "in the order of the list"
        lines = [f"{number:,} targets, {order}."]
    else:
        lines = [f"{number:,} candidates, {settings.candidates.threshold}, most probable first."]
    if hidden := threshold["n_hidden"]:
        lines.append(
            f"{hidden:,} known lenses are hidden (candidates.known: hide); they are at the end of "
            "the tables, with rank 0."
        )
    if number > _MOST_LISTED:
        lines.append(f"The first {_MOST_LISTED:,} are listed here, all of them in the files.")
    expected = threshold["expected"]
    if expected["completeness"] is not None:
        n_systems = threshold["n_candidates"]
        of = f" of all {n_systems:,} systems, known lenses included," if hidden else ""
        lines.append(
            f"Expected completeness and purity{of} are from {expected['n_lenses']:,} lenses and "
            f"{expected['n_nonlenses']:,} random galaxies that the network was not trained on."
        )
    return lines


def _candidates(settings: Settings, table: pd.DataFrame, note: str) -> str:
    """The candidates as JSON for the table."""
    paths, mosaics, bands = settings.paths, settings.mosaics, settings.survey.bands
    index = read_json(paths.mosaic_index, "mosaic_index")
    places = np.empty(len(table), int)
    places[page_order(table, mosaics, bands)] = np.arange(len(table))
    graded = paths.inspection("grades.csv")
    if graded.exists() and len(table):
        grades = read_grades(graded, any_word=True)
        table = add_grades(table, grades, graded).drop(columns="mean_grade")
    return listing(
        table.head(_MOST_LISTED),
        [f"mosaics/{page}" for page in index["pages"]],
        mosaics.per_page,
        places[:_MOST_LISTED],
        bands=bands,
        columns=mosaics.per_row,
        panels=mosaics.panels,
        note=note,
    )


def _figure(shown: Shown, numbers: Mapping[str, Number]) -> dict[str, str]:
    """What the page shows of a figure."""
    figure, row = shown.figure, numbers.get(shown.figure.galaxies)
    galaxies = ""
    if row:
        galaxies = f"{row.counts} ({row.galaxies})" if row.counts else row.galaxies
    return {
        "category": f"{figure.category}: {shown.of}" if figure.category == "Models"
        else figure.category,
        "file": shown.file,
        "title": f"{figure.title} {shown.of}".strip(),
        "question": figure.question,
        "galaxies": galaxies,
        "caption": html.unescape(re.sub(r"\s+", " ", figure.caption_text(shown.of))),
    }  # fmt: skip


def _provenance(settings: Settings) -> str:
    header = fits.getheader(settings.paths.candidates, 1)
    model = "no model"
    if settings.has_model:
        model = f"model {header['LPMODEL']} (first digits of its SHA-256)"
    return f"Candidates by lenspipe {header['LPVERS']}, {model}, settings {header['LPCONFIG']}."
