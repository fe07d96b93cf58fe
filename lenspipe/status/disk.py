"""Disk space that a run needs, estimated before it starts.

The Snakefile calls this: nothing is imported that takes long, and few files are opened.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.products.manifests import read_manifests
from lenspipe.products.plan import Plan

__all__ = ["describe_disk_space"]

#: Galaxies in a brick before any has been cut out: 45 million in 224,000 (arXiv 2206.02764).
_GALAXIES_PER_BRICK = 200

#: Bytes of a galaxy's scores, and of a brick of the simulated sky, measured in the demo.
_BYTES_PER_SCORE, _BYTES_PER_SKY_BRICK = 50, 61e6

#: Bytes of a pixel in records, and in compressed cutouts (7.99 bits, measured in the demo).
_BYTES_PER_RECORD_PIXEL, _BYTES_PER_CUTOUT_PIXEL = 4, 1

#: Number of finished chunks from which the number of galaxies in a brick is estimated.
_N_MEASURED_CHUNKS = 3


def describe_disk_space(settings: Settings, plan: Plan, max_jobs: int) -> tuple[str, str]:
    """Compare the disk space that a run still needs with the free space.

    Cutouts are counted as size x size x bands bytes per galaxy, records as four times that.
    Temporary files
    (records; with ``keep: scores`` the cutouts, unless the run trains its own network on them) are
    counted for the maximum number of jobs at a time. Models, mosaics and the records of the
    labelled sample are not counted. Return a line, empty if all chunks are scored, and a warning if
    that is more than the free space, else empty.
    """
    paths, keep = settings.paths, settings.keep
    done = _stems(paths.manifest("cutouts", "any")) & set(plan)
    scored = _stems(paths.scores("any")) & set(plan)
    bricks = {chunk: plan.count(chunk) for chunk in plan}
    unscored = sum(number for chunk, number in bricks.items() if chunk not in scored)
    if not unscored:
        return "", ""
    galaxies = _galaxies_per_brick(paths, sorted(done))
    pixels_per_brick = galaxies * len(settings.survey.bands) * settings.cutouts.size**2
    cutouts_per_brick = pixels_per_brick * _BYTES_PER_CUTOUT_PIXEL
    records_per_brick = pixels_per_brick * _BYTES_PER_RECORD_PIXEL
    uncut = sum(number for chunk, number in bricks.items() if chunk not in done)
    at_a_time = min(unscored, max_jobs * max(bricks.values()))
    cutouts_are_deleted = keep == "scores" and settings.inference.model
    needs = {
        f"cutouts (keep: {keep}{', at a time' if cutouts_are_deleted else ''})": cutouts_per_brick
        * (min(uncut, at_a_time) if cutouts_are_deleted else uncut),
        f"records{'' if keep == 'all' else ' at a time'}": records_per_brick
        * (unscored if keep == "all" else at_a_time),
        "scores": _BYTES_PER_SCORE * galaxies * unscored,
    }
    if settings.simulation and not paths.sky_manifest.exists():
        needs["the simulated sky"] = _BYTES_PER_SKY_BRICK * sum(bricks.values())
    folder = next(place for place in (paths.root, *paths.root.parents) if place.exists())
    free, total = shutil.disk_usage(folder).free, sum(needs.values())
    parts = ", ".join(f"{_format_bytes(size)} for {name}" for name, size in needs.items())
    line = (
        f"disk: the whole run still needs about {parts}; {_format_bytes(free)} free in "
        f"{folder.resolve()}"
    )
    if total <= free:
        return line, ""
    advice = "search a smaller footprint or make room"
    if keep != "scores":
        advice += ", or delete cutouts once they are scored (config key keep: scores)"
    elif not settings.inference.model:
        advice += (
            ", or train in a separate run and search with its model (inference.model), so that no "
            "sample needs all cutouts at once"
        )
    warning = f"disk: {_format_bytes(total)} may not fit into {_format_bytes(free)}; {advice}"
    return line, warning


def _stems(path: Path) -> set[str]:
    """Names, without suffix, of the files in a path's folder that have its suffix."""
    return {other.stem for other in path.parent.glob(f"*{path.suffix}")}


def _galaxies_per_brick(paths: RunPaths, done: Sequence[str]) -> float:
    """Mean number in finished chunks, or the usual number if there are none."""
    manifests = [paths.manifest("cutouts", chunk) for chunk in done[:_N_MEASURED_CHUNKS]]
    counts = [
        entry["count"]
        for entry in read_manifests(manifests).values()
        if entry["status"] != "failed"
    ]
    return sum(counts) / len(counts) if counts else _GALAXIES_PER_BRICK


def _format_bytes(size: float) -> str:
    """Format a number of bytes; units are powers of 1000."""
    size, units = size / 1e6, ["MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.2g} {units[0]}" if size < 99.5 else f"{size:.0f} {units[0]}"
