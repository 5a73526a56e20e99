"""A ledger seen from inside, the same for both databases."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from smspilot_async import Message
from smspilot_async._tools.clock import boot_time
from smspilot_async.outbox import _ledger
from smspilot_async.outbox._ledger import SECOND, Answer, Claim, ClaimRequest, MessageAnswer
from smspilot_async.outbox._request import send_once
from smspilot_async.outbox._schema import MARKETING
from smspilot_async.outbox._states import Event, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox

PHONE = "79087964781"


class Desk:
    """The ledger of an outbox.

    Attributes:
        hot: Its hot path, opened by the fixture.
    """

    def __init__(self, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outbox = outbox
        self.tables = outbox._tables
        self.hot = outbox._hot_path()
        self._numbers = itertools.count(1)
        self._shift = 0
        self._monkeypatch = monkeypatch

    async def execute(self, statement: Any) -> list[Any]:
        """Execute a statement, committed, and return its rows."""
        async with self.outbox._writing() as connection:
            result = await connection.execute(sa.text(statement) if isinstance(statement, str) else statement)
            return list(result.all()) if result.returns_rows else []

    async def row(self, id_: int) -> Any:
        message = self.tables.message
        return (await self.execute(sa.select(message).where(message.c.id == id_)))[0]

    async def turn(self, seconds: float) -> None:
        """Turn the ledger's clock forward."""
        self._shift += int(seconds * SECOND)
        if self.outbox._dialect == "sqlite":
            shift = self._shift
            self._monkeypatch.setattr(_ledger, "now_us", lambda: time.time_ns() // 1000 + shift)
        else:
            await self.execute(
                "CREATE OR REPLACE FUNCTION smspilot.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS "
                f"$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + {self._shift} $$".replace(
                    ":", "\\:"
                )
            )

    async def pending(self, text: str = "Hello", *, kind: Any = "service", **more: Any) -> int:
        """Enqueue a message, and return its number."""
        key = f"key-{next(self._numbers)}"
        return (await self.outbox.enqueue(Message(PHONE, text), key=key, kind=kind, **more)).id

    async def campaign(
        self, name: str = "promo", *, rows: int = 0, zones: Sequence[str] = ("",), **columns: Any
    ) -> int:
        """A running campaign with so many messages in each zone, and return its number."""
        now = await self.now()
        settings = json.dumps(columns.pop("settings", {}))
        values = {"name": name, "state": "running", "created_at": now, "settings": settings, **columns}
        campaign, stream = self.tables.campaign, self.tables.stream
        number: int = (await self.execute(sa.insert(campaign).values(**values).returning(campaign.c.id)))[0][0]
        for zone in zones:
            values = {"campaign_id": number, "lane": MARKETING, "zone": zone}
            inserted = await self.execute(sa.insert(stream).values(**values).returning(stream.c.id))
            await self.fill(inserted[0][0], rows)
        return number

    async def fill(self, stream: int | Sequence[int], rows: int, **columns: Any) -> None:
        """Write messages into a stream, or into each of several, each to a phone of its own."""
        streams = [stream] if isinstance(stream, int) else stream
        now = await self.now()
        values = [
            {
                "stream_id": stream_id,
                "due": now,
                "wanted_at": now,
                "phone": f"7908{number:07d}",
                "text": f"Text {number}",
                "hash": number.to_bytes(16, "big"),
                "created_at": now,
                **columns,
            }
            for stream_id in streams
            for number in itertools.islice(self._numbers, rows)
        ]
        if values:
            async with self.outbox._writing() as connection:
                await connection.execute(sa.insert(self.tables.message), values)

    async def now(self) -> int:
        async with self.outbox._reading() as connection:
            return await self.outbox._now(connection)

    async def of_campaign(self, number: int) -> Any:
        campaign = self.tables.campaign
        return (await self.execute(sa.select(campaign).where(campaign.c.id == number)))[0]

    async def states(self) -> dict[str, int]:
        """How many messages stand in each state."""
        return {name: count for name, count in (await self.outbox.status()).messages.items() if count}

    async def claim(self, size: int = 100, *, token: str | None = None, lease: float = 60, **more: Any) -> Claim:
        token = token or f"token-{next(self._numbers)}"
        request = ClaimRequest(token=token, sender="desk", size=size, lease=int(lease * SECOND), **more)
        return await self.hot.claim(request)

    async def send(self, client: Client, id_: int, text: str, *, token: str) -> None:
        """Send a message of an attempt, and record nothing."""
        message, salt = Message(PHONE, text, id=id_), self.outbox._row.salt
        await send_once(client, [message], token=token, salt=salt, not_after=boot_time() + 10)

    async def record(self, attempt: int | None, *rows: MessageAnswer, give_up_after: float = 86_400) -> None:
        assert attempt is not None
        give_up = int(give_up_after * SECOND)
        await self.hot.record(
            Answer(attempt_id=attempt, outcome="answered", evidence=None, rows=rows, give_up_after=give_up)
        )

    async def in_state(self, state: State) -> tuple[int, int]:
        """A message that stands in a state, and the attempt that brought it there, or holds it."""
        id_ = await self.pending()
        claim = await self.claim()
        attempt = claim.attempt_id
        assert attempt is not None
        match state:
            case State.PENDING:
                await self.record(attempt, MessageAnswer(id=id_, event=Event.PUT_BACK))
            case State.IN_FLIGHT:
                pass
            case State.NOT_SENT:
                await self.record(attempt, MessageAnswer(id=id_, event=Event.PUT_BACK), give_up_after=0)
            case State.ACCEPTED:
                await self.record(attempt, accepted(id_, "1"))
            case State.REFUSED:
                await self.record(attempt, MessageAnswer(id=id_, event=Event.REFUSED, code=111))
            case State.UNKNOWN:
                await self.record(attempt, MessageAnswer(id=id_, event=Event.UNANSWERED, reason="timeout"))
        assert (await self.row(id_)).state == state.value
        return id_, attempt


def accepted(id_: int, server_id: str) -> MessageAnswer:
    return MessageAnswer(id=id_, event=Event.ACCEPTED, server_id=server_id, parts=1, status=0)
