"""Tests of injecting lenses into galaxies of the search, and of their sources."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.fake_run import make_run, make_table, write_cutouts

from lenspipe.completeness import hosts, painting
from lenspipe.config.flags import FLAGS
from lenspipe.config.settings import load_settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.models.registry import build
from lenspipe.products import parts
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest, write_manifest
from lenspipe.products.schema import product_of
from lenspipe.products.verify import compare_file, placeholder_values
from lenspipe.scoring import score as inference
from lenspipe.scoring.records import records_of_chunk
from lenspipe.simulation.injection import _draw_halos, inject, lens_rates
from lenspipe.simulation.lenses import SIGMA_SCATTER, deflector_of, is_arc_like
from lenspipe.simulation.lensing import einstein_radius_sis
from lenspipe.simulation.sources import SOURCE_DENSITY, draw_sizes, draw_sources, lens_rate
from lenspipe.statistics.calibration import fit_calibration, write_calibration
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic

SIZE, NUMBER = 33, 60
TEST = ("1504p300", "1505p300")
CONFIG = {
    "selection": {"number": NUMBER},
    "inference": {"batch_size": 16, "backend": "tensorflow"},
    "candidates": {"threshold": 0.4},
}


def write_model(settings, adapted_to="1500p300"):
    """A small untrained network, adapted to the cutouts."""
    model = build("cmu_deeplens", size=SIZE, widths=[4], units=1, stem_filters=4, stem_stride=2)
    model.get_layer("normalise").adapt(read_cutouts(settings.paths.cutouts(adapted_to))[0])
    with atomic(settings.paths.model("resnet")) as temporary:
        model.save(temporary)
    rng = np.random.default_rng(1)
    label = rng.random(50) < 0.5
    calibration = fit_calibration(label, rng.random(50), "temperature")
    write_calibration(settings.paths.model("resnet", "calibration.json"), calibration)


def write_sample(settings):
    """Bricks divided between splits; of the training bricks some galaxies are in the sample."""
    paths = settings.paths
    bricks = pd.read_parquet(paths.bricks)["brick"]
    split = pd.Series(np.where(bricks.isin(TEST), "test", "train"), bricks)
    split["1503p300"] = "validation"
    paths.splits.parent.mkdir(exist_ok=True)
    split.rename_axis("brick").rename("split").to_csv(paths.splits)
    tables = [pd.read_parquet(path) for path in sorted(paths.root.glob("parent/*.parquet"))]
    sample = pd.concat(tables)[["id", "brick"]].groupby("brick").head(12)
    sample = sample.assign(split=sample["brick"].map(split).to_numpy())
    sample.to_parquet(paths.sample)
    paths.sample_version(1).parent.mkdir(exist_ok=True)
    sample.to_parquet(paths.sample_version(1))


def write_truth(settings):
    """A truth with a lens in no list: the last galaxy of the first test brick."""
    table = pd.read_parquet(settings.paths.parent("64-000001"))
    unlisted = table[table["brick"] == TEST[0]].tail(1)
    truth = unlisted[["id", "ra", "dec"]].assign(kind="lens", theta_e_arcsec=1.5, beta=0.4)
    truth.assign(visible=True, primary=True).to_parquet(settings.paths.truth)
    return unlisted["id"].iloc[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = make_run(6, 40, 4, 2, size=SIZE, **CONFIG)
        write_model(settings)
        write_sample(settings)
        write_truth(settings)
        write_scores(settings)
        injected = painting.inject_and_score(settings)
    return folder, settings, injected


@pytest.fixture
def settings(run, monkeypatch):
    monkeypatch.chdir(run[0])
    return run[1]


@pytest.fixture
def injected(run):
    return run[2]


def injected_as(settings):
    """Arguments of `inject` after its generator."""
    return settings.survey.bands, settings.release, settings.injection, settings.selection


def choose_hosts(settings):
    galaxies = hosts.HeldOutGalaxies.of(settings)
    return hosts.choose_hosts(galaxies, settings.selection, "z", settings.seed)


def injected_images(settings, rows):
    given = settings.seed, settings.injection, settings.selection
    return painting.injected_images(CutoutFiles.of(settings), rows, *given)


def write_scores(settings):
    """Scores of all galaxies, all different."""
    for path in sorted(settings.paths.root.glob("parent/*.parquet")):
        table = pd.read_parquet(path)[["id", "brick"]]
        scores = settings.paths.scores(path.stem)
        scores.parent.mkdir(exist_ok=True)
        table.assign(p=host_score(table["id"])).to_parquet(scores)


def host_score(ids):
    return (ids.str.rpartition("-")[2].astype(int) / 1000).to_numpy(np.float32)


def changed(settings, **sections):
    """Settings with keys of some sections changed."""
    config = settings.model_dump(mode="json", exclude_unset=True)
    for section, keys in sections.items():
        config[section] = config.get(section, {}) | keys
    return load_settings(config)


# Hosts.


def test_hosts_are_of_held_out_bricks_and_away_from_lenses(settings, injected):
    assert set(injected["brick"]) == set(TEST)
    lenses = hosts.HeldOutGalaxies.of(settings).lens_positions()
    away = np.hypot(
        (injected["ra"].to_numpy()[:, None] - lenses["ra"].to_numpy()) * np.cos(np.radians(30)),
        injected["dec"].to_numpy()[:, None] - lenses["dec"].to_numpy(),
    )
    assert away.min() * 3600 >= settings.sample.exclusion_arcsec
    # make_run's lenses come first; the unlisted one last.
    places = injected["id"].str.rpartition("-")[2].astype(int)
    assert places.min() >= 4
    unlisted = pd.read_parquet(settings.paths.truth)["id"].iloc[0]
    assert unlisted not in set(injected["id"])


def test_where_nothing_is_held_out_hosts_were_never_in_the_sample(settings):
    all_trained = changed(settings, sample={"fractions": "none"})
    assert all_trained.held_out is None
    chosen = choose_hosts(all_trained)
    assert set(chosen["id"]).isdisjoint(pd.read_parquet(settings.paths.sample)["id"])
    assert chosen["brick"].nunique() == 6


def test_a_given_model_has_hosts_in_all_bricks(settings):
    path = str(settings.paths.model("resnet"))
    given = changed(settings, inference={"model": path})
    assert choose_hosts(given)["brick"].nunique() == 6


def test_bricks_that_failed_have_no_hosts(settings):
    manifest = settings.paths.manifest("cutouts", "64-000001")
    entries = read_manifest(manifest)
    failed = {"status": "failed", "count": 0, "hash": "", "reason": "gone"}
    try:
        write_manifest(manifest, entries | {TEST[0]: failed})
        assert set(choose_hosts(settings)["brick"]) == {TEST[1]}
        write_manifest(manifest, entries | {TEST[0]: failed, TEST[1]: failed})
        with pytest.raises(LenspipeError, match="found no brick of the test split with cutouts"):
            choose_hosts(settings)
    finally:
        write_manifest(manifest, entries)


def test_magnitudes_are_covered_uniformly():
    rng = np.random.default_rng(3)
    mag = np.concatenate([rng.normal(19, 0.5, 5000).clip(16, 20), rng.uniform(16, 20, 500)])
    rates = rng.uniform(0, 0.2, len(mag))
    often, _ = hosts._uniform_in_magnitude(mag, rates, 4000, rng)
    assert often.sum() == 4000
    counts, _ = np.histogram(mag, 10, np.quantile(mag, [0.005, 0.995]), weights=often)
    assert counts == pytest.approx(400, rel=0.05)
    assert often.max() <= 25
    # Few galaxies take no more than they can: the rest goes to others, then there are fewer.
    few, _ = hosts._uniform_in_magnitude(np.array([17.0, 18.0, 18.1, 19.0]), rates[:4], 80, rng)
    assert 0 < few.sum() <= 80
    assert few.max() <= 25
    all_of_them, _ = hosts._uniform_in_magnitude(mag, rates, 1_000_000, rng)
    assert all_of_them.sum() <= 25 * len(mag)
    assert all_of_them.max() == 25


def test_galaxies_are_drawn_in_proportion_to_the_lenses_that_they_are():
    rng = np.random.default_rng(4)
    mag, rates = rng.uniform(18, 20, 4000), rng.uniform(0.01, 0.1, 4000)
    often, share = hosts._uniform_in_magnitude(mag, rates, 2000, rng)
    drawn = np.repeat(np.arange(4000), often)
    likely = rates > 0.055
    expected = rates[likely].sum() / rates.sum()
    assert likely[drawn].mean() == pytest.approx(expected, abs=0.03)
    # Weighted with the share, any quantity has the mean that it has over all galaxies.
    weighted = (share * rates)[drawn].sum() / len(drawn)
    assert weighted == pytest.approx(rates.mean(), rel=0.02)
    # One much likelier than the others, and some that are no lens at all.
    odd = np.array([10.0, *np.full(30, 0.1), *np.zeros(9)])
    expected = hosts._proportional(odd, 60)
    assert expected[0] == 25
    assert expected.sum() == pytest.approx(60)
    assert expected[-1] > 0


# Injected lenses.


def test_rows_have_what_the_contract_says(settings, injected):
    assert len(injected) == NUMBER
    path, values = (
        settings.paths.selection("injected.parquet"),
        placeholder_values(settings.paths.root),
    )
    assert compare_file(path, product_of("selection/injected.parquet"), values) == []
    assert (injected["p_host"] == host_score(injected["id"])).all()
    assert injected["p_calibrated"].notna().all()
    assert not injected.duplicated(["id", "draw"]).any()
    pd.testing.assert_frame_equal(pd.read_parquet(path), injected)
    painting.show_injected(settings)
    assert settings.paths.selection("injected.png").exists()
    assert not settings.paths.selection("parts").exists()
    catalog = pd.concat([read_cutouts(settings.paths.cutouts(brick))[1] for brick in TEST])
    same = catalog.set_index("id").loc[
        injected["id"], ["ra", "dec", "mag_z", "psfsize_g", "nobs_r"]
    ]
    pd.testing.assert_frame_equal(same.reset_index(drop=True), injected[list(same)])


def test_lenses_are_drawn_uniformly_visible_or_not(settings):
    wide = {"number": 600, "theta_e_range": [1.2, 3.0], "arc_mag_range": [20.0, 25.0]}
    many = changed(settings, selection=wide)
    _, _, truth = injected_images(many, choose_hosts(many))
    assert truth["theta_e_arcsec"].between(1.2, 3.0).all()
    for column, ends in (("theta_e_arcsec", (1.2, 3.0)), ("arc_mag_g", (20.5, 24.5))):
        inside = truth[column].between(*ends)
        counts, _ = np.histogram(truth[column], 4, ends)
        assert counts == pytest.approx(inside.sum() / 4, rel=0.25), column
    assert (truth["arc_snr"] == 0).any()
    assert (truth["arc_snr"] > 10).any()
    assert (truth["z_source"] > truth["z_lens"]).all()
    beta = np.hypot(truth["beta_1"], truth["beta_2"])
    assert is_arc_like(truth["theta_e_arcsec"], beta, truth["source_r_half"]).all()


def test_a_lens_depends_on_its_galaxy_and_seed_only(settings, injected):
    few = injected.iloc[[3, 17, 40]].reset_index(drop=True)
    images, catalog, truth = injected_images(settings, few)
    assert catalog["id"].tolist() == few["id"].tolist()
    columns = ["theta_e_arcsec", "arc_snr", "source_mag_g", "clump_seed"]
    assert truth[columns].equals(few[columns])
    again, _, _ = injected_images(settings, few[1:2])
    assert again.tobytes() == images[1:2].tobytes()
    other = settings.model_copy(update={"seed": 2})
    assert (injected_images(other, few)[0] != images).any(axis=(1, 2, 3)).all()


# Scores and selection.


def test_scores_are_those_of_the_search(settings, injected, tmp_path, monkeypatch):
    images, catalog, _ = injected_images(settings, injected)
    model = settings.paths.model("resnet").resolve()
    monkeypatch.chdir(tmp_path)
    given = CONFIG["inference"] | {"model": str(model)}
    other = make_run(1, NUMBER, size=SIZE, **CONFIG | {"inference": given})
    table = make_table("1500p300", catalog["ra"], catalog["dec"], np.random.default_rng(1))
    write_cutouts(other.paths.cutouts("1500p300"), images, table)
    records_of_chunk(other, "64-000000")
    inference.score_chunk(other, "64-000000")
    scores = pd.read_parquet(other.paths.scores("64-000000"))
    for column in ("p", "p_calibrated"):
        assert scores[column].to_numpy() == pytest.approx(injected[column].to_numpy(), abs=1e-6)
    assert injected["p"].nunique() > NUMBER / 2


def test_found_is_above_the_cut_and_without_a_rejected_flag(settings, injected):
    assert (injected["found"] == (injected["p"] >= np.float32(0.4))).all()
    cut = float(injected["p"].median())
    groups = [{"region": "south", "cut": cut}, {"region": "north", "cut": None}]
    record = {"per": ["region"], "groups": groups}
    by_fraction = {"threshold": {"by": "fraction", "value": 0.1, "per": "region"}}
    chosen = changed(settings, candidates=by_fraction)
    with pytest.raises(LenspipeError, match=r"cuts\.json: no such file"):
        painting.inject_and_score(chosen)
    settings.paths.cuts.parent.mkdir(exist_ok=True)
    settings.paths.cuts.write_text(json.dumps(record))
    again = painting.inject_and_score(chosen)
    assert (again["found"] == (injected["p"] >= np.float32(cut))).all()
    assert again["found"].sum() == pytest.approx(NUMBER / 2, abs=2)


def test_a_band_that_is_missing_loses_the_lens(settings):
    path = settings.paths.cutouts(TEST[0])
    images, table = read_cutouts(path)
    images, table = images.copy(), table.copy()
    images[:, 0] = np.nan
    table["flags"] = np.int32(FLAGS.MISSING_BAND)
    before = path.read_bytes()
    try:
        write_cutouts(path, images, table)
        lenses = painting.inject_and_score(changed(settings, candidates={"threshold": 0.0}))
        hit = lenses["brick"] == TEST[0]
        assert hit.any()
        assert not lenses.loc[hit, "found"].any()
        assert lenses.loc[~hit, "found"].all()
        seen = hit & (lenses["arc_snr"] > 0)
        assert seen.any()
        assert (lenses.loc[seen, "snr_band"] != "g").all()
        # Nothing at all to be seen, and an unknown seeing, are no error either.
        images[:] = np.nan
        table[["psfsize_r", "psfsize_z"]] = np.float32(0)
        write_cutouts(path, images, table)
        lenses = painting.inject_and_score(settings)
        assert (lenses.loc[hit, "arc_snr"] == 0).all()
        assert not lenses.loc[hit, "found"].any()
    finally:
        path.write_bytes(before)


def test_killed_and_started_again_gives_the_same(settings, injected, monkeypatch):
    monkeypatch.setattr(parts, "_SECONDS", 0.0)
    calls, batch = [], painting._score_batch

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return batch(*arguments)

    path = settings.paths.selection("injected.parquet")
    path.unlink(missing_ok=True)
    monkeypatch.setattr(painting, "_score_batch", counted)
    with pytest.raises(KeyboardInterrupt):
        painting.inject_and_score(settings)
    assert not path.exists()
    again, content = painting.inject_and_score(settings), path.read_bytes()
    assert len(calls) == 3 + 2  # batches of 16: two were done, two were left
    pd.testing.assert_frame_equal(again, injected)
    # Another seed begins anew.
    calls[:] = [1, 1, 1]
    painting.inject_and_score(settings.model_copy(update={"seed": 5}))
    assert len(calls) == 3 + 4
    path.write_bytes(content)


def test_a_chunk_without_scores_is_named(settings):
    path = settings.paths.scores("64-000001")
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(LenspipeError, match=r"64-000001\.parquet: no such file, expected scores"):
        painting.inject_and_score(settings)
    path.write_bytes(content)


def test_redshifts_need_r_and_z():
    config = {"run": "r", "survey": {"tree": "x", "bands": ["g", "z"]}, "selection": {"number": 5}}
    with pytest.raises(
        LenspipeError, match=r"selection\.number: redshifts.*add r to survey\.bands"
    ):
        load_settings(config | {"inference": {"model": "m.keras"}})


def test_a_list_of_targets_has_no_hosts():
    with pytest.raises(
        LenspipeError, match=r"selection\.number: lenses are injected into galaxies"
    ):
        load_settings(
            {"run": "r", "targets": "t.csv", "survey": {"tree": "x"}, "selection": {"number": 5}}
            | {"inference": {"model": "m.keras"}}
        )


@pytest.mark.parametrize("key", ["theta_e_range", "arc_mag_range"])
def test_ranges_are_ordered(key):
    with pytest.raises(LenspipeError, match=rf"selection\.{key}.*first number must be below"):
        load_settings({"run": "r", "simulation": {}, "selection": {key: [3, 2]}})


# How many sources a galaxy lenses.


def test_source_counts_agree_with_the_source_cited():
    source = draw_sources(np.random.default_rng(1), 400_000)
    for limit in (25.0, 25.3):
        expected = 46 * 10 ** (0.31 * (limit - 25))  # per square arcmin: LSST Science Book
        found = SOURCE_DENSITY * (source["mag_i"] < limit).mean()
        assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("z_lens", "sigma_v"), [(0.2, 180.0), (0.5, 232.0), (0.9, 320.0)])
def test_lens_rate_is_that_of_drawn_sources(z_lens, sigma_v):
    rng = np.random.default_rng(4)
    z = draw_sources(rng, 400_000)["z"]
    sigma = sigma_v * 10 ** rng.normal(0, SIGMA_SCATTER, len(z))
    theta_e = einstein_radius_sis(sigma, z_lens, z)
    counts = (z > z_lens + 0.05) & (theta_e >= 0.8) & (theta_e <= 3.5)
    expected = SOURCE_DENSITY / 3600 * np.mean(np.where(counts, np.pi * theta_e**2, 0))
    found = lens_rate(np.array([z_lens]), np.array([sigma_v]), SIGMA_SCATTER, (0.8, 3.5))
    assert found == pytest.approx(expected, rel=0.02)


def test_lens_rate_is_that_of_all_halos():
    rng = np.random.default_rng(5)
    z, number = draw_sources(rng, 400_000)["z"], 400_000
    table = pd.DataFrame({"mag_r": [19.2], "mag_z": [18.1]})
    z_lens, sigma_v = deflector_of(table["mag_r"].to_numpy(), table["mag_z"].to_numpy())
    theta_e = einstein_radius_sis(sigma_v, z_lens, z) * _draw_halos(rng, number)
    counts = (z > z_lens + 0.05) & (theta_e >= 0.8) & (theta_e <= 3.5)
    expected = SOURCE_DENSITY / 3600 * np.mean(np.where(counts, np.pi * theta_e**2, 0))
    assert lens_rates(table, (0.8, 3.5)) == pytest.approx(expected, rel=0.02)


def test_weights_add_up_to_the_number_of_lenses():
    settings = load_settings(
        {"run": "r", "simulation": {}, "footprint": {"ra": [1, 2], "dec": [1, 2]}}
        | {"selection": {"theta_e_range": [0.8, 3.5], "arc_mag_range": [17.0, 26.5]}}
    )
    table = make_table("1500p300", np.full(900, 150.0), 30.0, np.random.default_rng(1))
    table = table.assign(mag_r=np.float32(19.2), mag_z=np.float32(18.1), psfsize_g=np.float32(1.3))
    images = np.random.default_rng(2).normal(0, 0.01, (900, 3, 15, 15)).astype(np.float32)
    _, truth = inject(images, table, np.random.default_rng(3), *injected_as(settings))
    assert (truth["weight"] >= 0).all()
    error = truth["weight"].std() / np.sqrt(900)
    # Of the sources that such a galaxy lenses, those whose images are arcs.
    rng = np.random.default_rng(5)
    source = draw_sources(rng, 200_000)
    r_half = draw_sizes(rng, source["z"], source["mag_z"])
    beta, z_lens = np.sqrt(rng.random(200_000)), truth["z_lens"][0]
    _, sigma_v = deflector_of(*(table[name].to_numpy()[:1] for name in ("mag_r", "mag_z")))
    theta_e = einstein_radius_sis(sigma_v, z_lens, source["z"]) * _draw_halos(rng, 200_000)
    counts = (source["z"] > z_lens + 0.05) & (theta_e >= 0.8) & (theta_e <= 3.5)
    counts &= is_arc_like(np.where(counts, theta_e, 1.0), beta, r_half)
    area = np.where(counts, np.pi * theta_e**2, 0)
    expected = SOURCE_DENSITY / 3600 * area.mean()
    assert truth["weight"].mean() == pytest.approx(expected, abs=3 * error)
    assert error < 0.07 * expected < 0.07 * truth["lens_rate"][0]
    for column, values in (("source_mag_g", source["mag_g"]), ("theta_e_arcsec", theta_e)):
        found = np.average(truth[column], weights=truth["weight"])
        assert found == pytest.approx(np.average(values, weights=area), abs=0.15), column


def test_lens_rate_is_a_column_and_rises_with_mass(settings, injected):
    theta_e_range = settings.injection.theta_e_range
    assert injected["lens_rate"].to_numpy() == pytest.approx(lens_rates(injected, theta_e_range))
    faint, bright = lens_rates(
        pd.DataFrame({"mag_r": [20.9, 19.5], "mag_z": [19.8, 18.4]}).astype("float32"),
        theta_e_range,
    )
    assert 0 < faint < bright < 1
    # Unknown magnitudes are those of a typical galaxy.
    unknown = lens_rates(pd.DataFrame({"mag_r": [np.nan], "mag_z": [18.0]}), theta_e_range)
    assert 0 < unknown[0] < 1
