"""The gateway's ids of messages and packets, and the objects that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smspilot_async.errors import InvalidMessage
from smspilot_async.models import Accepted, NotSent, Packet, Refused, SendResult, SentMessage, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

Trackable: TypeAlias = SentMessage | Packet | SendResult[Any] | str | int
"""What identifies messages: answers, results of a bulk run, and the gateway's ids."""

NO_ID: Final = frozenset({None, "", "0"})
_NOT_ACCEPTED: Final = (Refused, Unknown, NotSent)
is_server_id = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII).fullmatch


def server_id(given: object, field: str, code: int) -> str:
    """Return the gateway's id of a message or a packet, from the id itself or an object that holds it.

    Raises:
        InvalidMessage: It cannot be such an id.
    """
    if isinstance(given, SentMessage):
        given = given.server_id
    elif isinstance(given, Packet):
        given = given.server_packet_id
    text = "" if given is None or isinstance(given, bool) else str(given).strip()
    if not is_server_id(text):
        raise InvalidMessage("needs an id that the gateway has assigned", field=field, code=code)
    return text


def packet_id(given: object) -> str | InvalidMessage:
    """Return a packet's id, or the error that says why it cannot be one."""
    try:
        return server_id(given, "server_packet_id", 304)
    except InvalidMessage as error:
        return error.with_traceback(None)


def flat(given: object) -> Iterator[object]:
    """Yield each id, and each answer that holds one, from nested collections.

    Results of messages that were not accepted are skipped.
    """
    if isinstance(given, _NOT_ACCEPTED):
        return
    if isinstance(given, Accepted):
        yield given.sent
    elif isinstance(given, Packet):
        yield from given.accepted
    elif isinstance(given, (SentMessage, str, bytes)) or not isinstance(given, Iterable):
        yield given
    else:
        for one in given:
            yield from flat(one)
