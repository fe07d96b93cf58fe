"""How well each model does on the splits of the labelled sample that it never saw.

Needs: a model, the notes on its training, and the labelled sample. Gives: predictions and
calibration; metrics and figures; images of mistakes and of the network at work.
"""

# Figure -> what stands beside it in the report.
ASSESSED = {
    "roc": "ROC curve",
    "precision_recall": "purity against completeness",
    "threshold": "rates against the threshold",
    "scores": "scores by class",
    "reliability": "calibration",
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


rule predict:
    input:
        *inputs("predict"),
    output:
        PATHS.model("{model}", "predictions.parquet"),
        PATHS.model("{model}", "calibration.json"),
    log:
        PATHS.log("predict", "{model}"),
    benchmark:
        PATHS.benchmark("predict", "{model}")
    resources:
        mem_mb=grows(4000),
        runtime=120,
        gpu=1,
    message:
        "Scoring held-out galaxies with {wildcards.model}"
    script:
        "../scripts/stage.py"


rule assess:
    input:
        *inputs("assess"),
    output:
        PATHS.model("{model}", "metrics.json"),
        [in_report(figure, label) for figure, label in ASSESSED.items()],
    log:
        PATHS.log("assess", "{model}"),
    benchmark:
        PATHS.benchmark("assess", "{model}")
    resources:
        mem_mb=grows(2000),
        runtime=60,
    message:
        "Assessing {wildcards.model} on galaxies that it never saw"
    script:
        "../scripts/stage.py"


rule mistakes:
    input:
        *inputs("mistakes"),
    output:
        in_report("missed", "lenses missed"),
        in_report("false", "non-lenses found"),
    log:
        PATHS.log("mistakes", "{model}"),
    benchmark:
        PATHS.benchmark("mistakes", "{model}")
    resources:
        mem_mb=grows(2000),
        runtime=30,
    message:
        "Showing what {wildcards.model} misclassifies"
    script:
        "../scripts/stage.py"


rule activations:
    input:
        *inputs("activations"),
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
        "../scripts/stage.py"
