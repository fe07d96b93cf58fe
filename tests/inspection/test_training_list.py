"""Training with images whose truth is known, and example pictures of the grades."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_run import draw, make_table
from helpers.portal import Grader, make_run, serving, vote
from PIL import Image

from lenspipe.cli.main import main
from lenspipe.config.paths import RunPaths
from lenspipe.inspection.images import Cutouts
from lenspipe.inspection.training import Examples, draw_examples, draw_training_set
from lenspipe.utils.errors import LenspipeError

N = 90


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A run with a labelled sample: 30 lenses, the first injected; 60 non-lenses, 30 confusing."""
    from lenspipe.products.records import write_records

    paths = make_run(tmp_path_factory.mktemp("training"), n=12)
    rng = np.random.default_rng(2)
    table = make_table("1500p020", 150 + 0.001 * np.arange(N), np.full(N, 2.1), rng)
    table["label"] = (np.arange(N) < 30).astype(np.float32)
    table["class"] = np.repeat(["lens", "confusing:ring", "random"], 30)
    table.loc[0, ["id", "class"]] = f"injected:{table['id'][0]}", "injected"
    table["grade"] = [*"ABC" * 10, *[""] * 60]
    table = table.assign(references="", split="train", shard="train-00000.tfrecord", row=range(N))
    images = np.array([draw("lens" if i < 30 else "spiral", 33, rng) for i in range(N)])
    write_records(paths.sample.with_name("train-00000.tfrecord"), images, table, table["label"])
    table.to_parquet(paths.sample)
    injected = table[:1].assign(id=table["id"][:1].str.removeprefix("injected:"))
    injected.assign(theta_e_arcsec=1.84).to_parquet(paths.injected)
    return SimpleNamespace(paths=paths, table=table.set_index("id"), images=images)


@pytest.fixture(scope="module")
def training(labelled):
    return draw_training_set(labelled.paths, 0)


def test_lenses_and_non_lenses_of_the_sample(labelled, training):
    paths, table = labelled.paths, labelled.table
    places, _ = Cutouts().rows(training)
    assert len(places) == 50
    assert table.loc[list(places), "label"].sum() == 20
    for galaxy in list(places)[::7]:
        image = Cutouts().read(training, galaxy).image
        np.testing.assert_array_equal(image, labelled.images[table.loc[galaxy, "row"]])
    other = draw_training_set(paths, 1)
    assert set(Cutouts().rows(other)[0]) != set(places)
    assert draw_training_set(paths, 0) == training
    with pytest.raises(LenspipeError, match=r"--training: found no .*sample.parquet"):
        draw_training_set(RunPaths("other", paths.root.parent), 0)


def test_a_lens_that_no_catalogue_has_is_no_non_lens(labelled, tmp_path):
    """Simulated skies: what is labelled as a non-lens but shows a lens is left out."""
    paths = RunPaths("sky", tmp_path)
    paths.sample.parent.mkdir(parents=True)
    paths.truth.parent.mkdir(parents=True)
    for path in labelled.paths.sample.parent.iterdir():
        (paths.sample.parent / path.name).symlink_to(path)
    table = labelled.table.reset_index()
    truth = table[["id", "ra", "dec"]].assign(kind="lens", theta_e_arcsec=1.5, beta=0.3)
    truth = truth.assign(visible=True, primary=True)
    truth.loc[45:, ["kind", "visible"]] = "elliptical", False
    truth.loc[45:, "ra"] += 5
    truth.to_parquet(paths.truth)
    places, _ = Cutouts().rows(draw_training_set(paths, 0))
    others = [galaxy for galaxy in places if labelled.table.loc[galaxy, "label"] == 0]
    assert len(others) == 30
    assert set(others) <= set(truth["id"][45:])


def test_the_truth_is_told_after_the_grade(labelled, training):
    table = labelled.table
    with serving(labelled.paths, ("anna", "ben"), training=training) as (address, store):
        anna, ben = Grader(address, "anna"), Grader(address, "ben")
        about = anna.list()
        assert about["training"]
        names = [entry["name"] for entry in about["entries"]]
        assert len(names) == 50
        assert names != [entry["name"] for entry in ben.list()["entries"]]
        assert {entry["viewer"] for entry in about["entries"]} == {None}
        items = [item.removeprefix("training:") for item in store.list_of("anna", 1)]
        rows = table.loc[items]

        def truth(place):
            return anna.session.get(f"{anna.address}/truth/{place}", timeout=60)

        anna.post(about, [vote(0, "", comment="a comment is no grade")])
        assert truth(0).status_code == 403
        assert truth(99).status_code == 404
        lens, ring, plain = (
            int(np.flatnonzero(rows["class"] == name)[0])
            for name in ("lens", "confusing:ring", "random")
        )
        anna.grade(about, {lens: "B", ring: "C", plain: "D"})
        grade = rows["grade"].iloc[lens]
        assert truth(lens).json() == {
            "lens": True, "text": f"A lens, published grade {grade}.",
            "tally": {"lenses": 1, "found": 1, "others": 2, "taken": 1},
        }  # fmt: skip
        assert truth(ring).json()["text"] == "Not a lens: ring."
        assert truth(plain).json()["text"] == "Not a known lens."
        assert anna.session.get(f"{anna.address}/result", timeout=60).status_code == 403
        anna.grade(about, {e["place"]: "D" for e in about["entries"] if e["place"] != lens})
        result = anna.session.get(f"{anna.address}/result", timeout=60).json()
        assert result == {"tally": {"lenses": 20, "found": 1, "others": 30, "taken": 0}}
        assert {vote["item"].partition(":")[0] for vote in store.votes()} == {"training"}
        assert store.path == training.with_suffix(".sqlite")


def test_candidates_have_no_truth(labelled):
    with serving(labelled.paths) as (address, _):
        anna = Grader(address, "anna")
        about = anna.list()
        assert not about["training"]
        anna.grade(about, {0: "A"})
        assert anna.session.get(f"{anna.address}/truth/0", timeout=60).status_code == 403
        answer = anna.session.get(f"{anna.address}/examples", timeout=60).json()
        assert answer == {"examples": []}


def test_examples_of_each_grade(labelled):
    file = draw_examples(labelled.paths)
    examples = Examples(lambda: file)
    assert [each["grade"] for each in examples.describe()] == [*"AABBCCDD"]
    texts = [each["text"] for each in examples.describe()]
    assert texts[2] == "A lens, published grade B."
    assert texts[6:] == ["Not a lens: ring.", "Not a known lens."]
    with serving(labelled.paths, examples=lambda: file) as (address, _):
        anna = Grader(address, "anna")
        told = anna.session.get(f"{anna.address}/examples", timeout=60).json()["examples"]
        assert told == examples.describe()
        picture = anna.session.get(f"{anna.address}/example/7", timeout=60)
        assert Image.open(io.BytesIO(picture.content)).size == (33, 33)
        assert anna.session.get(f"{anna.address}/example/8", timeout=60).status_code == 404
    assert draw_examples(RunPaths("none", labelled.paths.root.parent)) is None


def test_an_injected_lens_is_described(labelled):
    from lenspipe.inspection.training import _read_truth, describe_truth

    row = _read_truth(labelled.paths).set_index("id").loc[labelled.table.index[0]]
    assert describe_truth(row) == "A simulated lens, Einstein radius 1.8″, published grade A."


@pytest.mark.parametrize(
    "others", [["--export"], ["--stage", "2"], ["--order", "informative"], ["--injected", "3"]]
)
def test_training_is_not_for_candidates(labelled, capsys, others):
    assert main(["inspect", str(labelled.paths.root), "--training", *others]) == 1
    assert f"--training: found also {others[0]}" in capsys.readouterr().err


def test_votes_of_a_training_are_kept_apart(labelled, monkeypatch):
    from lenspipe.cli import inspection

    served = []
    monkeypatch.setattr(
        inspection, "_serve", lambda options, app, store, lists, graders: served.append(store.path)
    )
    root = str(labelled.paths.root)
    assert main(["inspect", root, "--grader", "anna", "--training", "--seed", "1"]) == 0
    assert main(["inspect", root, "--grader", "anna"]) == 0
    names = ["training-1.sqlite", "grades.sqlite"]
    assert served == [labelled.paths.inspection(name) for name in names]
