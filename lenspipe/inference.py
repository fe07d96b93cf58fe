"""Scoring: the probability of a lens for every cutout."""

import functools
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe._tensorflow import gpus, keras, tf
from lenspipe.cutouts import read_cutouts
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest
from lenspipe.models import foreign, normalisation
from lenspipe.paths import atomic
from lenspipe.progress import log, track
from lenspipe.records import IDENTIFIERS, dataset, table_of

__all__ = ["load_fitting", "load_model", "predict", "score_brick", "score_chunk", "score_images"]


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


@functools.lru_cache(maxsize=4)
def _compiled(model, batch_size, symmetries):
    """Compile a model for one shape of batch, so that nothing is traced twice."""
    signature = tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.float32)

    def mean_score(images):
        scores = []
        for orientation in range(symmetries):
            turned = tf.reverse(images, [2]) if orientation & 1 else images
            turned = tf.reverse(turned, [3]) if orientation & 2 else turned
            turned = tf.transpose(turned, (0, 1, 3, 2)) if orientation & 4 else turned
            scores.append(model(turned, training=False))
        return tf.add_n(scores) / symmetries

    return tf.function(mean_score, input_signature=[signature], jit_compile=bool(gpus))


def predict(model, images, batch_size=None, symmetries=1):
    """Score one batch.

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
    n = len(images)
    batch_size = batch_size or n
    if n < batch_size:
        padding = np.zeros((batch_size - n, *images.shape[1:]), np.float32)
        images = np.concatenate([images, padding])
    return _compiled(model, batch_size, symmetries)(images).numpy()[:n, 0].astype(np.float32)


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
    if images.shape[1:] != model.input_shape[1:]:
        raise LenspipeError(
            f"model: made for cutouts of shape {model.input_shape[1:]} (bands, size, size), found "
            f"{images.shape[1:]}; train a model for these, or set survey.bands and cutouts.size "
            "to the model's"
        )
    parts = [
        predict(model, images[start : start + batch_size], batch_size, symmetries)
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def load_fitting(settings, path=None):
    """Load a model and make sure that it was made for the run's cutouts.

    Parameters
    ----------
    settings : lenspipe.config.Settings
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
    path = path or settings.inference.model or settings.paths.model(settings.training.name)
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


def _write_scores(path, table, p, name):
    """Write scores; the identifiers are those that came with the pixels."""
    with atomic(path) as temporary:
        table.assign(**{f"p_{name}": p, "p": p}).to_parquet(temporary, index=False)


def score_chunk(settings, chunk):
    """Score the records of a chunk and write ``scores/<chunk>.parquet``.

    Columns: id, release, brickid, objid, brick, region, ra, dec, flags, ``p_<model>`` and p (both
    float32). Flagged cutouts are scored too.

    Parameters
    ----------
    settings : lenspipe.config.Settings
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
    batches = dataset([path], batch_size, *shape)
    tables = [pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in IDENTIFIERS.items()})]
    scores = [np.zeros(0, np.float32)]
    try:
        for batch in track(batches, f"chunk {chunk}: batches scored", steps):
            tables.append(table_of(batch))
            pixels = batch["image"].numpy()
            scores.append(predict(model, pixels, batch_size, settings.inference.symmetries))
    except tf.errors.OpError as error:
        raise LenspipeError(
            f"{path}: can't be read to its end ({type(error).__name__}); delete it and run again"
        ) from error
    table = pd.concat(tables, ignore_index=True)
    _write_scores(
        settings.paths.scores(chunk), table, np.concatenate(scores), settings.training.name
    )
    log.info("chunk %s: scored %d cutouts", chunk, len(table))
    return len(table)


def score_brick(settings, brick):
    """Score the cutouts of one brick and write ``scores/bricks/<brick>.parquet``.

    Parameters
    ----------
    settings : lenspipe.config.Settings
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
    images, table = read_cutouts(settings.paths.cutouts(brick))
    own = settings.inference
    p = score_images(model, images, own.batch_size, own.symmetries)
    path = settings.paths.brick_scores(brick)
    _write_scores(path, table[list(IDENTIFIERS)].astype(IDENTIFIERS), p, settings.training.name)
    log.info("brick %s: scored %d cutouts", brick, len(table))
    return len(table)
