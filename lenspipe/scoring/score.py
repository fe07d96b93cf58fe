"""Scoring: the probability of a lens for every cutout."""

import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lenspipe.config.settings import Settings
from lenspipe.config.stages import content_key
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.contents import find_foreign, normalisation
from lenspipe.products.cards import describe_model
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.files import require
from lenspipe.products.manifests import read_manifest
from lenspipe.products.parts import Parts, open_parts
from lenspipe.products.records import IDENTIFIERS, dataset, table_of
from lenspipe.scoring.backends.tensorflow import compiled, run_padded
from lenspipe.scoring.scorer import Scorer, hash_model
from lenspipe.scoring.unscored import list_brick, list_chunk
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.progress import log, track
from lenspipe.utils.tensorflow import keras, tf

__all__ = [
    "check_shape",
    "load_model",
    "load_model_for_run",
    "predict",
    "score_brick",
    "score_chunk",
    "score_images",
    "write_scores",
]

#: Minimum rows per row group of a Parquet file; smaller groups make it larger and slow to read.
_ROW_GROUP = 16384

#: Maximum size of the description of a network; that of EfficientNetV2 takes 0.3 MB.
_MAX_TEXT_BYTES = 16_000_000

#: Maximum ratio of the size of a model's contents to that of its file; Keras does not compress.
_MAX_EXPANSION = 10


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Load a trained model; nothing in the file is run as code.

    It maps cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).

    Raises
    ------
    LenspipeError
        No such file, or it is not a model of lenspipe.
    """
    if not Path(path).exists():
        raise LenspipeError(f"{path}: no such file, expected a trained model; train it first")
    version = ""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive)
            version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
            foreign = find_foreign(json.loads(archive.read("config.json")))
        model = None if foreign else keras.saving.load_model(path, compile=False, safe_mode=True)
    except (
        OSError, KeyError, TypeError, ValueError, RecursionError, zipfile.BadZipFile
    ) as error:  # fmt: skip
        if _numbers(version) > _numbers(keras.__version__):
            raise LenspipeError(
                f"{path}: written by Keras {version}, can't be read by the installed "
                f"{keras.__version__}; pip install 'keras>={version}', or train here"
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as a Keras model ({reason}); delete it and train again"
        ) from error
    if foreign:
        raise LenspipeError(
            f"{path}: found {foreign} in the model, expected only layers of Keras and lenspipe, so "
            "that nothing in the file is run as code; build the network of those and train it here"
        )
    if not normalisation(model):
        raise LenspipeError(
            f"{path}: found a model without lenspipe's normalisation, expected one written by "
            "lenspipe; train it here"
        )
    if note := describe_model(path):
        log.info("%s: %s", path, note)
    return model


def _check_sizes(path: str | os.PathLike[str], archive: zipfile.ZipFile) -> None:
    """Refuse a model that unpacks to far more than it takes on the disk, before it is unpacked."""
    texts = ("config.json", "metadata.json")
    text_size = max(
        (item.file_size for item in archive.infolist() if item.filename in texts), default=0
    )
    size = sum(item.file_size for item in archive.infolist())
    limit = _MAX_TEXT_BYTES + _MAX_EXPANSION * Path(path).stat().st_size
    if text_size > _MAX_TEXT_BYTES or size > limit:
        raise LenspipeError(
            f"{path}: unpacks to {size / 1e6:.0f} MB, of which {text_size / 1e6:.0f} MB describe "
            f"the network; expected at most {limit / 1e6:.0f} and {_MAX_TEXT_BYTES / 1e6:.0f}: "
            "this is no model of lenspipe; give another, or train here"
        )


def _numbers(version: str) -> list[int]:
    """Return the numbers of a version, for comparison: ``3.13.0`` is above ``3.9``."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def predict(
    model: keras.Model, images: np.ndarray, batch_size: int | None = None, symmetries: int = 1
) -> np.ndarray:
    """Score one batch with a model that may still be training: float32, (N,).

    Parameters
    ----------
    images
        Cutouts, float32 (N, B, S, S), nanomaggies.
    batch_size
        Size to which the batch is padded, at least N; N if not given.
    symmetries : {1, 8}
        Orientations whose scores are averaged.
    """
    batch_size = batch_size or len(images)
    return run_padded(compiled(model, batch_size, symmetries), images, batch_size)[:, 0]


def check_shape(model: keras.Model, shape: tuple[int, ...]) -> None:
    """Make sure that a model was made for cutouts of a shape, (B, S, S).

    Raises
    ------
    LenspipeError
        It was made for another shape.
    """
    if shape != model.input_shape[1:]:
        raise LenspipeError(
            f"model: made for cutouts of shape {model.input_shape[1:]} (bands, size, size), found "
            f"{shape}; train a model for these, or set survey.bands and cutouts.size to the model's"
        )


def score_images(
    model: keras.Model, images: np.ndarray, batch_size: int = 256, symmetries: int = 1
) -> np.ndarray:
    """Score cutouts: float32, (N,).

    Parameters
    ----------
    images
        Cutouts, float32 (N, B, S, S), nanomaggies; N may be 0.
    batch_size
        Cutouts per step; smaller batches need less memory.
    symmetries : {1, 8}
        Orientations whose scores are averaged.

    Raises
    ------
    LenspipeError
        The cutouts don't have the shape that the model was made for.
    """
    check_shape(model, images.shape[1:])
    parts = [
        predict(model, images[start : start + batch_size], batch_size, symmetries)
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def load_model_for_run(
    path: str | os.PathLike[str], bands: Sequence[str], size: int
) -> keras.Model:
    """Load a model and check that it fits the run's cutouts: their bands, and their side in pixels.

    Raises
    ------
    LenspipeError
        There is no such model, or it was made for other cutouts.
    """
    model = load_model(path)
    made_for = normalisation(model)[0].bands
    if (*made_for, *model.input_shape[2:]) != (*bands, size, size):
        raise LenspipeError(
            f"{path}: made for cutouts of bands {','.join(made_for)} and "
            f"{model.input_shape[2]} pixels, found survey.bands {','.join(bands)} and cutouts.size "
            f"{size}; train a model for these, or set both keys to the model's"
        )
    return model


def score_chunk(settings: Settings, chunk: str) -> int:
    """Score the records of a chunk and write ``scores/<chunk>.parquet``.

    Columns: id, release, brickid, objid, brick, region, ra, dec, flags; of an ensemble
    ``p_<member>`` for each; ``p_<model>``, p, p_calibrated (all float32); of a model with a card,
    model, which says what it is. Flagged cutouts are
    scored too. Cutouts come in batches and rows go to the file in groups, so that memory does not
    grow with their number. A killed job resumes where it was, losing at most a few seconds of work.
    Of a list of targets without a model, the cutouts are listed without scores.
    Return the number of cutouts.

    Raises
    ------
    LenspipeError
        Model or records are missing, unreadable, or don't fit together.
    """
    if not settings.has_model:
        return list_chunk(settings.paths, chunk)
    bands, size = settings.survey.bands, settings.cutouts.size
    model = load_model_for_run(settings.model_path, bands, size)
    path = settings.paths.records(chunk)
    require(path, "records")
    batch_size = settings.inference.batch_size
    manifest = settings.paths.manifest("cutouts", chunk)
    steps = -(-sum(entry["count"] for entry in read_manifest(manifest).values()) // batch_size)
    scorer = Scorer(model, settings.model_path, settings.training.name, settings.inference)
    key = content_key("scores", settings, hash_model(settings.model_path, manifest))
    with open_parts(settings.paths.score_parts(chunk), key) as parts:
        done = parts.batches if parts else 0
        columns = [*IDENTIFIERS, "image"]
        data = dataset([path], batch_size, len(bands), size, columns=columns).skip(done)
        batches = (
            (batch["image"].numpy(), table_of(batch))
            for batch in track(
                data, f"chunk {chunk}: batches scored", steps - done if steps else None
            )
        )
        try:
            number = write_scores(settings.paths.scores(chunk), scorer, batches, parts)
        except tf.errors.OpError as error:
            raise LenspipeError(
                f"{path}: can't be read to its end ({type(error).__name__}); delete it and run "
                "again"
            ) from error
    log.info("chunk %s: scored %d cutouts", chunk, number)
    return number


def score_brick(settings: Settings, brick: str) -> int:
    """Score one brick like a chunk, into ``scores/bricks/<brick>.parquet``."""
    if not settings.has_model:
        return list_brick(settings.paths, brick)
    cutouts = CutoutFiles.of(settings)
    model = load_model_for_run(settings.model_path, cutouts.bands, settings.cutouts.size)
    images, table = read_cutouts(cutouts.path(brick))
    check_shape(model, images.shape[1:])
    table = table[list(IDENTIFIERS)].astype(IDENTIFIERS)
    batch_size = settings.inference.batch_size
    batches = (
        (images[start : start + batch_size], table[start : start + batch_size])
        for start in range(0, len(table), batch_size)
    )
    scorer = Scorer(model, settings.model_path, settings.training.name, settings.inference)
    number = write_scores(settings.paths.brick_scores(brick), scorer, batches)
    log.info("brick %s: scored %d cutouts", brick, number)
    return number


def write_scores(
    path: str | os.PathLike[str],
    scorer: Scorer,
    batches: Iterable[tuple[np.ndarray, pd.DataFrame]],
    parts: Parts | None = None,
) -> int:
    """Write identifiers and scores of batches as they come; return the number of rows.

    Parameters
    ----------
    path
        Parquet file.
    batches
        Images, float32 (N, B, S, S) nanomaggies, and their table with the columns
        `lenspipe.products.records.IDENTIFIERS`.
    parts
        Keeps scores as they come; those that it already has are written first.
    """
    types = {name: pa.string() if dtype == "str" else dtype for name, dtype in IDENTIFIERS.items()}
    schema = pa.schema([*types.items(), *((name, "float32") for name in scorer.columns)])
    if scorer.note:
        schema = schema.append(pa.field("model", pa.string()))
    number = 0
    waiting: list[pa.Table] = []

    def tables() -> Iterator[pa.Table]:
        if parts:
            yield from parts.tables()
        for images, table in batches:
            scored = table.assign(**scorer(images), model=scorer.note)
            scored = pa.Table.from_pandas(scored, schema, preserve_index=False)
            if parts:
                parts.add(scored)
            yield scored

    def flush() -> None:
        writer.write_table(pa.concat_tables(waiting))
        waiting.clear()

    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables():
            waiting.append(table)
            number += table.num_rows
            if sum(part.num_rows for part in waiting) >= _ROW_GROUP:
                flush()
        if waiting:
            flush()
    return number
