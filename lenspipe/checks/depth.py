"""Whether scores follow what they should not: depth, seeing, exposures, and the region."""

import json

import numpy as np
import pandas as pd

from lenspipe.products.checks import not_measured, result
from lenspipe.statistics.association import correlate_within_strata, sky_patches
from lenspipe.statistics.balance import OBSERVING_CONDITIONS, QUANTITIES, values_of

__all__ = ["check_depth", "check_regions", "read_report"]

#: Random galaxies without which nothing is measured: of all, and of a region.
_FEWEST, _FEWEST_OF_REGION = 200, 100

#: Bricks of a region: with five in each of two, one of 252 ways to draw them is as they are.
_FEWEST_BRICKS, _DRAWS = 5, 1999


def check_depth(settings, random, sample_report):
    """Look whether scores of random galaxies, or the sample's classes, follow depth.

    Scores are compared with exposures, depth and seeing in the first and the last band, within
    regions: by their ranks (Spearman), of all galaxies, with an error from the scatter of bricks,
    and within bricks, where few bricks are enough; and by the rate of high scores, those of the
    highest ``checks.tail`` of all, in the thirds with most and with least of the quantity.
    Red needs both: p below ``checks.level`` over the number of comparisons, and an effect above
    its bar. So does what the sample's report says of lenses and non-lenses.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    random : pandas.DataFrame
        As of `lenspipe.checks.galaxies.draw_galaxies`.
    sample_report : dict or None
        What sample/report/report.json holds, if there is one.

    Returns
    -------
    dict
        As of `lenspipe.products.checks.result`.
    """
    own = settings.checks
    parts = _of_scores(settings, random) if len(random) >= _FEWEST else []
    n_tests = sum((row["p"] is not None) + (row["p_rates"] is not None) for row in parts)
    level, found = own.level / max(n_tests, 1), []
    for row in parts:
        name = f"{row['quantity']} {row['band']}"
        if _below(row["p"], level) and abs(row["correlation"]) > own.max_correlation:
            found.append(f"scores follow {name} (Spearman {row['correlation']:.2f})")
        if _below(row["p_rates"], level) and row["rate_ratio"] > own.max_rate_ratio:
            found.append(f"high scores differ by a factor {row['rate_ratio']:.1f} with {name}")
        row["enough"] = _below(row.pop("least_p"), level)
    quantities = sample_report["quantities"] if sample_report else []
    judged = [row for row in quantities if row["quantity"] in OBSERVING_CONDITIONS and row["p"] is not None]
    for row in judged:
        if row["verdict"] == "differ" and row["distance"] > own.max_sample_distance:
            name = f"{row['quantity']} {row['band']}"
            found.append(f"the sample's lenses and non-lenses differ in {name}")
            parts.append({"of": "sample"} | {k: row[k] for k in ("quantity", "band", "p")})
            parts[-1]["distance"] = row["distance"]
    measured = [row for row in parts if row.get("enough")]
    if not found and not measured:
        why = f"{len(random)} random galaxies that no network learnt from, too few on the sky"
        return not_measured(why, parts)
    correlations = [abs(row["correlation"]) for row in measured]
    why = "; ".join(found) or (
        f"scores of {len(random)} random galaxies follow neither exposures nor depth nor seeing"
    )
    return result(
        bool(found),
        max(correlations, default=None),
        own.max_correlation,
        "largest rank correlation of scores with exposures, depth or seeing",
        why,
        parts,
    )


def _below(p, level):
    return p is not None and p < level


def _of_scores(settings, random):
    """Rows for each quantity that is known and varies."""
    own, bands = settings.checks, settings.survey.bands
    rows = []
    for name in OBSERVING_CONDITIONS:
        for band in dict.fromkeys((bands[0], bands[-1])):
            if f"{QUANTITIES[name]}_{band}" not in random:
                continue
            values = values_of(random, name, band)
            known = np.isfinite(values)
            if known.sum() >= _FEWEST:
                rows += [
                    {"of": "scores", "quantity": name, "band": band} | row
                    for row in _compare(values[known], random[known], own.tail)
                ]
    return rows


def _compare(values, table, tail):
    """How scores go with values, of all galaxies and within bricks, if values vary there."""
    # What the sample left over of a training brick are other galaxies than those of a test brick.
    stratum = (table["region"].astype(str) + table["trained_on"].astype(str)).to_numpy()
    brick, p = table["brick"].to_numpy(), table["p"].to_numpy(np.float64)
    ranks = pd.DataFrame({"x": values, "y": p}).groupby(stratum).rank(pct=True)
    x, y = ranks["x"].to_numpy(), ranks["y"].to_numpy()
    rows = []
    for scope, strata, unit in (
        ("all", stratum, brick),
        ("within bricks", stratum + brick.astype(str).astype(object), sky_patches(table)),
    ):
        r, p_value, least_p = correlate_within_strata(x, y, strata, unit)
        row = {"galaxies": scope, "n": len(p), "correlation": r, "p": p_value, "least_p": least_p}
        if r is not None:
            rows.append(row | {"rate_ratio": None, "p_rates": None})
    high = (p > np.quantile(p, 1 - tail)).astype(float)
    low_end, high_end = x <= 1 / 3, x > 2 / 3
    if rows and low_end.any() and high_end.any():
        ends = low_end | high_end
        _, p_rates, _ = correlate_within_strata(high_end[ends], high[ends], stratum[ends], brick[ends])
        rates = _rate_of(high, low_end), _rate_of(high, high_end)
        rows[0] |= {"rate_ratio": max(rates) / min(rates), "p_rates": p_rates}
    return rows


def _rate_of(high, those):
    """Rate of high scores among some galaxies; half a galaxy more, so that it is never 0."""
    return float((high[those].sum() + 0.5) / (those.sum() + 1))


def check_regions(settings, random, sample):
    """Look whether each region is trained on, and fires as often on random galaxies as the other.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    random : pandas.DataFrame
        As of `lenspipe.checks.galaxies.draw_galaxies`.
    sample : pandas.DataFrame or None
        The labelled sample, if the run has one.

    Returns
    -------
    dict
        As of `lenspipe.products.checks.result`.
    """
    own = settings.checks
    regions = sorted(pd.read_parquet(settings.paths.bricks, columns=["region"])["region"].unique())
    if len(regions) < 2:
        return not_measured("the search has one region")
    p, where = random["p"].to_numpy(np.float64), random["region"].to_numpy()
    high = (p > np.quantile(p, 1 - own.tail)).astype(float) if len(p) else p
    parts, lacking = [], []
    for region in regions:
        here = where == region
        row = {"region": region, "n_random": int(here.sum()), "rate": _rate_of(high, here)}
        if sample is not None:
            rows = sample[(sample["region"] == region) & (sample["split"] == "train")]
            lens = rows["label"] > 0.5
            row |= {"n_lenses": int(lens.sum()), "n_non_lenses": int((~lens).sum())}
            lacking += [
                f"no {what} of the {region} among those trained on"
                for what, n in (("lens", row["n_lenses"]), ("non-lens", row["n_non_lenses"]))
                if n == 0
            ]
        parts.append(row)
    few = [row["region"] for row in parts if row["n_random"] < _FEWEST_OF_REGION]
    if few and not lacking:
        return not_measured(
            f"fewer than {_FEWEST_OF_REGION} random galaxies in {', '.join(few)}", parts
        )
    rates = [row["rate"] for row in parts if row["region"] not in few]
    ratio = max(rates) / min(rates) if len(rates) > 1 else None
    found = list(lacking)
    trained = "regions are trained on, and " if sample is not None else ""
    why = f"{trained}high scores differ by a factor {ratio or 1:.1f}"
    if ratio:
        p_rates = _permute(random, high, regions, np.random.default_rng([settings.seed, 61]))
        if p_rates < own.level and ratio > own.max_rate_ratio:
            found.append(f"high scores of random galaxies differ by a factor {ratio:.1f}")
        elif ratio > own.max_rate_ratio:
            why += f", as bricks drawn at random do, too (p {p_rates:.2g})"
        fewest = random.groupby("region")["brick"].nunique().min()
        if not found and fewest < _FEWEST_BRICKS:
            return not_measured(
                f"fewer than {_FEWEST_BRICKS} bricks with random galaxies in a region", parts
            )
    return result(
        bool(found),
        ratio,
        own.max_rate_ratio,
        "ratio of the regions' rates of high scores among random galaxies",
        "; ".join(found) or why,
        parts,
    )


def _permute(random, high, regions, rng):
    """Chance of rates that differ as much if regions were bricks drawn at random.

    Galaxies of a brick are no independent witnesses: one bad brick makes no bad region.
    """
    table = (
        random.assign(high=high)
        .groupby("brick")
        .agg(n=("high", "size"), high=("high", "sum"), region=("region", "first"))
    )
    here = (table["region"] == regions[0]).to_numpy(float)
    n, k = (table[name].to_numpy(float) for name in ("n", "high"))

    def difference(inside):
        return abs(k @ inside / max(n @ inside, 1) - k @ (1 - inside) / max(n @ (1 - inside), 1))

    observed = difference(here)
    chance = [difference(rng.permutation(here)) >= observed - 1e-12 for _ in range(_DRAWS)]
    return (1 + sum(chance)) / (1 + _DRAWS)


def read_report(settings):
    """Read the labelled sample's report.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    dict or None
        None without one.
    """
    path = settings.paths.sample_report("report.json")
    return json.loads(path.read_text()) if path.exists() else None
