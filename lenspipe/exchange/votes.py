"""Grades that were given elsewhere, as votes beside those of the inspection."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.inspection.grades import POINTS
from lenspipe.inspection.store import GRADER_NAME, TAGS, Store
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable

__all__ = ["ForeignVote", "add_foreign_votes", "grader_name", "read_grades"]

#: Stage of the inspection that the votes count for.
_STAGE = 1


@dataclass(frozen=True)
class ForeignVote:
    """A vote that was given elsewhere.

    Attributes
    ----------
    key
        Unique, so that a file that is read twice counts once.
    grader, item, grade, comment, tags
        As in `lenspipe.inspection.store.Store.add_votes`; `item` is the candidate's id.
    seconds
        Time spent on the image; 0 if not known.
    """

    key: str
    grader: str
    item: str
    grade: str
    comment: str = ""
    seconds: float = 0.0
    tags: Sequence[str] = ()


def grader_name(name: str) -> str:
    """Return a name that a grader can have, made from any other.

    Characters that are not allowed become ``-``; a name that changes by that gets four digits of
    its hash, so that two people remain two.

    Examples
    --------
    >>> grader_name("anna")
    'anna'
    >>> grader_name("not logged in")
    'not-logged-in-f18a'
    """
    if GRADER_NAME.fullmatch(name):
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:4]
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:35]
    return f"{clean or 'grader'}-{digits}"


def read_grades(
    table: UserTable, candidates: pd.DataFrame, grader: str, radius_arcsec: float
) -> list[ForeignVote]:
    """Read a table of grades of another project.

    Parameters
    ----------
    table
        With columns ``grade`` (A to D; empty if none was given) and ``id``, ``name`` or ``ra`` and
        ``dec`` (degrees); optionally ``grader``, ``comment`` and ``tags``.
    candidates
        Of the run, indexed by id: name, ra, dec.
    grader
        Name of the grader where the table has no such column.
    radius_arcsec
        Maximum distance of a position from its candidate.

    Returns
    -------
    list of ForeignVote
        Rows that fit no candidate are counted in the log, and tags that are none named.

    Raises
    ------
    LenspipeError
        A column is missing, or a grade is none of A to D.
    """
    table.refuse_broken()
    path = table.path
    column = table.find("grade")
    key = next((name for name in ("id", "name") if table.find(name) is not None), None)
    ra, dec = table.find("ra"), table.find("dec")
    if column is None:
        raise _without_candidates(table)
    grades = table.text(column).str.strip().str.upper()
    if (bad := ~grades.isin([*POINTS, ""])).any():
        raise LenspipeError(
            f"{path}: found grade {grades[bad].iloc[0]!r}, expected one of {', '.join(POINTS)}; "
            "translate the grades of the project into these"
        )
    if key is not None:
        ids = pd.Series(candidates.index, candidates.index if key == "id" else candidates["name"])
        items = table.text(table.find(key)).map(ids[~ids.index.duplicated()])
    elif ra is not None and dec is not None:
        place = table.numbers(ra, "deg"), table.numbers(dec, "deg")
        items = _nearest(candidates, *place, radius_arcsec)
    else:
        raise _without_candidates(table)
    graders = table.text(table.find("grader")) if table.find("grader") is not None else None
    comments, tags = table.text(table.find("comment")), _read_tags(table)
    votes = []
    for row in range(len(table)):
        if not grades.iloc[row] or pd.isna(items.iloc[row]):
            continue
        name = grader_name((graders.iloc[row] if graders is not None else "") or grader)
        item, grade, comment = items.iloc[row], grades.iloc[row], comments.iloc[row]
        content = "\0".join((name, item, grade, comment, *tags[row]))
        digest = hashlib.sha256(content.encode()).hexdigest()[:32]
        key = f"table:{digest}"
        votes.append(ForeignVote(key, name, item, grade, comment, tags=tags[row]))
    if unmatched := int((items.isna() & (grades != "")).sum()):
        log.warning("%s: %d graded rows fit no candidate of the run", path, unmatched)
    return votes


def _read_tags(table: UserTable) -> list[list[str]]:
    """Tags of each row; words that are none are named in the log."""
    text = table.text(table.find("tags", "tag")).str.lower()
    words = [re.findall(r"[a-z][a-z-]*", cell) for cell in text]
    if unknown := sorted({word for row in words for word in row} - set(TAGS)):
        log.warning(
            "%s: tags left out: %s; those that a vote can have are %s",
            table.path, ", ".join(unknown), ", ".join(TAGS),
        )  # fmt: skip
    return [[tag for tag in TAGS if tag in row] for row in words]


def _without_candidates(table: UserTable) -> LenspipeError:
    return LenspipeError(
        f"{table.path}: found columns {', '.join(table.names)}, expected grade, and id, name or ra "
        "and dec of each candidate; rename its columns"
    )


def _nearest(
    candidates: pd.DataFrame, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float
) -> pd.Series:
    """Id of the candidate nearest to each position; NaN where there is none within the radius."""
    sky = Sky(candidates["ra"], candidates["dec"], radius_arcsec)
    rows, entries, separation = sky.pairs(ra, dec)
    pairs = pd.DataFrame({"row": rows, "entry": entries, "separation": separation})
    nearest = pairs.sort_values("separation").drop_duplicates("row").set_index("row")["entry"]
    return nearest.map(pd.Series(candidates.index)).reindex(range(len(ra)))


def add_foreign_votes(
    store: Store, votes: Iterable[ForeignVote], candidates: pd.DataFrame
) -> Mapping[str, int]:
    """Add votes to those of the inspection, each once however often its file is read.

    They count in the first stage, like those of the portal. Votes on what is no candidate of the
    run are counted in the log.

    Returns
    -------
    dict
        Grader -> number of votes.
    """
    votes = list(votes)
    known = [vote for vote in votes if vote.item in candidates.index]
    if len(known) < len(votes):
        log.warning("%d votes are on no candidate of the run", len(votes) - len(known))
    by_grader: dict[str, list[dict[str, Any]]] = {}
    for vote in known:
        by_grader.setdefault(vote.grader, []).append(asdict(vote))
    for grader, entries in by_grader.items():
        store.add_grader(grader)
        store.add_votes(grader, _STAGE, entries)
    return {grader: len(entries) for grader, entries in by_grader.items()}
