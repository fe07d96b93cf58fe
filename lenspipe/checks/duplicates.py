"""Whether anything is there twice: scores, candidates, galaxies of the sample."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from lenspipe.products.candidates import read_candidates
from lenspipe.products.checks import result
from lenspipe.survey.bricks import brickids_at
from lenspipe.utils.crossmatch import chord, unit_vectors

__all__ = ["Duplicates"]

_RADIUS_ARCSEC = 1.0


class Duplicates:
    """What is scored twice, counted chunk by chunk.

    Of a chunk that has been counted only which bricks it has is kept, and the positions of
    galaxies at the edge of a brick, 1 in 200.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    """

    def __init__(self, settings):
        self.settings = settings
        self.n_galaxies = self.n_ids = self.n_pairs = 0
        self.chunk_of, self._edges = {}, []

    def add(self, chunk, table):
        """Count a chunk.

        Parameters
        ----------
        chunk : str
        table : pandas.DataFrame
            Its scores, with id, brick, ra and dec (degrees).
        """
        self.n_galaxies += len(table)
        self.n_ids += int(table["id"].duplicated().sum())
        bricks = table["brick"].unique()
        for brick in bricks:
            if (other := self.chunk_of.setdefault(brick, chunk)) != chunk:
                self.n_ids += self._shared(table[table["brick"] == brick], other)
        once = table.drop_duplicates("id")
        here = unit_vectors(once["ra"], once["dec"])
        if len(once):
            self.n_pairs += len(cKDTree(here).query_pairs(chord(_RADIUS_ARCSEC)))
        at_edge = _at_edge(once["ra"].to_numpy(), once["dec"].to_numpy())
        ids = once["id"].to_numpy()[at_edge]
        self._edges.append(pd.DataFrame({"chunk": chunk, "id": ids}))
        self._edges[-1][["x", "y", "z"]] = here[at_edge]

    def _shared(self, rows, chunk):
        """How many galaxies of a brick another chunk has scored, too."""
        path = self.settings.paths.scores(chunk)
        return int(rows["id"].isin(pd.read_parquet(path, columns=["id"])["id"]).sum())

    def n_close_pairs(self):
        """Count pairs of galaxies within 1 arcsec, of a chunk and of different ones.

        Returns
        -------
        int
        """
        return self.n_pairs + self._pairs_between_chunks()

    def _pairs_between_chunks(self):
        edges = pd.concat(self._edges, ignore_index=True)
        if edges.empty:
            return 0
        pairs = cKDTree(edges[["x", "y", "z"]]).query_pairs(
            chord(_RADIUS_ARCSEC), output_type="ndarray"
        )
        one, other = (edges.iloc[rows] for rows in pairs.T)
        differ = [one[name].to_numpy() != other[name].to_numpy() for name in ("chunk", "id")]
        return int(np.logical_and(*differ).sum())

    def result(self, sample):
        """Say what was found.

        Parameters
        ----------
        sample : pandas.DataFrame or None
            The labelled sample. A galaxy in two of its splits is `check_leakage`'s.

        Returns
        -------
        dict
            As of `lenspipe.products.checks.result`.
        """
        names = read_candidates(self.settings.paths.candidates, hidden=True)["name"]
        if self.settings.targets:
            # Who lists a position twice gets it twice.
            names = names.iloc[:0]
        pairs = self.n_close_pairs()
        counts = {
            "galaxies scored twice": self.n_ids,
            "names that several candidates have": int(names[names.duplicated()].nunique()),
            "galaxies twice in a split": 0
            if sample is None
            else int(sample.duplicated(["id", "split"]).sum()),
        }
        number = sum(counts.values())
        near = f"{pairs} pairs of scored galaxies within {_RADIUS_ARCSEC:g} arcsec"
        found = "; ".join(f"{n} {what}" for what, n in counts.items() if n)
        parts = [{"what": what, "number": n, "judged": True} for what, n in counts.items()]
        parts.append({"what": near.partition(" ")[2], "number": pairs, "judged": False})
        return result(
            number > 0,
            number,
            0,
            "galaxies and names that are there twice",
            f"{found or f'nothing of {self.n_galaxies} scored galaxies is there twice'}; {near}",
            parts,
        )


def _at_edge(ra, dec):
    """Which positions are within 1 arcsec of another brick's sky."""
    step = _RADIUS_ARCSEC / 3600
    wide = step / np.maximum(np.cos(np.radians(dec)), 1e-6)
    own, found = brickids_at(ra, dec), np.zeros(len(ra), bool)
    for east, north in ((wide, 0), (-wide, 0), (0, step), (0, -step)):
        found |= brickids_at(ra + east, np.clip(dec + north, -90, 90)) != own
    return found
