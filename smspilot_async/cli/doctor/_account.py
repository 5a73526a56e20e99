"""What the gateway's answer to ``info``, or the lack of one, says about the key and the account."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from smspilot_async.cli._connection import Mode
from smspilot_async.cli._errors import bare, no_answer
from smspilot_async.cli._output import count, money
from smspilot_async.cli.doctor._findings import Finding, failed, fine, not_checked, warning
from smspilot_async.errors import (
    ERROR_CODES,
    AccountBlocked,
    AuthenticationError,
    ConnectionFailed,
    GatewayError,
    Reason,
    SmsPilotError,
    Unanswered,
)

if TYPE_CHECKING:
    from datetime import datetime

    from smspilot_async.models import AccountInfo

_IP_RESTRICTION: Final = 113
_LOW: Final = Decimal(100)
"""Roubles below which it is time to pay: some tens of messages."""
_SKEW: Final = timedelta(seconds=60)
_ENDPOINT: Final = "Check SMSPILOT_URL: the gateway's own address is https://smspilot.ru/api2.php."


def http(answer: AccountInfo | SmsPilotError, seconds: float) -> Finding:
    """Check that the gateway answered, whatever its answer."""
    milliseconds = round(seconds * 1000)
    match answer:
        case ConnectionFailed():
            advice = "Try again: a moment ago, the steps above succeeded."
            return failed("http", f"no connection: {bare(answer)}", advice)
        case Unanswered(reason=Reason.TIMEOUT):
            says = f"the request was sent, and no answer came within {seconds:.3g} s"
            return failed(
                "http", says, "Try again with a longer --timeout; if that does not help, ask the vendor's support."
            )
        case Unanswered(http_status=status):
            says = f"what answers is not the gateway: {no_answer(answer)}"
            return failed("http", says, _ENDPOINT, status=status)
        case _:
            return fine("http", f"the gateway answered in {milliseconds} ms", milliseconds=milliseconds)


def key(answer: AccountInfo | SmsPilotError) -> Finding:
    """Check that the gateway accepts the key."""
    match answer:
        case SmsPilotError() if _is_address_refused(answer):
            return not_checked("key", "the gateway does not check it for this address")
        case AuthenticationError() | AccountBlocked():
            return failed("key", _refusal(answer), _advice(answer), code=answer.code)
        case GatewayError():
            return failed("key", f"not known: {_refusal(answer)}", _advice(answer), code=answer.code)
        case SmsPilotError():
            return not_checked("key", "the gateway did not answer")
        case _:
            return fine("key", "the gateway accepts it, and the account is not blocked")


def address(answer: AccountInfo | SmsPilotError) -> Finding:
    """Check that the key may be used from this machine."""
    if isinstance(answer, GatewayError) and _is_address_refused(answer):
        return failed("address", "the key may not be used from this machine's address", _advice(answer), code=113)
    if isinstance(answer, SmsPilotError):
        return not_checked("address", "only an accepted key shows it")
    return fine("address", "the key may be used from here")


def sender(account: AccountInfo, name: str | None) -> Finding:
    """Check that messages may use this sender's name or, without one, the account's default."""
    if name is None:
        return _default_sender(account)
    if name in account.senders:
        return fine("sender", f"{name} is registered")
    if account.any_sender:
        return fine("sender", f"{name} is not registered, but the account may use any name")
    if account.any_sender is None and not account.senders:
        return not_checked("sender", "the gateway does not say which names are allowed")
    alike = any(name.casefold() == known.casefold() for known in account.senders)
    advice = "Write it in upper and lower case as it is registered." if alike else ERROR_CODES[204].advice
    return failed("sender", f"{name} is not registered for this account", advice, code=204)


def _default_sender(account: AccountInfo) -> Finding:
    if account.default_sender is None:
        return not_checked("sender", "the gateway does not say what the account's default is")
    if not account.default_sender:
        return warning("sender", "the account has no default", "Give every message a sender, or the Client one.")
    return fine("sender", "messages without one use the account's default")


def balance(account: AccountInfo) -> Finding:
    """Check that there is money to send with."""
    left = account.balance
    if left is None:
        return not_checked("balance", "the gateway does not say")
    says, facts = f"{money(left)} left", {"balance": left, "currency": "RUB"}
    if left <= 0:
        return failed("balance", says, ERROR_CODES[112].advice, **facts)
    if left < _LOW:
        return warning("balance", f"low: {says}", ERROR_CODES[112].advice, **facts)
    return fine("balance", says, **facts)


def clock(ours: datetime, gateways: datetime | None) -> Finding:
    """Compare the clocks: the gateway reads our ``send_at`` and ``inbound(since=…)`` by its own clock."""
    if gateways is None:
        return not_checked("clock", "the answer does not contain the gateway's time")
    skew = round((ours - gateways).total_seconds())
    if abs(skew) <= _SKEW.total_seconds():
        return fine("clock", "this machine's agrees with the gateway's", skew_seconds=skew)
    says = f"this machine's is {count(abs(skew), 'second')} {'ahead of' if skew > 0 else 'behind'} the gateway's"
    return warning("clock", says, "Set it by NTP: scheduled messages would go out at other times.", skew_seconds=skew)


def test_mode(mode: Mode) -> Finding:
    """Report whether messages reach phones."""
    facts = {"on": mode is Mode.TEST, "mode": mode}
    match mode:
        case Mode.TEST:
            advice = "Unset SMSPILOT_TEST to send for real."
            return warning("test mode", "on: no message reaches a phone", advice, **facts)
        case Mode.TEST_KEY:
            return warning("test mode", f"off, but {mode.words}", "Use the key of your account.", **facts)
        case Mode.OTHER:
            return fine("test mode", f"off, but {mode.words}", **facts)
        case Mode.LIVE:
            return fine("test mode", "off: messages are sent for real", **facts)


def _is_address_refused(error: SmsPilotError) -> bool:
    return isinstance(error, GatewayError) and error.code == _IP_RESTRICTION


def _refusal(error: GatewayError) -> str:
    if error.code is None:
        return "refused without a code"
    if error.code in ERROR_CODES:
        return f"error {error.code}, {ERROR_CODES[error.code].text}"
    return f"error {error.code}" + (f": {error.description}" if error.description else "")


def _advice(error: GatewayError) -> str:
    if error.code is not None and error.code in ERROR_CODES:
        return ERROR_CODES[error.code].advice
    return "Look the code up in the vendor's list, or ask its support."
