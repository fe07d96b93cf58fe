"""Files of the training: known lenses, the labelled sample, models, the sweep."""

from dataclasses import replace

from lenspipe.products.schema.columns import (
    CONDITIONS,
    IDENTITY,
    MAGNITUDES,
    POSITION,
    RANKING,
    TYPE,
    only,
)
from lenspipe.products.schema.columns import TRUTH as INJECTED_TRUTH
from lenspipe.products.schema.declarations import Column, Key, Product
from lenspipe.products.schema.search import RECORD

__all__ = ["PRODUCTS"]

KNOWN = (
    Column("ra", "float64", "deg",
           "right ascension of the entry with the best grade, of the first catalogue among equals"),
    Column("dec", "float64", "deg", "declination of that entry"),
    Column("grade", "str", "", "best grade, A to C; empty if there is none"),
    Column("kind", "str", "", "term used by the catalogue: galaxy, group, cluster"),
    Column("names", "str", "", "all names, separated by ` | `"),
    Column("references", "str", "",
           "catalogue and grade of each entry: `huang2020:A | lenscat:C`"),
    Column("n_entries", "int32", "", "number of entries merged"),
    Column("catalogued", "bool", "",
           "whether an entry comes from a catalogue and not only from visual inspection"),
    Column("visible", "bool", "",
           "whether the lens can be seen from the ground, by an entry's references"),
)  # fmt: skip
REFERENCES = (
    Column("catalogue", "str", "", "as in the table of known lenses"),
    Column("reference", "str", "", "as in the catalogue"),
    Column("meaning", "str", "", "`lens`, or as in the catalogue's `references`"),
    Column("entries", "int64", "", "number of entries with this reference"),
    Column("visible", "int64", "", "number of these that can be seen from the ground"),
    Column("unresolved", "int64", "", "number that cannot, and are not trained on"),
    Column("left_out", "int64", "", "number that are no lenses"),
)  # fmt: skip
FATES = (
    *KNOWN,
    Column("id", "str", "", "its galaxy in the parent sample; empty if there is none"),
    Column("brick", "str", "", "brick of that galaxy"),
    TYPE,
    Column("distance_arcsec", "float64", "arcsec", "distance of that galaxy"),
    Column("fate", "str", "", "the split that it is in, or the reason why it is left out"),
)
LABELS = (
    Column("label", "float32", "", "1 lens (also injected), 0 non-lens"),
    Column("class", "str", "",
           "`lens`, `injected`, `graded` (D), `confusing` or `confusing:<kind>`, `random`"),
    Column("grade", "str", "", "grade of a lens, as in the table of known lenses"),
    Column("references", "str", "", "references of a lens, as in the table of known lenses"),
    Column("split", "str", "",
           "`train`, `validation` or `test`; all galaxies of a brick are in the same split"),
    Column("bin", "str", "",
           "Tractor type, region and exposures in the last band; non-lenses are drawn within these "
           "bins: `SER south 5`"),
    Column("shard", "str", "", "file of its record"),
    Column("row", "int64", "", "position of the record in that file"),
)  # fmt: skip
SAMPLE = (
    replace(IDENTITY[0], description="as in the parent sample; an injected lens has the columns of "
            "its host, and `injected:` before its `id`"),
    *IDENTITY[1:],
    TYPE,
    Column("chunk", "str", "", "chunk of the brick"),
    *CONDITIONS,
    *LABELS,
)  # fmt: skip
#: Columns of the sample that the table of predictions repeats.
PREDICTED = (
    IDENTITY[0],
    *only(LABELS, "split", "label", "class", "grade"),
    TYPE,
    *only(IDENTITY, "region", "brick"),
    *POSITION,
    *MAGNITUDES,
)
PREDICTIONS = (
    *PREDICTED,
    Column("p", "float32", "", "score, with `inference.symmetries`"),
    Column("theta_e_arcsec", "float32", "arcsec",
           "Einstein radius where it is known: simulated skies, injected lenses"),
    Column("arc_snr", "float32", "", "signal-to-noise ratio of the arcs, likewise"),
    Column("p_calibrated", "float32", "",
           "probability after `evaluation.calibration`; NaN without calibration"),
)  # fmt: skip
#: Only lenses that are drawn uniformly have weights.
INJECTED = (
    Column("id", "str", "", "of the host galaxy"),
    *(column for column in INJECTED_TRUTH if column.name != "weight"),
)

HISTORY = (
    Column("epoch", "int64", "", "number of the epoch, from 1"),
    Column("learning_rate", "float64", "", "learning rate"),
    Column("loss", "float64", "", "training loss, weighted and with augmentation"),
    Column("val_loss", "float64", "", "loss on the validation split; empty without one"),
    Column("val_auc", "float64", "", "area under the ROC curve on the validation split"),
    Column("images_per_s", "float64", "s^-1", "training speed"),
)

TRAINING = (
    Key("name", "name of the model"),
    Key("network", "architecture"),
    Key("parameters", "number of trainable parameters"),
    Key("lenspipe",
        "version of the code: that of the package and, if it runs from a checkout, the commit"),
    Key("sample_version", "version of the labelled sample on which it was trained"),
    Key("sample_frames_crc32.<file>", "checksum of each file of records"),
    Key("epochs", "number of epochs trained"),
    Key("kept_epoch", "epoch whose weights are kept"),
    Key("val_auc", "area under the ROC curve on the validation split, of the kept epoch; null if "
        "all splits are trained on"),
    Key("val_loss", "loss on the validation split, likewise"),
    Key("counts.<split>.lens", "number of lenses in the training and the validation split"),
    Key("counts.<split>.other", "number of non-lenses in these splits"),
    Key("seconds", "duration of the training, summed over interruptions", "s"),
    Key("images_per_s", "median speed", "s^-1"),
    Key("device", "CPU, the name of the GPU, or the number of machines"),
    Key("mixed_precision", "whether it was trained in half precision"),
    Key("refit", "whether `model.keras` was also trained on the validation split; "
        "`validated.keras` then is the model before that"),
    Key("members[]", "ensembles only: names of the networks", optional=True),
    Key("combine", "ensembles only: how their probabilities are combined", optional=True),
    Key("stacker_steps", "ensembles only: number of steps of the fit of the stacker; null without "
        "one", optional=True),
)  # fmt: skip

CALIBRATION = (
    Key("method", "method in use", optional=True),
    Key("temperature", "temperature", optional=True),
    Key("scores[]", "corners of the isotonic function: scores", optional=True),
    Key("probabilities[]", "corners of the isotonic function: probabilities", optional=True),
    Key("n_lenses", "number of lenses to which it was fitted", optional=True),
    Key("n_nonlenses", "number of non-lenses to which it was fitted", optional=True),
)

_PROPERTY = "`type`, `region`, `class`, `grade`, `mag`, `nobs` (last band), `theta_e`, `arc_snr`"
METRICS = (
    *(Key(key.name, "as in `training.json`, so that a table of models needs no other file")
      for key in TRAINING if key.name in ("name", "network", "parameters", "sample_version",
                                          "refit")),
    Key("prior", "`evaluation.prior`"),
    Key("threshold", "score at and above which a galaxy counts as found"),
    Key("threshold_from", "its origin: `evaluation.threshold`, `candidates.threshold` if that is a "
        "probability, else `default`, 0.5"),
    Key("temperature", "temperature fitted to the validation split"),
    Key("<split>_n_lenses", "number of lenses measured"),
    Key("<split>_n_nonlenses", "number of non-lenses measured"),
    Key("<split>_auc", "area under the ROC curve"),
    Key("<split>_completeness_fpr_<rate>", "completeness at a false-positive rate of `1e-1`, ... "
        "`1e-5`: fraction of the lenses recovered where that fraction of the non-lenses passes",
        interval=True),
    Key("<split>_purity_fpr_<rate>", "fraction of lenses among the galaxies that pass, if lenses "
        "are as rare as `prior`", interval=True),
    Key("<split>_inspect_per_lens_fpr_<rate>",
        "number of candidates to inspect for each lens among them, 1 / purity", interval=True),
    Key("<split>_completeness_threshold", "completeness at `threshold`", interval=True),
    Key("<split>_fpr_threshold", "false-positive rate at `threshold`", interval=True),
    Key("<split>_purity_threshold", "purity at `threshold`", interval=True),
    Key("<split>_inspect_per_lens_threshold", "candidates per lens at `threshold`", interval=True),
    Key("<split>_ece", "expected calibration error of the scores"),
    Key("<split>_ece_temperature", "the same after temperature scaling"),
    Key("<split>_ece_isotonic", "the same after isotonic calibration"),
    Key("<split>_binned_at", "cut at which the bins below are measured: `fpr_1e-2`, or "
        "`threshold` where that cannot be measured"),
    Key("<split>_by.<property>[].value", f"bins of a property ({_PROPERTY}): its value, or",
        optional=True),
    Key("<split>_by.<property>[].from", "lower edge", optional=True),
    Key("<split>_by.<property>[].to", "upper edge; null if open", optional=True),
    Key("<split>_by.<property>[].n_lenses", "number of lenses", optional=True),
    Key("<split>_by.<property>[].n_nonlenses", "number of non-lenses", optional=True),
    Key("<split>_by.<property>[].completeness", "completeness", interval=True, optional=True),
    Key("<split>_by.<property>[].false_positive_rate", "false-positive rate", interval=True,
        optional=True),
)  # fmt: skip

_RATES = "at false-positive rates of `1e-1`, `1e-2`, `1e-3`"
ENSEMBLE = (
    Key("members[]", "names of the networks"),
    Key("combine", "how their probabilities are combined: `mean`, `median` or `stacker`"),
    Key("judged_on", "split on which they are judged: `test`, else `validation`"),
    Key("n_lenses", "number of lenses in that split"),
    Key("n_nonlenses", "number of non-lenses in that split"),
    Key("best_member", "member with the highest completeness at 1 % false positives"),
    Key("best_member_chosen_on", "split on which that was determined"),
    Key("of_members.<member>.auc", "area under the ROC curve of each member"),
    Key("of_members.<member>.completeness_fpr_<rate>", f"completeness {_RATES}", interval=True),
    Key("of_combinations.<combination>.auc", "the same of each combination"),
    Key("of_combinations.<combination>.completeness_fpr_<rate>", f"completeness {_RATES}",
        interval=True),
    Key("gain_over_best_member.<combination>.auc",
        "difference from the best member, with an interval from resampled galaxies",
        interval=True),
    Key("gain_over_best_member.<combination>.completeness_fpr_<rate>", "likewise", interval=True),
    Key("agreement[].members[]", "each pair of members"),
    *(Key(f"agreement[].{galaxies}.{name}", f"{text} of their scores of the {label}")
      for galaxies, label in (("lenses", "lenses"), ("others", "non-lenses"))
      for name, text in (("spearman", "rank correlation"),
                         ("pearson_logit", "correlation of the logits"))),
    *(Key(f"agreement[].missed_fpr_1e-2.{name}", text)
      for name, text in (
          ("missed_by_first", "lenses missed by the first at 1 % false positives"),
          ("missed_by_second", "by the second"), ("missed_by_both", "by both"),
          ("shared", "fraction of the lenses missed by either that both miss"))),
)  # fmt: skip

SWEEP = (
    Column("trial", "int64", "", "number of the trial, from 0"),
    Column("status", "str", "", "`done`, `pruned` (stopped early by Optuna) or `failed`"),
    Column("rank", "int64", "", "rank among the trials that are done; 1 is the best"),
    Column("training.<key>", "object", "", "value of each setting varied; lists as JSON"),
    Column("completeness", "float64", "",
           "fraction of the lenses of the validation split recovered at the false-positive rate "
           "`sweep.fpr`"),
    Column("low", "float64", "", "lower end of its 95 % interval"),
    Column("high", "float64", "", "upper end of its 95 % interval"),
    Column("val_auc", "float64", "", "area under the ROC curve of the same scores"),
    Column("val_loss", "float64", "", "loss on the validation split"),
    Column("kept_epoch", "int64", "", "epoch whose model is kept"),
    Column("epochs", "int64", "", "number of epochs trained"),
    Column("seconds", "float64", "s",
           "duration of the training; of a trial that is not done, since its job began"),
    Column("parameters", "int64", "", "number of trainable parameters"),
    Column("name", "str", "", "its model"),
    Column("reason", "str", "", "why it is not done"),
)  # fmt: skip
TRIAL = (
    Key("trial", "number of the trial, from 0"),
    Key("name", "its model"),
    Key("status", "`done`, `pruned` or `failed`"),
    Key("reason", "why it is not done"),
    Key("settings.<key>", "values of the settings varied"),
    Key("val_loss", "as in `training.json`"),
    Key("kept_epoch", "as in `training.json`"),
    Key("epochs", "as in `training.json`"),
    Key("parameters", "as in `training.json`"),
    Key("seconds", "duration", "s"),
)

REPORT = (
    Key("run", "name of the run"),
    *(Key(f"counts.{name}[].<column>", text)
      for name, text in (
          ("class", "numbers of each class, by split (`train`, `validation`, `test`, `total`)"),
          ("grade", "numbers of each grade, by split"),
          ("type", "numbers of lenses and non-lenses of each Tractor type, by split"),
          ("region", "the same of each region"),
          ("exposures", "the same of each number of exposures in the last band"))),
    Key("bins[].<column>", "lenses, non-lenses and their ratio in each bin and split"),
    Key("from_other_bins", "fraction of the non-lenses that replace those of another bin"),
    Key("differ_below_p", "probability below which a quantity counts as different"),
    *(Key(f"quantities[].{name}", text)
      for name, text in (
          ("quantity", "`magnitude`, `depth`, `seeing` or `exposures`"), ("band", "band"),
          ("n_lenses", "number of lenses"), ("n_others", "number of non-lenses"),
          ("mean_lenses", "mean of the lenses"), ("mean_others", "mean of the non-lenses"),
          ("distance", "Kolmogorov-Smirnov distance within bins"),
          ("p", "probability of that distance by chance; the unit of resampling is the brick, "
           "since neighbours share their conditions"),
          ("n_bricks", "number of bricks"),
          ("verdict", "`alike`, `differ`, or `too few bricks`: too few for a difference to be "
           "distinguished from chance"))),
    Key("mosaics[]", "file names of the pages, one for each class"),
)  # fmt: skip

RECORDS_MANIFEST = (
    Key("version", "version of the schema of the records, 2"),
    Key("dtype", "type of the pixels, `float32` or `float16`"),
    Key("sample_version", "version of the labelled sample"),
    Key("shards.<file>.count", "number of records of each file"),
    Key("shards.<file>.bytes", "size of the file", "byte"),
    Key("shards.<file>.frames_crc32", "CRC-32 of the frames around its records, 8 hexadecimal "
        "digits"),
)  # fmt: skip

_TRAINED = "the run trains a model"
_MODEL = "the trained model and the files that describe it"
_SWEPT = "`snakemake sweep` is run"

PRODUCTS = (
    Product(
        "known", "known/lenses.parquet", "all catalogues of known lenses, merged", "known",
        noun="the table of known lenses",
        section="known-lenses", description="A row per lens system, sorted by position.",
        columns=KNOWN,
    ),
    Product("known_csv", "known/lenses.csv", "all catalogues of known lenses, merged", "known",
            section="known-lenses", columns=KNOWN, columns_as="known"),
    Product("known_references", "known/references.csv",
            "how many entries of each reference were taken", "known", section="known-lenses",
            description="`references.csv`, a row for each reference of the catalogues:",
            columns=REFERENCES),
    Product(
        "sample", "sample/sample.parquet", "the labelled sample", "sample",
        noun="the labelled sample", section="labelled-sample", columns=SAMPLE, optional=_TRAINED,
    ),
    Product(
        "sample_version", "sample/versions/{version}.parquet",
        "the table of each version of the sample", "sample", section="labelled-sample",
        columns=SAMPLE, columns_as="sample", optional=_TRAINED,
    ),
    Product(
        "sample_lenses", "sample/known-lenses.csv",
        "what became of each known lens: its galaxy, and its split or why it is left out", "sample",
        section="labelled-sample",
        description="`known-lenses.csv`, a row for each row of the table of known lenses:",
        columns=FATES, optional=_TRAINED,
    ),
    Product(
        "splits", "sample/splits.csv", "the split of each brick", "sample",
        noun="the split of each brick", section="labelled-sample",
        columns=(Column("brick", "str", "", "name of the brick"),
                 Column("split", "str", "", "`train`, `validation` or `test`")),
        description="`splits.csv`:", optional=_TRAINED,
    ),
    Product(
        "injected", "sample/injected.parquet", "truth of the injected lenses of the sample",
        "sample", noun="the truth of injected lenses", section="labelled-sample",
        description="`injected.parquet`, the truth of the injected lenses "
        "([how they are drawn](injection.md)), from which lenspipe reproduces the same arcs:",
        columns=INJECTED, optional="`sample.injected_per_lens` is above 0",
    ),
    Product(
        "sample_shards", "sample/{split}-{shard}.tfrecord",
        "cutouts of the labelled sample", "sample",
        noun="records of the labelled sample",
        section="records",
        description="One serialised `tf.train.Example` per cutout:",
        columns=RECORD, optional=_TRAINED,
    ),
    Product(
        "records_manifest", "sample/records.json",
        "[schema](#records) and type of the records, version of the sample; number, size and "
        "checksum of each file", "sample", noun="the list of records", section="records",
        description="`sample/records.json`:", keys=RECORDS_MANIFEST, optional=_TRAINED,
    ),
    Product(
        "sample_report", "sample/report/report.json",
        "a [description](#report-of-the-sample) of the sample", "sample_report",
        noun="the report of the sample", section="report-of-the-sample",
        description="`report.json` has the numbers of the page:", keys=REPORT, optional=_TRAINED,
        notes="Lenses and non-lenses should be `alike` in depth, seeing and exposures; where they "
        "`differ` a network can distinguish them without looking at the lens. More sky or a lower "
        "`sample.negatives_per_lens` helps with bins that could not be filled.",
    ),
    *(
        Product(key, f"sample/report/{file}",
                "a [description](#report-of-the-sample) of the sample", "sample_report",
                section="", optional=_TRAINED)
        for key, file in (("sample_report_page", "report.html"),
                          ("sample_report_distributions", "distributions.png"),
                          ("sample_report_sky", "sky.png"),
                          ("sample_report_mosaic", "mosaic-{name}.png"))
    ),
    *(
        product
        for key, path, title, stage, condition in (
            ("set_aside", "sample/set-aside/version-{version}",
             "non-lenses that `sample.cleaning_model` classifies as lenses, "
             "[to be graded](#lists-to-be-graded)", "sample", "`sample.cleaning_model` is given"),
            ("mined", "mined/version-{version}",
             "galaxies outside version `n` of the sample that mining selected, "
             "[to be graded](#lists-to-be-graded)", "mine", "it is requested as a target"),
        )
        for product in (
            Product(key, f"{path}.csv", title, stage, section="lists-to-be-graded",
                    columns=RANKING, columns_as="" if key == "set_aside" else "set_aside",
                    optional=condition),
            Product(f"{key}_page", f"{path}-page-{{page}}.png", title, stage, optional=condition),
        )
    ),
    Product(
        "mined_index", "mined/pages.json", "list and pages of the galaxies that mining selected",
        "mine", section="lists-to-be-graded", description="`mined/pages.json`:",
        keys=(Key("list", "file name of the list"), Key("pages[]", "file names of the pages")),
        optional="it is requested as a target",
    ),
    Product("model", "models/{model}/model.keras", _MODEL, "train, ensemble",
            noun="a trained model",
            section="models",
            description="`model.keras` takes cutouts in nanomaggies and returns the probability.",
            optional=_TRAINED),
    Product("validated", "models/{model}/validated.keras", _MODEL, "train",
            optional="`training.refit`"),
    Product("model_config", "models/{model}/config.yaml", _MODEL, "train, ensemble",
            section="models", description="`config.yaml` holds all settings.", optional=_TRAINED),
    Product(
        "history", "models/{model}/history.csv", _MODEL, "train", section="models",
        description="`history.csv` and `history.png`, a row per epoch:", columns=HISTORY,
        optional=_TRAINED,
    ),
    Product("history_figure", "models/{model}/history.png", _MODEL, "train", optional=_TRAINED),
    Product(
        "training", "models/{model}/training.json", _MODEL, "train, ensemble",
        noun="the description of a training",
        section="models",
        description="`training.json`; null where an ensemble has no such quantity:",
        keys=TRAINING, optional=_TRAINED,
        notes="`backup/` holds the state of a training that is under way. `not-finite.txt` lists "
        "the galaxies of the batch at which a training stopped.",
    ),
    *(
        Product(key, f"models/{{model}}/{path}", _MODEL, "train", temporary=True,
                optional="a training is under way")
        for key, path in (("backup", "backup/{name}"), ("refit_backup", "backup-refit/{name}"))
    ),
    Product("not_finite", "models/{model}/not-finite.txt", _MODEL, "train",
            optional="the training stopped because its loss was not finite"),
    Product(
        "ensemble", "models/{model}/ensemble.json", _MODEL, "ensemble", section="ensembles",
        description="`ensemble.json` and `ensemble.png` compare members and combinations on the "
        "test split, else on the validation split ([interpretation](networks.md#ensembles)):",
        keys=ENSEMBLE, optional="`ensemble.members` are given",
    ),
    Product("ensemble_figure", "models/{model}/ensemble.png", _MODEL, "ensemble",
            optional="`ensemble.members` are given"),
    Product(
        "predictions", "models/{model}/predictions.parquet", _MODEL, "predict",
        noun="scores of held-out galaxies", section="how-well-a-model-does",
        description="`predictions.parquet`, a row per galaxy of these splits (without uncatalogued "
        "lenses of a simulated sky):",
        columns=PREDICTIONS, optional=_TRAINED,
    ),
    Product(
        "calibration", "models/{model}/calibration.json", _MODEL, "predict",
        noun="a calibration", section="how-well-a-model-does",
        description="`calibration.json`, which is null if there is none; "
        "`lenspipe.statistics.calibration.read_calibration` reads it:",
        keys=CALIBRATION, optional=_TRAINED,
    ),
    Product(
        "model_metrics", "models/{model}/metrics.json", _MODEL, "assess",
        noun="the metrics of a model", section="how-well-a-model-does",
        description="`metrics.json`, written last. Keys of a split begin with `validation_` or "
        "`test_`; all of them are null if there is no such split. Quantities that cannot be "
        "measured are null.",
        keys=METRICS, optional=_TRAINED,
        notes="Figures: `roc.png`, `precision_recall.png`, `threshold.png`, `scores.png`, "
        "`reliability.png`, `activations.png`; mistakes at the threshold: `missed.png`, "
        "`false.png`.",
    ),
    *(
        Product(f"model_{name}", f"models/{{model}}/{name}.png", _MODEL, "assess",
                optional=_TRAINED)
        for name in ("roc", "precision_recall", "threshold", "scores", "reliability")
    ),
    *(
        Product(f"model_{name}", f"models/{{model}}/{name}.png", _MODEL, "mistakes",
                optional=_TRAINED)
        for name in ("missed", "false")
    ),
    Product("activations", "models/{model}/activations.png", _MODEL, "activations",
            optional=_TRAINED),
    Product(
        "sweep", "sweep/sweep.csv",
        "a search over settings: its trials, section `training` of the best one, a figure, "
        "Optuna's journal", "sweep", section="sweep",
        description="`sweep/sweep.csv`, a row per trial ([how they are compared](sweep.md)). "
        "Quantities that a trial does not have are empty.",
        columns=SWEEP, optional=_SWEPT,
        notes="Of a trial that is done the numbers are those of the model that is kept, with "
        "scores as a search computes them; of one that is `pruned`, those of its last epoch.",
    ),
    *(
        Product(key, f"sweep/{file}",
                "a search over settings: its trials, section `training` of the best one, a figure, "
                "Optuna's journal", "sweep", optional=_SWEPT)
        for key, file in (("best", "best.yaml"), ("sweep_figure", "sweep.png"),
                          ("study", "study.log"))
    ),
    Product(
        "trial", "models/{model}_trial_{number}/trial.json", "a trial of the sweep", "sweep_trial",
        noun="the result of a trial", section="sweep",
        description="`models/<name>_trial_<number>/` is a model like any other and contains in "
        "addition `trial.json`:",
        keys=TRIAL, optional=_SWEPT,
    ),
    Product(
        "trial_scores", "models/{model}_trial_{number}/validation.parquet",
        "a trial of the sweep", "sweep_trial", noun="the scores of a trial", section="sweep",
        description="`validation.parquet`, a row per galaxy of the validation split, lenses first:",
        columns=(Column("label", "int8", "", "1 lens, 0 non-lens"),
                 Column("p", "float32", "", "score")),
        optional=_SWEPT,
    ),
    Product(
        "proposal", "models/{model}_trial_{number}/proposal.json", "a trial of the sweep",
        "sweep_trial", section="sweep", description="With Optuna also `proposal.json`:",
        keys=(Key("key", "hash of what the trial was made from"),
              Key("number", "number of the trial in Optuna's study"),
              Key("values.<key>", "values proposed")),
        optional="`sweep.method: optuna`",
    ),
)  # fmt: skip
