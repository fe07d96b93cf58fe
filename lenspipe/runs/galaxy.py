"""A galaxy of a run: its row, its cutout, and the panels of the mosaics as a figure."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Row
from matplotlib.figure import Figure

from lenspipe.plotting.colour import colour_images
from lenspipe.plotting.galaxy_pages import format_probability, format_redshift
from lenspipe.plotting.residual import residual_images

__all__ = ["Galaxy", "Picture"]

#: Side of a panel, inches.
_PANEL_INCHES = 2.2


class Picture(Figure):
    """A figure that notebooks display without pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100, bbox_inches="tight")
        return file.getvalue()


@dataclass(frozen=True, eq=False)
class Galaxy:
    """A galaxy of a run.

    Attributes
    ----------
    name
        Of the candidate; the id of a galaxy that is none.
    row
        The columns of the candidates, or else of the scores, with units.
    cutout
        Nanomaggies per pixel, float32, shape (B, S, S); row 0 in the south, column 0 in the east.
    bands
        The B bands, in order.
    shape
        Ellipticity components of the Tractor catalogue, for the residual.
    pixel_scale_arcsec
        Of the cutout.
    stretch
        Of colour images, as ``mosaics.stretch``.
    """

    name: str
    row: Row
    cutout: np.ndarray
    bands: str
    shape: tuple[float, ...]
    pixel_scale_arcsec: float
    stretch: str = "viewer"

    def show(self, panels: Sequence[str] | None = None) -> Picture:
        """Plot the panels of the mosaics, North up and East left.

        Parameters
        ----------
        panels
            ``rgb``, ``residual`` and bands; the colour image, each band and the residual if not
            given.
        """
        panels = ["rgb", *self.bands, "residual"] if panels is None else list(panels)
        figure = Picture(figsize=(_PANEL_INCHES * len(panels), _PANEL_INCHES + 0.45))
        half = self.cutout.shape[-1] * self.pixel_scale_arcsec / 2
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, panel in zip(axes, panels, strict=True):
            axis.imshow(self._panel(panel), origin="lower", extent=(half, -half, -half, half))
            axis.set_title("colour" if panel == "rgb" else panel, fontsize=9)
            axis.set_xlabel("east (arcsec)", fontsize=8)
            axis.tick_params(labelsize=7)
        axes[0].set_ylabel("north (arcsec)", fontsize=8)
        figure.suptitle(self._title(), fontsize=10)
        figure.subplots_adjust(left=0.08, right=0.99, top=0.8, bottom=0.17, wspace=0.06)
        return figure

    def _panel(self, panel: str) -> np.ndarray:
        images = self.cutout[None]
        if panel == "residual":
            images = residual_images(images, [self.shape])
        if panel in ("rgb", "residual"):
            return colour_images(images, self.bands, self.stretch)[0]
        band = self.bands.index(panel)
        return colour_images(images[:, [band]], [panel], self.stretch)[0]

    def _title(self) -> str:
        names = self.row.colnames
        values = {n: self.row[n] for n in ("z", "z_kind") if n in names}
        redshift = format_redshift(values)
        p = format_probability(float(self.row["p"])) if "p" in names else ""
        parts = [self.name, p and f"p = {p}", redshift and f"z = {redshift}"]
        return "   ".join(part for part in parts if part)
