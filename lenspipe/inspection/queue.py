"""Which image each grader is shown next, if the one whose vote tells most."""

import threading
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lenspipe.inspection.lists import Lists
from lenspipe.inspection.posterior import Posterior, Retirement, estimate_posterior
from lenspipe.inspection.store import Store, split_item
from lenspipe.statistics.votes import vote_information

__all__ = ["Queue"]

#: Draws from the posterior for the order of a list, in which the noise of so few is not seen.
_DRAWS = 150

#: Maximum number of places that a page is told in advance.
_AHEAD = 40

#: Minimum time between two estimates; between them the order stays as it was, seconds.
_PAUSE_S = 1.0

#: Number of votes between a candidate and its repeat, so that it is not remembered.
_BEFORE_REPEAT = 20


class Queue:
    """Order in which each grader's images are shown so that every vote tells most; thread-safe.

    Candidates come by the information that the grader's vote is expected to add, without those that
    are retired. What was slipped in comes among them at equal distances, repeats long after their
    candidate, so that neither is recognised by its place.
    """

    def __init__(self, store: Store, lists: Lists, retirement: Retirement) -> None:
        self.store, self.lists, self.retirement = store, lists, retirement
        self._lock = threading.Lock()
        self._number, self._estimated_at = -1, 0.0
        self._posterior: Posterior | None = None

    def posterior(self) -> Posterior:
        """What the votes say that there are by now, or were a moment ago."""
        with self._lock:
            if self._posterior and time.monotonic() - self._estimated_at < _PAUSE_S:
                return self._posterior
            votes = self.store.votes(latest=True)
            number = max((vote["n"] for vote in votes), default=0)
            if self._posterior is None or number != self._number:
                candidates = self.lists.candidates
                self._posterior = estimate_posterior(votes, candidates, _DRAWS)
                self._number, self._estimated_at = number, time.monotonic()
            return self._posterior

    def next_places(self, grader: str, items: Sequence[str]) -> dict[str, Any]:
        """Places of a grader's list to be shown next.

        Returns
        -------
        dict
            places: the next ones, best first; left: how many there are in all.
        """
        posterior, stage = self.posterior(), self.lists.mix.stage
        votes = self.store.votes(grader, stage, latest=True)
        graded = [vote["item"] for vote in votes if vote["grade"]]
        before = set(graded[: max(0, len(graded) - _BEFORE_REPEAT)])
        done = set(graded)
        places = {item: i for i, item in enumerate(items)}
        open_items = [i for i in items if i not in done and self.lists.exists(i)]
        candidates = [item for item in open_items if ":" not in item]
        table = posterior.table.loc[candidates]
        table = table[~self.retirement.applies(table)]
        information = vote_information(table["posterior"], posterior.matrix_of(grader))
        # Equal ones stay in the order of the list.
        order = [table.index[i] for i in np.argsort(-information.round(6), kind="stable")]
        kinds = {item: split_item(item) for item in open_items if ":" in item}
        slipped_in = [
            item for item, (kind, galaxy) in kinds.items() if kind != "repeat" or galaxy in before
        ]
        total = len([item for item in items if ":" in item]) + 1
        step = max(2, len(items) // total)
        # The first of them comes where the number of votes so far is next a multiple of the step,
        # shifted by the name, so that it moves up as votes are given.
        offset = (zlib.crc32(grader.encode()) - len(graded)) % step
        for k, item in enumerate(slipped_in):
            order.insert(min(offset + k * step, len(order)), item)
        return {"places": [places[item] for item in order[:_AHEAD]], "left": len(order)}
