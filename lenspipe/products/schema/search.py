"""Files of the search itself: bricks, parent sample, cutouts, records, scores, simulated sky."""

from lenspipe.products.schema.columns import FLAGS, IDENTITY, SCORES, TRACTOR, TYPE
from lenspipe.products.schema.declarations import Column, Hdu, Key, Product

__all__ = ["PRODUCTS", "RECORD"]

BRICKS = (
    Column("brick", "str", "", "name"),
    Column("brickid", "int32", "", "number"),
    Column("region", "str", "", "`north` or `south`"),
    Column("ra", "float64", "deg", "right ascension of the centre"),
    Column("dec", "float64", "deg", "declination of the centre"),
    Column("chunk", "str", "", "chunk to which it belongs"),
    Column("nexp_<band>", "float32", "",
           "median number of exposures; NaN where the survey's table lacks it"),
    Column("psfsize_<band>", "float32", "arcsec",
           "seeing, FWHM; NaN where the survey's table lacks it"),
)  # fmt: skip
PARENT = (*IDENTITY, *TRACTOR)
AUDIT = (
    Column("cut", "str", "", "name of the cut; `targets`, the only row, for a list of targets"),
    Column("before", "int64", "", "number of rows before the cut"),
    Column("after", "int64", "", "number of rows after the cut"),
    Column("removed", "int64", "", "number of rows that it removed"),
    Column(
        "not_counted",
        "str",
        "",
        "what these numbers do not include, because the source of the "
        "catalogues lacks it; else empty",
    ),
)
CUTOUTS = (*PARENT, FLAGS)

#: Features of a record; one `tf.train.Example` per cutout.
RECORD = (
    Column("version", "int64", "", "version of this schema, 2"),
    Column("shape", "int64", "", "number of bands, rows and columns: (B, S, S)"),
    Column("dtype", "bytes", "",
           "of the image: `float32`, or `float16` if `records.dtype` says so (labelled sample "
           "only)"),
    Column("image", "bytes", "nanomaggy",
           "little-endian numbers of that type in the order of `shape`"),
    Column("label", "float", "", "1 lens, 0 non-lens, -1 unknown"),
    *(Column(name, "bytes", "", "as in the parent sample")
      for name in ("id", "brick", "region", "type")),
    Column("class", "bytes", "",
           "as in the labelled sample (`lens`, `random`, ...); empty in records of chunks"),
    Column("grade", "bytes", "", "grade of a known lens, A to D; empty if none or unknown"),
    *(Column(name, "int64", "", "as in the parent sample")
      for name in ("release", "brickid", "objid")),
    Column("flags", "int64", "", "quality flags of the cutout ([bits](#flags))"),
    Column("position", "bytes", "deg",
           "right ascension and declination as little-endian float64 (a float feature has single "
           "precision, 0.08 arcsec)"),
    *(Column(name, "float", unit, "one number per band, in the order of the image; as in the "
             "parent sample")
      for name, unit in (("mag", "mag"), ("nobs", ""), ("psfsize", "arcsec"),
                         ("galdepth", "nanomaggy^-2"))),
    *(Column(name, "float", unit, "as in the parent sample")
      for name, unit in (("ebv", "mag"), ("sersic", ""), ("shape_r", "arcsec"))),
    Column("theta_e_arcsec", "float", "arcsec", "Einstein radius; NaN if none or unknown"),
)  # fmt: skip

MANIFEST = (
    Key("<brick>.status",
        "`done`, `empty` (no galaxies) or `failed`; in `discard` also `deleted`"),
    Key("<brick>.count", "number of galaxies", optional=True),
    Key("<brick>.hash", "hash of the content", optional=True),
    Key("<brick>.reason", "reason of a failure", optional=True),
    Key("<brick>.transient",
        "whether the failure is transient: the server may deliver later what it did not deliver",
        optional=True),
    Key("<brick>.missing_bands", "bands without a coadd in the brick", optional=True),
    Key("<brick>.unchecked",
        "with `retrieval.checksums`: why files were not checked against the published sums",
        optional=True),
)  # fmt: skip

TRUTH = (
    Column("brick", "str", "", "as in the Tractor catalogue"),
    Column("brickid", "int64", "", "as in the Tractor catalogue"),
    Column("objid", "int32", "", "as in the Tractor catalogue"),
    Column("id", "str", "", "release-brickid-objid"),
    Column("region", "str", "", "`north` or `south`"),
    Column("ra", "float64", "deg", "true right ascension"),
    Column("dec", "float64", "deg", "true declination"),
    Column("kind", "str", "", "class of object; a lens is `lens` and nothing else"),
    TYPE,
    Column("redshift", "float64", "", "redshift; 0 for stars"),
    *(Column(f"flux_{band}", "float64", "nanomaggy", f"true flux of the main body in {band}")
      for band in "grz"),
    Column("r_half", "float64", "arcsec", "half-light radius"),
    Column("z_lens", "float64", "", "redshift of the lens; NaN for non-lenses, as all below"),
    Column("z_source", "float64", "", "redshift of the source"),
    Column("theta_e_arcsec", "float64", "arcsec", "Einstein radius"),
    Column("arc_mag_g", "float64", "mag", "magnitude of all lensed images together in g"),
    Column("arc_snr", "float64", "", "signal-to-noise ratio of the arcs in the best band"),
    Column("primary", "bool", "",
           "whether the object counts: it lies in its own brick and in the primary region"),
)  # fmt: skip

_SIMULATED = "the sky is simulated"

PRODUCTS = (
    Product(
        "scores", "scores/{chunk}.parquet", "a row for each scored galaxy", "scores",
        noun="scores", section="scores",
        columns=(*IDENTITY, FLAGS, *SCORES),
        notes="Flagged cutouts are scored as well; `candidates.reject_flags` says which flags "
        "exclude a galaxy from the candidates.",
    ),
    Product(
        "brick_scores", "scores/bricks/{brick}.parquet",
        "scores of a single brick", "brick_scores", noun="scores", section="scores",
        columns=(*IDENTITY, FLAGS, *SCORES), columns_as="scores",
        optional="the brick was requested by name",
    ),
    Product(
        "score_parts", "scores/parts/{chunk}/{name}", "progress of a scoring that is under way",
        "scores", temporary=True,
    ),
    Product("score_parts_lock", "scores/parts/{chunk}.lock",
            "progress of a scoring that is under way", "scores", temporary=True),
    Product(
        "records", "records/{chunk}.tfrecord",
        "cutouts prepared for the network; deleted once they are scored, unless `keep: all`",
        "records",
        noun="records for scoring",
        section="records", columns=RECORD, columns_as="sample_shards", temporary=True,
    ),
    Product(
        "cutouts", "cutouts/{folder}/{brick}.fits",
        "cutouts and their catalogue; with `keep: scores` only those that were needed after "
        "scoring",
        "cutouts, brick_cutouts", noun="cutouts", section="cutouts",
        description="`<AAA>` stands for the first three digits of the name of the brick.",
        hdus=(
            Hdu(
                "IMAGE",
                "float32 (N, bands, size, size), nanomaggies per pixel of 0.262 arcsec, north up "
                "and east left, with the galaxy at the central pixel; NaN where there are no data",
                keys=(
                    Key("BANDS", "bands, in the order of the third axis"),
                    Key("MISSING", "bands without a coadd in this brick"),
                    Key("BUNIT", "unit, nanomaggy"),
                    Key("PIXSCALE", "size of a pixel", "arcsec"),
                    Key("RELEASE", "data release"),
                    Key("BRICKNAM", "brick"),
                    Key("REGION", "region"),
                    Key("LPKEY", "hash of everything from which the file was made"),
                    Key("LPHASH", "hash of pixels and catalogue"),
                    Key("LPVERS", "version of lenspipe"),
                ),
            ),
            Hdu("CATALOG", "N rows in the same order: the columns of the parent sample and `flags`",
                columns=CUTOUTS),
        ),
    ),
    Product(
        "parent", "parent/{chunk}.parquet", "the parent sample", "parent",
        noun="a parent sample", section="parent-sample", columns=PARENT,
    ),
    Product(
        "audit", "parent/audit.csv",
        "numbers of rows before, after and removed by each cut, in the order of the cuts", "audit",
        noun="an audit of the cuts",
        section="parent-sample", columns=AUDIT, columns_as="chunk_audit",
    ),
    Product(
        "chunk_audit", "parent/audit/{chunk}.csv",
        "numbers of rows before, after and removed by each cut, in the order of the cuts",
        "parent", noun="an audit of the cuts", section="parent-sample",
        description="`parent/audit/<chunk>.csv` and their sum, `parent/audit.csv`, have a row for "
        "each cut in the order in which the cuts are applied:",
        columns=AUDIT,
    ),
    Product(
        "tap_answers", "parent/tap/{chunk}/{name}",
        "answers of a TAP service while a chunk is under way", "parent", temporary=True,
        optional="`survey.catalogs: tap`",
    ),
    Product(
        "manifest", "manifests/{stage}/{chunk}.json",
        "outcome of a stage (`parent`, `cutouts`, `mosaics`, `discard`) for each brick",
        "parent, cutouts, chunk_mosaics, discard", section="manifests",
        description="For each brick:",
        keys=MANIFEST,
        notes="The `.lock` files beside them belong to jobs that are writing.",
    ),
    Product(
        "manifest_lock", "manifests/{stage}/{chunk}.lock", "lock of a manifest",
        "parent, cutouts, chunk_mosaics, discard", temporary=True,
    ),
    Product(
        "bricks", "bricks.parquet", "the bricks searched", "bricks",
        noun="the table of bricks",
        section="bricks",
        columns=BRICKS,
    ),
    Product(
        "plan", "plan.json", "the bricks of each chunk, read by the workflow",
        "reading of the Snakefile", section="bricks",
        description="`plan.json`:",
        keys=(
            Key("key", "hash of the settings and files from which it was made"),
            Key("chunks.<chunk>.regions.<region>", "names of the bricks, separated by blanks"),
            Key("chunks.<chunk>.digest", "hash that changes with the bricks of the chunk"),
        ),
    ),
    Product(
        "hosts", "hosts.json",
        "how each server answers range requests; delete it if a server has changed",
        "any job that asks a server", section="servers",
        keys=(
            Key("<host>.ranges", "how ranges are requested from it"),
            Key("<host>.proved", "kinds of request that it is known to answer"),
            Key("<host>.most_ranges", "maximum number of ranges in a request"),
        ),
        optional="files are read from a server",
    ),
    Product("hosts_lock", "hosts.lock", "lock of `hosts.json`", "any job that asks a server",
            temporary=True, optional="files are read from a server"),
    Product(
        "chunks", "manifests/chunks.json", "hash of the files of each chunk", "chunks",
        section="manifests", description="`manifests/chunks.json`:",
        keys=(Key("<chunk>", "SHA-256 of its parent sample, manifest of cutouts and scores"),),
    ),
    Product(
        "basis", "basis/{step}.json", "settings and lists from which a step is made", "basis",
        section="basis",
        keys=(
            Key("settings.<key>", "settings on which the step depends"),
            Key("files.<file>", "SHA-256 of each list or source file that it reads"),
        ),
    ),
    Product(
        "sky_manifest", "sky/sky.json", "the simulated sky", "simulate",
        noun="a simulated sky", section="simulated-sky",
        description="`sky.json`, written last:",
        keys=(
            Key("<region>/<brick>.key", "hash of the settings of the brick"),
            Key("<region>/<brick>.tractor", "hash of its Tractor catalogue"),
        ),
        optional=_SIMULATED,
    ),
    Product(
        "truth", "sky/truth.parquet", "the simulated sky", "simulate",
        noun="the truth of the simulated sky",
        section="simulated-sky",
        description="`truth.parquet`, a row for each object of a Tractor catalogue:",
        columns=TRUTH, optional=_SIMULATED,
    ),
    Product(
        "truth_part", "sky/parts/{region}-{brick}.parquet", "the simulated sky", "simulate",
        section="simulated-sky", columns=TRUTH, columns_as="truth", optional=_SIMULATED,
        description="`parts/` holds the truth of each brick, with the same columns.",
    ),
    Product(
        "sky_known_lenses", "sky/known-lenses.csv", "the simulated sky", "simulate",
        section="simulated-sky",
        description="`known-lenses.csv`, lenses as earlier searches would have published them:",
        columns=(
            Column("name", "str", "", "name, `SIM-<ra><dec>`"),
            Column("ra", "float64", "deg", "published right ascension"),
            Column("dec", "float64", "deg", "published declination"),
            Column("grade", "str", "", "A, B or C"),
        ),
        optional=_SIMULATED,
    ),
    Product(
        "confusing", "sky/confusing.csv", "the simulated sky", "simulate",
        section="simulated-sky",
        description="`confusing.csv`, non-lenses that earlier searches would have published:",
        columns=(
            Column("ra", "float64", "deg", "right ascension"),
            Column("dec", "float64", "deg", "declination"),
            Column("kind", "str", "", "class of object"),
        ),
        optional=_SIMULATED,
    ),
    *(
        Product(key, f"sky/{path}", "the simulated sky, in the survey's own layout", "simulate",
                section="", optional=_SIMULATED)
        for key, path in (
            ("sky_all_bricks", "survey-bricks.fits.gz"),
            ("sky_bricks", "{region}/survey-bricks-dr9-{region}.fits.gz"),
            ("sky_tractor", "{region}/tractor/{folder}/tractor-{brick}.fits"),
            ("sky_coadd",
             "{region}/coadd/{folder}/{brick}/legacysurvey-{brick}-{kind}{suffix}.fits.fz"),
        )
    ),
)  # fmt: skip
