"""How well the search's model does on simulated stamps, of which there are as many as one needs."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from lenspipe.config.data import Simulation
from lenspipe.config.settings import Settings
from lenspipe.evaluation.search import completeness_in_bins
from lenspipe.products.files import write_json
from lenspipe.scoring.score import load_model_for_run
from lenspipe.scoring.scorer import Scorer
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.stamps import draw_stamps
from lenspipe.statistics.intervals import name_interval
from lenspipe.statistics.metrics import (
    auc_interval,
    completeness_at_fpr,
    completeness_at_true_rate,
)
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["judge_on_stamps"]

#: Non-lenses for each lens.
_NON_LENSES_PER_LENS = 4

#: Stamps that are in memory at a time.
_BATCH = 500

#: Edges of the bins of Einstein radius (arcsec) and of signal to noise where arcs show.
_BINS = {
    "theta_e_arcsec": (0.5, 1.25, 1.75, 2.5, 3.5, 5.0, np.inf),
    "arc_snr": (14.0, 30.0, 45.0, 65.0, 90.0, 150.0, np.inf),
}

#: Signal to noise from which on an arc is hard to take for a blue neighbour.
_BRIGHT_SNR = 90.0


def judge_on_stamps(settings: Settings) -> dict[str, Any]:
    """Score simulated stamps of visible lenses and of non-lenses with the search's model.

    The test bricks of a small sky hold too few galaxies to say how many lenses are found at a rate
    of one false positive in a hundred. Stamps without bricks do, and are drawn from the same
    populations (`lenspipe.simulation.stamps`). Writes ``evaluation/stamps.json`` and returns it.

    Raises
    ------
    LenspipeError
        lenstronomy is not installed; there is no model; the bands are not g, r, z.
    """
    bands, size = settings.survey.bands, settings.cutouts.size
    if tuple(bands) != BANDS:
        raise LenspipeError(
            f"config key survey.bands: found {', '.join(bands)}, expected {', '.join(BANDS)} for "
            "simulated stamps; set evaluation.stamps to 0"
        )
    path = settings.model_path
    model = load_model_for_run(path, bands, size)
    scorer = Scorer(model, path, settings.training.name, settings.inference)
    simulation = settings.simulation or Simulation()
    number, tables = settings.evaluation.stamps, {}
    counts: dict[Literal["lens", "nonlens"], int]
    counts = {"nonlens": number, "lens": -(-number // _NON_LENSES_PER_LENS)}
    for kind, count in counts.items():
        parts = []
        for part, first in enumerate(range(0, count, _BATCH)):
            seed = int(np.random.SeedSequence([settings.seed, part, 42]).generate_state(1)[0])
            images, table = draw_stamps(
                kind, min(_BATCH, count - first), seed, size=size, effects=simulation.effects
            )
            parts.append(table.assign(p=scorer(images)["p"].astype(np.float64)))
        tables[kind] = pd.concat(parts, ignore_index=True)
    lenses, nonlenses = tables["lens"], tables["nonlens"]
    result = _measure(lenses, nonlenses)
    write_json(settings.paths.evaluation("stamps.json"), result)
    numbers = f"{len(lenses)} lenses, {len(nonlenses)} non-lenses"
    completeness = [result[f"completeness_fpr01{end}"] for end in ("", "_low", "_high")]
    if None in completeness:
        log.info("stamps: AUC %.4f; too few for a rate of 1 %% (%s)", result["auc"], numbers)
    else:
        log.info(
            "stamps: AUC %.4f; completeness %.1f %% (95 %%: %.1f-%.1f) at a rate of 1 %% (%s)",
            result["auc"], *(100 * value for value in completeness), numbers,
        )  # fmt: skip
    return result


def _measure(lenses: pd.DataFrame, nonlenses: pd.DataFrame) -> dict[str, Any]:
    p, other = lenses["p"].to_numpy(), nonlenses["p"].to_numpy()
    result: dict[str, Any] = {"n_lenses": len(p), "n_nonlenses": len(other)}
    result |= name_interval("auc", auc_interval(p, other))
    for name, rate in (("fpr10", 0.1), ("fpr01", 0.01)):
        result |= name_interval(f"completeness_{name}", completeness_at_true_rate(p, other, rate))
    _, cut = completeness_at_fpr(p, other, 0.01)
    # Nothing passes where the rate cannot be measured.
    cut = 1.0 if cut is None else cut
    above = lenses["p"] > cut
    for column, edges in _BINS.items():
        result[f"completeness_by_{column}"] = completeness_in_bins(lenses, column, above, edges)
    bright = lenses["arc_snr"] >= _BRIGHT_SNR
    result["bright_arc_snr"] = _BRIGHT_SNR
    result["completeness_of_bright_arcs_by_theta_e_arcsec"] = completeness_in_bins(
        lenses[bright], "theta_e_arcsec", above, _BINS["theta_e_arcsec"]
    )
    result["false_positive_rate_by_kind"] = {
        str(kind): {"n": len(group), "fpr01": float((group["p"] > cut).mean())}
        for kind, group in nonlenses.groupby("kind")
    }
    return result
