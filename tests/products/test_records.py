import json

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run, make_table
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lenspipe.config.settings import load_settings
from lenspipe.products import records
from lenspipe.products.manifests import read_manifest, write_manifest
from lenspipe.products.record_files import check_shards
from lenspipe.scoring.records import records_of_chunk
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.tensorflow import tf

RNG = np.random.default_rng(0)
TEXT = ("id", "brick", "region", "type", "class", "grade")
NUMBERS = ("ra", "dec", "release", "brickid", "objid", "flags")
SINGLE = ("ebv", "sersic", "shape_r", "theta_e_arcsec")
PER_BAND = ("mag", "nobs", "psfsize", "galdepth")


def read(paths, batch_size, bands, size, **options):
    """All batches of a data set as one dict of arrays."""
    batches = list(records.dataset(paths, batch_size, bands, size, **options).as_numpy_iterator())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def some_table(n):
    table = make_table("1500p300", RNG.uniform(0, 360, n), RNG.uniform(-90, 90, n), RNG)
    return table.assign(**{name: RNG.random(n, np.float32) for name in ("ebv", "sersic")})


def write(path, n=3, size=5, **options):
    return records.write_records(
        path, np.zeros((n, 3, size, size), np.float32), some_table(n), **options
    )


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    n=st.integers(1, 5),
    size=st.sampled_from([1, 5, 21]),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_everything_comes_back_as_it_was_written(tmp_path, data, n, size, dtype):
    pixels = st.floats(width=int(dtype[-2:]), allow_nan=True, allow_infinity=True)
    images = data.draw(arrays(np.float32, (n, 3, size, size), elements=pixels, fill=pixels))
    labels = data.draw(arrays(np.float32, n, elements=st.sampled_from([-1.0, 0.0, 1.0])))
    theta_e = data.draw(arrays(np.float32, n, elements=st.floats(0, 9, width=32) | st.just(np.nan)))
    words = st.lists(st.text(max_size=9), min_size=n, max_size=n)
    table = some_table(n).assign(
        theta_e_arcsec=theta_e, **{"class": data.draw(words), "grade": data.draw(words)}
    )
    path = tmp_path / "a.tfrecord"
    records.write_records(path, images, table, labels, dtype)
    back = read([path], 2, 3, size)
    assert back["image"].dtype == np.float32
    np.testing.assert_array_equal(back["image"], images)
    np.testing.assert_array_equal(back["label"], labels)
    for name in (*NUMBERS, *SINGLE):
        np.testing.assert_array_equal(back[name], table[name])
    for name in TEXT:
        assert [text.decode() for text in back[name]] == table[name].tolist()
    for name in PER_BAND:
        np.testing.assert_array_equal(back[name], table[[f"{name}_{band}" for band in "grz"]])
    assert set(back) == {"image", "label", *NUMBERS, *SINGLE, *TEXT, *PER_BAND}


def test_an_example_is_one_message_to_every_parser(tmp_path):
    images = RNG.normal(size=(1, 3, 5, 5)).astype(np.float32)
    records.write_records(tmp_path / "a", images, some_table(1), [1])
    (serialised,) = tf.data.TFRecordDataset(str(tmp_path / "a"))
    features = tf.train.Example.FromString(serialised.numpy()).features.feature
    assert features["image"].bytes_list.value[:] == [images.astype("<f4").tobytes()]
    assert features["version"].int64_list.value[:] == [records.VERSION]
    assert features["dtype"].bytes_list.value[:] == [b"float32"]
    assert features["label"].float_list.value[:] == [1]
    schema = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "id")}
    parsed = tf.io.parse_example([serialised], schema)
    assert parsed["image"].numpy()[0] == images.astype("<f4").tobytes()
    assert parsed["id"].numpy()[0] == features["id"].bytes_list.value[0]


def test_same_input_gives_the_same_bytes(tmp_path):
    table, images = some_table(9), RNG.normal(size=(9, 3, 5, 5)).astype(np.float32)
    entries = [records.write_records(tmp_path / name, images, table) for name in "ab"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert entries[0] == entries[1]
    # What a row was written after leaves no trace in it.
    records.write_records(tmp_path / "last", images[8:], table[8:])
    assert (tmp_path / "a").read_bytes().endswith((tmp_path / "last").read_bytes())


def test_labels_and_what_only_the_sample_knows_are_unknown_unless_given(tmp_path):
    write(tmp_path / "a", 2)
    back = read([tmp_path / "a"], 2, 3, 5)
    assert back["label"].tolist() == [-1, -1]
    assert back["class"].tolist() == back["grade"].tolist() == [b"", b""]
    assert np.isnan(back["theta_e_arcsec"]).all()


@pytest.mark.parametrize("columns", [["image", "label"], ["dec"], ["objid", "mag", "ra"]])
def test_only_the_columns_asked_for_are_given_and_parsed(tmp_path, columns):
    write(tmp_path / "a", 4)
    everything, some = (
        read([tmp_path / "a"], 4, 3, 5),
        read([tmp_path / "a"], 4, 3, 5, columns=columns),
    )
    assert list(some) == columns
    for name in columns:
        np.testing.assert_array_equal(some[name], everything[name])


@pytest.mark.parametrize("value", [65520, -1e30])
def test_pixels_beyond_float16_are_refused_with_the_galaxy(tmp_path, value):
    images, table = np.zeros((3, 3, 5, 5), np.float32), some_table(3)
    images[0, 0, 0] = np.inf, -np.inf, np.nan, 65504, -65504
    images[1, 2, 3, 4] = value
    with pytest.raises(LenspipeError, match=f"galaxy {table['id'][1]}: found a pixel of") as error:
        records.write_records(tmp_path / "a", images, table, dtype="float16")
    assert "records.dtype to float32" in str(error.value)
    assert list(tmp_path.iterdir()) == []
    records.write_records(tmp_path / "a", images[:1], table[:1], dtype="float16")
    np.testing.assert_array_equal(read([tmp_path / "a"], 1, 3, 5)["image"], images[:1])


def test_float16_takes_half_the_space_and_keeps_three_digits(tmp_path):
    images, table = RNG.normal(0, 10, (2, 3, 65, 65)).astype(np.float32), some_table(2)
    full, half = (
        records.write_records(tmp_path / dtype, images, table, dtype=dtype)
        for dtype in ("float32", "float16")
    )
    assert half["bytes"] == pytest.approx(full["bytes"] / 2, rel=0.03)
    back = read([tmp_path / "float16"], 2, 3, 65)["image"]
    np.testing.assert_allclose(back, images, rtol=2**-11, atol=1e-7)


def test_files_of_two_dtypes_are_not_read_together(tmp_path):
    for dtype in ("float32", "float16"):
        write(tmp_path / dtype, dtype=dtype)
    with pytest.raises(LenspipeError, match="float16 and float32, expected one"):
        records.dataset([tmp_path / "float32", tmp_path / "float16"], 1, 3, 5)


def test_identifiers_have_the_types_of_the_parent_sample(tmp_path):
    table = some_table(3)
    records.write_records(tmp_path / "a", np.zeros((3, 3, 5, 5), np.float32), table)
    batch = next(iter(records.dataset([tmp_path / "a"], 8, 3, 5)))
    back = records.table_of(batch)
    pd.testing.assert_frame_equal(back, table[list(records.IDENTIFIERS)])


def test_bands_are_those_of_exposures_where_z_is_not_among_them(tmp_path):
    table = make_table("1500p300", [1.0], [2.0], RNG, bands="gr")
    assert "mag_z" in table
    records.write_records(tmp_path / "a", np.zeros((1, 2, 5, 5), np.float32), table)
    back = read([tmp_path / "a"], 1, 2, 5)
    np.testing.assert_array_equal(back["mag"], table[["mag_g", "mag_r"]])


@pytest.fixture(scope="module")
def six_files(tmp_path_factory):
    """Files of 7 galaxies each, numbered on."""
    folder = tmp_path_factory.mktemp("six")
    for i in range(6):
        table = some_table(7).assign(objid=np.arange(7 * i, 7 * i + 7))
        images = np.broadcast_to(table["objid"].to_numpy("f4")[:, None, None, None], (7, 3, 5, 5))
        records.write_records(folder / f"{i}", images, table)
    return sorted(folder.iterdir())


def test_without_a_seed_rows_come_in_the_files_order(six_files):
    back = read(six_files, 8, 3, 5)
    assert back["objid"].tolist() == list(range(42))
    assert back["image"][:, 2, 4, 4].tolist() == list(range(42))


def test_a_seed_gives_one_order_and_another_seed_another(six_files):
    orders = [read(six_files, 8, 3, 5, shuffle=seed)["objid"].tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(42))
    data = records.dataset(six_files, 8, 3, 5, shuffle=1)
    for _ in range(2):
        again = [batch["objid"] for batch in data.as_numpy_iterator()]
        assert np.concatenate(again).tolist() == orders[0]


def test_last_batch_can_be_left_out(tmp_path):
    write(tmp_path / "a", 5)
    assert len(read([tmp_path / "a"], 2, 3, 5, drop_remainder=True)["id"]) == 4


def test_images_that_do_not_fit_the_table_are_refused(tmp_path):
    with pytest.raises(LenspipeError, match=r"\(2, 3, 5, 5\) for a table of 3 rows"):
        records.write_records(tmp_path / "a", np.zeros((2, 3, 5, 5), np.float32), some_table(3))
    assert not (tmp_path / "a").exists()


def test_other_shape_is_refused_with_both_shapes(tmp_path):
    write(tmp_path / "a", 1)
    with pytest.raises(LenspipeError, match=r"\(3, 5, 5\), expected \(3, 7, 7\)"):
        records.dataset([tmp_path / "a"], 1, 3, 7)


def test_other_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(records, "VERSION", 1)
        write(tmp_path / "a", 1)
    with pytest.raises(LenspipeError, match="version 1, expected 2; delete the file and run"):
        records.dataset([tmp_path / "a"], 1, 3, 5)


@pytest.mark.parametrize(
    "content",
    [b"no record", b"not a record at all", b"\x00" * 40, b"\x08" + b"\x00" * 11 + b"garbage!" * 2],
)
def test_garbled_file_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    for path in (tmp_path / "a", tmp_path / "missing"):
        with pytest.raises(LenspipeError, match=f"{path}: can't be read as records"):
            records.dataset([path], 1, 3, 5)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Settings of a run with the records of a sample, and nothing else."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        {"run": "a", "simulation": {}, "footprint": {"ra": [150, 151], "dec": [30, 31]}}
    )
    folder = settings.paths.records_manifest.parent
    names = ("train-00000", "train-00001", "validation-00000")
    shards = {f"{name}.tfrecord": write(folder / f"{name}.tfrecord", 4) for name in names}
    assert [shard["count"] for shard in shards.values()] == [4, 4, 4]
    manifest = {"version": records.VERSION, "dtype": "float32", "shards": shards}
    settings.paths.records_manifest.write_text(json.dumps(manifest))
    return settings


@pytest.mark.parametrize("full", [False, True])
def test_shards_as_they_were_written_pass(sample, full):
    folder = sample.paths.records_manifest.parent
    expected = [folder / "train-00000.tfrecord", folder / "train-00001.tfrecord"]
    assert check_shards(sample.paths.records_manifest, "train", full) == expected
    assert check_shards(sample.paths.records_manifest, "test", full) == []


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file, expected 4 records"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"found bytes \d+, expected \d+"),
        (lambda path: path.write_bytes(b""), r"found bytes 0, expected \d+"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), r"found count \d+, expected 4"),
        # Another four galaxies whose records take as much space.
        (lambda path: write(path, 4), "found frames_crc32 [0-9a-f]{8}, expected [0-9a-f]{8}"),
        (lambda path: flip(path, -1), "found frames_crc32"),
    ],
)
def test_shards_that_are_not_those_of_the_manifest_are_refused(sample, damage, message):
    path = sample.paths.records_manifest.with_name("train-00001.tfrecord")
    damage(path)
    with pytest.raises(LenspipeError, match=f"{path}: {message}.*sample.parquet and run") as error:
        check_shards(sample.paths.records_manifest, "train")
    assert "\n" not in str(error.value)
    assert len(check_shards(sample.paths.records_manifest, "validation")) == 1


def test_a_damaged_pixel_is_found_by_reading_all(sample):
    path = sample.paths.records_manifest.with_name("train-00001.tfrecord")
    flip(path, -100)
    assert len(check_shards(sample.paths.records_manifest, "train")) == 2
    with pytest.raises(LenspipeError, match=f"{path}: found a record that does not fit"):
        check_shards(sample.paths.records_manifest, "train", full=True)
    with pytest.raises(tf.errors.DataLossError):
        read([path], 8, 3, 5)


def test_a_manifest_of_another_version_or_none_is_refused(sample):
    path = sample.paths.records_manifest
    path.write_text(json.dumps({"version": 1, "shards": {}}))
    with pytest.raises(LenspipeError, match=r"version 1, expected 2; delete .*sample.parquet"):
        check_shards(sample.paths.records_manifest, "train")
    path.unlink()
    with pytest.raises(LenspipeError, match=r"records\.json: no such file"):
        check_shards(sample.paths.records_manifest, "train")


def test_chunk_holds_its_bricks_in_order_without_those_that_failed(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lenspipe")
    monkeypatch.chdir(tmp_path)
    settings = make_run(3, 4, 1, 1, size=21)
    manifest = settings.paths.manifest("cutouts", "64-000000")
    entries = read_manifest(manifest)
    bricks = sorted(entries)
    entries[bricks[1]] = {"status": "failed", "count": 0, "hash": "", "reason": "disk on fire"}
    settings.paths.cutouts(bricks[1]).unlink()
    write_manifest(manifest, entries)
    assert records_of_chunk(settings, "64-000000") == 8
    back = read([settings.paths.records("64-000000")], 3, 3, 21)
    assert back["brick"].astype(str).tolist() == [bricks[0]] * 4 + [bricks[2]] * 4
    assert back["objid"].tolist() == [0, 1, 2, 3] * 2
    assert "disk on fire" in caplog.text


def test_empty_chunk_gives_an_empty_file_that_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_run(1, 4, 1, 1, size=21)
    write_manifest(settings.paths.manifest("cutouts", "64-000009"), {})
    assert records_of_chunk(settings, "64-000009") == 0
    data = records.dataset([settings.paths.records("64-000009")], 4, 3, 21)
    assert list(data) == []
