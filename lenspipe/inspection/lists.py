"""Order of the images for each grader and stage, with repeats and control lenses."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenspipe.config.flags import flag_note
from lenspipe.config.paths import RunPaths
from lenspipe.inspection.around import Place
from lenspipe.inspection.grades import means_of_stage
from lenspipe.inspection.images import Cutout, Cutouts, candidates_to_grade
from lenspipe.inspection.store import Store, split_item
from lenspipe.products.cutouts import read_release
from lenspipe.survey.bricks import brick_grid
from lenspipe.utils.names import iau_name

__all__ = ["Lists", "Mix"]


@dataclass(frozen=True)
class Mix:
    """Contents of a new list.

    Attributes
    ----------
    stage
        1: all candidates; 2: those whose mean of stage 1 is at least `limit`.
    repeats
        Fraction of the candidates that are shown twice.
    controls
        'known' and 'injected' -> file of cutouts of control lenses.
    """

    stage: int = 1
    limit: float = 2.0
    repeats: float = 0.05
    controls: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0


class Lists:
    """The graders' lists of one stage.

    A list is made when its grader first opens the portal, and then kept; its order depends only on
    seed, stage and name. Candidates that a run finds later are appended; those that no longer exist
    are skipped.
    """

    def __init__(self, paths: RunPaths, store: Store, mix: Mix) -> None:
        self.paths, self.store, self.mix = paths, store, mix
        self.candidates = candidates_to_grade(paths)
        self.release = read_release(map(paths.cutouts, self.candidates["brick"].unique()))
        self.cutouts = Cutouts()
        self.controls = {kind: self.cutouts.rows(path) for kind, path in mix.controls.items()}
        self._entries: dict[str, dict[str, Any]] = {}

    def for_grader(self, grader: str) -> list[str]:
        """Return a grader's list after appending new items.

        It includes items that no longer exist, so that the place of each never changes.
        """
        items = self.store.list_of(grader, self.mix.stage)
        if new := self._new_items(grader, items):
            self.store.extend_list(grader, self.mix.stage, new)
            items = self.store.list_of(grader, self.mix.stage)
        return items

    def candidates_of_stage(self) -> list[str]:
        """Ids of the candidates of this stage, in order of rank."""
        if self.mix.stage == 1:
            return list(self.candidates.index)
        means = means_of_stage(self.store, self.mix.stage - 1)
        means = means.reindex(self.candidates.index)
        return list(means.index[means >= self.mix.limit])

    def _new_items(self, grader: str, items: Sequence[str]) -> list[str]:
        """Items that a list lacks, shuffled; with repeats and controls if it is empty."""
        listed = set(items)
        new = [item for item in self.candidates_of_stage() if item not in listed]
        seeds = [self.mix.seed, self.mix.stage, zlib.crc32(grader.encode()), len(items)]
        rng = np.random.default_rng(seeds)
        if items or not new:
            return [new[i] for i in rng.permutation(len(new))]
        for kind, (places, _) in self.controls.items():
            new += [f"{kind}:{id_}" for id_ in places]
        order = [new[i] for i in rng.permutation(len(new))]
        # Repeats are from the first third and come in the last, so that they are not remembered.
        early = [item for item in order[: -(-len(order) // 3)] if ":" not in item]
        number = min(len(early), round(self.mix.repeats * len(self.candidates_of_stage())))
        for i in rng.permutation(len(early))[:number]:
            order.insert(
                int(rng.integers(2 * len(order) // 3, len(order) + 1)), f"repeat:{early[i]}"
            )
        return order

    def exists(self, item: str) -> bool:
        """Whether an item of a list still exists."""
        kind, galaxy = split_item(item)
        if kind in ("candidate", "repeat"):
            return galaxy in self.candidates.index
        return kind in self.controls and galaxy in self.controls[kind][0]

    def describe(self, item: str) -> dict[str, Any]:
        """Name, ra, dec (degrees) and flags (in words) of an item, which do not reveal its kind."""
        if not self._entries:
            for row in self.candidates.itertuples():
                self._entries[row.Index] = _entry(row.name, row.ra, row.dec, row.flags)
            for kind, (places, rows) in self.controls.items():
                table = pd.DataFrame({n: rows[n] for n in rows.dtype.names or () if n != "id"})
                table = table.assign(**{n: 0 for n in ("ra", "dec", "flags") if n not in table})
                names = iau_name(table["ra"], table["dec"], self.release.name_prefix)
                for galaxy, i in places.items():
                    row = table.iloc[i]
                    entry = _entry(names[i], row["ra"], row["dec"], row["flags"])
                    self._entries[f"{kind}:{galaxy}"] = entry
        return self._entries[item.removeprefix("repeat:")]

    def place(self, item: str) -> Place:
        """Where an item is; the brick of a control lens is that of its position."""
        kind, galaxy = split_item(item)
        if kind not in self.controls:
            row = self.candidates.loc[galaxy]
            return Place(row["brick"], float(row["ra"]), float(row["dec"]))
        places, rows = self.controls[kind]
        if not {"ra", "dec"} <= {*(rows.dtype.names or ())}:
            return Place("", np.nan, np.nan)
        ra, dec = (float(rows[name][places[galaxy]]) for name in ("ra", "dec"))
        if np.isnan(ra):
            return Place("", ra, dec)
        (brick,), _ = brick_grid(self.release.brick_deg).bricks_at([ra], [dec])
        return Place(str(brick), ra, dec)

    def read(self, item: str) -> Cutout:
        """Read an item's cutout, as `lenspipe.inspection.images.Cutouts.read` does."""
        kind, galaxy = split_item(item)
        if kind in self.controls:
            return self.cutouts.read(self.mix.controls[kind], galaxy)
        brick = self.candidates.at[galaxy, "brick"]
        return self.cutouts.read(self.paths.cutouts(brick), galaxy)


def _entry(name: str, ra: float, dec: float, flags: int) -> dict[str, Any]:
    return {
        "name": str(name),
        "ra": _degrees(ra),
        "dec": _degrees(dec),
        "flags": flag_note(flags),
    }


def _degrees(angle: float) -> float | None:
    """Angle for the page; None if it is not known, as for cutouts without positions."""
    return None if np.isnan(angle) else round(float(angle), 6)
