"""Tests of lenspipe.followup."""

import contextlib
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from helpers.cards import NOTE
from helpers.scored_run import make_run, make_settings, write_cutouts

from lenspipe.candidates.find import find_candidates
from lenspipe.cli.main import main
from lenspipe.config.surveys.legacy import RELEASES
from lenspipe.followup.choice import choose_candidates, read_arrows, read_graded
from lenspipe.followup.fields import Field, FitsImage, SkyImage, Survey, read_bricks, resample
from lenspipe.followup.sheets import _Sheet, make_sheets
from lenspipe.followup.target_table import format_position
from lenspipe.products.cutouts import read_cutouts
from lenspipe.retrieval.local import LocalSource
from lenspipe.survey.bricks import brick_wcs
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.names import file_names


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with a run that has candidates, and its settings."""
    folder = tmp_path_factory.mktemp("drawn")
    with contextlib.chdir(folder):
        settings = make_settings(candidates={"threshold": 0.3})
        make_run(settings)
        find_candidates(settings)
    return folder, settings


@pytest.fixture
def run(drawn, tmp_path, monkeypatch):
    folder, settings = drawn
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return settings, read_graded(settings.paths)


def offset(ra, dec, east, north):
    return ra + east / 3600 / np.cos(np.deg2rad(dec)), dec + north / 3600


def spot(wcs, shape, ra, dec, sigma):
    """An image with one round source."""
    x, y = wcs.all_world2pix(ra, dec, 0)
    row, column = np.indices(shape)
    return np.exp(-((row - y) ** 2 + (column - x) ** 2) / 2 / sigma**2).astype(np.float32)


def turned_wcs(ra, dec, scale_arcsec, angle_deg, crpix, mirrored=False):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], crpix
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    flip = 1 if mirrored else -1
    wcs.wcs.cd = scale_arcsec / 3600 * np.array([[flip * c, s], [-flip * s, c]])
    return wcs


def write_coadd(tree, brick, band, sources, side=700, centre=None):
    """Part of a coadd, with sources (ra, dec), where SurveyPaths looks for it."""
    wcs = brick_wcs(brick.ra, brick.dec, RELEASES["dr9"])
    x, y = wcs.all_world2pix(*(centre or (brick.ra, brick.dec)), 0)
    wcs.wcs.crpix -= np.round([x, y]) - side // 2
    image = sum(spot(wcs, (side, side), *source, 2) for source in sources)
    path = RELEASES["dr9"].paths(tree).coadd(brick.region, brick.brick, "image", band)
    path.parent.mkdir(parents=True, exist_ok=True)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, wcs.to_header())]
    fits.HDUList(hdus).writeto(path, overwrite=True)


def plant(settings, row, east, north):
    """Put a single source into the cutout of a candidate."""
    path = settings.paths.cutouts(row["brick"])
    images, catalog = read_cutouts(path)
    brick = read_bricks(settings.paths).set_index("brick").loc[row["brick"]]
    wcs = brick_wcs(brick["ra"], brick["dec"], RELEASES["dr9"])
    x, y = np.round(wcs.all_world2pix(row["ra"], row["dec"], 0))
    size = images.shape[-1]
    wcs.wcs.crpix -= [x - size // 2, y - size // 2]
    source = spot(wcs, (size, size), *offset(row["ra"], row["dec"], east, north), 2)
    images[list(catalog["id"]).index(row["id"])] = 0.1 * source
    write_cutouts(path, images, catalog, 1)


def peak(axes):
    """Where the image in axes is brightest, in their coordinates."""
    (image,) = axes.images
    pixels = np.asarray(image.get_array(), float)
    pixels = pixels.sum(axis=2) if pixels.ndim == 3 else pixels
    left, right, bottom, top = image.get_extent()
    rows, columns = np.nonzero(pixels >= 0.8 * np.nanmax(pixels))
    height, width = pixels.shape
    return np.array([
        left + (columns.mean() + 0.5) / width * (right - left),
        bottom + (rows.mean() + 0.5) / height * (top - bottom),
    ])  # fmt: skip


def arrows_in(axes):
    return [
        np.array([note.xyann, note.xy])
        for note in axes.texts
        if (note.get_gid() or "").startswith("arrow")
    ]


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (150.520566, 32.403463, ("10:02:04.94", "+32:24:12.5")),
        (0.0, -0.5125, ("00:00:00.00", "-00:30:45.0")),
        (359.9999999, -0.000001, ("00:00:00.00", "+00:00:00.0")),
        (14.99999999, 9.99999999, ("01:00:00.00", "+10:00:00.0")),
        (187.5, -89.999, ("12:30:00.00", "-89:59:56.4")),
    ],
)
def test_positions_in_sexagesimal(ra, dec, expected):
    assert format_position(ra, dec) == expected


def test_names_of_files_stay_in_their_folder():
    names = ["../../etc/x", "/abs", "a b", "A-b", "", "..", ".hidden", "sheets", "x_image-1", "ö"]
    files = file_names([*names, "DESI-150.5205+32.4034", "n" * 300], {"sheets"})
    assert len({file.lower() for file in files}) == len(names) + 2
    assert all(re.fullmatch(r"[A-Za-z0-9+][A-Za-z0-9+.-]*", file) for file in files)
    assert "sheets" not in files
    assert files[-2] == "DESI-150.5205+32.4034"
    assert len(files[-1]) <= 100


def test_candidates_are_chosen(run, tmp_path):
    settings, table = run
    paths = settings.paths
    names, ids = table["name"], table["id"]
    chosen = choose_candidates(table, paths, names=[names[5], ids[2], names[5]])
    assert list(chosen["id"]) == [ids[5], ids[2]]
    file = tmp_path / "list.txt"
    file.write_text(f"# mine\n{names[7]}\n\n{ids[1]}\n")
    assert list(choose_candidates(table, paths, file=file)["id"]) == [ids[7], ids[1]]
    file.write_text(f"p,Name\n0.5,{names[3]}\n")
    assert list(choose_candidates(table, paths, file=file)["id"]) == [ids[3]]
    graded = tmp_path / "grades.csv"
    graded.write_text(f"id,grade,mean\n{ids[4]},A,3.5\n{ids[2]},B,2.8\n{ids[0]},D,1\n")
    with_grades = read_graded(paths, graded)
    chosen = choose_candidates(with_grades, paths, grades="A,B")
    assert list(chosen["id"]) == [ids[2], ids[4]]
    assert list(chosen["mean_grade"]) == [2.8, 3.5]
    # The portal's own file is found.
    (paths.root / "inspection").mkdir()
    graded.rename(paths.root / "inspection" / "grades.csv")
    assert read_graded(paths)["grade"].value_counts().loc[["A", "B", "D"]].tolist() == [1, 1, 1]


def test_wrong_choices_are_named(run, tmp_path):
    settings, table = run
    paths = settings.paths
    with pytest.raises(LenspipeError, match="found x, y, z and 1 more, expected names or ids of"):
        choose_candidates(table, paths, names=["x", "y", table["name"][0], "z", "w"])
    with pytest.raises(LenspipeError, match="--grades: found no grades, expected some of A"):
        choose_candidates(table, paths, grades="A")
    file = tmp_path / "list.txt"
    file.write_text("\n# none\n")
    with pytest.raises(LenspipeError, match=r"list\.txt: .* expected one name per line"):
        choose_candidates(table, paths, file=file)
    with pytest.raises(LenspipeError, match=r"nowhere\.txt: can't be read"):
        choose_candidates(table, paths, file=tmp_path / "nowhere.txt")
    file.write_text("name,verdict\na,b\n")
    with pytest.raises(LenspipeError, match="found columns name, verdict, expected id or name"):
        read_graded(paths, file)
    paths.candidates.unlink()
    with pytest.raises(LenspipeError, match="expected candidates"):
        read_graded(paths)


def test_arrows_in_either_notation(tmp_path):
    table = pd.DataFrame({"name": ["a", "b"], "id": ["1", "2"], "ra": [359.9999, 10.0]})
    table["dec"] = [60.0, -20.0]
    file = tmp_path / "arrows.csv"
    ra, dec = offset(359.9999, 60.0, 3.0, -2.0)
    file.write_text(f"name,ra,dec,label\na,{ra - 360},{dec},x1\nother,1,1,\na,{ra - 360},{dec},\n")
    by_position = read_arrows(file, table)
    np.testing.assert_allclose(by_position[["dx", "dy"]], [[3, -2]] * 2, atol=1e-6)
    assert list(by_position["label"]) == ["x1", "B"]
    file.write_text("id,dx,dy\n2,1.5,2.5\n1,3,-2\n")
    by_offset = read_arrows(file, table)
    assert list(by_offset["id"]) == ["2", "1"]
    np.testing.assert_allclose(by_offset["ra"][1], ra % 360)
    np.testing.assert_allclose(by_offset["dec"][1], dec)
    assert list(by_offset["label"]) == ["A", "A"]
    file.write_text("id,dx [arcmin],dy [mas]\n1,0.05,-2000\n")
    np.testing.assert_allclose(read_arrows(file, table)[["dx", "dy"]], [[3, -2]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y\na,1,2\n", "found columns name, x, y, expected name, ra, dec or name, dx, dy"),
        ("name,dx,dy\na,1,2\na,1,up\n", "line 3: found dy 'up', expected a number"),
        ("name,dx,dy\na,1,2\na,1,\n", "found no number in dx or dy of line 3"),
        ("name,dx [pixel],dy\na,1,2\n", r"found column dx \[pixel\] in pixel, expected arcsec"),
        ("name,ra,dec\nb,150.1,2\n", 'in line 2 a position .*" from b, expected at most 60"'),
    ],
)
def test_wrong_arrows_are_named(tmp_path, text, message):
    table = pd.DataFrame({"name": ["a", "b"], "id": ["1", "2"], "ra": [1.0, 10.0], "dec": 0.0})
    file = tmp_path / "arrows.csv"
    file.write_text(text)
    with pytest.raises(LenspipeError, match=message):
        read_arrows(file, table)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("scale", "angle"), [(0.05, 37), (0.4, -110)])
def test_a_source_lies_under_the_same_arrow_in_both_images(run, tmp_path, scale, angle, mirrored):
    settings, table = run
    row = table.iloc[3].to_dict()
    east, north = 0.9, 1.2
    plant(settings, row, east, north)
    ra, dec = offset(row["ra"], row["dec"], east, north)
    side = int(40 / scale)
    wcs = turned_wcs(row["ra"] + 0.002, row["dec"] - 0.001, scale, angle, [side / 3, side / 2],
                     mirrored)  # fmt: skip
    image = spot(wcs, (side, side), ra, dec, max(0.3 / scale, 2))
    file = tmp_path / "hst_drz.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, wcs.to_header())]).writeto(file)
    (tmp_path / "arrows.csv").write_text(f"id,ra,dec\n{row['id']},{ra},{dec}\n")
    arrows = read_arrows(tmp_path / "arrows.csv", table)
    bricks = read_bricks(settings.paths)
    sheet = _Sheet(settings.paths, row, bricks, None, arrows)
    axes = [a for a in sheet.plot_comparison(FitsImage(file)).axes if a.images]
    assert [a.get_title(loc="left").split(",")[0] for a in axes] == ["survey", "hst_drz.fits"] * 2
    for survey, other in (axes[:2], axes[2:]):
        np.testing.assert_allclose(peak(survey), [east, north], atol=0.1)
        np.testing.assert_allclose(peak(other), [east, north], atol=0.1)
        ((tail, tip),) = arrows_in(survey)
        np.testing.assert_array_equal(arrows_in(other), [[tail, tip]])
        # It points at the source, from outside, and ends before it.
        along = (tip - tail) / np.hypot(*(tip - tail))
        ahead = peak(other) - tip
        assert abs(along[0] * ahead[1] - along[1] * ahead[0]) < 0.12
        assert 0 < along @ ahead < 0.8
        assert np.hypot(*tail) > np.hypot(*tip) > np.hypot(east, north)
        assert survey.get_xlim()[0] > 0 > survey.get_xlim()[1]


def test_other_images_are_checked(run, tmp_path):
    _, table = run
    file = tmp_path / "x.fits"
    fits.PrimaryHDU(np.zeros((5, 5), np.float32)).writeto(file)
    with pytest.raises(LenspipeError, match=r"x\.fits: found no image with world coordinates"):
        FitsImage(file)
    with pytest.raises(LenspipeError, match=r"nowhere\.fits: not a readable FITS file"):
        FitsImage(tmp_path / "nowhere.fits")
    row = table.iloc[0]
    field = Field(row["ra"], row["dec"], 10, 50)
    for number, (ra, dec) in enumerate([(row["ra"] + 1, 0), (row["ra"] + 180, 0)]):
        wcs = turned_wcs(ra, dec, 0.05, 0, [50, 50])
        away = tmp_path / f"{number}.fits"
        fits.PrimaryHDU(np.ones((100, 100), np.float32), wcs.to_header()).writeto(away)
        assert FitsImage(away).read(field) is None
    # Of a large image one part has no exposure; planes before the image are the first.
    wcs = turned_wcs(row["ra"], row["dec"], 0.2, 0, [50, 50])
    cube = np.ones((2, 100, 100), np.float32)
    cube[:, :, :50] = 0
    fits.PrimaryHDU(cube, wcs.to_header()).writeto(tmp_path / "cube.fits")
    shown = FitsImage(tmp_path / "cube.fits").read(field)
    np.testing.assert_allclose(np.isfinite(shown).mean(), 0.5, atol=0.03)


def test_finder_charts_reach_into_the_next_brick(run, tmp_path):
    settings, _ = run
    bricks = read_bricks(settings.paths)
    first, second = bricks.iloc[0], bricks.iloc[1]
    centre = first["ra"] + 0.125 - 10 / 3600, 0.0
    stars = [offset(*centre, -30.0, 20.0), offset(*centre, 25.0, 35.0)]
    # Each coadd ends in the middle of the field.
    for brick, east in ((first, 60.0), (second, -60.0)):
        there = offset(*centre, -east, 0)
        write_coadd(tmp_path / "tree", brick, "r", stars, 500, centre=there)
    survey = Survey(RELEASES["dr9"].paths(tmp_path / "tree"), LocalSource(), bricks)
    field = Field(*centre, 120, 458)
    shown = survey.read(field, ["r"])[0]
    scale = 120 / 458
    for east, north in ((-30, 20), (25, 35)):
        column, row = 228.5 - east / scale, 228.5 + north / scale
        part = shown[int(row) - 4 : int(row) + 6, int(column) - 4 : int(column) + 6]
        assert part.max() > 0.8
    assert np.isfinite(shown).all()
    # A band without coadd, and a field without brick.
    assert np.isnan(survey.read(field, ["g"])).all()
    assert np.isnan(survey.read(Field(200, 50, 120, 100), ["r"])).all()


def test_resampling_keeps_pixels_and_gaps(run):
    field = Field(10, 40, 20, 100)
    pixels = np.random.default_rng(1).normal(size=(2, 100, 100))
    pixels[0, 40:50, 20:30] = np.nan
    same = resample(SkyImage(pixels, field.wcs), field)
    np.testing.assert_array_equal(np.isnan(same), np.isnan(pixels))
    np.testing.assert_allclose(same[1], pixels[1], atol=1e-4)


def overlaps(figure):
    """Pairs of texts that lie over each other, and those that reach over the paper's edge."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.texts if text.get_text()]
    texts += [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_text()]
    boxes += [(a.get_label(), a.get_window_extent(renderer)) for a in figure.axes]
    width, height = figure.canvas.get_width_height()
    outside = [name for name, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > width or b.y1 > height]
    pairs = [
        (one, other)
        for i, (one, box) in enumerate(boxes)
        for other, second in boxes[i + 1 :]
        if box.shrunk(0.98, 0.9).overlaps(second.shrunk(0.98, 0.9))
    ]
    return outside + pairs


def test_nothing_on_a_sheet_overlaps(run, tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    settings, table = run
    row = table.iloc[0].to_dict()
    row |= {"name": "A name of the user's own that is $very$ long, " * 4, "flags": 31, "grade": "A"}
    row |= {"known": True, "known_as": "lenscat: confirmed, masterlens: A, " * 5, "z_spec": 0.512}
    row |= {"p_resnet": 0.5, "p_shielded": 0.4, "p_efficientnet": 0.3, "mean_grade": 3.5}
    row |= {"model": NOTE}
    arrows = pd.DataFrame({"dx": [1.0, -2.0], "dy": [2.0, -1.0], "label": ["A", "B"]})
    sheet = _Sheet(settings.paths, row, read_bricks(settings.paths), None, arrows)
    figure = sheet.plot()
    FigureCanvasAgg(figure)
    assert overlaps(figure) == []
    said = [text.get_text() for text in figure.texts]
    assert any("0.512 spec" in text for text in said)
    assert any(f"Scores: {NOTE}." in text for text in said)
    assert any('2.2"' in text for text in said)
    assert "A (mean 3.50)" in said
    ra, dec = format_position(row["ra"], row["dec"])
    assert f"{ra}  {dec}" in said
    assert f"{row['ra']:.6f}°  {row['dec']:+.6f}°" in said


def test_the_command_makes_sheets_pdf_and_tables(run, tmp_path, capsys):
    settings, table = run
    evil = "../../evil $x_1$ & co"
    rows = Table.read(settings.paths.candidates)
    rows["name"] = rows["name"].astype("U40")
    rows["name"][0] = evil
    rows.write(settings.paths.candidates, overwrite=True)
    names = [evil, *table["name"][[4, 2]]]
    wcs = turned_wcs(table["ra"][4], table["dec"][4], 0.1, 20, [100, 100])
    fits.PrimaryHDU(np.ones((200, 200), np.float32), wcs.to_header()).writeto("other.fits")
    (tmp_path / "arrows.csv").write_text(f"name,dx,dy\n{names[1]},1,0\n{names[1]},0,-2\n")
    (tmp_path / "grades.csv").write_text(f"name,grade\n{names[1]},B\n")
    options = ["--arrows", "arrows.csv", "--image", "other.fits", "--graded", "grades.csv"]
    before = {path for path in tmp_path.rglob("*") if "sheets" not in path.parts}
    assert before
    assert main(["sheets", "results/tiny", "--names", *names, *options]) == 0
    assert before == {path for path in tmp_path.rglob("*") if "sheets" not in path.parts}
    folder = settings.paths.sheet("")
    assert "3 sheets" in capsys.readouterr().out
    pages = {path.name for path in folder.iterdir()}
    assert pages == {
        "evil--x-1----co.png",
        f"{names[1]}.png",
        f"{names[1]}_image-1.png",
        f"{names[2]}.png",
        "sheets.pdf",
        *("targets.csv", "targets.tex", "targets.txt"),
    }
    pdf = (folder / "sheets.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 4
    assert pdf.rstrip().endswith(b"%%EOF")
    targets = pd.read_csv(folder / "targets.csv", dtype=str, keep_default_na=False)
    assert list(targets["name"]) == names
    assert list(targets["theta_e_arcsec"]) == ["", "1.5", ""]
    assert list(targets["priority"]) == ["", "2", ""]
    assert list(targets["mag_z"]) == [f"{table['mag_z'][i]:.2f}" for i in (0, 4, 2)]
    assert list(targets["ra"]) == [format_position(table["ra"][i], 0)[0] for i in (0, 4, 2)]
    latex = (folder / "targets.tex").read_text()
    assert r"../../evil \$x\_1\$ \& co & " in latex
    # The header and three targets, of nine columns.
    assert len(re.findall(r"^(?:(?:[^&\\]|\\.)*&){8}(?:[^&\\]|\\.)*$", latex, re.MULTILINE)) == 4
    # The same again gives the same bytes.
    again = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["sheets", "results/tiny", "--names", *names, *options]) == 1
    assert "sheets.pdf: exists; give --overwrite to replace it" in capsys.readouterr().err
    options.append("--overwrite")
    assert main(["sheets", "results/tiny", "--names", *names, *options]) == 0
    assert again == {path: path.read_bytes() for path in folder.iterdir()}


def test_one_line_for_what_is_missing(run, capsys):
    settings, table = run
    assert main(["sheets", "results/tiny", "--names", "nobody"]) == 1
    assert main(["sheets", "results/none", "--names", "nobody"]) == 1
    settings.paths.cutouts(table["brick"][0]).unlink()
    assert main(["sheets", "results/tiny", "--names", table["name"][0]]) == 1
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if line.startswith("lenspipe: error:")]
    assert "found nobody, expected names" in lines[0]
    assert "no such folder, expected that of a run" in lines[1]
    assert "expected cutouts" in lines[2]
    assert len(lines) == 3


def test_the_configuration_says_where_coadds_are(run, tmp_path, caplog):
    settings, table = run
    row = table.iloc[0]
    brick = read_bricks(settings.paths).set_index("brick", drop=False).loc[row["brick"]]
    centre = row["ra"], row["dec"]
    write_coadd(tmp_path / "tree", brick, "r", [centre], centre=centre)
    config = {"run": "tiny", "survey": {"tree": "tree"}, "footprint": {"bricks": [brick["brick"]]}}
    config |= {"sample": {"known_lenses": ["known.csv"]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    options = ["--names", row["name"], "--overwrite", "--output", "out"]
    command, plain = ["sheets", "own.yaml", *options], ["sheets", "results/tiny", *options]
    with caplog.at_level("INFO", logger="lenspipe"):
        assert main(command) == 0
        assert "finder chart" not in caplog.text
        assert main(plain) == 0
        assert "no coadds for finder charts; give the run's configuration" in caplog.text
        # A damaged coadd costs the chart, not the sheet.
        next((tmp_path / "tree").rglob("*.fits.fz")).write_bytes(b"SIMPLE")
        assert main(command) == 0
        assert f"{row['name']}: no finder chart" in caplog.text
    (tmp_path / "file").touch()
    assert main([*command[:-1], "file/out"]) == 1


def test_arrows_stay_on_their_image(run):
    settings, table = run
    row = table.iloc[0].to_dict()
    half = 41 * RELEASES["dr9"].pixel_scale_arcsec / 2
    arrows = pd.DataFrame({"dx": [half - 0.2, 0.0, 0.0], "dy": [0.0, 0.5 - half, 0.0]})
    arrows = arrows.assign(label=["A", "B", "C"])
    sheet = _Sheet(settings.paths, row, read_bricks(settings.paths), None, arrows)
    for axes in sheet.plot().axes:
        for tail, tip in arrows_in(axes):
            assert np.abs([tail, tip]).max() < half


def test_coadds_stand_in_for_deleted_cutouts(run, tmp_path):
    settings, table = run
    rows = table.iloc[[0]].reset_index(drop=True)
    row = rows.iloc[0]
    brick = read_bricks(settings.paths).set_index("brick", drop=False).loc[row["brick"]]
    source = offset(row["ra"], row["dec"], 5.0, -3.0)
    for band in "grz":
        write_coadd(settings.paths.sky, brick, band, [source], centre=(row["ra"], row["dec"]))
    settings.paths.sky_manifest.touch()
    settings.paths.cutouts(row["brick"]).unlink()
    survey = Survey(RELEASES["dr9"].paths(settings.paths.sky), LocalSource(),
                    read_bricks(settings.paths))  # fmt: skip
    sheet = _Sheet(settings.paths, row.to_dict(), read_bricks(settings.paths), survey,
                   pd.DataFrame({"dx": [], "dy": [], "label": []}))  # fmt: skip
    first = sheet.plot().axes[0]
    np.testing.assert_allclose(
        peak(first), [5.0, -3.0], atol=RELEASES["dr9"].pixel_scale_arcsec / 2
    )
    assert sheet.image.pixels.shape == (3, 101, 101)
    assert make_sheets(settings.paths, rows, tmp_path / "out") == 1
    assert (tmp_path / "out" / "sheets.pdf").exists()
