"""Sheets of chosen candidates: PNGs, one PDF, and the table of targets."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_pdf import PdfPages

from lenspipe import __version__
from lenspipe.config.flags import flag_note
from lenspipe.config.paths import SkyPaths
from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.config.settings import load_settings, read_config
from lenspipe.followup.fields import (
    Field,
    FitsImage,
    SkyImage,
    Survey,
    read_bricks,
    resample,
    stamp_image,
)
from lenspipe.followup.plots import Panel, draw_comparison, draw_sheet
from lenspipe.followup.target_table import einstein_radius, say_position, write_targets
from lenspipe.plotting.colour import BAND_SCALES, colour_images
from lenspipe.plotting.galaxy_pages import say_p, say_redshift
from lenspipe.plotting.residual import residual_images
from lenspipe.products.cutouts import read_cutouts
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.sources import open_source
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.names import iau_name
from lenspipe.utils.progress import log, track

__all__ = ["file_names", "make_sheets"]

#: Side of the larger finder chart, arcsec.
CHART_ARCSEC = 120

_DPI = 150

# Of a cutout's pixel on the page; and most pixels along a side where another image has finer ones.
_OVERSAMPLING, _MOST_PIXELS = 3, 1000

# Side of what is cut from the coadds where a run's cutouts are gone.
_PIXELS = 101

_NO_ARROWS = pd.DataFrame({name: [] for name in ("id", "ra", "dec", "dx", "dy", "label")})


def make_sheets(paths, table, folder, arrows=None, images=(), config=None):
    """Make the sheets of candidates and the table of targets.

    Writes ``<name>.png`` for each candidate, ``<name>_image-1.png`` where the first of the other
    images covers it, ``targets.csv``, ``.tex`` and ``.txt`` and, last, ``sheets.pdf`` with all
    pages.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    table : pandas.DataFrame
        The candidates, as of `lenspipe.followup.choice.choose`.
    folder : path-like
        Where they are written.
    arrows : pandas.DataFrame, optional
        As of `lenspipe.followup.choice.read_arrows`.
    images : sequence of pathlib.Path
        FITS images of other origin.
    config : sequence of pathlib.Path, optional
        The run's configuration; that beside one of its models if not given.

    Returns
    -------
    int
        Number of sheets.

    Raises
    ------
    LenspipeError
        An image or a configuration can't be read, or a candidate has neither cutout nor coadds.
    """
    others = [FitsImage(path) for path in images]
    arrows = _NO_ARROWS if arrows is None else arrows
    arrows_of = {id_: arrows[arrows["id"] == id_] for id_ in table["id"]}
    folder = Path(folder)
    files, bricks = file_names(table["name"]), read_bricks(paths)
    with _open_survey(paths, bricks, config) as survey, atomic(folder / "sheets.pdf") as temporary:
        about = {"Title": f"Candidates of {paths.root.name}", "Creator": f"lenspipe {__version__}"}
        # Without a date the same input gives the same bytes.
        with PdfPages(temporary, metadata=about | {"CreationDate": None}) as pdf:
            rows = table.to_dict("records")
            for row, file in track(list(zip(rows, files, strict=True)), "drawing sheets"):
                sheet = _Sheet(paths, row, bricks, survey, arrows_of[row["id"]])
                pages = {f"{file}.png": sheet.draw()}
                for number, other in enumerate(others, 1):
                    if comparison := sheet.compare(other):
                        pages[f"{file}_image-{number}.png"] = comparison
                for name, figure in pages.items():
                    with atomic(folder / name) as png:
                        figure.savefig(png, dpi=_DPI, metadata={"Software": None})
                    pdf.savefig(figure, dpi=2 * _DPI)
        write_targets(table, arrows_of, sheet.bands, folder)
    log.info("sheets: %d in %s", len(table), folder)
    return len(table)


def file_names(names):
    """Make names of files out of names of candidates.

    Parameters
    ----------
    names : iterable of str
        May hold anything; those of a list of targets are the user's.

    Returns
    -------
    list of str
        Letters, digits and ``+-.`` only, none beginning with a dot, none twice, nor on file systems
        that know no case.
    """
    taken, files = {"sheets"}, []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9+.-]", "-", str(name)).lstrip(".-")[:100] or "candidate"
        file, number = plain, 1
        while file.lower() in taken:
            number += 1
            file = f"{plain}-{number}"
        taken.add(file.lower())
        files.append(file)
    return files


@contextlib.contextmanager
def _open_survey(paths, bricks, config):
    """Give the coadds of a run, None where nothing says where they are."""
    if config is None:
        config = sorted(paths.root.glob("models/*/config.yaml"))[:1]
    if paths.sky_manifest.exists():
        yield Survey(SkyPaths(paths.sky), LocalSource(), bricks)
    elif config:
        settings = load_settings(read_config(config))
        survey = settings.survey_paths
        with open_source(settings.retrieval, settings.paths.hosts, survey.tree) as source:
            yield Survey(survey, source, bricks)
    else:
        log.info("sheets: no coadds for finder charts; --config says where they are")
        yield None


class _Sheet:
    """A candidate, its pixels, and what is said of it."""

    def __init__(self, paths, row, bricks, survey, arrows):
        self.paths, self.row, self.survey, self.arrows = paths, row, survey, arrows
        self.bands = [band for band in BAND_SCALES if f"mag_{band}" in row]
        path, shape = paths.cutouts(row["brick"]), None
        if path.exists():
            images, catalog = read_cutouts(path)
            place = pd.Index(catalog["id"]).get_indexer([row["id"]])[0]
            if place < 0:
                raise LenspipeError(
                    f"{path}: found no cutout of {row['name']}, expected one; cut out this brick "
                    "and find the candidates again"
                )
            shape = catalog.iloc[[place]].reindex(columns=["shape_e1", "shape_e2"])
            shape = shape.to_numpy(float)
            brick = bricks[bricks["brick"] == row["brick"]].iloc[0]
            image = stamp_image(images[place], row["ra"], row["dec"], brick)
        elif survey:
            # Cutouts may have been deleted once they were scored.
            field = Field(row["ra"], row["dec"], _PIXELS * PIXEL_SCALE_ARCSEC, _PIXELS)
            image = SkyImage(survey.show(field, self.bands), field.wcs)
        else:
            raise LenspipeError(
                f"{path}: found no such file, expected the cutout of {row['name']}; cut out this "
                "brick again, or give --config to take it from the coadds"
            )
        self.image = image
        self.residual = SkyImage(residual_images(image.pixels[None], shape)[0], image.wcs)
        self.side = image.pixels.shape[-1] * PIXEL_SCALE_ARCSEC

    def field(self, pixel_arcsec=PIXEL_SCALE_ARCSEC / _OVERSAMPLING, part=1):
        """The cutout's field, or a part of it, in pixels of about this size."""
        side = self.side * part
        pixels = min(_MOST_PIXELS, round(side / pixel_arcsec))
        return Field(self.row["ra"], self.row["dec"], side, pixels)

    def colour(self, field, image):
        """A picture of a field."""
        return colour_images(resample(image, field)[None], self.bands)[0]

    def draw(self):
        """Draw the sheet."""
        field, row = self.field(), self.row
        side = f'{self.side:.0f}"'
        first = Panel(
            self.colour(field, self.image), self.side, f"{' '.join(self.bands)}, {side}",
            bar_arcsec=5, compass=True, labels=True,
        )  # fmt: skip
        stamps = resample(self.image, field)
        small = [
            Panel(colour_images(stamps[None, [i]], [band])[0], self.side, band)
            for i, band in enumerate(self.bands)
        ]
        small.append(Panel(self.colour(field, self.residual), self.side, "model subtracted"))
        head = self._head()
        return draw_sheet(
            str(row["name"]), head, self._facts(), first, small, self._charts(field, stamps),
            self.arrows, self._footer(),
        )  # fmt: skip

    def _charts(self, field, stamps):
        """Finder charts: a wide one from the coadds, a near one from the cutout."""
        band = "r" if "r" in self.bands else self.bands[0]
        wide = Field(field.ra, field.dec, CHART_ARCSEC, round(CHART_ARCSEC / PIXEL_SCALE_ARCSEC))
        pixels, message = None, "no coadds at hand: give --config"
        if self.survey:
            try:
                pixels = self.survey.show(wide, [band])[0]
            except LenspipeError as error:
                log.warning("%s: no finder chart: %s", self.row["name"], error)
                message = "coadds can't be read"
            else:
                if not np.isfinite(pixels).any():
                    pixels, message = None, "no coadds here"
        near = stamps[self.bands.index(band)]
        if not np.isfinite(near).any():
            near = None
        common = {"compass": True, "inverted": True}
        return [
            Panel(pixels, CHART_ARCSEC, f"finder chart, {band}, {CHART_ARCSEC / 60:g}′",
                  bar_arcsec=30, box_arcsec=self.side, message=message, **common),
            Panel(near, self.side, f'finder chart, {band}, {self.side:.0f}"', bar_arcsec=5,
                  labels=True, message=f"no data in {band}", **common),
        ]  # fmt: skip

    def compare(self, other):
        """Draw another image beside the survey's; None where it does not cover the candidate."""
        pairs, scale = [], other.scale_arcsec
        for part in (1, 0.5):
            field = self.field(min(scale, PIXEL_SCALE_ARCSEC / _OVERSAMPLING), part)
            pixels = other.show(field)
            if pixels is None:
                log.info("%s: does not cover %s", other.path, self.row["name"])
                return None
            side = field.side_arcsec
            common = {"bar_arcsec": 5 if part == 1 else 2, "compass": True, "labels": True}
            titles = f"survey, {' '.join(self.bands)}", f'{other.path.name}, {scale:.3f}" pixels'
            images = self.colour(field, self.image), pixels
            pairs.append([
                Panel(image, side, f'{title}, {side:.0f}"', **common)
                for image, title in zip(images, titles, strict=True)
            ])  # fmt: skip
        head = f"{self._head()}; beside another image"
        return draw_comparison(str(self.row["name"]), head, pairs, self.arrows, self._footer())

    def _head(self):
        row = self.row
        return f"{self.paths.root.name}, rank {row['rank']}, brick {row['brick']} ({row['region']})"

    def _facts(self):
        row, bands = self.row, self.bands
        ra, dec = say_position(row["ra"], row["dec"])
        iau = iau_name(row["ra"], row["dec"])[0]
        facts = [
            ("Position (J2000)", ""),
            ("RA, Dec", f"{ra}  {dec}"),
            ("", f"{row['ra']:.6f}°  {row['dec']:+.6f}°"),
            *([("IAU name", iau)] if iau != row["name"] else []),
            ("Photometry", ""),
            (f"{', '.join(bands)} (AB)", "  ".join(_number(row.get(f"mag_{b}")) for b in bands)),
            ("type", str(row["type"])),
            ("exposures", "  ".join(str(row.get(f"nobs_{band}", "?")) for band in bands)),
            ("seeing", "  ".join(_number(row.get(f"psfsize_{b}")) for b in bands) + "  arcsec"),
            ("redshift", say_redshift(row) or "unknown"),
            ("Search", ""),
            ("p", say_p(row["p"])),
        ]
        scores = [n for n in row if n.startswith("p_") and pd.notna(row[n]) and row[n] != row["p"]]
        facts += [(name.replace("_", " "), say_p(row[name])) for name in scores[:3]]
        mean = "" if pd.isna(row["mean_grade"]) else f" (mean {row['mean_grade']:.2f})"
        facts.append(("grade", f"{row['grade']}{mean}" if row["grade"] else "not graded"))
        if row["known"]:
            facts.append(("known lens", str(row["known_as"]) or "yes"))
        if row["flags"]:
            facts.append(("flags", flag_note(row["flags"])))
        radius = einstein_radius(self.arrows)
        if np.isfinite(radius):
            number = len(self.arrows)
            said = f"{number} image{'s' * (number > 1)}"
            facts.append(("Einstein radius", f'{radius:.1f}" (mean distance, {said})'))
        return facts

    def _footer(self):
        simulated = self.paths.sky_manifest.exists()
        origin = "simulated images" if simulated else "images of the DESI Legacy Imaging Surveys"
        return (
            "North is up, East is left. Magnitudes are not corrected for extinction. Arrows mark "
            "suspected images of the source.\n"
            f"Made with lenspipe {__version__} from {origin}."
        )


def _number(value):
    return f"{value:.2f}" if value is not None and np.isfinite(value) else "–"
