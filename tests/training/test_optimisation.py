import numpy as np
import pytest

from lenspipe.config.training import Training
from lenspipe.training.optimisation import (
    best_epoch,
    first_settled_epoch,
    learning_rate,
    loss_function,
    make_optimizer,
)
from lenspipe.utils.errors import LenspipeError


def rates(**settings):
    own = Training(**settings)
    return [learning_rate(own, epoch) for epoch in range(own.epochs)]


def test_rate_falls_by_steps():
    found = rates(epochs=5, learning_rate=1.0, decay_epochs=[2, 4], decay_factor=0.1)
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_rate_falls_as_a_cosine_after_a_warm_up():
    found = rates(epochs=6, learning_rate=1.0, schedule="cosine", warmup_epochs=2)
    assert found[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert found[4] == pytest.approx(0.5)
    assert found[5] == pytest.approx((1 - np.sqrt(0.5)) / 2)


def history_of(*pairs):
    return [
        {"epoch": i + 1, "val_auc": area, "val_loss": loss} for i, (area, loss) in enumerate(pairs)
    ]


HISTORY = history_of((0.9, 0.2), (0.8, 0.3), (0.85, 0.1), (0.85, 0.25))


@pytest.mark.parametrize(
    ("settings", "first", "kept"),
    [
        ({"decay_epochs": [1]}, 1, 3),
        ({"decay_epochs": [1, 9]}, 1, 3),
        ({"keep": "best"}, 0, 1),
        ({"keep": "best", "monitor": "loss"}, 0, 3),
        ({"keep": "last"}, 3, 4),
        ({"schedule": "cosine"}, 3, 4),
        ({"decay_epochs": [], "warmup_epochs": 2}, 2, 3),
    ],
)
def test_kept_epoch(settings, first, kept):
    own = Training(epochs=4, **settings)
    assert first_settled_epoch(own) == first
    assert best_epoch(own, HISTORY)["epoch"] == kept


def test_settings_without_effect_are_refused():
    with pytest.raises(
        LenspipeError, match=r"optimizer_settings\.use_ema: lenspipe's training does"
    ):
        make_optimizer(Training(optimizer_settings={"use_ema": True}))
    with pytest.raises(ValueError, match="patience: found with keep: last"):
        Training(keep="last", patience=3)


def test_no_epoch_is_kept_before_the_rate_has_settled():
    assert best_epoch(Training(epochs=9, decay_epochs=[2]), HISTORY[:2]) is None


def test_without_validation_the_last_epoch_is_kept():
    history = history_of((None, None), (None, None))
    assert best_epoch(Training(epochs=2, decay_epochs=[]), history) is history[-1]


def test_losses_are_those_of_the_textbook():
    label, p = np.array([[1.0], [0.0]]), np.array([[0.8], [0.4]])
    plain = -np.log([0.8, 0.6])
    np.testing.assert_allclose(loss_function(Training())(label, p), plain, rtol=1e-5)
    smooth = -0.9 * np.log([0.8, 0.6]) - 0.1 * np.log([0.2, 0.4])
    found = loss_function(Training(label_smoothing=0.2))(label, p)
    np.testing.assert_allclose(found, smooth, rtol=1e-5)
    # Lin et al. 2017: (1 - p)^2 times the cross-entropy.
    focal = loss_function(Training(loss="focal"))(label, p)
    np.testing.assert_allclose(focal, plain * np.array([0.2, 0.4]) ** 2, rtol=1e-5)


def test_losses_of_classes_are_those_of_the_textbook():
    # A lens and a non-lens of the third class.
    label, p = np.array([[1.0], [2.0]]), np.array([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6]])
    plain = -np.log([0.8, 0.6])
    np.testing.assert_allclose(loss_function(Training())(label, p), plain, rtol=1e-5)
    smooth = -np.log([0.8, 0.6]) * 0.7 - 0.1 * np.log(p).sum(axis=1)
    found = loss_function(Training(label_smoothing=0.3))(label, p)
    np.testing.assert_allclose(found, smooth, rtol=1e-5)
    focal = loss_function(Training(loss="focal"))(label, p)
    np.testing.assert_allclose(focal, plain * np.array([0.2, 0.4]) ** 2, rtol=1e-5)


def test_optimizers_take_keras_arguments_and_refuse_others():
    own = Training(optimizer="sgd", optimizer_settings={"momentum": 0.9, "nesterov": True})
    assert make_optimizer(own).momentum == 0.9
    with pytest.raises(
        LenspipeError, match=r"optimizer_settings: found \{'momentun': 0\.9\}, which"
    ):
        make_optimizer(Training(optimizer="sgd", optimizer_settings={"momentun": 0.9}))
