"""Whether anything is listed twice: scores, candidates, galaxies of the sample."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from lenspipe.config.paths import RunPaths
from lenspipe.products.checks import result
from lenspipe.survey.bricks import BrickGrid
from lenspipe.utils.crossmatch import chord, unit_vectors

__all__ = ["Duplicates"]

_RADIUS_ARCSEC = 1.0


class Duplicates:
    """Galaxies that are scored twice, counted chunk by chunk.

    Of each chunk only its bricks and the positions of galaxies at the edge of a brick, 1 in 200,
    are kept.
    """

    def __init__(self, paths: RunPaths, grid: BrickGrid) -> None:
        self._paths, self._grid = paths, grid
        self.n_galaxies = self.n_ids = self.n_pairs = 0
        self.chunk_of: dict[str, str] = {}
        self._edges: list[pd.DataFrame] = []

    def add(self, chunk: str, table: pd.DataFrame) -> None:
        """Add the scores of a chunk: columns id, brick, ra and dec (degrees)."""
        self.n_galaxies += len(table)
        self.n_ids += int(table["id"].duplicated().sum())
        for brick in table["brick"].unique():
            if (other := self.chunk_of.setdefault(brick, chunk)) != chunk:
                self.n_ids += self._count_shared(table[table["brick"] == brick], other)
        unique = table.drop_duplicates("id")
        vectors = unit_vectors(unique["ra"], unique["dec"])
        if len(unique):
            self.n_pairs += len(cKDTree(vectors).query_pairs(chord(_RADIUS_ARCSEC)))
        at_edge = _at_edge(unique["ra"].to_numpy(), unique["dec"].to_numpy(), self._grid)
        edge = pd.DataFrame({"chunk": chunk, "id": unique["id"].to_numpy()[at_edge]})
        edge[["x", "y", "z"]] = vectors[at_edge]
        self._edges.append(edge)

    def _count_shared(self, rows: pd.DataFrame, chunk: str) -> int:
        """Count galaxies that another chunk has scored as well."""
        ids = pd.read_parquet(self._paths.scores(chunk), columns=["id"])["id"]
        return int(rows["id"].isin(ids).sum())

    def n_close_pairs(self) -> int:
        """Count pairs of galaxies within 1 arcsec, in one chunk or in different chunks."""
        return self.n_pairs + self._count_pairs_between_chunks()

    def _count_pairs_between_chunks(self) -> int:
        edges = pd.concat(self._edges, ignore_index=True)
        if edges.empty:
            return 0
        pairs = cKDTree(edges[["x", "y", "z"]]).query_pairs(
            chord(_RADIUS_ARCSEC), output_type="ndarray"
        )
        one, other = (edges.iloc[rows] for rows in pairs.T)
        differ = [one[name].to_numpy() != other[name].to_numpy() for name in ("chunk", "id")]
        return int(np.logical_and(*differ).sum())

    def result(self, names: pd.Series, sample: pd.DataFrame | None) -> dict:
        """Count all duplicates, also among candidates' names and in the labelled sample.

        Galaxies in two splits of the sample are left to `lenspipe.checks.leakage.check_leakage`.
        The dict is that of `lenspipe.products.checks.result`.
        """
        pairs = self.n_close_pairs()
        counts = {
            "galaxies scored twice": self.n_ids,
            "names that several candidates have": int(names[names.duplicated()].nunique()),
            "galaxies twice in a split": 0
            if sample is None
            else int(sample.duplicated(["id", "split"]).sum()),
        }
        number = sum(counts.values())
        close = f"pairs of scored galaxies within {_RADIUS_ARCSEC:g} arcsec"
        findings = "; ".join(f"{n} {name}" for name, n in counts.items() if n)
        rows: list[dict] = [
            {"what": name, "number": n, "judged": True} for name, n in counts.items()
        ]
        rows.append({"what": close, "number": pairs, "judged": False})
        why = findings or f"none of {self.n_galaxies} scored galaxies is listed twice"
        return result(
            number > 0,
            number,
            0,
            "galaxies and names that are listed twice",
            f"{why}; {pairs} {close}",
            rows,
        )


def _at_edge(ra: np.ndarray, dec: np.ndarray, grid: BrickGrid) -> np.ndarray:
    """Whether positions are within 1 arcsec of another brick's unique area."""
    height = _RADIUS_ARCSEC / 3600
    width = height / np.maximum(np.cos(np.radians(dec)), 1e-6)
    brickid, at_edge = grid.brickids_at(ra, dec), np.zeros(len(ra), bool)
    for east, north in ((width, 0), (-width, 0), (0, height), (0, -height)):
        at_edge |= grid.brickids_at(ra + east, np.clip(dec + north, -90, 90)) != brickid
    return at_edge
