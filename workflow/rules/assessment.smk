"""How well each model does on the splits of the labelled sample that it never saw.

Needs: a model, the notes on its training, and the labelled sample. Gives: predictions, calibration,
metrics and figures; and a drawing of the network at work.
"""

# Figure -> what stands beside it in the report.
ASSESSED = {
    "roc": "ROC curve",
    "precision_recall": "purity against completeness",
    "threshold": "rates against the threshold",
    "scores": "scores by class",
    "reliability": "calibration",
    "missed": "lenses missed",
    "false": "non-lenses found",
}


def in_report(figure, label):
    """A model's figure, with its caption, in the report."""
    return report(
        PATHS.model("{model}", f"{figure}.png"),
        caption=f"../report/{figure}.rst",
        category="Models",
        subcategory="{model}",
        labels={"figure": label},
    )


rule assess:
    input:
        basis("assess"),
        SKY,
        PATHS.model("{model}", "training.json"),
        PATHS.sample,
        model=PATHS.model("{model}"),
    output:
        PATHS.model("{model}", "metrics.json"),
        PATHS.model("{model}", "predictions.parquet"),
        PATHS.model("{model}", "calibration.json"),
        [in_report(figure, label) for figure, label in ASSESSED.items()],
    log:
        PATHS.log("assess", "{model}"),
    benchmark:
        PATHS.benchmark("assess", "{model}")
    resources:
        mem_mb=grows(4000),
        runtime=120,
        gpu=1,
    message:
        "Assessing {wildcards.model} on galaxies that it never saw"
    script:
        "../scripts/assess.py"


rule activations:
    input:
        PATHS.sample,
        PATHS.model("{model}", "predictions.parquet"),
        model=PATHS.model("{model}"),
    output:
        in_report("activations", "network at work"),
    log:
        PATHS.log("activations", "{model}"),
    benchmark:
        PATHS.benchmark("activations", "{model}")
    resources:
        mem_mb=grows(4000),
        runtime=30,
        gpu=1,
    message:
        "Drawing {wildcards.model} at work"
    script:
        "../scripts/activations.py"
