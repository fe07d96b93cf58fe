"""Protection of the portal against requests from other web pages and under other host names."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOCAL_HOSTS", "Guard"]

#: Host names of the portal for a browser on this machine, or at the end of an ssh tunnel.
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_MAX_BYTES = 4_000_000

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
    """Middleware that rejects requests from other web pages, and restricts what this one may load.

    - A request with another ``Host`` comes from a name that was made to point here (DNS rebinding).
    - A request that changes something must come from the portal's page: ``Origin`` equal to
      ``Host``, and a JSON body, which no form can send.

    Parameters
    ----------
    hosts
        Host names of the portal; None: any, if each grader has a token, which a browser only sends
        to the host that set it.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or reject it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        # The whole body is read before anything is answered, also if it is not used: uvicorn cannot
        # send an answer while it rejects the rest of a request.
        body, ended = bytearray(), False
        while not ended and len(body) <= _MAX_BYTES:
            message = await receive()
            body += message.get("body", b"")
            ended = not message.get("more_body", False)
            if message["type"] == "http.disconnect":
                response = JSONResponse({"error": "the connection ended within the request"}, 400)
                await response(scope, receive, send_with_headers)
                return
        if problem := self._problem(scope["method"], headers, len(body)):
            response = JSONResponse({"error": problem}, 403)
            await response(scope, receive, send_with_headers)
            return

        messages: list[Message] = [{"type": "http.request", "body": bytes(body)}]

        async def receive_again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, receive_again, send_with_headers)

    def _problem(self, method: str, headers: Mapping[str, str], length: int) -> str | None:
        """Why a request is rejected; None if it is not."""
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname
            origin = urlsplit(headers.get("origin", "")).netloc
        except ValueError:
            name = origin = None
        if not name or (self.hosts is not None and name not in self.hosts):
            return "not a host name of this portal"
        if length > _MAX_BYTES:
            return f"found more than {_MAX_BYTES} bytes, expected fewer"
        if headers.get("sec-fetch-site", "none") == "cross-site" and method != "GET":
            return "request from another site"
        if method in ("GET", "HEAD"):
            return None
        if origin != host:
            return "request from another page"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "expected JSON"
        return None
