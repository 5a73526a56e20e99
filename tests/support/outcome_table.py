"""Every public error, and the one word for what became of a message in every place that says it.

The page on errors shows this very table; `tests/test_outcomes.py` holds both to the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smspilot_async import (
    AccountBlocked,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConnectionFailed,
    CursorError,
    CursorInUse,
    DuplicateMessage,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    InvalidMessage,
    MessageRefused,
    MessageStatus,
    MessageVetoed,
    NotFinal,
    NotFound,
    OutcomeUnknown,
    Reason,
    Unanswered,
    VetoFailed,
)

if TYPE_CHECKING:
    from smspilot_async import SmsPilotError

_ABOUT: Final[dict[str, Any]] = {"command": "send", "message_id": 7}

OF_SENDS: Final[dict[str, SmsPilotError]] = {
    "InvalidMessage": InvalidMessage("is wrong", field="to", code=111, message_id=7),
    "ClientClosed": ClientClosed("words", **_ABOUT),
    "MessageVetoed": MessageVetoed("words", reason="opted out", message_id=7),
    "VetoFailed": VetoFailed("words", reason="OptOuts.veto raised LookupError", message_id=7),
    "ConnectionFailed": ConnectionFailed("words", **_ABOUT),
    "GatewayError": GatewayError("words", code=999, **_ABOUT),
    "AuthenticationError": AuthenticationError("words", code=101, **_ABOUT),
    "AccountBlocked": AccountBlocked("words", code=106, **_ABOUT),
    "InsufficientFunds": InsufficientFunds("words", code=112, **_ABOUT),
    "MessageRefused": MessageRefused("words", code=111, **_ABOUT),
    "DuplicateMessage": DuplicateMessage("words", code=243, **_ABOUT),
    "GatewayBusy": GatewayBusy("words", code=110, **_ABOUT),
    "NotFound": NotFound("words", code=302, **_ABOUT),
    "BadRequest": BadRequest("words", code=240, **_ABOUT),
    "OutcomeUnknown": OutcomeUnknown("words", reason=Reason.TIMEOUT, message_id=7),
}
"""What may come of a send."""

OF_OTHERS: Final[dict[str, SmsPilotError]] = {
    "Unanswered": Unanswered("words", reason=Reason.TIMEOUT, command="balance"),
    "NotFinal": NotFinal("words"),
    "NotFinal, with a status": NotFinal("words", status=MessageStatus(status=1)),
    "CursorError": CursorError("words"),
    "CursorInUse": CursorInUse("words"),
}
"""What only reads and waiting raise."""


def rows() -> list[tuple[str, str, str, str]]:
    """Class, outcome, whether doing the same again by itself can do no harm, and the result of a send."""
    named = {"refused": "Refused", "not_sent": "NotSent", "unknown": "Unknown"}
    return [
        (name, error.outcome.value, "yes" if error.may_retry else "no", named[error.outcome] if is_send else "")
        for errors, is_send in ((OF_SENDS, True), (OF_OTHERS, False))
        for name, error in errors.items()
    ]


def in_markdown() -> str:
    """The table as the documentation shows it."""
    lines = ["| error | `outcome` | `may_retry` | result of a send |", "|---|---|---|---|"]
    for name, outcome, may_retry, result in rows():
        cls, comma, more = name.partition(",")
        lines.append(f"| `{cls}`{comma}{more} | `{outcome}` | {may_retry} | {f'`{result}`' if result else ''} |")
    return "\n".join(lines)
