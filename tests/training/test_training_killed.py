"""A training that is killed with -9, twice."""

import re
import signal
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.fake_run import make_run
from helpers.forks import Forked

from lenspipe.sample.build import build_sample
from lenspipe.scoring.score import load_model, score_images
from lenspipe.training.fitting import train

EPOCHS, KILLS = 12, 2
TRAINING = {
    "name": "whole",
    "network_settings": {"widths": [8], "units": 1, "stem_filters": 8, "stem_stride": 2},
    "epochs": EPOCHS,
    "batch_size": 16,
    "learning_rate": 0.003,
    "decay_epochs": [8],
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = {"negatives_per_lens": 2}
    settings = make_run(6, 60, 12, 12, size=33, sample=sample, training=TRAINING)
    build_sample(settings)
    return settings


def ended(text):
    """Numbers of the epochs of which a training says that they have ended."""
    return [int(number) for number in re.findall(rf"epoch (\d+)/{EPOCHS}: loss", text)]


def test_twice_in_random_epochs(settings, tmp_path):
    whole = train(settings)
    config = settings.model_dump(mode="json")
    config["training"]["name"] = "killed"
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(config))
    rng = np.random.default_rng(4)
    epochs = []
    for after in [*rng.integers(1, 4, KILLS), None]:
        process = Forked(tmp_path, "train", "killed.yaml")
        if after is not None:
            while len(ended(process.output())) < after:
                assert process.wait(0.01) is None
            time.sleep(rng.uniform(0, 0.3))  # somewhere in one of the next epochs
            process.kill()
        assert process.wait(120) == (0 if after is None else -signal.SIGKILL)
        epochs += ended(process.output())
    # An epoch that was under way is begun anew; one that was finished never is.
    assert len(epochs) == len(set(epochs))
    history = pd.read_csv(settings.paths.model("killed", "history.csv"))
    assert history["epoch"].tolist() == list(range(1, EPOCHS + 1))
    expected = pd.read_csv(settings.paths.model("whole", "history.csv"))
    columns = ["loss", "val_loss", "val_auc"]
    np.testing.assert_allclose(history[columns], expected[columns], atol=1e-3)
    assert history["val_auc"].iloc[-1] == pytest.approx(whole["val_auc"], abs=0.05)
    images = np.random.default_rng(1).normal(0, 0.01, (20, 3, 33, 33)).astype(np.float32)
    scores = [
        score_images(load_model(settings.paths.model(name)), images) for name in ("whole", "killed")
    ]
    np.testing.assert_allclose(*scores, atol=1e-3)
