"""Tests of lenspipe.cli.main."""

import subprocess
import sys

import pytest

from lenspipe import __version__
from lenspipe.cli.main import main
from lenspipe.config.data import Simulation

BRICK = ["--bricks", "1501p320"]


@pytest.fixture
def calls(monkeypatch):
    """What `simulate` is called with, instead of minutes of work."""
    sky = pytest.importorskip("lenspipe.simulation.sky")
    made = []
    monkeypatch.setattr(sky, "simulate", lambda *arguments: made.append(arguments))
    return made


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--version"])
    assert error.value.code == 0
    assert capsys.readouterr().out == f"lenspipe {__version__}\n"


def test_a_subcommand_is_needed(capsys):
    with pytest.raises(SystemExit) as error:
        main([])
    assert error.value.code == 2
    assert "required: COMMAND" in capsys.readouterr().err


def test_help_shows_every_setting_with_its_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, field in Simulation.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"{field.description} (default: {field.default})" in text


def test_options_become_settings(calls, tmp_path):
    arguments = ["simulate", "--output", str(tmp_path / "a" / "sky"), "--ra", "150", "151"]
    arguments += ["--dec", "-1.5", "1", "--seed", "5", "--workers", "3", "--no-overlap"]
    assert main([*arguments, "--lenses-per-brick", "7", "--known-fraction", "0.5"]) == 0
    ((settings, workers, root),) = calls
    assert settings.footprint.ra == (150, 151)
    assert settings.footprint.dec == (-1.5, 1)
    assert settings.seed == 5
    assert settings.simulation == Simulation(lenses_per_brick=7, known_fraction=0.5, overlap=False)
    assert workers == 3
    assert root == tmp_path / "a" / "sky"
    assert root.is_dir()


def test_defaults_are_those_of_the_settings(calls, tmp_path):
    assert main(["simulate", "--output", str(tmp_path), *BRICK]) == 0
    ((settings, workers, _),) = calls
    assert settings.simulation == Simulation()
    assert settings.footprint.bricks == ("1501p320",)
    assert workers is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "footprint: 64800 square degrees is too large"),
        ([*BRICK, "--galaxies-per-brick", "0"], "simulation.galaxies_per_brick: found 0"),
        (["--bricks", "here"], r"footprint.bricks.0: found 'here'"),
        (["--ra", "0", "1", "--dec", "3", "2"], "first declination must be below the second"),
    ],
)
def test_wrong_settings_are_one_line(arguments, message, tmp_path, capsys):
    assert main(["simulate", "--output", str(tmp_path / "sky"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lenspipe: error: ")
    assert message in line
    assert not (tmp_path / "sky").exists()


def test_output_that_is_a_file_is_refused(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("")
    assert main(["simulate", "--output", str(path), *BRICK]) == 1
    assert f"{path}: can't be made (File exists)" in capsys.readouterr().err


def test_no_workers_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["simulate", "--output", str(tmp_path), *BRICK, "--workers", "0"])
    assert "found 0, expected at least 1" in capsys.readouterr().err


def test_missing_optional_dependency_is_one_line(tmp_path, capsys, monkeypatch):
    sky = pytest.importorskip("lenspipe.simulation.sky")

    def without_lenstronomy(*_):
        raise ModuleNotFoundError(name="lenstronomy")

    monkeypatch.setattr(sky, "simulate", without_lenstronomy)
    assert main(["simulate", "--output", str(tmp_path), *BRICK]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lenspipe: error: lenstronomy: not installed")


def test_the_command_starts_without_heavy_modules():
    code = (
        "import sys, lenspipe.cli.main; "
        "print({'numpy', 'pandas', 'astropy', 'tensorflow', 'lenstronomy'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "set()\n"


def test_train_reads_configurations_as_snakemake_does(tmp_path, monkeypatch):
    training = pytest.importorskip("lenspipe.training.fitting")
    trained = []
    monkeypatch.setattr(training, "train", trained.append)
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(
        "run: x\nsimulation: {}\nfootprint: {ra: [150, 151], dec: [30, 31]}\n"
        "training: {name: both, epochs: 7}\nensemble: {members: {a: {}, b: {epochs: 3}}}\n"
    )
    other.write_text("training: {batch_size: 9}\n")
    assert main(["train", str(one), str(other)]) == 0
    found = [(s.training.name, s.training.epochs, s.training.batch_size) for s in trained]
    assert found == [("a", 7, 9), ("b", 3, 9)]
    assert main(["train", str(one), "--model", "b"]) == 0
    assert trained[-1].training.name == "b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.yaml: can't be read as YAML"),
        ("a: [", "config.yaml: can't be read as YAML"),
        ("- a", "config.yaml: found no keys, expected those of config/README.md"),
        ("run: x\nsimulation: {}\nfootprint: {bricks: [1501p320]}", "--model: found 'b', expected"),
    ],
)
def test_train_refuses_in_a_line(content, message, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    if content:
        path.write_text(content)
    assert main(["train", str(path), "--model", "b"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
