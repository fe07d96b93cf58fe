"""Cleaning: non-lenses with high scores of a previous model are set aside for inspection."""

from typing import Any

import pandas as pd

from lenspipe.config.settings import Settings
from lenspipe.cutouts.reading import read_images
from lenspipe.sample.grading_lists import write_for_grading
from lenspipe.scoring.score import load_model_for_run, score_images
from lenspipe.utils.progress import log

__all__ = ["Cleaner"]


#: Cutouts in memory at once, 0.25 GB of the usual size.
_BATCH = 2048


class Cleaner:
    """Scores random galaxies with the model of ``sample.cleaning_model``, if there is one.

    Galaxies that have been inspected, graded D or listed as confusing, are not scored.

    Attributes
    ----------
    set_aside : pandas.DataFrame
        Galaxies set aside, with their score p.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.set_aside = pd.DataFrame()
        self.model: Any = None
        if settings.sample.cleaning_model:
            self.model = load_model_for_run(settings, settings.sample.cleaning_model)

    def select(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that stay.

        Parameters
        ----------
        rows
            Galaxies with cutouts: id, brick, class and others.
        """
        random = rows[rows["class"] == "random"]
        if self.model is None or random.empty:
            return rows

        batch_size, selected = self.settings.inference.batch_size, []
        for start in range(0, len(random), _BATCH):
            batch = random.iloc[start : start + _BATCH]
            p = score_images(self.model, read_images(self.settings, batch), batch_size)
            selected.append(batch.assign(p=p)[p >= self.settings.sample.cleaning_threshold])
        high = pd.concat(selected)
        self.set_aside = pd.concat([self.set_aside, high])
        return rows.drop(high.index)

    def write(self, version: int) -> None:
        """Write the galaxies set aside in a version of the sample as a list to be graded."""
        if self.model is None:
            return
        if self.set_aside.empty:
            log.info("cleaning: no non-lens has p >= %g", self.settings.sample.cleaning_threshold)
            return
        path = self.settings.paths.set_aside(version)
        write_for_grading(self.settings, self.set_aside, path, "set aside by cleaning")
