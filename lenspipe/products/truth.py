"""The truth of a simulated sky, and bricks whose galaxies the model was not trained on."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from lenspipe.config.paths import RunPaths
from lenspipe.products.manifests import read_manifests
from lenspipe.products.tables import read_table
from lenspipe.utils.crossmatch import Sky
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = [
    "held_out_bricks",
    "lenses_shown",
    "read_rows_of_bricks",
    "read_scores_with_truth",
]

#: A source closer than this to the images of a lens shows that lens, arcsec.
SHOWN_WITHIN_ARCSEC = 3.0


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
        lens, visible (bool: completeness is quoted on these lenses), and shows (id of the lens of
        which another source is an image or a neighbour, as `lenses_shown` has it; else empty).

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
    columns = ["id", "kind", "theta_e_arcsec", "arc_snr", "visible"]
    truth = read_table(paths.truth, "truth", columns=columns).drop_duplicates("id")
    galaxies = read_rows_of_bricks(paths.bricks, paths.scores, "scores", test).merge(
        truth, on="id", how="left", validate="1:1"
    )
    galaxies["kind"] = galaxies["kind"].astype(object).fillna("other").astype(str)
    galaxies["lens"] = galaxies["kind"] == "lens"
    galaxies["visible"] = galaxies["lens"] & galaxies["visible"].eq(True)
    shown = lenses_shown(paths.truth)
    galaxies["shows"] = [shown.get(galaxy, "") for galaxy in galaxies["id"]]
    return galaxies


def lenses_shown(truth_path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the visible lens that each other source near its images shows, ids by id.

    Arcs that the catalogue lists, the members of the lens's group and whatever else lies within
    3 arcsec of the circle that contains the images: a stamp of such a source shows the lens.
    """
    columns = ["id", "ra", "dec", "kind", "theta_e_arcsec", "beta", "visible", "primary"]
    truth = read_table(truth_path, "truth", columns=columns)
    lenses = truth[(truth["kind"] == "lens") & truth["visible"] & truth["primary"]]
    others = truth[truth["kind"] != "lens"]
    if lenses.empty or others.empty:
        return {}
    reach = (lenses["theta_e_arcsec"] * (1 + lenses["beta"])).to_numpy() + SHOWN_WITHIN_ARCSEC
    rows, of_lens, separation = Sky(lenses["ra"], lenses["dec"], reach.max()).pairs(
        others["ra"], others["dec"]
    )
    near = separation <= reach[of_lens]
    pairs = pd.DataFrame(
        {
            "id": others["id"].to_numpy()[rows[near]],
            "lens": lenses["id"].to_numpy()[of_lens[near]],
            "separation": separation[near],
        }
    )
    nearest = pairs.sort_values(["separation", "lens"]).drop_duplicates("id")
    return dict(zip(nearest["id"], nearest["lens"], strict=True))


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
