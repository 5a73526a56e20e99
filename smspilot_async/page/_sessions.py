"""Who asks: by a signed cookie, or by the header of a trusted proxy; and the token that an order needs beside it.

The key of the signatures is this process's own and is kept nowhere: a restart ends all sessions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async._tools import clock
from smspilot_async.page._people import Person

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from smspilot_async.page._people import People
    from smspilot_async.page._settings import PageSettings

__all__ = ["COOKIE", "TOKEN_HEADER", "Session", "Sessions"]

COOKIE: Final = "smspilot_page"
TOKEN_HEADER: Final = "x-csrf-token"  # noqa: S105 - a header's name
_LIFETIME: Final = 12 * 3600
_BEARER: Final = "Bearer "


@attrs.frozen
class Session:
    """A person, and the token that their page sends with each order.

    Attributes:
        mark: Of a session that a cookie carries; ``None`` where a proxy, or a secret in the request, says who it is.
    """

    person: Person
    token: str = attrs.field(repr=False)
    mark: str | None = attrs.field(default=None, repr=False)


class Sessions:
    """Begins, recognises and ends sessions."""

    def __init__(self, people: People, settings: PageSettings) -> None:
        self._people = people
        self._settings = settings
        self._key = secrets.token_bytes(32)
        self._ended: set[str] = set()

    def begin(self, secret: str, response: Response) -> Person | None:
        """Log the owner of a secret in, by a cookie in the response; return who that is."""
        person = self._people.by_secret(secret)
        if person is not None:
            until = int(clock.current().now().timestamp()) + _LIFETIME
            content = json.dumps([person.name, until, secrets.token_hex(16)])
            written = base64.urlsafe_b64encode(content.encode()).decode()
            response.set_cookie(
                COOKIE,
                f"{written}.{self._sign('session', written)}",
                max_age=_LIFETIME,
                httponly=True,
                samesite="strict",
                secure=self._settings.is_https,
            )
        return person

    def end(self, session: Session, response: Response) -> None:
        """Log out: the cookie means nothing any more, wherever a copy of it is."""
        if session.mark is not None:
            self._ended.add(session.mark)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=self._settings.is_https)

    def of(self, request: Request) -> Session | None:
        """Return the session that a request belongs to."""
        return self._by_proxy(request) or self._by_cookie(request.cookies.get(COOKIE, ""))

    def by_bearer(self, request: Request) -> Person | None:
        """Return whose secret the request carries itself, as a program's does."""
        given = request.headers.get("authorization", "")
        return self._people.by_secret(given.removeprefix(_BEARER)) if given.startswith(_BEARER) else None

    def _by_proxy(self, request: Request) -> Session | None:
        header = self._settings.proxy_header
        if header is None or request.client is None or request.client.host not in self._settings.proxies:
            return None
        names = request.headers.getlist(header)
        person = self._people.named(names[0]) if len(names) == 1 else None
        return None if person is None else Session(person, self._sign("proxy", person.name))

    def _by_cookie(self, cookie: str) -> Session | None:
        written, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", written).encode()):
            return None
        try:
            name, until, mark = json.loads(base64.urlsafe_b64decode(written))
        except (ValueError, binascii.Error):  # pragma: no cover - we have signed it
            return None
        person = self._people.named(name)
        if person is None or until < clock.current().now().timestamp() or mark in self._ended:
            return None
        return Session(person, self._sign("token", cookie), mark)

    def _sign(self, purpose: str, content: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{content}".encode(), hashlib.sha256).hexdigest()
