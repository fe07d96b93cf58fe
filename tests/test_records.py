import numpy as np
import pandas as pd
import pytest
from fake_run import make_run, make_table
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lenspipe import records
from lenspipe.errors import LenspipeError
from lenspipe.manifest import read_manifest, write_manifest

RNG = np.random.default_rng(0)


def read(paths, batch_size, bands, size, **options):
    """All batches of a data set as one dict of arrays."""
    batches = list(records.dataset(paths, batch_size, bands, size, **options).as_numpy_iterator())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def some_table(n):
    return make_table("1500p300", RNG.uniform(0, 360, n), RNG.uniform(-90, 90, n), RNG)


@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), n=st.integers(1, 5), size=st.sampled_from([1, 5, 21]))
def test_everything_comes_back_as_it_was_written(tmp_path, data, n, size):
    pixels = st.floats(width=32, allow_nan=True, allow_infinity=True)
    images = data.draw(arrays(np.float32, (n, 3, size, size), elements=pixels, fill=pixels))
    labels = data.draw(arrays(np.float32, n, elements=st.sampled_from([-1.0, 0.0, 1.0])))
    table = some_table(n)
    path = tmp_path / "a.tfrecord"
    records.write_records(path, images, table, labels)
    back = read([path], 2, 3, size)
    np.testing.assert_array_equal(back["image"], images)
    np.testing.assert_array_equal(back["label"], labels)
    for name in ("ra", "dec", "release", "brickid", "objid", "flags"):
        np.testing.assert_array_equal(back[name], table[name])
    for name in ("id", "brick", "region", "type"):
        assert back[name].astype(str).tolist() == table[name].tolist()
    for name in ("mag", "nobs", "psfsize"):
        np.testing.assert_array_equal(back[name], table[[f"{name}_{band}" for band in "grz"]])


def test_labels_are_unknown_unless_given(tmp_path):
    records.write_records(tmp_path / "a", np.zeros((2, 3, 5, 5), np.float32), some_table(2))
    assert read([tmp_path / "a"], 2, 3, 5)["label"].tolist() == [-1, -1]


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


def test_a_seed_gives_one_order_and_another_seed_another(tmp_path):
    table = some_table(40)
    images = np.zeros((40, 3, 5, 5), np.float32)
    records.write_records(tmp_path / "a", images, table)
    orders = [
        read([tmp_path / "a"], 8, 3, 5, columns=["objid"], shuffle=seed)["objid"].tolist()
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(40))


def test_last_batch_can_be_left_out(tmp_path):
    records.write_records(tmp_path / "a", np.zeros((5, 3, 5, 5), np.float32), some_table(5))
    assert len(read([tmp_path / "a"], 2, 3, 5, drop_remainder=True)["id"]) == 4


def test_images_that_do_not_fit_the_table_are_refused(tmp_path):
    with pytest.raises(LenspipeError, match=r"\(2, 3, 5, 5\) for a table of 3 rows"):
        records.write_records(tmp_path / "a", np.zeros((2, 3, 5, 5), np.float32), some_table(3))
    assert not (tmp_path / "a").exists()


def test_other_shape_is_refused_with_both_shapes(tmp_path):
    records.write_records(tmp_path / "a", np.zeros((1, 3, 5, 5), np.float32), some_table(1))
    with pytest.raises(LenspipeError, match=r"\(3, 5, 5\), expected \(3, 7, 7\)"):
        records.dataset([tmp_path / "a"], 1, 3, 7)


def test_other_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(records, "VERSION", 2)
        records.write_records(tmp_path / "a", np.zeros((1, 3, 5, 5), np.float32), some_table(1))
    with pytest.raises(LenspipeError, match="version 2, expected 1"):
        records.dataset([tmp_path / "a"], 1, 3, 5)


@pytest.mark.parametrize("content", [b"no record at all", b"\x00" * 40])
def test_garbled_file_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(LenspipeError, match="can't be read as records"):
        records.dataset([tmp_path / "a"], 1, 3, 5)


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
    assert records.records_of_chunk(settings, "64-000000") == 8
    back = read([settings.paths.records("64-000000")], 3, 3, 21)
    assert back["brick"].astype(str).tolist() == [bricks[0]] * 4 + [bricks[2]] * 4
    assert back["objid"].tolist() == [0, 1, 2, 3] * 2
    assert "disk on fire" in caplog.text


def test_empty_chunk_gives_an_empty_file_that_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = make_run(1, 4, 1, 1, size=21)
    write_manifest(settings.paths.manifest("cutouts", "64-000009"), {})
    assert records.records_of_chunk(settings, "64-000009") == 0
    data = records.dataset([settings.paths.records("64-000009")], 4, 3, 21)
    assert list(data) == []
