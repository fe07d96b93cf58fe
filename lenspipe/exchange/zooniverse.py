"""The Zooniverse: images for a subject set, and votes from an export of its classifications."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from lenspipe.config.paths import RunPaths
from lenspipe.exchange.votes import ForeignVote, grader_name
from lenspipe.inspection.images import Cutouts, candidates_to_grade, draw_strip
from lenspipe.products.files import require
from lenspipe.products.tables import write_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic, path_part
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import UserTable

__all__ = ["MANIFEST", "is_export", "read_classifications", "write_subjects"]

#: Name of the manifest, which ``panoptes subject-set upload-subjects`` reads.
MANIFEST = "manifest.csv"

#: Its columns: file, and what volunteers do not see.
_MANIFEST_COLUMNS = ["image", "#id", "#name", "#ra", "#dec"]

#: Pixels of the image for each pixel of the survey.
_ENLARGED = 4

#: Columns of an export of classifications that are read.
_COLUMNS = (
    *("classification_id", "user_name", "annotations", "subject_data"),
    *("subject_ids", "metadata"),
)


def write_subjects(paths: RunPaths, folder: Path) -> int:
    """Write the candidates of a run as a subject set: an image of each, and the manifest.

    The images are those of the inspection: in colour, g, r, z, the residual and the difference
    of two bands. Columns of the manifest that begin with ``#`` are not shown to volunteers: id,
    name and position, by which the votes find their candidate. Scores are left out, which must not
    influence a vote.

    Returns
    -------
    int
        Number of subjects.

    Raises
    ------
    LenspipeError
        The run has no candidates, or a cutout is missing.
    """
    require(paths.candidates, "candidates")
    candidates, cutouts, rows = candidates_to_grade(paths), Cutouts(), []
    for id_, row in candidates.iterrows():
        strip = Image.open(io.BytesIO(draw_strip(cutouts.read(paths.cutouts(row["brick"]), id_))))
        name = f"{path_part(str(id_))}.png"
        with atomic(folder / name) as temporary:
            size = strip.width * _ENLARGED, strip.height * _ENLARGED
            strip.resize(size, Image.Resampling.NEAREST).save(temporary, "PNG")
        rows.append((name, id_, row["name"], row["ra"], row["dec"]))
    # Last, as it stands for a complete set.
    write_table(folder / MANIFEST, pd.DataFrame(rows, columns=_MANIFEST_COLUMNS))
    return len(rows)


def is_export(table: UserTable) -> bool:
    """Whether a table is an export of classifications, by its columns."""
    return {"annotations", "subject_data"} <= set(table.names)


def read_classifications(
    table: UserTable, answers: Mapping[str, str], task: str
) -> list[ForeignVote]:
    """Read an export of classifications ("Request new classification export" of a project).

    Parameters
    ----------
    table
        Content of the export.
    answers
        Text of an answer -> grade, A to D.
    task
        The question, such as ``T0``; free text of any other task becomes the comment.

    Returns
    -------
    list of ForeignVote
        In the order of the file. A volunteer who is not logged in has a name that the Zooniverse
        makes from the address.

    Raises
    ------
    LenspipeError
        A column is missing, an answer has no grade, or a subject has no id.
    """
    table.refuse_broken()
    path = table.path
    if missing := [name for name in _COLUMNS if name not in table.names]:
        raise LenspipeError(
            f"{path}: found no column {', '.join(missing)}, expected an export of classifications "
            f"with {', '.join(_COLUMNS)}; request it on the project's page of data exports"
        )
    votes, without = [], 0
    columns = {name: table.text(table.find(name)) for name in _COLUMNS}
    for line, row in zip(table.lines, pd.DataFrame(columns).to_dict("records"), strict=True):
        try:
            annotations = json.loads(row["annotations"])
            (subject,) = json.loads(row["subject_data"]).values()
            metadata = json.loads(row["metadata"])
        except (ValueError, AttributeError) as error:
            raise LenspipeError(
                f"{path}: line {line}: found JSON that cannot be read ({error}), expected one "
                "subject with its annotations; export the classifications again"
            ) from None
        if not (item := subject.get("#id") or subject.get("id")):
            raise LenspipeError(
                f"{path}: line {line}: found subject {row['subject_ids']} without #id, expected "
                f"one of a set that was uploaded with {MANIFEST}; leave out other sets"
            )
        given = {entry["task"]: entry["value"] for entry in annotations}
        if not (answer := given.pop(task, None)):
            without += 1
            continue
        if str(answer) not in answers:
            raise LenspipeError(
                f"{path}: line {line}: found answer {answer!r} to {task}, expected one of "
                f"{', '.join(answers)}; give each its grade with --answers, or --task"
            )
        votes.append(
            ForeignVote(
                key=f"zooniverse:{row['classification_id']}",
                grader=grader_name(row["user_name"]),
                item=str(item),
                grade=answers[str(answer)],
                comment=" | ".join(text for text in given.values() if isinstance(text, str)),
                seconds=_seconds(metadata),
            )
        )
    if without:
        log.warning("%s: %d classifications without an answer to %s", path, without, task)
    return votes


def _seconds(metadata: Mapping[str, Any]) -> float:
    """Time that a classification took; 0 if it does not say."""
    times = pd.to_datetime(
        [metadata.get("started_at"), metadata.get("finished_at")], utc=True, errors="coerce"
    )
    return 0.0 if times.isna().any() else max(0.0, (times[1] - times[0]).total_seconds())
