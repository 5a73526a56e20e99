"""What is done about messages of which it is not known whether they were sent.

The default is to hold them: they stay ``unknown`` until a proof of acceptance comes, or someone decides. The other
policies are orders that are given in advance. None of them acts before the lease of the last attempt is over: until
then its request may still arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from smspilot_async.outbox._ledger import MAX_UNKNOWNS, SECOND, Claim, ClaimedMessages, Why, packet_hash
from smspilot_async.outbox._schema import MARKETING
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables

__all__ = [
    "AssumeSent",
    "Decide",
    "Hold",
    "Probe",
    "ProbeRequest",
    "Resend",
    "UnknownPolicy",
    "assume_sent",
    "claim_probe",
    "has_unprobed",
    "policy_of",
    "resend",
    "setting_of",
    "window_of",
]

AT_ONCE: Final = 500
_DECIDED: Final = (Why.ASSUMED_SENT.value, Why.PROVEN_DUPLICATE.value, Why.RESTORED.value)


@attrs.frozen
class UnknownPolicy:
    """What is done about unknown messages: :class:`Hold`, :class:`Probe`, :class:`AssumeSent` or :class:`Resend`."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the settings of a campaign hold it, under ``"unknown"``."""
        name = next(name for name, kind in _NAMES.items() if kind is type(self))
        return {"policy": name, **attrs.asdict(self)}


@attrs.frozen
class Hold(UnknownPolicy):
    """Leave unknown messages as they are, until a proof of acceptance comes or someone decides. The default."""


@attrs.frozen
class AssumeSent(UnknownPolicy):
    """Take unknown messages for sent: they stay ``unknown``, with the reason ``assumed_sent``, and are not sent again.

    A proof of acceptance still makes them ``accepted``.
    """


@attrs.frozen
class Resend(UnknownPolicy):
    """Send unknown messages again, once, when their lease is over. Whoever got the first one gets two.

    One that is unknown again is held.
    """


@attrs.frozen
class Probe(UnknownPolicy):
    """Send an unknown message again, once, while the gateway certainly refuses what it has already (243).

    The gateway refuses the same text to the same phone within the loop-protection window of the account, which is set
    in the vendor's cabinet. A probe is sent only if it surely arrives within that window, counted from when the message
    may have left first, and only if no other message of the ledger with the same phone and text left within it. If the
    gateway refuses it with 243, it had the message: it stays ``unknown``, with the reason ``assumed_sent``. If it
    accepts it, the message was not sent before, and is ``accepted`` now. Any other answer leaves it ``unknown``.

    Messages that are sent without this ledger are not known to it: do not use it if the account sends the same texts
    to the same phones from elsewhere.

    Args:
        dup_window: The account's loop-protection window, in seconds. It must be longer than a lease: twice the client's
            ``timeout`` and 20 seconds, and again so long.

    Raises:
        ValueError: ``dup_window`` is not above zero.
    """

    dup_window: float

    def __attrs_post_init__(self) -> None:
        if not 0 < self.dup_window < float("inf"):
            raise ValueError("dup_window is a number of seconds above 0")


Decide: TypeAlias = "Callable[[AsyncConnection, Tables, int, int | None], Awaitable[int]]"

_NAMES: Final[dict[str, type[UnknownPolicy]]] = {
    "hold": Hold,
    "assume_sent": AssumeSent,
    "resend": Resend,
    "probe": Probe,
}


def setting_of(policy: UnknownPolicy) -> dict[str, Any]:
    """Return a policy as the settings of a campaign hold it, under ``"unknown"``."""
    name = next(name for name, kind in _NAMES.items() if kind is type(policy))
    return {"policy": name, **attrs.asdict(policy)}


def policy_of(setting: Any) -> UnknownPolicy:
    """Return the policy that the settings of a campaign hold; without one, unknown messages are held.

    Raises:
        ValueError: It is not a policy.
    """
    if not setting:
        return Hold()
    try:
        fields = dict(setting)
        return _NAMES[fields.pop("policy")](**fields)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"not a policy for unknown messages ({type(error).__name__})") from None


async def assume_sent(connection: AsyncConnection, tables: Tables, now: int, campaign_id: int | None) -> int:
    """Take some unknown messages for sent; return how many."""
    del now
    message = tables.message
    chosen = _undecided(tables, campaign_id).limit(AT_ONCE)
    ids = [row.id for row in await connection.execute(_locked(chosen, tables))]
    if ids:
        values = {"reason": Why.ASSUMED_SENT.value}
        await connection.execute(sa.update(message).where(message.c.id.in_(ids)).values(**values))
    return len(ids)


async def resend(connection: AsyncConnection, tables: Tables, now: int, campaign_id: int | None) -> int:
    """Put some unknown messages back into the queue, once each; return how many."""
    message, attempt, stream = tables.message, tables.attempt, tables.stream
    reason = sa.func.coalesce(message.c.reason, "")
    chosen = _undecided(tables, campaign_id).where(
        attempt.c.lease <= now,
        message.c.resends == 0,
        message.c.text.is_not(None),
        reason != Why.DUPLICATE.value,
    )
    rows = (await connection.execute(_locked(chosen.limit(AT_ONCE), tables))).all()
    if rows:
        await connection.execute(
            sa.update(message)
            .where(message.c.id.in_([row.id for row in rows]))
            .values(state=State.PENDING.value, resends=message.c.resends + 1, due=now, settled_at=None)
        )
        streams = {row.stream_id for row in rows}
        await connection.execute(sa.update(stream).where(stream.c.id.in_(streams)).values(floor_due=0, floor_id=0))
    return len(rows)


def _undecided(tables: Tables, campaign_id: int | None) -> sa.Select[Any]:
    """Select unknown messages of a campaign, or of the outbox, about which nothing was decided."""
    message, stream, attempt = tables.message, tables.stream, tables.attempt
    reason = sa.func.coalesce(message.c.reason, "")
    return (
        sa.select(message)
        .join(stream, stream.c.id == message.c.stream_id)
        .join(attempt, attempt.c.id == message.c.attempt_id)
        .where(tables.is_unknown, reason.not_in(_DECIDED), stream.c.campaign_id == campaign_id)
        .order_by(message.c.id)
    )


def _locked(query: sa.Select[Any], tables: Tables) -> sa.Select[Any]:
    return query.with_for_update(of=tables.message, skip_locked=True)


# --- probes --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ProbeRequest:
    """A packet of probes that a sender wants.

    Attributes:
        token, sender, size, lease: As for any claim; times in microseconds.
        longest: For how long from now its request may be on the wire.
        window: The account's loop-protection window.
    """

    token: str
    sender: str
    size: int
    lease: int
    longest: int
    window: int


async def has_unprobed(connection: AsyncConnection, tables: Tables, campaign_id: int | None) -> bool:
    """Return whether there is an unknown message that was not sent again yet."""
    query = _undecided(tables, campaign_id).where(tables.message.c.resends == 0).limit(1)
    return (await connection.execute(query)).first() is not None


async def claim_probe(
    connection: AsyncConnection, tables: Tables, now: int, request: ProbeRequest, campaign_id: int | None
) -> Claim | None:
    """Take unknown messages that may be sent again, and write the intent; ``None`` if there are none."""
    message, attempt = tables.message, tables.attempt
    found = (await connection.execute(_locked(_can_be_probed(tables, now, request, campaign_id), tables))).all()
    rows = [row for row in found if row.stream_id == found[0].stream_id]
    if not rows:
        return None
    ids = [row.id for row in rows]
    intent = sa.insert(attempt).values(
        token=request.token,
        sender=request.sender,
        stream_id=rows[0].stream_id,
        intent_at=now,
        lease=now + request.lease,
        message_ids=ids,
        hash=packet_hash([bytes(row.hash) for row in rows]),
    )
    attempt_id: int = (await connection.execute(intent.returning(attempt.c.id))).scalar_one()
    held = {"attempt_id": attempt_id, "state": State.IN_FLIGHT.value}
    await connection.execute(
        sa.update(message)
        .where(message.c.id.in_(ids), message.c.state == State.UNKNOWN.value)
        .values(**held, tries=message.c.tries + 1, resends=message.c.resends + 1)
    )
    messages = ClaimedMessages([_values_of(row) for row in rows])
    return Claim(attempt_id=attempt_id, intent_at=now, lane=rows[0].lane, messages=messages)


def _can_be_probed(tables: Tables, now: int, request: ProbeRequest, campaign_id: int | None) -> sa.Select[Any]:
    message, attempt, stream = tables.message, tables.attempt, tables.stream
    account, campaign, suppression = tables.account, tables.campaign, tables.suppression
    is_suppressed = sa.exists().where(
        suppression.c.phone == message.c.phone,
        sa.or_(suppression.c.list == "all", stream.c.lane >= MARKETING),
    )
    is_running = sa.exists().where(
        campaign.c.id == stream.c.campaign_id, campaign.c.state == "running", campaign.c.expires_at > now
    )
    may_leave = sa.exists().where(
        account.c.paused.is_(None),
        account.c.unknowns < MAX_UNKNOWNS,
        sa.or_(account.c.halted.is_(None), sa.and_(account.c.halted == "marketing", stream.c.lane < MARKETING)),
    )
    other, its = message.alias("other"), attempt.alias("its")
    has_a_twin = sa.exists(
        sa.select(sa.literal(1))
        .select_from(other.join(its, its.c.id == other.c.attempt_id))
        .where(
            other.c.hash == message.c.hash,
            other.c.id != message.c.id,
            its.c.intent_at > now - request.window - request.longest,
        )
    )
    return (
        _undecided(tables, campaign_id)
        .add_columns(stream.c.lane)
        .where(
            sa.func.coalesce(message.c.reason, "") != Why.DUPLICATE.value,
            message.c.resends == 0,
            message.c.text.is_not(None),
            attempt.c.lease <= now,
            attempt.c.intent_at + request.window >= now + request.longest,
            sa.or_(message.c.valid_until.is_(None), message.c.valid_until > now),
            stream.c.open_from <= now,
            stream.c.open_until > now,
            sa.or_(stream.c.campaign_id.is_(None), is_running),
            may_leave,
            sa.not_(is_suppressed),
            sa.not_(has_a_twin),
        )
        .limit(request.size)
    )


def _values_of(row: Any) -> tuple[Any, ...]:
    """Return the values of a claimed message, in the order of its fields."""
    return (
        row.id,
        row.phone,
        row.text,
        row.sender,
        row.ttl,
        row.valid_until,
        row.callback,
        row.callback_method,
        row.tries + 1,
        row.send_at,
    )


def window_of(policy: Probe) -> int:
    """Return a policy's window in microseconds."""
    return int(policy.dup_window * SECOND)
