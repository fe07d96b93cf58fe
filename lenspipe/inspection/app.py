"""The server of the inspection portal: a page, the graders' lists, images, and votes."""

import asyncio
import html
import math
import sqlite3
import string
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lenspipe.config.paths import RunPaths
from lenspipe.inspection.agreement import measure_agreement
from lenspipe.inspection.around import Around
from lenspipe.inspection.grades import POINTS, grade_table, means_of_stage
from lenspipe.inspection.guard import Guard
from lenspipe.inspection.images import (
    SHOWN,
    difference_name,
    draw_colour,
    draw_strip,
    shown_bands,
)
from lenspipe.inspection.lists import Lists
from lenspipe.inspection.queue import Queue
from lenspipe.inspection.store import TAGS, Store, split_item
from lenspipe.inspection.training import Examples, TrainingList
from lenspipe.plotting.colour import STRETCHES, sky_level
from lenspipe.products.candidates import model_note
from lenspipe.utils.errors import LenspipeError

__all__ = ["make_app"]

_STATIC = Path(__file__).parent / "static"

_NOT_ADMITTED = "unknown grader or wrong token; ask whoever runs the portal for your link"


class _Vote(BaseModel):
    """A vote as the browser sends it."""

    model_config = ConfigDict(strict=True)
    key: str = Field(min_length=8, max_length=64)
    place: int = Field(ge=0)
    grade: Literal["A", "B", "C", "D", ""]
    comment: str = Field(max_length=2000)
    seconds: float = Field(ge=0, lt=1e9)
    tags: list[Literal[TAGS]] = Field(default=[], max_length=len(TAGS))  # type: ignore[valid-type]


class _Votes(BaseModel):
    """Votes on the list of a file and stage."""

    model_config = ConfigDict(strict=True)
    file: int
    stage: int
    votes: list[_Vote]


def make_app(
    paths: RunPaths,
    store: Store,
    lists: Lists,
    tokens: bool = False,
    hosts: frozenset[str] | None = None,
    queue: Queue | None = None,
    around: Around | None = None,
    examples: Callable[[], Path | None] = lambda: None,
) -> Starlette:
    """Make the portal's application.

    Parameters
    ----------
    tokens
        Whether every grader needs a token.
    hosts
        As in `lenspipe.inspection.guard.Guard`.
    queue
        What chooses the next image; the order of the list if not given.
    around
        The panels around a candidate; none without a configuration.
    examples
        As for `lenspipe.inspection.training.Examples`.
    """
    portal = _Portal(paths, store, lists, tokens, queue, around, examples)
    routes = [
        Route("/", portal.choose),
        Mount("/static", StaticFiles(directory=_STATIC)),
        Route("/g/{grader}/", portal.page),
        Route("/g/{grader}/list", portal.entries),
        Route("/g/{grader}/image/{place}", portal.image),
        Route("/g/{grader}/around/{place}/{panel}", portal.panel),
        Route("/g/{grader}/examples", portal.list_examples),
        Route("/g/{grader}/example/{number}", portal.example),
        Route("/g/{grader}/truth/{place}", portal.truth),
        Route("/g/{grader}/votes", portal.vote, methods=["POST"]),
        Route("/g/{grader}/next", portal.next),
        Route("/g/{grader}/result", portal.result),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: _answer_http_error,
        LenspipeError: _answer_error,
        sqlite3.Error: _answer_storage_error,
    }
    middleware = [Middleware(Guard, hosts=hosts)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


class _Portal:
    """Answers to requests."""

    def __init__(
        self,
        paths: RunPaths,
        store: Store,
        lists: Lists,
        tokens: bool,
        queue: Queue | None,
        around: Around | None,
        examples: Callable[[], Path | None],
    ) -> None:
        self.paths, self.store, self.lists, self.tokens = paths, store, lists, tokens
        self.queue, self.around = queue, around
        self.training = lists if isinstance(lists, TrainingList) else None
        self.examples = Examples(examples)
        # Servers of other surveys may be slow: what waits for them has threads of its own.
        self._waiting = ThreadPoolExecutor(4)
        self.stage = lists.mix.stage
        self._lists: dict[str, list[str]] = {}

    def choose(self, request: Request) -> Response:
        """Page on which graders choose their name; those with a token have a link instead."""
        graders = self.store.graders()
        listed = [n for n in graders if not self.tokens and not self.store.has_token(n)]
        rows = [f'<li><a href="/g/{html.escape(n)}/">{html.escape(n)}</a></li>' for n in listed]
        content = f"<p>Choose your name:</p><ul>{''.join(rows)}</ul>" if rows else ""
        if len(listed) < len(graders):
            content += "<p>Graders with a token: open your own link.</p>"
        return _page("choose.html", title=self._title(), content=self._note() + content)

    def page(self, request: Request) -> Response:
        """Page of a grader; a token in the address is moved to a cookie for this page only."""
        grader = request.path_params["grader"]
        if token := request.query_params.get("token"):
            if not self.store.admits(grader, token, self.tokens):
                raise HTTPException(403, _NOT_ADMITTED)
            response = RedirectResponse(f"/g/{grader}/", 303)
            if self.store.has_token(grader):
                response.set_cookie(
                    "token",
                    token,
                    path=f"/g/{grader}/",
                    httponly=True,
                    samesite="lax",
                    max_age=31536000,
                )
            return response
        self._admit(request)
        name = html.escape(grader)
        return _page("grade.html", title=self._title(), grader=name, note=self._note())

    def entries(self, request: Request) -> Response:
        """The grader's images, in order, with their own votes."""
        grader = self._admit(request)
        items = self._list_of(grader, update=True)
        votes = {v["item"]: v for v in self.store.votes(grader, self.stage, latest=True)}
        entries = []
        for place, item in enumerate(items):
            if self.lists.exists(item):
                vote = votes.get(item, {"grade": "", "comment": "", "n": 0, "tags": ""})
                given = {name: vote[name] for name in ("grade", "comment", "n")}
                given["tags"] = vote["tags"].split()
                entries.append({"place": place} | self._describe(item) | given)
        bands = self._bands(items)
        return JSONResponse(
            {
                "run": self.paths.root.name,
                "file": self.store.identity,
                "grader": grader,
                "stage": self.stage,
                "entries": entries,
                "bands": shown_bands(bands),
                "difference": difference_name(bands),
                "sky_levels": {name: sky_level(name) for name in STRETCHES},
                "pixel_arcsec": self.lists.release.pixel_scale_arcsec,
                "around": self.around.panels() if self.around else [],
                "training": self.training is not None,
                "message": "" if entries else self._why_empty(),
                "next": self.queue and self.queue.next_places(grader, items),
            }
        )

    def next(self, request: Request) -> Response:
        """Places of the images whose votes tell most; null if the list's own order is kept."""
        grader = self._admit(request)
        items = self._list_of(grader)
        return JSONResponse({"next": self.queue and self.queue.next_places(grader, items)})

    def image(self, request: Request) -> Response:
        """An item of the list as a strip of images; the address does not reveal its kind."""
        grader = self._admit(request)
        item, query = self._item(request, grader), request.query_params
        show = query.get("show", "image")
        if show not in SHOWN:
            raise _invalid()
        strip = draw_strip(self.lists.read(item), show, *_stretch_and_gain(request))
        return Response(strip, media_type="image/png")

    async def panel(self, request: Request) -> Response:
        """An image around an item of the list; it keeps nobody waiting, wherever it is from."""
        grader = await run_in_threadpool(self._admit, request)
        item = await run_in_threadpool(self._item, request, grader)
        panel, around = request.path_params["panel"], self.around
        if not around or not panel.isdecimal() or int(panel) > len(around.surveys):
            raise HTTPException(404, "no such panel")
        stretch, gain = _stretch_and_gain(request)

        def draw() -> bytes:
            place, cutout = self.lists.place(item), self.lists.read(item)
            return around.draw(int(panel), place, cutout, stretch, gain)

        drawn = asyncio.get_running_loop().run_in_executor(self._waiting, draw)
        try:
            return Response(await asyncio.wait_for(drawn, around.timeout_s), media_type="image/png")
        except TimeoutError:
            raise HTTPException(404, f"No image after {around.timeout_s:g} s.") from None

    def list_examples(self, request: Request) -> Response:
        """Example pictures of the grades: grade and text of each."""
        self._admit(request)
        return JSONResponse({"examples": self.examples.describe()})

    def example(self, request: Request) -> Response:
        """An example picture."""
        self._admit(request)
        number = request.path_params["number"]
        cutout = self.examples.read(int(number)) if number.isdecimal() else None
        if cutout is None:
            raise HTTPException(404, "no such example")
        return Response(draw_colour(cutout.image, cutout.bands), media_type="image/png")

    def truth(self, request: Request) -> Response:
        """What an image of a training list shows, once it is graded, and the tally so far."""
        grader = self._admit(request)
        item = self._item(request, grader)
        votes = self.store.votes(grader, self.stage, latest=True)
        if not self.training or not any(v["item"] == item and v["grade"] for v in votes):
            raise HTTPException(403, "the truth is shown in training, once an image is graded")
        return JSONResponse(self.training.truth(item) | {"tally": self.training.tally(grader)})

    async def vote(self, request: Request) -> Response:
        """Store votes; they are on the disk when the answer is 200."""
        grader = await run_in_threadpool(self._admit, request)
        items = await run_in_threadpool(self._list_of, grader)
        try:
            content = _Votes.model_validate_json(await request.body())
        except ValidationError as error:
            raise HTTPException(400, f"invalid votes: {_first_problem(error)}") from None
        if (content.file, content.stage) != (self.store.identity, self.stage):
            raise HTTPException(409, "the portal now shows another run or stage; reload this page")
        if any(vote.place >= len(items) for vote in content.votes):
            raise HTTPException(400, f"invalid votes: found a place that is not below {len(items)}")
        # The candidate may no longer exist.
        votes = [vote.model_dump() | {"item": items[vote.place]} for vote in content.votes]
        await run_in_threadpool(self.store.add_votes, grader, self.stage, votes)
        return JSONResponse({"kept": [vote.key for vote in content.votes]})

    def result(self, request: Request) -> Response:
        """Result of all graders, only for graders who have finished, so as not to bias them."""
        grader = self._admit(request)
        votes = self.store.votes(stage=self.stage, latest=True)
        graded = {v["item"] for v in votes if v["grader"] == grader and v["grade"]}
        items = self._list_of(grader)
        if self.queue:
            is_finished = not self.queue.next_places(grader, items)["left"]
        else:
            is_finished = all(item in graded for item in items if self.lists.exists(item))
        if not is_finished:
            raise HTTPException(403, "others' grades are shown once you have graded all images")
        if self.training:
            return JSONResponse({"tally": self.training.tally(grader)})
        candidates = self.lists.candidates
        table = grade_table(self.store, self.lists.candidates_of_stage())
        agreement = measure_agreement(votes, candidates.index[candidates["known"]])
        return JSONResponse(
            {
                "counts": table["grade"].value_counts().to_dict(),
                "own": agreement["graders"].get(grader),
                "pairs": [p for p in agreement["pairs"] if grader in (p["one"], p["other"])],
                "all": agreement["all"],
                "places": self._to_review(grader, items, votes),
                "next_stage": self._n_next_stage(),
            }
        )

    def _to_review(
        self, grader: str, items: Sequence[str], votes: Sequence[dict[str, Any]]
    ) -> dict[str, list[int]]:
        """Places of a finished list that differ by two grades or more, and of the lenses missed."""
        grades: dict[str, dict[str, str]] = {}
        for vote in votes:
            if vote["grade"]:
                grades.setdefault(vote["item"], {})[vote["grader"]] = vote["grade"]
        places: dict[str, list[int]] = {"disagreements": [], "missed": []}
        for place, item in enumerate(items):
            given = grades.get(item, {})
            if grader not in given or not self.lists.exists(item):
                continue
            points = [POINTS[grade] for grade in given.values()]
            kind, galaxy = split_item(item)
            if kind == "candidate" and max(points) - min(points) >= 2:
                places["disagreements"].append(place)
            known = kind == "candidate" and self.lists.candidates.at[galaxy, "known"]
            if given[grader] == "D" and (known or kind in self.lists.controls):
                places["missed"].append(place)
        return places

    def _n_next_stage(self) -> int | None:
        """Number of candidates that a second stage would show; None if this is that stage."""
        if self.stage > 1:
            return None
        return int((means_of_stage(self.store, self.stage) >= self.lists.mix.limit).sum())

    def _admit(self, request: Request) -> str:
        """Name of the grader, who must have the right token."""
        grader = request.path_params["grader"]
        if not self.store.admits(grader, request.cookies.get("token", ""), self.tokens):
            raise HTTPException(403, _NOT_ADMITTED)
        return grader

    def _item(self, request: Request, grader: str) -> str:
        """Item at a place of a grader's list."""
        place, items = request.path_params["place"], self._list_of(grader)
        item = items[int(place)] if place.isdecimal() and int(place) < len(items) else ""
        if not item or not self.lists.exists(item):
            raise HTTPException(404, "no such image")
        return item

    def _list_of(self, grader: str, update: bool = False) -> list[str]:
        if update or grader not in self._lists:
            self._lists[grader] = self.lists.for_grader(grader)
        return self._lists[grader]

    def _why_empty(self) -> str:
        if not self.paths.candidates.exists():
            return "This run has no candidates yet. Start the portal again when the search is done."
        if self.stage > 1:
            limit = self.lists.mix.limit
            return f"No candidate has a mean of at least {limit:g} in the previous stage."
        return "The search found no candidates."

    def _describe(self, item: str) -> dict[str, Any]:
        """Description of an item with its address in the sky viewer, None for a simulated sky."""
        entry, viewer = self.lists.describe(item), None
        real = not self.training and not self.paths.sky_manifest.exists()
        if real and entry["ra"] is not None:
            viewer = self.lists.release.viewer_address(entry["ra"], entry["dec"])
        return entry | {"viewer": viewer}

    def _bands(self, items: Sequence[str]) -> str:
        """Bands of the cutouts."""
        for item in items:
            if self.lists.exists(item) and split_item(item)[0] in ("candidate", "training"):
                try:
                    return self.lists.read(item).bands
                except LenspipeError:
                    continue
        return "grz"

    def _title(self) -> str:
        list_name = "training" if self.training else f"stage {self.stage}"
        return f"{html.escape(self.paths.root.name)}, {list_name}"

    def _note(self) -> str:
        """What the model of the candidates says of itself; empty if nothing."""
        note = model_note(self.lists.candidates)
        return f'<p class="model">Scores of the {html.escape(note)}.</p>' if note else ""


def _stretch_and_gain(request: Request) -> tuple[str, float]:
    """Stretch and factor on the fluxes that an address requests."""
    query = request.query_params
    stretch = query.get("stretch", "viewer")
    try:
        gain = float(query.get("gain", "1"))
    except ValueError:
        gain = math.nan
    if stretch not in STRETCHES or math.isnan(gain):
        raise _invalid()
    return stretch, min(max(gain, 1e-3), 1e3)


def _invalid() -> HTTPException:
    return HTTPException(400, "invalid parameters of the image")


def _first_problem(error: ValidationError) -> str:
    """First problem of votes from the browser, in a line."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'JSON'}: {problem['msg']}"


def _page(name: str, status: int = 200, **values: str) -> HTMLResponse:
    """A page with values inserted, which are HTML."""
    page = string.Template((_STATIC / name).read_text())
    return HTMLResponse(page.substitute({"note": ""} | values), status)


async def _answer_http_error(request: Request, error: HTTPException) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        content = f"<p>{html.escape(error.detail)}</p>"
        return _page("choose.html", error.status_code, title="Inspection", content=content)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _answer_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


async def _answer_storage_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the votes could not be stored ({error})"}, 503)
