"""The end of a round: its grades, the next network, and whether to keep that."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings, load_settings
from lenspipe.inspection.grades import export_grades
from lenspipe.inspection.store import Store
from lenspipe.products.files import read_json, require, write_json
from lenspipe.products.grades import read_grades
from lenspipe.products.tables import read_table
from lenspipe.rounds.begin import cutouts_of_round, rounds_of
from lenspipe.rounds.comparison import compare_networks
from lenspipe.statistics.intervals import format_percent
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log

__all__ = ["decide", "finish_round", "grades_of_round", "next_settings", "summarise_grades"]

#: Votes that took longer were given after a pause, and count as long as this, seconds.
_LONGEST_VOTE_S = 120.0


def grades_of_round(paths: RunPaths, number: int) -> tuple[Path, pd.DataFrame, dict[str, Any]]:
    """Grades of a round's galaxies: those from the browser, if there are any, or of its list.

    Returns
    -------
    path
        File of the grades, for ``sample.graded``.
    grades
        Columns id, chosen_by and grade (empty where there is none), a row for each of the list.
    work
        n_graders, n_votes and graders_hours of the votes in the browser; None for a list.
    """
    chosen = read_table(require(paths.round(number, "list.csv"), "round_list"), "round_list")
    path, work = paths.round(number, "list.csv"), dict.fromkeys(_WORK)
    own = RunPaths(cutouts_of_round(paths, number).stem, paths.root.parent)
    if own.inspection().exists():
        with contextlib.closing(Store(own.inspection(), create=False)) as store:
            votes = pd.DataFrame(store.votes(), columns=["grader", "grade", "seconds"])
            if len(votes):
                export_grades(own, store)
        if len(votes):
            path = own.inspection("grades.csv")
            seconds = votes["seconds"].fillna(0).clip(upper=_LONGEST_VOTE_S)
            work = {
                "n_graders": int(votes["grader"].nunique()),
                "n_votes": len(votes),
                "graders_hours": float(seconds.sum() / 3600),
            }
    given = read_grades(path)
    given = given[given["id"] != ""].drop_duplicates("id").set_index("id")["grade"]
    grades = chosen[["id", "chosen_by"]].assign(grade=chosen["id"].map(given).fillna(""))
    return path, grades, work


_WORK = ("n_graders", "n_votes", "graders_hours")


def summarise_grades(grades: pd.DataFrame) -> dict[str, Any]:
    """Numbers of each grade, and lenses (A to C) found per 1,000 graded, of all and of each way."""
    graded = grades[grades["grade"] != ""]
    lens = graded["grade"].isin(["A", "B", "C"])
    per_1000 = (1000 * lens.groupby(graded["chosen_by"]).mean()).to_dict()
    return {
        "n_graded": len(graded),
        "grades": {grade: int((graded["grade"] == grade).sum()) for grade in "ABCD"},
        "n_lenses_found": int(lens.sum()),
        "yield_per_1000": 1000 * float(lens.mean()) if len(graded) else None,
        "yield_per_1000_by": {
            way: per_1000.get(way) for way in ("score", "disagreement", "diversity")
        },
    }


def next_settings(settings: Settings, number: int, graded: Sequence[Path]) -> Settings:
    """Settings of the network that learns from the grades of all rounds, beside the one before.

    The network, or each of an ensemble, gets a name of its own: ``resnet_round_2``.
    """
    config = settings.model_dump(mode="json")
    paths = [*config["sample"]["graded"], *map(str, graded)]
    config["sample"]["graded"] = list(dict.fromkeys(paths))
    config["inference"]["model"] = None
    config["training"]["name"] = _name(settings.training.name, number)
    config["ensemble"]["members"] = {
        _name(name, number): changes for name, changes in config["ensemble"]["members"].items()
    }
    return load_settings(config)


def finish_round(
    settings: Settings, number: int, snakemake: Sequence[str], keep: bool = False
) -> dict[str, Any]:
    """Train a network with the grades of a round, compare it with the one before, and decide.

    The workflow draws the next sample and trains; nothing is scored. If the network is kept,
    ``config.yaml`` of the run names it from then on; if not, that stays as it was. Writes
    ``rounds/<number>/config.yaml`` and ``round.json``, whose content is returned.

    Parameters
    ----------
    snakemake
        Arguments for Snakemake, such as ``--cores 2``.
    keep
        Whether to keep a network that recovers less.

    Raises
    ------
    LenspipeError
        Nothing has been graded, the configuration cannot be trained with, or Snakemake failed.
    """
    paths = settings.paths
    record = read_json(paths.round(number, "round.json"), "round")
    path, grades, work = grades_of_round(paths, number)
    record |= summarise_grades(grades) | work
    filled = paths.round(number, "list.csv")
    if path != filled and (n_filled := int((read_grades(filled)["grade"] != "").sum())):
        log.warning(
            "round %d: %d grades in %s do not count, since there are votes: %s",
            number, n_filled, filled, path,
        )  # fmt: skip
    if not record["n_graded"]:
        raise LenspipeError(
            f"{path}: found no grade, expected some of A to D; grade the galaxies of round {number}"
        )
    # Grades of a round whose network was not kept count as well.
    earlier = [grades_of_round(paths, n)[0] for n in rounds_of(paths) if n < number]
    changed = next_settings(settings, number, [*earlier, path])
    config = paths.round(number, "config.yaml")
    text = yaml.safe_dump(changed.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with atomic(config) as temporary:
        temporary.write_text(text)
    # The workflow notes its settings in the folder of the run.
    noted = paths.config.read_bytes() if paths.config.exists() else None
    try:
        _train(changed, config, snakemake)
        compared = compare_networks(settings.model_path, changed)
        record |= {"trained": changed.training.name} | (compared or {"held_out": None})
        record |= {"kept": decide(record, keep), "finished": True}
    finally:
        if noted is not None and not record.get("kept"):
            with atomic(paths.config) as temporary:
                temporary.write_bytes(noted)
    write_json(paths.round(number, "round.json"), record)
    log.info("%s", describe(record))
    return record


def decide(record: dict[str, Any], keep: bool) -> bool:
    """Whether to keep a network: unless its recovery is lower, or, without one, its AUC."""
    gain = record.get("gain")
    gain = record.get("gain_auc") if gain is None else gain
    return keep or gain is None or gain >= 0


def describe(record: dict[str, Any]) -> str:
    """Say in one line whether to keep a round's network, and why."""
    verdict = f"round {record['round']}: {'keep' if record['kept'] else 'do not keep'} " + (
        f"{record['trained']}: "
    )
    if record.get("gain") is not None:
        return verdict + (
            f"recovery of {record['n_lenses']} held-out lenses at "
            f"{100 * record['false_positive_rate']:g} % false positives "
            f"{format_percent(record, 'recovery_before')} before, "
            f"{format_percent(record, 'recovery_after')} now; difference "
            f"{format_percent(record, 'gain')}"
        )
    if record.get("gain_auc") is not None:
        return verdict + (
            "too few held-out non-lenses for the recovery; difference in AUC "
            f"{record['gain_auc']:+.4f}"
        )
    return verdict + "there is no held-out sky to compare it on"


def _name(name: str, number: int) -> str:
    return f"{re.sub(r'_round_[0-9]+$', '', name)}_round_{number}"


def _train(settings: Settings, config: Path, snakemake: Sequence[str]) -> None:
    """Let the workflow make the network of a configuration, and its scores of held-out galaxies."""
    if not Path("Snakefile").is_file():
        raise LenspipeError(
            "Snakefile: no such file, expected that of lenspipe; run this in its folder, where the "
            "run was made"
        )
    paths = settings.paths
    target = paths.model(settings.training.name, "predictions.parquet")
    command = [sys.executable, "-m", "snakemake", str(target), "--configfile", str(config)]
    # In a folder that was copied, Snakemake does not know that the lists of grades have changed.
    command += ["--forcerun", str(paths.lenses), str(paths.root / "basis" / "sample.json")]
    status = subprocess.run([*command, *snakemake], check=False).returncode
    if status:
        raise LenspipeError(
            f"snakemake {target}: ended with status {status}; correct what it reports above, and "
            "run this again"
        )
