"""The truth of a simulated sky, and bricks whose galaxies the model was not trained on."""

from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.manifests import read_manifests
from lenspipe.products.tables import read_table
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = [
    "QUOTED_ARC_SNR",
    "QUOTED_THETA_E_ARCSEC",
    "held_out_bricks",
    "read_rows_of_bricks",
    "read_scores_with_truth",
]

#: Minimum Einstein radius and arc signal to noise of the lenses on which completeness is quoted
#: (column and keys ``visible``).
QUOTED_THETA_E_ARCSEC, QUOTED_ARC_SNR = 1.2, 10.0


def read_rows_of_bricks(
    bricks_path: Path, path_of_chunk: Callable[[str], Path], key: str, bricks: Collection[str]
) -> pd.DataFrame:
    """Read the rows of some bricks from a table that each chunk has.

    Parameters
    ----------
    bricks_path
        The run's table of bricks.
    key
        ``scores`` or ``parent``, the product to which the paths of `path_of_chunk` belong.
    """
    table = read_table(bricks_path, "bricks")
    chunks = sorted(table.loc[table["brick"].isin(bricks), "chunk"].unique())
    tables = [read_table(path_of_chunk(chunk), key) for chunk in chunks]
    rows = pd.concat(tables, ignore_index=True)
    return rows[rows["brick"].isin(bricks)].reset_index(drop=True)


def read_scores_with_truth(paths: RunPaths, held_out: str | None) -> pd.DataFrame:
    """Read scores in bricks that training never saw, joined with the truth of the simulated sky.

    Parameters
    ----------
    held_out
        Split whose bricks count as not seen.

    Returns
    -------
    pandas.DataFrame
        Rows of the scores with kind (``other`` where the truth has none), theta_e_arcsec, arc_snr,
        lens and visible (bool: completeness is quoted on these lenses).

    Raises
    ------
    LenspipeError
        Training saw every brick.
    """
    sample = read_table(paths.sample, "sample")
    seen = set(sample.loc[sample["split"] != held_out, "brick"])
    test = set(read_table(paths.bricks, "bricks")["brick"]) - seen
    if not test:
        raise LenspipeError(
            f"{paths.sample}: found galaxies of other splits than {held_out} in every "
            "brick, expected bricks that training never saw; enlarge config section footprint or "
            "the test fraction of sample.fractions, or lower sample.split_nside"
        )
    log.info("evaluation: %d %s bricks; training saw %d", len(test), held_out, len(seen))
    # An object may be listed once in each region that has its brick.
    columns = ["id", "kind", "theta_e_arcsec", "arc_snr"]
    truth = read_table(paths.truth, "truth")[columns].drop_duplicates("id")
    galaxies = read_rows_of_bricks(paths.bricks, paths.scores, "scores", test).merge(
        truth, on="id", how="left", validate="1:1"
    )
    galaxies["kind"] = galaxies["kind"].astype(object).fillna("other").astype(str)
    galaxies["lens"] = galaxies["kind"] == "lens"
    galaxies["visible"] = (
        galaxies["lens"]
        & (galaxies["theta_e_arcsec"] >= QUOTED_THETA_E_ARCSEC)
        & (galaxies["arc_snr"] >= QUOTED_ARC_SNR)
    )
    return galaxies


def held_out_bricks(paths: RunPaths, held_out: str | None) -> pd.DataFrame:
    """List the bricks that were searched and whose galaxies the model was not trained on.

    Parameters
    ----------
    held_out
        The split that the search is judged on (`Settings.held_out`). If it is None, because all
        splits were trained on or the model was given, all bricks are listed.

    Returns
    -------
    pandas.DataFrame
        Columns brick, chunk and hash (of the cutouts), in the order of their names.

    Raises
    ------
    LenspipeError
        There is no such brick with cutouts.
    """
    bricks = read_table(paths.bricks, "bricks", columns=["brick", "chunk"]).drop_duplicates("brick")
    where = "the run"
    if held_out:
        split = read_table(paths.splits, "splits").set_index("brick")["split"]
        bricks = bricks[bricks["brick"].map(split) == held_out]
        where = f"the {held_out} split"
    chunks = sorted(bricks["chunk"].unique())
    entries = read_manifests(paths.manifest("cutouts", chunk) for chunk in chunks)
    hashes = {name: e["hash"] for name, e in entries.items() if e["status"] == "done"}
    bricks = bricks.assign(hash=bricks["brick"].map(hashes)).dropna(subset=["hash"])
    if bricks.empty:
        raise LenspipeError(
            f"{paths.bricks}: found no brick of {where} with cutouts, expected some to inject "
            "lenses into; enlarge config section footprint, or set selection.number to 0"
        )
    return bricks.sort_values("brick", ignore_index=True)
