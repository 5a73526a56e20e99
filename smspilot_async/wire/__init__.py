"""The gateway's protocol, sans I/O: commands to bytes, bytes to models. No network and no clock.

A command (:mod:`~smspilot_async.wire.commands`) is written in JSON or XML, exactly as API-2 documents it, and wrapped
in an HTTP request of the chosen style. Reading is lenient: whatever the gateway answers, in either format, is read as
far as it can be understood, and anything else becomes :class:`UnreadableAnswer`.
"""

from smspilot_async._tools.public import name_after
from smspilot_async.wire._decode import ErrorDocument, decode
from smspilot_async.wire._encode import encode
from smspilot_async.wire._envelope import Envelope, RequestStyle, wrap
from smspilot_async.wire._json import JSON_LIBRARY
from smspilot_async.wire._read import UnreadableAnswer
from smspilot_async.wire._redact import excerpt, redact
from smspilot_async.wire.commands import (
    Balance,
    Check,
    CheckPacket,
    Command,
    Cost,
    Credentials,
    Inbound,
    Info,
    Send,
    WireFormat,
)

__all__ = [
    "JSON_LIBRARY",
    "Balance",
    "Check",
    "CheckPacket",
    "Command",
    "Cost",
    "Credentials",
    "Envelope",
    "ErrorDocument",
    "Inbound",
    "Info",
    "RequestStyle",
    "Send",
    "UnreadableAnswer",
    "WireFormat",
    "decode",
    "encode",
    "excerpt",
    "redact",
    "wrap",
]

name_after(__name__)
