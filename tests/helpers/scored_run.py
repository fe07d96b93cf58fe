"""A small run as the steps up to scoring would leave it, drawn with numpy alone."""

import functools

import pytest
from helpers.written import drawn, write_files

from lenspipe.candidates.find import find_candidates
from lenspipe.catalogs.known_lenses import merge_known
from lenspipe.config.runs import note_settings
from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.runs.example import (
    BRICKS,
    CHUNK,
    draw_galaxies,
    is_lens,
    write_cutouts,
    write_scored_run,
)

__all__ = [
    "BRICKS",
    "CHUNK",
    "TRAINING_BRICKS",
    "draw_galaxies",
    "is_lens",
    "make_run",
    "make_searched_run",
    "make_settings",
    "write_cutouts",
    "write_plan",
    "write_table",
]

TRAINING_BRICKS = BRICKS[:2]


def make_settings(**sections):
    config = {
        "run": "tiny",
        "simulation": {},
        "footprint": {"bricks": BRICKS},
        "chunks": {"nside": 4},
        "mosaics": {"columns": 4, "rows": 2, "brick_tiles": 6},
        "cutouts": {"size": 41},
    }
    return load_settings(config | sections)


def make_run(settings, per_brick=30):
    """Write what `write_scored_run` does; return the scores."""
    files, scores = drawn(_draw_run, settings.cutouts.size, settings.training.name, per_brick)
    write_files(settings.paths.root, files)
    merge_known(settings)
    return scores.copy()


def _draw_run(folder, size, model, per_brick):
    settings = make_settings(cutouts={"size": size}, training={"name": model}).at(folder)
    scores = write_scored_run(settings, per_brick)
    return settings.paths.root, scores


def make_searched_run(folder, **candidates):
    """Write results/demo of a folder up to its candidates; return the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_settings(run="demo", candidates={"threshold": 0.5} | candidates)
        make_run(settings)
        find_candidates(settings)
        note_settings(settings)
    return folder


@functools.cache
def plan_text(settings_json):
    settings = type(make_settings()).model_validate_json(settings_json)
    load_plan(settings)
    return settings.paths.plan.read_text()


def write_plan(settings):
    """Write the plan; making it takes seconds, so it is made once for all tests."""
    settings.paths.plan.write_text(plan_text(settings.model_dump_json()))


def write_table(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
