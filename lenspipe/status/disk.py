"""What a run will need on disk, before it starts.

Light, as the Snakefile asks: nothing is imported that takes long, and few files are opened.
"""

import shutil

from lenspipe.products.manifests import read_manifests

__all__ = ["disk_lines"]

#: Galaxies in a brick before any has been cut: 45 million in 224,000 (arXiv 2206.02764).
_PER_BRICK = 200

#: Bytes of a galaxy's scores, and of a brick of the simulated sky, as the demo has them.
_SCORE, _SKY = 50, 61e6

#: So many chunks that are done say how many galaxies a brick has.
_LOOKED_AT = 3


def disk_lines(settings, plan, at_once):
    """Say what a run still needs on disk, and what is free there.

    Cutouts and records are counted as size x size x bands x 4 bytes a galaxy. What is deleted on
    the way (records; with ``keep: scores`` the cutouts, if no network of the run's own waits for
    them) is counted for the jobs that may run at once. Models, mosaics and the labelled sample's
    records are not counted.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    plan : lenspipe.products.plan.Plan
    at_once : int
        Most jobs at a time.

    Returns
    -------
    need : str
        A line; empty where all chunks are scored.
    warning : str
        Another one, where that is more than is free; else empty.
    """
    paths, keep = settings.paths, settings.keep
    done = _stems(paths.manifest("cutouts", "any")) & set(plan)
    scored = _stems(paths.scores("any")) & set(plan)
    bricks = {chunk: plan.count(chunk) for chunk in plan}
    unscored = sum(number for chunk, number in bricks.items() if chunk not in scored)
    if not unscored:
        return "", ""
    galaxies = _galaxies_per_brick(settings, sorted(done))
    brick = galaxies * len(settings.survey.bands) * settings.cutouts.size**2 * 4
    uncut = sum(number for chunk, number in bricks.items() if chunk not in done)
    some = min(unscored, at_once * max(bricks.values()))
    deleted = keep == "scores" and settings.inference.model
    cutouts = brick * (min(uncut, some) if deleted else uncut)
    records = brick * (unscored if keep == "all" else some)
    needs = {
        f"cutouts (keep: {keep}{', at a time' if deleted else ''})": cutouts,
        f"records{'' if keep == 'all' else ' at a time'}": records,
        "scores": _SCORE * galaxies * unscored,
    }
    if settings.simulation and not paths.sky_manifest.exists():
        needs["the simulated sky"] = _SKY * sum(bricks.values())
    folder = next(place for place in (paths.root, *paths.root.parents) if place.exists())
    free, total = shutil.disk_usage(folder).free, sum(needs.values())
    parts = ", ".join(f"{_say(size)} for {what}" for what, size in needs.items())
    line = f"disk: the whole run still needs about {parts}; {_say(free)} free in {folder.resolve()}"
    if total <= free:
        return line, ""
    advice = "search a smaller footprint or make room"
    if keep != "scores":
        advice += ", or let the cutouts go once they are scored (config key keep: scores)"
    elif not settings.inference.model:
        advice += (
            ", or train in a run of its own and search with its model (inference.model), so that "
            "no sample waits for all cutouts"
        )
    return line, f"disk: {_say(total)} may not fit into {_say(free)}; {advice}"


def _stems(path):
    """Names, without suffix, of the files beside a path that have its suffix."""
    return {other.stem for other in path.parent.glob(f"*{path.suffix}")}


def _galaxies_per_brick(settings, done):
    """Mean number in bricks that were cut, or what is usual."""
    manifests = [settings.paths.manifest("cutouts", chunk) for chunk in done[:_LOOKED_AT]]
    counts = [
        entry["count"]
        for entry in read_manifests(manifests).values()
        if entry["status"] != "failed"
    ]
    return sum(counts) / len(counts) if counts else _PER_BRICK


def _say(size):
    """Bytes in words; units are powers of 1000."""
    size, units = size / 1e6, ["MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.2g} {units[0]}" if size < 99.5 else f"{size:.0f} {units[0]}"
