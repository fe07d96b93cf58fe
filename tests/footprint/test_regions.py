"""Footprints: polygons, HEALPix cells, coverage maps and lists, against what says the same."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix
from matplotlib.path import Path as Outline
from mocpy import MOC
from test_bricks import NAMES, make_tree, settings_of

from lenspipe.config.data import Footprint
from lenspipe.config.settings import load_settings
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.regions import in_footprint, in_polygon, named_bricks
from lenspipe.footprint.select import select_bricks
from lenspipe.utils.errors import LenspipeError

RNG = np.random.default_rng(5)


def everywhere(number=20_000):
    """Positions spread evenly over the sky, with both poles and the meridian of ra 0."""
    ra, dec = RNG.uniform(0, 360, number), np.degrees(np.arcsin(RNG.uniform(-1, 1, number)))
    dec[:2], ra[2:50] = [90, -90], 0
    return ra, dec


def in_the_plane(vertices, ra, dec):
    """The same polygon in the gnomonic projection, where great circles are straight lines."""
    middle = SkyCoord(SkyCoord(vertices, unit="deg").cartesian.mean(), frame="icrs")
    frame = SkyCoord(middle.ra, middle.dec).skyoffset_frame()

    def projected(sky):
        x, y, z = sky.transform_to(frame).cartesian.xyz.value
        with np.errstate(divide="ignore"):
            return np.stack([y / x, z / x], axis=1), x > 0

    outline, _ = projected(SkyCoord(vertices, unit="deg"))
    points, near = projected(SkyCoord(ra, dec, unit="deg"))
    return near & Outline(outline).contains_points(points)


@pytest.mark.parametrize(
    "vertices",
    [
        [(150, 2), (160, 2), (155, 40)],
        [(350, -10), (10, -10), (10, 10), (350, 10)],
        [(0, 75), (90, 70), (180, 80), (270, 65)],
        [(10, -60), (250, -70), (130, -50)],
        [(20, 0), (60, 0), (60, 40), (40, 10), (20, 40)],
        [(310, -30), (50, -30), (50, 50), (0, 70), (310, 50)],
    ],
    ids=["triangle", "across ra 0", "north pole", "south pole", "concave", "large"],
)
def test_polygon_agrees_with_the_projected_one(vertices):
    ra, dec = everywhere()
    expected = in_the_plane(vertices, ra, dec)
    assert expected.any()
    for corners in (vertices, vertices[::-1]):
        assert (in_polygon(corners, ra, dec) == expected).all()
        # Written with ra below 0 or above 360 it is the same position.
        assert (in_polygon(corners, ra - 360, dec) == expected).all()


def test_healpix_cells_in_both_orders():
    ra, dec = everywhere()
    for order in ("nested", "ring"):
        grid = HEALPix(8, order)
        cells = (0, 5, 300, 767)
        footprint = Footprint(healpix={"nside": 8, "order": order, "cells": cells})
        lon, lat = grid.healpix_to_lonlat(cells)
        assert in_footprint(footprint, lon.deg, lat.deg).all()
        expected = np.isin(grid.lonlat_to_healpix(ra * u.deg, dec * u.deg), cells)
        assert (in_footprint(footprint, ra, dec) == expected).all()


@pytest.mark.parametrize("form", ["fits", "json", "ascii"])
def test_coverage_maps_of_all_forms(tmp_path, form):
    cells = [0, 5, 300, 767]
    moc = MOC.from_healpix_cells(np.array(cells, "u8"), np.full(4, 3, "u1"), max_depth=3)
    path = tmp_path / f"map.{form}"
    if form == "json":
        path.write_text(json.dumps(moc.serialize("json")))
    else:
        moc.save(path, format=form)
    ra, dec = everywhere()
    same = Footprint(healpix={"nside": 8, "cells": cells})
    found = in_footprint(Footprint(moc=str(path)), ra, dec)
    assert (found == in_footprint(same, ra, dec)).all()
    assert found.any()


def test_all_conditions_hold_together(tmp_path):
    make_tree(tmp_path, "dr9")
    around = [[355, 30], [155, 30], [155, 35], [355, 35]]
    corners = [[140, 25], [160, 25], [160, 40], [140, 40]]
    assert select_bricks(settings_of(tmp_path, polygon=corners)).brick.tolist() == NAMES[1:3]
    both = select_bricks(settings_of(tmp_path, polygon=corners, dec=[32.5, 40]))
    assert both.brick.tolist() == [NAMES[2]]
    with pytest.raises(LenspipeError, match=r"and in polygon; widen the ranges or correct polygon"):
        select_bricks(settings_of(tmp_path, polygon=corners, ra=[200, 210]))
    with pytest.raises(LenspipeError, match="within 90 degrees of their mean direction"):
        settings_of(tmp_path, polygon=[*around, [255, -80]])


def test_a_list_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tree("tree", "dr9")
    names = tmp_path / "names.csv"
    names.write_text(f"brickname,ra\n{NAMES[0]},0.15\n# not these\n\n{NAMES[2]} # seen\n")
    settings = settings_of("tree", brick_list="names.csv")
    assert select_bricks(settings).brick.tolist() == [NAMES[0], NAMES[2]]
    assert named_bricks(Footprint(brick_list="names.csv", bricks=NAMES[:2])) == {NAMES[0]}
    assert load_plan(settings).find(NAMES[1]) is None
    names.write_text(NAMES[1])
    assert load_plan(settings).find(NAMES[1])
    names.write_text("1501p321\n")
    with pytest.raises(LenspipeError, match=r"footprint\.brick_list: 1501p321: no brick"):
        select_bricks(settings)


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("brick_list", None, "can't be read .*No such file"),
        ("brick_list", b"\xff\xfe", "it is empty"),
        ("brick_list", b"# none\n", "it is empty"),
        ("brick_list", b"1501p320\n150.1,32\n", "line 2: found '150.1'"),
        ("moc", None, "can't be read \\(No such file"),
        ("moc", b"not a map", "multi-order coverage map"),
        ("moc", b"SIMPLE  = T", "multi-order coverage map"),
        ("moc", b"{", "multi-order coverage map"),
    ],
)
def test_files_that_will_not_do(tmp_path, key, content, message):
    make_tree(tmp_path, "dr9")
    path = tmp_path / "footprint"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LenspipeError, match=message) as caught:
        select_bricks(settings_of(tmp_path, **{key: str(path)}))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("footprint", "message"),
    [
        ({"healpix": {"nside": 3, "cells": [1]}}, "power of two"),
        ({"healpix": {"nside": 2, "cells": [48]}}, "cell 48: nside 2 has 48"),
        ({"healpix": {"nside": 2, "cells": []}}, "footprint.healpix.cells"),
        ({"polygon": [[0, 0], [1, 1]]}, "footprint.polygon"),
        ({"polygon": [[0, 0], [1, 1], [2, 91]]}, "footprint.polygon"),
    ],
)
def test_wrong_settings(footprint, message):
    with pytest.raises(LenspipeError, match=message):
        load_settings({"run": "a", "simulation": {}, "footprint": footprint})
