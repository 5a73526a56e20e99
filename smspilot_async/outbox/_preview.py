"""A campaign's messages as people would get them: some at random, the longest, and what second parts cost."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.outbox._campaign_rows import messages_of
from smspilot_async.outbox._estimate import Estimate
from smspilot_async.outbox._import import Counts
from smspilot_async.outbox._template import mixed_words
from smspilot_async.text import measure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspilot_async.outbox._campaign_rows import Access

__all__ = ["Preview", "PreviewRow", "a_row", "preview"]

_MOST_MIXED: Final = 20


@attrs.frozen(kw_only=True)
class PreviewRow:
    """A message as it would be sent.

    Attributes:
        line: Of the list.
        to, text, sender: The phone, the text, and the sender name, ``None`` for the account's default.
        parts: SMS.
    """

    line: int
    to: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    sender: str | None
    parts: int


@attrs.frozen(kw_only=True)
class Preview:
    """A campaign's messages as people would get them.

    Attributes:
        rows: Some at random, in the order of the list.
        longest: The one with the longest text; ``None`` if there is no message.
        long_messages: Messages of more than one part.
        further_parts: SMS beyond the first of each of these, and
        further_price: roubles that they cost, by the last estimate; ``None`` without one.
        mixed: The first messages in which a word has Latin and Cyrillic letters (248): line, and such words.
    """

    rows: tuple[PreviewRow, ...]
    longest: PreviewRow | None
    long_messages: int
    further_parts: int
    further_price: Decimal | None
    mixed: tuple[tuple[int, tuple[str, ...]], ...]


async def preview(access: Access, row: Any, number: int, seed: int | None) -> Preview:
    """Return a preview of a campaign."""
    counts = Counts.from_json(row["counts"])
    longest = await _at_lines(access, row, counts.longest[:1])
    mixed = await _at_lines(access, row, counts.mixed_lines[:_MOST_MIXED])
    groups = [(group, int(group.partition("/")[2]), many) for group, many in counts.groups.items()]
    return Preview(
        rows=await _at_random(access, row, number, seed),
        longest=longest[0] if longest else None,
        long_messages=sum(many for _, parts, many in groups if parts > 1),
        further_parts=sum((parts - 1) * many for _, parts, many in groups),
        further_price=_further_price(row["estimate"], groups),
        mixed=tuple((one.line, tuple(mixed_words(one.text))) for one in mixed),
    )


async def a_row(access: Access, row: Any, line: int | None) -> PreviewRow | None:
    """Return a message of a campaign: that of a line, or one at random."""
    found = await _at_random(access, row, 1, None) if line is None else await _at_lines(access, row, [line])
    return found[0] if found else None


def _further_price(estimate: str | None, groups: Iterable[tuple[str, int, int]]) -> Decimal | None:
    if estimate is None:
        return None
    prices = Estimate.from_json(estimate).prices
    total = Decimal(0)
    for group, parts, many in groups:
        if group not in prices:
            return None
        total += prices[group] * many * (parts - 1) / parts
    return total.quantize(Decimal("0.01"))


async def _at_random(access: Access, row: Any, number: int, seed: int | None) -> tuple[PreviewRow, ...]:
    """Return some messages at random, each once."""
    message = access.tables.message
    choose = random.Random(seed)  # noqa: S311 - a sample to look at
    found: dict[int, PreviewRow] = {}
    for _ in range(number):
        at = choose.randint(row["first_id"], max(row["first_id"], row["last_id"]))
        for one in await _select(access, row, sa.true(), 1, from_id=at):
            found[one.line] = one
    if missing := number - len(found):  # the same was drawn again: of a short list that would hide much
        others = message.c.line.not_in(list(found))
        found |= {one.line: one for one in await _select(access, row, others, missing)}
    return tuple(found[line] for line in sorted(found))


async def _at_lines(access: Access, row: Any, lines: list[int]) -> tuple[PreviewRow, ...]:
    return await _select(access, row, access.tables.message.c.line.in_(lines), len(lines)) if lines else ()


async def _select(access: Access, row: Any, chosen: Any, most: int, *, from_id: int = 0) -> tuple[PreviewRow, ...]:
    message = access.tables.message
    query = sa.select(message.c.line, message.c.phone, message.c.text, message.c.sender)
    query = query.where(messages_of(access.tables, row, from_id=from_id), chosen).order_by(message.c.id).limit(most)
    async with access.reading() as connection:
        rows = (await connection.execute(query)).all()
    return tuple(
        PreviewRow(line=line, to=phone, text=text or "", sender=sender, parts=measure(text or "").parts)
        for line, phone, text, sender in rows
    )
