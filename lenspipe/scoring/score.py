"""Scoring: the probability of a lens for every cutout."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lenspipe.cutouts.chunk import cutouts_at
from lenspipe.models.contents import foreign, normalisation
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.products.parts import open_parts
from lenspipe.products.records import IDENTIFIERS, dataset, table_of
from lenspipe.scoring.backends.tensorflow import compiled, run_padded
from lenspipe.scoring.scorer import Scorer
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log, track
from lenspipe.utils.tensorflow import keras, tf

__all__ = [
    "check_shape",
    "load_fitting",
    "load_model",
    "predict",
    "score_brick",
    "score_chunk",
    "score_images",
    "write_scores",
]

#: Rows of a Parquet file that are written at once; fewer would make it larger and slow to read.
_ROW_GROUP = 16384


def load_model(path):
    """Load a trained model; nothing in the file is run as code.

    Parameters
    ----------
    path : str or path-like
        File model.keras.

    Returns
    -------
    keras.Model
        From cutouts, (N, B, S, S) nanomaggies, to the probability of a lens, (N, 1).

    Raises
    ------
    LenspipeError
        No such file, or it is not a model of lenspipe.
    """
    if not Path(path).exists():
        raise LenspipeError(f"{path}: no such file; train the model first")
    try:
        with zipfile.ZipFile(path) as archive:
            odd = foreign(json.loads(archive.read("config.json")))
        model = None if odd else keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise LenspipeError(
            f"{path}: can't be read as a Keras model ({reason}); delete it and train again"
        ) from error
    if odd:
        raise LenspipeError(
            f"{path}: found {odd} in the model, expected Keras' own layers and lenspipe's only, so "
            "that nothing in the file is run as code; build the network of those and train it here"
        )
    if not normalisation(model):
        raise LenspipeError(
            f"{path}: found a model without lenspipe's normalisation, expected one written by "
            "lenspipe; train it here"
        )
    return model


def predict(model, images, batch_size=None, symmetries=1):
    """Score one batch with a model that may still be trained on.

    Parameters
    ----------
    model : keras.Model
        As `load_model` returns it.
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies.
    batch_size : int, optional
        Size to which the batch is padded, at least N; N if not given.
    symmetries : {1, 8}
        Orientations whose scores are averaged.

    Returns
    -------
    ndarray of float32, (N,)
        Probability of a lens.
    """
    batch_size = batch_size or len(images)
    return run_padded(compiled(model, batch_size, symmetries), images, batch_size)[:, 0]


def check_shape(model, shape):
    """Make sure that a model was made for cutouts of a shape.

    Parameters
    ----------
    model : keras.Model
    shape : tuple of int
        (B, S, S).

    Raises
    ------
    LenspipeError
        It was made for others.
    """
    if shape != model.input_shape[1:]:
        raise LenspipeError(
            f"model: made for cutouts of shape {model.input_shape[1:]} (bands, size, size), found "
            f"{shape}; train a model for these, or set survey.bands and cutouts.size to the model's"
        )


def score_images(model, images, batch_size=256, symmetries=1):
    """Score cutouts.

    Parameters
    ----------
    model : keras.Model
        As `load_model` returns it.
    images : ndarray of float32, (N, B, S, S)
        Cutouts, nanomaggies; N may be 0.
    batch_size : int
        Cutouts per step; less memory with fewer.
    symmetries : {1, 8}
        Orientations whose scores are averaged.

    Returns
    -------
    ndarray of float32, (N,)
        Probability of a lens.

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


def load_fitting(settings, path=None):
    """Load a model and make sure that it was made for the run's cutouts.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    path : str or path-like, optional
        The model; the one that the run searches with if not given.

    Returns
    -------
    keras.Model

    Raises
    ------
    LenspipeError
        There is no such model, or it was made for other cutouts.
    """
    path = path or settings.model_path
    model = load_model(path)
    bands, size = settings.survey.bands, settings.cutouts.size
    made_for = normalisation(model)[0].bands
    if (*made_for, *model.input_shape[2:]) != (*bands, size, size):
        raise LenspipeError(
            f"{path}: made for cutouts of bands {','.join(made_for)} and "
            f"{model.input_shape[2]} pixels, found survey.bands {','.join(bands)} and cutouts.size "
            f"{size}; train a model for these, or set both keys to the model's"
        )
    return model


def score_chunk(settings, chunk):
    """Score the records of a chunk and write ``scores/<chunk>.parquet``.

    Columns: id, release, brickid, objid, brick, region, ra, dec, flags; of an ensemble
    ``p_<member>`` for each; ``p_<model>``, p, p_calibrated (all float32). Flagged cutouts are
    scored too. Cutouts come in batches and rows go to the file in groups, so that memory does not
    grow with their number. A job that was killed goes on where it was, but for the last seconds.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings.
    chunk : str
        Name of the chunk.

    Returns
    -------
    int
        How many cutouts were scored.

    Raises
    ------
    LenspipeError
        Model or records are missing, unreadable, or don't fit together.
    """
    model = load_fitting(settings)
    path = settings.paths.records(chunk)
    if not path.exists():
        raise LenspipeError(f"{path}: no such file; make the records of chunk {chunk} first")
    batch_size = settings.inference.batch_size
    shape = len(settings.survey.bands), settings.cutouts.size
    entries = read_manifest(settings.paths.manifest("cutouts", chunk)).values()
    steps = -(-sum(entry["count"] for entry in entries) // batch_size) or None
    scorer = _scorer(settings, model)
    with open_parts(settings.paths.score_parts(chunk), _key(settings, chunk)) as parts:
        done = parts.batches if parts else 0
        data = dataset([path], batch_size, *shape, columns=[*IDENTIFIERS, "image"]).skip(done)
        batches = (
            (batch["image"].numpy(), table_of(batch))
            for batch in track(data, f"chunk {chunk}: batches scored", steps and steps - done)
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


def score_brick(settings, brick):
    """Score the cutouts of one brick and write ``scores/bricks/<brick>.parquet``.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
        The run's settings.
    brick : str
        Name of the brick.

    Returns
    -------
    int
        How many cutouts were scored.

    Raises
    ------
    LenspipeError
        As `score_chunk`.
    """
    model = load_fitting(settings)
    images, table = read_cutouts(cutouts_at(settings, brick))
    check_shape(model, images.shape[1:])
    table = table[list(IDENTIFIERS)].astype(IDENTIFIERS)
    batch_size = settings.inference.batch_size
    batches = (
        (images[start : start + batch_size], table[start : start + batch_size])
        for start in range(0, len(table), batch_size)
    )
    path = settings.paths.brick_scores(brick)
    number = write_scores(path, _scorer(settings, model), batches)
    log.info("brick %s: scored %d cutouts", brick, number)
    return number


def _scorer(settings, model):
    return Scorer(model, settings.model_path, settings.training.name, settings.inference)


def _key(settings, chunk):
    """Hash all that the scores of a chunk depend on."""
    model = settings.model_path
    calibration = model.with_name("calibration.json")
    files = [model, settings.paths.manifest("cutouts", chunk), calibration]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.exists()]
    return digest(hashes, settings.inference, settings.training.name)


def write_scores(path, scorer, batches, parts=None):
    """Write identifiers and scores of batches as they come.

    Parameters
    ----------
    path : str or path-like
        Parquet file.
    scorer : lenspipe.scoring.scorer.Scorer
    batches : iterable
        Of images, float32 (N, B, S, S) nanomaggies, and their table with the columns
        `lenspipe.products.records.IDENTIFIERS`.
    parts : lenspipe.products.parts.Parts, optional
        Keeps scores as they come; those that it has already are written first.

    Returns
    -------
    int
        How many rows were written.
    """
    kinds = {name: pa.string() if dtype == "str" else dtype for name, dtype in IDENTIFIERS.items()}
    schema = pa.schema([*kinds.items(), *((name, "float32") for name in scorer.columns)])
    number, waiting = 0, []

    def tables():
        if parts:
            yield from parts.tables()
        for images, table in batches:
            scored = table.assign(**scorer(images))
            scored = pa.Table.from_pandas(scored, schema, preserve_index=False)
            if parts:
                parts.add(scored)
            yield scored

    def flush():
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
