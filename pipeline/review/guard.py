"""Who may talk to the page: a browser that was opened with the token, and nobody else.

Any program on this machine, and any web page in the same browser, can send requests to a port of
the loopback address. Hence the token, which becomes a cookie that pages of other sites cannot use;
the check of the Host header, against names that were made to point here; and the check of Origin.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
# Nothing from elsewhere, no script or style inside of the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A redirect would belong to the site where the link stood, and strict cookies stay at home then.
_WELCOME = (
    '<!doctype html><title>dml review</title><link rel="icon" href="/static/icon.svg">'
    '<meta http-equiv="refresh" content="0;url=/">'
)


class Guard:
    """Lets requests with the token's cookie through and answers all others with 403."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        """Stand before an application that is served at a port of the loopback address."""
        self._app = app
        self._token = token
        self._cookie = f"dml-review-{port}"  # cookies do not tell ports apart
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":  # there are no web sockets here
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._answer(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return the answer to a stranger or a newcomer; None for whom we know."""
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return _refused("this page is only at the address that dml review printed")
        if request.headers.get("origin", f"http://{host}") != f"http://{host}":
            return _refused("requests of other sites are not answered")
        if request.url.path == "/" and self._is_token(request.query_params.get("token")):
            return self._welcome()
        if not self._is_token(request.cookies.get(self._cookie)):
            return _refused("open the address that dml review printed, with its token")
        return None

    def _welcome(self) -> Response:
        answer = HTMLResponse(_WELCOME)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return answer

    def _is_token(self, text: str | None) -> bool:
        return text is not None and secrets.compare_digest(text.encode(), self._token.encode())


def _refused(reason: str) -> Response:
    return PlainTextResponse(f"refused: {reason}\n", 403)
