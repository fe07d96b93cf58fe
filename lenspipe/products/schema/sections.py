"""Introduction and sections of docs/outputs.md, in order."""

from lenspipe.products.schema.declarations import Section

__all__ = ["CHUNKS", "INTRODUCTION", "SECTIONS"]

INTRODUCTION = """\
Every file of a run is below `results/<run>/`. Tables are Parquet unless stated otherwise.
Angles are in degrees (J2000), magnitudes AB and not corrected for extinction, radii in arcsec,
fluxes in nanomaggies (AB = 22.5 - 2.5 log10). `<band>` stands for each of `survey.bands`.
`_low` and `_high` after a name are the ends of its 95 % interval.

A galaxy is identified by release, brickid and objid of its Tractor catalogue. `id` joins them,
`9010-506100-17`, and serves to join all tables.

Keys of nested objects of a JSON document are joined by dots here, and `[]` marks the items of a
list.

This file is written by `python -m lenspipe.products.outputs > docs/outputs.md` from the schema in
`lenspipe/products/schema/`; edit that instead. `python -m lenspipe.products.verify results/<run>`
compares the files of a run with it."""

CHUNKS = "A chunk is a cell of the nested HEALPix grid, `<nside>-<cell>`: `64-005304`."

SECTIONS = (
    Section("scores", "Scores"),
    Section("flags", "Flags", "Bits of `flags`; 0 is a good cutout."),
    Section(
        "candidates", "Candidates",
        "One row for each system of galaxies above the [threshold](candidates.md), named after its "
        "brightest galaxy in the reddest band, whose cutout is shown. `p` and all other scores are "
        "those of its most probable galaxy. The FITS file and the VOTable carry units and "
        "descriptions, the VOTable also UCDs; the header of the FITS file has the run, the "
        "(lowest) cut and the merging radius. A known lens is one within "
        "`sample.match_radius_arcsec`.",
    ),
    Section("threshold", "Threshold", level=3),
    Section("mosaics", "Mosaics"),
    Section("targets", "Targets",
            "`targets.csv`, `targets.tex` and `targets.txt` hold the same rows, in the order "
            "requested; all values are texts."),
    Section("inspection", "Inspection"),
    Section("recovery", "Recovery"),
    Section("purity", "Purity"),
    Section(
        "injected-lenses", "Injected lenses",
        "Lenses that the search is tested with. Those in the training sample are described "
        "[there](#labelled-sample).",
        former="painted-lenses",
    ),
    Section("selection-function", "Selection function"),
    Section("expected-numbers", "Expected numbers"),
    Section("checks", "Checks"),
    Section("parent-sample", "Parent sample"),
    Section("cutouts", "Cutouts"),
    Section("known-lenses", "Known lenses"),
    Section("labelled-sample", "Labelled sample"),
    Section(
        "lists-to-be-graded", "Lists to be graded",
        "Fill in `grade`: A, B or C for a lens, D for a non-lens; galaxies left empty are set "
        "aside. Name the file in `sample.graded`. A list that is written again keeps its grades.",
    ),
    Section("report-of-the-sample", "Report of the sample"),
    Section("records", "Records"),
    Section("models", "Models"),
    Section("ensembles", "Ensembles", level=3),
    Section(
        "how-well-a-model-does", "How well a model does",
        "On the validation and test splits of the labelled sample, judged by its labels. The "
        "meaning of each number and figure: [evaluation.md](evaluation.md).",
        level=3,
    ),
    Section("sweep", "Sweep"),
    Section(
        "metrics", "Metrics",
        "`evaluation/metrics.json`. On a simulated sky: galaxies of the bricks that training never "
        "saw, judged by the truth. On real data: the test split, judged by its labels. Without a "
        "test split the validation split replaces it; if all splits are trained on, there is no "
        "evaluation. Quantities that cannot be measured are null.",
    ),
    Section("summaryjson", "`summary.json`"),
    Section(
        "status", "Status",
        "`lenspipe status my.yaml` reports the progress of a run, during the run or later; "
        "`--html page.html` also writes the page. It reads manifests, benchmarks and ends of logs "
        "and changes nothing; for 224,000 bricks it takes "
        "[a second or two](performance.md#status). `--json` prints one object:",
    ),
    Section("manifests", "Manifests"),
    Section("bricks", "Bricks"),
    Section("basis", "Basis of a step",
            "`basis/<step>.json` is an input of each step that must be repeated if it changes."),
    Section("servers", "Servers", "`hosts.json`, for each server:"),
    Section(
        "simulated-sky", "Simulated sky",
        "`sky/` has the layout of the survey: `survey-bricks.fits.gz`, `<region>/tractor/`, "
        "`<region>/coadd/`. In addition:",
    ),
)  # fmt: skip
