"""The page as an ASGI application: three static files, and calls of its script that look or order.

Every call but the login needs a person whose role is enough. Every order needs the token of their session beside it,
which no other page can read, and its actor in the log is that person.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from smspilot_async.errors import InvalidMessage, Outcome, SmsPilotError
from smspilot_async.outbox import (
    CampaignExists,
    CampaignMissing,
    CampaignStateError,
    LedgerUnavailable,
    OutboxError,
    UnexpectedCount,
)
from smspilot_async.page import _campaigns, _drafts, _now
from smspilot_async.page._calls import Call, Desk
from smspilot_async.page._guard import Guard
from smspilot_async.page._looks import Looks
from smspilot_async.page._people import Role
from smspilot_async.page._sessions import TOKEN_HEADER, Sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox
    from smspilot_async.page._people import People
    from smspilot_async.page._settings import PageSettings

__all__ = ["create_app"]

logger: Final = logging.getLogger("smspilot_async.page")

_LARGEST_ORDER: Final = 64 * 1024
_JSON: Final = "application/json"
_STATIC: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_LOOKS: Final[dict[str, Callable[[Call], Awaitable[Any]]]] = {
    "/api/now": _now.now,
    "/api/campaigns": _now.campaigns,
    "/api/campaign": _campaigns.campaign,
    "/api/preview": _campaigns.preview,
    "/api/messages": _campaigns.messages,
    "/api/count": _campaigns.count,
    "/report": _campaigns.report,
}
_ORDERS: Final[dict[str, tuple[Role, Callable[[Call], Awaitable[Any]]]]] = {
    "/api/halt": (Role.OPERATE, _now.halt),
    "/api/release": (Role.OPERATE, _now.release),
    "/api/create": (Role.OPERATE, _drafts.create),
    "/api/estimate": (Role.OPERATE, _campaigns.estimate),
    "/api/test": (Role.OPERATE, _campaigns.test),
    "/api/approve": (Role.APPROVE, _campaigns.approve),
    "/api/start": (Role.OPERATE, _campaigns.start),
    "/api/pause": (Role.OPERATE, _campaigns.pause),
    "/api/resume": (Role.OPERATE, _campaigns.resume),
    "/api/cancel": (Role.OPERATE, _campaigns.cancel),
    "/api/settle": (Role.OPERATE, _campaigns.settle),
    "/api/retry": (Role.OPERATE, _campaigns.retry),
}
_UPLOAD: Final = "/api/upload"


class _Refused(Exception):
    """A call that is not answered: its status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def create_app(outbox: Outbox, client: Client, people: People, settings: PageSettings) -> ASGIApp:
    """Return the page of an open ledger as an ASGI application.

    :func:`serve` serves it. Another server must not change the address of the connection by headers of a proxy
    (uvicorn: ``proxy_headers=False``), if `settings` trust one to name people.

    Args:
        outbox: Of the ledger, open for as long as the application is served.
        client: Of its account, open too: for prices, the balance, and tests to one's own phone.
        people: Who may use it.
        settings: Under which names it is served, and what an approval needs.
    """
    return _Page(outbox, client, people, settings).app


@attrs.define(init=False)
class _Page:
    desk: Desk
    sessions: Sessions
    app: ASGIApp

    def __init__(self, outbox: Outbox, client: Client, people: People, settings: PageSettings) -> None:
        self.desk = Desk(outbox, client, settings, Looks(), Path())
        self.sessions = Sessions(people, settings)
        routes = [Route(path, _static, methods=["GET"]) for path in _STATIC]
        routes += [
            Route("/api/login", self._answering(self._login), methods=["POST"]),
            Route("/api/logout", self._answering(self._logout), methods=["POST"]),
            Route("/api/me", self._answering(self._me), methods=["GET"]),
            Route("/metrics", self._answering(self._metrics), methods=["GET"]),
            Route(_UPLOAD, self._answering(self._upload), methods=["POST"]),
        ]
        routes += [Route(path, self._answering(self._look), methods=["GET"]) for path in _LOOKS]
        routes += [Route(path, self._answering(self._order), methods=["POST"]) for path in _ORDERS]
        self.app = Guard(Starlette(routes=routes, lifespan=self._lifespan), settings)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="smspilot-page-")  # 0700
        self.desk.folder = Path(folder.name)
        try:
            yield
        finally:
            await asyncio.to_thread(folder.cleanup)

    def _answering(self, handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except _Refused as refused:
                return JSONResponse({"error": str(refused)}, refused.status)
            except (SmsPilotError, ValueError, ImportError) as error:
                return JSONResponse({"error": _sentence(str(error)), "outcome": _outcome(error)}, _status(error))

        return answer

    # --- who -------------------------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        secret = (await _fields(request)).get("secret")
        response = JSONResponse({})
        person = self.sessions.begin(secret, response) if isinstance(secret, str) else None
        if person is None:
            logger.warning("somebody tried to log in with a wrong secret")
            raise _Refused(401, "no one has this secret")
        return response

    async def _logout(self, request: Request) -> Response:
        session = self._session(request)
        self._check_token(request, session.token)
        response = JSONResponse({})
        self.sessions.end(session, response)
        return response

    async def _me(self, request: Request) -> Response:
        session = self.sessions.of(request)
        if session is None:
            return JSONResponse({"name": None})
        seen = await _now.overview(self.desk)
        return JSONResponse(
            {
                "name": session.person.name,
                "role": session.person.role.value,
                "token": session.token,
                "by_proxy": session.mark is None,
                "account": seen.account_id,
                "endpoint": seen.endpoint,
                "is_test": seen.is_test,
                "second_person": self.desk.settings.second_person,
            }
        )

    def _session(self, request: Request) -> Any:
        session = self.sessions.of(request)
        if session is None:
            raise _Refused(401, "log in first")
        return session

    @staticmethod
    def _check_token(request: Request, token: str) -> None:
        if request.headers.get(TOKEN_HEADER) != token:
            raise _Refused(403, "the order came without this page's token; load the page again")

    def _ordering(self, request: Request, role: Role) -> Any:
        session = self._session(request)
        self._check_token(request, session.token)
        if not session.person.role.includes(role):
            raise _Refused(403, f"this needs the role {role}; {session.person.name} has the role {session.person.role}")
        return session

    # --- what ------------------------------------------------------------------------------------

    async def _look(self, request: Request) -> Response:
        session = self._session(request)
        call = Call(self.desk, session.person, request, dict(request.query_params))
        answer = await _LOOKS[request.url.path](call)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    async def _order(self, request: Request) -> Response:
        role, order = _ORDERS[request.url.path]
        session = self._ordering(request, role)
        call = Call(self.desk, session.person, request, await _fields(request))
        try:
            return JSONResponse(await order(call))
        finally:
            self.desk.looks.forget()

    async def _upload(self, request: Request) -> Response:
        session = self._ordering(request, Role.OPERATE)
        call = Call(self.desk, session.person, request, dict(request.query_params))
        return JSONResponse(await _drafts.upload(call))

    async def _metrics(self, request: Request) -> Response:
        if self.sessions.by_bearer(request) is None:
            self._session(request)
        return await _now.metrics(self.desk)


async def _static(request: Request) -> Response:
    content, kind = await asyncio.to_thread(_read, request.url.path)
    return Response(content, headers={"content-type": kind})


@cache
def _read(path: str) -> tuple[bytes, str]:
    name, kind = _STATIC[path]
    return resources.files("smspilot_async.page").joinpath("static", name).read_bytes(), kind


async def _fields(request: Request) -> dict[str, Any]:
    """Return the JSON object in a body: no form of another page can send one."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
        raise _Refused(415, "an order is JSON")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_ORDER:
            raise _Refused(413, "the order is too large")
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise _Refused(400, "an order is a JSON object")
    return fields


def _status(error: Exception) -> int:
    match error:
        case CampaignMissing():
            return 404
        case CampaignStateError() | CampaignExists() | UnexpectedCount():
            return 409
        case LedgerUnavailable():
            return 503
        case InvalidMessage() | OutboxError() | ValueError() | ImportError():
            return 400
        case _:
            return 502


def _outcome(error: Exception) -> str | None:
    """Return whether a message was sent, where the gateway was asked to send one."""
    if not isinstance(error, SmsPilotError) or isinstance(error, OutboxError) or error.outcome is Outcome.NOT_SENT:
        return None
    return error.outcome.value


def _sentence(line: str) -> str:
    return line if line.endswith(".") else f"{line}."
