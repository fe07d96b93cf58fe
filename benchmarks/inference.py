"""Measure how fast cutouts are scored, compared with Keras' own method.

CMU DeepLens, untrained, and cutouts of 3 x 101 x 101 pixels of noise:

- from records to Parquet: `keras.Model.predict` reads the same records; beside it lenspipe with
  TensorFlow, with OpenVINO, and with OpenVINO in bfloat16 where it is installed and the CPU has it;
- from the coadds of a full-depth-like brick on the local disk to the scores of 55 targets: astropy
  opens three images and slices, `predict` scores; beside it lenspipe, tile by tile. Models stay
  loaded, as over the bricks of a chunk;
- the peak memory of a process that scores 2,000 and 20,000 cutouts with a small network.

The methods take turns, of which the first is discarded; each ratio is taken within one turn, and
medians are shown. It stops if scores differ. Takes five minutes.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from deep_brick import SIZE, make_bricks, targets
from records import make_sample
from tqdm import tqdm

from lenspipe.config.learning import Inference
from lenspipe.models.contents import normalisation
from lenspipe.models.registry import build
from lenspipe.products.record_files import measure as measure_file
from lenspipe.products.records import IDENTIFIERS, dataset, table_of, write_records
from lenspipe.scoring.score import write_scores
from lenspipe.scoring.scorer import Scorer
from lenspipe.survey.coadds import read_stamps
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import gpus, keras

BANDS, TARGETS, BATCH = "grz", 55, 256
SMALL = {"widths": [4], "units": 1, "stem_filters": 4, "stem_stride": 4}
#: Method -> backend and precision.
OURS = {
    "tensorflow": ("tensorflow", "float32"),
    "openvino_f32": ("openvino", "float32"),
    "openvino_bf16": ("openvino", "bfloat16"),
}


def make_model(**settings: Any) -> keras.Model:
    """Return a network whose scores are neither all alike nor all 0 or 1."""
    keras.utils.set_random_seed(1)
    model = build("cmu_deeplens", **settings)
    images = make_sample(np.random.default_rng(0))[0][:64]
    normalisation(model)[0].adapt(images)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images[:16], training=True)  # keeps this batch's means and variances
    return model


def scorers(model: keras.Model, folder: Path) -> dict[str, Scorer]:
    """Return {method: Scorer} for the methods that this machine supports."""
    result = {}
    for method, (backend, precision) in OURS.items():
        inference = Inference(backend=backend, precision=precision, batch_size=BATCH)
        try:
            scorer = Scorer(model, folder / "model.keras", "resnet", inference)
        except LenspipeError as error:
            print(f"without {method}: {error}", file=sys.stderr)
            continue
        if precision == getattr(scorer.backend, "precision", precision):
            result[method] = scorer
    return result


def score_records(scorer: Scorer, paths: list[Path], output: Path) -> np.ndarray:
    """Score records as the search does; return the scores."""
    data = dataset(paths, BATCH, len(BANDS), SIZE, columns=[*IDENTIFIERS, "image"])
    write_scores(output, scorer, ((batch["image"].numpy(), table_of(batch)) for batch in data))
    return pd.read_parquet(output)["p"].to_numpy()


def predict_records(model: keras.Model, paths: list[Path], output: Path) -> np.ndarray:
    """Score the same records as Keras does, and write the same table."""
    data = dataset(paths, BATCH, len(BANDS), SIZE, columns=["image"])
    p = model.predict(data.map(lambda batch: batch["image"]), verbose=0)[:, 0]
    names = dataset(paths, BATCH, len(BANDS), SIZE, columns=list(IDENTIFIERS))
    table = pd.concat([table_of(batch) for batch in names], ignore_index=True)
    table.assign(p=p).to_parquet(output, index=False)
    return p


def plain_brick(
    model: keras.Model, files: dict[tuple[str, str], Path], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Score a brick's targets by whole images."""
    images = np.empty((len(x), len(BANDS), SIZE, SIZE), np.float32)
    half = SIZE // 2
    for i, band in enumerate(BANDS):
        with fits.open(files["image", band]) as hdus:
            pixels = hdus[1].data
        for j in range(len(x)):
            images[j, i] = pixels[y[j] - half : y[j] + half + 1, x[j] - half : x[j] + half + 1]
    return model.predict(images, verbose=0)[:, 0]


def our_brick(
    scorer: Scorer, files: dict[tuple[str, str], Path], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Score a brick's targets from the tiles that they touch."""
    bands = [read_stamps(files["image", band], x, y, SIZE, np.nan) for band in BANDS]
    return scorer(np.stack(bands, axis=1).astype(np.float32))["p"]


def take_turns(
    methods: dict[str, Callable[[], np.ndarray]], repeats: int, label: str
) -> dict[str, list[float]]:
    """Return {method: list of seconds}; all must give the scores of the first method."""
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    for i in tqdm(range(repeats + 1), label, disable=None):
        expected = None
        for method, function in methods.items():
            begin = time.perf_counter()
            p = function()
            if i:
                seconds[method].append(time.perf_counter() - begin)
            expected = p if expected is None else expected
            worst, allowed = np.abs(p - expected).max(), 0.02 if "bf16" in method else 1e-4
            if not worst <= allowed:
                raise SystemExit(
                    f"{method}: scores differ by {worst:.2g}, at most {allowed} expected"
                )
    return seconds


def ratio(seconds: dict[str, list[float]], method: str, reference: str = "keras") -> float | None:
    """Median factor by which a method is faster; None if it was not measured."""
    if method not in seconds:
        return None
    pairs = zip(seconds[reference], seconds[method], strict=True)
    return statistics.median(slow / fast for slow, fast in pairs)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return one flat dict."""
    model = make_model()
    sample = [part[: options.cutouts] for part in make_sample(np.random.default_rng(0))]
    paths = [folder / "cutouts.tfrecord"]
    write_records(paths[0], *sample)
    ours = scorers(model, folder)
    methods = {"keras": lambda: predict_records(model, paths, folder / "keras.parquet")}
    for method, scorer in ours.items():
        methods[method] = lambda scorer=scorer: score_records(
            scorer, paths, folder / "ours.parquet"
        )
    records = take_turns(methods, options.repeats, "records")
    files, (x, y) = make_bricks(options.tree or folder), targets(TARGETS)
    methods = {"keras": lambda: plain_brick(model, files, x, y)}
    for method, scorer in ours.items():
        methods[method] = lambda scorer=scorer: our_brick(scorer, files, x, y)
    brick = take_turns(methods, options.repeats, "bricks")
    float32 = [ratio(brick, method) for method in ours if method != "openvino_bf16"]
    flat = {"keras_per_s": len(sample[0]) / statistics.median(records["keras"])}
    flat |= {f"{method}_ratio": ratio(records, method) for method in OURS}
    flat |= {"brick_to_scores_s": statistics.median(brick["keras"])}
    flat |= {"brick_to_scores_ratio": max(float32)}
    flat |= {f"brick_to_scores_{method}_ratio": ratio(brick, method) for method in OURS}
    for number in (2000, 20000):
        flat[f"rss_mb_{number}"] = memory(folder, number)
    flat = {key: value and float(f"{value:.4g}") for key, value in flat.items()}
    return flat | {"device": gpus[0].name if gpus else "CPU"}


def memory(folder: Path, number: int) -> float:
    """Return the peak memory, MB, of a process that scores cutouts from existing records."""
    command = [sys.executable, __file__, "--score", str(folder), str(number)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def score_small(folder: Path, number: int) -> None:
    """Score cutouts with a small network; print the peak memory, MB.

    The file is read repeatedly; another process wrote it, so that its memory does not count. (Nor
    does that of the parent process, which ``getrusage`` would include.)
    """
    (path,) = folder.glob("cutouts.tfrecord")
    paths = [path] * -(-number // measure_file(path)["count"])
    inference = Inference(backend="tensorflow")
    scorer = Scorer(build("cmu_deeplens", **SMALL), folder / "model.keras", "resnet", inference)
    score_records(scorer, paths, folder / "scores.parquet")
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def print_table(flat: dict[str, Any], options: argparse.Namespace) -> None:
    """Print all methods side by side."""
    print(f"{options.cutouts} cutouts, medians of {options.repeats} turns, {flat['device']}\n")
    print(f"{'times as fast as Keras':28}{'records':>10}{'brick':>10}")
    for method in OURS:
        values = flat[f"{method}_ratio"], flat[f"brick_to_scores_{method}_ratio"]
        print(f"{method:28}" + "".join(f"{'-' if v is None else v:>10}" for v in values))
    print(f"\nKeras: {flat['keras_per_s']} cutouts/s; brick in {flat['brick_to_scores_s']} s")
    print(f"memory, MB: {flat['rss_mb_2000']} (2,000 cutouts), {flat['rss_mb_20000']} (20,000)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cutouts", type=int, default=512, help="cutouts per turn, at most 1000")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each method")
    parser.add_argument(
        "--tree", type=Path, help="folder in which to keep the brick (takes 30 s to make)"
    )
    parser.add_argument("--json", action="store_true", help="print one flat object")
    parser.add_argument(
        "--score", nargs=2, metavar=("DIR", "N"), help="only measure the memory for N cutouts"
    )
    options = parser.parse_args()
    if options.score:
        score_small(Path(options.score[0]), int(options.score[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        flat = measure(Path(folder), options)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
    else:
        print_table(flat, options)


if __name__ == "__main__":
    main()
