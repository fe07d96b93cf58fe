"""Whether scores follow what they should not: depth, seeing, exposures, and the region."""

import json

import numpy as np
import pandas as pd

from lenspipe.balance import JUDGED, QUANTITIES, values_of
from lenspipe.checks.association import associate, patches_of
from lenspipe.checks.result import not_measured, result

__all__ = ["check_depth", "check_regions"]

#: Random galaxies without which nothing is measured: of all, and of a region.
_FEWEST, _FEWEST_OF_REGION = 200, 100


def check_depth(settings, random, sample_report):
    """Look whether scores of random galaxies, or the sample's classes, follow depth.

    Scores are compared with exposures, depth and seeing in the first and the last band, within
    regions: by their ranks (Spearman), and by the rate of high scores, those of the highest
    ``checks.tail`` of all, in the third of galaxies with most and that with least of the quantity.
    Red needs both: p below ``checks.level`` over the number of comparisons, and an effect above
    its bar. So does what the sample's report says of lenses and non-lenses.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    random : pandas.DataFrame
        As of `lenspipe.checks.galaxies.draw_galaxies`.
    sample_report : dict or None
        What sample/report/report.json holds, if there is one.

    Returns
    -------
    dict
        As of `lenspipe.checks.result.result`.
    """
    own = settings.checks
    parts = _of_scores(settings, random) if len(random) >= _FEWEST else []
    level = own.level / max(2 * len(parts), 1)
    found = []
    for row in parts:
        name = f"{row['quantity']} {row['band']}"
        row["enough"] = row.pop("least_p") < level
        if row["p"] < level and abs(row["correlation"]) > own.max_correlation:
            found.append(f"scores follow {name} (Spearman {row['correlation']:.2f})")
        if row["p_rates"] < level and row["rate_ratio"] > own.max_rate_ratio:
            found.append(f"high scores differ by a factor {row['rate_ratio']:.1f} with {name}")
    quantities = sample_report["quantities"] if sample_report else []
    judged = [row for row in quantities if row["quantity"] in JUDGED and row["p"] is not None]
    for row in judged:
        if row["verdict"] == "differ" and row["distance"] > own.max_sample_distance:
            name = f"{row['quantity']} {row['band']}"
            found.append(f"the sample's lenses and non-lenses differ in {name}")
            parts.append({"of": "sample"} | {k: row[k] for k in ("quantity", "band", "p")})
            parts[-1]["distance"] = row["distance"]
    scored = [row for row in parts if row["of"] == "scores"]
    if not found and not any(row["enough"] for row in scored):
        why = f"{len(random)} random galaxies that no network learnt from, too few on the sky"
        return not_measured(why, parts)
    largest = max(scored, key=lambda row: abs(row["correlation"]), default=None)
    why = "; ".join(found) or (
        f"scores of {len(random)} random galaxies follow neither exposures nor depth nor seeing"
    )
    return result(
        bool(found),
        abs(largest["correlation"]) if largest else None,
        own.max_correlation,
        "largest rank correlation of scores with exposures, depth or seeing",
        why,
        parts,
    )


def _of_scores(settings, random):
    """A row for each quantity that is known and varies."""
    own, bands = settings.checks, settings.survey.bands
    rows = []
    for name in JUDGED:
        for band in dict.fromkeys((bands[0], bands[-1])):
            if f"{QUANTITIES[name]}_{band}" not in random:
                continue
            values = values_of(random, name, band)
            known = np.isfinite(values)
            if known.sum() >= _FEWEST:
                row = _compare(values[known], random[known], own.tail)
                if row:
                    rows.append({"of": "scores", "quantity": name, "band": band} | row)
    return rows


def _compare(values, table, tail):
    """How scores go with values; None where one of them is all alike."""
    stratum = (table["region"].astype(str) + table["held_out"].astype(str)).to_numpy()
    patch, p = patches_of(table), table["p"].to_numpy(np.float64)
    ranks = pd.DataFrame({"x": values, "y": p}).groupby(stratum).rank(pct=True)
    r, p_value, least = associate(ranks["x"], ranks["y"], stratum, patch)
    if r is None:
        return None
    place = ranks["x"].to_numpy()
    high = (p > np.quantile(p, 1 - tail)).astype(float)
    ends = (place <= 1 / 3) | (place > 2 / 3)
    most = place > 0.5
    row = {"n": len(p), "correlation": r, "p": p_value, "least_p": least}
    if min(most[ends].sum(), (~most)[ends].sum()) == 0:
        return row | {"rate_ratio": 1.0, "p_rates": 1.0}
    _, p_rates, _ = associate(most[ends], high[ends], stratum[ends], patch[ends])
    rates = rate_of(high, ends & most), rate_of(high, ends & ~most)
    p_rates = 1.0 if p_rates is None else p_rates
    return row | {"rate_ratio": max(rates) / min(rates), "p_rates": p_rates}


def rate_of(high, those):
    """Rate of high scores among some galaxies; half a galaxy more, so that it is never 0."""
    return float((high[those].sum() + 0.5) / (those.sum() + 1))


def check_regions(settings, random, sample):
    """Look whether each region is trained on, and fires as often on random galaxies as the other.

    Parameters
    ----------
    settings : lenspipe.config.Settings
    random : pandas.DataFrame
        As of `lenspipe.checks.galaxies.draw_galaxies`.
    sample : pandas.DataFrame or None
        The labelled sample, if the run has one.

    Returns
    -------
    dict
        As of `lenspipe.checks.result.result`.
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
        row = {"region": region, "n_random": int(here.sum()), "rate": rate_of(high, here)}
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
    why = f"regions are trained on, and high scores differ by a factor {ratio or 1:.1f}"
    if ratio:
        one = where == regions[0]
        _, p_rates, least = associate(one, high, random["held_out"], patches_of(random))
        if p_rates is not None and p_rates < own.level and ratio > own.max_rate_ratio:
            found.append(f"high scores of random galaxies differ by a factor {ratio:.1f}")
        if not found and (least is None or least >= own.level):
            return not_measured("too few random galaxies on the sky", parts)
    return result(
        bool(found),
        ratio,
        own.max_rate_ratio,
        "ratio of the regions' rates of high scores among random galaxies",
        "; ".join(found) or why,
        parts,
    )


def read_report(settings):
    """Read the labelled sample's report.

    Parameters
    ----------
    settings : lenspipe.config.Settings

    Returns
    -------
    dict or None
        None without one.
    """
    path = settings.paths.sample_report("report.json")
    return json.loads(path.read_text()) if path.exists() else None
