"""A small model with a card, as `lenspipe train-shipped` leaves it."""

import numpy as np

from lenspipe.config.training import ShippedTraining
from lenspipe.models.contents import count_parameters
from lenspipe.models.registry import build
from lenspipe.products.cards import Card, write_card
from lenspipe.utils.hashing import file_hash

NOTE = (
    "shipped model 7, trained on simulated lenses only; probabilities are not calibrated on real "
    "data"
)


def make_card(sha256="0" * 64, parameters=1, size=101, **changes):
    values = {
        "name": "shipped",
        "version": "7",
        "trained_on": "Simulated lenses only.",
        "purpose": "It ranks galaxies.",
        "not_for": ("Probabilities.", "Completeness."),
        "command": "lenspipe train-shipped --output shipped --seed 1",
        "code": "0.1.0",
        "bands": ("g", "r", "z"),
        "size_pixels": size,
        "parameters": parameters,
        "training": ShippedTraining(version="7"),
        "counts": {"lenses": 5000, "non_lenses": 10000, "held_out_lenses": 1000,
                   "held_out_non_lenses": 2000},
        "simulated": {"8": {"auc": 0.991, "completeness10": 0.97, "completeness10_low": 0.96,
                            "completeness10_high": 0.98}},
        "sha256": sha256,
    }  # fmt: skip
    return Card(**values | changes)


def write_model(folder, size=101):
    """Write a small network and its card; return the network."""
    network = build("cmu_deeplens", size=size, widths=[4], units=1, stem_filters=4, stem_stride=3)
    images = np.random.default_rng(0).normal(0, 0.01, (32, 3, size, size)).astype(np.float32)
    network.get_layer("normalise").adapt(images)
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / "model.keras")
    sha256 = file_hash(folder / "model.keras")
    write_card(make_card(sha256, count_parameters(network), size), folder)
    return network
