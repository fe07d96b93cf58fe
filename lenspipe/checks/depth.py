"""Whether scores depend on what they should not: depth, seeing, exposures and region.

Random galaxies are those of `lenspipe.checks.galaxies.draw_galaxies`; a check returns the dict of
`lenspipe.products.checks.result`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lenspipe.config.quality import Checks
from lenspipe.products.checks import not_measured, result
from lenspipe.statistics.association import correlate_within_strata, sky_patches
from lenspipe.statistics.balance import OBSERVING_CONDITIONS, QUANTITIES, quantity_values

__all__ = ["check_depth", "check_regions"]

#: Minimum number of random galaxies, in total and in a region, for a measurement.
_MIN_GALAXIES, _MIN_GALAXIES_OF_REGION = 200, 100

#: Minimum number of bricks of a region: with five in each of two regions, the true assignment is
#: one of 252.
_MIN_BRICKS, _PERMUTATIONS = 5, 1999


def check_depth(
    checks: Checks,
    bands: Sequence[str],
    zero_point_mag: float,
    random: pd.DataFrame,
    sample_report: dict | None,
) -> dict:
    """Check whether scores of random galaxies, or the sample's classes, depend on depth.

    Scores are compared with exposures, depth and seeing in the first and the last band, within
    regions: by rank (Spearman), both for all galaxies, with an error from the scatter of bricks,
    and within bricks, where few bricks are enough; and by the rate of high scores, the fraction
    ``checks.tail`` of all, in the thirds with the largest and the smallest values of the quantity.
    The check is red if both p is below ``checks.level`` divided by the number of comparisons and
    the effect exceeds its limit, or if the sample's report finds lenses and non-lenses to differ
    by more than the limit (`sample_report` is the content of sample/report/report.json).
    """
    rows = []
    if len(random) >= _MIN_GALAXIES:
        rows = _compare_scores(checks, bands, zero_point_mag, random)
    n_tests = sum((row["p"] is not None) + (row["p_rates"] is not None) for row in rows)
    level = checks.level / max(n_tests, 1)
    findings = []
    for row in rows:
        name = f"{row['quantity']} {row['band']}"
        if _is_below(row["p"], level) and abs(row["correlation"]) > checks.max_correlation:
            findings.append(f"scores follow {name} (Spearman {row['correlation']:.2f})")
        if _is_below(row["p_rates"], level) and row["rate_ratio"] > checks.max_rate_ratio:
            findings.append(f"high scores differ by a factor {row['rate_ratio']:.1f} with {name}")
        row["enough"] = _is_below(row.pop("min_p"), level)
    for row in sample_report["quantities"] if sample_report else []:
        if (
            row["quantity"] in OBSERVING_CONDITIONS
            and row["p"] is not None
            and row["verdict"] == "differ"
            and row["distance"] > checks.max_sample_distance
        ):
            name = f"{row['quantity']} {row['band']}"
            findings.append(f"the sample's lenses and non-lenses differ in {name}")
            rows.append(
                {"of": "sample"} | {k: row[k] for k in ("quantity", "band", "p", "distance")}
            )
    measured = [row for row in rows if row.get("enough")]
    if not findings and not measured:
        why = f"{len(random)} random galaxies that no network was trained on are too few"
        return not_measured(why, rows)
    why = "; ".join(findings) or (
        f"scores of {len(random)} random galaxies follow neither exposures nor depth nor seeing"
    )
    return result(
        bool(findings),
        max((abs(row["correlation"]) for row in measured), default=None),
        checks.max_correlation,
        "largest rank correlation of scores with exposures, depth or seeing",
        why,
        rows,
    )


def _is_below(p: float | None, level: float) -> bool:
    return p is not None and p < level


def _compare_scores(
    checks: Checks, bands: Sequence[str], zero_point_mag: float, random: pd.DataFrame
) -> list[dict]:
    """Rows for each quantity that is known and varies."""
    rows = []
    for name in OBSERVING_CONDITIONS:
        for band in dict.fromkeys((bands[0], bands[-1])):
            if f"{QUANTITIES[name]}_{band}" not in random:
                continue
            values = quantity_values(random, name, band, zero_point_mag)
            known = np.isfinite(values)
            if known.sum() >= _MIN_GALAXIES:
                rows += [
                    {"of": "scores", "quantity": name, "band": band} | row
                    for row in _compare(values[known], random[known], checks.tail)
                ]
    return rows


def _compare(values: np.ndarray, table: pd.DataFrame, tail: float) -> list[dict]:
    """Compare scores with values, of all galaxies and within bricks, if values vary there."""
    # Galaxies that the sample left over in a training brick differ from those of a test brick.
    stratum = (table["region"].astype(str) + table["trained_on"].astype(str)).to_numpy()
    brick, p = table["brick"].to_numpy(), table["p"].to_numpy(np.float64)
    ranks = pd.DataFrame({"x": values, "y": p}).groupby(stratum).rank(pct=True)
    x, y = ranks["x"].to_numpy(), ranks["y"].to_numpy()
    rows = []
    for scope, strata, unit in (
        ("all", stratum, brick),
        ("within bricks", stratum + brick.astype(str).astype(object), sky_patches(table)),
    ):
        r, p_value, min_p = correlate_within_strata(x, y, strata, unit)
        row = {"galaxies": scope, "n": len(p), "correlation": r, "p": p_value, "min_p": min_p}
        if r is not None:
            rows.append(row | {"rate_ratio": None, "p_rates": None})
    high = (p > np.quantile(p, 1 - tail)).astype(float)
    lowest, highest = x <= 1 / 3, x > 2 / 3
    if rows and lowest.any() and highest.any():
        outer = lowest | highest
        _, p_rates, _ = correlate_within_strata(
            highest[outer], high[outer], stratum[outer], brick[outer]
        )
        rates = _rate(high, lowest), _rate(high, highest)
        rows[0] |= {"rate_ratio": max(rates) / min(rates), "p_rates": p_rates}
    return rows


def _rate(high: np.ndarray, mask: np.ndarray) -> float:
    """Rate of high scores among the selected galaxies; half a galaxy is added so that it is > 0."""
    return float((high[mask].sum() + 0.5) / (mask.sum() + 1))


def check_regions(
    checks: Checks,
    seed: int,
    regions: Sequence[str],
    random: pd.DataFrame,
    sample: pd.DataFrame | None,
) -> dict:
    """Check that each region is trained on, and that rates of high scores agree between regions.

    Regions are those of the search, sorted; without a labelled sample only the rates are compared.
    """
    if len(regions) < 2:
        return not_measured("the search has one region")
    p, region_of = random["p"].to_numpy(np.float64), random["region"].to_numpy()
    high = (p > np.quantile(p, 1 - checks.tail)).astype(float) if len(p) else p
    rows: list[dict] = []
    findings = []
    for region in regions:
        mask = region_of == region
        row: dict = {"region": region, "n_random": int(mask.sum()), "rate": _rate(high, mask)}
        if sample is not None:
            train = sample[(sample["region"] == region) & (sample["split"] == "train")]
            lens = train["label"] > 0.5
            row |= {"n_lenses": int(lens.sum()), "n_non_lenses": int((~lens).sum())}
            findings += [
                f"no {name} of the {region} in the training split"
                for name, n in (("lens", row["n_lenses"]), ("non-lens", row["n_non_lenses"]))
                if n == 0
            ]
        rows.append(row)
    too_few = [row["region"] for row in rows if row["n_random"] < _MIN_GALAXIES_OF_REGION]
    if too_few and not findings:
        return not_measured(
            f"fewer than {_MIN_GALAXIES_OF_REGION} random galaxies in {', '.join(too_few)}", rows
        )
    rates = [row["rate"] for row in rows if row["region"] not in too_few]
    ratio = max(rates) / min(rates) if len(rates) > 1 else None
    trained = "each region is trained on, and " if sample is not None else ""
    why = f"{trained}high scores differ by a factor {ratio or 1:.1f}"
    if ratio:
        p_rates = _permutation_test(random, high, regions[0], np.random.default_rng([seed, 61]))
        if p_rates < checks.level and ratio > checks.max_rate_ratio:
            findings.append(f"high scores of random galaxies differ by a factor {ratio:.1f}")
        elif ratio > checks.max_rate_ratio:
            why += f", as they do for randomly assigned bricks (p-value {p_rates:.2g})"
        n_bricks = random.groupby("region")["brick"].nunique().min()
        if not findings and n_bricks < _MIN_BRICKS:
            return not_measured(
                f"fewer than {_MIN_BRICKS} bricks with random galaxies in a region", rows
            )
    return result(
        bool(findings),
        ratio,
        checks.max_rate_ratio,
        "ratio of the regions' rates of high scores among random galaxies",
        "; ".join(findings) or why,
        rows,
    )


def _permutation_test(
    random: pd.DataFrame, high: np.ndarray, region: str, rng: np.random.Generator
) -> float:
    """Probability of at least this difference of rates if bricks were assigned to regions randomly.

    Bricks are permuted because galaxies of a brick are not independent: one bad brick does not make
    a bad region.
    """
    table = (
        random.assign(high=high)
        .groupby("brick")
        .agg(n=("high", "size"), high=("high", "sum"), region=("region", "first"))
    )
    inside = (table["region"] == region).to_numpy(float)
    n, n_high = (table[name].to_numpy(float) for name in ("n", "high"))

    def difference(inside: np.ndarray) -> float:
        outside = 1 - inside
        return abs(n_high @ inside / max(n @ inside, 1) - n_high @ outside / max(n @ outside, 1))

    observed = difference(inside)
    n_larger = sum(
        difference(rng.permutation(inside)) >= observed - 1e-12 for _ in range(_PERMUTATIONS)
    )
    return (1 + n_larger) / (1 + _PERMUTATIONS)
