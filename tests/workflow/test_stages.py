"""Each stage, run in a folder that holds nothing but its inputs: it finds all that it reads.

Stages run in the order of the workflow, each once: its inputs are linked into an empty folder, the
rule's script runs there, and what it leaves goes back to the run. So the run that all tests look at
is made here, too. Three things are compared with `lenspipe.config.stages`: files that a stage asks
for and the run has, but the stage does not name; settings that it reads; files that it promises.
"""

import contextlib
import os
import runpy
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from stages import PRODUCTS, STAGES, WITHOUT_CONSEQUENCE, stage_parameters, upstream
from tiny_sky import write_sky

from lenspipe.bricks import load_plan
from lenspipe.config import load_settings
from lenspipe.config.base import Section

SCRIPTS = Path(os.environ.get("LP_REPO", Path(__file__).parents[1])) / "workflow" / "scripts"
RUN = Path("results") / "tiny"
CONFIG = {
    "run": "tiny",
    "simulation": {},
    "footprint": {"ra": [10, 12], "dec": [-0.1, 0.1]},
    "chunks": {"nside": 64},
    "failures": {"strict": True},
    "cutouts": {"size": 41},
    "parent": {"min_exposures": 1},
    "sample": {"fractions": [0.4, 0.2, 0.4], "negatives_per_lens": 1.5},
    "training": {
        "network_settings": {
            "widths": [8], "units": 1, "stem_filters": 8, "stem_stride": 3, "crop": 33,
        },
        "epochs": 2,
        "batch_size": 32,
        "decay_epochs": [1],
    },
    "sweep": {"settings": {"learning_rate": [0.001, 0.002]}, "fpr": 0.2},
    "inference": {"backend": "tensorflow"},
    "candidates": {"threshold": {"by": "number", "value": 100}},
    "mosaics": {"per_brick": True, "columns": 4, "rows": 2},
    "recovery": {"catalogs": ["published.csv"]},
    "selection": {"number": 150, "source_mag_range": [21.0, 24.0]},
}  # fmt: skip
#: Not compared: the run as it is, file by file, is what it describes.
DESCRIBES_ALL = {"summary"}
#: Settings that a property stands for.
PROPERTIES = {
    "held_out": ("sample.fractions", "training.refit", "training.name", "ensemble",
                 "inference.model"),
    "learnt_splits": ("training.refit", "training.name", "ensemble", "inference.model"),
    "candidates.threshold.assumed": ("candidates.threshold.by", "candidates.threshold.value"),
}  # fmt: skip
ENSEMBLE = {"sweep": {}, "ensemble": {"members": {"one": {"seed": 1}, "two": {"seed": 2}}}}
#: A trial's values are parameters of its own; which they are, the sweep tells.
OF_TRIALS = {"sweep_trial": ("sweep", "ensemble.members"), "sweep": ("ensemble.members",)}
#: Files whose frames only pass a reading on: properties of the settings.
PASSED_ON = ("/pydantic/", "/lenspipe/config/", __file__)
#: Functions whose reading does not count: the key of the plan, which jobs find made; whether
#: anything at all is fetched.
IGNORED = {"_plan_key", "open_source"}
#: (stage, name of the chunk, brick, model or trial; what of the configuration differs).
ORDER = [
    *(("bricks", None, {}), ("parent", "chunks", {}), ("audit", None, {})),
    *(("cutouts", "chunks", {}), ("known", None, {}), ("sample", None, {})),
    *(("sample_report", None, {}), ("train", "resnet", {}), ("assess", "resnet", {})),
    *(("activations", "resnet", {}), ("records", "chunks", {}), ("scores", "chunks", {})),
    *(("chunk_mosaics", "chunks", {}), ("candidates", None, {}), ("sky_map", None, {})),
    *(("mosaics", None, {}), ("checks", None, {}), ("evaluate", None, {})),
    *(("recovery", None, {}), ("purity", None, {}), ("paint", None, {}), ("realism", None, {})),
    *(("selection", None, {}), ("expected", None, {}), ("mine", None, {})),
    *(("brick_cutouts", "0103p000", {}), ("brick_scores", "0103p000", {})),
    *(("brick_mosaic", "0103p000", {}), ("summary", None, {})),
    *(("sweep_trial", "000", {}), ("sweep_trial", "001", {}), ("sweep", None, {})),
    ("ensemble", None, ENSEMBLE | {"training": CONFIG["training"] | {"name": "both"}}),
    ("discard", "chunks", {"keep": "scores"}),
]


class Watch:
    """Notes the files of the run that are asked for, and the settings that are read."""

    def __init__(self):
        self.files, self.settings, self.on = set(), set(), False
        self._names, self._kept = {}, []
        sys.addaudithook(self._audit)
        self._stat, self._read = os.stat, Section.__getattribute__

    @contextlib.contextmanager
    def watching(self):
        self.files.clear(), self.settings.clear()
        watch, stat, read = self, self._stat, self._read

        def watched_stat(path, *args, **kwargs):
            watch._ask(path)
            return stat(path, *args, **kwargs)

        def watched_read(section, name):
            value = read(section, name)
            if watch.on and name in type(section).model_fields:
                watch._note(section, name, value)
            return value

        os.stat, Section.__getattribute__, self.on = watched_stat, watched_read, True
        try:
            yield
        finally:
            os.stat, Section.__getattribute__, self.on = stat, read, False

    def _audit(self, event, args):
        if self.on and event == "open" and isinstance(args[0], str | os.PathLike):
            self._ask(args[0])
        if self.on and event in ("os.scandir", "os.listdir") and args[0]:
            self._ask(args[0], "/")

    def _ask(self, path, end=""):
        if isinstance(path, str | os.PathLike):
            self.files.add(os.path.relpath(path) + end)

    def _note(self, section, name, value):
        path = name
        if type(section).__name__ != "Settings":
            if id(section) not in self._names:
                return  # no part of the settings, such as a catalogue that a stage makes up
            path = f"{self._names[id(section)]}.{name}"
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            if isinstance(each, Section):
                self._names[id(each)] = path
                self._kept.append(each)  # so that no other object gets its id
        frame = sys._getframe(2)
        while any(part in frame.f_code.co_filename for part in PASSED_ON):
            frame = frame.f_back
        where = Path(frame.f_code.co_filename).stem, frame.f_code.co_name
        of_job = where[0] == "progress" or str(SCRIPTS) in frame.f_code.co_filename
        if not of_job and where[1] not in IGNORED and not isinstance(value, Section):
            self.settings.add(path)


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of the run, with what comes before the first stage."""
    folder = tmp_path_factory.mktemp("run")
    with contextlib.chdir(folder):
        settings = load_settings(CONFIG)
        write_sky(_sky_paths(settings))
        Path("published.csv").write_text("ra,dec,grade\n10.1,0.01,A\n10.6,0.02,B\n50,20,C\n")
        load_plan(settings)
    return folder


def _sky_paths(settings):
    from lenspipe.paths import SkyPaths

    paths = SkyPaths(settings.paths.sky)
    paths.tree.mkdir(parents=True)
    return paths


def _names(settings, product, stage, name):
    """Names of the units of a product that a stage reads."""
    if product.per == "run":
        return [None]
    if product.per == stage.per:
        return [name]
    plan = load_plan(settings)
    if product.per == "chunk":
        return [plan.find(name)[0]] if stage.per == "brick" else sorted(plan)
    if product.per == "trial":
        return [f"{number:03d}" for number in range(settings.sweep.n_trials)]
    return settings.models if product.per == "model" else []


def files_of(settings, key, stage, name):
    """Files that are there where a product is: those that Snakemake looks at, and all of them."""
    product = PRODUCTS[key]
    declared, patterns = [], []
    for unit in _names(settings, product, stage, name):
        paths = product.paths(settings, *([unit] if unit else []))
        declared += paths
        if not paths:
            continue
        bricks = [e["brick"] for e in load_plan(settings)[unit]] if product.per == "chunk" else [""]
        patterns += [p.format(name=unit, brick=brick) for p in product.beside for brick in bricks]
    for part in product.among:
        patterns += files_of(settings, part, stage, name)[1]
    return declared, patterns


def _inputs(settings, stage, name):
    declared, patterns = [], []
    for key in ("plan", *stage.inputs, *stage.waits_for):
        more = files_of(settings, key, stage, name)
        declared, patterns = declared + more[0], patterns + more[1]
    found = {Path(path) for path in declared}
    for pattern in set(patterns):
        found |= {path for path in RUN.glob(pattern) if path.is_file()}
    return declared, found


def _updated(run, settings, key, stage, name):
    with contextlib.chdir(run):
        return files_of(settings, key, stage, name)[0]


def _link(paths, start, end):
    for path in paths:
        (end / path).parent.mkdir(parents=True, exist_ok=True)
        if not (end / path).exists():
            shutil.copy2(start / path, end / path)


def run_stage(watch, run, folder, rule, name, changes):
    """Run a stage where its inputs are alone, and give what it left back to the run."""
    stage = STAGES[rule]
    with contextlib.chdir(run):
        settings = load_settings(CONFIG | changes)
        declared, inputs = _inputs(settings, stage, name)
        missing = [str(path) for path in declared if not path.exists()]
        assert not missing, f"{rule}: no stage has made {missing}"
        before = {str(p) for p in RUN.rglob("*")} | {"published.csv"}
    _link(inputs, run, folder)
    job = SimpleNamespace(
        rule=rule, config=CONFIG | changes, log=[], threads=1, input=[], output=[],
        params=SimpleNamespace(),
        wildcards=SimpleNamespace(**({} if name is None else {stage.per: name})),
    )  # fmt: skip
    begin = time.process_time()
    with contextlib.chdir(folder):
        try:
            with watch.watching():
                runpy.run_path(str(SCRIPTS / f"{rule}.py"), {"snakemake": job})
        except SystemExit:
            pytest.fail(f"{rule} {name or ''}: failed with only its inputs; see the log")
        left = {path for path in RUN.rglob("*") if path.is_file()}
        promised = [p for key in stage.outputs for p in files_of(settings, key, stage, name)[0]]
        absent = [str(path) for path in promised if not path.exists()]
    print(f"{rule} {name or ''}: {time.process_time() - begin:.1f} s")
    assert not absent, f"{rule}: promised, but did not leave {absent}"
    updated = {str(p) for key in stage.updates for p in _updated(run, settings, key, stage, name)}
    asked = {path for path in watch.files if path in before and Path(path) not in inputs}
    asked -= updated
    asked = {path for path in asked if not (run / path).is_dir()}
    made = {str(path) for path in left - inputs}
    # A folder that is listed, and holds more than the stage was given.
    listed = {path[:-1] for path in watch.files if path.endswith("/")}
    for path in before:
        if os.path.dirname(path) in listed and not (run / path).is_dir():
            asked |= {path} - {str(p) for p in inputs}
    for path in left - inputs:
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / path, run / path)
    for path in inputs:  # what it has deleted, or changed
        if path not in left and RUN in path.parents and (run / path).exists():
            (run / path).unlink()
    return asked - made, _unnamed(rule, watch.settings)


def _below(key, keys):
    return any(key == other or key.startswith(f"{other}.") for other in keys)


def _unnamed(rule, read):
    """Settings that a stage reads and that neither it nor a stage before it names."""
    own = (*STAGES[rule].settings, *STAGES[rule].sources)
    named = {*own, *WITHOUT_CONSEQUENCE, *OF_TRIALS.get(rule, ())}
    for product in (*STAGES[rule].inputs, *STAGES[rule].waits_for):
        named |= {*PRODUCTS[product].chosen_by}
    for key in own:
        named |= {*PROPERTIES.get(key, ())}
    for stage in upstream(rule):
        named |= {*STAGES[stage].settings, *STAGES[stage].sources}
    return {key for key in read if not _below(key, named)}


@pytest.mark.parametrize(
    ("rule", "name", "changes"), ORDER, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_stage_reads_its_inputs_and_settings_only(watch, run, tmp_path, rule, name, changes):
    names = [name]
    if name == "chunks":
        with contextlib.chdir(run):
            names = sorted(load_plan(load_settings(CONFIG)))
    if rule == "ensemble":
        _as_members(run)
    files, settings = set(), set()
    for number, name in enumerate(names):
        more = run_stage(watch, run, tmp_path / str(number), rule, name, changes)
        files, settings = files | more[0], settings | more[1]
    if rule not in DESCRIBES_ALL:
        assert not files, f"{rule} looks at files that are not among its inputs: {sorted(files)}"
    assert not settings, f"{rule} reads settings that the table does not name: {sorted(settings)}"


def _as_members(run):
    for name in ("one", "two"):
        folder = run / RUN / "models" / name
        shutil.copytree(run / RUN / "models" / "resnet", folder)


def test_every_rule_of_the_table_is_tried():
    without_rule = {"plan", "proposal", "simulate"}
    assert {rule for rule, _, _ in ORDER} | without_rule == set(STAGES)


def test_parameters_cover_what_the_table_names_and_nothing_else():
    one = load_settings(CONFIG)
    assert stage_parameters("chunk_mosaics", one) != stage_parameters("mosaics", one)
    other = load_settings(CONFIG | {"mosaics": CONFIG["mosaics"] | {"sort": "name"}})
    assert stage_parameters("chunk_mosaics", other) == stage_parameters("chunk_mosaics", one)
    assert stage_parameters("mosaics", other) != stage_parameters("mosaics", one)
    assert stage_parameters("assess", other) == stage_parameters("assess", one)
