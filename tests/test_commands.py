"""Each shell command of the documents runs on a small run, or has a reason not to.

The lines that begin with snakemake are tested in test_docs.py.
"""

import contextlib
import itertools
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from test_docs import ROOT, blocks, documents

import lenspipe
from lenspipe.candidates.find import forecast
from lenspipe.cli.main import main, make_parser
from lenspipe.config.paths import SHIPPED_FOLDER
from lenspipe.inspection.store import Store
from lenspipe.runs import write_example_run
from lenspipe.runs.example import CHUNK, draw_galaxies, write_cutouts
from lenspipe.simulation.injection import noise_from_depth

#: Programs that no test runs for the documents, with the reason.
PROGRAMS_NOT_RUN = {
    **dict.fromkeys(("pip", "python", "hats/bin/pip"), "installs"),
    **dict.fromkeys(("pytest", "pre-commit", "sphinx-build"), "is run by .ci/run"),
    **dict.fromkeys(("cosmic-ray", "cr-report"), "takes days"),
    "snakemake": "see test_docs.py",
    "scontrol": "needs Slurm",
    "hats/bin/python": "needs an environment of its own; see tests/exchange",
    "jupyter": "is a server",
}
#: Beginnings of lenspipe commands that are not run, with the reason.
NOT_RUN = {
    "simulate --output": "simulates 24 bricks",
    "train-shipped": "trains",
    "train my.yaml": "trains on several machines",
    "round results/demo --snakemake": "trains",
    "round results/my-run --snakemake": "trains",
    "inspect my.csv": "needs files of the survey",
    "inspect results/demo --training": "needs the images of a sample; see tests/inspection",
}
#: Command -> those that are run before it.
BEFORE = {
    "sheets results/demo --grades A,B": ["inspect results/demo --export"],
    "sheets results/demo --grades A,B --arrows arrows.csv": ["inspect results/demo --export"],
    "sheets results/my --grades A": ["inspect results/my --export"],
    "grade results/demo --list results/demo/rounds/1/list.csv": ["round results/demo"],
    "inspect results/my-run/rounds/1/my-run-round-1.fits --grader anna": ["round results/my-run"],
}
#: Names of candidates in the documents, which are those of the demo.
DEMO_NAMES = ("DESI-150.3326+31.8921", "DESI-150.7418+32.8178")


def shell_lines():
    """Words of each shell command, without comments."""
    for path in documents():
        for block in blocks(path, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                # Variables may come first.
                if words := list(itertools.dropwhile(lambda word: "=" in word, words)):
                    yield words


def lenspipe_commands():
    """Arguments of the lenspipe commands of the documents, each once, as one text."""
    lines = {}
    for words in shell_lines():
        if "lenspipe" in words:
            lines[shlex.join(words[words.index("lenspipe") + 1 :])] = None
    return list(lines)


def is_run(command):
    return not any(command.startswith(beginning) for beginning in NOT_RUN)


def test_every_shell_command_is_run_or_has_a_reason():
    programs = {words[0] for words in shell_lines() if "lenspipe" not in words}
    assert programs == set(PROGRAMS_NOT_RUN)
    commands = lenspipe_commands()
    assert all(any(c.startswith(beginning) for c in commands) for beginning in NOT_RUN)
    assert set(BEFORE) <= set(commands)
    assert sum(map(is_run, commands)) > 30


def test_commands_in_the_text_exist():
    parsers = make_parser()._subparsers._group_actions[0].choices
    named = {
        (path.name, name)
        for path in documents()
        for name in re.findall(r"`lenspipe ([a-z][a-z-]*)", path.read_text())
    }
    assert len(named) > 20
    assert {entry for entry in named if entry[1] not in parsers} == set()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the runs and files that the documents name."""
    folder = tmp_path_factory.mktemp("documents")
    with contextlib.chdir(folder):
        root = write_example_run(folder)
        finish_run(lenspipe.open_run(root))
        for name in ("demo", "dr9", "my", "my-run"):
            shutil.copytree(root, folder / "results" / name)
        write_files(lenspipe.open_run("results/demo"))
        for name in ("demo", "my", "my-run"):
            vote(lenspipe.open_run(f"results/{name}"))
    return folder


def finish_run(run):
    """Add to the example run what its scores' stages would leave besides."""
    settings, paths = run.settings, run.paths
    audit = pd.DataFrame({"cut": ["type", "mag_z_max", "min_exposures", "maskbits"]})
    audit["before"], audit["after"] = [900, 400, 200, 180], [400, 200, 180, 150]
    audit.to_csv(paths.audit, index=False)
    parent = pd.read_parquet(paths.parent(CHUNK))
    for band, noise in zip("grz", (0.0034, 0.0055, 0.0121), strict=True):
        parent[f"galdepth_{band}"] = (noise_from_depth(1.0, 1.2, 0.262) / noise) ** 2
    parent = parent.assign(shape_r=1.5, shape_e1=0.1, shape_e2=0.0)
    parent.to_parquet(paths.parent(CHUNK), index=False)
    scores, sample = pd.read_parquet(paths.scores(CHUNK)), pd.read_parquet(paths.sample)
    held = sample[sample["split"] == "test"].merge(scores[["id", "region", "p"]], on="id")
    held.assign(type="DEV").to_parquet(settings.predictions, index=False)
    forecast(settings)
    lenses = scores.sample(60, random_state=1).assign(weight=0.05, theta_e_arcsec=1.5)
    lenses = lenses.assign(arc_snr=20.0, mag_z=19.0, psfsize_g=1.4, depth_g=24.0)
    lenses.to_parquet(paths.selection("injected.parquet"), index=False)


def vote(run):
    with contextlib.closing(Store(run.paths.inspection())) as store:
        store.add_grader("ben")
        votes = [
            {"key": name, "item": name, "grade": grade, "comment": "", "seconds": 2.0}
            for name, grade in zip(run.candidates["id"], "ABD", strict=False)
        ]
        store.add_votes("ben", 1, votes)


def write_files(run):
    """Write the tables and images that the commands of the documents read."""
    Path("surveys.yaml").write_text("inspection: {surveys: {PS1: CDS/P/PanSTARRS/DR1/color-i-r-g}}")
    candidates = run.candidates.to_pandas()
    names, ids = candidates["name"], candidates["id"]
    rng, n = np.random.default_rng(1), 30
    lenses = pd.DataFrame(
        {
            "theta_e_arcsec": rng.uniform(1, 3, n),
            "arc_snr": rng.uniform(10, 100, n),
            "psfsize_g": 1.4,
            "depth_g": 24.0,
            "mag_z": rng.uniform(18, 20, n),
            "sample": rng.choice(["galaxies", "groups"], n),
            "expected": 0.1,
            "weight": 0.1,
        }
    )
    for name in ("mine.fits", "lenspop.fits"):
        QTable.from_pandas(lenses).write(name)
    published = candidates[["ra", "dec"]].assign(grade="A")
    for name in ("published.csv", "storfer2024.csv"):
        published.to_csv(name, index=False)
    scores = run.scores.to_pandas().rename(columns={"id": "row_id", "p": "score"})
    scores[["row_id", "ra", "dec", "score"]].to_csv("theirs.csv", index=False)
    pd.DataFrame({"id": ids, "grade": "B"}).to_csv("their-grades.csv", index=False)
    pd.DataFrame(
        {
            "classification_id": [1],
            "user_name": ["volunteer"],
            "annotations": json.dumps([{"task": "T0", "value": "Maybe"}]),
            "subject_ids": [9001],
            "subject_data": json.dumps({"9001": {"#id": ids[0]}}),
            "metadata": json.dumps(
                {"started_at": "2026-11-01T10:00:00Z", "finished_at": "2026-11-01T10:00:07Z"}
            ),
        }
    ).to_csv("classifications.csv", index=False)
    Path("mine.txt").write_text("\n".join(names[:2]) + "\n")
    (arrows,) = blocks(ROOT / "docs" / "followup.md", "text")
    Path("arrows.csv").write_text(arrows.replace(DEMO_NAMES[0], names[0]))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [101, 101]
    wcs.wcs.crval = candidates.loc[0, ["ra", "dec"]].to_numpy(float)
    wcs.wcs.cdelt = [-0.05 / 3600, 0.05 / 3600]
    hst = fits.PrimaryHDU(rng.normal(1, 0.1, (201, 201)).astype("f4"), wcs.to_header())
    hst.writeto("hst_f814w_drz.fits")
    table = pd.DataFrame({"name": ["one", "two", "three"], "ra": 10.0, "dec": [0.0, 0.1, 0.2]})
    images = draw_galaxies(rng, np.array([True, False, True]), size=101)
    write_cutouts(Path("cutouts.fits"), images, table, 1)
    np.savez("cutouts.npz", images=images)
    table.to_csv("my.csv", index=False)
    Path("my.yaml").write_text(
        "run: demo\nsimulation: {}\nfootprint: {ra: [10, 11], dec: [0, 1]}\n"
    )
    shutil.copytree(SHIPPED_FOLDER, "results/demo/models/resnet", dirs_exist_ok=True)
    for name in ("demo", "my-run"):
        Path(f"results/{name}/sky/confusing.csv").write_text("ra,dec\n")
    path = run.paths.mined(1)
    path.parent.mkdir()
    scores[["row_id"]][:5].rename(columns={"row_id": "id"}).assign(grade="").to_csv(
        path, index=False
    )


@pytest.mark.parametrize("command", [c for c in lenspipe_commands() if is_run(c)])
def test_command_runs(command, prepared, tmp_path, monkeypatch, capsys):
    others = [name for name in ("dr9", "my", "my-run") if f"results/{name}" not in command]
    folder = shutil.copytree(prepared, tmp_path / "here", ignore=shutil.ignore_patterns(*others))
    monkeypatch.chdir(folder)
    # A server ends at once, and does not close the log of TensorFlow, which is that of pytest.
    monkeypatch.setattr("uvicorn.Config.configure_logging", lambda self: None)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: sockets[0].close())
    for module in ("sample.mining", "rounds.begin"):
        monkeypatch.setattr(f"lenspipe.{module}.read_plan", lambda path: {CHUNK: None})
    names = lenspipe.open_run("results/demo").candidates["name"]
    for line in (*BEFORE.get(command, ()), command):
        for example, name in zip(DEMO_NAMES, names, strict=False):
            line = line.replace(example, str(name))
        words = shlex.split(line)
        if {"--help", "--version"} & set(words):
            with pytest.raises(SystemExit) as error:
                main(words)
            assert error.value.code == 0
        else:
            if words[0] == "inspect" and "--export" not in words:
                words += ["--port", "0"]
            assert main(words) == 0, capsys.readouterr().err
        if "--output" in words:
            assert list(Path().glob(words[words.index("--output") + 1] + "*"))
