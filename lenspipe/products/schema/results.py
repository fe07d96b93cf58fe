"""Files of the results: candidates, mosaics, inspection, sheets, metrics, checks, summary."""

from dataclasses import replace

from lenspipe.products.schema.columns import IDENTITY, only
from lenspipe.products.schema.declarations import Column, Hdu, Key, Product

__all__ = ["CANDIDATES", "GRADES", "PRODUCTS", "VIEWER"]

#: Columns of the candidates in order, as FITS, VOTable and page carry them; a run leaves out
#: those it has nothing for. A further column is one line here.
CANDIDATES = (
    Column("rank", "int32", "", "Rank by p, from 1; 0 for a hidden known lens", "meta.code"),
    Column("name", "str", "",
           "IAU-style name from the position, truncated; a target's own if it has one",
           "meta.id;meta.main"),
    Column("id", "str", "", "release-brickid-objid of the galaxy that names it; a target's name",
           "meta.id"),
    Column("ra", "float64", "deg", "Right ascension, J2000", "pos.eq.ra;meta.main"),
    Column("dec", "float64", "deg", "Declination, J2000", "pos.eq.dec;meta.main"),
    Column("p", "float32", "", "Probability of being a lens, the highest of its galaxies",
           "stat.probability"),
    Column("p_<member>", "float32", "", "Probability from the model <member>", "stat.probability",
           optional=True),
    Column("p_<model>", "float32", "", "Probability from the model <model>", "stat.probability"),
    Column("p_calibrated", "float32", "",
           "Probability after calibration on the labelled sample; NaN without",
           "stat.probability"),
    Column("type", "str", "", "Tractor type", "src.morph.type"),
    Column("mag_<band>", "float32", "mag", "AB magnitude in <band>, not corrected for extinction",
           "phot.mag;em.opt"),
    Column("nobs_<band>", "int16", "", "Exposures in <band> at the centre", "meta.number;obs"),
    Column("psfsize_<band>", "float32", "arcsec", "Seeing in <band>, FWHM", "instr.obsty.seeing"),
    Column("brick", "str", "", "Name of the brick", "meta.id;obs.field"),
    Column("region", "str", "", "Region of the survey: north or south", "meta.id;obs"),
    Column("n_members", "int32", "", "Galaxies merged into this candidate", "meta.number"),
    Column("best_id", "str", "", "The most probable of its galaxies, whose scores these are",
           "meta.id.cross"),
    Column("flags", "int32", "", "Quality flags of the cutout, bitmask; 0 if good",
           "meta.code.qual"),
    Column("z", "float32", "", "Redshift; NaN without", "src.redshift", optional=True),
    Column("z_err", "float32", "", "Error of the redshift; NaN without",
           "stat.error;src.redshift", optional=True),
    Column("z_kind", "str", "", "spec or phot, for spectroscopic or photometric", "meta.code",
           optional=True),
    Column("z_source", "str", "", "Table that provides the redshift", "meta.ref", optional=True),
    Column("known", "bool", "", "Whether a known lens is within the matching radius", "meta.code"),
    Column("known_grade", "str", "",
           "Best grade of the nearest known lens, A to C; empty if it has none", "meta.code.qual"),
    Column("known_as", "str", "", "Catalogues of the nearest known lens, each with its grade",
           "meta.bib"),
    Column("viewer", "str", "", "Address of the position in the sky viewer", "meta.ref.url",
           optional=True),
)  # fmt: skip
#: What the sky viewer shows of an uploaded table.
VIEWER = tuple(
    replace(column, name=column.name.upper()) for column in only(CANDIDATES, "ra", "dec", "name")
)
GRADES = (
    Column("grade", "str", "",
           "Grade from the mean: A >= 3.5, B >= 2.75, C >= 2, D below; empty: no vote"),
    Column("mean", "float64", "", "Mean of the graders' numbers, A = 4 to D = 1; NaN: no vote"),
    Column("spread", "float64", "",
           "Standard deviation of these numbers; 0 for one vote, NaN: no vote"),
    Column("n_votes", "int32", "", "Number of graders who graded it in that stage"),
    Column("stage", "int32", "", "Stage of inspection that the grade is from; 0: no vote"),
    Column("votes", "str", "", "Graders with their grades, such as anna: A | ben: B"),
    Column("comments", "str", "",
           "Graders with their comments, of all stages; in FITS as ASCII"),
)  # fmt: skip
VOTES = (
    Column("n", "int64", "", "number of the vote, in the order of arrival"),
    Column("grader", "str", "", "name of the grader"),
    Column("stage", "int64", "", "stage of inspection"),
    Column("item", "str", "",
           "`id` of the candidate; preceded by `repeat:`, `known:` or `injected:` for control "
           "images"),
    Column("grade", "str", "", "grade; empty if it was withdrawn, or a comment alone"),
    Column("comment", "str", "", "comment"),
    Column("seconds", "float64", "s", "time spent looking at it"),
    Column("time", "str", "", "time of the vote, UTC"),
)  # fmt: skip
TARGETS = (
    Column("name", "str", "", "name of the candidate"),
    Column("ra", "str", "h:m:s", "J2000, rounded to 0.01 s"),
    Column("dec", "str", "d:m:s", "J2000, rounded to 0.1 arcsec"),
    Column("mag_<band>", "str", "mag", "AB, not corrected for extinction; empty without"),
    Column("z", "str", "", "redshift and its kind, if the candidates have one"),
    Column("theta_e_arcsec", "str", "arcsec", "mean distance of the arrows; empty without"),
    Column("priority", "str", "", "1, 2, 3 for grades A, B, C; else empty, to be filled in"),
)

_EXPECTED = ("n_lenses", "n_nonlenses")


def _expected(prefix: str, of: str) -> tuple[Key, ...]:
    """Keys of what to expect of some galaxies."""
    return (
        Key(f"{prefix}.n_lenses", f"held-out lenses {of} with which it is measured"),
        Key(f"{prefix}.n_nonlenses", f"held-out random non-lenses {of}"),
        Key(f"{prefix}.completeness", "expected completeness; null where not measured, as below",
            interval=True),
        Key(f"{prefix}.false_positive_rate", "expected false-positive rate", interval=True),
        Key(f"{prefix}.purity", "expected purity", interval=True),
    )  # fmt: skip


THRESHOLD = (
    Key("by", "`candidates.threshold.by`; `targets` for a list of targets"),
    Key("value", "`candidates.threshold.value`; null for a list of targets"),
    Key("per[]", "`candidates.threshold.per`", optional=True),
    Key("n_searched", "galaxies with a score and without a rejected flag"),
    Key("n_above", "those of them above their cut"),
    Key("n_candidates", "number of systems"),
    Key("n_known", "those that are known lenses"),
    Key("n_hidden", "those that `candidates.known` hides"),
    Key("measured_on", "held-out galaxies on which the expectations are based; null if none"),
    Key("prior", "`evaluation.prior`"),
    *_expected("expected", "of all groups together"),
    Key("groups[].region", "of each region, type or pair: the region", optional=True),
    Key("groups[].type", "the Tractor type", optional=True),
    Key("groups[].cut", "the cut; null if nothing passes", optional=True),
    Key("groups[].n_searched", "as above, of the group", optional=True),
    Key("groups[].n_above", "as above, of the group", optional=True),
    *(Key(key.name, key.description, interval=key.interval, optional=True)
      for key in _expected("groups[].expected", "of the group")),
)  # fmt: skip
CUTS = tuple(
    key for key in THRESHOLD
    if key.name not in ("measured_on", "prior") and "expected" not in key.name
)  # fmt: skip

AGREEMENT = (
    Key("stage_<n>.graders.<grader>.n", "number of candidates graded"),
    Key("stage_<n>.graders.<grader>.repeats.n", "number of repeated images"),
    Key("stage_<n>.graders.<grader>.repeats.same", "fraction graded as the first time"),
    Key("stage_<n>.graders.<grader>.repeats.mean_difference", "mean difference, in grades"),
    *(Key(f"stage_<n>.graders.<grader>.found_{kind}.{name}", text)
      for kind in ("known", "injected")
      for name, text in (("n", f"number of {kind} lenses shown"),
                         ("found", "fraction of them graded A to C"))),
    Key("stage_<n>.pairs[].one", "of each two graders: the first"),
    Key("stage_<n>.pairs[].other", "the second"),
    Key("stage_<n>.pairs[].n", "number of candidates that both graded"),
    Key("stage_<n>.pairs[].same", "fraction with equal grades"),
    Key("stage_<n>.pairs[].kappa", "Cohen's kappa"),
    Key("stage_<n>.all.n", "number of candidates that all graded"),
    Key("stage_<n>.all.fleiss_kappa", "Fleiss' kappa"),
)  # fmt: skip

_BIN = (("from", "lower edge"), ("to", "upper edge; null if open"), ("n", "number of lenses"),
        ("completeness", "completeness"), ("low", "lower end of its 95 % interval"),
        ("high", "upper end"))  # fmt: skip
METRICS = (
    Key("judged_by", "`truth` or `labels`"),
    Key("auc", "area under the ROC curve, of all lenses"),
    Key("auc_visible", "the same of the lenses for which completeness is quoted; with truth only",
        optional=True),
    Key("completeness_fpr10", "completeness of the lenses for which it is quoted (without "
        "truth: of all) at a false-positive rate of 10 %"),
    Key("completeness_fpr01", "at 1 %; the interval takes into account that the cut is measured "
        "as well ([how](evaluation.md#intervals))", interval=True),
    Key("completeness_fpr001", "at 0.1 %"),
    Key("n_bricks", "number of bricks with which it was measured"),
    Key("n_lenses", "number of lenses"),
    Key("n_visible_lenses", "number of lenses for which completeness is quoted; with truth only",
        optional=True),
    Key("n_nonlenses", "number of non-lenses"),
    Key("threshold", "the (lowest) cut of the candidates"),
    Key("n_above_threshold", "number of galaxies that pass their cut and the flags"),
    Key("completeness_threshold", "completeness at that threshold"),
    Key("purity_threshold", "purity of this sky, which may contain far more lenses than the real "
        "one"),
    Key("false_positive_rate_threshold", "false-positive rate at that threshold"),
    *(Key(f"false_positive_rate_by_kind.<kind>.{name}", text, optional=True)
      for name, text in (("n", "with truth only, for each class of galaxy: number"),
                         ("threshold", "rate at the threshold"),
                         ("fpr01", "rate at 1 % overall"))),
    Key("scores_against_exposures.spearman",
        "rank correlation of the scores of non-lenses with exposures in the last band"),
    Key("scores_against_exposures.p_value", "its p-value"),
    Key("scores_against_exposures.n", "number of non-lenses"),
    Key("binned_at", "the cut at which the bins below are measured"),
    *(Key(f"completeness_by_<quantity>[].{name}",
          f"with truth by `theta_e` and `arc_snr`, else by `mag` and `nobs` in the reddest band: "
          f"{text}" if name == "from" else text)
      for name, text in _BIN),
)  # fmt: skip

SUMMARY = (
    Key("run", "name of the run"),
    *(Key(name, "from `evaluation/metrics.json`")
      for name in ("auc", "completeness_fpr01", "n_lenses", "n_nonlenses")),
    Key("n_candidates", "number of candidates"),
    Key("n_mosaic_pages", "number of mosaic pages"),
    Key("n_galaxies", "number of galaxies with cutouts"),
    Key("n_bricks", "number of bricks"),
    Key("n_bricks_failed", "bricks that could not be searched"),
    Key("n_bricks_to_retry", "those of them whose failure is transient; the next run requests "
        "them again unless `failures.retry` is `none`"),
    Key("n_bricks_unchecked", "bricks with files that were not checked against published sums; "
        "null without `retrieval.checksums`"),
    Key("targets_without_data", "names of targets for which the survey has no data; null without "
        "a list of targets"),
    Key("checks_red[]", "names of the [checks](#checks) that are red; null if none were made",
        optional=True),
    Key("wall_s", "time during which jobs ran; pauses of a minute or more do not count", "s"),
    Key("peak_rss_mb", "largest sum of the peak memories of jobs that ran at the same time, an "
        "upper limit", "2^20 byte"),
    Key("disk_mb", "size of all files of the run", "2^20 byte"),
)  # fmt: skip

CHECKS = (
    Key("run", "name of the run"),
    Key("red[]", "names of the red checks", optional=True),
    Key("checks[].check",
        "name: `depth leak`, `north and south`, `leakage`, `drift`, `duplicates`"),
    Key("checks[].status", "`green`, `red` or `not measured`"),
    Key("checks[].number", "the number measured; null where not measured, as the next two"),
    Key("checks[].bar", "the maximum allowed"),
    Key("checks[].what", "what the number is"),
    Key("checks[].why", "the finding, or why it could not be measured"),
    Key("checks[].parts[].<key>", "rows from which it was derived, as `checks.html` shows them",
        optional=True),
)  # fmt: skip
DRIFT = (
    Column("brick", "str", "", "name; empty if the row describes a whole chunk"),
    Column("chunk", "str", "", "chunk"),
    Column("region", "str", "", "region"),
    Column("n", "int64", "", "number of galaxies with a score"),
    Column("statistic", "str", "",
           "`level`: mean of the normal deviates that correspond to the ranks of the scores; "
           "`spread`: their variance"),
    Column("deviation", "float64", "",
           "deviation from the median of the nearest bricks, or chunks, of the region"),
    Column("z", "float64", "", "the same divided by its error"),
    Column("p", "float64", "",
           "probability of at least that deviation for one brick or chunk (Student's t)"),
)  # fmt: skip
MISSING = (
    Column("brick", "str", "", "name"),
    Column("transient", "bool", "",
           "whether the failure is transient: a server may deliver later what it did not deliver"),
    Column("reason", "str", "", "why it failed"),
)  # fmt: skip

_OF_STAGE = (
    ("chunks_done", "number of chunks"), ("done", "bricks, as in the [manifests](#manifests)"),
    ("empty", "bricks without galaxies"), ("failed", "bricks that failed"),
    ("to_do", "bricks left"), ("galaxies", "galaxies in the bricks done; of mosaics those shown"),
    ("bricks_per_s", "speed over the chunks that ended within an hour of the last of the stage, at "
     "least ten; null before the first"),
    ("galaxies_per_s", "the same in galaxies"),
    ("measured_on_chunks", "number of these chunks"),
)  # fmt: skip
STATUS = (
    Key("run", "name of the run"),
    Key("state", "`not begun`, `running`, `stopped` (nothing written for ten minutes) or `done`"),
    Key("last_write_s", "time since the most recent log or benchmark was written", "s"),
    Key("chunks", "number of chunks planned"),
    Key("bricks", "number of bricks planned"),
    *(Key(f"stages.<stage>.{name}",
          f"of `parent`, `cutouts`, `scores`, `mosaics`: {text}" if name == "chunks_done" else text)
      for name, text in _OF_STAGE),
    Key("time_left_s", "time that the slowest stage needs for its remaining bricks; null if not "
        "yet known", "s"),
    Key("slowest", "that stage"),
    Key("speed_not_known[]", "stages with bricks left that it does not cover"),
    *(Key(f"failed[].{name}", text)
      for name, text in (("stage", "for each reason of failures: the stage"),
                         ("reason", "the reason"),
                         ("transient", "whether it is transient"),
                         ("n_bricks", "number of bricks"), ("first_bricks[]", "the first five"))),
    Key("skipped.empty", "bricks without galaxies"),
    Key("skipped.lacking_bands.<bands>", "number of bricks that lack these bands; they are cut out "
        "and flagged"),
    *(Key(f"failed_jobs[].{name}", text)
      for name, text in (("rule", "jobs whose log ends with errors, which the next run repeats: "
                          "the rule"), ("name", "chunk, brick or model"),
                         ("errors[]", "the errors"))),
    *(Key(f"at_work[].{name}", text)
      for name, text in (("rule", "other logs without an end, the most recent first: the rule"),
                         ("name", "chunk, brick or model"), ("line", "the last line"))),
    Key("go_on", "command that continues; null if there is nothing to do, as below"),
    Key("retry_transient", "command that retries the bricks whose failure is transient"),
    Key("retry_all", "command that retries all failed bricks"),
)  # fmt: skip

_EVALUATED = "a split is held out"
_SHEETS = "lenspipe sheets"
_INSPECT = "lenspipe inspect"
_EXPORT = "lenspipe inspect --export"
_GRADED = "candidates as people graded them"
_CANDIDATES = "ranked candidates as FITS, CSV and VOTable"
_SAME = ("the same as a page with links to the mosaics, as regions for DS9, as a list to upload "
         "to the sky viewer")  # fmt: skip
_MAP = ("a map of the candidates and the bricks searched; the latter as a multi-order coverage map "
        "(MOC)")  # fmt: skip
_CHECKS = ("standing checks of the run, green or red; bricks whose scores deviate strongly from "
           "those of their neighbours")  # fmt: skip

PRODUCTS = (
    Product(
        "summary", "summary.json", "the main numbers of the run", "summary",
        noun="the summary of a run", section="summaryjson", keys=SUMMARY,
    ),
    Product(
        "status_page", "status.html",
        "the state of the bricks, stage by stage, with a map; also in Snakemake's report "
        "([status](#status))", "summary",
    ),
    Product(
        "status", "", "state of the run, printed by `lenspipe status --json`",
        "lenspipe status --json", section="status", keys=STATUS,
        notes="Of a chunk under way the files of cutouts count as bricks done; its job may still "
        "make one anew if the settings have changed since. In other stages a chunk counts when it "
        "is done. Time during which no job ran is not part of a speed, whereas the time that jobs "
        "of other rules took is: stages share the machine. The time left assumes that the stages "
        "continue side by side; steps that run once, such as training, are not included.",
    ),
    Product(
        "candidates", "candidates/candidates.fits", _CANDIDATES, "candidates",
        noun="candidates", section="candidates",
        columns=CANDIDATES,
        notes="`known_grade` and `known_as` are empty without a known lens. `z` to `z_source` "
        "require `candidates.redshifts`; `viewer` exists for real surveys only.",
    ),
    Product("candidates_csv", "candidates/candidates.csv", _CANDIDATES, "candidates",
            section="candidates", columns=CANDIDATES, columns_as="candidates"),
    Product("candidates_votable", "candidates/candidates.vot", _CANDIDATES, "candidates",
            section="candidates", columns=CANDIDATES, columns_as="candidates"),
    Product("candidates_page", "candidates/candidates.html", _SAME, "candidate_list"),
    Product("regions", "candidates/candidates.reg", _SAME, "candidates"),
    Product("viewer", "candidates/viewer.fits", _SAME, "candidates", section="candidates",
            description="`viewer.fits` has `RA`, `DEC` and `NAME` of those that are shown.",
            columns=VIEWER, columns_as="candidates"),
    Product(
        "cuts", "candidates/cuts.json", "the cut and the number of galaxies above it",
        "candidates", noun="the cut of the candidates", section="threshold",
        keys=CUTS, columns_as="threshold",
    ),
    Product(
        "threshold", "candidates/threshold.json",
        "the cut, the number of galaxies above it, and what to expect", "forecast",
        noun="what to expect of the candidates", section="threshold",
        description="`candidates/threshold.json` "
        "([interpretation](candidates.md#what-to-expect)):",
        keys=THRESHOLD,
    ),
    Product("sky_map", "candidates/sky.png", _MAP, "sky_map"),
    Product("searched", "candidates/searched.fits", _MAP, "sky_map"),
    Product("searched_json", "candidates/searched.json", _MAP, "sky_map"),
    Product(
        "mosaic_page", "mosaics/page-{page}.png",
        "all candidates, in the order of `mosaics.sort` ([contents](followup.md#mosaics)); "
        "`pages.json` lists the pages", "mosaics", section="mosaics",
    ),
    Product(
        "mosaic_index", "mosaics/pages.json",
        "all candidates, in the order of `mosaics.sort` ([contents](followup.md#mosaics)); "
        "`pages.json` lists the pages", "mosaics",
        noun="the list of mosaic pages",
        section="mosaics",
        description="`mosaics/pages.json`:",
        keys=(Key("n_candidates", "number of candidates"),
              Key("pages[]", "file names of the pages, in order")),
    ),
    Product(
        "brick_mosaic", "mosaics/bricks/{brick}.png",
        "the most probable galaxies of a brick", "brick_mosaic, chunk_mosaics",
        optional="`mosaics.per_brick`, or the brick was requested by name",
    ),
    Product("sheets", "sheets/sheets.pdf",
            "a page on each candidate chosen ([contents](followup.md#sheets))", _SHEETS,
            optional="the command was used"),
    Product("targets_csv", "sheets/targets.csv",
            "these candidates as a table of targets ([format](followup.md#targets))", _SHEETS,
            section="targets", columns=TARGETS, optional="the command was used"),
    Product("targets_tex", "sheets/targets.tex",
            "these candidates as a table of targets ([format](followup.md#targets))", _SHEETS,
            section="targets", optional="the command was used"),
    Product("targets_txt", "sheets/targets.txt",
            "these candidates as a table of targets ([format](followup.md#targets))", _SHEETS,
            section="targets", columns=TARGETS, columns_as="targets_csv",
            optional="the command was used"),
    Product("sheet", "sheets/{name}.png",
            "a page on each candidate chosen ([contents](followup.md#sheets))", _SHEETS,
            optional="the command was used"),
    Product(
        "grades", "inspection/grades.csv", _GRADED, _EXPORT,
        noun="graded candidates",
        section="inspection",
        description="`lenspipe inspect --export` writes `grades.csv` and `grades.fits`: all "
        "columns of the file of candidates, followed by",
        columns=(*CANDIDATES, *GRADES), optional="candidates were graded",
    ),
    Product("grades_fits", "inspection/grades.fits", _GRADED, _EXPORT, section="inspection",
            columns=(*CANDIDATES, *GRADES), columns_as="grades",
            optional="candidates were graded"),
    Product("votes", "inspection/votes.csv", "every vote", _EXPORT, section="inspection",
            description="`votes.csv`, a row per vote:", columns=VOTES,
            optional="candidates were graded"),
    Product("agreement", "inspection/agreement.json", "how well the graders agree", _EXPORT,
            section="inspection",
            description="`agreement.json`, for each stage; null where not measured:",
            keys=AGREEMENT, optional="candidates were graded"),
    Product("votes_database", "inspection/grades.sqlite", "every vote, as it is given", _INSPECT,
            noun="a database of votes", section="inspection",
            description="`grades.sqlite` is the SQLite database of all votes, with `-wal` and "
            "`-shm` beside it while it is open; a damaged one is kept as "
            "`grades.damaged-<time>.sqlite`. `known.fits` and `injected.fits` hold the cutouts of "
            "control images.",
            optional="the command was used"),
    Product("votes_log", "inspection/grades.sqlite-{name}", "log of the open database", _INSPECT,
            temporary=True, optional="the command is running"),
    Product("votes_damaged", "inspection/grades.damaged-{name}", "a damaged database", _INSPECT,
            optional="a database was damaged"),
    *(
        Product(f"control_{kind}", f"inspection/{kind}.fits", "cutouts of control images",
                _INSPECT, section="inspection",
                hdus=(Hdu("IMAGE", "float32 (N, bands, size, size), nanomaggies"),
                      Hdu("CATALOG", "N rows in the same order: `id`, `ra`, `dec` at least",
                          columns=columns)),
                columns_as="cutouts", optional=f"`--{kind}` was given")
        for kind, columns in (("known", ()), ("injected", only(IDENTITY, "id", "ra", "dec")))
    ),
    Product(
        "metrics", "evaluation/metrics.json", "performance of the search", "evaluate",
        noun="the metrics of the search", section="metrics", keys=METRICS, optional=_EVALUATED,
        notes="On a simulated sky completeness is quoted for lenses with an Einstein radius of at "
        "least 1.2 arcsec and arcs with a signal-to-noise ratio of at least 10; keys call them "
        "`visible`.",
    ),
    *(
        Product(f"evaluation_{name}", f"evaluation/{name}.png", title, "evaluate",
                optional=_EVALUATED)
        for name, title in (
            ("roc", "the same as figures"), ("scores", "the same as figures"),
            ("completeness", "the same as figures"), ("missed", "the most confident mistakes"),
            ("false", "the most confident mistakes"))
    ),
    Product("checks", "checks/checks.json", _CHECKS, "checks",
            noun="standing checks",
            section="checks", keys=CHECKS,
            description="`checks.json` ([what the checks mean](checks.md)):"),
    Product("checks_page", "checks/checks.html", _CHECKS, "checks"),
    Product("drift", "checks/drift.csv", _CHECKS, "checks", section="checks", columns=DRIFT,
            description="`drift.csv`, a row per statistic of each brick and chunk that deviates "
            "strongly, the largest deviation first:"),
    Product("drift_figure", "checks/drift.png", _CHECKS, "checks"),
    Product(
        "missing", "missing.csv", "bricks that could not be searched", "summary",
        noun="the list of failed bricks",
        section="summaryjson", description="`missing.csv`:", columns=MISSING,
    ),
    Product("log", "logs/{rule}/{name}.log", "log of each job", "every rule"),
    Product("benchmark", "benchmarks/{rule}/{name}.tsv",
            "time and memory of each job, as Snakemake measures them", "every rule"),
)  # fmt: skip
