"""Tests of lenspipe.products.cards, and of the model that comes with the package."""

import json

import numpy as np
import pytest
from helpers.cards import NOTE, make_card, write_model

from lenspipe.cli.main import main
from lenspipe.config import paths
from lenspipe.config.paths import SHIPPED_FOLDER, model_file
from lenspipe.config.settings import load_settings
from lenspipe.config.stages import STAGE_FILES
from lenspipe.products.cards import describe_model, find_card, format_card, write_card
from lenspipe.scoring.score import load_model_for_run
from lenspipe.training.shipped import MAX_BYTES
from lenspipe.utils.errors import LenspipeError

needs_model = pytest.mark.skipif(
    not (SHIPPED_FOLDER / "model.keras").exists(), reason="the package's model is not there yet"
)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A small model in the place of the package's."""
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", tmp_path / "package")
    write_model(tmp_path / "package")
    return tmp_path / "package" / "model.keras"


def test_only_the_word_is_reserved(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_file("shipped") == shipped
    assert model_file("./shipped") == (tmp_path / "shipped").relative_to(tmp_path)
    folder = tmp_path / "shipped"
    folder.mkdir()
    assert model_file("./shipped") == (folder / "model.keras").relative_to(tmp_path)
    assert model_file("shipped") == shipped


def test_an_installation_without_the_model_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(LenspipeError, match="no such file, expected the shipped model"):
        model_file("shipped")


def test_settings_name_its_file(shipped):
    config = {
        "run": "list",
        "targets": "list.csv",
        "survey": {"tree": "tree"},
        "inference": {"model": "shipped"},
    }
    settings = load_settings(config | {"sample": {"cleaning_model": "shipped"}})
    assert settings.model_path == shipped
    assert STAGE_FILES["search_model"].paths(settings) == [shipped]
    assert STAGE_FILES["cleaning_model"].paths(settings) == [shipped]
    assert STAGE_FILES["model_card"].paths(settings) == [shipped.with_name("card.json")]
    del config["inference"]
    assert load_settings(config).inference.model is None  # listed without scores


def test_a_card_is_read_as_it_was_written(tmp_path):
    card = make_card(real={"auc_all": 0.9, "auc_all_low": 0.88, "auc_all_high": 0.92, "n": 3})
    write_card(card, tmp_path)
    assert find_card(tmp_path / "model.keras") == card
    assert describe_model(tmp_path / "model.keras") == card.note == NOTE
    text = (tmp_path / "card.md").read_text()
    assert text == format_card(card)
    assert "| the same, against all non-lenses | 0.900 | 0.880 to 0.920 |" in text
    assert "| completeness at 10 % false positives | 0.970 | 0.960 to 0.980 |" in text
    assert all(f"- {each}" in text for each in card.not_for)
    assert "not measured" not in text
    assert "On real stamps of the survey: not measured." in format_card(make_card())


def test_models_without_a_card_say_nothing(tmp_path):
    assert find_card(tmp_path / "model.keras") is None
    assert describe_model(tmp_path / "model.keras") == ""


def test_a_card_of_another_model_is_refused(shipped):
    assert describe_model(shipped) == NOTE
    shipped.write_bytes(shipped.read_bytes() + b" ")
    with pytest.raises(LenspipeError, match="found the card of another model than"):
        describe_model(shipped)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Invalid JSON"),
        ("{}", "name: Field required"),
        ("[1]", "Input should be an object"),
    ],
)
def test_a_damaged_card_is_said_in_one_line(shipped, text, said):
    shipped.with_name("card.json").write_text(text)
    with pytest.raises(LenspipeError, match=said) as error:
        describe_model(shipped)
    assert "\n" not in str(error.value)
    assert "card.json: can't be read as a model card" in str(error.value)


def test_the_command_prints_the_card(shipped, tmp_path, capsys):
    assert main(["model-card"]) == 0
    assert capsys.readouterr().out == shipped.with_name("card.md").read_text()
    assert main(["model-card", str(shipped.parent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "7"
    shipped.with_name("card.json").unlink()
    assert main(["model-card"]) == 1
    assert "only models of `lenspipe train-shipped` have a card" in capsys.readouterr().err
    assert main(["model-card", str(tmp_path / "none.keras")]) == 1
    assert "none.keras: no such file" in capsys.readouterr().err


@needs_model
def test_the_packages_model_is_small_and_fits_its_card():
    path = model_file("shipped")
    assert path.stat().st_size <= MAX_BYTES
    card = find_card(path)
    assert path.with_name("card.md").read_text() == format_card(card)
    model = load_model_for_run(path, card.bands, card.size_pixels)
    images = np.random.default_rng(0).normal(0, 0.01, (4, *model.input_shape[1:]))
    p = model(images.astype(np.float32)).numpy()
    assert p.shape == (4, 1)
    assert ((p >= 0) & (p <= 1)).all()
