"""The server of a study: hands out the page and takes votes, and trusts nothing that a browser sends."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import uvicorn
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecdm.study.page import ASSETS, IMAGES, PAGE, QUESTIONS
from ecdm.study.plan import ID_LENGTH, PLAN, Plan, opaque
from ecdm.study.votes import VOTES, Vote, Votes

COOKIE, COOKIE_SECONDS = "participant", 365 * 24 * 3600
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODY_LIMIT = 1024
CLOSING_SECONDS = 5
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Nothing but the study's own files runs, shows or is asked for: a caption cannot become a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    # Pictures too: a study built anew with the same seed has other ones under the same names.
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Ballot(BaseModel):
    """What a browser sends."""

    model_config = ConfigDict(extra="forbid", strict=True)
    question: Identifier
    option: Identifier


class SafeHeaders:
    """Adds the headers that confine the page to every response, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, confined)


class Study:
    """The routes of one study. Raises: as `Plan.read` and `Votes`; FileNotFoundError for a page that is not whole."""

    def __init__(self, folder: Path) -> None:
        self.plan = Plan.read(folder / PLAN)
        page = folder / PAGE
        pictures = [name for q in self.plan.questions for name in (q.input, *(option.id for option in q.options))]
        names = [*ASSETS, QUESTIONS, *(f"{IMAGES}/{name}.png" for name in pictures)]
        # The only paths there are: whatever else lies in the folder, the plan above all, has no address.
        self.files = {f"/{name}": page / name for name in names}
        for path in self.files.values():
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file; run `ecdm study build` again")
        self.votes = Votes(folder / VOTES, self.plan)

    def routes(self) -> list[Route]:
        """Page, files, and a participant's votes."""
        return [
            Route("/", self.index, methods=["GET"]),
            Route("/votes", self.mine, methods=["GET"]),
            Route("/votes", self.vote, methods=["POST"]),
            Route("/{name:path}", self.file, methods=["GET"]),
        ]

    def index(self, request: Request) -> Response:
        """The page; whoever comes without a valid cookie gets one."""
        response = self._response("/index.html")
        if self._participant(request) is None:
            token = self._signed(secrets.token_urlsafe(32))
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, token, max_age=COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
        return response

    def file(self, request: Request) -> Response:
        """A file of the page."""
        path = f"/{request.path_params['name']}"
        if path not in self.files:
            raise HTTPException(404, "no such page")
        return self._response(path)

    def mine(self, request: Request) -> Response:
        """The participant's votes so far."""
        return JSONResponse({"votes": self.votes.of(self._required(request))})

    async def vote(self, request: Request) -> Response:
        """Take one vote; 400 for another form, 401 without a cookie of ours, 403 from elsewhere, 404 unknown ids,
        413 too long, 415 no JSON."""
        _require_same_origin(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "expected application/json")
        participant = self._required(request)
        try:
            ballot = Ballot.model_validate_json(await _body(request))
        except ValidationError as error:
            raise HTTPException(400, "expected question and option, both ids") from error
        try:
            await run_in_threadpool(self.votes.cast, Vote(participant, ballot.question, ballot.option))
        except LookupError as error:
            raise HTTPException(404, str(error)) from error
        return JSONResponse({"saved": True})

    def _response(self, path: str) -> Response:
        # Neither date nor entity tag: the order in which pictures were written is nobody's business.
        return Response(self.files[path].read_bytes(), media_type=TYPES[Path(path).suffix])

    def _signed(self, number: str) -> str:
        # A cookie that proves itself: nobody need be stored before the first vote, and none can be made up.
        return number + opaque(self.plan.settings.seed, "participant", number)

    def _participant(self, request: Request) -> str | None:
        token = request.cookies.get(COOKIE, "")
        expected = self._signed(token[:-ID_LENGTH])
        return token if secrets.compare_digest(token.encode(), expected.encode()) else None

    def _required(self, request: Request) -> str:
        participant = self._participant(request)
        if participant is None:
            raise HTTPException(401, "open the study's first page again")
        return participant


def make_app(folder: Path, hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """The study in `folder` as an ASGI application that answers to the names in `hosts` alone.

    While its database is locked or cannot be written, requests that need it get 503. Raises: as `Study`.
    """
    # An unknown name in the Host header is the mark of DNS rebinding: another site under our address.
    guards = [
        Middleware(SafeHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
    ]
    handlers = {HTTPException: _refusal, sqlite3.OperationalError: _unavailable}
    return Starlette(routes=Study(folder).routes(), middleware=guards, exception_handlers=handlers)


def serve(folder: Path, host: str, port: int, names: Sequence[str] = ()) -> None:
    """Serve the study in `folder` until interrupted; print the link. `port` 0 takes a free one.

    `names`: further host names under which participants reach it. Raises: as `make_app`; ValueError for an
    address that cannot be had, and for one beyond this machine without a name.
    """
    hosts = allowed_hosts(host, names)
    app = make_app(folder, hosts)
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    print(f"Study: http://{shown}:{listener.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
    with listener:
        uvicorn.Server(settings).run(sockets=[listener])


def allowed_hosts(host: str, names: Sequence[str]) -> list[str]:
    """Host names to answer to: this machine's loopback names, the address listened on, and `names`."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", name):
            raise ValueError(f"--allow-host: found {name!r}, expected a host name without port")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return [*LOOPBACK, host, *names]
    if address.is_unspecified:
        if not names:
            raise ValueError(f"--host: found {host}, every address, expected --allow-host with the name in the link")
        return [*LOOPBACK, *names]
    return [*LOOPBACK, f"[{address}]" if address.version == 6 else str(address), *names]


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise ValueError(f"--port: found {port}, expected 0 to 65535")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ValueError(f"--port: found {port} on {host} that cannot be had, expected a free one ({error})") from error


def _require_same_origin(request: Request) -> None:
    """Refuse what another site's page makes a browser send (cross-site request forgery)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if site not in (None, "same-origin") or not ours:
        raise HTTPException(403, "expected a request from the study's own page")


async def _body(request: Request) -> bytes:
    """The body, read no further than the limit, whatever length the headers claim."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"expected at most {BODY_LIMIT} bytes")
    return body


def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _unavailable(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "the votes cannot be read or written now"}, 503)
