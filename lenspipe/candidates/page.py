"""The candidates as a plain HTML table."""

import html

from lenspipe.products.candidates import page_numbers
from lenspipe.utils.files import atomic

__all__ = ["write_page"]


def write_page(table, record, settings):
    """Write ``candidates/candidates.html``.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `lenspipe.candidates.columns.ordered`; hidden ones are left out.
    record : dict
        Content of ``threshold.json``.
    settings : lenspipe.config.settings.Settings
    """
    shown = table[table["rank"] > 0]
    rows = []
    numbers = page_numbers(shown, settings.mosaics, settings.survey.bands)
    for row, number in zip(shown.itertuples(), numbers, strict=True):
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
