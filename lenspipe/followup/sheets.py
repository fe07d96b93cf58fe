"""Sheets of chosen candidates: PNGs, one PDF, and the table of targets."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from lenspipe import __version__
from lenspipe.config.flags import flag_note
from lenspipe.config.paths import RunPaths, SkyPaths
from lenspipe.config.settings import Settings
from lenspipe.followup.fields import (
    Field,
    FitsImage,
    SkyImage,
    Survey,
    read_bricks,
    resample,
    stamp_image,
)
from lenspipe.followup.plots import Panel, plot_comparison, plot_sheet
from lenspipe.followup.target_table import einstein_radius, format_position, write_targets
from lenspipe.plotting.colour import BAND_SCALES, colour_images
from lenspipe.plotting.galaxy_pages import format_probability, format_redshift
from lenspipe.plotting.residual import residual_images
from lenspipe.products.cutouts import read_cutouts, read_release
from lenspipe.products.files import require
from lenspipe.retrieval.local import LocalSource
from lenspipe.retrieval.sources import open_source
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic
from lenspipe.utils.names import file_names, iau_name
from lenspipe.utils.progress import log, track

__all__ = ["make_sheets"]

#: Side of the larger finder chart, arcsec.
CHART_ARCSEC = 120

_DPI = 150

# Pixels on the page per pixel of a cutout along each axis; maximum number of pixels along a side.
_OVERSAMPLING, _MAX_PIXELS = 3, 1000

# Size of stamps from the coadds where a run's cutouts have been deleted, pixels.
_STAMP_PIXELS = 101

_NO_ARROWS = pd.DataFrame({name: [] for name in ("id", "ra", "dec", "dx", "dy", "label")})


def make_sheets(
    paths: RunPaths,
    table: pd.DataFrame,
    folder: str | os.PathLike[str],
    arrows: pd.DataFrame | None = None,
    images: Iterable[Path] = (),
    settings: Settings | None = None,
) -> int:
    """Make the sheets of candidates and the table of targets; return the number of sheets.

    Writes ``<name>.png`` for each candidate, ``<name>_image-1.png`` where the first of the other
    images covers it, ``targets.csv``, ``.tex`` and ``.txt`` and, last, ``sheets.pdf`` with all
    pages.

    Parameters
    ----------
    table
        The candidates, as returned by `lenspipe.followup.choice.choose_candidates`.
    folder
        Output folder.
    arrows
        As returned by `lenspipe.followup.choice.read_arrows`.
    images
        FITS images from elsewhere, for comparison.
    settings
        Of the run, which name the coadds for finder charts.

    Raises
    ------
    LenspipeError
        An image or a configuration cannot be read, or a candidate has neither cutout nor coadds.
    """
    others = [FitsImage(path) for path in images]
    arrows = _NO_ARROWS if arrows is None else arrows
    arrows_of = {id_: arrows[arrows["id"] == id_] for id_ in table["id"]}
    folder = Path(folder)
    files, bricks = file_names(table["name"], {"sheets"}), read_bricks(paths)
    with (
        _open_survey(paths, bricks, settings) as survey,
        atomic(folder / "sheets.pdf") as temporary,
    ):
        # Without a date the same input gives the same bytes.
        metadata = {
            "Title": f"Candidates of {paths.root.name}",
            "Creator": f"lenspipe {__version__}",
            "CreationDate": None,
        }
        with PdfPages(temporary, metadata=metadata) as pdf:
            rows = table.to_dict("records")
            for row, file in track(list(zip(rows, files, strict=True)), "drawing sheets"):
                sheet = _Sheet(paths, row, bricks, survey, arrows_of[row["id"]])
                pages = {f"{file}.png": sheet.plot()}
                for number, other in enumerate(others, 1):
                    if comparison := sheet.plot_comparison(other):
                        pages[f"{file}_image-{number}.png"] = comparison
                for name, figure in pages.items():
                    with atomic(folder / name) as png:
                        figure.savefig(png, dpi=_DPI, metadata={"Software": None})
                    pdf.savefig(figure, dpi=2 * _DPI)
        write_targets(table, arrows_of, sheet.bands, folder)
    log.info("sheets: %d in %s", len(table), folder)
    return len(table)


@contextlib.contextmanager
def _open_survey(
    paths: RunPaths, bricks: pd.DataFrame, settings: Settings | None
) -> Iterator[Survey | None]:
    """Provide the coadds of a run; None if their location is not known."""
    if paths.sky_manifest.exists():
        yield Survey(SkyPaths(paths.sky), LocalSource(), bricks)
    elif settings:
        survey = settings.survey_paths
        with open_source(settings.retrieval, settings.paths.hosts, survey.tree) as source:
            yield Survey(survey, source, bricks)
    else:
        log.info("sheets: no coadds for finder charts; give the run's configuration instead")
        yield None


class _Sheet:
    """A candidate with its images and data.

    Parameters
    ----------
    row
        The candidate's columns.
    bricks
        As returned by `lenspipe.followup.fields.read_bricks`.
    survey
        None where coadds are not available.
    arrows
        As returned by `lenspipe.followup.choice.read_arrows`, of this candidate.
    """

    def __init__(
        self,
        paths: RunPaths,
        row: dict[str, Any],
        bricks: pd.DataFrame,
        survey: Survey | None,
        arrows: pd.DataFrame,
    ) -> None:
        self.paths, self.row, self.survey, self.arrows = paths, row, survey, arrows
        self.bands = [band for band in BAND_SCALES if f"mag_{band}" in row]
        path, shape = paths.cutouts(row["brick"]), None
        self.release = survey.paths.release if survey else read_release([path])
        scale_arcsec = self.release.pixel_scale_arcsec
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
            image = stamp_image(images[place], row["ra"], row["dec"], brick, self.release)
        elif survey:
            # Cutouts may have been deleted after scoring.
            side = _STAMP_PIXELS * scale_arcsec
            field = Field(row["ra"], row["dec"], side, _STAMP_PIXELS)
            image = SkyImage(survey.read(field, self.bands), field.wcs)
        else:
            require(
                path,
                "cutouts",
                "give the run's configuration to take it from the coadds",
            )
        self.image = image
        self.residual = SkyImage(residual_images(image.pixels[None], shape)[0], image.wcs)
        self.side_arcsec = image.pixels.shape[-1] * scale_arcsec
        self.fine_arcsec = scale_arcsec / _OVERSAMPLING

    def field(self, pixel_arcsec: float, fraction: float = 1) -> Field:
        """The cutout's field, or a fraction of its side, in pixels of about the given size."""
        side = self.side_arcsec * fraction
        pixels = min(_MAX_PIXELS, round(side / pixel_arcsec))
        return Field(self.row["ra"], self.row["dec"], side, pixels)

    def colour(self, field: Field, image: SkyImage) -> np.ndarray:
        """Colour image of a field."""
        return colour_images(resample(image, field)[None], self.bands)[0]

    def plot(self) -> Figure:
        """Plot the sheet."""
        field, side = self.field(self.fine_arcsec), self.side_arcsec
        first = Panel(
            self.colour(field, self.image), side, f"{' '.join(self.bands)}, {side:.0f}\"",
            bar_arcsec=5, compass=True, labels=True,
        )  # fmt: skip
        stamps = resample(self.image, field)
        small = [
            Panel(colour_images(stamps[None, [i]], [band])[0], side, band)
            for i, band in enumerate(self.bands)
        ]
        small.append(Panel(self.colour(field, self.residual), side, "model subtracted"))
        return plot_sheet(
            str(self.row["name"]), self._subtitle(), self._facts(), first, small,
            self._charts(field, stamps), self.arrows, self._footer(),
        )  # fmt: skip

    def _charts(self, field: Field, stamps: np.ndarray) -> list[Panel]:
        """Finder charts: a wide one from the coadds, a close-up from the cutout."""
        band = "r" if "r" in self.bands else self.bands[0]
        pixels_wide = round(CHART_ARCSEC / self.release.pixel_scale_arcsec)
        wide = Field(field.ra, field.dec, CHART_ARCSEC, pixels_wide)
        pixels, message = None, "no coadds: give the run's configuration"
        if self.survey:
            try:
                pixels = self.survey.read(wide, [band])[0]
            except LenspipeError as error:
                log.warning("%s: no finder chart: %s", self.row["name"], error)
                message = "the coadds cannot be read"
            else:
                if not np.isfinite(pixels).any():
                    pixels, message = None, "no coadds here"
        stamp = stamps[self.bands.index(band)]
        close_up = stamp if np.isfinite(stamp).any() else None
        side = self.side_arcsec
        common: dict[str, Any] = {"compass": True, "inverted": True}
        return [
            Panel(pixels, CHART_ARCSEC, f"finder chart, {band}, {CHART_ARCSEC / 60:g}′",
                  bar_arcsec=30, box_arcsec=side, message=message, **common),
            Panel(close_up, side, f'finder chart, {band}, {side:.0f}"', bar_arcsec=5,
                  labels=True, message=f"no data in {band}", **common),
        ]  # fmt: skip

    def plot_comparison(self, other: FitsImage) -> Figure | None:
        """Plot another image beside the survey's; None if it does not cover the candidate."""
        pairs, scale = [], other.scale_arcsec
        for fraction in (1, 0.5):
            field = self.field(min(scale, self.fine_arcsec), fraction)
            pixels = other.read(field)
            if pixels is None:
                log.info("%s: does not cover %s", other.path, self.row["name"])
                return None
            side = field.side_arcsec
            bar_arcsec = 5 if fraction == 1 else 2
            titles = f"survey, {' '.join(self.bands)}", f'{other.path.name}, {scale:.3f}" pixels'
            images = self.colour(field, self.image), pixels
            pairs.append([
                Panel(image, side, f'{title}, {side:.0f}"', bar_arcsec, compass=True, labels=True)
                for image, title in zip(images, titles, strict=True)
            ])  # fmt: skip
        subtitle = f"{self._subtitle()}; compared with another image"
        return plot_comparison(str(self.row["name"]), subtitle, pairs, self.arrows, self._footer())

    def _subtitle(self) -> str:
        row = self.row
        return f"{self.paths.root.name}, rank {row['rank']}, brick {row['brick']} ({row['region']})"

    def _facts(self) -> list[tuple[str, str]]:
        row, bands = self.row, self.bands
        ra, dec = format_position(row["ra"], row["dec"])
        iau = iau_name(row["ra"], row["dec"], self.release.name_prefix)[0]
        facts = [
            ("Position (J2000)", ""),
            ("RA, Dec", f"{ra}  {dec}"),
            ("", f"{row['ra']:.6f}°  {row['dec']:+.6f}°"),
            *([("IAU name", iau)] if iau != row["name"] else []),
            ("Photometry", ""),
            (
                f"{', '.join(bands)} (AB)",
                "  ".join(_format_number(row.get(f"mag_{b}")) for b in bands),
            ),
            ("type", str(row["type"])),
            ("exposures", "  ".join(str(row.get(f"nobs_{band}", "?")) for band in bands)),
            (
                "seeing",
                "  ".join(_format_number(row.get(f"psfsize_{b}")) for b in bands) + "  arcsec",
            ),
            ("redshift", format_redshift(row) or "unknown"),
            ("Search", ""),
            ("p", format_probability(row["p"])),
        ]
        scores = [n for n in row if n.startswith("p_") and pd.notna(row[n]) and row[n] != row["p"]]
        facts += [(name.replace("_", " "), format_probability(row[name])) for name in scores[:3]]
        mean = "" if pd.isna(row["mean_grade"]) else f" (mean {row['mean_grade']:.2f})"
        facts.append(("grade", f"{row['grade']}{mean}" if row["grade"] else "not graded"))
        if row["known"]:
            facts.append(("known lens", str(row["known_as"]) or "yes"))
        if row["flags"]:
            facts.append(("flags", flag_note(row["flags"])))
        radius = einstein_radius(self.arrows)
        if np.isfinite(radius):
            n_images = f"{len(self.arrows)} image{'s' * (len(self.arrows) > 1)}"
            facts.append(("Einstein radius", f'{radius:.1f}" (mean distance, {n_images})'))
        return facts

    def _footer(self) -> str:
        simulated = self.paths.sky_manifest.exists()
        origin = "simulated images" if simulated else f"images of the {self.release.survey}"
        scores = f"\nScores: {note}." if (note := self.row.get("model")) else ""
        return (
            "North is up, East is left. Magnitudes are not corrected for extinction. Arrows mark "
            "suspected images of the source.\n"
            f"Made with lenspipe {__version__} from {origin}.{scores}"
        )


def _format_number(value: float | None) -> str:
    return f"{value:.2f}" if value is not None and np.isfinite(value) else "–"
