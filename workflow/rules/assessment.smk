"""How well each model does on the splits of the labelled sample that it never saw.

Needs: a model, the notes on its training, and the labelled sample. Gives: predictions and
calibration; metrics and figures; images of mistakes and of the network at work.
"""

# Figures beside the metrics.
ASSESSED = ["roc", "precision_recall", "threshold", "scores", "reliability"]


def of_model(figure):
    """A model's figure, in the report."""
    return shown(figure, PATHS.model("{model}", f"{figure}.png"), subcategory="{model}")


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
        [of_model(figure) for figure in ASSESSED],
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
        of_model("missed"),
        of_model("false"),
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
        of_model("activations"),
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
