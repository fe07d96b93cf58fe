"""Recipes of published searches: what they say, and how a configuration uses them."""

import pytest
import yaml

from lenspipe.config.settings import load_settings
from lenspipe.config.training import RECIPES, Training
from lenspipe.models.registry import build
from lenspipe.utils.errors import LenspipeError

DEMO = {"run": "demo", "simulation": {}, "footprint": {"ra": [150.0, 150.8], "dec": [31.9, 32.8]}}

#: Network, parameters, batch, rate, epochs at which it falls, by what, epochs, refit.
PUBLISHED = {
    "poster": ("cmu_deeplens", 256, 1e-3, (40,), 0.1, 120, True),
    "paper1": ("cmu_deeplens", 128, 1e-3, (40, 80), 0.1, 120, False),
    "paper2": ("shielded_resnet", 256, 1e-3, (40, 80), 0.1, 120, False),
    "paper3": ("shielded_resnet", 128, 5e-4, (80,), 0.2, 180, False),
    "paper4_resnet": ("shielded_resnet", 2048, 5e-4, (80,), 0.5, 160, False),
    "paper4_efficientnet": ("efficientnet_v2", 512, 3.88e-4, (130,), 0.5, 50, False),
}
SETTINGS = {
    "poster": {},
    "paper1": {},
    "paper2": {"preset": "60k"},
    "paper3": {"preset": "60k"},
    "paper4_resnet": {"preset": "194k"},
    "paper4_efficientnet": {"variant": "S", "weights": "imagenet"},
}


def training(**section):
    return load_settings(DEMO | {"training": section}).training


def refusal(**section):
    with pytest.raises(LenspipeError) as caught:
        training(**section)
    (line,) = str(caught.value).splitlines()
    return line


def test_there_is_a_recipe_for_each_published_training():
    assert {path.stem for path in RECIPES.iterdir()} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_says_what_was_published(name):
    own = training(recipe=name)
    found = (own.network, own.batch_size, own.learning_rate, own.decay_epochs, own.decay_factor,
             own.epochs, own.refit)  # fmt: skip
    assert found == PUBLISHED[name]
    assert own.network_settings == SETTINGS[name]
    assert (own.optimizer, own.loss, own.lens_weight) == ("adam", "binary_crossentropy", 1)
    assert (own.schedule, own.warmup_epochs, own.label_smoothing) == ("steps", 0, 0)
    augmentation = own.augmentation
    assert augmentation.symmetries
    assert (augmentation.rotation_deg, augmentation.zoom) == (90, (0.9, 1))
    assert (augmentation.shift_pixels, augmentation.noise) == (0, 0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_names_its_source_and_keys_of_the_section_only(name):
    text = (RECIPES / f"{name}.yaml").read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any("Published:" in line for line in head)
    assert any("Assumed:" in line for line in head)
    assert set(yaml.safe_load(text)) <= set(Training.model_fields) - {"recipe", "name"}


@pytest.mark.parametrize("name", ["paper1", "paper3", "paper4_resnet"])
def test_network_of_a_recipe_can_be_made(name):
    own = training(recipe=name)
    assert build(own.network, "grz", 33, **own.network_settings).output_shape == (None, 1)


def test_keys_that_are_given_win():
    own = training(recipe="paper3", epochs=5, name="mine", lens_weight=None)
    assert (own.epochs, own.name, own.lens_weight) == (5, "mine", None)
    assert (own.batch_size, own.decay_factor) == (128, 0.2)


def test_another_network_does_not_inherit_the_settings_of_the_recipes():
    assert training(recipe="paper2", network="cmu_deeplens").network_settings == {}
    own = training(recipe="paper2", network="cmu_deeplens", network_settings={"units": 1})
    assert own.network_settings == {"units": 1}


def test_settings_with_a_recipe_survive_yaml():
    settings = load_settings(DEMO | {"training": {"recipe": "paper3", "epochs": 5}})
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    assert load_settings(yaml.safe_load(text)) == settings


def test_members_take_recipes():
    members = {"a": {"recipe": "paper4_resnet"}, "b": {"recipe": "paper3", "epochs": 7}}
    settings = load_settings(DEMO | {"ensemble": {"members": members}})
    assert settings.of_model("a").training.batch_size == 2048
    assert settings.of_model("b").training.epochs == 7
    assert settings.of_model("b").training.decay_epochs == (80,)


def test_unknown_recipe_is_named_in_one_line():
    line = refusal(recipe="paper9")
    assert line.startswith("config key training.recipe: found 'paper9', expected one of paper1, ")
    assert "poster, or your own YAML file" in line


def test_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\nnetwork: shielded_resnet\n")
    assert training(recipe=str(path)).epochs == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epochs: [", "mine.yaml: can't be read as YAML"),
        ("- 3", "mine.yaml: found no keys"),
        ("recipe: paper1", "mine.yaml must hold keys of section training, without recipe"),
        ("epochs: -3", "mine.yaml has epochs: -3: Input should be greater than 0; correct that"),
        ("epohcs: 3", "mine.yaml has epohcs: 3: Extra inputs are not permitted; correct that file"),
    ],
)
def test_wrong_recipe_is_named_in_one_line(tmp_path, text, problem):
    (tmp_path / "mine.yaml").write_text(text)
    line = refusal(recipe=str(tmp_path / "mine.yaml"))
    assert line.startswith("config key training.recipe: ")
    assert problem in line
