"""How much of a campaign a sender may send: grants for about a second, each taken in a short transaction.

A campaign's own rate, its first wave and its budget are granted as one row for each sender, which the claim uses up in
the transaction that writes the intent. The rest of the budget is counted under the campaign's lock, which waits for
every claim that began before: what attempts took, as reserved or as settled, and what others hold as grants. So it is
never exceeded, however many send. A message is reserved at the dearest price seen for its phone's country; one whose
country has no price yet leaves alone, with all that the budget still has.

What runs out pauses the campaign, and refuses no message.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._numbering import countries_by_prefix, kind_of
from smspilot_async.outbox._account_rate import QUARTER
from smspilot_async.outbox._due import FIRST_DUE
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._steps import money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from smspilot_async.outbox._steps import Steps

__all__ = [
    "PARTS",
    "PRICE",
    "Decision",
    "Standing",
    "country_of",
    "decide",
    "did_not_leave",
    "grant_campaign",
    "learn_prices",
    "limited_campaigns",
    "price_of_part",
]

AGAIN: Final = 0.25
"""Seconds until a sender asks again."""
IDLE: Final = 1.0
"""Seconds until it does where no campaign has limits."""
_UNTIL: Final = SECOND + SECOND // 2
_MOST_GRANTED: Final = 5_000
_SMALLEST: Final = Decimal("0.000001")

PRICE: Final = """
(SELECT p.amount FROM {t}price p
 WHERE p.prefix IN (substr(m.phone, 1, 1), substr(m.phone, 1, 2), substr(m.phone, 1, 3))
 ORDER BY length(p.prefix) DESC LIMIT 1)
"""
"""The price of a part for the phone of `m`; NULL where none was seen."""
PARTS: Final = """
coalesce(m.parts, CASE WHEN {units} <= 70 THEN 1 ELSE ({units} + 65) / 66 END)
"""
"""The parts of `m`: as counted at its import, or at most so many. `{units}` is an upper bound of UTF-16 units."""


# --- what a campaign may use ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Standing:
    """How a campaign stands, under its lock, without what the sender that asks held before.

    Attributes:
        tat: Of its rate.
        first: Messages that its first wave still has; ``None`` where there is none.
        left: Roubles that are neither spent, reserved nor granted to others; ``None`` without a budget.
        cost: What the next message that is due costs at most; ``None`` where its country has no price yet.
        is_busy: Others hold grants, or requests are under way: what they do not use comes back.
    """

    now: int
    tat: int
    rate: float | None
    first: int | None
    left: Decimal | None
    cost: Decimal | None
    is_busy: bool


@attrs.frozen(kw_only=True)
class Decision:
    """What a sender may use of a campaign until it asks again, or why the campaign pauses."""

    messages: int | None = None
    amount: Decimal | None = None
    is_whole: bool = False
    tat: int
    pause: str | None = None


def decide(standing: Standing) -> Decision:
    """Return what a sender may use of a campaign."""
    nothing = Decision(messages=0, tat=standing.tat)
    if standing.first is not None and standing.first <= 0:
        return nothing if standing.is_busy else attrs.evolve(nothing, pause="first")
    amount, is_whole = standing.left, False
    if standing.left is not None:
        amount, is_whole = _amount(standing.left, standing.cost), standing.cost is None
        if amount is None or (is_whole and standing.is_busy):
            return nothing if standing.is_busy else attrs.evolve(nothing, pause="budget")
    messages, tat = _messages(standing)
    if is_whole and messages != 0:
        messages = 1
    return Decision(messages=messages, amount=amount, is_whole=is_whole, tat=tat)


def _amount(left: Decimal, cost: Decimal | None) -> Decimal | None:
    """Return how much of a budget is granted: for a second at most, and half of it, so that others have a part."""
    if left <= 0 or (cost is not None and left < cost):
        return None
    return left if cost is None else min(left, max(cost, min(left / 2, cost * _MOST_GRANTED)))


def _messages(standing: Standing) -> tuple[int | None, int]:
    """Return how many messages its rate and its first wave allow now, and the rate's next arrival."""
    messages, tat = standing.first, standing.tat
    if standing.rate is not None:
        begins = max(tat, standing.now - QUARTER)
        allowed = 0 if begins > standing.now else max(1, int(standing.rate * QUARTER / SECOND))
        messages = allowed if messages is None else min(allowed, messages)
        tat = begins + math.ceil(messages * SECOND / standing.rate) if messages else tat
    return messages, tat


_LIMITED: Final = f"""
SELECT c.id FROM {{t}}campaign c
WHERE c.state = 'running' AND (c.budget IS NOT NULL OR c.first IS NOT NULL OR c.rate_limit IS NOT NULL)
  AND c.starts_at <= {{now}} AND {{now}} < c.expires_at
  AND EXISTS (
    SELECT 1 FROM {{t}}stream s WHERE s.campaign_id = c.id AND s.open_from <= {{now}} AND {{now}} < s.open_until
      AND {FIRST_DUE} IS NOT NULL
  )
ORDER BY c.id
"""
_LOCK: Final = "SELECT 1 FROM {t}campaign WHERE id = :campaign AND state = 'running' {lock}"
_CAMPAIGN: Final = "SELECT {now}, tat, rate_limit, first, budget, spent FROM {t}campaign WHERE id = :campaign"
_TAKE_BACK: Final = """
DELETE FROM {t}grants WHERE campaign_id = :campaign AND owner <> :owner AND until <= {now} RETURNING messages
"""
_MINE: Final = "SELECT messages FROM {t}grants WHERE campaign_id = :campaign AND owner = :owner"
_COUNT: Final = """
UPDATE {t}attempt SET is_counted = true
WHERE amount IS NOT NULL AND NOT is_counted AND outcome IS NOT NULL AND outcome <> 'unknown'
  AND stream_id IN (SELECT id FROM {t}stream WHERE campaign_id = :campaign)
RETURNING amount
"""
_RESERVED: Final = """
SELECT amount, outcome IS NULL FROM {t}attempt
WHERE amount IS NOT NULL AND NOT is_counted AND stream_id IN (SELECT id FROM {t}stream WHERE campaign_id = :campaign)
"""
_UNDER_WAY: Final = """
SELECT 1 FROM {t}attempt
WHERE outcome IS NULL AND stream_id IN (SELECT id FROM {t}stream WHERE campaign_id = :campaign) LIMIT 1
"""
_OTHERS: Final = "SELECT amount FROM {t}grants WHERE campaign_id = :campaign AND owner <> :owner"
_NEXT: Final = f"""
SELECT {PRICE}, {PARTS} FROM {{t}}message m WHERE m.id = (
  SELECT f.message FROM (
    SELECT s.id, s.open_until, {FIRST_DUE} AS message
    FROM {{t}}stream s WHERE s.campaign_id = :campaign AND s.open_from <= {{now}} AND {{now}} < s.open_until
  ) f WHERE f.message IS NOT NULL ORDER BY f.open_until, f.id LIMIT 1
)
"""
_SPEND: Final = "UPDATE {t}campaign SET tat = :tat, first = :first, spent = :spent WHERE id = :campaign"
_PAUSE: Final = "UPDATE {t}campaign SET state = 'paused', reason = :reason, first = NULL WHERE id = :campaign"
_GIVE: Final = """
INSERT INTO {t}grants (campaign_id, owner, messages, amount, is_whole, until)
VALUES (:campaign, :owner, :messages, :amount, :is_whole, {now} + :until)
ON CONFLICT (campaign_id, owner) DO UPDATE SET
  messages = excluded.messages, amount = excluded.amount, is_whole = excluded.is_whole, until = excluded.until
"""
_GIVE_NOTHING: Final = "DELETE FROM {t}grants WHERE campaign_id = :campaign AND owner = :owner"


def limited_campaigns() -> Steps[list[int]]:
    """Return the campaigns that have something due and may use so much of it only."""
    rows = yield _LIMITED, {}
    return [row[0] for row in rows]


def grant_campaign(campaign: int, owner: str) -> Steps[Decision | None]:
    """Grant a sender what it may use of a campaign in about a second, in place of what it held; or pause the campaign.

    Returns:
        What was decided; ``None`` where it is not running any more.
    """
    mine = {"campaign": campaign, "owner": owner}
    if not (yield _LOCK, mine):  # claims that began before are over now, and seen by the next statement
        return None
    expired = yield _TAKE_BACK, mine
    held = yield _MINE, mine
    standing, spent = yield from _stand(mine, sum(row[0] or 0 for row in [*expired, *held]))
    decision = decide(standing)
    first = None if standing.first is None else standing.first - (decision.messages or 0)
    yield _SPEND, {**mine, "tat": decision.tat, "first": first, "spent": spent}
    if decision.pause is not None:
        yield _PAUSE, {**mine, "reason": decision.pause}
    if decision.messages == 0:
        yield _GIVE_NOTHING, mine
    else:
        given = {"messages": decision.messages, "amount": decision.amount, "is_whole": decision.is_whole}
        yield _GIVE, {**mine, **given, "until": _UNTIL}
    return decision


def _stand(mine: dict[str, Any], unused: int) -> Steps[tuple[Standing, Decimal]]:
    """Return how a campaign stands, and what its counted attempts have spent.

    Args:
        mine: The campaign, locked, and who asks.
        unused: Messages that were granted before, and not used.
    """
    of = {"campaign": mine["campaign"]}
    counted = yield _COUNT, of
    reserved = yield _RESERVED, of
    under_way = yield _UNDER_WAY, of
    others = yield _OTHERS, mine
    ((now, tat, rate, first, budget, before),) = yield _CAMPAIGN, of
    spent = _sum([(before,), *counted])
    cost = None
    if budget is not None:
        (next_,) = (yield _NEXT, of) or [(None, 1)]
        cost = None if next_[0] is None else Decimal(next_[0]) * next_[1]
    standing = Standing(
        now=now,
        tat=tat if rate is None else tat - int(unused * SECOND / rate),
        rate=rate,
        first=None if first is None else first + unused,
        left=None if budget is None else Decimal(budget) - spent - _sum(reserved) - _sum(others),
        cost=cost,
        is_busy=bool(others or under_way),
    )
    return standing, spent


def _sum(rows: Iterable[Sequence[Any]]) -> Decimal:
    return sum((money(row[0]) or Decimal(0) for row in rows), Decimal(0))


_PUT_BACK: Final = "UPDATE {t}campaign SET first = first + :messages WHERE id = :campaign AND first IS NOT NULL"


def did_not_leave(campaign: int, messages: int) -> Steps[None]:
    """Let as many others leave in a campaign's first wave: these were put back."""
    yield _PUT_BACK, {"campaign": campaign, "messages": messages}


# --- prices --------------------------------------------------------------------------------------


def country_of(phone: str) -> str:
    """Return by what the prices of a phone's country are known."""
    return kind_of(phone).country or phone[:1]


def price_of_part(price: Decimal, parts: int | None) -> Decimal:
    """Return a message's price for each of its parts, rounded up."""
    return (price / (parts or 1)).quantize(_SMALLEST, ROUND_CEILING) if parts and parts > 1 else price


def learn_prices(prices: Mapping[str, Decimal]) -> Steps[None]:
    """Write down the prices of a part that were seen, by country; a lower one than before changes nothing."""
    if not (yield "SELECT 1 FROM {t}price LIMIT 1", {}):
        for prefix, country in countries_by_prefix().items():
            yield (
                "INSERT INTO {t}price (prefix, country) VALUES (:prefix, :country) ON CONFLICT DO NOTHING",
                {"prefix": prefix, "country": country or prefix},
            )
    for country, price in sorted(prices.items()):
        seen = yield "SELECT max(amount) FROM {t}price WHERE country = :country", {"country": country}
        if (known := money(seen[0][0])) is None or known < price:
            yield (
                "UPDATE {t}price SET amount = :price WHERE country = :country",
                {"country": country, "price": price},
            )
