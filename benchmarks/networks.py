"""Compare networks: train each with several seeds on one labelled sample and evaluate it.

Takes a configuration whose sample exists (`snakemake --cores 2 results/RUN/sample/sample.parquet
--configfile FILE`) and trains below its `models/`; existing models are not trained again. The
networks are small enough for a CPU: a stem of stride 2, the central 51 pixels. Each is evaluated on
the test split as by the workflow's `assess`, with 8 orientations. Speeds are measured at the end,
in turn: images per second in training (batches of 32) and in scoring (one orientation, batches of
256), medians of the rounds.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config.settings import Settings, load_settings, read_config
from lenspipe.evaluation.model import assess, predict_held_out
from lenspipe.products.record_files import check_shards
from lenspipe.scoring.score import load_model, predict
from lenspipe.training.data import TrainingData, count_classes, training_seed
from lenspipe.training.devices import choose_devices
from lenspipe.training.fitting import train
from lenspipe.training.optimisation import make_optimizer
from lenspipe.training.steps import Steps
from lenspipe.utils.progress import configure_logging

SHARED = {"epochs": 42, "batch_size": 32, "decay_epochs": [26, 34, 39], "decay_factor": 0.3}
SMALL = {"crop": 51, "compress": True}
NETWORKS = {
    "cmu_deeplens": {
        "learning_rate": 0.004,
        "network_settings": SMALL
        | {"widths": [32, 64, 128], "units": 1, "stem_filters": 32, "stem_stride": 2},
    },
    "shielded_resnet": {
        "learning_rate": 0.004,
        "network_settings": SMALL | {"stem_stride": 2},
    },
    "efficientnet_v2": {
        "learning_rate": 0.002,
        "network_settings": SMALL | {"variant": "B0"},
    },
}
MEASURES = ("auc", "completeness_fpr_1e-2", "completeness_fpr_1e-3")
STEPS, SCORED = 8, 1024


def settings_of(config: dict[str, Any], network: str, seed: int) -> Settings:
    """Settings of a network with a seed."""
    training = SHARED | NETWORKS[network] | {"network": network, "name": f"{network}_{seed}"}
    changes = {"seed": seed, "training": training, "inference": {"symmetries": 8}}
    return load_settings(config | changes)


def evaluate(settings: Settings) -> dict[str, Any]:
    """Return the metrics of a model; train and assess it if that has not been done."""
    path = settings.paths.model
    name = settings.training.name
    if not path(name).exists():
        train(settings)
    if not path(name, "metrics.json").exists():
        predict_held_out(settings)
        assess(settings)
    return json.loads(path(name, "metrics.json").read_text())


def measure_speed(config: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Return network -> images per second in training, and in scoring."""
    prepared = {}
    for network in NETWORKS:
        settings = settings_of(config, network, 1)
        training = settings.training
        counts = count_classes(settings.paths.sample, settings.sample.fractions)
        data = TrainingData(
            check_shards(settings.paths.records_manifest, "train"),
            {"train": counts["train"]},
            (len(settings.survey.bands), settings.cutouts.size),
            training,
            training_seed(training, settings.seed),
            choose_devices("one"),
        )
        path = settings.paths.model(training.name)
        model = load_model(path)
        model.compile(make_optimizer(training))
        model.optimizer.build(model.trainable_variables)
        steps = Steps(model, data, training, path.parent)
        batches = [batch for batch, _ in zip(data.epoch(0), range(STEPS), strict=False)]
        images = np.concatenate([batch[0] for batch in batches])[:256]
        prepared[network] = (model, steps, batches, images)
        steps.step(*batches[0])
        predict(model, images)
    speeds: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in NETWORKS}
    for _ in range(rounds):
        for network, (model, steps, batches, images) in prepared.items():
            begin = time.perf_counter()
            for batch in batches:
                loss = float(steps.step(*batch))
            assert np.isfinite(loss)
            middle = time.perf_counter()
            for _ in range(SCORED // len(images)):
                predict(model, images)
            end = time.perf_counter()
            speeds[network][0].append(len(batches) * len(batches[0][0]) / (middle - begin))
            speeds[network][1].append(SCORED / (end - middle))
    return {
        network: [statistics.median(values) for values in pair] for network, pair in speeds.items()
    }


def summarise(
    results: dict[str, list[dict[str, Any]]], speeds: dict[str, list[float]]
) -> dict[str, Any]:
    """Return one flat dict: means over seeds, extremes of their intervals."""
    flat = {}
    for network, runs in results.items():
        flat[f"{network}_parameters"] = runs[0]["parameters"]
        for measure in MEASURES:
            values = [run[f"test_{measure}"] for run in runs]
            measured = None not in values
            flat[f"{network}_{measure}"] = statistics.mean(values) if measured else None
            flat[f"{network}_{measure}_values"] = values
            for end, choose in (("low", min), ("high", max)):
                ends = [run.get(f"test_{measure}_{end}") for run in runs]
                flat[f"{network}_{measure}_{end}"] = None if None in ends else choose(ends)
        training, scoring = speeds[network]
        flat |= {f"{network}_training_per_s": training, f"{network}_scoring_per_s": scoring}
    return flat


def print_table(flat: dict[str, Any], results: dict[str, list[dict[str, Any]]]) -> None:
    """Print Markdown: the value of each seed, and the widest of their 95 % intervals."""
    print("| network | parameters | AUC | completeness at 1e-2 | at 1e-3 | training | scoring |")
    print("|---|---|---|---|---|---|---|")
    for network in results:
        cells = [network, f"{flat[f'{network}_parameters']:,}"]
        for measure in MEASURES:
            values = flat[f"{network}_{measure}_values"]
            if None in values:
                cells.append("not measurable")
                continue
            as_text = (lambda v: f"{v:.4f}") if measure == "auc" else (lambda v: f"{100 * v:.1f} %")
            text = ", ".join(map(as_text, values))
            if (low := flat[f"{network}_{measure}_low"]) is not None:
                high = flat[f"{network}_{measure}_high"]
                text += f" ({100 * low:.0f}-{100 * high:.0f} %)"
            cells.append(text)
        cells += [f"{flat[f'{network}_{way}_per_s']:.0f}" for way in ("training", "scoring")]
        print("| " + " | ".join(cells) + " |")
    first = next(iter(results.values()))[0]
    n_lenses, n_nonlenses = first["test_n_lenses"], first["test_n_nonlenses"]
    print(f"\n{n_lenses} lenses and {n_nonlenses} non-lenses in the test split")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="+", help="configuration of a run with a sample")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the speeds")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    configure_logging()
    config = read_config(options.config)
    results = {
        network: [evaluate(settings_of(config, network, seed)) for seed in options.seeds]
        for network in NETWORKS
    }
    flat = summarise(results, measure_speed(config, options.rounds))
    if options.json:
        json.dump(flat, sys.stdout)
        print()
    else:
        print_table(flat, results)


if __name__ == "__main__":
    main()
