"""The truth of the simulated sky, and the lists that earlier searches would have published."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lenspipe.config.paths import SkyPaths
from lenspipe.simulation.brick import Arcs
from lenspipe.simulation.exposures import BANDS
from lenspipe.simulation.kinds import CONFUSING
from lenspipe.simulation.lenses import Lens, arc_snr
from lenspipe.utils.tables import write_table

__all__ = ["lens_truth", "publish"]

#: Signal to noise of the pixels that show arcs above which people give grades B and A.
GRADE_SNR = {"B": 45.0, "A": 90.0}


def lens_truth(
    lenses: Mapping[int, Lens], arcs: Mapping[int, Arcs], sigma: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Truth of the lenses of a brick, indexed by the number of the source.

    Columns: z_lens, z_source, theta_e_arcsec, beta (distance of the source from the axis, in units
    of theta_E), magnification, arc_mag_g (all images), arc_snr, visible, and grade (of visible
    lenses, as people would give it).

    Parameters
    ----------
    lenses, arcs
        By the number of the source.
    sigma
        By band, the noise of every pixel.
    """
    rows = {}
    for number, lens in lenses.items():
        seen = arcs[number]
        rows_, columns, own_rows, own_columns = seen.on_brick()
        alone = seen.images[:, own_rows, own_columns]
        noise = np.stack([sigma[band][rows_, columns] for band in BANDS])
        rows[number] = {
            **{name: lens.model[name] for name in ("z_lens", "z_source")},
            **lens.describe(seen.magnification),
            "arc_snr": float(arc_snr(alone, np.where(noise > 0, noise**2, np.inf)).max()),
            "visible": seen.visible,
            "grade": grade_of(seen.shown_snr) if seen.visible else "",
        }
    columns_ = ["z_lens", "z_source", "theta_e_arcsec", "beta", "magnification", "arc_mag_g",
                "arc_snr", "visible", "grade"]  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns_)


def grade_of(snr: float) -> str:
    """Grade that people give to arcs of that signal to noise where they show."""
    return "A" if snr >= GRADE_SNR["A"] else "B" if snr >= GRADE_SNR["B"] else "C"


def publish(seed: int, known_fraction: float, paths: SkyPaths, truth: pd.DataFrame) -> None:
    """Write what earlier searches would have published: visible lenses, and confusing galaxies.

    A fraction `known_fraction` of the visible lenses is listed, and all galaxies of kinds that are
    confused with lenses. Published positions of lenses scatter.
    """
    rng = np.random.default_rng([seed, 15])
    lenses = truth[(truth["kind"] == "lens") & truth["visible"]]
    known = lenses[rng.random(len(lenses)) < known_fraction].reset_index(drop=True)
    scatter = rng.normal(0, 0.15 / 3600, (2, len(known)))
    ra = known["ra"] + scatter[0] / np.cos(np.radians(known["dec"]))
    dec = known["dec"] + scatter[1]
    table = pd.DataFrame(
        {
            "name": [f"SIM-{a:08.4f}{d:+08.4f}" for a, d in zip(ra, dec, strict=True)],
            "ra": ra.round(6),
            "dec": dec.round(6),
            "grade": known["grade"],
        }
    )
    write_table(paths.known_lenses, table)
    confusing = truth.loc[truth["kind"].isin(CONFUSING), ["ra", "dec", "kind"]]
    write_table(paths.confusing, confusing.round(6))
