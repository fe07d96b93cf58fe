"""The parent sample by queries to a TAP service, which sends only its rows and columns.

For each chunk the service is asked, one query at a time, whether it has the table and its columns;
how many sources of each brick pass the cuts one after the other, for the audit; and for the rows
that pass. ADQL 2.0 has no operator for bits, so the cut ``maskbits`` is applied to these rows.

The tables of the regions may hold primary objects only; the audit then says what is not counted.

The number of rows of each brick has to be that counted. An answer may be cut short by a limit of
the service, whether it says so (``QUERY_STATUS=OVERFLOW``) or not: complete bricks are kept, the
others are requested again in smaller pages. Pages stay on disk until the chunk is done.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lenspipe.config.data import Parent, Retrieval, Survey
from lenspipe.config.surveys.base import Release
from lenspipe.parent.cuts import CUTS, Selection, check_sources, select_parent
from lenspipe.products.tables import empty_parent, write_table
from lenspipe.retrieval.tap import TapService
from lenspipe.survey.photometry import to_magnitude
from lenspipe.survey.tractor import absent_columns, catalog_columns, tractor_table
from lenspipe.utils.errors import LenspipeError, NotFoundError, RetrievalError
from lenspipe.utils.files import atomic, read_kept
from lenspipe.utils.hashing import digest
from lenspipe.utils.progress import log

__all__ = ["conditions", "select_by_queries"]

#: Increased when pages kept by an earlier version can no longer be used.
_VERSION = 2

#: The first of the cuts that are applied to the rows received.
_FIRST_LOCAL_CUT = "maskbits"

#: Missing numbers may be NaN, which databases such as PostgreSQL take to be above all others: what
#: the conditions of cuts need so that a NaN does not pass.
_NO_NAN = {
    "sersic_min": "NOT (type IN ('SER', 'SER ') AND sersic > 1e+30)",
    "mag_z_max": "flux_z < 1e+30",
}

#: Relative error of the floats that a service prints, and of the magnitudes made from them.
_PRINTED = 1e-5

#: Maximum number of bricks for synchronous queries, whose time is short on any service.
_SYNC_BRICKS = 32

#: Initial maximum number of rows of a page, ~15 MB.
_PAGE_ROWS = 100_000


def conditions(parent: Parent, bands: Iterable[str], zero_point_mag: float) -> dict[str, str]:
    """Write the cuts of the parent sample in ADQL.

    Conditions are in the order of `lenspipe.parent.cuts.CUTS`, up to but without ``maskbits``, and
    without those that remove nothing.
    """
    # Types of three letters may be padded, as they are in files up to DR8.
    types = [
        f"'{padded}'" for name in parent.types for padded in dict.fromkeys((name, f"{name:4}"))
    ]
    cuts = {"brick_primary": "brick_primary = 1", "type": f"type IN ({', '.join(types)})"}
    if "SER" in parent.types:
        sersic_min = float(np.float32(parent.sersic_min))
        cuts["sersic_min"] = f"(type NOT IN ('SER', 'SER ') OR sersic >= {sersic_min!r})"
    cuts["mag_z_max"] = f"flux_z > {_flux_limit(parent.mag_z_max, zero_point_mag)!r}"
    counts = [f"nobs_{band} >= {parent.min_exposures}" for band in bands]
    return cuts | {"min_exposures": " AND ".join(counts)}


def _flux_limit(mag: float, zero_point_mag: float) -> float:
    """Flux between the faintest float32 whose magnitude passes and the one below, nanomaggies."""
    estimate = np.float32(10 ** np.clip((zero_point_mag - mag) / 2.5, -30.0, 30.0))
    # A step of float32 magnitudes is up to some tens of steps of fluxes.
    near = np.arange(-1000, 1001, dtype=np.int32) + estimate.view(np.int32)
    fluxes = near.view(np.float32)
    mags = to_magnitude(fluxes, zero_point_mag).astype(np.float32)
    first = int(np.argmax(mags <= np.float32(mag)))
    return (float(fluxes[max(first - 1, 0)]) + float(fluxes[first])) / 2


class _RegionTable:
    """The service's table of a region.

    Attributes
    ----------
    columns
        Those that are requested.
    where
        Conditions that select the region.
    cuts
        As returned by `conditions`.
    """

    def __init__(
        self,
        service: TapService,
        release: Release,
        region: str,
        bands: tuple[str, ...],
        parent: Parent,
    ) -> None:
        self.service, self.release, self.region, self.bands = service, release, region, bands
        conditions_of = release.tap_tables[region]
        known = ", ".join(f"'{table}'" for table in conditions_of)
        query = (
            f"SELECT table_name, column_name FROM TAP_SCHEMA.columns WHERE table_name IN ({known})"
        )
        answer, _ = service.ask(query, 10_000, f"columns of {' and '.join(conditions_of)}")
        tables: dict[str, set[str]] = {table: set() for table in conditions_of}
        for table, column in zip(answer["table_name"], answer["column_name"], strict=True):
            tables.setdefault(table.strip(), set()).add(column.strip().lower())
        advice = "correct config key survey.tap or set survey.catalogs to another source"
        self.name = next((table for table in conditions_of if tables[table]), "")
        if not self.name:
            absent_tables = " or ".join(conditions_of)
            raise LenspipeError(f"{service.address}: no table {absent_tables}; {advice}")
        self.where = list(filter(None, [conditions_of[self.name]]))
        names = tables[self.name]
        needed, optional = catalog_columns(bands)
        absent = absent_columns(names, release, bands)
        absent += [name for name in ("release", "brick_primary") if name not in names]
        if absent:
            text = f"no column {', '.join(absent)} in table {self.name}"
            raise LenspipeError(f"{service.address}: {text}; {advice}")
        self.columns = [name for name in needed + optional if name in names]
        cuts = conditions(parent, bands, release.zero_point_mag)
        self.cuts = {
            cut: " AND ".join([condition, _NO_NAN[cut]] if cut in _NO_NAN else [condition])
            for cut, condition in cuts.items()
        }

    def key(self, brickids: Iterable[int]) -> str:
        """Hash what is requested."""
        requested = [self.service.address, self.name, self.columns, self.where, self.cuts]
        return digest("tap", _VERSION, requested, [int(i) for i in brickids])

    def count(self, brickids: list[int]) -> list[dict[int, int]]:
        """Count the sources of each brick, before any cut and after each."""
        where = list(self.where)
        counts: list[dict[int, int]] = []
        for cut in [None, *self.cuts]:
            where += [self.cuts[cut]] if cut else []
            left = [i for i in brickids if not counts or counts[-1][i]]
            description = f"sources of {len(left)} bricks, {f'cut {cut}' if cut else 'all'}"
            counts.append(dict.fromkeys(brickids, 0) | self._count(left, where, description))
            if cut == "type" and left and not any(counts[-1].values()):
                self._check_types(left)
        return counts

    def _check_types(self, brickids: list[int]) -> None:
        """Refuse a table whose column of types holds something else, as was reported for DR11."""
        query = f"SELECT DISTINCT type {self._clauses(brickids, self.where)}"
        answer, _ = self.service.ask(query, 1000, f"types of the sources of {len(brickids)} bricks")
        found = {value.strip() or "no text" for value in answer["type"]}
        if not found & {"PSF", *self.release.types}:
            raise LenspipeError(
                f"{self.service.address}: column type of {self.name} holds "
                f"{', '.join(sorted(found)[:5])}; expected {', '.join(self.release.types)}; set "
                "config key survey.catalogs to tractor or sweeps"
            )

    def _count(self, brickids: list[int], where: list[str], description: str) -> dict[int, int]:
        """Count the sources of bricks; those without sources are left out."""
        if not brickids:
            return {}
        query = (
            f"SELECT brickid, COUNT(*) AS sources {self._clauses(brickids, where)} GROUP BY brickid"
        )
        answer, cut_short = self.service.ask(query, len(brickids) + 1, description)
        counts = dict(zip(answer["brickid"].tolist(), answer["sources"].tolist(), strict=True))
        # Bricks that are not in the answer have no sources, or it was cut short without notice.
        if absent := [i for i in brickids if i not in counts]:
            query = f"SELECT COUNT(*) AS sources {self._clauses(absent, where)}"
            answer, _ = self.service.ask(query, 2, f"{description}, {len(absent)} of them")
            cut_short = cut_short or answer["sources"].sum() > 0
        if not cut_short:
            return counts
        if len(brickids) == 1:
            raise RetrievalError(f"{self.service.address}: no room for one row", transient=False)
        half = len(brickids) // 2
        halves = brickids[:half], brickids[half:]
        first, second = (self._count(part, where, description) for part in halves)
        return first | second

    def _clauses(self, brickids: Iterable[int], where: list[str]) -> str:
        bricks = f"brickid IN ({', '.join(str(int(i)) for i in brickids)})"
        return f"FROM {self.name} WHERE {' AND '.join([bricks, *where])}"

    def pages(self, expected: Mapping[int, int]) -> Iterator[pd.DataFrame]:
        """Yield tables of complete bricks, as returned by `tractor_table`, until all are there.

        `expected` is brick id -> number of rows.
        """
        service, left, limit = self.service, {i: n for i, n in expected.items() if n}, _PAGE_ROWS
        where = [*self.where, *self.cuts.values()]
        while left:
            page = _fill(left, limit)
            rows = sum(left[i] for i in page)
            query = f"SELECT {', '.join(self.columns)} {self._clauses(page, where)}"
            was_sync = service.sync
            answer, _ = service.ask(query, rows + 1, f"{rows} rows of {len(page)} bricks")
            table = tractor_table(answer, self.name, self.release, self.bands, self.region)
            received = table.brickid.value_counts()
            complete = [i for i in page if received.get(i, 0) == left[i]]
            if more := [i for i in page if received.get(i, 0) > left[i]]:
                raise RetrievalError(
                    f"{service.address}: {received[more[0]]} rows of brick {more[0]} in "
                    f"{self.name}, but it counts {left[more[0]]}; run again",
                    transient=True,
                )
            if complete:
                yield table[table.brickid.isin(complete)].reset_index(drop=True)
            left = {i: n for i, n in left.items() if i not in complete}
            if len(complete) < len(page) and not was_sync:
                if len(page) == 1 or not len(table):
                    raise RetrievalError(
                        f"{service.address}: {len(table)} rows of {rows} in one answer from "
                        f"{self.name}; the service's limit is too low",
                        transient=False,
                    )
                limit = len(table)
                log.info("%s: from now on requesting pages of %d rows", service.address, limit)
            elif len(complete) < len(page):
                service.sync = False


def _fill(left: Mapping[int, int], limit: int) -> list[int]:
    """Choose bricks (id -> number of rows) for a page: as many as fit, and at least one."""
    page: list[int] = []
    rows = 0
    for brickid, number in left.items():
        if page and rows + number > limit:
            break
        page.append(brickid)
        rows += number
    return page


def select_by_queries(
    bricks: list[tuple[str, str]],
    brickids: pd.Series,
    survey: Survey,
    release: Release,
    parent: Parent,
    retrieval: Retrieval,
    *,
    folder: Path,
) -> Selection:
    """Select the parent sample of bricks by queries to a TAP service.

    Parameters
    ----------
    bricks
        (brick, region).
    brickids
        Number of each brick, by name.
    folder
        For answers, which are kept until the sample is complete.

    Raises
    ------
    LenspipeError
        There is no such service, or it has no such table or column.
    """
    if not release.tap_tables:
        raise LenspipeError(
            f"config key survey.catalogs: found 'tap' with survey.release {release.name}, "
            "of which the service has no table; set survey.catalogs: tractor or sweeps"
        )
    results: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    failures: dict[str, LenspipeError] = {}
    with contextlib.closing(TapService(survey.tap, retrieval)) as service:
        service.sync = len(bricks) <= _SYNC_BRICKS
        for region in dict.fromkeys(region for _, region in bricks):
            in_region = {
                brick: int(brickids[brick]) for brick, its_region in bricks if its_region == region
            }
            try:
                if failures:
                    raise next(iter(failures.values()))
                table = _RegionTable(service, release, region, survey.bands, parent)
                _select(table, parent, in_region, folder, results, failures)
            except NotFoundError as error:
                raise LenspipeError(f"{error}; correct config key survey.tap") from None
            except RetrievalError as error:
                failures |= {brick: error for brick in in_region if brick not in results}
    if not failures:
        shutil.rmtree(folder, ignore_errors=True)
    return {brick: results[brick] for brick, _ in bricks if brick in results}, failures


def _select(
    region: _RegionTable,
    parent: Parent,
    bricks: Mapping[str, int],
    folder: Path,
    results: dict[str, tuple[pd.DataFrame, pd.DataFrame]],
    failures: dict[str, LenspipeError],
) -> None:
    """Select bricks (name -> id) of a region; adds to `results` and `failures`."""
    key = region.key(bricks.values())
    path = folder / f"{key}.json"
    kept = read_kept(path)
    if kept:
        counts = [{int(i): n for i, n in each.items()} for each in kept]
    else:
        counts = region.count(list(bricks.values()))
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(counts))
    empty = empty_parent(region.bands).assign(brick_primary=True, valid=True)
    tables = {i: empty for i, number in counts[-1].items() if not number}
    for page_path in folder.glob(f"{key}-*.parquet"):
        tables |= dict(iter(pd.read_parquet(page_path).groupby("brickid")))
    expected = {i: number for i, number in counts[-1].items() if i not in tables}
    # The service has applied these cuts to its own numbers; those it prints may differ a little.
    printed = parent.model_copy(
        update={
            "sersic_min": parent.sersic_min * (1 - _PRINTED),
            "mag_z_max": parent.mag_z_max + 2 * _PRINTED,
        }
    )
    has_primaries_only = sum(counts[0].values()) == sum(counts[1].values())
    note = f"objects that are not primary: {region.name} has none" if has_primaries_only else ""
    try:
        for page in region.pages(expected):
            write_table(folder / f"{key}-{page.brickid[0]}.parquet", page)
            tables |= dict(iter(page.groupby("brickid")))
    finally:
        for brick, i in bricks.items():
            if i not in tables:
                continue
            selected, audit = select_parent(tables[i], printed, region.release)
            if audit.before[[*CUTS].index(_FIRST_LOCAL_CUT)] != counts[-1][i]:
                failures[brick] = RetrievalError(
                    f"{region.service.address}: rows of brick {brick} in {region.name} do not pass "
                    "the cuts of their query",
                    transient=False,
                )
                continue
            try:
                check_sources(selected, brick, f"{region.service.address}: {region.name}")
            except LenspipeError as error:
                failures[brick] = error
                continue
            after = dict(zip(region.cuts, (each[i] for each in counts[1:]), strict=True))
            selected = selected.sort_values("objid", ignore_index=True)
            audit = _complete_audit(audit, counts[0][i], after)
            audit.loc[0, "not_counted"] = note
            results[brick] = selected, audit


def _complete_audit(audit: pd.DataFrame, before: int, after: Mapping[str, int]) -> pd.DataFrame:
    """Replace the counts of the cuts that the service has applied (name -> number after it)."""
    for row, cut in enumerate(CUTS):
        if cut == _FIRST_LOCAL_CUT:
            break
        left = after.get(cut, before)
        audit.loc[row, ["before", "after", "removed"]] = before, left, before - left
        before = left
    return audit
