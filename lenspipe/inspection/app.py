"""The server: a page, the graders' lists, pictures, and votes."""

import html
import sqlite3
import string
from pathlib import Path
from types import SimpleNamespace

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lenspipe.config.releases import PIXEL_SCALE_ARCSEC
from lenspipe.inspection.agreement import measure_agreement
from lenspipe.inspection.grades import grade_table
from lenspipe.inspection.guard import Guard
from lenspipe.inspection.images import draw_strip, shown_bands
from lenspipe.inspection.lists import kind_of
from lenspipe.utils.errors import LenspipeError

__all__ = ["make_app"]

_STATIC = Path(__file__).parent / "static"

_COMMENT_LENGTH = 2000

_NOT_ADMITTED = "no such grader, or not with this token; ask who runs the portal for your link"


def make_app(paths, store, lists, tokens=False, hosts=None):
    """Make the portal's application.

    Parameters
    ----------
    paths : lenspipe.config.paths.RunPaths
    store : lenspipe.inspection.store.Store
    lists : lenspipe.inspection.lists.Lists
    tokens : bool
        Whether every grader needs a token.
    hosts : frozenset of str, optional
        As of `lenspipe.inspection.guard.Guard`.

    Returns
    -------
    starlette.applications.Starlette
    """
    portal = _Portal(paths, store, lists, tokens)
    routes = [
        Route("/", portal.choose),
        Mount("/static", StaticFiles(directory=_STATIC)),
        Route("/g/{grader}/", portal.page),
        Route("/g/{grader}/list", portal.list),
        Route("/g/{grader}/image/{place:int}", portal.image),
        Route("/g/{grader}/votes", portal.vote, methods=["POST"]),
        Route("/g/{grader}/result", portal.result),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={
            HTTPException: _refuse,
            LenspipeError: _say,
            sqlite3.Error: _say_storage,
        },
    )


class _Portal:
    """The answers."""

    def __init__(self, paths, store, lists, tokens):
        self.paths, self.store, self.lists, self.tokens = paths, store, lists, tokens
        self.stage = lists.mix.stage
        self._lists = {}

    def choose(self, request):
        """Page on which a grader says who they are; with tokens each has a link instead."""
        graders = self.store.graders()
        free = [n for n in graders if not self.tokens and not self.store.has_token(n)]
        rows = [f'<li><a href="/g/{html.escape(n)}/">{html.escape(n)}</a></li>' for n in free]
        content = f"<p>Who are you?</p><ul>{''.join(rows)}</ul>" if rows else ""
        if len(free) < len(graders):
            content += "<p>Who has a link with a token opens that.</p>"
        return _page("choose.html", title=self._title(), content=content)

    def page(self, request):
        """Page of a grader. A token in the address moves into a cookie for this page alone."""
        grader = request.path_params["grader"]
        if token := request.query_params.get("token"):
            if not self.store.admits(grader, token, self.tokens):
                raise HTTPException(403, _NOT_ADMITTED)
            response = RedirectResponse(f"/g/{grader}/", 303)
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
        return _page("grade.html", title=self._title(), grader=html.escape(grader))

    def list(self, request):
        """All that a grader may see, in order, with their own votes."""
        grader = self._admit(request)
        items = self._list_of(grader, fresh=True)
        votes = {v["item"]: v for v in self.store.votes(grader, self.stage, latest=True)}
        entries = []
        for place, item in enumerate(items):
            if self.lists.exists(item):
                vote = votes.get(item, {"grade": "", "comment": "", "n": 0})
                own = {name: vote[name] for name in ("grade", "comment", "n")}
                entries.append({"place": place} | self.lists.describe(item) | own)
        return JSONResponse(
            {
                "run": self.paths.root.name,
                "file": self.store.identity,
                "grader": grader,
                "stage": self.stage,
                "entries": entries,
                "pixel_arcsec": PIXEL_SCALE_ARCSEC,
                "message": "" if entries else self._why_empty(),
            }
            | self._about_cutouts(items)
        )

    def image(self, request):
        """An item of the list as a strip of pictures; the address does not say what it is."""
        grader = self._admit(request)
        query, place = request.query_params, request.path_params["place"]
        items = self._list_of(grader)
        if place >= len(items) or not self.lists.exists(items[place]):
            raise HTTPException(404, "no such image")
        try:
            how = SimpleNamespace(
                residual=query.get("residual", "0") == "1",
                stretch={"viewer": "viewer", "lupton": "lupton"}[query.get("stretch", "viewer")],
                gain=min(max(float(query.get("gain", "1")), 1e-3), 1e3),
            )
        except (KeyError, ValueError):
            raise HTTPException(400, "no such way to draw an image") from None
        strip = draw_strip(self.lists.read(items[place]), **vars(how))
        return Response(strip, media_type="image/png")

    async def vote(self, request):
        """Keep votes; what is answered with 200 is on the disk."""
        grader = await run_in_threadpool(self._admit, request)
        items = await run_in_threadpool(self._list_of, grader)
        try:
            content = await request.json()
            if (content["file"], content["stage"]) != (self.store.identity, self.stage):
                raise HTTPException(
                    409, "the portal now shows another run or stage; reload this page"
                )
            votes = [_checked(vote, items) for vote in content["votes"]]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise HTTPException(400, f"no votes: {type(error).__name__} {error}") from None
        await run_in_threadpool(self.store.add_votes, grader, self.stage, votes)
        return JSONResponse({"kept": [vote["key"] for vote in votes]})

    def result(self, request):
        """What all graders found, for one who is done; before, it would sway them."""
        grader = self._admit(request)
        standing = self.store.votes(stage=self.stage, latest=True)
        given = {v["item"] for v in standing if v["grader"] == grader and v["grade"]}
        if any(self.lists.exists(item) and item not in given for item in self._list_of(grader)):
            raise HTTPException(403, "the others' grades are shown when all of yours are given")
        candidates = self.lists.candidates
        table = grade_table(self.store, self.lists.wanted())
        agreement = measure_agreement(standing, candidates.index[candidates["known"]])
        return JSONResponse(
            {
                "counts": table["grade"].value_counts().to_dict(),
                "own": agreement["graders"].get(grader),
                "pairs": [p for p in agreement["pairs"] if grader in (p["one"], p["other"])],
                "all": agreement["all"],
            }
        )

    def _admit(self, request):
        """Name of the grader who asks, who may."""
        grader = request.path_params["grader"]
        if not self.store.admits(grader, request.cookies.get("token", ""), self.tokens):
            raise HTTPException(403, _NOT_ADMITTED)
        return grader

    def _list_of(self, grader, fresh=False):
        if fresh or grader not in self._lists:
            self._lists[grader] = self.lists.of(grader)
        return self._lists[grader]

    def _why_empty(self):
        if not self.paths.candidates.exists():
            return (
                "This run has no candidates yet. Let its search end, then start the portal again."
            )
        if self.stage > 1:
            return (
                f"No candidate has a mean of at least {self.lists.mix.limit:g} in the stage before."
            )
        return "The search ended without a candidate."

    def _about_cutouts(self, items):
        """Bands of the pictures; layer of the sky viewer, which knows no simulated sky."""
        for item in items:
            if self.lists.exists(item) and kind_of(item)[0] == "candidate":
                try:
                    cutout = self.lists.read(item)
                except LenspipeError:
                    continue
                layer = None
                if cutout.release and not self.paths.sky_manifest.exists():
                    prefix = "decals" if cutout.release == "dr7" else "ls"
                    layer = f"{prefix}-{cutout.release}"
                return {"bands": shown_bands(cutout.bands), "layer": layer}
        return {"bands": "grz", "layer": None}

    def _title(self):
        return f"{html.escape(self.paths.root.name)}, stage {self.stage}"


def _checked(vote, items):
    """A vote as the browser sent it, in the store's words."""
    key, comment, grade = vote["key"], vote["comment"], vote["grade"]
    place, seconds = vote["place"], float(vote["seconds"])
    if not (isinstance(key, str) and 8 <= len(key) <= 64 and isinstance(comment, str)):
        raise ValueError("a key of 8 to 64 letters and a comment are expected")
    if grade not in ("A", "B", "C", "D", "") or len(comment) > _COMMENT_LENGTH:
        raise ValueError(f"grade {grade!r}, or a comment longer than {_COMMENT_LENGTH}")
    if not isinstance(place, int) or place < 0 or not 0 <= seconds < 1e9:
        raise ValueError(f"no place {place}, or not {seconds} seconds")
    # Half a letter, which a browser can send, is none that can be kept.
    comment = comment.encode("utf-8", "replace").decode()
    # Also of a candidate that is gone meanwhile.
    return {
        "key": key,
        "item": items[place],
        "grade": grade,
        "comment": comment,
        "seconds": seconds,
    }


def _page(name, status=200, **values):
    """A page with values, which are HTML, in it."""
    page = string.Template((_STATIC / name).read_text())
    return HTMLResponse(page.substitute(values), status)


async def _refuse(request, error):
    if "text/html" in request.headers.get("accept", ""):
        content = f"<p>{html.escape(error.detail)}</p>"
        return _page("choose.html", error.status_code, title="Inspection", content=content)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _say(request, error):
    return JSONResponse({"error": str(error)}, 404)


async def _say_storage(request, error):
    return JSONResponse({"error": f"the votes could not be kept ({error})"}, 503)
