"""Images whose truth is known: a list to train graders with, and examples of each grade.

They are lenses and non-lenses of the run's labelled sample. The list has a database of its own, so
that its votes are never among those on candidates.
"""

import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table

from lenspipe.config.paths import RunPaths
from lenspipe.inspection.images import Cutout, Cutouts
from lenspipe.inspection.lists import Lists, Mix
from lenspipe.inspection.store import Store, split_item
from lenspipe.products.cutouts import write_cutouts
from lenspipe.products.sample import read_by_id
from lenspipe.products.tables import read_table
from lenspipe.products.truth import lenses_shown
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = ["Examples", "TrainingList", "draw_examples", "draw_training_set"]

#: Numbers of lenses and of non-lenses in a list. Most images of a search are non-lenses.
_N_LENSES, _N_OTHERS = 20, 30

#: Numbers of examples of each grade of lenses, and of kinds of non-lenses.
_N_EXAMPLES, _N_KINDS = 2, 4

#: Columns of the files besides id, ra and dec.
_TRUTH = ["label", "class", "grade", "theta_e_arcsec", "simulated"]


def draw_training_set(paths: RunPaths, seed: int) -> Path:
    """Draw lenses and non-lenses of the labelled sample, once for each seed.

    Raises
    ------
    LenspipeError
        The run has no labelled sample.
    """
    target = paths.inspection(f"training-{seed}.fits")
    if target.exists():
        return target
    if not paths.sample.exists():
        raise LenspipeError(
            f"--training: found no {paths.sample}, expected a labelled sample, whose lenses and "
            "non-lenses are shown; give a run that trains a network"
        )
    sample, rng = _read_truth(paths), np.random.default_rng([seed, 37])
    chosen = [
        table.iloc[rng.permutation(len(table))[:number]]
        for is_lens, number in ((True, _N_LENSES), (False, _N_OTHERS))
        for table in [sample[(sample["label"] == 1) == is_lens]]
    ]
    _write(paths, target, pd.concat(chosen))
    return target


def draw_examples(paths: RunPaths) -> Path | None:
    """Draw examples of each grade from the labelled sample, once; None if there is no sample.

    Those of A, B and C are known lenses with that published grade, those of D non-lenses of
    different kinds.
    """
    target = paths.inspection("examples.fits")
    if target.exists() or not paths.sample.exists():
        return target if target.exists() else None
    sample = _read_truth(paths)
    sample = sample.iloc[np.random.default_rng(41).permutation(len(sample))]
    lenses = sample[(sample["label"] == 1) & sample["grade"].isin(["A", "B", "C"])]
    others = sample[sample["label"] == 0].sort_values(
        "class", key=lambda names: ~names.str.startswith("confusing:"), kind="stable"
    )
    chosen = [lenses.groupby("grade").head(_N_EXAMPLES), others.groupby("class").head(1)]
    table = pd.concat([chosen[0].sort_values("grade", kind="stable"), chosen[1][:_N_KINDS]])
    _write(paths, target, table)
    return target


def _read_truth(paths: RunPaths) -> pd.DataFrame:
    """Read the labelled sample, with theta_e_arcsec where it is known, without doubtful galaxies.

    Known are the Einstein radii of injected lenses and of a simulated sky. Non-lenses of such a sky
    that are or show a lens are left out: they are lenses that no catalogue has, as in the real sky.
    `simulated` is whether the sky is.
    """
    columns = ["id", "ra", "dec", "shard", "label", "class", "grade"]
    sample = read_table(paths.sample, "sample", columns=columns)
    truth = [pd.DataFrame({"id": [], "theta_e_arcsec": []}).astype({"id": str})]
    if paths.truth.exists():
        of_sky = read_table(paths.truth, "truth", columns=["id", "kind", "theta_e_arcsec"])
        truth.append(of_sky.drop(columns="kind"))
        lenses = {*of_sky["id"][of_sky["kind"] == "lens"], *lenses_shown(paths.truth)}
        sample = sample[(sample["label"] == 1) | ~sample["id"].isin(lenses)]
    if paths.injected.exists():
        injected = read_table(paths.injected, "injected", columns=["id", "theta_e_arcsec"])
        ids = "injected:" + injected["id"].str.removeprefix("injected:")
        truth.append(injected.assign(id=ids))
    known = pd.concat(truth).drop_duplicates("id")
    sample = sample.merge(known, on="id", how="left", validate="m:1")
    return sample.assign(simulated=paths.truth.exists())


def _write(paths: RunPaths, target: Path, table: pd.DataFrame) -> None:
    shards = [paths.sample.with_name(name) for name in sorted(table["shard"].unique())]
    images, rows = read_by_id(shards, set(table["id"]))
    if len(images) < len(table):
        raise LenspipeError(
            f"{paths.sample}: found the cutouts of {len(images)} of {len(table)} galaxies in its "
            "records, expected all; draw the labelled sample again"
        )
    # The order of the table, not that of the records.
    order = pd.Index(rows["id"]).get_indexer(table["id"])
    pixels = np.stack([images[i] for i in order])
    write_cutouts(target, pixels, table[["id", "ra", "dec", *_TRUTH]], fits.Header())
    log.info("%s: %d images of the labelled sample", target, len(table))


def _read_rows(path: Path) -> pd.DataFrame:
    table = Table.read(path, hdu="CATALOG", character_as_bytes=False).to_pandas()
    return table.set_index("id")


def describe_truth(row: pd.Series) -> str:
    """Say in a sentence what an image shows."""
    if row["label"] != 1:
        kind = "graded D before" if row["class"] == "graded" else row["class"].partition(":")[2]
        if kind:
            return f"Not a lens: {kind.replace('_', ' ')}."
        return "Not a lens." if row["simulated"] else "Not a known lens."
    words = ["A simulated lens" if row["class"] == "injected" else "A lens"]
    if np.isfinite(row["theta_e_arcsec"]):
        words.append(f"Einstein radius {row['theta_e_arcsec']:.1f}″")
    if row["grade"]:
        words.append(f"published grade {row['grade']}")
    return f"{', '.join(words)}."


class TrainingList(Lists):
    """A list of images whose truth is known, in an order of its own for each grader."""

    def __init__(self, paths: RunPaths, store: Store, file: Path) -> None:
        super().__init__(paths, store, Mix(repeats=0, controls={"training": file}))
        self._truth = _read_rows(file)

    def candidates_of_stage(self) -> list[str]:
        """None: no candidates are among the images."""
        return []

    def _new_items(self, grader: str, items: Sequence[str]) -> list[str]:
        ids = [] if items else sorted(self._truth.index)
        rng = np.random.default_rng(zlib.crc32(grader.encode()))
        return [f"training:{ids[i]}" for i in rng.permutation(len(ids))]

    def truth(self, item: str) -> dict[str, Any]:
        """Whether an item is a lens, and what it is in a line."""
        row = self._truth.loc[split_item(item)[1]]
        return {"lens": bool(row["label"] == 1), "text": describe_truth(row)}

    def tally(self, grader: str) -> dict[str, int]:
        """Count the lenses and non-lenses graded so far, and those of each graded A to C."""
        counts = {"lenses": 0, "found": 0, "others": 0, "taken": 0}
        for vote in self.store.votes(grader, self.mix.stage, latest=True):
            if vote["grade"]:
                is_lens = self.truth(vote["item"])["lens"]
                counts["lenses" if is_lens else "others"] += 1
                counts["found" if is_lens else "taken"] += vote["grade"] != "D"
        return counts


class Examples:
    """Example pictures of the grades, drawn when they are first asked for.

    Parameters
    ----------
    draw
        Returns a file as `draw_examples` writes it, or None if there are no examples.
    """

    def __init__(self, draw: Callable[[], Path | None]) -> None:
        self._draw, self._lock = draw, threading.Lock()
        self._drawn: tuple[Path | None, pd.DataFrame] | None = None

    def _read(self) -> tuple[Path | None, pd.DataFrame]:
        # Two graders who open the help at once wait for one drawing.
        with self._lock:
            if self._drawn is None:
                path = self._draw()
                self._drawn = path, _read_rows(path) if path else pd.DataFrame()
            return self._drawn

    def describe(self) -> list[dict[str, str]]:
        """Grade of each example, D for a non-lens, and what it is in a line."""
        return [
            {"grade": row["grade"] if row["label"] == 1 else "D", "text": describe_truth(row)}
            for _, row in self._read()[1].iterrows()
        ]

    def read(self, number: int) -> Cutout | None:
        """Read the cutout of an example; None if there is no such example."""
        path, rows = self._read()
        return Cutouts().read(path, rows.index[number]) if path and number < len(rows) else None
