"""Tests of configurations as YAML means them: keys that occur twice, texts, paths."""

from pathlib import Path

import pytest
from helpers.fuzz_config import BASE, fuzz_config

from lenspipe.config.settings import load_settings, read_config
from lenspipe.config.texts import parse_arguments
from lenspipe.utils.errors import LenspipeError


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("sample: {mined: 3}\nrun: x\nsample: {mined: 4}\n", "sample occurs twice, in lines 1"),
        ("sample:\n  mined: 3\n  graded: a\n  mined: 4\n", "mined occurs twice, in lines 2 and"),
        ("a: [{b: 1,\n  b: 2}]\n", "key b occurs twice, in lines 1 and 2"),
    ],
)  # fmt: skip
def test_a_key_that_occurs_twice_is_refused(tmp_path, text, lines):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(LenspipeError, match=lines) as caught:
        read_config([path])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_aliases_without_end_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("run: x\ntraining: &t\n  sweep: *t\n")
    with pytest.raises(LenspipeError, match="line 2: an alias stands within its own value"):
        read_config([path])
    tens = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path.write_text("\n".join(["a0: &a0 x", *tens]))
    with pytest.raises(LenspipeError, match="aliases make more than 2000000 values"):
        read_config([path])
    path.write_text("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: [*a, *a]}\n")
    assert read_config([path])["d"] == {"b": 1, "e": [{"b": 1}, {"b": 1}]}


def test_texts_mean_what_yaml_means():
    texts = {
        "inference": {"symmetries": "8", "model": "null", "batch_size": "32"},
        "candidates": {"threshold": "0.7", "redshifts": "null"},
        "evaluation": {"threshold": "null"},
        "sample": {"graded": "[a.csv, b.csv]", "known_lenses": "{path: k.csv, grade: A}"},
        "targets": "~",
    }
    settings = load_settings(BASE | texts)
    assert (settings.inference.symmetries, settings.inference.model) == (8, None)
    assert settings.candidates.threshold.value == 0.7
    assert (settings.candidates.redshifts, settings.targets) == ((), None)
    assert settings.evaluation.threshold is None
    assert settings.sample.graded == ("a.csv", "b.csv")
    assert settings.sample.known_lenses[0].grade == "A"
    # What may be text stays text.
    names = {"sample": {"graded": "123.csv", "known_lenses": {"path": "k.csv", "name": "2020"}}}
    settings = load_settings(BASE | names)
    assert settings.sample.graded == ("123.csv",)
    assert settings.sample.known_lenses[0].name == "2020"


def test_arguments_of_snakemake():
    given = ["inference={symmetries: 8, model: null}", "candidates={threshold: 0.5}", "run=x"]
    assert parse_arguments([*given, "inference={batch_size: 4}", "targets="]) == {
        "inference": {"symmetries": 8, "model": None, "batch_size": 4},
        "candidates": {"threshold": 0.5},
        "run": "x",
        "targets": None,
    }
    with pytest.raises(LenspipeError, match=r"--config sample=\{a: \[: can't be read as YAML"):
        parse_arguments(["sample={a: ["])


def test_home_and_variables_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.chdir(tmp_path)
    given = {
        "retrieval": {"cache": "~/cache", "contact": "me@example.org"},
        "targets": None,
        "sample": {"known_lenses": "$SCRATCH/k.csv", "graded": ["~/a.csv", "https://x.org/~b.csv"]},
        "candidates": {"redshifts": "${SCRATCH}/z.fits"},
    }
    settings = load_settings(BASE | given)
    assert settings.retrieval.cache == str(tmp_path / "home" / "cache")
    assert settings.sample.known_lenses[0].path == "/scratch/k.csv"
    assert settings.sample.graded == (str(tmp_path / "home" / "a.csv"), "https://x.org/~b.csv")
    assert settings.candidates.redshifts == ("/scratch/z.fits",)
    for path, words in (("~no-such-user/a", "no such user"), ("$NOT_SET/a", "variable NOT_SET")):
        with pytest.raises(LenspipeError, match=words):
            load_settings(BASE | {"retrieval": {"cache": path}})
    # A file that is there is taken as it is.
    Path("$NOT_SET.csv").touch()
    assert load_settings(BASE | {"sample": {"graded": "$NOT_SET.csv"}}).sample.graded[0][0] == "$"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a\0b", "a{b}", "a\nb", "x" * 300])
def test_names_of_catalogues_name_files(name):
    catalogs = [{"path": "k.csv", "name": name or None}]
    catalogs[0]["path"] = "k.csv" if name else "/"
    with pytest.raises(LenspipeError, match="can't name the files"):
        load_settings(BASE | {"recovery": {"catalogs": catalogs}})


def test_odd_configurations_are_read_or_refused():
    assert fuzz_config(0, 60) == []
