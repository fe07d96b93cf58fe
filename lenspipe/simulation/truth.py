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

#: Einstein radius in units of the seeing, and magnification, below which the grade is one lower:
#: images merge with the deflector, or one image hardly differs from an ordinary galaxy.
GRADE_RESOLUTION, GRADE_MAGNIFICATION = 1.0, 3.0


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
            "grade": grade_of(seen, lens.model["theta_e_arcsec"]) if seen.visible else "",
        }
    columns_ = ["z_lens", "z_source", "theta_e_arcsec", "beta", "magnification", "arc_mag_g",
                "arc_snr", "visible", "grade"]  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns_)


def grade_of(arcs: Arcs, theta_e_arcsec: float) -> str:
    """Grade that people would give to visible arcs.

    It follows their signal to noise where they show, and is lower by one where they are not
    resolved or hardly magnified.
    """
    grade = sum(arcs.shown_snr >= limit for limit in GRADE_SNR.values())
    resolved = theta_e_arcsec >= GRADE_RESOLUTION * arcs.seeing_arcsec
    return "CCBA"[grade + (resolved and arcs.magnification >= GRADE_MAGNIFICATION)]


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
