"""The candidates as a plain HTML table."""

import html

import numpy as np

from lenspipe.paths import atomic

__all__ = ["page_numbers", "page_order", "write_page"]


def page_order(table, settings):
    """Order of the candidates on the mosaics' pages, as ``mosaics.sort`` has it.

    Parameters
    ----------
    table : pandas.DataFrame
        Candidates: columns rank, name and the magnitudes.
    settings : lenspipe.config.Settings

    Returns
    -------
    numpy.ndarray of int, shape (N,)
        Places in the table.
    """
    columns = {"p": [], "mag": [f"mag_{settings.survey.bands[-1]}"], "name": ["name"]}
    keys = [*columns[settings.mosaics.sort], "rank"]
    return np.lexsort([table[name].to_numpy() for name in reversed(keys)])


def page_numbers(table, settings):
    """Page of the mosaics that shows each candidate; pages count from 1.

    Parameters and order are those of `page_order`.
    """
    places = np.empty(len(table), int)
    places[page_order(table, settings)] = np.arange(len(table))
    return places // settings.mosaics.per_page + 1


def write_page(table, record, settings):
    """Write ``candidates/candidates.html``.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `lenspipe.candidates.columns.ordered`; hidden ones are left out.
    record : dict
        Content of ``threshold.json``.
    settings : lenspipe.config.Settings
    """
    shown = table[table["rank"] > 0]
    rows = []
    for row, number in zip(shown.itertuples(), page_numbers(shown, settings), strict=True):
        page = f"../mosaics/{settings.paths.mosaic_page(number).name}"
        links = f'<a href="{page}">page {number}</a>'
        if settings.survey.tree:
            links += f' <a href="{html.escape(row.viewer)}">sky viewer</a>'
        rows.append(
            f'<tr><td>{row.rank}<td class="name">{html.escape(row.name)}<td>{row.p:.4f}'
            f"<td>{row.ra:.5f}<td>{row.dec:+.5f}<td>{html.escape(row.known_as)}<td>{links}"
        )
    body = "\n".join(rows) or '<tr><td colspan="7">No galaxy passed the threshold.'
    what = "Targets" if settings.targets else "Lens candidates"
    title = html.escape(f"{what} of {settings.run}")
    text = "<p>".join(html.escape(line) for line in _say(len(shown), record, settings))
    with atomic(settings.paths.candidates.with_suffix(".html")) as temporary:
        temporary.write_text(f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: 0.2em 0.9em; text-align: right; border-bottom: 1px solid #ddd; }}
.name {{ font-family: monospace; }}
</style>
<h1>{title}</h1>
<p>{text}
<table>
<tr><th>rank<th>name<th>p<th>RA (deg)<th>Dec (deg)<th>known lens<th>see
{body}
</table>
</html>
""")


def _say(n_shown, record, settings):
    """Lines above the table: how many, by which rule, what to expect, what is hidden."""
    if settings.targets:
        return [f"{n_shown} targets, most probable first."]
    lines = [f"{n_shown} candidates, {settings.candidates.threshold}, most probable first."]
    if hidden := record["n_hidden"]:
        lines.append(f"{hidden} known lenses are hidden; they are at the end of candidates.fits.")
    expected = record["expected"]
    said = [
        f"{name} {100 * expected[key]:.3g} % ({100 * expected[f'{key}_low']:.3g} to "
        f"{100 * expected[f'{key}_high']:.3g} %)"
        for name, key in (("completeness", "completeness"), ("purity", "purity"))
        if expected[key] is not None
    ]
    if said:
        lines.append(
            f"Expected from {record['measured_on']}, where one galaxy in {1 / record['prior']:.6g} "
            f"is a lens: {', '.join(said)}, 95 % intervals."
        )
    return [*lines, "Where they are: sky.png beside this page."]
