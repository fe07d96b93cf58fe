"""Tests of lenspipe.scoring.user_cutouts and `lenspipe score`."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from helpers.cards import NOTE, write_model
from helpers.fake_run import make_run

from lenspipe.cli.main import main
from lenspipe.config import paths
from lenspipe.cutouts.stacks import known_columns, open_stack
from lenspipe.models.registry import build
from lenspipe.products.cutouts import read_cutouts, write_cutouts
from lenspipe.statistics.calibration import fit_calibration, write_calibration
from lenspipe.training.ensemble import join
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import keras
from lenspipe.utils.user_tables import read_user_table

SIZE = 21
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(0, 0.01, (11, 3, SIZE, SIZE)).astype(np.float32)
TABLE = pd.DataFrame({"name": [f"g{i}" for i in range(11)], "ra": RNG.uniform(0, 360, 11)})
TABLE["dec"] = RNG.uniform(-30, 30, 11)


def small_network():
    return build("cmu_deeplens", size=SIZE, widths=[4], units=1, stem_filters=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model, and what it says of `IMAGES`."""
    folder, network = tmp_path_factory.mktemp("model"), small_network()
    network.get_layer("normalise").adapt(IMAGES)
    network.save(folder / "model.keras")
    return folder, network.predict(IMAGES, verbose=0)[:, 0]


def score(model, path, output, *options):
    arguments = ["score", "--model", str(model), str(path), "--output", str(output)]
    return main([*arguments, "--batch-size", "4", "--backend", "tensorflow", *options])


def write_fits(path, images, table=None):
    hdus = [fits.PrimaryHDU(images)]
    if table is not None:
        hdus.append(fits.table_to_hdu(Table.from_pandas(table)))
    fits.HDUList(hdus).writeto(path)


def refused(model, path, capsys, *options):
    output = path.with_name("refused.csv")
    assert score(model, path, output, *options) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "lenspipe: error" in x]
    assert not output.exists()
    return line


def test_scores_of_the_shipped_model_are_marked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "SHIPPED_FOLDER", tmp_path / "package")
    network = write_model(tmp_path / "package", SIZE)
    path = tmp_path / "cutouts.fits"
    write_fits(path, IMAGES, TABLE)
    for suffix in ("csv", "fits", "parquet"):
        output = tmp_path / f"scores.{suffix}"
        assert score("shipped", path, output) == 0
        assert f"model.keras: {NOTE}" in capsys.readouterr().err
        if suffix == "fits":
            described = Table.read(output)
            assert described["ra"].unit == "deg"
            assert described["p"].description.startswith("probability")
        table = {"csv": pd.read_csv, "parquet": pd.read_parquet}.get(suffix, read_fits)(output)
        assert list(table) == ["row", "name", "ra", "dec", "p", "p_calibrated", "model"]
        assert set(table["model"]) == {NOTE}
        assert np.allclose(table["p"], network.predict(IMAGES, verbose=0)[:, 0], atol=1e-5)
    # A copy of the folder says the same; a file called shipped is the user's own.
    shutil.copytree(tmp_path / "package", tmp_path / "copy")
    assert score(tmp_path / "copy", path, tmp_path / "copy.csv") == 0
    assert set(pd.read_csv(tmp_path / "copy.csv")["model"]) == {NOTE}
    monkeypatch.chdir(tmp_path)
    assert "shipped: no such file" in refused("./shipped", path, capsys)


def read_fits(path):
    return Table.read(path, character_as_bytes=False).to_pandas()


@pytest.mark.parametrize(
    "kind", ["fits", "last.fits", "run.fits", "npz", "float64.npz", "compressed.npz"]
)
def test_every_kind_of_input_gives_the_models_scores(kind, model, tmp_path, capsys):
    path, columns = tmp_path / f"cutouts.{kind}", {name: TABLE[name].to_numpy() for name in TABLE}
    columns["name"] = columns["name"].astype("U3")
    if kind == "fits":
        write_fits(path, IMAGES, TABLE)
    elif kind == "last.fits":
        write_fits(path, np.moveaxis(IMAGES, 1, 3), TABLE)
    elif kind == "run.fits":
        write_cutouts(path, IMAGES, TABLE, fits.Header(), step=1e-6)
    elif kind == "compressed.npz":
        np.savez_compressed(path, pixels=np.moveaxis(IMAGES, 1, 3).copy(), **columns)
    else:
        dtype = "f8" if kind == "float64.npz" else "f4"
        np.savez(path, images=IMAGES.astype(dtype), **columns)
    assert score(model[0], path, tmp_path / "scores.csv") == 0
    assert "scored 11 cutouts" in capsys.readouterr().out
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert list(scores) == ["row", "name", "ra", "dec", "p", "p_calibrated"]
    assert scores["row"].tolist() == list(range(11))
    assert scores["name"].tolist() == TABLE["name"].tolist()
    np.testing.assert_allclose(scores[["ra", "dec"]], TABLE[["ra", "dec"]], rtol=1e-12)
    np.testing.assert_allclose(scores["p"], model[1], atol=1e-4)
    assert scores["p_calibrated"].isna().all()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits"])
def test_every_kind_of_output_holds_the_same(suffix, model, tmp_path):
    path, output = tmp_path / "cutouts.npz", tmp_path / "new" / f"scores.{suffix}"
    np.savez(path, IMAGES)
    TABLE.to_csv(tmp_path / "table.csv", index=False)
    assert score(model[0], path, output, "--table", str(tmp_path / "table.csv")) == 0
    if suffix == "fits":
        scores = Table.read(output, character_as_bytes=False).to_pandas()
    else:
        scores = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
    assert list(scores) == ["row", "name", "ra", "dec", "p", "p_calibrated"]
    assert scores["name"].tolist() == TABLE["name"].tolist()
    np.testing.assert_allclose(scores["p"], model[1], atol=1e-4)


def test_cutouts_of_a_run_are_scored_with_their_identifiers(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_run(1, 7, 2, 2, size=SIZE)
    path = settings.paths.cutouts("1500p300")
    assert score(model[0] / "model.keras", path, "scores.parquet") == 0
    scores, (_, table) = pd.read_parquet("scores.parquet"), read_cutouts(path)
    for name in ("id", "release", "brickid", "objid", "brick", "region", "ra", "dec", "flags"):
        assert scores[name].tolist() == table[name].tolist()


def test_an_ensemble_tells_its_members_and_calibrates(tmp_path):
    members = {"one": small_network(), "other": small_network()}
    for member in members.values():
        member.get_layer("normalise").adapt(IMAGES)
    join(members, "mean").save(tmp_path / "model.keras")
    calibration = fit_calibration([0, 1, 0, 1], [0.2, 0.6, 0.7, 0.9], "temperature")
    write_calibration(tmp_path / "calibration.json", calibration)
    np.savez(tmp_path / "cutouts.npz", IMAGES)
    assert score(tmp_path, tmp_path / "cutouts.npz", tmp_path / "scores.parquet") == 0
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scores) == ["row", "p_one", "p_other", "p", "p_calibrated"]
    for name, member in members.items():
        p = member.predict(IMAGES, verbose=0)[:, 0]
        np.testing.assert_allclose(scores[f"p_{name}"], p, atol=1e-4)
    np.testing.assert_allclose(scores["p"], scores[["p_one", "p_other"]].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(scores["p_calibrated"], calibration.apply(scores["p"]), atol=1e-6)
    assert scores["p_calibrated"].dtype == np.float32


@pytest.mark.parametrize("name", ["cutouts.fits", "cutouts.npz"])
def test_pixels_are_read_batch_by_batch(name, tmp_path):
    path = tmp_path / name
    write_fits(path, IMAGES) if name.endswith("fits") else np.savez(path, IMAGES)
    with open_stack(path) as (shape, batches, beside):
        parts = list(batches(4))
    assert (shape, beside.names) == (IMAGES.shape, [])
    assert [len(part) for part in parts] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(parts), IMAGES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:, 0], "shape (11, 21, 21), expected (N, bands, size, size)"),
        (IMAGES[:, :2], "found cutouts of shape (2, 21, 21), expected (3, 21, 21) or (21, 21, 3)"),
        (IMAGES[:, :, 1:, 1:], "the model was made for bands g,r,z and 21 pixels"),
        ((1000 * IMAGES).astype("i4"), "found pixels that are not floating-point numbers"),
        (IMAGES[:0], "found no cutouts"),
    ],
)
@pytest.mark.parametrize("suffix", ["npz", "fits"])
def test_wrong_cutouts_are_refused_in_a_line(images, message, suffix, model, tmp_path, capsys):
    path = tmp_path / f"cutouts.{suffix}"
    if suffix == "npz":
        np.savez(path, images)
        message = "expected one of shape (N, bands" if images.ndim == 3 else message
    else:
        write_fits(path, images)
    assert message in refused(model[0], path, capsys)


def test_unreadable_files_are_refused_in_a_line(model, tmp_path, capsys):
    path = tmp_path / "cutouts.npz"
    assert "cutouts.npz: no such file" in refused(model[0], path, capsys)
    path.write_bytes(b"something else")
    assert "not a readable FITS file" in refused(model[0], path, capsys)
    np.savez(path, IMAGES)
    path.write_bytes(path.read_bytes()[:5000])
    assert "can't be read as npz" in refused(model[0], path, capsys)
    np.savez(path, np.asfortranarray(IMAGES))
    assert "in Fortran's order" in refused(model[0], path, capsys)
    np.savez(path, one=IMAGES, other=IMAGES)
    assert "found arrays one (11, 3, 21, 21), other" in refused(model[0], path, capsys)


def test_table_and_options_that_do_not_fit_are_refused_in_a_line(model, tmp_path, capsys):
    path, table = tmp_path / "cutouts.npz", tmp_path / "table.csv"
    np.savez(path, IMAGES)
    assert "table.csv: can't be read" in refused(model[0], path, capsys, "--table", str(table))
    TABLE[:4].to_csv(table, index=False)
    assert "found 4 rows for 11 cutouts" in refused(model[0], path, capsys, "--table", str(table))
    assert "bfloat16 is OpenVINO's" in refused(model[0], path, capsys, "--precision", "bfloat16")
    assert score(model[0], path, tmp_path / "scores.txt") == 1
    assert "found suffix '.txt', expected one of .csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "name, ra, dec\n001, 150.1, 2.1\nNA, 150.2, -2.2\n",
        "NAME;RAJ2000;DEJ2000\n001;150,1;2,1\nNA;150,2;-2,2\n",
        "name\tra\tdec\n001\t150.1\t2.1\nNA\t150.2\t-2.2\n",
        "name,ra,dec\n001,150.1,2.1,\nNA,150.2,-2.2,\n",
        "name,ra,dec,remark\n001,10:00:24,2.1,x\nNA,10:00:48,-2.2,\n",
    ],
)
def test_tables_as_people_write_them(text, tmp_path, caplog):
    caplog.set_level("INFO", logger="lenspipe")
    path = tmp_path / "table.csv"
    path.write_text(text)
    rows = known_columns(path, read_user_table(path, "x"), 2)
    assert list(rows) == ["row", "name", "ra", "dec"]
    assert rows["name"].tolist() == ["001", "NA"]
    np.testing.assert_allclose(rows[["ra", "dec"]], [[150.1, 2.1], [150.2, -2.2]])
    assert ("not copied to the scores: remark" in caplog.text) == ("remark" in text)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        *((f"{cell},2", "ra") for cell in ("x", "400", "-99.5e3", "inf")),
        *(("400,", "ra"), ("inf,", "ra"), ("150.1,95", "dec"), (",-91", "dec")),
    ],
)
def test_positions_that_are_none_are_refused(row, name, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"name,ra,dec\na,,\nb,{row}\n")
    with pytest.raises(LenspipeError, match=rf"line 3: found {name} .*, expected degrees"):
        known_columns(path, read_user_table(path, "x"), 2)


def test_model_that_is_missing_or_runs_code_is_refused_in_a_line(tmp_path, capsys):
    path = tmp_path / "cutouts.npz"
    np.savez(path, IMAGES)
    assert "model.keras: no such file" in refused(tmp_path, path, capsys)
    layers = [keras.Input(IMAGES.shape[1:]), keras.layers.Lambda(lambda x: x)]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    assert "found Lambda in the model" in refused(tmp_path, path, capsys)
    (tmp_path / "model.keras").write_text(json.dumps({}))
    assert "can't be read as a Keras model" in refused(tmp_path, path, capsys)
