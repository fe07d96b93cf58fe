"""Measure how fast cutouts are scored, against Keras' own way.

CMU DeepLens, untrained, and cutouts of 3 x 101 x 101 pixels of noise:

- from records to Parquet: `keras.Model.predict` reads the same records; beside it lenspipe with
  TensorFlow, with OpenVINO, and with OpenVINO in bfloat16 where it is installed and the CPU has it;
- from the coadds of a full-depth-like brick on the local disk to the scores of 55 targets: astropy
  opens three images and slices, `predict` scores; beside it lenspipe, tile by tile. Models stay
  loaded, as over the bricks of a chunk;
- the most memory of a process that scores 2,000 and 20,000 cutouts with a small network.

All ways take turns, the first of which is left out; each ratio is taken within one turn, and
medians are shown. It stops where scores differ. Takes five minutes.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
#: Way -> backend and precision.
OURS = {
    "tensorflow": ("tensorflow", "float32"),
    "openvino_f32": ("openvino", "float32"),
    "openvino_bf16": ("openvino", "bfloat16"),
}


def make_model(**settings):
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


def scorers(model, folder):
    """Return {way: Scorer}, without those that this machine has not."""
    found = {}
    for way, (backend, precision) in OURS.items():
        own = Inference(backend=backend, precision=precision, batch_size=BATCH)
        try:
            scorer = Scorer(model, folder / "model.keras", "resnet", own)
        except LenspipeError as error:
            print(f"without {way}: {error}", file=sys.stderr)
            continue
        if precision == getattr(scorer.backend, "precision", precision):
            found[way] = scorer
    return found


def score_records(scorer, paths, output):
    """Score records as the search does; return the scores."""
    data = dataset(paths, BATCH, len(BANDS), SIZE, columns=[*IDENTIFIERS, "image"])
    write_scores(output, scorer, ((batch["image"].numpy(), table_of(batch)) for batch in data))
    return pd.read_parquet(output)["p"].to_numpy()


def predict_records(model, paths, output):
    """Score the same records as Keras does, and write the same table."""
    data = dataset(paths, BATCH, len(BANDS), SIZE, columns=["image"])
    p = model.predict(data.map(lambda batch: batch["image"]), verbose=0)[:, 0]
    names = dataset(paths, BATCH, len(BANDS), SIZE, columns=list(IDENTIFIERS))
    table = pd.concat([table_of(batch) for batch in names], ignore_index=True)
    table.assign(p=p).to_parquet(output, index=False)
    return p


def plain_brick(model, files, x, y):
    """Score a brick's targets by whole images."""
    images = np.empty((len(x), len(BANDS), SIZE, SIZE), np.float32)
    half = SIZE // 2
    for i, band in enumerate(BANDS):
        with fits.open(files["image", band]) as hdus:
            pixels = hdus[1].data
        for j in range(len(x)):
            images[j, i] = pixels[y[j] - half : y[j] + half + 1, x[j] - half : x[j] + half + 1]
    return model.predict(images, verbose=0)[:, 0]


def our_brick(scorer, files, x, y):
    """Score a brick's targets from the tiles that they touch."""
    bands = [read_stamps(files["image", band], x, y, SIZE, np.nan) for band in BANDS]
    return scorer(np.stack(bands, axis=1).astype(np.float32))["p"]


def take_turns(ways, repeats, label):
    """Return {way: list of seconds}; the first way's scores are what others have to give."""
    seconds = {way: [] for way in ways}
    for i in tqdm(range(repeats + 1), label, disable=None):
        expected = None
        for way, function in ways.items():
            begin = time.perf_counter()
            p = function()
            if i:
                seconds[way].append(time.perf_counter() - begin)
            expected = p if expected is None else expected
            worst, allowed = np.abs(p - expected).max(), 0.02 if "bf16" in way else 1e-4
            if not worst <= allowed:
                raise SystemExit(f"{way}: scores differ by {worst:.2g}, at most {allowed} expected")
    return seconds


def ratio(seconds, way, against="keras"):
    """Median of how many times faster a way is; None where it was not measured."""
    if way not in seconds:
        return None
    pairs = zip(seconds[against], seconds[way], strict=True)
    return statistics.median(other / own for other, own in pairs)


def measure(folder, options):
    """Return one flat dict."""
    model = make_model()
    sample = [part[: options.cutouts] for part in make_sample(np.random.default_rng(0))]
    paths = [folder / "cutouts.tfrecord"]
    write_records(paths[0], *sample)
    ours = scorers(model, folder)
    ways = {"keras": lambda: predict_records(model, paths, folder / "keras.parquet")}
    for way, scorer in ours.items():
        ways[way] = lambda scorer=scorer: score_records(scorer, paths, folder / "ours.parquet")
    records = take_turns(ways, options.repeats, "records")
    files, (x, y) = make_bricks(options.tree or folder), targets(TARGETS)
    ways = {"keras": lambda: plain_brick(model, files, x, y)}
    for way, scorer in ours.items():
        ways[way] = lambda scorer=scorer: our_brick(scorer, files, x, y)
    brick = take_turns(ways, options.repeats, "bricks")
    float32 = [ratio(brick, way) for way in ours if way != "openvino_bf16"]
    flat = {"keras_per_s": len(sample[0]) / statistics.median(records["keras"])}
    flat |= {f"{way}_ratio": ratio(records, way) for way in OURS}
    flat |= {"brick_to_scores_s": statistics.median(brick["keras"])}
    flat |= {"brick_to_scores_ratio": max(float32)}
    flat |= {f"brick_to_scores_{way}_ratio": ratio(brick, way) for way in OURS}
    for number in (2000, 20000):
        flat[f"rss_mb_{number}"] = memory(folder, number)
    flat = {key: value and float(f"{value:.4g}") for key, value in flat.items()}
    return flat | {"device": gpus[0].name if gpus else "CPU"}


def memory(folder, number):
    """Return the most memory, MB, of a process that scores cutouts that are there as records."""
    command = [sys.executable, __file__, "--score", str(folder), str(number)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def score_small(folder, number):
    """Score cutouts with a small network; print the most memory, MB.

    The file is read again and again; it was written by another process, whose memory is not this.
    (Nor is it, but for ``getrusage``, that of the process which started this one.)
    """
    (path,) = folder.glob("cutouts.tfrecord")
    paths = [path] * -(-number // measure_file(path)["count"])
    own = Inference(backend="tensorflow")
    scorer = Scorer(build("cmu_deeplens", **SMALL), folder / "model.keras", "resnet", own)
    score_records(scorer, paths, folder / "scores.parquet")
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def print_table(flat, options):
    """Print all ways side by side."""
    print(f"{options.cutouts} cutouts, medians of {options.repeats} turns, {flat['device']}\n")
    print(f"{'times as fast as Keras':28}{'records':>10}{'brick':>10}")
    for way in OURS:
        values = flat[f"{way}_ratio"], flat[f"brick_to_scores_{way}_ratio"]
        print(f"{way:28}" + "".join(f"{'-' if v is None else v:>10}" for v in values))
    print(f"\nKeras: {flat['keras_per_s']} cutouts/s; brick in {flat['brick_to_scores_s']} s")
    print(f"memory, MB: {flat['rss_mb_2000']} (2,000 cutouts), {flat['rss_mb_20000']} (20,000)")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cutouts", type=int, default=512, help="cutouts of a turn, 1000 at most")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--tree", type=Path, help="folder that keeps the brick (30 s to make)")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    parser.add_argument("--score", nargs=2, metavar=("DIR", "N"), help="only the memory of N")
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
