"""The plan of a run: the bricks of each chunk, in a file small enough for every job to read."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import atomic, read_kept
from lenspipe.utils.hashing import digest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan", "bricks_of_chunk", "find_brick", "read_plan"]


class Plan(Mapping):
    """Bricks of each chunk: chunk -> list of ``{"brick": str, "region": str}``, sorted by brick.

    The list of a chunk is made on request. Until then the names are one string per region: the
    survey has 224,000 bricks, and a job needs those of one chunk, or none.

    Parameters
    ----------
    chunks
        Chunk -> ``{"digest": str, "regions": {region: names separated by blanks}}``.
    """

    def __init__(self, chunks: dict[str, dict[str, Any]]) -> None:
        self._chunks = chunks

    @classmethod
    def of(cls, table: "pd.DataFrame") -> Self:
        """Make a plan of a table with the columns chunk, brick, region."""
        chunks: dict[str, dict[str, list[str]]] = {}
        ordered = table.sort_values(["chunk", "brick"])
        for chunk, brick, region in ordered[["chunk", "brick", "region"]].itertuples(index=False):
            chunks.setdefault(chunk, {}).setdefault(region, []).append(brick)
        plan = cls({c: {"regions": _joined(regions)} for c, regions in chunks.items()})
        for chunk, entries in plan.items():
            plan._chunks[chunk]["digest"] = digest(entries)
        return plan

    @classmethod
    def read(cls, path: str | os.PathLike[str], key: str | None = None) -> Self | None:
        """Read a plan from its file.

        Parameters
        ----------
        key
            Hash of what the plan has to be made from; any if not given.

        Returns
        -------
        Plan or None
            None if there is no file, a damaged one, or one with another key.
        """
        content = read_kept(Path(path)) or {}
        fits = content and key in (None, content["key"])
        return cls(content["chunks"]) if fits else None

    def write(self, path: str | os.PathLike[str], key: str) -> None:
        """Write the plan, with the hash of what it is made from, as JSON."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"key": key, "chunks": self._chunks}))

    def __getitem__(self, chunk: str) -> list[dict[str, str]]:
        regions = self._chunks[chunk]["regions"]
        pairs = sorted((b, region) for region, names in regions.items() for b in names.split())
        return [{"brick": brick, "region": region} for brick, region in pairs]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)

    def digest(self, chunk: str) -> str:
        """Return a hash of the bricks of a chunk."""
        return self._chunks[chunk]["digest"]

    def count(self, chunk: str) -> int:
        """Return the number of bricks in a chunk."""
        return sum(names.count(" ") + 1 for names in self._chunks[chunk]["regions"].values())

    def find(self, brick: str) -> tuple[str, str] | None:
        """Return the chunk and the region of a brick, or None if it is in no chunk."""
        for chunk, entry in self._chunks.items():
            for region, names in entry["regions"].items():
                if brick in names and brick in names.split():
                    return chunk, region
        return None


def _joined(regions: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {region: " ".join(names) for region, names in regions.items()}


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read the plan of a run, which reading the Snakefile has made.

    Raises
    ------
    LenspipeError
        There is no plan.
    """
    plan = Plan.read(path)
    if plan is None:
        found = "damaged" if Path(path).exists() else "no such file"
        raise LenspipeError(
            f"{path}: {found}, expected the plan of the run; make it with `snakemake -n`"
        )
    return plan


def bricks_of_chunk(path: str | os.PathLike[str], chunk: str) -> list[tuple[str, str]]:
    """Return the bricks of a chunk of the plan at `path` as (brick, region), sorted.

    Raises
    ------
    LenspipeError
        There is no plan, or no such chunk in it.
    """
    plan = read_plan(path)
    if chunk not in plan:
        raise LenspipeError(
            f"chunk {chunk}: not in this run; expected one that {path} lists, such as "
            f"{next(iter(plan))}"
        )
    return [(entry["brick"], entry["region"]) for entry in plan[chunk]]


def find_brick(path: str | os.PathLike[str], brick: str) -> tuple[str, str]:
    """Return the chunk and the region of a brick of the plan at `path`.

    Raises
    ------
    LenspipeError
        There is no plan, or the brick is not in the footprint.
    """
    if result := read_plan(path).find(brick):
        return result
    raise LenspipeError(
        f"brick {brick}: not in this run; expected one that {path} lists; correct the name or "
        "widen config key footprint"
    )
