"""Settings: what is refused and how it is said."""

import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.config.data import Parent
from lenspipe.config.settings import load_settings
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.hashing import digest

DEMO = {"run": "demo", "simulation": {}, "footprint": {"ra": [150.0, 150.8], "dec": [31.9, 32.8]}}
REAL = {"run": "real", "survey": {"tree": "dr9"}, "sample": {"known_lenses": "known.csv"}}


def refuse(config):
    """Lines of the error that a configuration is answered with."""
    with pytest.raises(LenspipeError) as caught:
        load_settings(config)
    return str(caught.value).splitlines()


def test_defaults():
    settings = load_settings(DEMO)
    assert settings.cutouts.size == 101
    assert settings.survey.bands == ("g", "r", "z")
    assert str(settings.paths.root) == "results/demo"
    assert settings.survey_paths.tree == settings.paths.sky
    assert str(load_settings(REAL).survey_paths.tree) == "dr9"


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings(DEMO).seed = 2


def test_all_errors_at_once():
    lines = refuse(
        DEMO | {"seed": -1, "cutouts": {"size": 100}, "training": {"epochs": 0, "network": "vgg"}}
    )
    keys = ["seed", "cutouts.size", "training.network", "training.epochs"]
    assert [line.split(": ")[0] for line in lines] == [f"config key {key}" for key in keys]
    assert all("found" in line and "config/README.md" in line for line in lines)


@pytest.mark.parametrize(
    ("config", "key", "hint"),
    [
        ({"footprnt": {}}, "footprnt", "did you mean 'footprint'?"),
        ({"training": {"epoch": 3}}, "training.epoch", "did you mean 'epochs'?"),
        ({"simulation": {"overlapp": 1}}, "simulation.overlapp", "did you mean 'overlap'?"),
        ({"chunks": {"zzz": 3}}, "chunks.zzz", "known here: nside"),
    ],
)
def test_unknown_key(config, key, hint):
    (line,) = refuse(DEMO | config)
    assert line.startswith(f"config key {key}: unknown; {hint}")


def test_missing_run():
    (line,) = refuse({"simulation": {}})
    assert line.startswith("config key run: missing; Name of the run")


@pytest.mark.parametrize(
    ("section", "values", "word"),
    [
        ("footprint", {"dec": [10, 5]}, "below the second"),
        ("footprint", {"ra": [0, 361]}, "less than or equal to 360"),
        ("footprint", {"bricks": ["1501-320"]}, "pattern"),
        ("chunks", {"nside": 24}, "power of two"),
        ("cutouts", {"size": 102}, "odd"),
        ("sample", {"fractions": [0.5, 0.2, 0.2]}, "add up to 1"),
        ("candidates", {"threshold": 1.1}, "less than or equal to 1"),
        ("candidates", {"threshold": "high"}, "expected a probability, or a section"),
        ("candidates", {"threshold": {"by": "number", "value": 0.5}}, "a whole number"),
        ("candidates", {"threshold": {"by": "fraction", "value": 0}}, "greater than 0"),
        ("candidates", {"threshold": {"by": "p"}}, "'false_positive_rate'"),
        ("candidates", {"reject_flags": ["EDGES"]}, "EDGE"),
        ("training", {"name": "a/b"}, "pattern"),
    ],
)
def test_value_out_of_range(section, values, word):
    (line,) = refuse(DEMO | {section: values})
    assert line.startswith(f"config key {section}.{next(iter(values))}")
    assert word in line


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"run": "x"}, "found neither, expected one"),
        (DEMO | {"survey": {"tree": "dr9"}}, "found both, expected one"),
        (DEMO | {"survey": {"release": "dr10"}}, "survey.release"),
        (REAL | {"survey": {"tree": "dr6", "release": "dr6"}}, "survey.release: found 'dr6'"),
        (REAL | {"survey": {"tree": "x", "name": "hsc"}}, "survey.name: found 'hsc'"),
        (REAL | {"parent": {"maskbits": ["BRIHGT"]}}, "parent.maskbits: found BRIHGT, expected"),
        (DEMO | {"footprint": {}}, "too large for a simulated sky"),
        (DEMO | {"survey": {"bands": ["g", "i"]}}, "survey.bands"),
        (DEMO | {"survey": {"bands": []}}, "survey.bands"),
        (REAL | {"parent": {"types": ["COMP"]}}, "parent.types"),
        (REAL | {"sample": {}}, "sample.known_lenses"),
    ],
)
def test_keys_that_do_not_fit_together(config, word):
    (line,) = refuse(config)
    assert line.startswith("config: ")
    assert word in line


def test_problems_of_fit_come_together():
    (line,) = refuse({"run": "x", "survey": {"bands": ["u"]}, "parent": {"types": ["COMP"]}})
    assert line.count(";") >= 2
    assert all(word in line for word in ("survey.tree", "survey.bands", "parent.types"))


def test_footprint_may_cross_zero():
    config = DEMO | {"footprint": {"ra": [359.5, 0.5], "dec": [0, 1]}}
    assert load_settings(config).footprint.ra == (359.5, 0.5)


def test_survives_yaml():
    settings = load_settings(DEMO)
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    assert load_settings(yaml.safe_load(text)) == settings


def test_digest_is_stable():
    # Files that exist carry such keys: another value here would make all of them anew.
    assert digest("cutouts", 1, [0.5, None]) == "bb7e10c88dcc7701"
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(Parent()) == digest(Parent(mag_z_max=20.0)) != digest(Parent(mag_z_max=20.1))


@given(st.lists(st.integers() | st.text() | st.booleans()), st.integers() | st.text())
def test_digest_tells_values_apart(values, other):
    assert digest(*values) == digest(*values)
    assert digest(*values) != digest(*values, other)
    assert digest(values, other) != digest([*values, other])


def test_import_is_light():
    code = (
        "import sys, lenspipe.config.settings; "
        "print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"astropy", "numpy", "pandas", "tensorflow", "snakemake"} & set(run.stdout.split())


def test_a_split_that_was_learnt_from_is_not_held_out():
    def held_out(**changes):
        return load_settings(DEMO | changes).held_out

    no_test = {"fractions": [0.7, 0.3]}
    members = {"a": {}, "b": {"network": "shielded_resnet"}}
    assert held_out(sample=no_test) == "validation"
    assert held_out(training={"refit": True}) == "test"
    assert held_out(sample=no_test, training={"refit": True}) is None
    assert held_out(sample=no_test, ensemble={"members": members}) == "validation"
    stacked = {"members": members, "combine": "stacker"}
    assert held_out(sample=no_test, ensemble=stacked) is None
    assert held_out(ensemble=stacked) == "test"


def test_members_take_single_keys_from_the_section_or_a_recipe():
    training = {"recipe": "paper3", "epochs": 5, "strategy": "one", "name": "all",
                "augmentation": {"noise": 0.5}, "optimizer_settings": {"beta_1": 0.8}}  # fmt: skip
    members = {
        "same": {"learning_rate": 0.1},
        "recipe": {"recipe": "paper3"},
        "other": {"recipe": "paper4_resnet", "network_settings": {"crop": 51}},
        "sgd": {"optimizer": "sgd", "network": "cmu_deeplens"},
    }
    settings = load_settings(DEMO | {"training": training, "ensemble": {"members": members}})
    same, recipe, other, sgd = (settings.of_model(name).training for name in members)
    assert (same.epochs, same.batch_size, same.learning_rate) == (5, 128, 0.1)
    assert (same.augmentation.noise, same.augmentation.rotation_deg) == (0.5, 90)
    assert (recipe.epochs, recipe.augmentation.noise, recipe.strategy) == (180, 0, "one")
    assert other.network_settings == {"preset": "194k", "crop": 51}
    assert sgd.network_settings == sgd.optimizer_settings == {}
    again = load_settings(settings.of_model("same").model_dump(mode="json"))
    assert again.training == same


def test_members_that_would_be_one_network_twice_are_refused():
    members = {"a": {}, "b": {}}
    (line,) = refuse(DEMO | {"ensemble": {"members": members}})
    assert "ensemble.members.b: found the same settings as a" in line
    load_settings(DEMO | {"ensemble": {"members": {"a": {}, "b": {"seed": 5}}}})
