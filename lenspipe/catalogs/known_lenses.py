"""Known lenses: all catalogues, and what was graded by eye, as one table of systems."""

import pandas as pd

from lenspipe.catalogs.files import line_numbers
from lenspipe.catalogs.lists import read_list
from lenspipe.config.learning import Catalogue
from lenspipe.products.known_lenses import write_known
from lenspipe.products.schema.declarations import dtypes_of
from lenspipe.products.schema.learning import KNOWN
from lenspipe.utils.crossmatch import friends_of_friends
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import stem
from lenspipe.utils.progress import log

__all__ = [
    "merge_entries",
    "merge_known",
    "read_catalogue",
    "read_catalogues",
    "read_confusing",
    "read_entries",
    "read_graded",
]

#: From the best to none; D is no lens.
_GRADES = ("A", "B", "C", "D", "")

#: How catalogues write that they give no grade.
_NO_GRADE = {"", "-", "--", "nan", "none", "null", "n/a", "na"}
#: Columns of the merged table: name -> type.
_COLUMNS = dtypes_of(KNOWN)


def merge_known(settings):
    """Merge all that is known of lenses and write ``known/lenses.csv`` and ``.parquet``.

    Entries linked by steps of at most ``sample.merge_radius_arcsec`` are one system. Entries graded
    D are left out; of the lists graded by eye so are those without a grade.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        A row per system, sorted by position: ra, dec (float64, degrees; of the entry with the best
        grade, of the first catalogue among equals), grade (A to C, or empty), kind (str; as a
        catalogue calls it, or empty), names (str), references (str; such as
        ``huang2020:A | lenscat:C``), n_entries (int32), catalogued (bool; whether an entry is from
        a catalogue and not only from a list graded by eye).

    Raises
    ------
    LenspipeError
        As in `read_catalogue` and `read_graded`; a catalogue has no row with a position.
    """
    tables = read_catalogues(settings)
    for path, table in read_graded(settings).groupby("file", sort=False):
        lenses = table[table["grade"].isin(["A", "B", "C"])]
        tables.append(lenses.assign(catalogue=stem(path), catalogued=False))
        _count(f"{stem(path)} (by eye)", table)
    systems = merge_entries(tables, settings)
    write_known(settings.paths.lenses, systems)
    return systems


def read_catalogue(settings, catalogue):
    """Read a catalogue of known lenses with its grades in our words.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    catalogue : lenspipe.config.settings.Catalogue

    Returns
    -------
    pandas.DataFrame
        All entries: ra, dec, name, kind and line as of `lenspipe.catalogs.lists.read_list`, grade
        (A to D, or empty), catalogue (str; what it is called).

    Raises
    ------
    LenspipeError
        As in `lenspipe.catalogs.lists.read_list`.
    RetrievalError
        A server didn't give the catalogue.
    """
    path = catalogue.path
    table = read_entries(settings, catalogue, "sample.known_lenses")
    repeated = table.loc[table.duplicated(["ra", "dec"]), "line"]
    if len(repeated):
        log.info(
            "%s: %d rows merged with an earlier one at the same position: %s",
            path, len(repeated), line_numbers(path, repeated),
        )  # fmt: skip
    table["catalogue"] = catalogue.label
    return table.drop(columns="ref")


def read_entries(settings, catalogue, key):
    """Read the entries of a catalogue as they are, with its grades in our words.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings or None
        Needed for an address.
    catalogue : lenspipe.config.settings.Catalogue
    key : str
        Key of the configuration that names it, for messages.

    Returns
    -------
    pandas.DataFrame
        As of `lenspipe.catalogs.lists.read_list`; grade A to D, or empty.

    Raises
    ------
    LenspipeError
        As in `lenspipe.catalogs.lists.read_list`.
    RetrievalError
        A server didn't give the catalogue.
    """
    path = catalogue.path
    table = read_list(path, key, settings, ra_unit=catalogue.ra_unit)
    remedy = f"name the grade it stands for in `grades` of this entry of {key}"
    table["grade"] = _grades(path, table, catalogue.grades, catalogue.grade or "", remedy)
    return table


def read_graded(settings):
    """Read the lists of galaxies graded by eye.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        All rows of all lists of ``sample.graded``: ra, dec (degrees), grade (A to D, or empty where
        it is undecided), name, kind, file (str; path of the list), line (int64; in it).

    Raises
    ------
    LenspipeError
        As in `lenspipe.catalogs.lists.read_list`; a list has no column grade.
    """
    tables = []
    for path in settings.sample.graded:
        table = read_list(
            path, "sample.graded", settings, columns=("ra", "dec", "grade"), ra_unit="deg"
        )
        table["grade"] = _grades(path, table, {}, "", "write A, B, C or D, or nothing")
        tables.append(table.drop(columns="ref").assign(file=path))
    columns = ["ra", "dec", "grade", "name", "kind", "file", "line"]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def read_catalogues(settings):
    """Read the lenses of all catalogues; those of the simulated sky if none are given."""
    catalogues = settings.sample.known_lenses
    if not catalogues and settings.simulation:
        path = str(settings.paths.known_lenses)
        catalogues = [Catalogue(path=path, name="simulated", ra_unit="deg")]
    tables = []
    for catalogue in catalogues:
        table = read_catalogue(settings, catalogue)
        if table.empty and settings.sample.known_lenses:
            raise LenspipeError(
                f"{catalogue.path}: found no row with a position, expected lenses; correct config "
                "key sample.known_lenses"
            )
        _count(catalogue.label, table)
        no_lens = table["grade"] == "D"
        if no_lens.any():
            log.info(
                "%s: %d rows left out, graded D: %s",
                catalogue.path, no_lens.sum(), line_numbers(catalogue.path, table["line"][no_lens]),
            )  # fmt: skip
        tables.append(table[~no_lens].assign(catalogued=True))
    return tables


def _grades(path, table, words, default, remedy):
    """Return grades A to D for a list's own words, and the default for none."""
    words = {word.strip().lower(): grade for word, grade in words.items()}
    words = {grade.lower(): grade for grade in "ABCD"} | dict.fromkeys(_NO_GRADE, default) | words
    own = table["grade"].str.lower()
    for word, number in table.loc[~own.isin(words), "grade"].value_counts().sort_index().items():
        log.info("%s: %d rows graded %r are taken as ungraded; %s", path, number, word, remedy)
    return own.map(words).fillna("").astype(str)


def _count(name, table):
    """Say how many entries of each grade a list has."""
    counts = table["grade"].value_counts()
    counts = [f"{grade or 'ungraded'} {counts[grade]}" for grade in _GRADES if grade in counts]
    log.info("known lenses: %s: %d rows: %s", name, len(table), ", ".join(counts) or "none")


def merge_entries(tables, settings):
    """Make one row of the entries of each system."""
    tables = [table.assign(order=order) for order, table in enumerate(tables) if len(table)]
    if not tables:
        return pd.DataFrame({name: [] for name in _COLUMNS}).astype(_COLUMNS)
    entries = pd.concat(tables, ignore_index=True)
    radius = settings.sample.merge_radius_arcsec
    entries["group"] = friends_of_friends(entries["ra"], entries["dec"], radius)
    graded = entries["grade"].where(entries["grade"] == "", ":" + entries["grade"])
    entries["reference"] = entries["catalogue"] + graded
    best = entries.assign(rank=entries["grade"].map(_GRADES.index))
    best = best.sort_values(["rank", "order"], kind="stable").drop_duplicates("group")
    groups = entries.groupby("group")
    systems = best.set_index("group")[["ra", "dec", "grade"]].sort_index()
    systems["kind"] = [next(filter(None, kinds), "") for kinds in _of_groups(entries, "kind")]
    names = _of_groups(entries, "name")
    systems["names"] = [" | ".join(dict.fromkeys(filter(None, own))) for own in names]
    systems["references"] = [" | ".join(own) for own in _of_groups(entries, "reference")]
    systems["n_entries"] = groups.size()
    systems["catalogued"] = groups["catalogued"].any()
    log.info(
        "known lenses: %d systems of %d entries, %d of them in more than one catalogue",
        len(systems), len(entries), (groups["order"].nunique() > 1).sum(),
    )  # fmt: skip
    systems = systems.sort_values(["ra", "dec"], ignore_index=True)
    return systems[list(_COLUMNS)].astype(_COLUMNS)


def _of_groups(entries, column):
    """Texts of each group in order; many times faster than an aggregation by pandas."""
    texts = [[] for _ in range(entries["group"].max() + 1)]
    for text, group in zip(entries[column].tolist(), entries["group"].tolist(), strict=True):
        texts[group].append(text)
    return texts


def read_confusing(settings):
    """Read the lists of confusing galaxies; on a simulated sky its own if there are none.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings

    Returns
    -------
    pandas.DataFrame
        Columns ra, dec (degrees) and kind (str, empty where not given).
    """
    if not settings.sample.confusing and settings.simulation:
        return read_list(settings.paths.confusing, ra_unit="deg")
    none = pd.DataFrame({"ra": [], "dec": [], "kind": pd.Series(dtype=str)})
    lists = [read_list(path, settings=settings) for path in settings.sample.confusing]
    return pd.concat(lists or [none], ignore_index=True)
