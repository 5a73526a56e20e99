"""What the gateway's call says: the parameters of a GET, or the form of a POST, read and checked. No I/O."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

import attrs

from smspilot_async._statuses.server_ids import NO_ID, is_server_id
from smspilot_async.models import MessageStatus

LARGEST_FORM: Final = 4096
"""Bytes of the longest query or body that is read."""

_MOST_FIELDS: Final = 32
_KNOWN: Final = frozenset({"server_id", "status", "error"})
_is_status = re.compile(r"-?[0-9]{1,3}", re.ASCII).fullmatch
_is_error = re.compile(r"[0-9]{0,5}", re.ASCII).fullmatch
_name_in = re.compile(r'(?i:\nContent-Disposition: *form-data; *name="?([^";\n]*))', re.ASCII).search


@attrs.frozen(kw_only=True)
class StatusEvent(MessageStatus):
    """A status that came by a call of the gateway to the URL of one particular send.

    Attributes:
        received: When the call came, aware, UTC.
        nonce: What distinguishes this send from every other one, also of the same ``id``.
    """

    received: datetime
    nonce: bytes = attrs.field(repr=False)


@attrs.frozen
class Form:
    """The three values of a call."""

    server_id: str
    status: int
    error: int | None


def fields_of(form: bytes) -> dict[str, str] | None:
    """Read the known parameters; ``None`` if that cannot be done without guessing."""
    if len(form) > LARGEST_FORM:
        return None
    try:
        if form.startswith(b"--"):
            pairs = _pairs_in_parts(form)
        else:
            pairs = parse_qsl(form.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    known = [(name, value) for name, value in pairs if name in _KNOWN]
    fields = dict(known)
    return fields if len(fields) == len(known) else None


def _pairs_in_parts(form: bytes) -> list[tuple[str, str]]:
    """Read ``multipart/form-data``, as curl sends it for an array; its first line is its boundary.

    Raises:
        ValueError: It is not that, is incomplete, or has too many fields.
    """
    text = "\n" + form.decode("latin-1").replace("\r\n", "\n")
    boundary = text[: text.index("\n", 1)]
    _, *parts, end = text.split(boundary, _MOST_FIELDS + 1)
    if not end.startswith("--"):
        raise ValueError
    split = [part.partition("\n\n") for part in parts]
    return [(name[1], value) for head, _, value in split if (name := _name_in(head))]


def server_id_of(fields: dict[str, str]) -> str | None:
    """Read the gateway's number of a message; ``None`` if it is not valid."""
    given = fields.get("server_id", "")
    return given if is_server_id(given) and given not in NO_ID else None


def read(form: bytes) -> Form | None:
    """Read a call; ``None`` if the gateway cannot have made it."""
    fields = fields_of(form)
    if fields is None:
        return None
    server_id, status, error = server_id_of(fields), fields.get("status", ""), fields.get("error", "")
    if server_id is None or not _is_status(status) or not _is_error(error):
        return None
    return Form(server_id, int(status), int(error) if error else None)
