"""The truth of a simulated sky."""

import pandas as pd

from lenspipe.products.manifests import read_manifest
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log

__all__ = [
    "QUOTED_ARC_SNR",
    "QUOTED_THETA_E_ARCSEC",
    "held_out_bricks",
    "read_rows",
    "with_truth",
]

#: Minimum Einstein radius and arc signal to noise of the lenses on which completeness is quoted
#: (column and keys ``visible``).
QUOTED_THETA_E_ARCSEC, QUOTED_ARC_SNR = 1.2, 10.0


def read_rows(settings, path_of_chunk, bricks):
    """Read the rows of some bricks from a table that each chunk has.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    path_of_chunk : callable
        Path of the table of a chunk.
    bricks : collection of str

    Returns
    -------
    pandas.DataFrame
    """
    table = pd.read_parquet(settings.paths.bricks)
    chunks = sorted(table.loc[table["brick"].isin(bricks), "chunk"].unique())
    tables = [pd.read_parquet(path_of_chunk(chunk)) for chunk in chunks]
    rows = pd.concat(tables, ignore_index=True)
    return rows[rows["brick"].isin(bricks)].reset_index(drop=True)


def with_truth(settings):
    """Read scores of the bricks that training never saw with what the simulated sky knows.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

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
    paths = settings.paths
    sample = pd.read_parquet(paths.sample)
    seen = set(sample.loc[sample["split"] != settings.held_out, "brick"])
    test = set(pd.read_parquet(paths.bricks)["brick"]) - seen
    if not test:
        raise LenspipeError(
            f"{paths.sample}: found galaxies of other splits than {settings.held_out} in every "
            "brick, expected bricks that training never saw; enlarge config section footprint or "
            "the test part of sample.fractions, or lower sample.split_nside"
        )
    log.info("evaluation: %d %s bricks; training saw %d", len(test), settings.held_out, len(seen))
    truth = pd.read_parquet(paths.truth)
    columns = ["id", "kind", "theta_e_arcsec", "arc_snr"]
    # An object may be listed once in each region that has its brick.
    truth = truth[columns].drop_duplicates("id")
    galaxies = read_rows(settings, paths.scores, test).merge(
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


def held_out_bricks(settings):
    """List the bricks that were searched and whose galaxies the model never learnt from.

    They are those of the split that the search is judged on (`Settings.held_out`). Where all splits
    were learnt from, or the model was given, they are all bricks.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Columns brick, chunk and hash (of the cutouts), in the order of their names.

    Raises
    ------
    LenspipeError
        There is no such brick with cutouts.
    """
    paths = settings.paths
    bricks = pd.read_parquet(paths.bricks, columns=["brick", "chunk"]).drop_duplicates("brick")
    where = "the run"
    if settings.held_out:
        split = pd.read_csv(paths.splits, dtype=str).set_index("brick")["split"]
        bricks = bricks[bricks["brick"].map(split) == settings.held_out]
        where = f"the {settings.held_out} split"
    entries = {}
    for chunk in sorted(bricks["chunk"].unique()):
        entries |= read_manifest(paths.manifest("cutouts", chunk))
    hashes = {name: e["hash"] for name, e in entries.items() if e["status"] == "done"}
    bricks = bricks.assign(hash=bricks["brick"].map(hashes)).dropna(subset=["hash"])
    if bricks.empty:
        raise LenspipeError(
            f"{paths.bricks}: found no brick of {where} with cutouts, expected some to paint "
            "lenses in; enlarge config section footprint, or set selection.number to 0"
        )
    return bricks.sort_values("brick", ignore_index=True)
