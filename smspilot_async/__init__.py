"""The asyncio client for the SMS gateway SMSPILOT.RU: typed, pooled, and always clear about what was sent.

Import everything from here; modules with a leading underscore are private.
"""

from smspilot_async._tools import loading as _loading  # noqa: F401 - first: it takes a Ctrl-C while the rest loads

# isort: split
import logging

from smspilot_async._client import Client
from smspilot_async._display.rows import to_dicts
from smspilot_async._health import Health
from smspilot_async._inbound.cursor import CursorError, CursorInUse, CursorState, FileCursor, InboundCursor
from smspilot_async._inbound.listener import InboundListener
from smspilot_async._requests.retry import Retry
from smspilot_async._sending.bulk import BulkRun, BulkStats
from smspilot_async._settings import ExposureWarning
from smspilot_async._statuses.checks import PacketCheck, PacketChecks
from smspilot_async._statuses.not_final import NotFinal
from smspilot_async._statuses.tracking import Tracking
from smspilot_async._tools.public import name_after
from smspilot_async._version import __version__
from smspilot_async.errors import (
    ERROR_CODES,
    AccountBlocked,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConnectionFailed,
    DuplicateMessage,
    ErrorCode,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    InvalidMessage,
    MessageRefused,
    MessageVetoed,
    NotFound,
    Outcome,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    Unanswered,
    VetoFailed,
)
from smspilot_async.hooks import Hooks, Observed, RequestInfo, RequestOutcome
from smspilot_async.models import (
    Accepted,
    AccountInfo,
    DeliveryStatus,
    InboundMessage,
    Message,
    MessageStatus,
    NotSent,
    Packet,
    Refused,
    Sendable,
    SendResult,
    SentMessage,
    Unknown,
)
from smspilot_async.text import PhoneKind, TextSize, describe_phone, measure, normalize_phone

__all__ = [
    "ERROR_CODES",
    "Accepted",
    "AccountBlocked",
    "AccountInfo",
    "AuthenticationError",
    "BadRequest",
    "BulkRun",
    "BulkStats",
    "Client",
    "ClientClosed",
    "ConnectionFailed",
    "CursorError",
    "CursorInUse",
    "CursorState",
    "DeliveryStatus",
    "DuplicateMessage",
    "ErrorCode",
    "ExposureWarning",
    "FileCursor",
    "GatewayBusy",
    "GatewayError",
    "Health",
    "Hooks",
    "InboundCursor",
    "InboundListener",
    "InboundMessage",
    "InsufficientFunds",
    "InvalidMessage",
    "Message",
    "MessageRefused",
    "MessageStatus",
    "MessageVetoed",
    "NotFinal",
    "NotFound",
    "NotSent",
    "Observed",
    "Outcome",
    "OutcomeUnknown",
    "Packet",
    "PacketCheck",
    "PacketChecks",
    "PhoneKind",
    "Reason",
    "Refused",
    "RequestInfo",
    "RequestOutcome",
    "Retry",
    "SendResult",
    "Sendable",
    "SentMessage",
    "SmsPilotError",
    "TextSize",
    "Tracking",
    "Unanswered",
    "Unknown",
    "VetoFailed",
    "__version__",
    "describe_phone",
    "measure",
    "normalize_phone",
    "to_dicts",
]

# The log of a library is shown only if the application configures logging.
logging.getLogger("smspilot_async").addHandler(logging.NullHandler())

name_after(__name__)
