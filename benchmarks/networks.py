"""Compare networks: train each with several seeds on one labelled sample and judge it.

Takes a configuration whose sample is there (`snakemake --cores 2 results/RUN/sample/sample.parquet
--configfile FILE`) and trains below its `models/`; what is trained already is not trained again.
The networks are made small for a CPU: a stem of stride 2, the central 51 pixels. Each is judged on
the test split as the workflow's `assess` does it, with 8 orientations. Speeds are measured at the
end, in turn: images a second in training (batches of 32) and in scoring (one orientation, batches
of 256), medians of the rounds.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from lenspipe.config.settings import load_settings, read_config
from lenspipe.evaluation.model import assess
from lenspipe.scoring.score import load_model, predict
from lenspipe.training.data import TrainingData, count_classes
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


def settings_of(config, network, seed):
    """Settings of a network with a seed."""
    training = SHARED | NETWORKS[network] | {"network": network, "name": f"{network}_{seed}"}
    changes = {"seed": seed, "training": training, "inference": {"symmetries": 8}}
    return load_settings(config | changes)


def judge(settings):
    """Return metrics of a model; train and assess it where that has not been done."""
    path = settings.paths.model
    name = settings.training.name
    if not path(name).exists():
        train(settings)
    if not path(name, "metrics.json").exists():
        assess(settings)
    return json.loads(path(name, "metrics.json").read_text())


def measure_speed(config, rounds):
    """Return network -> images a second in training, and in scoring."""
    ways = {}
    for network in NETWORKS:
        settings = settings_of(config, network, 1)
        counts = {"train": count_classes(settings)["train"]}
        data = TrainingData(settings, counts, choose_devices("one"))
        model = load_model(settings.paths.model(settings.training.name))
        model.compile(make_optimizer(settings.training))
        model.optimizer.build(model.trainable_variables)
        steps = Steps(model, data, settings.training)
        batches = [batch for batch, _ in zip(data.epoch(0), range(STEPS), strict=False)]
        images = np.concatenate([batch[0] for batch in batches])[:256]
        ways[network] = (model, steps, batches, images)
        steps.step(*batches[0])
        predict(model, images)
    found = {network: ([], []) for network in NETWORKS}
    for _ in range(rounds):
        for network, (model, steps, batches, images) in ways.items():
            begin = time.perf_counter()
            for batch in batches:
                loss = float(steps.step(*batch))
            assert np.isfinite(loss)
            middle = time.perf_counter()
            for _ in range(SCORED // len(images)):
                predict(model, images)
            end = time.perf_counter()
            found[network][0].append(len(batches) * len(batches[0][0]) / (middle - begin))
            found[network][1].append(SCORED / (end - middle))
    return {network: [statistics.median(values) for values in f] for network, f in found.items()}


def summarise(results, speeds):
    """Return one flat dict: means over seeds, ends of all their intervals."""
    flat = {}
    for network, runs in results.items():
        flat[f"{network}_parameters"] = runs[0]["parameters"]
        for measure in MEASURES:
            values = [run[f"test_{measure}"] for run in runs]
            known = None not in values
            flat[f"{network}_{measure}"] = statistics.mean(values) if known else None
            flat[f"{network}_{measure}_values"] = values
            for end, choose in (("low", min), ("high", max)):
                ends = [run.get(f"test_{measure}_{end}") for run in runs]
                flat[f"{network}_{measure}_{end}"] = None if None in ends else choose(ends)
        training, scoring = speeds[network]
        flat |= {f"{network}_training_per_s": training, f"{network}_scoring_per_s": scoring}
    return flat


def print_table(flat, results):
    """Print Markdown: each seed's value, and the widest of their 95 % intervals."""
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
    print(f"\n{first['test_n_lenses']} lenses and {first['test_n_nonlenses']} others to judge by")


def main():
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
        network: [judge(settings_of(config, network, seed)) for seed in options.seeds]
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
