"""Files on completeness and purity: recovery, purity, selection function, expected numbers."""

from lenspipe.products.schema.columns import CONDITIONS, FLAGS, IDENTITY, SCORES, TRUTH, TYPE, only
from lenspipe.products.schema.declarations import Column, Hdu, Key, Product

__all__ = ["CELLS", "COEFFICIENTS", "DESIGN", "PRODUCTS", "SMOOTHING"]

RECOVERY = (
    Column("line", "int64", "", "line in the catalogue's file; row, from 1, of a FITS table"),
    Column("name", "str", "", "its own name, or the IAU-style one of its position"),
    Column("ra", "float64", "deg", "the catalogue's right ascension"),
    Column("dec", "float64", "deg", "the catalogue's declination"),
    Column("grade", "str", "", "A to D, or empty"),
    Column("group", "str", "",
           "group in which it is counted: value of `recovery.by`; `ungraded` without a grade, `-` "
           "without a value"),
    Column("id", "str", "", "the object that came furthest; empty without one"),
    Column("separation_arcsec", "float64", "arcsec", "its separation"),
    Column("p", "float64", "", "its score"),
    Column("scored", "bool", "", "whether it has one"),
    Column("split", "str", "",
           "of the galaxy of the labelled sample within the radius: `train`, `validation`, `test`; "
           "`not in the sample`; empty if there is no sample"),
    Column("reason", "str", "", "what became of it ([list](recovery.md#reasons))"),
    Column("detail", "str", "", "why its brick failed"),
    Column("n_matches", "int64", "", "number of scored galaxies within the radius"),
    Column("duplicate_of", "int64", "",
           "line of the entry that represents the same system; empty for that entry itself"),
)  # fmt: skip


def _counts(prefix: str, of: str) -> tuple[Key, ...]:
    """Keys of a row of the recovery."""
    return (
        Key(f"recovery[].{prefix}n", f"number of {of}"),
        Key(f"recovery[].{prefix}n_scored", f"{of} that were scored"),
        Key(f"recovery[].{prefix}n_passed", f"{of} at or above the threshold"),
        Key(f"recovery[].{prefix}of_scored", "completeness among those scored, with Wilson's "
            "interval; null without any", interval=True),
        Key(f"recovery[].{prefix}of_all", "completeness among all, likewise", interval=True),
    )  # fmt: skip


RECOVERED = (
    Key("catalogue", "name of the catalogue"),
    Key("scores", "scores that were compared with it"),
    Key("by", "column by which entries are counted"),
    Key("radius_arcsec", "matching radius", "arcsec"),
    Key("thresholds[]", "thresholds"),
    Key("n_entries", "number of entries"),
    Key("n_systems", "number of systems"),
    Key("n_duplicates", "entries that repeat a system"),
    Key("n_several_matches", "entries with more than one scored galaxy"),
    Key("recovery[].group", "`all` (without grade D), or one of the groups"),
    Key("recovery[].trained_on", "`all`, `yes` or `no`; `all` only if there is no sample"),
    Key("recovery[].threshold", "threshold"),
    *_counts("", "entries"),
    *_counts("systems_", "systems"),
    Key("reasons.<reason>.<group>", "number of entries of each group with that reason"),
)

PURITY = (
    Column("group", "str", "", "`all`, `type`, `region`, `bricks`, `exposures` or `magnitude`"),
    Column("value", "str", "",
           "value within the group: `all`; a Tractor type; a region; `never trained on`, `trained "
           "on`; a bin such as `4 to 6` (6 is in the next), `below 2`, `12 and more`, `unknown`"),
    Column("threshold", "float64", "", "threshold in `p`"),
    Column("n", "int64", "", "number of random galaxies"),
    Column("passed", "int64", "", "those at or above the threshold"),
    Column("rate", "float64", "", "fraction that passes"),
    Column("low", "float64", "", "lower end of its 95 % interval (Wilson); 0 if none passes"),
    Column("high", "float64", "",
           "upper end of its 95 % interval; the exact 95 % limit if none passes"),
)  # fmt: skip


def _graded(prefix: str, optional: bool) -> tuple[Key, ...]:
    """Keys of graded candidates."""
    return (
        Key(f"{prefix}n_candidates", "number of candidates" + ("; from here on only once there "
            "are grades, and from the highest cut on" if prefix == "yield[]." else ""),
            optional=optional),
        Key(f"{prefix}n_graded", "those with a grade", optional=optional),
        *(Key(f"{prefix}n_{name}", f"graded {text}", optional=optional)
          for name, text in (("A", "A"), ("AB", "A or B"), ("ABC", "A to C"))),
        *(Key(f"{prefix}part_{name}", f"fraction of the graded ones graded {text}", interval=True,
              optional=optional)
          for name, text in (("A", "A"), ("AB", "A or B"), ("ABC", "A to C"))),
    )  # fmt: skip


PURITY_SUMMARY = (
    Key("n_searched", "galaxies with a score and without a rejected flag"),
    Key("n_random", "number of random galaxies"),
    Key("left_out.<reason>", "number of all others, by reason"),
    Key("knows_training", "whether it is known what the model was trained on"),
    Key("lowest_rate", "1 / n"),
    Key("upper_limit_if_none", "95 % limit if none of n passes"),
    Key("rule", "the threshold of the candidates"),
    Key("cut", "its cut; null if there are several cuts, or none"),
    Key("at_cuts[].<column>",
        "rows as in `purity.csv`, at the run's own cuts (`threshold` is null)"),
    Key("at_rates[].asked", "for each requested rate:", optional=True),
    Key("at_rates[].threshold", "the lowest threshold", optional=True),
    Key("at_rates[].rate", "the rate", interval=True, optional=True),
    Key("at_rates[].completeness", "the completeness", interval=True, optional=True),
    Key("measured_on", "held-out galaxies"),
    Key("prior", "`evaluation.prior`"),
    Key("yield[].threshold", "for each threshold:"),
    Key("yield[].n", "galaxies of the search at or above it"),
    Key("yield[].n_known", "known lenses among them"),
    Key("yield[].completeness", "fraction of the held-out lenses that pass; null if not measured, "
        "as all below", interval=True),
    Key("yield[].rate", "fraction of the search's random galaxies that passes", interval=True),
    Key("yield[].held_out_rate", "fraction of the held-out random non-lenses that passes",
        interval=True),
    Key("yield[].lenses", "expected number of lenses", interval=True),
    Key("yield[].false", "expected number of false positives", interval=True),
    Key("yield[].purity", "expected purity, by the held-out rate", interval=True),
    Key("yield[].purity_of_search", "expected purity, by the search's rate", interval=True),
    Key("yield[].sky_lenses", "sum of the probabilities on the sky, without an interval"),
    *_graded("yield[].", True),
    Key("yield[].verdict", "`part_ABC` compared with `purity`", optional=True),
    *_graded("graded.", True),
    Key("graded.ece", "mean distance between `sky_probability` and `part_ABC`, bins weighted by "
        "their graded candidates", optional=True),
    Key("graded.bins[].from", "bins of the score: lower edge", optional=True),
    Key("graded.bins[].to", "upper edge", optional=True),
    *_graded("graded.bins[].", True),
    Key("graded.bins[].n", "number of galaxies", optional=True),
    Key("graded.bins[].sky_probability", "their mean probability on the sky", optional=True),
)  # fmt: skip

#: Columns of the galaxy of an injected lens.
HOST = (
    IDENTITY[0],
    Column("draw", "int64", "", "number of the lens on its galaxy, from 0; unique with `id`"),
    *only(IDENTITY, "release", "brickid", "objid", "brick", "region"),
    TYPE,
    *only(IDENTITY, "ra", "dec"),
    *CONDITIONS,
    FLAGS,
)
INJECTED = (
    *HOST,
    *TRUTH,
    *SCORES,
    Column("p_host", "float32", "", "score of the galaxy without an injected lens"),
    Column("found", "bool", "", "whether the search would select it as a candidate"),
)

_COMPARED = (
    Key("n_real", "number of real lenses compared"),
    Key("n_injected", "number of injected lenses compared"),
    Key("n_bricks", "number of bricks of the real ones"),
    Key("trained_on", "false: the model was never trained on the real ones; null: not known"),
    Key("verdict", "`measured`, or which of them are too few"),
)
#: Null if too few lenses can be compared.
MEASURED = (
    Key(
        "auc_features",
        "how well they can be distinguished by features of the network, 0.5 to 1",
        interval=True,
    ),
    Key("auc_photometry", "how well they can be distinguished by their photometry", interval=True),
    Key("ks", "Kolmogorov-Smirnov distance of their scores, 0 to 1"),
    Key("ks_p", "its probability if both had the same distribution"),
    Key("found_real", "fraction of real lenses at or above the run's cut"),
    Key("found_injected", "fraction of injected lenses at or above it"),
    Key("median_p_real", "median score of real lenses"),
    Key("median_p_injected", "median score of injected lenses"),
)
REALISM = (*_COMPARED, *MEASURED)

#: HDU MODEL of selection.fits. Units of minimum, maximum and median are in the column `unit`.
DESIGN = (
    Column("name", "str", "", "Quantity"),
    Column("column", "str", "", "Column of tables of lenses that holds it"),
    Column("unit", "str", "", "Its unit; empty for none"),
    Column("scale", "str", "", "Scale of the splines: log is log10(x), log1p log10(1 + x)"),
    Column("title", "str", "", "Label of axes"),
    Column("used", "bool", "",
           "Whether completeness depends on it; false for one value or none"),
    Column("minimum", "float64", "", "Minimum injected, on the scale"),
    Column("maximum", "float64", "", "Maximum injected, on the scale"),
    Column("median", "float64", "", "Median of those injected, in the unit"),
    Column("n_knots", "int64", "", "Number of knots"),
    Column("knots", "float64", "",
           "Knots of the cubic B-splines, on the scale; NaN after the last"),
)  # fmt: skip
COEFFICIENTS = (
    Column("term", "str", "", "Quantities on which the function of this coefficient depends"),
    Column("coefficient", "float64", "", "Of the logit of completeness"),
    Column("centre", "float64", "",
           "Subtracted from the function: its mean over the injected lenses"),
    Column("freedom", "float64", "", "Effective degrees of freedom"),
)  # fmt: skip
SMOOTHING = (
    Column("penalty", "str", "", "Direction in which the function is smoothed, or what is shrunk"),
    Column("smoothing", "float64", "", "Smoothing parameter"),
)
CELLS = (
    *(
        Column(f"{quantity}_{end}", "float64", "", f"{edge} edge of the cell in {quantity}")
        for quantity in ("theta_e", "brightness", "seeing", "depth", "mag")
        for end, edge in (("low", "Lower"), ("high", "Upper"))
    ),
    Column("n_painted", "int64", "", "Lenses injected in the cell"),
    Column("n_found", "int64", "", "Those recovered"),
    Column("completeness", "float64", "", "Fraction recovered; NaN without any injected"),
    Column("completeness_low", "float64", "", "Lower end of its 95 % interval (Wilson)"),
    Column("completeness_high", "float64", "", "Upper end of its 95 % interval (Wilson)"),
    Column("model", "float64", "",
           "Smooth function, mean over lenses; at the centre of an empty cell"),
    Column("model_low", "float64", "", "Lower end of its 95 % interval"),
    Column("model_high", "float64", "", "Upper end of its 95 % interval"),
)  # fmt: skip

SELECTION = (
    Key("run", "name of the run"),
    Key("threshold", "lowest cut in `p`"),
    Key("model", "first 16 digits of the SHA-256 of the model"),
    Key("brightness", "`arc_snr` or `arc_mag`"),
    Key("n_painted", "number of lenses injected"),
    Key("n_found", "number of those recovered"),
    Key("half_complete[].<brightness>", "some values of `arc_snr` (or `arc_mag`)"),
    Key("half_complete[].theta_e_arcsec", "minimum Einstein radius at which half of the lenses are "
        "recovered with all other quantities at their medians; null if there is none in the range "
        "injected", "arcsec", interval=True),
    *(Key(f"quantities.<quantity>.{name}", text)
      for name, text in (("column", "of each of the five quantities: the column"),
                         ("unit", "its unit"), ("used", "whether completeness depends on it"),
                         ("low", "minimum injected"), ("high", "maximum injected"),
                         ("median", "median of those injected"))),
    Key("freedom", "effective degrees of freedom of the function"),
    Key("brick_scatter_logit", "scatter between bricks beyond their conditions; 0 if no more than "
        "chance"),
    Key("n_cells", "number of cells of the table"),
    Key("n_cells_empty", "those without an injected lens"),
    Key("n_cells_compared", "cells in which the function's variance of the number recovered is at "
        "least 1"),
    Key("chi2_cells", "sum over them of (recovered - expected)^2 / variance"),
    Key("realism.<key>", "content of `realism.json`; null without", optional=True),
)  # fmt: skip

_JUDGED = (
    ("n", "number of planted lenses scored in bricks that training never saw"),
    ("expected", "expected number of those that are recovered"),
    ("low", "lower end of its 95 % interval"), ("high", "upper end"),
    ("found", "number recovered"), ("inside", "whether it lies in the interval"),
)  # fmt: skip
PREDICTION = (
    *(Key(name, text) for name, text in _JUDGED),
    Key("n_extrapolated", "number of lenses outside the range injected"),
    Key("n_bins", "number of bins"),
    Key("n_bins_inside", "number of bins whose number recovered is in the interval"),
    *(Key(f"bins[].{name}_{end}", f"{'lowest' if end == 'low' else 'highest'} {text}", unit)
      for name, text, unit in (("theta_e", "Einstein radius in the bin", "arcsec"),
                               ("brightness", "brightness of the arcs in the bin", ""))
      for end in ("low", "high")),
    *(Key(f"bins[].{name}", "as above, in the bin") for name, _ in _JUDGED),
)  # fmt: skip

_RANGE = (
    ("expected", "expected number"), ("low", "lower end of its 95 % interval"),
    ("high", "upper end"),
    ("systematic_low", "lower end including the uncertainty of the population"),
    ("systematic_high", "upper end including the uncertainty of the population"),
)  # fmt: skip
_FOUND = (
    ("candidates", "number of candidates"), ("found", "lenses among them"),
    ("found_low", "lower end of its interval"), ("found_high", "upper end of its interval"),
)  # fmt: skip
BINS = (
    Column("quantity", "str", "", "`theta_e` or `mag`"),
    Column("from", "float64", "arcsec, mag", "lower edge of the bin"),
    Column("to", "float64", "arcsec, mag", "upper edge of the bin; the last has none"),
    Column("n", "float64", "", "lenses in the area whose galaxies are searched"),
    *(Column(name, "float64", "", text) for name, text in _RANGE),
    *(Column(name, "float64", "", f"{text}; by magnitude only") for name, text in _FOUND),
    Column("true", "int64", "", "lenses among the candidates, by the truth of a simulated sky",
           optional=True),
)  # fmt: skip
EXPECTED = (
    Key("population", "origin of the lenses"),
    Key("area_deg2", "area searched; on a simulated sky without a table, that of the bricks that "
        "training never saw", "deg^2"),
    Key("completeness.completeness", "mean over the lenses whose galaxies are searched"),
    Key("completeness.low", "lower end of its 95 % interval, of the function"),
    Key("completeness.high", "upper end"),
    Key("extrapolated", "fraction of these lenses outside the range injected"),
    Key("on_sky_per_deg2", "lenses", "deg^-2"),
    Key("searched_per_deg2", "lenses whose galaxies are searched", "deg^-2"),
    Key("systematic.<choice>", "relative change of the number by each choice of the model",
        optional=True),
    Key("bins[].<column>", "rows of `expected.csv`", optional=True),
    Key("expected_per_deg2", "lenses recovered", "deg^-2"),
    *(Key(f"expected.{name}", f"in the area: {text}" if name == "expected" else text,
          optional=True) for name, text in _RANGE),
    *(Key(f"visible.{name}", text, optional=True)
      for name, text in (("n", "of the lenses for which completeness is quoted, theta_E >= 1.2 "
                          "arcsec and arcs with a signal-to-noise ratio >= 10: their number; null "
                          "without signal-to-noise ratios"), *_RANGE)),
    Key("part_searched", "without weights only: fraction of the rows whose galaxies are searched",
        optional=True),
    Key("n_bricks", "number of bricks of that area"),
    *(Key(f"kept.{name}", text, optional=True)
      for name, text in (("places", "fraction of the lenses' galaxies that remain after the cuts "
                          "in exposures and masks; not for a sky's own lenses"),
                         ("types", "fraction with the types searched"), ("part", "both"))),
    *(Key(f"by_galaxies.{name}", text, optional=True)
      for name, text in (
          ("theta_e_range[]", "estimate from the galaxies searched: range of Einstein radii, "
           "arcsec"),
          ("lenses", "lenses behind them"), ("expected", "expected number recovered"),
          ("low", "lower end of its 95 % interval"), ("high", "upper end"))),
    *(Key(f"found.{name}", text) for name, text in _FOUND),
    Key("found.graded", "whether they are counted by grades"),
    Key("found.true", "lenses among the candidates by the sky's truth", optional=True),
    Key("verdict", "whether expected and observed numbers are consistent"),
)  # fmt: skip

_RECOVERED = "`recovery.catalogs` are given"
_RECOVERY = "fate of published candidates in the search"
_PURITY = "fraction of random galaxies that pass, expected content of the candidates, and grades"
_SEARCHED = "a footprint is searched"
_INJECTED = "`selection.number` is above 0"
_PREDICTED = f"{_INJECTED}, and the sky is simulated with held-out bricks"
_NUMBERS = "number of lenses that the search should find, compared with those found"

PRODUCTS = (
    Product(
        "recovery_table", "recovery/{catalogue}.csv", _RECOVERY, "recovery", section="recovery",
        description="`<catalogue>.csv`, a row per entry with a position, in the order of the "
        "catalogue ([interpretation](recovery.md)):",
        columns=RECOVERY, optional=_RECOVERED,
    ),
    Product("recovery", "recovery/{catalogue}.json", _RECOVERY, "recovery", section="recovery",
            description="`<catalogue>.json`:", keys=RECOVERED, optional=_RECOVERED),
    Product("recovery_figure", "recovery/{catalogue}.png", _RECOVERY, "recovery",
            optional=_RECOVERED),
    Product(
        "purity_table", "purity/purity.csv", _PURITY, "purity", section="purity",
        description="`purity.csv`, a row per group, value and threshold "
        "([interpretation](purity.md)):",
        columns=PURITY, optional=_SEARCHED,
    ),
    Product("purity", "purity/purity.json", _PURITY, "purity", section="purity",
            description="`purity.json`; `graded` is null before grading:", keys=PURITY_SUMMARY,
            optional=_SEARCHED),
    Product("purity_figure", "purity/purity.png", _PURITY, "purity", optional=_SEARCHED),
    Product(
        "injected_lenses", "selection/injected.parquet",
        "lenses injected into galaxies of the search, and whether it recovers them", "paint",
        noun="injected lenses", section="injected-lenses",
        description="`selection/injected.parquet`, a row per lens, ordered by brick and galaxy "
        "([method](realism.md)). Columns of the galaxy are those of the galaxy without arcs; "
        "`theta_e_from` is always `drawn`.",
        columns=INJECTED, optional=_INJECTED,
    ),
    Product("injected_page", "selection/injected.png",
            "lenses injected into galaxies of the search, and whether it recovers them",
            "injected_page", optional=_INJECTED),
    Product("injection_parts", "selection/parts/{name}",
            "progress of an injection that is under way", "paint", temporary=True,
            optional=_INJECTED),
    Product("injection_parts_lock", "selection/parts.lock",
            "progress of an injection that is under way", "paint", temporary=True,
            optional=_INJECTED),
    Product("realism", "selection/realism.json",
            "whether they can be distinguished from real lenses", "realism",
            noun="the comparison of injected and real lenses", section="injected-lenses",
            description="`selection/realism.json`, null where it could not be measured:",
            keys=REALISM, optional=_INJECTED),
    Product("realism_figure", "selection/realism.png",
            "whether they can be distinguished from real lenses", "realism", optional=_INJECTED),
    Product(
        "selection_function", "selection/selection.fits",
        "which lenses the search finds: counts in cells, and a function that can be evaluated for "
        "any population", "selection", noun="the selection function", section="selection-function",
        description="`selection/selection.fits` ([method](selection.md#the-file)); equal runs "
        "give equal bytes, so it contains no date.",
        hdus=(
            Hdu("PRIMARY", "header only", keys=(
                Key("RUN", "name of the run"),
                Key("THRESH", "lowest cut in `p` of the candidates"),
                Key("MODEL", "SHA-256 of the model, its first 16 digits"),
                Key("LPVERS", "version of lenspipe"),
                Key("NPAINTED", "number of lenses injected"),
                Key("NFOUND", "number of those recovered"),
                Key("BRICKVAR", "variance between bricks", "logit^2"),
            )),
            Hdu("CELLS", "a row per cell; edges have units (`theta_e` and `seeing` arcsec, "
                "`depth`, `mag` and `arc_mag` mag)", columns=CELLS),
            Hdu("MODEL", "a row per quantity", columns=DESIGN),
            Hdu("COEFFICIENTS", "a row per column of the design", columns=COEFFICIENTS),
            Hdu("SMOOTHING", "a row per smoothing parameter", columns=SMOOTHING),
            Hdu("COVARIANCE", "image: covariance of the coefficients, in their order"),
        ),
        notes="Columns of the design: 1; the products of the bases in theta_e and brightness, "
        "brightness varying fastest; the bases in seeing, depth and mag; then the basis in theta_e "
        "times each condition, and that in brightness times each, the condition varying linearly "
        "from -1 at `minimum` to 1 at `maximum`. Every column has its description in `TCOMMn`. "
        '`astropy.table.QTable.read("selection.fits", hdu="CELLS")` has the units.',
        optional=_INJECTED,
    ),
    Product("selection", "selection/selection.json",
            "which lenses the search finds: counts in cells, and a function that can be evaluated "
            "for any population", "selection", section="selection-function",
            description="`selection/selection.json`, null where something cannot be determined:",
            keys=SELECTION, optional=_INJECTED),
    Product("selection_figure", "selection/completeness.png",
            "which lenses the search finds: counts in cells, and a function that can be evaluated "
            "for any population", "selection", optional=_INJECTED),
    Product("prediction", "selection/prediction.json",
            "on a simulated sky with held-out bricks: prediction of the function for the planted "
            "lenses, and the truth", "selection", section="selection-function",
            description="`selection/prediction.json`:", keys=PREDICTION, optional=_PREDICTED),
    Product("prediction_figure", "selection/prediction.png",
            "on a simulated sky with held-out bricks: prediction of the function for the planted "
            "lenses, and the truth", "selection", optional=_PREDICTED),
    Product("expected", "expected/expected.json", _NUMBERS, "expected",
            section="expected-numbers",
            description="`expected.json` ([interpretation](expected.md)); quantities that are not "
            "known are null:",
            keys=EXPECTED, optional=_INJECTED),
    Product("expected_table", "expected/expected.csv", _NUMBERS, "expected",
            section="expected-numbers", description="`expected.csv`, a row per bin:",
            columns=BINS, optional=_INJECTED),
    Product("expected_figure", "expected/expected.png", _NUMBERS, "expected", optional=_INJECTED),
)  # fmt: skip
