"""Training on several devices and machines, here processes and parts of one CPU."""

import json
import os
import socket

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.fake_run import make_run
from helpers.forks import Forked

from lenspipe.sample.build import build_sample
from lenspipe.scoring.score import load_model, score_images
from lenspipe.training import devices
from lenspipe.training.devices import choose_devices
from lenspipe.training.fitting import train
from lenspipe.utils.errors import LenspipeError

CONFIG = {
    "network_settings": {"widths": [8], "units": 1, "stem_filters": 8, "stem_stride": 2},
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 0.003,
    "decay_epochs": [3],
    "augmentation": {"rotation_deg": 90, "zoom": [0.9, 1.0]},
}
#: Losses and scores of a training on two devices beside those on one. Statistics of a batch and
#: gradients are sums of the same numbers in another order.
LOSS_TOLERANCE, SCORE_TOLERANCE = 1e-4, 2e-3
#: Two parts of the CPU stand for two GPUs.
TWO_DEVICES = """
from lenspipe.utils.tensorflow import tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run with a sample and a network trained on one device."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sample = {"negatives_per_lens": 2}
        settings = make_run(
            6, 40, 10, 10, size=33, sample=sample, training=CONFIG | {"name": "one"}
        )
        build_sample(settings)
        train(settings)
    return folder


@pytest.fixture
def single(run, monkeypatch):
    monkeypatch.chdir(run)
    return run / "results/fake/models/one"


def write_config(folder, name, **changes):
    config = yaml.safe_load((folder / "results/fake/models/one/config.yaml").read_text())
    config["training"] |= {"name": name} | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(folder, config, before="", **environment):
    return Forked(folder, "train", str(config), before=before, **environment)


def finish(processes, status=0):
    """Wait for processes; what they wrote to standard error."""
    try:
        statuses = [process.wait(180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    texts = [process.output() for process in processes]
    assert statuses == [status] * len(processes), texts
    return texts


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def assert_trained_alike(one, other):
    columns = ["epoch", "learning_rate", "loss", "val_loss"]
    histories = [pd.read_csv(folder / "history.csv")[columns] for folder in (one, other)]
    for column, tolerance in zip(columns, (0, 1e-12, LOSS_TOLERANCE, 2e-3), strict=True):
        values = [history[column] for history in histories]
        np.testing.assert_allclose(*values, rtol=0, atol=tolerance, err_msg=column)
    images = np.random.default_rng(1).normal(0, 0.01, (20, 3, 33, 33)).astype(np.float32)
    scores = [score_images(load_model(folder / "model.keras"), images) for folder in (one, other)]
    np.testing.assert_allclose(*scores, atol=SCORE_TOLERANCE)


def test_two_machines_train_as_one_does(run, single):
    config = write_config(run, "duo")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    texts = finish(
        [
            start(run, config, TF_CONFIG=json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ))
            for index in range(2)
        ]
    )  # fmt: skip
    assert_trained_alike(single, single.parent / "duo")
    notes = json.loads((single.parent / "duo" / "training.json").read_text())
    assert notes["device"] == "2 machines"
    assert "epoch 4/4" in texts[0]
    assert "epoch" not in texts[1]  # one of them speaks


def test_tasks_of_srun_find_each_other(run, single):
    config = write_config(run, "tasks", epochs=1, decay_epochs=[])
    # As srun sets them; the ports follow from the number of the job.
    common = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_JOB_ID": str(os.getpid() % 1000),
    }
    finish([start(run, config, SLURM_PROCID=str(index), **common) for index in range(2)])
    history = pd.read_csv(single.parent / "tasks" / "history.csv")
    whole = pd.read_csv(single / "history.csv")
    assert history["loss"][0] == pytest.approx(whole["loss"][0], abs=LOSS_TOLERANCE)


def test_two_devices_of_a_machine_train_as_one_does(run, single):
    config = write_config(run, "pair", strategy="mirrored")
    (text,) = finish([start(run, config, TWO_DEVICES)])
    assert "training on 2 x CPU" in text
    assert_trained_alike(single, single.parent / "pair")


def test_a_batch_that_two_devices_can_not_share_is_refused_in_a_line(run, single):
    config = write_config(run, "odd", strategy="mirrored", batch_size=15)
    (text,) = finish([start(run, config, TWO_DEVICES)], status=1)
    assert "a batch of 15 can't be divided between 2 devices; set it to 14" in text
    assert "Traceback" not in text


def test_an_overflow_on_any_device_is_seen_by_all(run):
    """Loss scaling in half precision, of which Keras looks at the first device only."""
    code = (
        TWO_DEVICES
        + """
import sys
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from lenspipe.utils.tensorflow import keras
from lenspipe.config.training import Training
from lenspipe.models.registry import build
from lenspipe.training.devices import choose_devices
from lenspipe.training.steps import Steps

devices = choose_devices("mirrored")
keras.config.set_dtype_policy("mixed_float16")
with devices.strategy.scope():
    model = build("cmu_deeplens", size=21, widths=[4, 8], units=1, stem_filters=4)
    model.compile(keras.optimizers.Adam(0.01))
    model.optimizer.build(model.trainable_variables)
steps = Steps(model, SimpleNamespace(devices=devices, batch_size=4), Training(), Path("."))
images = np.random.default_rng(0).normal(size=(4, 3, 21, 21)).astype(np.float32)
weights = np.array([[1], [1], [1], [np.inf]], np.float32)  # on the second device
for weights in (np.ones((4, 1), np.float32), weights):
    before = float(model.optimizer.dynamic_scale.numpy())
    def part(value):
        return devices.strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(value[2 * c.replica_id_in_sync_group :][:2]))
    batch = images, np.full((4, 8), 0.5, np.float32), np.ones((4, 1), np.float32), weights
    steps.step(*map(part, batch))
    factor = float(model.optimizer.dynamic_scale.numpy()) / before
    print("scale x", factor, file=sys.stderr)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
"""
    )
    (text,) = finish([Forked(run, "--version", before=code)])
    assert [line for line in text.splitlines() if line.startswith("scale")] == [
        "scale x 1.0", "scale x 0.5"
    ]  # fmt: skip


def test_hosts_of_slurm_stay_in_its_order(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[9-10]")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,1")
    monkeypatch.setenv("SLURM_JOB_ID", "1002")
    monkeypatch.setenv("SLURM_PROCID", "1")
    found = devices._slurm_config()
    assert found["cluster"]["worker"] == ["node9:12032", "node9:12033", "node10:12032"]
    assert found["task"] == {"type": "worker", "index": 1}
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,17")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "19")
    with pytest.raises(LenspipeError, match="found 17 tasks on a node, expected at most 16"):
        devices._slurm_config()


@pytest.mark.parametrize(
    "config",
    [
        {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}},
        {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}},
    ],
)
def test_clusters_that_are_not_of_workers_are_refused(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(LenspipeError, match="expected only workers, and this task among them"):
        choose_devices("auto")


def test_workers_without_a_cluster_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(LenspipeError, match="strategy: found workers, but neither TF_CONFIG nor"):
        choose_devices("workers")
    monkeypatch.setenv("TF_CONFIG", "{cluster")
    with pytest.raises(LenspipeError, match=r"TF_CONFIG: found '\{cluster', expected JSON"):
        choose_devices("auto")


def test_one_device_is_chosen_where_no_other_is_named(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["localhost:1"]}}')
    chosen = choose_devices("auto")
    assert (chosen.n_replicas, chosen.n_workers, chosen.is_chief) == (1, 1, True)
