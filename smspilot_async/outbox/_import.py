"""Importing a list into a campaign: a stream, in chunks, each of which is one transaction.

A chunk writes its messages, its bad rows, and how far the list was taken. So a killed import continues from there,
if it is given the same list again: what was taken already is read past, and compared by a running hash. Two imports of
one campaign cannot mix: each chunk begins by moving ``taken`` on from where it thinks it is.

A row that repeats an earlier one is dropped and counted. What it may not repeat is its message's ``key``, a salted
hash, so that the ledger itself refuses a second one, however the rows came in.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.errors import InvalidMessage
from smspilot_async.models import Message
from smspilot_async.outbox._campaign_rows import campaign_row, move
from smspilot_async.outbox._errors import CampaignExists, CampaignStateError
from smspilot_async.outbox._ledger import SECOND, content_hash
from smspilot_async.outbox._lists import ListRows
from smspilot_async.outbox._rows import BadRow, Composer, Row
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import CampaignEvent, CampaignState
from smspilot_async.outbox._template import mixed_words

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._campaign_rows import Access
    from smspilot_async.outbox._campaign_settings import CampaignSettings

__all__ = ["FIRST_CLAIM", "Counts", "import_rows"]

AT_ONCE: Final = 500
"""Rows of a chunk: about ten milliseconds of computing, and of waiting for other writers of a SQLite ledger."""
FIRST_CLAIM: Final = 2**62
"""``wanted_at`` of messages that wait for their campaign: they are given up some time after their first claim."""
_SAMPLES: Final = 5
_LINES_KEPT: Final = 20
_PAIR: Final = 2
_COLUMNS: Final = (
    *("stream_id", "due", "wanted_at", "phone", "text", "hash", "sender", "ttl", "callback", "callback_method"),
    *("send_at", "key", "line", "parts", "extra", "created_at"),
)
_OWN_KEYS: Final = "\x1f"  # no application's key begins with it by chance


@attrs.define
class Counts:
    """What an import met, kept in the campaign's row as JSON.

    Attributes:
        rows: Of the list, all of them.
        bad: Rows that make no message.
        duplicates: Rows that repeat an earlier one.
        messages: Those that were written.
        parts: SMS of all messages.
        groups: Messages by ``country/parts``.
        samples: Some lines of each of these groups.
        zones: Messages by zone; ``""`` where the campaign has one for all.
        longest: The line of the message with most characters, and how many those are.
        mixed: Messages in which a Latin letter touches a Cyrillic one; ``mixed_lines`` are the first of them.
    """

    rows: int = 0
    bad: int = 0
    duplicates: int = 0
    messages: int = 0
    parts: int = 0
    groups: Counter[str] = attrs.field(factory=Counter, converter=Counter)
    samples: dict[str, list[int]] = attrs.field(factory=dict)
    zones: Counter[str] = attrs.field(factory=Counter, converter=Counter)
    longest: list[int] = attrs.field(factory=lambda: [0, 0])
    mixed: int = 0
    mixed_lines: list[int] = attrs.field(factory=list)

    @classmethod
    def from_json(cls, written: str) -> Counts:
        """Return what :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(written)
        return cls(**fields)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(attrs.asdict(self))

    def add(self, row: Row) -> None:
        """Count a message."""
        group = f"{row.country or '?'}/{row.size.parts}"
        self.messages += 1
        self.parts += row.size.parts
        self.groups[group] += 1
        self.zones[row.zone] += 1
        if len(lines := self.samples.setdefault(group, [])) < _SAMPLES:
            lines.append(row.line)
        if len(row.message.text) > self.longest[1]:
            self.longest = [row.line, len(row.message.text)]
        if mixed_words(row.message.text):
            self.mixed += 1
            if len(self.mixed_lines) < _LINES_KEPT:
                self.mixed_lines.append(row.line)


def _insert_of(access: Access) -> str:
    marks = ", ".join(["?" if access.dialect == "sqlite" else "%s"] * len(_COLUMNS))
    return f"INSERT INTO {access.tables.message.fullname} ({', '.join(_COLUMNS)}) VALUES ({marks})"


class Importer:
    """One import of a list into a campaign that is ``importing``.

    Args:
        access: To the ledger.
        settings: The campaign's.
        row: Its row.
        actor: Who imports.
    """

    def __init__(self, access: Access, settings: CampaignSettings, row: Any, actor: str) -> None:
        self._access = access
        self._tables = access.tables
        self._settings = settings
        self._composer: Composer | None = None
        self._id: int = row["id"]
        self._name: str = row["name"]
        self._actor = actor
        self._taken: int = row["taken"]
        self._hash: bytes = bytes(row["taken_hash"] or b"")
        self._counts = Counts.from_json(row["counts"])
        self._first_id: int = row["first_id"]
        self._streams: dict[tuple[str, str], int] = {}
        self._insert = _insert_of(access)

    async def take(self, rows: AsyncIterable[Any]) -> None:
        """Take a list, from where an earlier import stood.

        Raises:
            CampaignExists: It is not the list that was being imported.
            CampaignStateError: Somebody else imports into the same campaign, or has cancelled it.
        """
        numbered = _numbered(rows)
        await self._read_past(numbered)
        chunk: list[tuple[int, Any]] = []
        async for pair in numbered:
            chunk.append(pair)
            if len(chunk) == AT_ONCE:
                await self._write(chunk)
                chunk = []
        await self._write(chunk, is_last=True)

    async def _read_past(self, numbered: AsyncIterator[tuple[int, Any]]) -> None:
        """Read past what was taken before, and check that it is the same."""
        digest, taken = b"", 0
        while taken < self._taken:
            pair = await anext(numbered, None)
            if pair is None:
                break
            digest = _chained(digest, *pair)
            taken += 1
        if taken < self._taken or digest != self._hash:
            raise CampaignExists(
                f"campaign {self._name!r} is being imported from another list: its first {self._taken} rows differ. "
                "Nothing was changed. Go on with the same list, or cancel the campaign and give the new one a new name."
            )

    async def _write(self, chunk: list[tuple[int, Any]], *, is_last: bool = False) -> None:
        composed, digest = await asyncio.to_thread(self._composed, chunk)  # it may read files, of time zones
        counts = Counts.from_json(self._counts.to_json())  # an unwritten chunk has counted nothing
        async with self._access.writing() as connection:
            await self._move_on(connection, self._taken + len(chunk), digest)
            counts.rows += len(chunk)
            await self._write_bad(connection, composed, counts)
            first_id, last_id = await self._write_good(connection, composed, counts)
            values = {"counts": counts.to_json(), "first_id": first_id, "last_id": last_id}
            await self._update(connection, values)
            if is_last:
                await self._end(connection, counts)
        self._taken, self._hash, self._counts, self._first_id = self._taken + len(chunk), digest, counts, first_id

    def _composed(self, chunk: list[tuple[int, Any]]) -> tuple[list[Row | BadRow], bytes]:
        """Return what the rows of a chunk make, and the running hash after them."""
        self._composer = composer = self._composer or Composer(self._settings)
        digest = self._hash
        for pair in chunk:
            digest = _chained(digest, *pair)
        return [composer.compose(line, item) for line, item in chunk], digest

    async def _move_on(self, connection: AsyncConnection, taken: int, digest: bytes) -> None:
        campaign = self._tables.campaign
        moved = await connection.execute(
            sa.update(campaign)
            .where(
                campaign.c.id == self._id,
                campaign.c.state == CampaignState.IMPORTING.value,
                campaign.c.taken == self._taken,
            )
            .values(taken=taken, taken_hash=digest)
        )
        if not moved.rowcount:
            row = await campaign_row(connection, self._tables, id=self._id)
            doing = "is imported by another process too" if row["state"] == "importing" else f"is {row['state']} now"
            raise CampaignStateError(f"campaign {self._name!r} {doing}. This import ends here; nothing was sent.")

    async def _update(self, connection: AsyncConnection, values: Mapping[str, Any]) -> None:
        campaign = self._tables.campaign
        await connection.execute(sa.update(campaign).where(campaign.c.id == self._id).values(**values))

    async def _end(self, connection: AsyncConnection, counts: Counts) -> None:
        await move(
            connection,
            self._tables,
            await self._access.now(connection),
            campaign_id=self._id,
            event=CampaignEvent.IMPORTED,
            actor=self._actor,
            count=counts.messages,
        )

    async def _write_bad(self, connection: AsyncConnection, composed: list[Row | BadRow], counts: Counts) -> None:
        bad = [attrs.asdict(row) | {"campaign_id": self._id} for row in composed if isinstance(row, BadRow)]
        counts.bad += len(bad)
        if bad:
            await connection.execute(sa.insert(self._tables.bad_row), bad)

    async def _write_good(
        self, connection: AsyncConnection, composed: list[Row | BadRow], counts: Counts
    ) -> tuple[int, int]:
        """Write the messages, and return between which numbers all of the campaign's lie."""
        message = self._tables.message
        rows = await self._without_repeats(connection, [row for row in composed if isinstance(row, Row)], counts)
        highest = sa.select(sa.func.coalesce(sa.func.max(message.c.id), 0))
        before: int = (await connection.execute(highest)).scalar_one()
        if rows:
            now = await self._access.now(connection)
            values = [await self._values(connection, key, row, now) for key, row in rows.items()]
            await connection.exec_driver_sql(self._insert, values)  # without what SQLAlchemy does for each row
        for row in rows.values():
            counts.add(row)
        return self._first_id or before + 1, (await connection.execute(highest)).scalar_one()

    async def _without_repeats(self, connection: AsyncConnection, rows: list[Row], counts: Counts) -> dict[str, Row]:
        """Return the rows that repeat none, by their keys."""
        message = self._tables.message
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(self._key(row), row)
        if first:
            known = await connection.execute(sa.select(message.c.key).where(message.c.key.in_(first)))
            for (key,) in known:
                del first[key]
        counts.duplicates += len(rows) - len(first)
        return first

    def _key(self, row: Row) -> str:
        salt, message = self._access.salt, row.message
        match self._settings.unique:
            case "phone":
                what = content_hash(salt, message.to, "").hex()
            case "text":
                what = content_hash(salt, message.to, message.text).hex()
            case _:
                what = str(row.line)
        return f"{_OWN_KEYS}{self._id}:{what}"

    async def _values(self, connection: AsyncConnection, key: str, row: Row, now: int) -> tuple[Any, ...]:
        """Return a message's :data:`_COLUMNS`."""
        message = row.message
        send_at = None if message.send_at is None else int(message.send_at.timestamp() * SECOND)
        is_handed_over = self._settings.scheduled_by == "gateway"
        return (
            await self._stream(connection, row.zone, row.kind),
            now if send_at is None or is_handed_over else send_at,
            FIRST_CLAIM,
            message.to,
            message.text,
            content_hash(self._access.salt, message.to, message.text),
            message.sender,
            message.ttl,
            message.callback,
            message.callback_method,
            send_at if is_handed_over else None,
            key,
            row.line,
            row.size.parts,
            row.extra,
            now,
        )

    async def _stream(self, connection: AsyncConnection, zone: str, kind: str) -> int:
        """Return the stream of a zone and a kind; it is made at its first row."""
        if (zone, kind) not in self._streams:
            stream = self._tables.stream
            fields = {"campaign_id": self._id, "lane": KINDS[kind], "zone": zone}
            query = sa.select(stream.c.id).where(*(stream.c[name] == value for name, value in fields.items()))
            known = (await connection.execute(query)).scalar_one_or_none()
            if known is None:
                made = await connection.execute(sa.insert(stream).values(**fields).returning(stream.c.id))
                known = made.scalar_one()
            self._streams[zone, kind] = known
        return self._streams[zone, kind]


async def import_rows(
    access: Access, settings: CampaignSettings, row: Any, rows: Iterable[Any] | AsyncIterable[Any], actor: str
) -> None:
    """Import a list into a campaign; see :meth:`Importer.take`."""
    await Importer(access, settings, row, actor).take(rows if isinstance(rows, AsyncIterable) else _stream_of(rows))


async def _stream_of(rows: Iterable[Any]) -> AsyncIterator[Any]:
    if not isinstance(rows, ListRows):
        for row in rows:
            yield row
        return
    loop, read = asyncio.get_running_loop(), iter(rows)
    thread = ThreadPoolExecutor(1, "smspilot list")  # always the same one: drivers of databases may insist on that
    try:
        while chunk := await loop.run_in_executor(thread, lambda: list(itertools.islice(read, AT_ONCE))):
            for row in chunk:
                yield row
    finally:
        thread.shutdown(wait=False)


async def _numbered(rows: AsyncIterable[Any]) -> AsyncIterator[tuple[int, Any]]:
    """Yield rows with their lines: those that the list gives, ``(line, row)``, or counted from 1."""
    position = 0
    async for row in rows:
        position += 1
        if _has_line(row):
            yield row[0], row[1]
        else:
            yield position, row


def _has_line(row: Any) -> bool:
    return (
        isinstance(row, tuple)
        and len(row) == _PAIR
        and type(row[0]) is int
        and isinstance(row[1], (Mapping, Message, InvalidMessage))
    )


def _chained(digest: bytes, line: int, item: Any) -> bytes:
    """Return the running hash of a list, a row further on."""
    if isinstance(item, Message):
        item = attrs.asdict(item)
    elif isinstance(item, Mapping):
        item = {str(name): value for name, value in item.items()}
    try:
        written = json.dumps([line, item], default=str, sort_keys=True)
    except (TypeError, ValueError, RecursionError):  # it makes a bad row, whatever it is
        written = f"{line} {type(item).__name__}"
    return hashlib.sha256(digest + written.encode()).digest()
