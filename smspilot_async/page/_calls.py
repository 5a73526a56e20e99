"""A call of the page's script: who, and with which fields, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.requests import Request

from smspilot_async import Client
from smspilot_async.outbox import Outbox
from smspilot_async.page._looks import Looks
from smspilot_async.page._people import Person
from smspilot_async.page._settings import PageSettings

if TYPE_CHECKING:
    from smspilot_async.outbox import Campaign

__all__ = ["Call", "Desk"]

_LONGEST: Final = 5_000


@attrs.define
class Desk:
    """What the page works with.

    Attributes:
        folder: Its own, for lists that were uploaded and reports that are fetched.
        failures: Why imports in the background ended, by campaign.
    """

    outbox: Outbox
    client: Client
    settings: PageSettings
    looks: Looks
    folder: Path
    failures: dict[str, str] = attrs.Factory(dict)


@attrs.frozen
class Call:
    """One call.

    Attributes:
        fields: Of the query, or of the JSON in the body.
    """

    desk: Desk
    person: Person
    request: Request
    fields: Mapping[str, Any]

    async def campaign(self) -> Campaign:
        """Return the campaign that the call is about."""
        return await self.desk.outbox.campaigns.get(self.text("name"))

    def text(self, name: str) -> str:
        """Return a field that must be there."""
        value = self.optional_text(name)
        if value is None:
            raise ValueError(f"{name} is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, or ``None`` if it is empty."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise ValueError(f"{name} is a text of {_LONGEST} characters at most")
        return value.strip() or None

    def whole(self, name: str, *, least: int = 1) -> int:
        """Return a whole number that must be there."""
        value = self.optional_whole(name, least=least)
        if value is None:
            raise ValueError(f"{name} is missing")
        return value

    def optional_whole(self, name: str, *, least: int = 1) -> int | None:
        """Return a whole number; a text of digits is one, too."""
        value = self.fields.get(name)
        if value in {None, ""}:
            return None
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 16:  # noqa: PLR2004
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is a whole number from {least} up")
        return value

    def amount(self, name: str) -> Decimal | None:
        """Return a decimal number above 0, with a point or a comma."""
        written = self.optional_text(name)
        if written is None:
            return None
        try:
            value = Decimal(written.replace(",", "."))
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or value <= 0:
            raise ValueError(f"{name} is a number above 0")
        return value

    def flag(self, name: str) -> bool:
        """Return whether a box is ticked."""
        return self.fields.get(name) is True
