"""The selection function of a run: fitted, tested on planted lenses, written and plotted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.completeness.cells import measure_cells
from lenspipe.completeness.plots import plot_completeness, plot_prediction
from lenspipe.completeness.prediction import compare_planted, read_planted_lenses
from lenspipe.completeness.quantities import COLOUR, REGION, VISIBLE, selection_quantities
from lenspipe.completeness.selection_function import SelectionFunction
from lenspipe.config.settings import Settings
from lenspipe.products.candidates import read_cuts
from lenspipe.products.files import read_json, write_json
from lenspipe.products.tables import read_table
from lenspipe.utils.hashing import digest, file_hash
from lenspipe.utils.progress import log

__all__ = ["half_completeness_radius", "measure_selection_function"]

#: Brightness of the arcs for which the Einstein radius of half completeness is reported.
_REPORTED_BRIGHTNESS = {"arc_snr": (10, 20, 40, 80), "arc_mag": (21, 22, 23, 24)}

#: Einstein radii at which completeness is evaluated to find that of half completeness.
_N_RADII = 200

#: Injected lenses from which on intervals of parts of a population cover (docs/statistics.md).
_MIN_LENSES_FOR_PARTS = 1500


def measure_selection_function(settings: Settings) -> dict[str, Any]:
    """Fit the selection function to the run's injected lenses.

    Writes ``selection/completeness.png``, on a simulated sky with held-out bricks
    ``prediction.json`` and ``.png``, then ``selection.fits`` and, last, ``selection.json``. Return
    the content of selection.json, see docs/outputs.md.

    Raises
    ------
    LenspipeError
        There are too few injected lenses, or no planted ones to compare with.
    """
    paths, selection = settings.paths, settings.selection
    path = paths.selection("injected.parquet")
    injected = read_table(path, "injected_lenses")
    quantities = selection_quantities(
        settings.survey.bands, selection.brightness, injected["region"].unique()
    )
    cuts = read_cuts(paths.cuts, settings.candidates.threshold)
    meta = {
        "run": settings.run,
        "threshold": min(cuts.lowest, 1.0),
        "model": file_hash(settings.model_path)[:16],
        "settings": digest(settings),
    }
    zero_point_mag = settings.release.zero_point_mag
    function = SelectionFunction.fit(injected, quantities, zero_point_mag, path, meta)
    bins = {
        quantity.name: getattr(selection, f"{quantity.name}_bins")
        for quantity in quantities
        if quantity != REGION
    }
    cells = measure_cells(injected, function, bins, path)
    realism_path = paths.selection("realism.json")
    realism = read_json(realism_path, "realism") if realism_path.exists() else None
    summary = _summarise(function, cells, selection.brightness, realism)
    plot_completeness(function, injected, summary, paths.selection("completeness.png"))
    if settings.simulation and (held_out := settings.held_out):
        planted = read_planted_lenses(paths, held_out, cuts, settings.candidates.reject_flags)
        alone = planted["alone"]
        known, judged = (
            each.assign(r_z=each["mag_r"] - each["mag_z"]) for each in (injected, planted[alone])
        )
        finer = SelectionFunction.fit(known, [*quantities, VISIBLE, COLOUR], zero_point_mag, path)
        prediction = compare_planted(finer, judged, paths.truth)
        prediction["n_near_lenses"] = int((~alone).sum())
        plot_prediction(prediction, function, paths.selection("prediction.png"))
        write_json(paths.selection("prediction.json"), prediction)
    function.write(paths.selection("selection.fits"), cells)
    write_json(paths.selection("selection.json"), summary)
    _log_summary(summary)
    if len(injected) < _MIN_LENSES_FOR_PARTS:
        log.info(
            "selection: %d lenses injected: quote the completeness of all lenses together; that of "
            "a part of them needs a config key selection.number of %d",
            len(injected), _MIN_LENSES_FOR_PARTS,
        )  # fmt: skip
    return summary


def half_completeness_radius(
    function: SelectionFunction, brightness: float
) -> tuple[float | None, float | None, float | None]:
    """Einstein radius at which half of the lenses with arcs of a brightness are found.

    Other quantities are at their medians. It is the smallest radius with a completeness of half,
    arcsec, and its 95 % interval; None where there is none in the range of the injected lenses.
    """
    if "theta_e" not in function.splines:
        return None, None, None
    theta_e, spline = function.quantities[0], function.splines["theta_e"]
    radii = theta_e.unscaled(np.linspace(spline.low, spline.high, _N_RADII))
    table = function.typical(len(radii))
    table[theta_e.column] = radii
    table[function.quantities[1].column] = brightness
    radii = np.append(radii, np.inf)

    def smallest_radius(is_half: np.ndarray) -> np.ndarray:
        """Radius of the first True in each column; infinite if there is none."""
        return radii[np.where(is_half.any(axis=0), is_half.argmax(axis=0), _N_RADII)]

    completeness = function.completeness(table)["completeness"].to_numpy()
    radius = smallest_radius(completeness[:, None] >= 0.5)[0]
    draws = smallest_radius(function.draws(table) >= 0.5)
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    radius, low, high = (
        float(value) if np.isfinite(value) else None for value in (radius, low, high)
    )
    return radius, low, high


def _summarise(
    function: SelectionFunction,
    cells: pd.DataFrame,
    brightness: str,
    realism: dict[str, Any] | None,
) -> dict[str, Any]:
    half_complete = []
    for value in _REPORTED_BRIGHTNESS[brightness]:
        names = ("theta_e_arcsec", "theta_e_arcsec_low", "theta_e_arcsec_high")
        radii = dict(zip(names, half_completeness_radius(function, value), strict=True))
        half_complete.append({brightness: value} | radii)
    variance = cells["n_painted"] * cells["model"] * (1 - cells["model"])
    compared = variance >= 1
    residual = (cells["n_found"] - cells["n_painted"] * cells["model"])[compared]
    quantities = {}
    for quantity in function.quantities:
        spline = function.splines.get(quantity.name)
        median = function.medians[quantity.name]
        quantities[quantity.name] = {
            "column": quantity.column,
            "unit": quantity.unit,
            "used": spline is not None,
            "low": float(quantity.unscaled(spline.low)) if spline else None,
            "high": float(quantity.unscaled(spline.high)) if spline else None,
            "median": median if np.isfinite(median) else None,
        }
    return {
        **function.meta,
        "brightness": brightness,
        "n_painted": function.n_painted,
        "n_found": function.n_found,
        "half_complete": half_complete,
        "quantities": quantities,
        "freedom": float(function.freedom.sum()),
        "brick_scatter_logit": function.brick_variance**0.5,
        "brick_scatter_measured": function.brick_variance_measured,
        "n_cells": len(cells),
        "n_cells_empty": int((cells["n_painted"] == 0).sum()),
        "n_cells_compared": int(compared.sum()),
        "chi2_cells": float((residual**2 / variance[compared]).sum()),
        "realism": realism,
    }


def _log_summary(summary: Mapping[str, Any]) -> None:
    log.info("selection: %d of %d injected lenses found", summary["n_found"], summary["n_painted"])
    for row in summary["half_complete"]:
        name, value = next(iter(row.items()))
        if row["theta_e_arcsec"] is None:
            log.info("selection: %s %g: completeness reaches half at no radius", name, value)
        else:
            log.info(
                "selection: %s %g: half found at %.2f arcsec", name, value, row["theta_e_arcsec"]
            )
