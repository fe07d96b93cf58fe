"""What runs again after a change: dry runs of a run whose files are all there, but empty."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.workflow import run

from lenspipe.config.settings import Settings, load_settings
from lenspipe.config.stages import run_again

pytestmark = pytest.mark.workflow

RUN = Path("results") / "tiny"
CONFIG = {
    "run": "tiny",
    "footprint": {"ra": [150.0, 150.8], "dec": [31.9, 32.4]},
    "simulation": {},
    "sample": {"known_lenses": "known.csv", "graded": "graded.csv"},
    "candidates": {"redshifts": "redshifts.csv"},
    "selection": {"number": 100},
    "mosaics": {"per_brick": True},
}
LISTS = {
    name: f"ra,dec\n{number},2\n" for number, name in enumerate(("known", "graded", "redshifts"))
}
#: What the workflow reads of a run; all other files are empty.
CONTENTS = {"pages.json": '{"pages": []}'}
#: Stages that run only where they, or a brick, are requested by name.
ON_REQUEST = {
    *("mine", "sweep", "sweep_trial", "proposal", "ensemble"),
    *("brick_cutouts", "brick_scores", "brick_mosaic"),
}
#: Intermediate files, which are not made again while what is made from them is there.
INTERMEDIATE = r"basis/|manifests/(parent|cutouts|mosaics)/|records/|parent/(audit/)?16-"


def snakemake(*arguments):
    """Run Snakemake in the working directory; return what it prints."""
    return run(Path.cwd(), *arguments, "--nocolor", forked=True)


def planned(**changes):
    """Stages that run again after these changes of the configuration."""
    config = CONFIG | {
        key: CONFIG[key] | value if isinstance(CONFIG.get(key), dict) else value
        for key, value in changes.items()
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    output = snakemake("--dry-run")
    if "Nothing to be done" in output:
        return set()
    table = re.search(r"Job stats:\n.*?\n-.*?\n(.*?)\ntotal", output, re.S)
    return {line.split()[0] for line in table.group(1).splitlines()} - {"all", "basis"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of a complete run, in whose folder the tests work."""
    with contextlib.chdir(tmp_path_factory.mktemp("reruns")):
        for name, content in LISTS.items():
            Path(f"{name}.csv").write_text(content)
        Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
        lines = [line.split("\t") for line in snakemake("--summary").splitlines()]
        paths = [Path(line[0]) for line in lines if len(line) > 5 and line[0].startswith(str(RUN))]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(CONTENTS.get(path.name, "{}" if path.suffix == ".json" else ""))
        snakemake("--touch", "--forceall")
        paths = [path for path in paths if path.exists()]  # records are deleted when scored
        for path in paths:
            os.utime(path, (1.7e9, 1.7e9))
        assert planned() == set()
        yield paths


CHANGES = [
    *({"mosaics": {key: value}} for key, value in [
        ("columns", 5), ("rows", 3), ("stretch", "lupton"), ("sort", "mag"), ("panels", ["r"]),
        ("per_brick", False), ("brick_tiles", 20),
    ]),
    *({"evaluation": {key: value}} for key, value in [
        ("prior", 0.01), ("bins", 4), ("threshold", 0.3), ("calibration", "isotonic"),
    ]),
    *({"candidates": {key: value}} for key, value in [
        ("threshold", 0.7), ("merge_radius_arcsec", 2.0), ("known", "hide"), ("reject_flags", []),
    ]),
    *({"inference": {key: value}} for key, value in [
        ("symmetries", 8), ("batch_size", 7), ("precision", "bfloat16"),
    ]),
    *({"retrieval": {key: value}} for key, value in [("connections", 2), ("patience_s", 5)]),
    *({"selection": {key: value}} for key, value in [
        ("number", 50), ("theta_e_bins", [0.5, 1, 2]), ("arc_mag_range", [20.0, 24.0]),
    ]),
    *({"training": {key: value}} for key, value in [("epochs", 3), ("strategy", "mirrored")]),
    {"sample": {"negatives_per_lens": 2}},
    {"sample": {"mined": 7}},
    {"parent": {"mag_z_max": 19.5}},
    {"cutouts": {"size": 71}},
    {"failures": {"strict": True}},
    {"checks": {"level": 0.2}},
    {"expected": {"draws": 77}},
    {"simulation": {"lenses_per_brick": 3}},
    {"seed": 9},
]  # fmt: skip


def leaf(change):
    ((section, value),) = change.items()
    return f"{section}.{next(iter(value))}" if isinstance(value, dict) else section


@pytest.mark.parametrize("change", CHANGES, ids=leaf)
def test_a_change_runs_again_what_the_table_says(files, change):
    expected = set(run_again(leaf(change), load_settings(CONFIG))) - ON_REQUEST
    stages = planned(**change)
    # Records are deleted when they are scored, and made again for that.
    assert stages - {"records"} == expected - {"records"}
    # Pictures and words score nothing again.
    if {*change} & {"mosaics", "evaluation"} and leaf(change) != "evaluation.calibration":
        scoring = {"train", "predict", "records", "scores", "paint", "realism", "cutouts"}
        assert not stages & scoring


@pytest.mark.parametrize(
    ("name", "stage"), [("known", "known"), ("graded", "sample"), ("redshifts", "candidates")]
)
def test_the_content_of_a_list_decides_not_its_time(files, tmp_path, name, stage):
    path, saved = Path(f"{name}.csv"), tmp_path / "saved.csv"
    os.utime(path)
    assert planned() == set()
    shutil.copy2(path, saved)
    other = tmp_path / "other.csv"
    other.write_text(LISTS[name] + "3,4\n")
    os.utime(other, (1e9, 1e9))
    other.replace(path)
    assert stage in planned()
    saved.replace(path)
    assert planned() == set()


def test_times_of_results_and_scripts_make_no_difference(files):
    for path in reversed(files):
        os.utime(path)
    assert planned() == set()
    for path in files:
        os.utime(path)
    assert planned() == set()


def test_what_people_open_is_restored(files):
    opened = [path for path in files if not re.match(INTERMEDIATE, str(path.relative_to(RUN)))]
    assert len(opened) > 40
    # What Snakemake makes again where it is missing: the inputs of `all`.
    output = snakemake("--dry-run", "--forcerun", "all")
    inputs = re.search(r"rule all:\n    input: (.*)", output)[1].split(", ")
    assert set(map(str, opened)) <= set(inputs)
    for path in (opened[0], opened[-1]):
        aside = path.with_name(f"aside-{path.name}")
        path.rename(aside)
        assert planned() != set(), f"{path} is not made again"
        aside.rename(path)
    assert planned() == set()


def test_every_key_is_in_the_table():
    settings = load_settings(CONFIG)
    for key in Settings.model_fields:
        assert isinstance(run_again(key, settings), list)
    assert run_again("retrieval", settings) == []
