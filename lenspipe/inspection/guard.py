"""Who may ask the portal: pages of its own only, by a name of its own only."""

from urllib.parse import urlsplit

from starlette.responses import JSONResponse

__all__ = ["LOCAL_HOSTS", "Guard"]

#: Hosts under which a browser on this machine, or at the end of an ssh tunnel, finds the portal.
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_MOST_BYTES = 4_000_000

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Middleware that refuses what other web pages ask, and says what this one may load.

    - A request whose ``Host`` is none of ours comes from a name that was made to point here (DNS
      rebinding).
    - A request that changes something has to come from our own page: ``Origin`` equal to ``Host``,
      and a body called JSON, which no form can send.

    Parameters
    ----------
    app : ASGI application
    hosts : frozenset of str or None
        Names that the portal goes by; None: any, where each grader has a token, which a browser
        only gives to the host that it got it from.
    """

    def __init__(self, app, hosts):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope, receive, send):
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                own = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        if problem := self._problem(scope["method"], headers):
            response = JSONResponse({"error": problem}, 403)
            await response(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _problem(self, method, headers):
        """Say what is wrong with a request; None if nothing."""
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            name = None
        if not name or (self.hosts is not None and name not in self.hosts):
            return "this host is not the portal's"
        if headers.get("sec-fetch-site", "none") == "cross-site" and method != "GET":
            return "asked by another site"
        if method in ("GET", "HEAD"):
            return None
        if urlsplit(headers.get("origin", "")).netloc != host:
            return "asked by another page"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "expected JSON"
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            return f"expected at most {_MOST_BYTES} bytes, and their number"
        return None
