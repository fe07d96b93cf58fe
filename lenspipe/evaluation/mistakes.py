"""Pages of what a model takes for something else."""

import numpy as np

from lenspipe.plotting.galaxy_pages import draw_page
from lenspipe.utils.names import iau_name

__all__ = ["draw_mistakes"]


def draw_mistakes(settings, galaxies, read, path, title, at):
    """Draw pages of the lenses with the lowest scores and of the non-lenses with the highest.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    galaxies : pandas.DataFrame
        Columns ``missed`` and ``false`` (bool), ``p`` (NaN where there is none), ``note``, ``id``,
        ``ra``, ``dec`` (degrees) and what `read` needs.
    read : callable
        From settings and some of these rows to their cutouts, (N, B, S, S) nanomaggies.
    path : callable
        From ``missed.png`` and ``false.png`` to where they are written.
    title : str
        What was scored; stands before the kind of mistake.
    at : str
        What counts as found, such as ``p ≥ 0.9``.
    """
    own = settings.mosaics
    missed = galaxies[galaxies["missed"]].sort_values(["p", "id"], na_position="first")
    false = galaxies[galaxies["false"]].sort_values(["p", "id"], ascending=[False, True])
    for file, table, kind, order, message in (
        ("missed.png", missed, "lenses missed", "least probable first", "No lens was missed."),
        ("false.png", false, "non-lenses found", "most probable first", "No non-lens was found."),
    ):
        shown = table.head(own.columns * own.rows).reset_index(drop=True)
        shown["rank"] = np.arange(1, len(shown) + 1)
        shown["name"] = iau_name(shown["ra"], shown["dec"])
        draw_page(
            read(settings, shown) if len(shown) else (),
            shown,
            path(file),
            bands=settings.survey.bands,
            stretch=own.stretch,
            columns=own.columns,
            title=f"{title}: {kind} at {at}",
            subtitle=f"{len(shown)} of {len(table)}, {order}; galaxies that training never saw",
            message=message,
        )
