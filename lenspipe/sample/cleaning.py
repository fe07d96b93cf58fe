"""Cleaning: non-lenses that a previous model takes for lenses are set aside for the eye."""

import pandas as pd

from lenspipe.cutouts.reading import read_images
from lenspipe.sample.grading_lists import write_for_grading
from lenspipe.scoring.score import load_fitting, score_images
from lenspipe.utils.progress import log

__all__ = ["Cleaner"]


class Cleaner:
    """Looks at random galaxies with the model of ``sample.cleaning_model``, if there is one.

    Galaxies that a person has judged, graded D or listed as confusing, are left as they are.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Attributes
    ----------
    aside : pandas.DataFrame
        What was set aside, with its score p.
    """

    def __init__(self, settings):
        self.settings = settings
        self.aside = pd.DataFrame()
        self.model = None
        if settings.sample.cleaning_model:
            self.model = load_fitting(settings, settings.sample.cleaning_model)

    def of(self, rows):
        """Return the rows that stay.

        Parameters
        ----------
        rows : pandas.DataFrame
            Galaxies with cutouts: id, brick, class and others.

        Returns
        -------
        pandas.DataFrame
        """
        random = rows[rows["class"] == "random"]
        if self.model is None or random.empty:
            return rows

        own, parts = self.settings.inference, []
        for first in range(0, len(random), _AT_ONCE):
            part = random.iloc[first : first + _AT_ONCE]
            p = score_images(self.model, read_images(self.settings, part), own.batch_size)
            parts.append(part.assign(p=p)[p >= self.settings.sample.cleaning_threshold])
        high = pd.concat(parts)
        self.aside = pd.concat([self.aside, high])
        return rows.drop(high.index)

    def write(self, version):
        """Write what was set aside, to be graded.

        Parameters
        ----------
        version : int
            Of the sample.
        """
        if self.model is None:
            return
        if self.aside.empty:
            log.info("cleaning: no non-lens has p >= %g", self.settings.sample.cleaning_threshold)
            return
        path = self.settings.paths.set_aside(version)
        write_for_grading(self.settings, self.aside, path, "set aside by cleaning")


#: Cutouts in memory at once, 0.25 GB of the usual size.
_AT_ONCE = 2048
