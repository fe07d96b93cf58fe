"""The parent sample by queries to a TAP service: only its rows and columns are sent.

For each chunk the service is asked, one query at a time, whether it has the table and its columns;
how many sources of each brick pass the cuts one after the other, for the audit; and for the rows
that pass. ADQL 2.0 has no operator for bits, so the cut ``maskbits`` is applied to these rows.

Rows must be as many as were counted, brick by brick. An answer may be cut short by a limit of the
service, whether it says so (``QUERY_STATUS=OVERFLOW``) or not: bricks that came whole are kept, the
others asked for again in smaller pages. Pages stay on disk until the chunk is done.
"""

import contextlib
import json
import shutil

import numpy as np
import pandas as pd

from lenspipe.parent.cuts import CUTS, select_parent
from lenspipe.products.bricks import brick_table
from lenspipe.products.parent import empty_parent
from lenspipe.products.tables import write_table
from lenspipe.retrieval.tap import TapService
from lenspipe.survey.photometry import to_magnitude
from lenspipe.survey.tractor import absent_columns, catalog_columns, tractor_table
from lenspipe.utils.errors import LenspipeError, NotFoundError, RetrievalError
from lenspipe.utils.files import atomic
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log

__all__ = ["conditions", "select_by_queries"]

#: Raised when pages kept by an earlier version can't be used.
_VERSION = 1

#: Up to so many bricks are asked about in synchronous queries, whose time is short on any service.
_SYNC_BRICKS = 32

#: Most rows of a page at first, ~15 MB.
_PAGE_ROWS = 100_000


def conditions(parent, bands, zero_point_mag):
    """Write the cuts of the parent sample in ADQL.

    Parameters
    ----------
    parent : lenspipe.config.data.Parent
    bands : iterable of str

    Returns
    -------
    dict
        Name of the cut -> condition, in the order of `lenspipe.parent.cuts.CUTS`; without those
        that remove nothing, and without ``maskbits``.
    """
    # Types of three letters may be padded, as they are in files up to DR8.
    types = [f"'{name}'" for kind in parent.types for name in dict.fromkeys((kind, f"{kind:4}"))]
    found = {"brick_primary": "brick_primary = 1", "type": f"type IN ({', '.join(types)})"}
    if "SER" in parent.types:
        least = float(np.float32(parent.sersic_min))
        found["sersic_min"] = f"(type NOT IN ('SER', 'SER ') OR sersic >= {least!r})"
    found["mag_z_max"] = f"flux_z > {_flux_below(parent.mag_z_max, zero_point_mag)!r}"
    counts = [f"nobs_{band} >= {parent.min_exposures}" for band in bands]
    return found | {"min_exposures": " AND ".join(counts)}


def _flux_below(mag, zero_point_mag):
    """Flux between the faintest float32 whose magnitude passes and the one below, nanomaggies."""
    estimate = np.float32(10 ** np.clip((zero_point_mag - mag) / 2.5, -30.0, 30.0))
    # A step of float32 magnitudes is up to some tens of steps of fluxes.
    near = np.arange(-1000, 1001, dtype=np.int32) + estimate.view(np.int32)
    fluxes = near.view(np.float32)
    mags = to_magnitude(fluxes, zero_point_mag).astype(np.float32)
    first = int(np.argmax(mags <= np.float32(mag)))
    return (float(fluxes[max(first - 1, 0)]) + float(fluxes[first])) / 2


class _Survey:
    """Bricks of one region in the service's table of it.

    Attributes bands, table, columns (list of str), where (conditions that choose the region) and
    cuts (as of `conditions`).
    """

    def __init__(self, settings, region, service):
        release, self.bands = settings.release, settings.survey.bands
        self.settings, self.region, self.service = settings, region, service
        schema = release.tap_schema
        own, joint = f"{schema}.tractor_{region[0]}", f"{schema}.tractor"
        query = (
            "SELECT table_name, column_name FROM TAP_SCHEMA.columns "
            f"WHERE table_name IN ('{own}', '{joint}')"
        )
        found, _ = service.ask(query, 10_000, f"columns of {joint}")
        tables = {own: set(), joint: set()}
        for table, column in zip(found["table_name"], found["column_name"], strict=True):
            tables.setdefault(table.strip(), set()).add(column.strip().lower())
        # A region's own table is its Tractor files row by row; the joint one lacks what both have.
        self.table = own if tables[own] else joint
        self.where = [] if tables[own] else [release.tap_conditions[region]]
        names = tables[self.table]
        advice = "correct config key survey.tap or set survey.catalogs to another source"
        if not names:
            raise LenspipeError(f"{service.address}: no table {own} or {joint}; {advice}")
        needed, optional = catalog_columns(self.bands)
        absent = absent_columns(names, release, self.bands)
        absent += [name for name in ("release", "brick_primary") if name not in names]
        if absent:
            text = f"no column {', '.join(absent)} in table {self.table}"
            raise LenspipeError(f"{service.address}: {text}; {advice}")
        self.columns = [name for name in needed + optional if name in names]
        self.cuts = conditions(settings.parent, self.bands, release.zero_point_mag)

    def key(self, ids):
        """Hash what is asked for."""
        asked = [self.service.address, self.table, self.columns, self.where, self.cuts]
        return digest("tap", _VERSION, asked, [int(i) for i in ids])

    def count(self, ids):
        """Count sources: a list of dicts brick id -> number, before any cut and after each."""
        where, counts = list(self.where), []
        for cut in [None, *self.cuts]:
            where += [self.cuts[cut]] if cut else []
            left = [i for i in ids if not counts or counts[-1][i]]
            what = f"sources of {len(left)} bricks, {f'cut {cut}' if cut else 'all'}"
            counts.append(dict.fromkeys(ids, 0) | self._count(left, where, what))
        return counts

    def _count(self, ids, where, what):
        """Count the sources of bricks: brick id -> number, of those with any."""
        if not ids:
            return {}
        chosen = self._chosen(ids, where)
        query = f"SELECT brickid, COUNT(*) AS sources {chosen} GROUP BY brickid"
        found, cut_short = self.service.ask(query, len(ids) + 1, what)
        counts = dict(zip(found["brickid"].tolist(), found["sources"].tolist(), strict=True))
        # Bricks that are not in the answer have no sources, or it was cut short in silence.
        if silent := [i for i in ids if i not in counts]:
            query = f"SELECT COUNT(*) AS sources {self._chosen(silent, where)}"
            found, _ = self.service.ask(query, 2, f"{what}, {len(silent)} of them")
            cut_short = cut_short or found["sources"].sum() > 0
        if not cut_short:
            return counts
        if len(ids) == 1:
            raise RetrievalError(f"{self.service.address}: no room for one row", transient=False)
        half = len(ids) // 2
        parts = [self._count(part, where, what) for part in (ids[:half], ids[half:])]
        return parts[0] | parts[1]

    def _chosen(self, ids, where):
        bricks = f"brickid IN ({', '.join(str(int(i)) for i in ids)})"
        return f"FROM {self.table} WHERE {' AND '.join([bricks, *where])}"

    def pages(self, expected):
        """Yield tables of whole bricks, as of `tractor_table`, until all have come.

        `expected` is brick id -> number of rows.
        """
        service, left, limit = self.service, {i: n for i, n in expected.items() if n}, _PAGE_ROWS
        where = [*self.where, *self.cuts.values()]
        while left:
            page = _fill(left, limit)
            rows = sum(left[i] for i in page)
            query = f"SELECT {', '.join(self.columns)} {self._chosen(page, where)}"
            asked_sync = service.sync
            found, _ = service.ask(query, rows + 1, f"{rows} rows of {len(page)} bricks")
            bands, release = self.bands, self.settings.release
            table = tractor_table(found, self.table, release, bands, self.region)
            got = table.brickid.value_counts()
            whole = [i for i in page if got.get(i, 0) == left[i]]
            if more := [i for i in page if got.get(i, 0) > left[i]]:
                raise RetrievalError(
                    f"{service.address}: {got[more[0]]} rows of brick {more[0]} in {self.table}, "
                    f"but it counts {left[more[0]]}; run again",
                    transient=True,
                )
            if whole:
                yield table[table.brickid.isin(whole)].reset_index(drop=True)
            left = {i: n for i, n in left.items() if i not in whole}
            if len(whole) < len(page) and not asked_sync:
                if len(page) == 1 or not len(table):
                    raise RetrievalError(
                        f"{service.address}: {len(table)} rows of {rows} in one answer from "
                        f"{self.table}; the service's limit is too low",
                        transient=False,
                    )
                limit = len(table)
                log.info("%s: asked for pages of %d rows from now on", service.address, limit)
            elif len(whole) < len(page):
                service.sync = False


def _fill(left, limit):
    """Take bricks for a page: as many as fit, and at least one."""
    page, rows = [], 0
    for brick, number in left.items():
        if page and rows + number > limit:
            break
        page.append(brick)
        rows += number
    return page


def select_by_queries(settings, name, bricks):
    """Select the parent sample of bricks by queries to a TAP service.

    Parameters
    ----------
    settings : lenspipe.config.settings.Settings
    name : str
        Of the chunk or brick: that of the folder in which answers are kept until all have come.
    bricks : list of tuple
        (brick, region).

    Returns
    -------
    results : dict
        Brick -> (selected, audit), as of `lenspipe.parent.cuts.select_parent`; sorted by objid.
    failures : dict
        Brick -> `RetrievalError`.

    Raises
    ------
    LenspipeError
        There is no such service, or it has no such table or column.
    """
    if not settings.release.tap_schema:
        raise LenspipeError(
            f"config key survey.catalogs: found 'tap' with survey.release {settings.release.name}, "
            "of which the service has no table; set survey.catalogs: tractor or sweeps"
        )
    folder = settings.paths.parent(name).parent / "tap" / name
    ids = brick_table(settings.paths.bricks, [brick for brick, _ in bricks]).brickid
    results, failures = {}, {}
    with contextlib.closing(TapService(settings.survey.tap, settings.retrieval)) as service:
        service.sync = len(bricks) <= _SYNC_BRICKS
        for region in dict.fromkeys(region for _, region in bricks):
            here = {brick: int(ids[brick]) for brick, its in bricks if its == region}
            try:
                if failures:
                    raise next(iter(failures.values()))
                survey = _Survey(settings, region, service)
                _select(survey, here, folder, results, failures)
            except NotFoundError as error:
                raise LenspipeError(f"{error}; correct config key survey.tap") from None
            except RetrievalError as error:
                failures |= {brick: error for brick in here if brick not in results}
    if not failures:
        shutil.rmtree(folder, ignore_errors=True)
    return {brick: results[brick] for brick, _ in bricks if brick in results}, failures


def _select(survey, bricks, folder, results, failures):
    """Select bricks (name -> id) of a region: adds to what `select_by_queries` returns."""
    key = survey.key(bricks.values())
    kept = folder / f"{key}.json"
    if kept.exists():
        counts = [{int(i): n for i, n in each.items()} for each in json.loads(kept.read_text())]
    else:
        counts = survey.count(list(bricks.values()))
        with atomic(kept) as temporary:
            temporary.write_text(json.dumps(counts))
    empty = empty_parent(survey.bands).assign(brick_primary=True)
    tables = {i: empty for i, number in counts[-1].items() if not number}
    for path in folder.glob(f"{key}-*.parquet"):
        tables |= dict(iter(pd.read_parquet(path).groupby("brickid")))
    expected = {i: number for i, number in counts[-1].items() if i not in tables}
    try:
        for page in survey.pages(expected):
            write_table(folder / f"{key}-{page.brickid[0]}.parquet", page)
            tables |= dict(iter(page.groupby("brickid")))
    finally:
        for brick, i in bricks.items():
            if i not in tables:
                continue
            selected, audit = select_parent(
                tables[i], survey.settings.parent, survey.settings.release
            )
            if audit.before.iloc[-1] != counts[-1][i]:
                text = f"{survey.service.address}: rows of brick {brick} in {survey.table} don't "
                failures[brick] = RetrievalError(text + "pass the cuts of their query", False)
                continue
            numbers = [each[i] for each in counts]
            selected = selected.sort_values("objid", ignore_index=True)
            results[brick] = selected, _whole_audit(survey, numbers, audit)


def _whole_audit(survey, numbers, audit):
    """Put what was counted before the rows came in front of what they lost."""
    after = dict(zip(survey.cuts, numbers[1:], strict=True))
    before = numbers[0]
    for row, cut in enumerate(list(CUTS)[:-1]):
        left = after.get(cut, before)
        audit.iloc[row, 1:] = before, left, before - left
        before = left
    return audit
