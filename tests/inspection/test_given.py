"""`lenspipe inspect` of a list of positions and of a file of cutouts: nothing of a network."""

import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.io import fits
from helpers.fake_run import draw
from helpers.loopback import Loopback
from helpers.portal import Grader, serving

from lenspipe.cli import inspection
from lenspipe.cli.main import main
from lenspipe.config.paths import RunPaths
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.products.cutouts import read_cutouts
from lenspipe.survey.bricks import brick_grid, brick_wcs

N = 50


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Runs `lenspipe inspect` with a grader who gives A and D in turn; returns what it served."""
    monkeypatch.chdir(tmp_path)
    served = []

    def serve(options, app, store, lists, graders):
        paths = lists.paths
        served.append(paths)
        store.close()
        with serving(paths, graders) as (address, _):
            grader = Grader(address, graders[0])
            about = grader.list()
            name = {entry["place"]: entry["name"] for entry in about["entries"]}
            grader.grade(about, {place: "AD"[place % 2] for place in name})
            picture = grader.session.get(f"{grader.address}/image/0", timeout=60)
            assert picture.headers["content-type"] == "image/png"
            served.append(name)

    monkeypatch.setattr(inspection, "_serve", serve)
    return served


def positions(bricks):
    """Positions in the middle of small bricks, of which every second one has a name."""
    grid, rng, rows = brick_grid(0.25), np.random.default_rng(3), []
    for i in range(N):
        wcs = brick_wcs(*grid.centre(bricks[i % len(bricks)]), RELEASES["dr9"])
        wcs.wcs.crpix = [200.5, 200.5]
        ra, dec = wcs.all_pix2world(rng.uniform(100, 300, (1, 2)), 0)[0]
        rows.append({"name": f"lens {i}" if i % 2 else "", "ra": ra, "dec": dec})
    return pd.DataFrame(rows)


def test_a_list_is_fetched_graded_and_exported(small_survey, tmp_path, graded, capsys):
    table = positions(small_survey.bricks)
    table.to_csv(tmp_path / "my list.csv", index=False)
    with Loopback(small_survey.tree) as server:
        config = {
            "survey": {"release": "dr9", "tree": server.url},
            "retrieval": {"contact": "me@example.org"},
            "chunks": {"nside": 4},
        }
        (tmp_path / "survey.yaml").write_text(yaml.safe_dump(config))
        arguments = ["inspect", "my list.csv", "--config", "survey.yaml", "--grader", "anna"]
        assert main(arguments) == 0
        paths, names = graded
        assert paths.root.resolve() == tmp_path / "results" / "my-list"
        assert len(set(names.values())) == N
        fetched = len(server.requests)
        # Again: nothing is fetched but the survey's tables of bricks, and nothing is lost.
        assert main(arguments) == 0
        assert not [r for r in server.requests[fetched:] if "coadd" in r.path]
        # Sheets fetch the coadds of their finder charts.
        assert main(["sheets", str(paths.root), "--names", "lens 1", "target-000003"]) == 0
        assert [r for r in server.requests[fetched:] if "coadd" in r.path]
        assert len(list(paths.sheet("").glob("*.png"))) == 2
    assert main(["inspect", str(paths.root), "--export"]) == 0
    assert "25 A, 0 B, 0 C, 25 D" in capsys.readouterr().out
    result = pd.read_csv(paths.inspection("grades.csv"), keep_default_na=False)
    assert result["id"].tolist()[1] == "lens 1"
    assert result["id"].tolist()[2] == "target-000003"
    np.testing.assert_allclose(result["ra"], table["ra"])
    assert set(result["p"]) == {""}
    graded_a = result["posterior"][result["grade"] == "A"]
    graded_d = result["posterior"][result["grade"] == "D"]
    assert graded_a.min() > 0.5
    assert graded_d.mean() < graded_a.mean() - 0.3


@pytest.fixture
def stack(tmp_path):
    """Images of 50 galaxies, (N, 3, 33, 33)."""
    rng = np.random.default_rng(0)
    return np.array([draw("lens" if i % 3 == 0 else "spiral", 33, rng) for i in range(N)])


def test_a_file_of_cutouts_is_graded_and_exported(stack, tmp_path, graded, capsys):
    rows = np.zeros(N, [("name", "S12"), ("ra", "f8"), ("dec", "f8")])
    rows["name"] = [f"galaxy {i}" for i in range(N)]
    rows["ra"], rows["dec"] = 150 + 0.01 * np.arange(N), 2.1
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(stack), fits.BinTableHDU(rows)]
    fits.HDUList(hdus).writeto(tmp_path / "cutouts.fits")
    assert main(["inspect", "cutouts.fits", "--grader", "anna"]) == 0
    paths, names = graded
    assert set(names.values()) == {f"galaxy {i}" for i in range(N)}
    # Several bricks: their files hold the right images.
    files = sorted((paths.root / "cutouts").glob("*/*.fits"))
    assert [path.stem for path in files] == ["1501p020", "1503p020"]
    for path in files:
        images, catalog = read_cutouts(path)
        for image, name in zip(images, catalog["id"], strict=True):
            np.testing.assert_array_equal(image, stack[int(name.split()[1])])
    assert main(["inspect", str(paths.root), "--export"]) == 0
    assert "25 A, 0 B, 0 C, 25 D" in capsys.readouterr().out
    assert main(["sheets", str(paths.root), "--names", "galaxy 7", "galaxy 49"]) == 0
    assert len(list(paths.sheet("").glob("*.png"))) == 2


def test_cutouts_without_positions_and_bands_last(stack, tmp_path, graded, capsys):
    np.savez(tmp_path / "stack.npz", images=stack.transpose(0, 2, 3, 1))
    assert main(["inspect", "stack.npz", "--grader", "anna"]) == 0
    paths, names = graded
    assert names[0].startswith("cutout-0000")
    images, catalog = read_cutouts(RunPaths("stack").cutouts("0000p000"))
    np.testing.assert_array_equal(images, stack)
    assert catalog["ra"].isna().all()
    assert main(["inspect", str(paths.root), "--export"]) == 0
    np.savez(tmp_path / "stack.npz", images=stack[::-1])
    assert main(["inspect", "stack.npz", "--grader", "anna"]) == 1
    assert "found other cutouts than those of stack.npz" in capsys.readouterr().err


def test_what_cannot_be_graded_is_refused_in_a_line(stack, tmp_path, graded, capsys):
    (tmp_path / "my.csv").write_text("ra,dec\n150,2\n")
    np.savez(tmp_path / "five.npz", images=np.zeros((2, 5, 33, 33), np.float32))
    np.savez(tmp_path / "colon.npz", images=stack[:2], name=np.array(["a:b", "c"]))
    np.savez(tmp_path / "twice.npz", images=stack[:2], name=np.array(["a", "a"]))
    for name, text in (
        ("my.csv", "my.csv: a list of positions needs --config FILE with survey.tree"),
        ("five.npz", "found cutouts of shape (5, 33, 33) with bands unknown"),
        ("colon.npz", "found the name 'a:b', expected names without a colon"),
        ("twice.npz", "found 'a' twice, expected a different id or name"),
        ("absent.csv", "absent.csv: no such file or folder, expected a run's folder"),
    ):
        assert main(["inspect", name, "--grader", "anna"]) == 1
        assert text in capsys.readouterr().err
    assert not graded


def test_no_network_is_loaded(stack, tmp_path):
    """The module that makes these runs imports no TensorFlow."""
    import subprocess

    code = "import sys, lenspipe.inspection.given; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
