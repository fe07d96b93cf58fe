"""Who sees what, in which order: a list for each grader and stage, with repeats and checks."""

import zlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lenspipe.config.flags import flag_note
from lenspipe.inspection.grades import means_of_stage
from lenspipe.inspection.images import Cutouts, read_candidates
from lenspipe.utils.names import iau_name

__all__ = ["Lists", "Mix", "kind_of"]

#: What is slipped in: its kind stands before the colon of its name.
KINDS = ("repeat", "known", "injected")


def kind_of(item):
    """Kind of an item of a list: candidate, repeat, known or injected; and the galaxy's id."""
    kind, colon, galaxy = item.partition(":")
    return (kind, galaxy) if colon else ("candidate", item)


@dataclass(frozen=True)
class Mix:
    """What a new list is made of.

    Attributes
    ----------
    stage : int
        1: all candidates; 2: those whose mean of stage 1 is at least `limit`.
    limit : float
    repeats : float
        Part of the candidates that come a second time.
    checks : dict
        'known' and 'injected' -> file of cutouts that are slipped in.
    seed : int
    """

    stage: int = 1
    limit: float = 2.0
    repeats: float = 0.05
    checks: dict = field(default_factory=dict)
    seed: int = 0


class Lists:
    """The graders' lists of one stage.

    A list is made when its grader first comes, by seed, stage and name alone, and kept. Candidates
    that a run has since are put at its end; those that are gone are passed over.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    store : lenspipe.inspection.store.Store
    mix : Mix
    """

    def __init__(self, paths, store, mix):
        self.paths, self.store, self.mix = paths, store, mix
        self.candidates = read_candidates(paths)
        self.cutouts = Cutouts()
        self.checks = {kind: self.cutouts.rows(path) for kind, path in mix.checks.items()}
        self._entries = {}

    def of(self, grader):
        """Return a grader's list, longer by what is new.

        Parameters
        ----------
        grader : str

        Returns
        -------
        list of str
            Items, also those that are gone; the place of each stays what it is.
        """
        there = self.store.list_of(grader, self.mix.stage)
        if fresh := self._fresh(grader, there):
            self.store.extend_list(grader, self.mix.stage, fresh)
            there = self.store.list_of(grader, self.mix.stage)
        return there

    def wanted(self):
        """Candidates of this stage: their ids, in order of rank."""
        if self.mix.stage == 1:
            return list(self.candidates.index)
        means = means_of_stage(self.store, self.mix.stage - 1)
        means = means.reindex(self.candidates.index)
        return list(means.index[means >= self.mix.limit])

    def _fresh(self, grader, there):
        """Items that a list lacks, shuffled; with repeats and checks if there is no list yet."""
        listed = set(there)
        new = [item for item in self.wanted() if item not in listed]
        words = [self.mix.seed, self.mix.stage, zlib.crc32(grader.encode()), len(there)]
        rng = np.random.default_rng(words)
        if there or not new:
            return [new[i] for i in rng.permutation(len(new))]
        planted = [f"{kind}:{id_}" for kind, (places, _) in self.checks.items() for id_ in places]
        new += planted
        order = [new[i] for i in rng.permutation(len(new))]
        # What is seen again was in the first third and comes in the last, where memory is gone.
        early = [item for item in order[: -(-len(order) // 3)] if ":" not in item]
        number = min(len(early), round(self.mix.repeats * len(self.wanted())))
        for i in rng.permutation(len(early))[:number]:
            order.insert(
                int(rng.integers(2 * len(order) // 3, len(order) + 1)), f"repeat:{early[i]}"
            )
        return order

    def exists(self, item):
        """Whether an item of a list is still there to be seen."""
        kind, galaxy = kind_of(item)
        if kind in ("candidate", "repeat"):
            return galaxy in self.candidates.index
        return kind in self.checks and galaxy in self.checks[kind][0]

    def describe(self, item):
        """What a grader may know of an item: nothing that tells what it is.

        Parameters
        ----------
        item : str

        Returns
        -------
        dict
            name, ra, dec (degrees) and flags (in words).
        """
        if not self._entries:
            for row in self.candidates.itertuples():
                self._entries[row.Index] = _entry(row.name, row.ra, row.dec, row.flags)
            for kind, (places, rows) in self.checks.items():
                rows = pd.DataFrame({n: rows[n] for n in rows.dtype.names if n != "id"})
                rows = rows.assign(**{n: 0 for n in ("ra", "dec", "flags") if n not in rows})
                names = iau_name(rows["ra"], rows["dec"])
                for galaxy, i in places.items():
                    row = rows.iloc[i]
                    entry = _entry(names[i], row["ra"], row["dec"], row["flags"])
                    self._entries[f"{kind}:{galaxy}"] = entry
        return self._entries[item.removeprefix("repeat:")]

    def read(self, item):
        """Read an item's cutout; as `lenspipe.inspection.images.Cutouts.read`."""
        kind, galaxy = kind_of(item)
        if kind in self.checks:
            return self.cutouts.read(self.mix.checks[kind], galaxy)
        brick = self.candidates.at[galaxy, "brick"]
        return self.cutouts.read(self.paths.cutouts(brick), galaxy)


def _entry(name, ra, dec, flags):
    return {
        "name": str(name),
        "ra": round(float(ra), 6),
        "dec": round(float(dec), 6),
        "flags": flag_note(flags),
    }
