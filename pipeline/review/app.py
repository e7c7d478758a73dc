"""The page of a review and what it asks for, as a web application.

    GET  /                                     the page; with ?token= it first gets its cookie
    GET  /static/NAME                          its style and script
    GET  /pictures/DIGEST/ROW/SIDE             a picture
    GET  /api/review                           what is reviewed, and how far it is
    GET  /api/queue?kind=&label=&state=        rows that pass the filters, and their decisions
    GET  /api/findings?rows=1,2                a few findings
    GET  /api/classes?text=                    completions of a class's name
    GET  /api/find?text=                       the row of an id
    POST /api/decide {row, decision, label, note}   /api/undo   /api/export

A refusal is a JSON object {"error": one line} with status 400. Texts of users stay values of JSON;
the page makes text of them, never HTML.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cache.errors import DmlError, InputError
from pipeline import pages
from pipeline.audit.decisions import VERDICTS
from pipeline.review.guard import Guard
from pipeline.review.pictures import Pictures
from pipeline.review.session import Session

_OWN, _SHARED = Path(__file__).parent / "static", Path(pages.__file__).parent
_NAMES = (
    "review.css", "review.js", "api.js", "choosing.js", "queue.js", "showing.js", "icon.svg",
)  # fmt: skip
_FILES = {"style.css": _SHARED / "style.css", **{name: _OWN / name for name in _NAMES}}
_FINDINGS, _CLASSES = 50, 12  # most findings, completions in one answer
_LARGEST = 2**16  # bytes of a request's body
_DAY = "private, max-age=86400, immutable"


def make_app(
    session: Session, pictures: Pictures, *, title: str, token: str, port: int
) -> Starlette:
    """Put the page together.

    Args:
        session: the decisions.
        pictures: of the same findings.
        title: names the audit.
        token: that the first request has to bring.
        port: that the page is served at.
    """
    page = _Page(session, pictures, title)
    routes = [
        Route("/", lambda _: FileResponse(_OWN / "review.html")),
        Route("/static/{name}", _file),
        Route("/pictures/{digest}/{row:int}/{side:int}", page.picture),
        Route("/api/review", page.review),
        Route("/api/queue", page.queue),
        Route("/api/findings", page.findings),
        Route("/api/classes", page.classes),
        Route("/api/find", page.find),
        Route("/api/decide", _taking(page.decide), methods=["POST"]),
        Route("/api/undo", _taking(page.undo), methods=["POST"]),
        Route("/api/export", _taking(page.export), methods=["POST"]),
    ]
    guard = Middleware(Guard, token=token, port=port)
    return Starlette(routes=routes, middleware=[guard], exception_handlers={DmlError: _explained})


class _Page:
    """The answers; each is a plain function of the request, run in a thread of its own."""

    def __init__(self, session: Session, pictures: Pictures, title: str) -> None:
        self._session = session
        self._suspects = session.suspects
        self._pictures = pictures
        self._title = title

    def picture(self, request: Request) -> Response:
        """Send a picture; the digest in its address makes it safe to keep."""
        asked = request.path_params
        content = None
        if asked["digest"] == self._suspects.digest:
            content = self._pictures.jpeg(asked["row"], asked["side"])
        if content is None:
            raise HTTPException(404)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": _DAY})

    def review(self, request: Request) -> Response:
        """Say what is reviewed."""
        return JSONResponse(
            {
                "title": self._title,
                "pictures": f"/pictures/{self._suspects.digest}",
                "images": len(self._suspects),
                "suspects": self._suspects.count,
                "kinds": self._suspects.kinds(),
                "out": str(self._session.out),
                "counts": self._session.counts(),
            }
        )

    def queue(self, request: Request) -> Response:
        """List the rows that pass the filters, and what was decided about any row."""
        asked = request.query_params
        decisions, state = self._session.decisions, asked.get("state", "")
        wanted = None
        if state:
            verdicts = VERDICTS if state in ("decided", "undecided") else (state,)
            wanted = {key for key, each in decisions.items() if each.decision in verdicts}
        rows = self._suspects.queue(
            kind=asked.get("kind", "suspects"),
            label=asked.get("label", ""),
            wanted=wanted,
            is_wanted=state != "undecided",
        )
        known = ((self._suspects.row_of(key), each) for key, each in decisions.items())
        decided = {row: _brief(each.decision, each.label, each.note) for row, each in known}
        return JSONResponse({"rows": rows, "decided": decided})

    def findings(self, request: Request) -> Response:
        """Send a few findings."""
        words = request.query_params.get("rows", "").split(",")[:_FINDINGS]
        if not all(word.isdecimal() for word in words):
            raise InputError("rows: expected numbers of findings, separated by commas")
        return JSONResponse(self._suspects.details([int(word[:12]) for word in words]))

    def classes(self, request: Request) -> Response:
        """Complete the name of a class."""
        return JSONResponse(self._suspects.classes(request.query_params.get("text", ""), _CLASSES))

    def find(self, request: Request) -> Response:
        """Find the row of an id, null where there is none."""
        return JSONResponse({"row": self._suspects.find(request.query_params.get("text", ""))})

    def decide(self, body: dict[str, Any]) -> dict[str, Any]:
        """Keep a decision."""
        row, verdict = body.get("row"), body.get("decision")
        label, note = body.get("label", ""), body.get("note", "")
        if type(row) is not int or not all(isinstance(each, str) for each in (label, note)):
            raise InputError("expected a number `row` and texts `decision`, `label`, `note`")
        if verdict not in VERDICTS:
            raise InputError(f"decision {verdict!r}: expected one of {', '.join(VERDICTS)}")
        self._session.decide(row, verdict, label, note)
        return self._with_counts({"row": row, "decision": _brief(verdict, label, note)})

    def undo(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take the last decision back and say what counts now."""
        row = self._session.undo()
        key = "" if row is None else self._suspects.id_of(row)
        earlier = self._session.decisions.get(key)
        brief = earlier and _brief(earlier.decision, earlier.label, earlier.note)
        return self._with_counts({"row": row, "decision": brief})

    def export(self, body: dict[str, Any]) -> dict[str, Any]:
        """Write the table of decisions."""
        return self._with_counts({"out": str(self._session.export())})

    def _with_counts(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {**facts, "counts": self._session.counts()}


def _taking(
    answer: Callable[[dict[str, Any]], dict[str, Any]],
) -> Callable[[Request], Any]:
    """Make an endpoint that reads a small JSON object and answers with one."""

    async def endpoint(request: Request) -> Response:
        body = await _body(request)
        return JSONResponse(await run_in_threadpool(answer, body))

    return endpoint


async def _body(request: Request) -> dict[str, Any]:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _LARGEST:
            raise HTTPException(413)
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InputError("expected a JSON object")
    return body


def _brief(verdict: str, label: str, note: str) -> dict[str, str]:
    return {"decision": verdict, "label": label, "note": note}


def _file(request: Request) -> Response:
    file = _FILES.get(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    return FileResponse(file)


def _explained(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)
