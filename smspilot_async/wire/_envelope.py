"""Wraps a document in an HTTP request: as its body, as a form field, or in the URL (API-2, "Transport")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlencode, urlsplit, urlunsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.wire.commands import WireFormat

RequestStyle: TypeAlias = Literal["body", "form", "query"]

_CONTENT_TYPE: Final[Mapping[str, str]] = {"json": "application/json; charset=utf-8", "xml": "text/xml"}
_LARGEST_BODY: Final = 1_000_000
_LONGEST_URL: Final = 6 * 1024
_FORM: Final = "application/x-www-form-urlencoded"


@attrs.frozen(repr=False)
class Envelope:
    """One HTTP request. Its ``repr`` shows no content, since the key is in the body or in the URL."""

    method: Literal["GET", "POST"]
    url: str = attrs.field(repr=False)  # some tools show what attrs would
    content_type: str | None
    body: bytes = attrs.field(repr=False)
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The key, or login and password, which no error may contain."""

    @property
    def is_too_large(self) -> bool:
        """Whether it is larger than gateways or proxies may accept; the gateway's own limits are not documented."""
        return len(self.body) > _LARGEST_BODY or len(self.url) > _LONGEST_URL

    def __repr__(self) -> str:
        return f"Envelope({self.method}, {len(self.body)} bytes)"


def wrap(
    document: bytes,
    *,
    url: str,
    wire: WireFormat,
    style: RequestStyle,
    parameters: Mapping[str, str],
    secrets: tuple[str, ...] = (),
) -> Envelope:
    """Wrap a document in a request.

    Args:
        document: What :func:`~smspilot_async.wire.encode` wrote.
        url: The gateway's endpoint.
        wire: The document's format; the content type is only a hint, the gateway detects the format itself.
        style: ``"body"``, ``"form"`` (field ``json`` or ``xml`` of a POST) or ``"query"`` (the same in a GET).
        parameters: URL parameters that any request may have: ``debug`` and ``r``.
        secrets: The credentials in the document.
    """
    if style == "query":
        return Envelope("GET", with_parameters(url, {**parameters, wire: document.decode()}), None, b"", secrets)
    target = with_parameters(url, parameters)
    if style == "form":
        return Envelope("POST", target, _FORM, urlencode([(wire, document)]).encode(), secrets)
    return Envelope("POST", target, _CONTENT_TYPE[wire], document, secrets)


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """Add parameters to the query of a URL."""
    if not parameters:
        return url
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit(parts._replace(query=query))
