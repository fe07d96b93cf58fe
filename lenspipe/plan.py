"""The plan of a run: which bricks each chunk holds, small enough for every job to read."""

import json
from collections.abc import Mapping
from pathlib import Path

from lenspipe.config import digest
from lenspipe.paths import atomic

__all__ = ["Plan"]


class Plan(Mapping):
    """Bricks of each chunk: chunk -> list of ``{"brick": str, "region": str}``, sorted by brick.

    A chunk's list is made when it is asked for. Until then the names are one string per region: the
    survey has 224,000 bricks, and whoever plans or does a job needs those of one chunk, or none.

    Parameters
    ----------
    chunks : dict
        Chunk -> ``{"digest": str, "regions": {region: names with a space between}}``.
    """

    def __init__(self, chunks):
        self._chunks = chunks

    @classmethod
    def of(cls, table):
        """Make a plan of a table of bricks.

        Parameters
        ----------
        table : pandas.DataFrame
            Columns chunk, brick, region.

        Returns
        -------
        Plan
        """
        chunks = {}
        ordered = table.sort_values(["chunk", "brick"])
        for chunk, brick, region in ordered[["chunk", "brick", "region"]].itertuples(index=False):
            chunks.setdefault(chunk, {}).setdefault(region, []).append(brick)
        plan = cls({c: {"regions": _joined(regions)} for c, regions in chunks.items()})
        for chunk, entries in plan.items():
            plan._chunks[chunk]["digest"] = digest(entries)
        return plan

    @classmethod
    def read(cls, path, key=None):
        """Read a plan from its file.

        Parameters
        ----------
        path : str or path-like
        key : str, optional
            What the plan has to be made from; any plan will do if not given.

        Returns
        -------
        Plan or None
            None if there is no file, or one made from something else.
        """
        path = Path(path)
        content = json.loads(path.read_text()) if path.exists() else {}
        fits = content and key in (None, content["key"])
        return cls(content["chunks"]) if fits else None

    def write(self, path, key):
        """Write the plan, with the key of what it is made from, as JSON."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"key": key, "chunks": self._chunks}))

    def __getitem__(self, chunk):
        regions = self._chunks[chunk]["regions"]
        pairs = sorted((b, region) for region, names in regions.items() for b in names.split())
        return [{"brick": brick, "region": region} for brick, region in pairs]

    def __iter__(self):
        return iter(self._chunks)

    def __len__(self):
        return len(self._chunks)

    def digest(self, chunk):
        """Return what changes when the bricks of a chunk do."""
        return self._chunks[chunk]["digest"]

    def count(self, chunk):
        """Return the number of bricks in a chunk."""
        return sum(names.count(" ") + 1 for names in self._chunks[chunk]["regions"].values())

    def find(self, brick):
        """Return the chunk and the region of a brick, or None if it is in no chunk."""
        for chunk, entry in self._chunks.items():
            for region, names in entry["regions"].items():
                if brick in names and brick in names.split():
                    return chunk, region
        return None


def _joined(regions):
    return {region: " ".join(names) for region, names in regions.items()}
