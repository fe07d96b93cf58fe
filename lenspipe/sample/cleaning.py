"""Cleaning: non-lenses with high scores of a previous model are set aside for inspection."""

import pandas as pd

from lenspipe.cutouts.files import CutoutFiles
from lenspipe.scoring.score import score_images
from lenspipe.utils.tensorflow import keras

__all__ = ["Cleaner"]

#: Cutouts in memory at once, 0.25 GB of the usual size.
_BATCH = 2048


class Cleaner:
    """Scores random galaxies with a previous model.

    Galaxies that have been inspected, graded D or listed as confusing, are not scored. Those with a
    score of at least the threshold are set aside.

    Attributes
    ----------
    set_aside : pandas.DataFrame
        Galaxies set aside, with their score p.
    """

    def __init__(
        self, model: keras.Model, cutouts: CutoutFiles, threshold: float, batch_size: int
    ) -> None:
        self.model, self.cutouts, self.threshold = model, cutouts, threshold
        self.batch_size = batch_size
        self.set_aside = pd.DataFrame()

    def select(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that stay.

        They are galaxies with cutouts: id, brick, class and others.
        """
        random = rows[rows["class"] == "random"]
        if random.empty:
            return rows
        selected = []
        for start in range(0, len(random), _BATCH):
            batch = random.iloc[start : start + _BATCH]
            p = score_images(self.model, self.cutouts.read(batch)[0], self.batch_size)
            selected.append(batch.assign(p=p)[p >= self.threshold])
        high = pd.concat(selected)
        self.set_aside = pd.concat([self.set_aside, high])
        return rows.drop(high.index)
