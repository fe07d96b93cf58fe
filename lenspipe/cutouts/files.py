"""The files of a run's cutouts: where they are, what they hold, and those that were deleted."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from lenspipe.config.data import Cutouts, Retrieval, Survey
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.config.surveys.base import Release, SurveyPaths
from lenspipe.cutouts.brick import cut_brick
from lenspipe.cutouts.stamps import CoaddStamps, ServiceStamps, StampSource
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest, update_manifest
from lenspipe.products.plan import find_brick
from lenspipe.products.tables import read_table
from lenspipe.retrieval.sources import open_source
from lenspipe.survey.service import CutoutService
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["CutoutFiles"]


@dataclass(frozen=True)
class CutoutFiles:
    """The files of a run's cutouts; a brick that was deleted after scoring is cut again.

    The sections of the settings say how.
    """

    paths: RunPaths
    survey: Survey
    survey_paths: SurveyPaths
    section: Cutouts
    retrieval: Retrieval

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the run that the settings describe."""
        return cls(
            settings.paths,
            settings.survey,
            settings.survey_paths,
            settings.cutouts,
            settings.retrieval,
        )

    @property
    def release(self) -> Release:
        """The release that the cutouts are from."""
        return self.survey_paths.release

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the cutouts, in order."""
        return self.survey.bands

    @property
    def side_arcsec(self) -> float:
        """Side of a cutout."""
        return self.section.size * self.release.pixel_scale_arcsec

    @contextlib.contextmanager
    def open_stamps(self) -> Iterator[StampSource]:
        """Open the configured source of stamps."""
        bands, size = self.bands, self.section.size
        if self.section.source == "service":
            service = CutoutService(self.survey.service, self.release, bands, size, self.retrieval)
            yield ServiceStamps(service)
            return
        with open_source(self.retrieval, self.paths.hosts, self.survey_paths.tree) as source:
            yield CoaddStamps(source, self.survey_paths, bands, size)

    def path(self, brick: str) -> Path:
        """Return the path of a brick's cutouts; if they were deleted after scoring, cut them again.

        There is no such file if the brick never had cutouts, or if they were deleted by hand.

        Raises
        ------
        LenspipeError
            As in `lenspipe.cutouts.brick.cut_brick`.
        """
        paths = self.paths
        path = paths.cutouts(brick)
        if path.exists() or not paths.manifest("discard", "").parent.exists():
            return path
        chunk, region = find_brick(paths.plan, brick)
        manifest = paths.manifest("cutouts", chunk)
        if read_manifest(manifest).get(brick, {}).get("status") not in ("done", "empty"):
            return path
        parent = read_table(paths.parent(chunk), "parent", filters=[("brick", "==", brick)])
        with self.open_stamps() as source:
            entry = cut_brick(path, source, brick, region, parent, self.section)
        update_manifest(manifest, {brick: entry})
        log.info("brick %s: %d cutouts, deleted after scoring, cut again", brick, entry["count"])
        return path

    def read(self, table: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
        """Read the cutouts of some galaxies, and their rows in the catalogues of the same files.

        Each brick's file is read once. The table has columns ``id`` and ``brick``, N rows; images,
        float32 (N, B, S, S) nanomaggies, and rows of the catalogues are in its order.

        Raises
        ------
        LenspipeError
            A galaxy has no cutout.
        """
        size = self.section.size
        images = np.empty((len(table), len(self.bands), size, size), np.float32)
        rows = pd.Series(np.arange(len(table)), index=table["id"].to_numpy())
        catalogs = []
        for brick, group in table.groupby("brick"):
            path = self.path(brick)
            cutouts, catalog = read_cutouts(path)
            indices = pd.Index(catalog["id"]).get_indexer(group["id"])
            if (indices < 0).any():
                raise LenspipeError(
                    f"{path}: found no galaxy {group['id'].to_numpy()[indices < 0][0]}, expected "
                    "the galaxies that were scored; cut out and score this brick again"
                )
            if cutouts.shape[1:] != images.shape[1:]:
                raise LenspipeError(
                    f"{path}: found cutouts of shape {cutouts.shape[1:]}, expected "
                    f"{images.shape[1:]} of config keys survey.bands and cutouts.size; cut out "
                    "this brick again"
                )
            images[rows[group["id"]].to_numpy()] = cutouts[indices]
            catalogs.append(catalog.iloc[indices].set_index(rows[group["id"]].to_numpy()))
        return images, pd.concat(catalogs).sort_index() if catalogs else pd.DataFrame()
