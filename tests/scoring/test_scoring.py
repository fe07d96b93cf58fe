import json
import zipfile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.fake_run import make_run

from lenspipe.config.settings import load_settings
from lenspipe.config.stages import content_key
from lenspipe.models.registry import build
from lenspipe.products import parts
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import write_manifest
from lenspipe.scoring import score as inference
from lenspipe.scoring.records import records_of_chunk
from lenspipe.scoring.scorer import Scorer, hash_model
from lenspipe.statistics.calibration import fit_calibration, write_calibration
from lenspipe.training.ensemble import join
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.tensorflow import keras

CHUNK = "64-000000"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run of 3 bricks with 7 galaxies each, records and an adapted model."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_run(3, 7, 2, 2, size=21, inference={"batch_size": 8})
        records_of_chunk(settings, CHUNK)
        model = build("cmu_deeplens", size=21, widths=[4, 8], units=1, stem_filters=4)
        model.get_layer("normalise").adapt(read_cutouts(settings.paths.cutouts("1500p300"))[0])
        with atomic(settings.paths.model("resnet")) as temporary:
            model.save(temporary)
    return folder, settings


@pytest.fixture
def settings(run, monkeypatch):
    monkeypatch.chdir(run[0])
    return run[1]


def test_brick_and_chunk_give_the_same_scores(settings):
    assert inference.score_chunk(settings, CHUNK) == 21
    chunk = pd.read_parquet(settings.paths.scores(CHUNK))
    assert chunk["p"].between(0, 1).all()
    assert chunk["p"].nunique() > 10
    for brick in chunk["brick"].unique():
        assert inference.score_brick(settings, brick) == 7
        alone = pd.read_parquet(settings.paths.brick_scores(brick))
        rows = chunk[chunk["brick"] == brick].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, rows, rtol=0, atol=1e-6)


def test_scores_have_the_columns_and_types_of_the_contract(settings):
    inference.score_chunk(settings, CHUNK)
    scores = pd.read_parquet(settings.paths.scores(CHUNK))
    assert list(scores) == [
        "id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "flags",
        "p_resnet", "p", "p_calibrated",
    ]  # fmt: skip
    assert scores.dtypes.astype(str).tolist()[1:4] == ["int16", "int32", "int32"]
    assert scores.dtypes.astype(str).tolist()[6:] == [
        "float64", "float64", "int32", "float32", "float32", "float32"
    ]  # fmt: skip
    _, table = read_cutouts(settings.paths.cutouts("1500p300"))
    assert scores["id"][:7].tolist() == table["id"].tolist()
    assert scores["ra"][:7].tolist() == table["ra"].tolist()


def test_rows_are_written_in_groups(settings, monkeypatch):
    inference.score_chunk(settings, CHUNK)
    whole = pd.read_parquet(settings.paths.scores(CHUNK))
    monkeypatch.setattr(inference, "_ROW_GROUP", 10)
    inference.score_chunk(settings, CHUNK)
    file = pq.ParquetFile(settings.paths.scores(CHUNK))
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes == [16, 5]  # batches of 8
    pd.testing.assert_frame_equal(file.read().to_pandas(), whole)


class Counted:
    """A scorer that ends with an error after some batches."""

    def __init__(self, scorer, most):
        self.columns, self.note = scorer.columns, scorer.note
        self.scorer, self.most, self.calls = scorer, most, 0

    def __call__(self, images):
        if self.calls == self.most:
            raise KeyboardInterrupt
        self.calls += 1
        return self.scorer(images)


@pytest.fixture
def counted(monkeypatch):
    """Make scorers end after some batches; returns a function that sets how many."""
    made, most = [], [99]
    monkeypatch.setattr(parts, "_SECONDS", 0.0)

    def make(*args):
        made.append(Counted(Scorer(*args), most[0]))
        return made[-1]

    monkeypatch.setattr(inference, "Scorer", make)

    def score(settings, after=99):
        most[0] = after
        try:
            inference.score_chunk(settings, CHUNK)
        except KeyboardInterrupt:
            assert made[-1].calls == after
        return made[-1].calls

    return score


def test_a_scoring_that_ended_goes_on_where_it_was(settings, counted):
    assert counted(settings) == 3  # batches of 8 for 21 cutouts
    path, folder = settings.paths.scores(CHUNK), settings.paths.score_parts(CHUNK)
    whole = pd.read_parquet(path)
    path.unlink()
    assert counted(settings, after=1) == 1
    assert not path.exists()
    assert counted(settings, after=1) == 1
    assert counted(settings) == 1
    pd.testing.assert_frame_equal(pd.read_parquet(path), whole)
    assert not folder.exists()


def test_what_was_scored_with_another_model_is_not_kept(settings, counted, tmp_path):
    assert counted(settings, after=2) == 2
    other = build("cmu_deeplens", size=21, widths=[4, 8], units=1, stem_filters=4)
    other.get_layer("normalise").adapt(read_cutouts(settings.paths.cutouts("1500p300"))[0])
    other.save(tmp_path / "other.keras")
    own = {"model": str(tmp_path / "other.keras"), "batch_size": 8}
    assert counted(load_settings(settings.model_dump() | {"inference": own})) == 3


def test_two_at_the_same_chunk_do_not_mix(settings, counted):
    assert counted(settings, after=2) == 2
    manifest = settings.paths.manifest("cutouts", CHUNK)
    key = content_key("scores", settings, hash_model(settings.model_path, manifest))
    with parts.open_parts(settings.paths.score_parts(CHUNK), key) as first:
        assert first.batches == 2
        assert counted(settings) == 3
        assert first.batches == 2
    assert len(pd.read_parquet(settings.paths.scores(CHUNK))) == 21


@pytest.mark.parametrize("elsewhere", [False, True])
def test_calibration_beside_the_model_is_applied(elsewhere, settings, tmp_path):
    path = settings.paths.model("resnet")
    if elsewhere:
        path = tmp_path / "given.keras"
        path.write_bytes(settings.paths.model("resnet").read_bytes())
        settings = load_settings(settings.model_dump() | {"inference": {"model": str(path)}})
    calibration = fit_calibration([0, 1, 0, 1], [0.2, 0.6, 0.7, 0.9], "temperature")
    file = path.with_name("calibration.json")
    inference.score_chunk(settings, CHUNK)
    assert pd.read_parquet(settings.paths.scores(CHUNK))["p_calibrated"].isna().all()
    try:
        for content in (None, calibration):
            write_calibration(file, content)
            inference.score_chunk(settings, CHUNK)
            scores = pd.read_parquet(settings.paths.scores(CHUNK))
            expected = calibration.apply(scores["p"]) if content else np.full(21, np.nan)
            np.testing.assert_allclose(scores["p_calibrated"], expected, rtol=1e-6)
    finally:
        file.unlink()


def test_members_of_an_ensemble_have_columns(settings, tmp_path):
    members = {name: inference.load_model(settings.paths.model("resnet")) for name in ("a", "b")}
    members["b"].get_layer("normalise").level_nmgy.assign_add(np.full((3, 1, 1), 0.1))
    expected = join(members, "mean")
    expected.save(tmp_path / "all.keras")
    own = {"model": str(tmp_path / "all.keras")}
    inference.score_brick(load_settings(settings.model_dump() | {"inference": own}), "1500p300")
    scores = pd.read_parquet(settings.paths.brick_scores("1500p300"))
    assert list(scores)[-5:] == ["p_a", "p_b", "p_resnet", "p", "p_calibrated"]
    images, _ = read_cutouts(settings.paths.cutouts("1500p300"))
    for name, model in (*members.items(), ("resnet", expected)):
        p = model.predict(images, verbose=0)[:, 0]
        np.testing.assert_allclose(scores[f"p_{name}"], p, atol=1e-5)


def test_scores_are_the_models_own(settings):
    model = inference.load_model(settings.paths.model("resnet"))
    images, _ = read_cutouts(settings.paths.cutouts("1500p300"))
    images[0, 0] = np.nan
    p = inference.score_images(model, images, batch_size=4)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, model.predict(images, verbose=0)[:, 0], atol=1e-6)
    assert inference.score_images(model, images[:0]).shape == (0,)


def test_empty_chunk_gives_an_empty_table_of_the_same_columns(settings):
    write_manifest(settings.paths.manifest("cutouts", "64-000009"), {})
    records_of_chunk(settings, "64-000009")
    assert inference.score_chunk(settings, "64-000009") == 0
    inference.score_chunk(settings, CHUNK)
    empty = pd.read_parquet(settings.paths.scores("64-000009"))
    assert len(empty) == 0
    assert empty.dtypes.equals(pd.read_parquet(settings.paths.scores(CHUNK)).dtypes)


def test_model_of_other_bands_or_size_is_refused(settings):
    for changes, found in (
        ({"cutouts": {"size": 31}}, r"g,r,z and 21 pixels, found survey\.bands g,r,z and .* 31"),
        ({"survey": {"bands": ("g", "z", "r")}}, r"found survey\.bands g,z,r and cutouts\.size 21"),
    ):
        other = load_settings(settings.model_dump() | changes)
        with pytest.raises(LenspipeError, match=found):
            inference.score_chunk(other, CHUNK)
    model = inference.load_model(settings.paths.model("resnet"))
    with pytest.raises(LenspipeError, match=r"\(3, 21, 21\) .* found \(3, 33, 33\)"):
        inference.score_images(model, np.zeros((1, 3, 33, 33), np.float32))


def test_missing_garbled_and_foreign_models_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(LenspipeError, match=r"model\.keras: no such file, expected a trained"):
        inference.load_model(path)
    path.write_bytes(b"not a model")
    with pytest.raises(LenspipeError, match="can't be read as a Keras model"):
        inference.load_model(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(LenspipeError, match="can't be read as a Keras model"):
        inference.load_model(path)
    keras.Sequential([keras.Input((3, 5, 5)), keras.layers.Flatten()]).save(path)
    with pytest.raises(LenspipeError, match="without lenspipe's normalisation"):
        inference.load_model(path)


def test_truncated_model_is_refused(settings, tmp_path):
    content = settings.paths.model("resnet").read_bytes()
    (tmp_path / "model.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(LenspipeError, match="can't be read as a Keras model"):
        inference.load_model(tmp_path / "model.keras")


def test_a_model_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("config.json", "w") as file,
    ):
        for _ in range(64):
            file.write(b" " * 1_000_000)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(
        LenspipeError, match=r"model\.keras: unpacks to 64 MB, of which 64 MB descr"
    ):
        inference.load_model(path)


def test_a_model_of_a_newer_keras_names_both_versions(settings, tmp_path):
    path = tmp_path / "model.keras"
    with (
        zipfile.ZipFile(settings.paths.model("resnet")) as source,
        zipfile.ZipFile(path, "w") as archive,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps(json.loads(content) | {"keras_version": "99.1.0"})
            if name == "config.json":
                # A setting that this version of Keras does not know.
                content = content.replace(b'"trainable":', b'"of_the_future": 1, "trainable":')
            archive.writestr(name, content)
    text = (
        rf"written by Keras 99\.1\.0, can't be read by the installed {keras.__version__}; pip inst"
    )
    with pytest.raises(LenspipeError, match=text):
        inference.load_model(path)


def test_missing_and_truncated_records_are_refused(settings):
    with pytest.raises(LenspipeError, match=r"64-000007\.tfrecord: no such file"):
        inference.score_chunk(settings, "64-000007")
    path = settings.paths.records("64-000008")
    content = settings.paths.records(CHUNK).read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(LenspipeError, match=r"64-000008\.tfrecord: can't be read to its end"):
        inference.score_chunk(settings, "64-000008")
    assert not settings.paths.scores("64-000008").exists()
