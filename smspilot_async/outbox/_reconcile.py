"""Turning unknown messages into accepted ones by the vendor's own list of what it has taken.

The list is exported from the vendor's cabinet. Which columns it has is not documented, so that they are found by usual
names, and by names that begin with them; lines above the header are passed over. What a row says is matched strictly. A
row proves an acceptance if it can mean one message of the ledger and no other, and the message no other row.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs
import sqlalchemy as sa

from smspilot_async.errors import InvalidMessage
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._proof import prove
from smspilot_async.outbox._statement import MOSCOW
from smspilot_async.outbox._states import State
from smspilot_async.text import normalize_phone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables

__all__ = ["CabinetRow", "Reconciled", "match", "read_cabinet", "reconcile"]

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "phone": ("phone", "to", "телефон", "номер телефона", "номер", "получатель", "абонент", "кому"),
    "time": (
        "time",
        "date",
        "created",
        "дата",
        "время",
        "дата и время",
        "дата отправки",
        "время отправки",
        "отправлено",
    ),
    "text": ("text", "message", "текст", "сообщение", "текст сообщения"),
    "server_id": ("server_id", "id", "ид", "id сообщения", "номер сообщения", "код сообщения"),
    "status": ("status", "статус", "состояние"),
}
_DELIVERED: Final = "достав"  # when a message was delivered is not when it was sent
_EXCEL_TEXT = re.compile(r'="(.*)"').fullmatch  # how a number is kept from becoming a fraction
_MOST_ABOVE: Final = 10
"""Lines that may stand above the header: a title, a period."""
_not_taken = re.compile(r"отклон|отказ|не принят|ошиб|reject|refus|error", re.IGNORECASE).search
_FORMATS: Final = (
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%y %H:%M:%S", "%d.%m.%y %H:%M"),
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"),
)
_EARLY, _LATE = 120 * SECOND, 600 * SECOND
"""How much earlier than the intent, and later than the lease's end, the vendor's time may be."""


@attrs.frozen
class CabinetRow:
    """A message in the vendor's list.

    Attributes:
        line: Of the file.
        time: Microseconds since 1970.
    """

    line: int
    phone: str = attrs.field(repr=False)
    time: int | None
    text: str | None = attrs.field(repr=False)
    server_id: str | None


@attrs.frozen(kw_only=True)
class Reconciled:
    """What a reconciliation found.

    Attributes:
        accepted: Unknown messages that the list proves to be accepted, by number, with the line that proves it.
        ambiguous: Unknown messages that stay so: more than one row fits, or a row fits more than one message; with
            those lines.
        missing: Unknown messages that are not in the list, and stay unknown: it may be incomplete.
        unread: Lines that could not be read, or that the vendor marks as not taken.
        unread_why: Why, for each of them, without its content.
    """

    accepted: dict[int, int]
    ambiguous: dict[int, tuple[int, ...]]
    missing: tuple[int, ...]
    unread: tuple[int, ...]
    unread_why: Mapping[int, str] = attrs.Factory(dict)


class _UnreadError(Exception):
    """A row is not read without guessing, or says that it was not taken."""


def read_cabinet(content: bytes) -> tuple[list[CabinetRow], dict[int, str]]:
    """Read the vendor's list: CSV in UTF-8 or Windows-1251, with commas, semicolons or tabs.

    Returns:
        The rows, and the lines that could not be read or were not taken, with the reason.

    Raises:
        ValueError: There is no column of phones, or neither one of times nor one of texts.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1251", "replace")
    # Not str.splitlines: a text may hold a line separator of Unicode.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    above, columns, delimiter = _header(lines)
    rows: list[CabinetRow] = []
    unread: dict[int, str] = {}
    reader = csv.reader((line + "\n" for line in lines[above + 1 :]), delimiter=delimiter)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        line = above + 1 + reader.line_num
        try:
            rows.append(_row(line, {name: cells[at] for name, at in columns.items() if at < len(cells)}))
        except _UnreadError as why:
            unread[line] = str(why)
    return rows, unread


def _header(lines: Sequence[str]) -> tuple[int, dict[str, int], str]:
    """Return how many lines stand above the header, the places of its columns, and what separates them.

    Raises:
        ValueError: There is no column of phones, or neither one of times nor one of texts.
    """
    for above, line in enumerate(lines[: _MOST_ABOVE + 1]):
        delimiter = max(";,\t", key=line.count)
        columns = _columns(next(csv.reader([line], delimiter=delimiter), []))
        if "phone" in columns and columns.keys() & {"time", "text"}:
            return above, columns, delimiter
    raise ValueError("the list needs a column of phones, and one of times or texts, named in its header")


def _columns(header: Iterable[str]) -> dict[str, int]:
    """Return the places of columns by what they hold: those of a usual name, then those that begin with one."""
    written = [" ".join(re.sub(r"[\W_]+", " ", name.casefold()).split()) for name in header]
    found: dict[str, int] = {}
    for column, names in _NAMES.items():
        for name in names:
            if (plain := name.replace("_", " ")) in written:
                found[column] = written.index(plain)
                break
    if {"дата", "время"} <= set(written):
        found["time"], found["hour"] = written.index("дата"), written.index("время")
    for column, names in _NAMES.items():
        if column in found or column == "server_id":  # another number must not be taken for it
            continue
        for at, title in enumerate(written):
            begins = any(title.startswith(f"{name.replace('_', ' ')} ") for name in names)
            is_another = at in found.values() or (column == "time" and _DELIVERED in title)
            if begins and not is_another:
                found[column] = at
                break
    return found


def _row(line: int, cells: dict[str, str]) -> CabinetRow:
    """Read a row.

    Raises:
        _UnreadError: It cannot be used.
    """
    cells = {name: _cell(cell) for name, cell in cells.items()}
    if _not_taken(cells.get("status", "")):
        raise _UnreadError("not taken, by its status")
    try:
        phone = normalize_phone(cells.get("phone", ""), "RU")
    except InvalidMessage:
        phone = ""
    if not phone:
        raise _UnreadError("no phone")
    text = _plain(cells.get("text", "")) or None
    written = " ".join(cells.get(name, "") for name in ("time", "hour")).strip()
    time = _time(written) if written else None
    if written and time is None:
        raise _UnreadError("no time that can be read")
    if time is None and text is None:
        raise _UnreadError("neither a time nor a text")
    return CabinetRow(line, phone, time, text, cells.get("server_id") or None)


def _cell(written: str) -> str:
    plain = written.replace("\N{NO-BREAK SPACE}", " ").strip()
    kept = _EXCEL_TEXT(plain)
    return kept[1].strip() if kept else plain


def _time(written: str) -> int | None:
    """Return a time, Moscow's unless it names its zone; ``None`` if it is not one."""
    plain = " ".join(written.replace(",", " ").split())
    for pattern in _FORMATS:
        try:
            return int(datetime.strptime(plain, pattern).replace(tzinfo=MOSCOW).timestamp()) * SECOND
        except ValueError:
            continue
    try:
        time = datetime.fromisoformat(plain)
    except ValueError:
        return None
    return int((time if time.tzinfo is not None else time.replace(tzinfo=MOSCOW)).timestamp()) * SECOND


def _plain(text: str) -> str:
    return " ".join(text.split())


def match(rows: Iterable[CabinetRow], messages: Iterable[Any]) -> tuple[dict[int, CabinetRow], dict[int, list[int]]]:
    """Match rows to unknown messages, one to one.

    Args:
        rows: The vendor's list.
        messages: Every message of the ledger that may be meant, accepted ones too: with ``id``, ``phone``, ``text``,
            ``state``, ``server_id``, ``intent_at`` and ``lease``.

    Returns:
        The row of each unknown message that has exactly one, and the lines for each that is ambiguous.
    """
    known = list(messages)
    taken = {one.server_id for one in known if one.state == State.ACCEPTED and one.server_id is not None}
    by_phone: defaultdict[str, list[Any]] = defaultdict(list)
    for one in known:
        by_phone[one.phone].append(one)
    fits: defaultdict[int, list[CabinetRow]] = defaultdict(list)
    means: dict[int, int] = {}
    for row in rows:
        if row.server_id is not None and row.server_id in taken:
            continue
        candidates = [one for one in by_phone.get(row.phone, ()) if _fits(row, one)]
        means[row.line] = len(candidates)
        for one in candidates:
            fits[one.id].append(row)
    proven, ambiguous = {}, {}
    for one in known:
        found = fits.get(one.id, [])
        if one.state != State.UNKNOWN or not found:
            continue
        if len(found) == 1 and means[found[0].line] == 1:
            proven[one.id] = found[0]
        else:
            ambiguous[one.id] = [row.line for row in found]
    return proven, ambiguous


def _fits(row: CabinetRow, one: Any) -> bool:
    if one.state == State.ACCEPTED and row.server_id is not None and one.server_id is not None:
        return False  # it has another number
    if row.text is not None and one.text is not None and row.text != _plain(one.text):
        return False
    if row.text is not None and one.text is None and row.time is None:
        return False
    return row.time is None or one.intent_at - _EARLY <= row.time <= one.lease + _LATE


async def reconcile(
    connection: AsyncConnection, tables: Tables, rows: list[CabinetRow], unread: Mapping[int, str]
) -> tuple[Reconciled, Callable[[int], Awaitable[None]]]:
    """Find what the vendor's list proves to be accepted.

    Returns:
        What was found, and what makes it accepted, in the connection's transaction, at a moment.
    """
    message, attempt = tables.message, tables.attempt
    unknown_phones = sa.select(message.c.phone).where(tables.is_unknown)
    query = (
        sa.select(message, attempt.c.intent_at, attempt.c.lease)
        .join(attempt, attempt.c.id == message.c.attempt_id)
        .where(
            message.c.state.in_([State.UNKNOWN.value, State.ACCEPTED.value, State.IN_FLIGHT.value]),
            message.c.phone.in_(unknown_phones),
        )
        .order_by(message.c.id)
    )
    messages = (await connection.execute(query)).all()
    proven, ambiguous = match(rows, messages)
    by_id = {one.id: one for one in messages}

    async def apply(now: int) -> None:
        for id_, row in sorted(proven.items()):
            await prove(connection, tables, now, by_id[id_], row.server_id)
            following = sa.update(attempt).where(attempt.c.id == by_id[id_].attempt_id)
            await connection.execute(following.values(next_poll=now))

    unknown = [one.id for one in messages if one.state == State.UNKNOWN]
    found = Reconciled(
        accepted={id_: row.line for id_, row in proven.items()},
        ambiguous={id_: tuple(lines) for id_, lines in ambiguous.items()},
        missing=tuple(id_ for id_ in unknown if id_ not in proven and id_ not in ambiguous),
        unread=tuple(unread),
        unread_why=dict(unread),
    )
    return found, apply
