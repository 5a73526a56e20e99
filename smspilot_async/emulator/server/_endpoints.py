"""The endpoints of the control API: who may ask, what the body is, and how a mistake is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from smspilot_async.emulator.server._arguments import Mistake
from smspilot_async.emulator.server._asgi import disconnected
from smspilot_async.emulator.server._http import PAGE_PATH
from smspilot_async.emulator.server._origin_guard import is_same_origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

Action: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Listing: TypeAlias = Callable[[dict[str, Any]], Awaitable[bytes]]
Waiting: TypeAlias = Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

LARGEST_BODY: Final = 1024 * 1024


async def _until_disconnected(work: Coroutine[Any, Any, dict[str, Any]], request: Request) -> dict[str, Any]:
    """The result of some work, which is cancelled if the client disconnects."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnected(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else {}
    finally:
        working.cancel()
        leaving.cancel()


def guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint that turns away pages from elsewhere, and says what was wrong with a request."""

    async def guard(request: Request) -> Response:
        if not is_same_origin(request):
            return _json({"error": "this page may not control the emulator"}, 403)
        try:
            return await endpoint(request)
        except Mistake as mistake:
            return _json({"error": str(mistake)}, mistake.status)

    return guard


def reading(action: Action) -> Endpoint:
    """An endpoint that answers a query at once."""

    async def endpoint(request: Request) -> Response:
        return _json(action(_asked(request)), 200)

    return guarded(endpoint)


def listing(action: Listing) -> Endpoint:
    """An endpoint that answers with a piece of a list."""

    async def endpoint(request: Request) -> Response:
        return Response(await action(_asked(request)), 200, media_type="application/json")

    return guarded(endpoint)


def waiting(action: Waiting) -> Endpoint:
    """An endpoint that answers when something has happened."""

    async def endpoint(request: Request) -> Response:
        return _json(await _until_disconnected(action(_asked(request)), request), 200)

    return guarded(endpoint)


def writing(action: Action, *, after: Callable[[], None] | None = None) -> Endpoint:
    """An endpoint that changes something; `after` is called in a thread, once the answer is written."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                return _json({"error": "the body is too large"}, 413)
        answer = _json(action({**_read(body), **request.path_params}), 200)
        if after is not None:
            answer.background = BackgroundTask(after)
        return answer

    return guarded(endpoint)


def _asked(request: Request) -> dict[str, Any]:
    return {**request.query_params, **request.path_params}


def _read(body: bytearray) -> dict[str, Any]:
    try:
        arguments = json.loads(body or b"{}")
    except json.JSONDecodeError as wrong:
        raise Mistake(f"the body is not JSON (line {wrong.lineno}, column {wrong.colno})") from None
    except (ValueError, RecursionError):  # bytes that are no text, or far too many brackets
        raise Mistake("the body is not JSON") from None
    if not isinstance(arguments, dict):
        raise Mistake('the body must be a JSON object, such as {"fault": "busy"}')
    return arguments


def nothing_there(path: str, routes: Sequence[Route]) -> Response:
    """Answer a request for a path that is not there with those that are."""
    known = [f"{_methods(route)[0]} {PAGE_PATH}{route.path}" for route in routes]
    return _json({"error": f"there is no {path}; there are {', '.join(known)}"}, 404)


def wrong_method(path: str, method: str, routes: Sequence[Route]) -> Response:
    """Answer a request that a path does not take with the methods that it does."""
    taken = [
        name for route in routes if route.path_regex.match(path.removeprefix(PAGE_PATH)) for name in _methods(route)
    ]
    answer = _json({"error": f"{path} takes {' or '.join(taken)}, not {method}"}, 405)
    answer.headers["Allow"] = ", ".join(taken)
    return answer


def _methods(route: Route) -> list[str]:
    return sorted((route.methods or set()) - {"HEAD"})


def _json(value: Any, status: int) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
