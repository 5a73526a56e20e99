"""The hot path of a ledger: what a sender asks of it, the same for both databases.

A sender claims, sends and records, and asks nothing else of the ledger while it runs:

- :meth:`HotPath.claim` picks one packet of what is due and writes its intent, in one transaction. When it returns,
  the intent is durable: only then may a byte leave. Only ``pending`` messages can be claimed.
- :meth:`HotPath.record` writes what became of the messages of an attempt. It may be repeated without harm, and must be,
  until it succeeds. It changes only what that attempt still holds; an acceptance that comes for anything else is
  a proof, and wins from any state.
- :meth:`HotPath.void` is for an owner that cannot know whether its claim was committed. Its token is written as a
  tombstone: a claim that commits later fails on it; one that was committed is undone as not sent.
- :meth:`HotPath.recover` turns what is held beyond its lease into ``unknown``. It does not ask which senders are alive.

:mod:`._sqlite` is one thread that owns a connection and commits together what waits together; :mod:`._postgres` makes
each of them one round trip. Both raise :class:`LedgerUnavailable` where the database cannot be used, and then it is
open whether what was asked was done. Everything else of a ledger (enqueueing, reading, orders) is SQLAlchemy Core
in :mod:`._outbox`. What to send *when* is decided in the claim alone, so that a resumed job obeys, too:
streams that are closed, a campaign that is not running or has used up its grant, an account that is paused or halted,
suppressed phones, messages whose time is over. Nothing here knows what a campaign is beyond that its row can close its
streams, and that grants may limit it (:mod:`._grants`).

Times are microseconds by the database's clock.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

import attrs

from smspilot_async.outbox._schema import CODE, MARKETING
from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smspilot_async.outbox._steps import Work
    from smspilot_async.outbox._tokens import SentToken

__all__ = [
    "SECOND",
    "AccountState",
    "Answer",
    "Claim",
    "ClaimRequest",
    "ClaimedMessage",
    "ClaimedMessages",
    "HotPath",
    "MessageAnswer",
    "Why",
    "content_hash",
    "key_hash",
    "nonce_mark",
    "now_us",
    "packet_hash",
    "send_nonce",
]

Value = TypeVar("Value")

SECOND: Final = 1_000_000
MAX_UNKNOWNS: Final = 3
"""Packets in a row without an answer, after which the brake stops the account."""
BRAKE_FIRST, BRAKE_LONGEST = 30 * SECOND, 300 * SECOND
"""From one message to the next while the brake is on."""
HALT_LOCK: Final = 0x534D5351
"""PostgreSQL's advisory lock that claims share until they are committed, and that a halt waits for."""
DUPLICATE: Final = 243
NONCE_SIZE: Final = 12
"""Bytes in a callback URL that tell one send from every other one."""


class Why(enum.StrEnum):
    """The reasons of outcomes that are the ledger's own; others are those of the library's errors."""

    SUPPRESSED = "suppressed"
    INVALID = "invalid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    GAVE_UP = "gave_up"
    ASSUMED_SENT = "assumed_sent"
    PROVEN_DUPLICATE = "proven_duplicate"
    LEASE_OVER = "lease_over"
    """Its sender is gone, or was stopped, and nothing can be on the wire any more."""
    PROBED = "probed"
    """It was unknown, and asking again proved nothing."""
    RESTORED = "restored"
    """The ledger was restored: it may have left since, and the ledger has forgotten it."""
    NOT_SENT = "settled_not_sent"
    """It was unknown, and an order says that it was not sent."""
    DUPLICATE = "duplicate"
    """243 after an earlier attempt with the same phone and text."""


def now_us() -> int:
    """Return this machine's time, which is a SQLite ledger's clock."""
    return time.time_ns() // 1000


def content_hash(salt: bytes, phone: str, text: str) -> bytes:
    """Return by what a phone and a text are known after the text is gone; SQL can compute the same."""
    return hashlib.sha256(b"".join((salt, phone.encode(), b"\n", text.encode()))).digest()[:16]


def key_hash(salt: bytes, key: str) -> bytes:
    """Return by what a key is known once its message was purged."""
    return hashlib.sha256(b"".join((salt, b"key\n", key.encode()))).digest()[:16]


def send_nonce(token: str, id_: int, mark: bytes) -> bytes:
    """Return what the callback URL of a message names its send by.

    It is derived from the attempt's token, so that it is as durable as the intent, and costs no write of its own. Its
    second half shows that it is of this ledger's very message, also to one that was restored from before the attempt.

    Args:
        token: Of the attempt.
        id_: The message's number.
        mark: Of the message, by :func:`nonce_mark`.
    """
    return hashlib.sha256(f"callback\n{token}\n{id_}".encode()).digest()[: NONCE_SIZE - len(mark)] + mark


def nonce_mark(salt: bytes, id_: int, hash_: bytes) -> bytes:
    """Return what marks a message in the nonces of its sends.

    Args:
        salt: The ledger's.
        id_: The message's number.
        hash_: Of its phone and text.
    """
    return hashlib.sha256(b"".join((salt, f"mark\n{id_}\n".encode(), hash_))).digest()[: NONCE_SIZE // 2]


def packet_hash(hashes: Iterable[bytes]) -> bytes:
    """Return the hash of a packet's body, from those of its messages in their order."""
    return hashlib.sha256(b"".join(hashes)).digest()


@attrs.frozen(kw_only=True)
class ClaimRequest:
    """A packet that a sender wants.

    Attributes:
        token: Made by the sender, and written nowhere before.
        sender: Who asks: host, process and place.
        size: Messages at most.
        lease: For how long its request may be on the wire.
        last_lane: The least urgent lane it takes: places that are kept for codes and services leave marketing out.
        is_probe: One message is let through the brake, by a grant of :meth:`HotPath.release_brake`.
    """

    token: str
    sender: str
    size: int
    lease: int
    last_lane: int = MARKETING
    is_probe: bool = False


@attrs.define
class ClaimedMessage:
    """A message that must leave now, or be recorded as not sent; not frozen, for that takes three times as long."""

    id: int
    phone: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    sender: str | None = attrs.field(repr=False)
    ttl: int | None
    valid_until: int | None
    callback: str | None = attrs.field(repr=False)
    callback_method: str | None
    tries: int
    send_at: int | None = None


_VALID_UNTIL: Final = [field.name for field in attrs.fields(ClaimedMessage)].index("valid_until")


class ClaimedMessages(Sequence[ClaimedMessage]):
    """The messages of a claim, each made when it is looked at.

    As rows of plain values they are nothing to the garbage collector; as objects, which stay until their packet is
    answered, they have it walk through the whole heap again and again.

    Args:
        rows: The values of each, in the order of its fields.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[tuple[Any, ...]] = ()) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ClaimedMessage]:
        return itertools.starmap(ClaimedMessage, self._rows)

    @overload
    def __getitem__(self, index: int) -> ClaimedMessage: ...
    @overload
    def __getitem__(self, index: slice) -> ClaimedMessages: ...
    def __getitem__(self, index: int | slice) -> ClaimedMessage | ClaimedMessages:
        if isinstance(index, slice):
            return ClaimedMessages(self._rows[index])
        return ClaimedMessage(*self._rows[index])

    def __repr__(self) -> str:
        return f"ClaimedMessages({len(self)})"

    @property
    def ids(self) -> list[int]:
        """Their numbers."""
        return [row[0] for row in self._rows]

    @property
    def ends(self) -> list[int]:
        """Until when those may leave that have a limit."""
        return [row[_VALID_UNTIL] for row in self._rows if row[_VALID_UNTIL] is not None]


@attrs.frozen(kw_only=True)
class Claim:
    """What a claim brought.

    Attributes:
        attempt_id: ``None`` where nothing may leave now.
        intent_at: When the intent was written.
        campaign_id: Whose packet it is; ``None`` of the outbox's own.
        closes_at: When the sending window closes: no ttl ends later.
        expires_at: When the campaign expires: no message leaves later.
        reserved: Of the campaign's budget; ``None`` where it has none.
        lane: Of its stream.
        messages: In the order in which they go.
        settled: How many messages the claim decided against: expired, suppressed. More may be due then.
        unknowns: Packets in a row without an answer, before this one.
    """

    attempt_id: int | None
    intent_at: int
    campaign_id: int | None = None
    closes_at: int | None = None
    expires_at: int | None = None
    reserved: Decimal | None = None
    lane: int = 0
    messages: ClaimedMessages = attrs.field(factory=ClaimedMessages)
    settled: int = 0
    unknowns: int = 0


@attrs.define(kw_only=True)
class MessageAnswer:
    """What one attempt brought for one message; not frozen, for that takes three times as long.

    Attributes:
        event: ``ACCEPTED``, ``REFUSED``, ``PUT_BACK`` or ``UNANSWERED``.
        reason: Why, where it was not accepted.
        code: The gateway's code.
        on_wire: The gateway may have seen it.
        delay: Until it is due again, where it is put back.
        most: The largest packet it may leave in next.
    """

    id: int
    event: Event
    reason: str | None = None
    code: int | None = None
    on_wire: bool = True
    delay: int = 0
    most: int | None = None
    server_id: str | None = None
    parts: int | None = None
    price: Decimal | None = None
    status: int | None = None


@attrs.frozen(kw_only=True)
class Answer:
    """What one attempt brought.

    Attributes:
        outcome: Of the request: ``answered``, or the outcome of its error.
        evidence: Why it is believed: the error's class and reason.
        give_up_after: For how long a message is put back, from when it was first due.
        lane: Of its claim, where it is known: the texts of codes are erased.
        has_budget: Its campaign may have one.
    """

    attempt_id: int
    outcome: str
    evidence: str | None
    rows: Sequence[MessageAnswer]
    give_up_after: int
    server_packet_id: str | None = None
    cost: Decimal | None = None
    lane: int = CODE
    has_budget: bool = True

    @property
    def spent(self) -> Decimal | None:
        """What it takes from a budget; ``None`` where that is not known, and what was reserved is kept."""
        if not self.has_budget:
            return None
        accepted = [row.price for row in self.rows if row.event is Event.ACCEPTED]
        if any(row.event is Event.UNANSWERED for row in self.rows):
            return None
        if None in accepted:
            return self.cost
        prices = sum((price for price in accepted if price is not None), Decimal(0))
        return max(prices, self.cost or Decimal(0)) if accepted else prices


@attrs.frozen(kw_only=True)
class AccountState:
    """What holds for everything that the account sends.

    Attributes:
        paused: Why nothing leaves, by an error of the account.
        halted: ``"all"`` or ``"marketing"``, by an order; ``halted_why`` says why.
        unknowns: Packets in a row without an answer.
        brake_until: When the next message is let through the brake.
        now: The database's clock.
    """

    paused: str | None
    halted: str | None
    halted_why: str | None
    unknowns: int
    brake_until: int
    now: int

    @property
    def is_braked(self) -> bool:
        """Too many packets in a row had no answer."""
        return self.unknowns >= MAX_UNKNOWNS


class HotPath(Protocol):
    """What a sender asks of the ledger while it runs."""

    @property
    def is_shared(self) -> bool:
        """Several senders may use the ledger at once."""
        ...

    async def open(self, home: str | None = None, sent: Callable[[], Sequence[SentToken]] = tuple) -> None:
        """Connect.

        Args:
            home: Where the ledger is at home: claims raise :class:`LedgerMoved` once the database is another one, as
                after a failover. Left out, that is not looked at.
            sent: Returns the last attempts of this sender: claims raise :class:`LedgerMoved` once the database does not
                know one of them, as after a restore.
        """
        ...

    async def aclose(self) -> None:
        """Disconnect; what was asked before is finished first."""
        ...

    async def claim(self, request: ClaimRequest) -> Claim:
        """Take the most urgent packet that may leave now, and write its intent."""
        ...

    async def record(self, answer: Answer) -> None:
        """Write down what an attempt brought."""
        ...

    async def void(self, token: str) -> None:
        """Make sure that a claim without an owner holds nothing."""
        ...

    async def recover(self) -> int:
        """Turn what is held beyond its lease into unknown; return how many messages that were."""
        ...

    async def wait_for_code(self) -> None:
        """Return once another process has enqueued a code; where none can tell, it is never known."""
        ...

    async def transact(self, work: Work[Value]) -> Value:
        """Do a short transaction (:mod:`._steps`) beside claims and outcomes, and return what it found."""
        ...

    async def look(self, work: Work[Value]) -> Value:
        """Do a transaction that only reads: it takes no lock."""
        ...

    async def tried_before(self, ids: Sequence[int]) -> set[int]:
        """Return those of the messages in flight whose phone and text the gateway may have seen before."""
        ...

    async def tried_by_others(self, ids: Sequence[int], since: int) -> set[int]:
        """Return those whose phone and text another message has, of which an attempt began after a moment."""
        ...

    async def account(self) -> AccountState:
        """Return what holds for the account."""
        ...

    async def account_and_due(self) -> tuple[AccountState, bool]:
        """Return what holds for the account, and whether anything may leave now or is to be decided by a claim."""
        ...

    async def pause(self, reason: str) -> None:
        """Let nothing leave, because of an error of the account."""
        ...

    async def count_unknown(self) -> int:
        """Count a packet without an answer, and return how many there are in a row."""
        ...

    async def count_answer(self) -> None:
        """A packet was answered: none in a row is unknown."""
        ...

    async def release_brake(self) -> bool:
        """Ask whether one message may be let through the brake now, and say when the next one may."""
        ...
