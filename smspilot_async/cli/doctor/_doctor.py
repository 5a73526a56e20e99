"""``smspilot doctor``: check everything that sending needs, and say what to do about what is wrong.

It connects to the gateway step by step, then asks for the account. It sends no SMS and costs nothing; its output can be
shown to others: no key, no login, no password, no phone.
"""

from __future__ import annotations

import asyncio
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async import Retry, __version__
from smspilot_async._tools import clock as _clock
from smspilot_async.cli._errors import Exit
from smspilot_async.cli._language import said, word
from smspilot_async.cli._output import print_json, print_line, print_verbatim
from smspilot_async.cli.doctor import _account
from smspilot_async.cli.doctor._findings import Finding, State, fine, not_checked
from smspilot_async.cli.doctor._route import Route
from smspilot_async.errors import SmsPilotError
from smspilot_async.wire import JSON_LIBRARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async import AccountInfo, Client
    from smspilot_async.cli._connection import ConnectionOptions

_ONCE: Final = Retry(attempts=1)
_OF_THE_ANSWER: Final = ("key", "address", "sender", "balance", "clock")
_WIDTH: Final = len("test mode") + 2
_INDENT: Final = _WIDTH + 14


def doctor(connection: ConnectionOptions, *, sender: str | None, timeout: float, as_json: bool) -> int:
    """Check the connection to the gateway and the account, and report.

    Args:
        connection: Where the gateway is.
        sender: The sender's name to check, instead of the account's default.
        timeout: Seconds for each step.
        as_json: Print the findings as one document at the end, instead of a line for each as it comes.

    Raises:
        Problem: There is no key, or a setting is wrong.
    """
    client = connection.client(sender=sender, timeout=timeout, retry=_ONCE)
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _print(finding)

    asyncio.run(_examine(client, report, sender, timeout))
    report(_account.test_mode(connection.mode(client)))
    report(_versions())
    states = {finding.state for finding in findings}
    is_well = State.FAILED not in states
    if as_json:
        print_json({"ok": is_well, "checks": [_as_json(finding) for finding in findings]})
    else:
        print_line(_summary(states))
    return Exit.FINE if is_well else Exit.FAILED


def _summary(states: set[State]) -> str:
    if State.FAILED in states:
        return "Something is wrong: see above what to do."
    return "It works; see the warnings above." if State.WARNING in states else "All is well."


async def _examine(client: Client, report: Callable[[Finding], None], sender: str | None, timeout: float) -> None:  # noqa: ASYNC109
    arrived = await _go(Route(client.url, timeout=timeout), report)
    if arrived:
        async with client:
            await _ask(client, report, sender)
    else:
        for check in ("http", *_OF_THE_ANSWER):
            report(not_checked(check, "the gateway cannot be reached"))


async def _go(route: Route, report: Callable[[Finding], None]) -> bool:
    """Run the steps of the route, and return whether none failed."""
    failed = ""
    try:
        for check, step in route.steps:
            finding = not_checked(check, f"{failed} comes first") if failed else await step()
            report(finding)
            failed = check if finding.state is State.FAILED else failed
    finally:
        await route.aclose()
    return not failed


async def _ask(client: Client, report: Callable[[Finding], None], sender: str | None) -> None:
    clock = _clock.current()
    start = clock.monotonic()
    answer = await _info(client)
    now = clock.now()
    report(_account.http(answer, clock.monotonic() - start))
    report(_account.key(answer))
    report(_account.address(answer))
    if isinstance(answer, SmsPilotError):
        for check in ("sender", "balance"):
            report(not_checked(check, "the gateway gave no account data"))
    else:
        report(_account.sender(answer, sender))
        report(_account.balance(answer))
    report(_account.clock(now, client.gateway_time))


async def _info(client: Client) -> AccountInfo | SmsPilotError:
    try:
        return await client.info()
    except SmsPilotError as error:
        return error


def _versions() -> Finding:
    facts = {"smspilot": __version__, "python": platform.python_version(), "httpx": version("httpx")}
    by = "the standard library" if JSON_LIBRARY == "json" else JSON_LIBRARY
    says = f"smspilot {__version__}, Python {facts['python']}, httpx {facts['httpx']}, JSON by {by}"
    return fine("version", says, **facts, json=JSON_LIBRARY)


def _print(finding: Finding) -> None:
    check, state, to_do = map(word, (finding.check, finding.state, "to do"))
    print_verbatim(f"{check:<{_WIDTH}} {state:<11}  {said(finding.says)}", indent=_INDENT)
    if finding.advice:
        print_verbatim(f"{'':<{_WIDTH}} {to_do:>11}  {said(finding.advice)}", indent=_INDENT)


def _as_json(finding: Finding) -> dict[str, Any]:
    return attrs.asdict(finding, recurse=False)
