"""The galaxies of a round: chosen by score, disagreement and diversity."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from astropy.io import fits

from lenspipe.config.learning import Round
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.activations import features
from lenspipe.products.cutouts import write_cutouts
from lenspipe.products.files import require, write_json
from lenspipe.products.plan import read_plan
from lenspipe.products.tables import read_table
from lenspipe.sample.grading_lists import write_for_grading
from lenspipe.sample.mining import highest, unknown_galaxies
from lenspipe.scoring.score import load_model_for_run
from lenspipe.statistics.choice import choose_diverse, disagreement, share_out
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log, track

__all__ = [
    "begin_round",
    "choose_galaxies",
    "cutouts_of_round",
    "features_of_galaxies",
    "member_columns",
    "rounds_of",
]

#: Cutouts whose features are computed at once.
_BATCH = 256


def rounds_of(paths: RunPaths) -> list[int]:
    """Numbers of the rounds of a run, in order."""
    names = [path.parent.name for path in paths.root.glob("rounds/*/round.json")]
    return sorted(int(name) for name in names if name.isdigit())


def cutouts_of_round(paths: RunPaths, number: int) -> Path:
    """Cutouts of a round's galaxies, to be graded in the browser."""
    return paths.round(number, f"{paths.root.name}-round-{number}.fits")


def begin_round(settings: Settings, number: int) -> dict:
    """Choose the galaxies of a round and write them, to be graded.

    Writes below ``rounds/<number>/``: ``list.csv`` with its pages, the cutouts and, last,
    ``round.json``, whose content is returned.

    Raises
    ------
    LenspipeError
        Scores, sample or cutouts are missing, or no galaxy is left.
    """
    paths = settings.paths
    cutouts = CutoutFiles.of(settings)

    chosen, n_searched = choose_galaxies(
        settings, number, lambda table: features_of_galaxies(settings, table)
    )
    if chosen.empty:
        raise LenspipeError(
            f"{paths.root}: found no galaxy to look at, expected some that no sample or list "
            "contains; search a larger footprint"
        )
    path = paths.round(number, "list.csv")
    description = f"round {number}"
    write_for_grading(
        chosen, path, cutouts, settings.mosaics, settings.run, description, columns=["chosen_by"]
    )
    images, catalog = cutouts.read(chosen)
    header = fits.Header()
    header["BANDS"], header["RELEASE"] = "".join(cutouts.bands), cutouts.release.name
    header["BUNIT"] = "nanomaggy"
    write_cutouts(cutouts_of_round(paths, number), images, catalog, header)
    record = {
        "round": number,
        "network": settings.training.name if settings.trains else settings.inference.model,
        "n_searched": n_searched,
        "n_chosen": len(chosen),
        "chosen": {
            way: int((chosen["chosen_by"] == way).sum())
            for way in ("score", "disagreement", "diversity")
        },
        "finished": False,
    }
    write_json(paths.round(number, "round.json"), record)
    return record


def features_of_galaxies(settings: Settings, table: pd.DataFrame) -> np.ndarray:
    """Features of some galaxies, (N, K), from the network of a run, the first of an ensemble."""
    cutouts = CutoutFiles.of(settings)
    model = load_model_for_run(settings.model_path, cutouts.bands, settings.cutouts.size)
    # Each brick's file is read once.
    order = np.argsort(table["brick"].to_numpy(str), kind="stable")
    starts = range(0, len(order), _BATCH)
    parts = [
        features(model, cutouts.read(table.iloc[order[start : start + _BATCH]])[0])
        for start in track(starts, "features: batches")
    ]
    return np.concatenate(parts)[np.argsort(order)]


def choose_galaxies(
    settings: Settings, number: int, features_of: Callable[[pd.DataFrame], np.ndarray]
) -> tuple[pd.DataFrame, int]:
    """Choose the galaxies of a round from the scores, read one chunk after the other.

    First those with the highest scores, then those of the rest on which the members disagree most,
    then those of the preselected that differ most from all of these and from each other.

    Parameters
    ----------
    number
        Of the round; the galaxies of other rounds are left out.
    features_of
        Features, (N, K), of galaxies with id and brick.

    Returns
    -------
    chosen
        Columns id, brick, ra, dec, p and chosen_by: score, disagreement or diversity.
    n_searched
        Number of galaxies among which they were chosen.
    """
    section = settings.round
    members = member_columns(settings)
    by_score, by_disagreement, by_diversity = _shares(section, members)
    n_preselected = section.preselected * section.number
    n_best = by_score + by_disagreement + n_preselected
    n_split = by_score + by_disagreement if by_disagreement else 0
    best, split, n_searched = _read_foremost(settings, number, members, n_best, n_split)
    if best.empty:
        return best, n_searched
    chosen = best[:by_score].assign(chosen_by="score")
    if by_disagreement:
        rest = split[~split["id"].isin(chosen["id"])][:by_disagreement]
        chosen = pd.concat([chosen, rest.assign(chosen_by="disagreement")])
    if by_diversity:
        others = best[~best["id"].isin(chosen["id"])][:n_preselected]
        table = pd.concat([chosen, others], ignore_index=True)
        rows = choose_diverse(features_of(table), by_diversity, np.arange(len(chosen)))
        chosen = pd.concat([chosen, table.iloc[rows].assign(chosen_by="diversity")])
    log.info(
        "round %d: %s",
        number, ", ".join(f"{n} by {way}" for way, n in chosen["chosen_by"].value_counts().items()),
    )  # fmt: skip
    columns = ["id", "brick", "ra", "dec", "p", "chosen_by"]
    return chosen[columns].reset_index(drop=True), n_searched


def _read_foremost(
    settings: Settings, number: int, members: list[str], n_best: int, n_split: int
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Read the scores of galaxies that no sample, list or other round has.

    Return the `n_best` with the highest scores, the `n_split` on which the members disagree most,
    and how many were read.
    """
    best, split, n_searched = pd.DataFrame(), pd.DataFrame(), 0
    for galaxies in unknown_galaxies(
        settings,
        f"round {number}",
        _chosen_in_other_rounds(settings.paths, number),
        members,
        everywhere=not settings.trains,
    ):
        n_searched += len(galaxies)
        best = highest(_with_rows(best, galaxies), n_best)
        if n_split:
            galaxies = galaxies.assign(disagreement=disagreement(galaxies[members].to_numpy()))
            split = highest(_with_rows(split, galaxies), n_split, "disagreement")
    return best, split, n_searched


def _chosen_in_other_rounds(paths: RunPaths, number: int) -> set[str]:
    lists = [paths.round(other, "list.csv") for other in rounds_of(paths) if other != number]
    return {id_ for path in lists for id_ in read_table(path, "round_list")["id"]}


def _with_rows(*tables: pd.DataFrame) -> list[pd.DataFrame]:
    return [table for table in tables if len(table)]


def member_columns(settings: Settings) -> list[str]:
    """Columns of the scores with the probabilities of an ensemble's members; none of a network."""
    chunk = next(iter(read_plan(settings.paths.plan)))
    names = pq.read_schema(require(settings.paths.scores(chunk), "scores")).names
    # The last before p is that of the model itself.
    return [name for name in names[: names.index("p")] if name.startswith("p_")][:-1]


def _shares(section: Round, members: Sequence[str]) -> list[int]:
    """Numbers by score, disagreement and diversity; without members the first two are one."""
    score, committee, diversity = section.fractions.values()
    if not members and committee:
        log.info("round: one network, so that no members disagree; score decides in their place")
        score, committee = score + committee, 0.0
    return share_out(section.number, (score, committee, diversity))
