"""User-defined networks, and what a model's file may hold."""

import textwrap
from pathlib import Path

import numpy as np
import pytest

from lenspipe.config.paths import network_source
from lenspipe.models.contents import find_foreign, normalisation
from lenspipe.models.layers import head, stem
from lenspipe.models.registry import build
from lenspipe.scoring.score import load_model
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras

TINY = """
from lenspipe.models.layers import head, stem
from lenspipe.utils.tensorflow import keras

def tiny(bands, size, filters=4, depth=1):
    inputs, x = stem(bands, size, filters=filters, kernel=3, stride=2, compress=True)
    for _ in range(depth):
        x = keras.layers.SeparableConv2D(filters, 3, activation="gelu")(x) + 0.0
    return head(inputs, x, "tiny", dropout=0.1)
"""


def write(text):
    Path("mine.py").write_text(textwrap.dedent(text))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(function="tiny", **settings):
    with pytest.raises(LenspipeError) as caught:
        build(f"mine.py:{function}", "grz", 21, **settings)
    (line,) = str(caught.value).splitlines()
    return line


def test_user_defined_network_is_built_saved_and_loaded():
    write(TINY)
    model = build("mine.py:tiny", "griz", 21, filters=8)
    assert model.input_shape == (None, 4, 21, 21)
    assert model.get_layer("p").input.shape == (None, 8)
    images = np.random.default_rng(0).normal(size=(5, 4, 21, 21)).astype(np.float32)
    normalisation(model)[0].adapt(images)
    model.save("model.keras")
    Path("mine.py").unlink()
    np.testing.assert_array_equal(load_model("model.keras")(images), model(images))


def test_only_a_python_file_is_a_source():
    assert network_source("networks/mine.py:tiny") == Path("networks/mine.py")
    assert network_source("/far/mine.py:tiny") == Path("/far/mine.py")
    for name in ("cmu_deeplens", "mine.py", "mine.txt:tiny"):
        assert network_source(name) is None


def test_settings_are_those_of_the_function():
    write(TINY)
    line = refusal(width=3)
    assert line.endswith("width: mine.py:tiny has no such setting; known: filters, depth")
    write(TINY.replace("depth=1", "depth=1, **others"))
    assert build("mine.py:tiny", "grz", 21, width=3).output_shape == (None, 1)


def test_missing_file_or_function_is_named():
    assert refusal().startswith(
        "config key training.network: found 'mine.py:tiny', but there is no file mine.py"
    )
    write(TINY)
    assert refusal("huge").startswith("mine.py: found no function 'huge', which config key")
    assert "no function 'keras'" not in refusal("nothing")


def test_mistakes_in_the_file_are_named_with_their_line():
    write("\nimport keras\ndef tiny(bands, size) return 3\n")
    assert "mine.py: can't be run: SyntaxError: " in refusal()
    assert "(line 3)" in refusal()
    write("import no_such_module\n")
    assert refusal().endswith("ModuleNotFoundError: No module named 'no_such_module' (line 1); "
                              "correct it")  # fmt: skip
    write("def tiny(bands, size):\n    x = 1\n    return x / 0\n")
    assert refusal() == (
        "mine.py: tiny() failed with bands g,r,z, size 21 and settings {}: ZeroDivisionError: "
        "division by zero (line 3); correct it"
    )
    write("def tiny():\n    return 1\n")
    assert "TypeError: tiny() takes 0 positional arguments but 2 were given" in refusal()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return 3", "returned int, expected a keras.Model"),
        (
            "inputs, x = stem(bands, size); return keras.Model(inputs, x)",
            "from (None, 3, 21, 21) to (None, 21, 21, 32), expected one from (None, 3, 21, 21)",
        ),
        (
            "inputs, x = stem(bands, 33); return head(inputs, x, 'tiny')",
            "from (None, 3, 33, 33) to (None, 1), expected one from (None, 3, 21, 21)",
        ),
        (
            "inputs = keras.Input((3, size, size)); return head(inputs, inputs, 'tiny')",
            "with layers Normalise for bands [], expected one for g,r,z; begin with",
        ),
        (
            "inputs, x = stem('xyz', size); return head(inputs, x, 'tiny')",
            "with layers Normalise for bands ['x,y,z'], expected one for g,r,z",
        ),
        (
            "inputs, x = stem(bands, size); x = keras.layers.Lambda(keras.ops.sin)(x); "
            "return head(inputs, x, 'tiny')",
            "with Lambda, which could not be loaded for scoring",
        ),
        ("inputs, x = stem(bands, size); return head(inputs, Mine()(x), 'tiny')", "with Mine, "),
        ("inputs, x = stem(bands, size); return head(inputs, Ours()(x), 'tiny')", "with Ours, "),
        (
            "inputs, x = stem(bands, size, 4); x = keras.layers.Dense(4, activation=wave)(x); "
            "return head(inputs, x, 'tiny')",
            "with wave, which could not be loaded",
        ),
        (
            "inputs, x = stem(bands, size); return head(inputs, Odd(object())(x), 'tiny')",
            "can't be saved",
        ),
    ],
)
def test_network_that_could_not_be_trained_or_loaded_is_refused(body, problem):
    write(f"""
        from lenspipe.models.layers import head, stem
        from lenspipe.utils.tensorflow import keras

        class Mine(keras.layers.Layer):
            def call(self, x):
                return x

        @keras.saving.register_keras_serializable("own")
        class Ours(Mine):
            pass

        class Odd(Mine):
            def __init__(self, number):
                super().__init__()

        def wave(x):
            return keras.ops.sin(x)

        def tiny(bands, size):
            {body}
        """)
    line = refusal()
    assert line.startswith("mine.py: tiny() returned")
    assert problem in line


@pytest.mark.parametrize("within", [False, True])
def test_file_with_code_is_refused_in_one_line(within):
    inputs, x = stem(["g"], 21, 4)
    model = head(inputs, keras.layers.Lambda(lambda x: 2 * x)(x), "odd")
    if within:
        model = keras.Model(model.input, keras.Sequential([model])(model.input))
    model.save("odd.keras")
    with pytest.raises(LenspipeError) as caught:
        load_model("odd.keras")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("odd.keras: found Lambda in the model, expected only layers of ")


def test_file_with_a_class_that_is_not_known_is_refused_in_one_line():
    class Foreign(keras.layers.Layer):
        def call(self, x):
            return x

    inputs, x = stem(["g"], 21, 4)
    head(inputs, Foreign()(x), "odd").save("odd.keras")
    with pytest.raises(LenspipeError, match=r"^odd\.keras: found Foreign in the model, expected"):
        load_model("odd.keras")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"module": "os", "class_name": "function", "config": "system"}, "system"),
        ({"module": "keras.utils", "class_name": "function", "config": "get_file"}, "get_file"),
        ({"module": "os", "class_name": "system", "config": {}}, "system"),
        ({"module": "lenspipe.models.layers", "class_name": "np", "config": {}}, "np"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}, "TFSMLayer"),
        ({"class_name": "Dense", "config": {}}, "Dense"),
        ({"class_name": "__lambda__", "config": {"value": "4w"}}, "__lambda__"),
        ({"module": "builtins", "class_name": "function", "config": "relu"}, None),
        ({"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}}, None),
    ],
)
def test_what_may_be_in_a_file(config, name):
    assert find_foreign({"layers": [1, "two", [config]]}) == name


@pytest.mark.parametrize("name", ["cmu_deeplens", "shielded_resnet"])
def test_lenspipes_own_networks_hold_nothing_else(name):
    assert find_foreign(keras.saving.serialize_keras_object(build(name, size=33))) is None
