"""Compare a training step with one that reads no input.

Three methods train the same network on the same cutouts (noise), with the same number of steps, in
turn:

- plain: Keras' own `model.fit` on arrays in memory,
- ours: `lenspipe.training.steps`, from records, with augmentation,
- held: our step on one batch, repeatedly: the time of the device alone.

Figures are medians of the rounds, as are the ratios: each is taken within a round. `input_overhead`
is the relative excess of our time per step over the plain one; `idle_share` is the fraction of our
time in which the device waits for a batch. Runs on a GPU if there is one, in half precision
(`--single` for single precision), and reports the device.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.settings import Settings, load_settings
from lenspipe.models.contents import normalisation
from lenspipe.models.registry import build
from lenspipe.products.record_files import VERSION, check_shards
from lenspipe.products.records import write_records
from lenspipe.products.tables import parent_columns
from lenspipe.training.data import TrainingData, training_seed
from lenspipe.training.devices import choose_devices
from lenspipe.training.steps import ProgressLogger, Steps
from lenspipe.utils.tensorflow import gpus, keras

BANDS, SIZE, PER_FILE = "grz", 101, 1000


def write_sample(
    settings: Settings, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Write n cutouts as the training split; return images and labels."""
    images = rng.normal(0, 0.01, (n, len(BANDS), SIZE, SIZE)).astype(np.float32)
    labels = (np.arange(n) % 4 == 0).astype(np.float32)
    table = pd.DataFrame({name: rng.random(n) for name in parent_columns(BANDS)})
    table = table.assign(objid=np.arange(n), brick="1500p300", region="south", type="DEV")
    table = table.assign(id=[f"9010-1-{i}" for i in range(n)])
    table = table.astype(parent_columns(BANDS)).assign(flags=0)
    shards = {}
    for i, first in enumerate(range(0, n, PER_FILE)):
        path = settings.paths.sample.with_name(f"train-{i:05d}.tfrecord")
        part = slice(first, first + PER_FILE)
        shards[path.name] = write_records(path, images[part], table[part], labels[part])
    manifest = {"version": VERSION, "shards": shards}
    settings.paths.records_manifest.write_text(json.dumps(manifest))
    return images, labels


def make_model(settings: Settings, images: np.ndarray) -> keras.Model:
    """Make the network, adapted and compiled for plain training as well as for ours."""
    training = settings.training
    keras.config.set_dtype_policy(
        "mixed_float16" if training.mixed_precision and gpus else "float32"
    )
    keras.utils.set_random_seed(1)
    model = build(training.network, settings.survey.bands, SIZE, **training.network_settings)
    for layer in normalisation(model):
        layer.adapt(images[:256])
    model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", jit_compile=bool(gpus))
    model.optimizer.build(model.trainable_variables)
    return model


def measure(settings: Settings, options: argparse.Namespace) -> tuple[list[dict[str, float]], str]:
    """Return the seconds per step of each method, a dict for each round; and the device."""
    n = options.steps * options.batch
    images, labels = write_sample(settings, n, np.random.default_rng(0))
    model = make_model(settings, images)
    lenses = int(labels.sum())
    data = TrainingData(
        check_shards(settings.paths.records_manifest, "train"),
        {"train": (lenses, n - lenses)},
        (len(settings.survey.bands), SIZE),
        settings.training,
        training_seed(settings.training, settings.seed),
        choose_devices("one"),
    )
    folder = settings.paths.model(settings.training.name).parent
    steps = Steps(model, data, settings.training, folder)
    batch = next(iter(data.epoch(0)))

    def plain() -> None:
        model.fit(images, labels, options.batch, shuffle=False, verbose=0)

    def ours() -> None:
        steps.run(0, ProgressLogger("step"))

    def held() -> None:
        for _ in range(options.steps):
            loss = steps.step(*batch)
        float(loss)

    # The first step of each is slow, because it is compiled.
    model.fit(images[: options.batch], labels[: options.batch], options.batch, verbose=0)
    float(steps.step(*batch))
    rounds = []
    for _ in range(options.rounds):
        seconds = {}
        for method in (plain, ours, held):
            begin = time.perf_counter()
            method()
            seconds[method.__name__] = (time.perf_counter() - begin) / options.steps
        rounds.append(seconds)
    return rounds, data.devices.name


def summarise(
    rounds: list[dict[str, float]], device: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Return one flat dict."""
    flat = {f"{method}_s": statistics.median(r[method] for r in rounds) for method in rounds[0]}
    flat["images_per_s"] = statistics.median(options.batch / r["ours"] for r in rounds)
    flat["input_overhead"] = statistics.median(r["ours"] / r["plain"] - 1 for r in rounds)
    flat["idle_share"] = statistics.median(max(1 - r["held"] / r["ours"], 0) for r in rounds)
    flat = {key: float(f"{value:.4g}") for key, value in flat.items()}
    return flat | {"device": device, "network": options.network, "batch_size": options.batch}


def print_table(flat: dict[str, Any], options: argparse.Namespace) -> None:
    print(f"{options.network}, batches of {options.batch}, on {flat['device']}")
    print(f"medians of {options.rounds} rounds of {options.steps} steps\n")
    print(f"{'':8}{'s/step':>10}{'images/s':>10}{'of plain':>10}")
    for method in ("plain", "ours", "held"):
        seconds = flat[f"{method}_s"]
        rate, ratio = options.batch / seconds, seconds / flat["plain_s"]
        print(f"{method:8}{seconds:10.3f}{rate:10.1f}{ratio:10.3f}")
    print(f"\ninput overhead {flat['input_overhead']:.1%}, idle fraction {flat['idle_share']:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="cmu_deeplens")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON of the network's settings"
    )
    parser.add_argument("--batch", type=int, default=64, help="cutouts in a batch")
    parser.add_argument("--steps", type=int, default=6, help="steps of each method in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single", action="store_true", help="single precision on a GPU")
    parser.add_argument("--work", type=Path, help="folder for the records (0.12 MB per cutout)")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    training = {"network": options.network, "network_settings": options.settings,
                "batch_size": options.batch, "mixed_precision": not options.single}  # fmt: skip
    settings = load_settings(
        {"run": "benchmark", "simulation": {}, "training": training,
         "footprint": {"ra": [150, 151], "dec": [30, 31]}}
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.work) as folder, contextlib.chdir(folder):
        os.makedirs(settings.paths.sample.parent)
        rounds, device = measure(settings, options)
    flat = summarise(rounds, device, options)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
    else:
        print_table(flat, options)


if __name__ == "__main__":
    main()
