"""Known lenses: all catalogues, and lists graded visually, as one table of systems."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lenspipe.catalogs.lists import read_list
from lenspipe.config.data import Retrieval
from lenspipe.config.learning import Catalogue, Sample
from lenspipe.config.paths import RunPaths
from lenspipe.config.settings import Settings
from lenspipe.products.schema import KNOWN, LENS_REFERENCES, dtypes_of
from lenspipe.products.tables import write_table
from lenspipe.utils.crossmatch import friends_of_friends
from lenspipe.utils.delimited import NO_NUMBER
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import stem
from lenspipe.utils.progress import log
from lenspipe.utils.user_tables import line_numbers

__all__ = [
    "merge_entries",
    "merge_known",
    "read_catalogue",
    "read_catalogues",
    "read_confusing",
    "read_entries",
    "read_graded_lists",
]

#: From best to ungraded; D is no lens.
_GRADES = ("A", "B", "C", "D", "")

#: Number of references that are named in a line of the log.
_MOST = 8

#: Columns of the merged table: name -> type.
_COLUMNS = dtypes_of(KNOWN)


def merge_known(settings: Settings) -> pd.DataFrame:
    """Merge all lists of lenses and write ``known/lenses.csv`` and ``.parquet``.

    Entries linked by steps of at most ``sample.merge_radius_arcsec`` are one system. Entries graded
    D are left out; so are entries without a grade of the lists graded visually, and those whose
    references list no lenses. ``known/references.csv`` counts the entries of each reference.

    Returns
    -------
    pandas.DataFrame
        A row per system, sorted by position: ra, dec (float64, degrees; of the entry with the best
        grade, of the first catalogue among equals), grade (A to C, or empty), kind (str; as in a
        catalogue, or empty), names (str), references (str; such as ``huang2020:A | lenscat:C``),
        n_entries (int32), catalogued (bool; whether an entry is from a catalogue and not only from
        a list graded visually), visible (bool; whether the lens can be seen from the ground, by an
        entry's references).

    Raises
    ------
    LenspipeError
        As in `read_catalogue` and `read_graded_lists`; a catalogue has no row with a position.
    """
    sample, paths = settings.sample, settings.paths
    tables = read_catalogues(sample, paths, settings.retrieval, bool(settings.simulation))
    graded = read_graded_lists(sample.graded, settings.retrieval, paths.hosts)
    for path, table in graded.groupby("file", sort=False):
        lenses = table[table["grade"].isin(["A", "B", "C"])]
        tables.append(lenses.assign(catalogue=stem(path), catalogued=False, status="lens"))
        _log_counts(f"{stem(path)} (graded visually)", table)
    references = _count_references(sample.known_lenses, tables)
    _log_references(references)
    write_table(paths.lens_references, references)
    systems = merge_entries(tables, sample.merge_radius_arcsec)
    write_table(paths.lenses.with_suffix(".csv"), systems)
    write_table(paths.lenses, systems)
    return systems


def read_catalogue(
    catalogue: Catalogue, retrieval: Retrieval | None = None, hosts: Path | None = None
) -> pd.DataFrame:
    """Read a catalogue of known lenses.

    Parameters
    ----------
    catalogue
    retrieval, hosts
        As in `lenspipe.catalogs.files.read_raw`.

    Returns
    -------
    pandas.DataFrame
        All entries: ra, dec, name, kind, ref and line as returned by
        `lenspipe.catalogs.lists.read_list`, grade (A to D, or empty), status (as in
        `read_entries`), catalogue (str; its label).

    Raises
    ------
    LenspipeError, RetrievalError
        As in `lenspipe.catalogs.lists.read_list`.
    """
    path = catalogue.path
    table = read_entries(catalogue, "sample.known_lenses", retrieval, hosts)
    repeated = table.loc[table.duplicated(["ra", "dec"]), "line"]
    if len(repeated):
        log.info(
            "%s: %d rows merged with an earlier one at the same position: %s",
            path, len(repeated), line_numbers(table.attrs["noun"], repeated),
        )  # fmt: skip
    table["catalogue"] = catalogue.label
    return table


def read_entries(
    catalogue: Catalogue, key: str, retrieval: Retrieval | None, hosts: Path | None
) -> pd.DataFrame:
    """Read the entries of a catalogue, with its grades converted.

    Parameters
    ----------
    catalogue
    key, retrieval, hosts
        As in `lenspipe.catalogs.files.read_raw`.

    Returns
    -------
    pandas.DataFrame
        As returned by `lenspipe.catalogs.lists.read_list`; grade A to D, or empty; status (str),
        by the entry's references: lens, unresolved (cannot be seen from the ground) or no lens.

    Raises
    ------
    LenspipeError, RetrievalError
        As in `lenspipe.catalogs.lists.read_list`.
    """
    path = catalogue.path
    table = read_list(path, key, retrieval, hosts, ra_unit=catalogue.ra_unit)
    remedy = f"name the grade it stands for in `grades` of this entry of {key}"
    table["grade"] = _convert_grades(
        path, table["grade"], catalogue.grades, catalogue.grade or "", remedy
    )
    meanings = catalogue.references
    statuses = {ref: _status(_split_references(ref), meanings) for ref in table["ref"].unique()}
    table["status"] = table["ref"].map(statuses).astype(str)
    return table


def _split_references(text: str) -> list[str]:
    """Split the references of an entry: ``First (2020) | Second (2021)``, or several addresses."""
    return [ref for ref in re.split(r"\s*[|;]\s*|\s+(?=https?:)", text) if ref]


def _meaning(reference: str, meanings: Mapping[str, str]) -> str:
    return next((meaning for text, meaning in meanings.items() if text in reference), "lens")


def _status(references: Sequence[str], meanings: Mapping[str, str]) -> str:
    """Return lens, unresolved or no lens, as described in ``sample.known_lenses.references``."""
    found = {_meaning(reference, meanings) for reference in references}
    if "lens" in found or not found:
        return "lens"
    if "unresolved" in found:
        return "unresolved"
    return "lens" if "compilation" in found else "no lens"


def read_graded_lists(
    paths: Sequence[str], retrieval: Retrieval | None = None, hosts: Path | None = None
) -> pd.DataFrame:
    """Read lists of visually graded galaxies, ``sample.graded``.

    Parameters
    ----------
    paths
    retrieval, hosts
        As in `lenspipe.catalogs.files.read_raw`.

    Returns
    -------
    pandas.DataFrame
        All rows of all lists: ra, dec (degrees), grade (A to D, or empty where undecided), name,
        kind, tag (str; the first of column tags, which an export gives most graders; empty where
        not given), file (str; path of the list), line (int64; in it).

    Raises
    ------
    LenspipeError
        As in `lenspipe.catalogs.lists.read_list`; a list has no column grade.
    """
    tables = []
    for path in paths:
        columns = ("ra", "dec", "grade")
        table = read_list(path, "sample.graded", retrieval, hosts, columns, ra_unit="deg")
        remedy = "write A, B, C or D, or nothing"
        table["grade"] = _convert_grades(path, table["grade"], {}, "", remedy)
        table["tag"] = table["tags"].str.extract(r"^([^|:,;]*)", expand=False).str.strip()
        tables.append(table.assign(file=path))
    names = ["ra", "dec", "grade", "name", "kind", "tag", "file", "line"]
    if not tables:
        return pd.DataFrame(columns=names)
    return pd.concat(tables, ignore_index=True)[names]


def read_catalogues(
    sample: Sample, paths: RunPaths, retrieval: Retrieval, simulated: bool
) -> list[pd.DataFrame]:
    """Read the lenses of each catalogue, or of the simulated sky's list if none are given.

    Parameters
    ----------
    sample, paths, retrieval
    simulated
        Whether the run has a simulated sky.
    """
    catalogues: Sequence[Catalogue] = sample.known_lenses
    if not catalogues and simulated:
        path = str(paths.known_lenses)
        catalogues = [Catalogue(path=path, name="simulated", ra_unit="deg")]
    tables = []
    for catalogue in catalogues:
        table = read_catalogue(catalogue, retrieval, paths.hosts)
        if table.empty and sample.known_lenses:
            raise LenspipeError(
                f"{catalogue.path}: found no row with a position, expected lenses; correct config "
                "key sample.known_lenses"
            )
        _log_counts(catalogue.label, table)
        no_lens = table["grade"] == "D"
        if no_lens.any():
            log.info(
                "%s: %d rows left out, graded D: %s",
                catalogue.path, no_lens.sum(),
                line_numbers(table.attrs["noun"], table["line"][no_lens]),
            )  # fmt: skip
        tables.append(table[~no_lens].assign(catalogued=True))
    return tables


def _count_references(
    catalogues: Sequence[Catalogue], tables: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """Count the entries of each reference by what became of them; see docs/outputs.md."""
    counts = []
    for catalogue, table in zip(catalogues, tables, strict=False):
        entries = table[["ref", "status"]].assign(ref=table["ref"].map(_split_references))
        # An entry may name a reference more than once.
        entries = entries.explode("ref").dropna().reset_index().drop_duplicates(["index", "ref"])
        count = pd.crosstab(entries["ref"], entries["status"])
        count = count.reindex(columns=["lens", "unresolved", "no lens"], fill_value=0)
        count = count.set_axis(["visible", "unresolved", "left_out"], axis=1)
        count.insert(0, "entries", count.sum(axis=1))
        count = count.rename_axis("reference").reset_index()
        meanings = [_meaning(reference, catalogue.references) for reference in count["reference"]]
        counts.append(count.assign(catalogue=catalogue.label, meaning=meanings))
    dtypes = dtypes_of(LENS_REFERENCES)
    if not counts:
        return pd.DataFrame({name: [] for name in dtypes}).astype(dtypes)
    result = pd.concat(counts, ignore_index=True)
    order = ["catalogue", "entries", "reference"]
    result = result.sort_values(order, ascending=[True, False, True], ignore_index=True)
    return result[list(dtypes)].astype(dtypes)


def _log_references(references: pd.DataFrame) -> None:
    """Log the references with most entries, for each catalogue and what became of them."""
    for column, text in (
        ("visible", "entries by reference"),
        ("unresolved", "entries of lenses that cannot be seen from the ground, not trained on"),
        ("left_out", "entries left out, of references that list no lenses"),
    ):
        for catalogue, rows in references[references[column] > 0].groupby("catalogue"):
            rows = rows.sort_values(column, ascending=False, kind="stable")
            first = [f"{ref} {n}" for ref, n in zip(rows["reference"], rows[column], strict=True)]
            more = f" and {len(first) - _MOST} others" if len(first) > _MOST else ""
            log.info("known lenses: %s: %s: %s%s", catalogue, text, ", ".join(first[:_MOST]), more)


def _convert_grades(
    path: str, column: pd.Series, words: Mapping[str, str], default: str, remedy: str
) -> pd.Series:
    """Return grades A to D for a list's own words, and the default where there is none."""
    grades = {grade.lower(): grade for grade in "ABCD"} | dict.fromkeys(NO_NUMBER, default)
    grades |= {word.strip().lower(): grade for word, grade in words.items()}
    lower = column.str.lower()
    for word, number in column[~lower.isin(grades)].value_counts().sort_index().items():
        log.info("%s: %d rows graded %r are taken as ungraded; %s", path, number, word, remedy)
    return lower.map(grades).fillna("").astype(str)


def _log_counts(name: str, table: pd.DataFrame) -> None:
    """Log how many entries of each grade a list has."""
    counts = table["grade"].value_counts()
    texts = [f"{grade or 'ungraded'} {counts[grade]}" for grade in _GRADES if grade in counts]
    log.info("known lenses: %s: %d rows: %s", name, len(table), ", ".join(texts) or "none")


def merge_entries(tables: Sequence[pd.DataFrame], radius_arcsec: float) -> pd.DataFrame:
    """Merge the entries of each system into one row, as described in `merge_known`."""
    tables = [table[table["status"] != "no lens"] for table in tables]
    tables = [table.assign(order=order) for order, table in enumerate(tables) if len(table)]
    if not tables:
        return pd.DataFrame({name: [] for name in _COLUMNS}).astype(_COLUMNS)
    entries = pd.concat(tables, ignore_index=True)
    entries["group"] = friends_of_friends(entries["ra"], entries["dec"], radius_arcsec)
    suffix = entries["grade"].where(entries["grade"] == "", ":" + entries["grade"])
    entries["reference"] = entries["catalogue"] + suffix
    best = entries.assign(rank=entries["grade"].map(_GRADES.index))
    best = best.sort_values(["rank", "order"], kind="stable").drop_duplicates("group")
    groups = entries.groupby("group")
    systems = best.set_index("group")[["ra", "dec", "grade"]].sort_index()
    systems["kind"] = [next(filter(None, kinds), "") for kinds in _texts_of_groups(entries, "kind")]
    names = _texts_of_groups(entries, "name")
    systems["names"] = [" | ".join(dict.fromkeys(filter(None, texts))) for texts in names]
    systems["references"] = list(map(" | ".join, _texts_of_groups(entries, "reference")))
    systems["n_entries"] = groups.size()
    systems["catalogued"] = groups["catalogued"].any()
    systems["visible"] = (entries["status"] == "lens").groupby(entries["group"]).any()
    log.info(
        "known lenses: %d systems of %d entries, %d of them in more than one catalogue",
        len(systems), len(entries), (groups["order"].nunique() > 1).sum(),
    )  # fmt: skip
    systems = systems.sort_values(["ra", "dec"], ignore_index=True)
    return systems[list(_COLUMNS)].astype(_COLUMNS)


def _texts_of_groups(entries: pd.DataFrame, column: str) -> list[list[str]]:
    """Texts of each group in order; many times faster than an aggregation by pandas."""
    texts: list[list[str]] = [[] for _ in range(entries["group"].max() + 1)]
    for text, group in zip(entries[column].tolist(), entries["group"].tolist(), strict=True):
        texts[group].append(text)
    return texts


def read_confusing(
    sample: Sample, paths: RunPaths, retrieval: Retrieval, simulated: bool
) -> pd.DataFrame:
    """Read the lists of confusing galaxies, or that of the simulated sky if none are given.

    Parameters
    ----------
    sample, paths, retrieval, simulated
        As in `read_catalogues`.

    Returns
    -------
    pandas.DataFrame
        Columns ra, dec (degrees) and kind (str, empty where not given).
    """
    if not sample.confusing and simulated:
        return read_list(paths.confusing, ra_unit="deg")
    none = pd.DataFrame({"ra": [], "dec": [], "kind": pd.Series(dtype=str)})
    lists = [read_list(path, retrieval=retrieval, hosts=paths.hosts) for path in sample.confusing]
    return pd.concat(lists or [none], ignore_index=True)
