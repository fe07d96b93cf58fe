"""Each stage, run in a folder that holds nothing but its inputs.

Stages run once each, in the order of the workflow: the inputs are copied into an empty folder, the
rule's script runs there, and its files go back to the run. Three things are compared with
`lenspipe.config.stages`: files of the run that a stage opens or looks for, settings that it reads,
and files that it promises.
"""

import contextlib
import graphlib
import os
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.stages import upstream
from helpers.tiny_sky import write_sky

from lenspipe.config.base import Section
from lenspipe.config.paths import SkyPaths
from lenspipe.config.settings import load_settings
from lenspipe.config.stages import PROPERTIES, STAGE_FILES, STAGES
from lenspipe.footprint.plan import load_plan

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
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
    "evaluation": {"stamps": 40},
    "selection": {"number": 150, "arc_mag_range": [19.5, 22.5]},
}  # fmt: skip
#: Settings that change no output: names, places, speed, memory, the log, and what a failed brick
#: means; an input holds what else they say.
WITHOUT_CONSEQUENCE = {"run", "retrieval", "failures", "inference.batch_size", "keep"}
#: Parameters of a trial are its own; the sweep says which they are.
OF_TRIALS = {"sweep_trial": {"sweep", "ensemble.members"}, "sweep": {"ensemble.members"}}
#: Stages that describe all files of the run as they are.
DESCRIBES_THE_RUN = {"summary"}
#: Places of code that only passes a setting on, and functions whose reading does not count: whether
#: anything is fetched over HTTP.
PASSED_ON = ("/pydantic/", "/lenspipe/config/", __file__)
IGNORED = {"open_source"}
TRAINING = CONFIG["training"] | {"name": "both"}
ENSEMBLE = {"sweep": {}, "training": TRAINING,
            "ensemble": {"members": {"one": {"seed": 1}, "two": {"seed": 2}}}}  # fmt: skip
#: Stages without a rule, and one without inputs.
NOT_RUN = {"plan", "proposal", "simulate"}
#: Stages that describe or change what others have made.
LAST = ("summary", "page", "sweep_trial", "sweep", "ensemble", "discard")
NAMES = {
    "run": [None], "chunk": ["chunks"], "brick": ["0103p000"], "model": ["resnet"],
    "trial": ["000", "001"],
}  # fmt: skip
CHANGES = {"ensemble": ENSEMBLE, "discard": {"keep": "scores"}}


def in_order():
    """Stages with the name of what each runs for, after those whose files it reads or updates."""
    makers = {files: name for name, stage in STAGES.items() for files in stage.outputs}
    # Sorted, so that all processes of the tests have the same order.
    before = {
        name: sorted({*upstream(name), *map(makers.get, stage.updates)} - {name, *NOT_RUN, *LAST})
        for name, stage in STAGES.items()
        if name not in (*NOT_RUN, *LAST)
    }
    for name in (*graphlib.TopologicalSorter(before).static_order(), *LAST):
        yield from [(name, each, CHANGES.get(name, {})) for each in NAMES[STAGES[name].per]]


ORDER = list(in_order())


class Watch:
    """Records the files of the run that are looked for, and the settings that are read."""

    def __init__(self):
        self.files, self.settings, self.on = set(), set(), False
        self._names, self._sections = {}, []
        self._stat, self._read = os.stat, Section.__getattribute__
        sys.addaudithook(self._audit)

    @contextlib.contextmanager
    def watching(self):
        self.files.clear()
        self.settings.clear()
        watch, stat, read = self, self._stat, self._read

        def watched_stat(path, *args, **kwargs):
            watch._look(path)
            return stat(path, *args, **kwargs)

        def watched_read(section, name):
            value = read(section, name)
            if watch.on and name in type(section).model_fields:
                watch._record(section, name, value)
            return value

        os.stat, Section.__getattribute__, self.on = watched_stat, watched_read, True
        try:
            yield
        finally:
            os.stat, Section.__getattribute__, self.on = stat, read, False

    def _audit(self, event, args):
        if self.on and event in ("open", "os.scandir", "os.listdir") and args[0]:
            self._look(args[0], end="" if event == "open" else "/")

    def _look(self, path, end=""):
        if isinstance(path, str | os.PathLike):
            self.files.add(os.path.relpath(path) + end)

    def _record(self, section, name, value):
        """Note a setting by its full name, unless the code only passes it on."""
        key = name
        if type(section).__name__ != "Settings":
            if id(section) not in self._names:
                return  # not part of the settings, such as a catalogue that a stage makes up
            key = f"{self._names[id(section)]}.{name}"
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Section):
                self._names[id(each)] = key
                self._sections.append(each)  # kept, so that no other object gets its id
        frame = sys._getframe(2)
        while any(place in frame.f_code.co_filename for place in PASSED_ON):
            frame = frame.f_back
        file, function = Path(frame.f_code.co_filename), frame.f_code.co_name
        passes_on = file.parent == SCRIPTS or file.parts[-2:] == ("cli", "job.py")
        if not passes_on and function not in IGNORED and not isinstance(value, Section):
            self.settings.add(key)


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of the run, with what exists before the first stage."""
    folder = tmp_path_factory.mktemp("run")
    with contextlib.chdir(folder):
        settings = load_settings(CONFIG)
        paths = SkyPaths(settings.paths.sky)
        paths.tree.mkdir(parents=True)
        write_sky(paths)
        Path("published.csv").write_text("ra,dec,grade\n10.1,0.01,A\n10.6,0.02,B\n50,20,C\n")
        load_plan(settings)
    return folder


def units(settings, files, stage, name):
    """Names of the chunks, bricks, models or trials whose files a stage reads."""
    if files.per == "run":
        return [None]
    if files.per == stage.per:
        return [name]
    plan = load_plan(settings)
    if files.per == "chunk":
        return [plan.find(name)[0]] if stage.per == "brick" else sorted(plan)
    if files.per == "trial":
        return [f"{number:03d}" for number in range(settings.sweep.n_trials)]
    return settings.models if files.per == "model" else []


def declared_files(settings, key, stage, name):
    """Paths of files of the table, and patterns of all that is complete where they are."""
    files = STAGE_FILES[key]
    paths, patterns = [], []
    for unit in units(settings, files, stage, name):
        found = files.paths(settings, *([unit] if unit else []))
        paths += found
        bricks = [""]
        if files.per == "chunk":
            bricks = [entry["brick"] for entry in load_plan(settings)[unit]]
        if found:
            patterns += [p.format(name=unit, brick=b) for p in files.beside for b in bricks]
    for covered in files.covers if paths else ():
        more, further = declared_files(settings, covered, stage, name)
        patterns += [*further, *(str(path.relative_to(RUN)) for path in more)]
    return paths, patterns


def run_stage(watch, run, folder, rule, name, changes):
    """Run a stage on its inputs alone; return undeclared files and settings that it looked at."""
    stage = STAGES[rule]
    with contextlib.chdir(run):
        settings = load_settings(CONFIG | changes)
        inputs, patterns = [], []
        for key in ("plan", *stage.inputs, *stage.waits_for):
            more, further = declared_files(settings, key, stage, name)
            inputs, patterns = inputs + more, patterns + further
        missing = [str(path) for path in inputs if not path.exists()]
        assert not missing, f"{rule}: no stage has made {missing}"
        inputs = {*inputs, *(path for p in set(patterns) for path in RUN.glob(p) if path.is_file())}
        before = {str(path) for path in RUN.rglob("*") if path.is_file()} | {"published.csv"}
        updated = {
            str(p) for key in stage.updates for p in declared_files(settings, key, stage, name)[0]
        }
    copy(inputs, run, folder)
    job = SimpleNamespace(
        rule=rule, config=CONFIG | changes, log=[], threads=1, input=[], output=[],
        params=SimpleNamespace(),
        wildcards={} if name is None else {stage.per: name},
    )  # fmt: skip
    with contextlib.chdir(folder):
        try:
            with watch.watching():
                runpy.run_path(str(SCRIPTS / "stage.py"), {"snakemake": job})
        except SystemExit:
            pytest.fail(f"{rule} {name or ''}: failed with only its inputs; see the log")
        left = {path for path in RUN.rglob("*") if path.is_file()}
        promised = [p for k in stage.outputs for p in declared_files(settings, k, stage, name)[0]]
        absent = [str(path) for path in promised if not path.exists()]
    assert not absent, f"{rule}: did not leave {absent}"
    allowed = {str(path) for path in inputs | left} | updated
    listed = {path[:-1] for path in watch.files if path.endswith("/")}
    asked = {path for path in before if path in watch.files or os.path.dirname(path) in listed}
    copy(left - inputs, folder, run)
    for path in inputs - left:
        (run / path).unlink(missing_ok=True)
    return asked - allowed, undeclared_settings(rule, watch.settings)


def copy(paths, start, end):
    for path in paths:
        (end / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(start / path, end / path)


def undeclared_settings(rule, read):
    """Settings that a stage reads and that neither it nor a stage before it names."""
    keys = {*STAGES[rule].settings, *STAGES[rule].sources}
    # Which cutouts were deleted changes no result, whatever the pages look like.
    for stage in upstream(rule) - {"discard"}:
        keys |= {*STAGES[stage].settings, *STAGES[stage].sources}
    keys |= {key for name in keys for key in PROPERTIES.get(name, ())}
    for files in (*STAGES[rule].inputs, *STAGES[rule].waits_for):
        keys |= {*STAGE_FILES[files].chosen_by}
    keys |= WITHOUT_CONSEQUENCE | OF_TRIALS.get(rule, set())
    return {key for key in read if not any(f"{key}.".startswith(f"{name}.") for name in keys)}


@pytest.mark.parametrize(
    ("rule", "name", "changes"), ORDER, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_stage_reads_only_its_inputs_and_settings(watch, run, tmp_path, rule, name, changes):
    names = [name]
    if name == "chunks":
        with contextlib.chdir(run):
            names = sorted(load_plan(load_settings(CONFIG)))
    if rule == "ensemble":
        for member in ("one", "two"):
            shutil.copytree(run / RUN / "models" / "resnet", run / RUN / "models" / member)
    files, settings = set(), set()
    for number, unit in enumerate(names):
        more = run_stage(watch, run, tmp_path / str(number), rule, unit, changes)
        files, settings = files | more[0], settings | more[1]
    if rule not in DESCRIBES_THE_RUN:
        assert not files, f"{rule} looks at files that are not among its inputs: {sorted(files)}"
    assert not settings, f"{rule} reads settings that the table does not name: {sorted(settings)}"


def test_every_stage_is_run():
    assert {rule for rule, _, _ in ORDER} | NOT_RUN == set(STAGES)
