"""The orders of ``smspilot campaign``: each changes a campaign, says what it did, and is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._outbox import actor_of, with_outbox
from smspilot_async.cli._output import count, print_json, print_line
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from smspilot_async.cli.campaign._window import WindowOptions
    from smspilot_async.outbox import Campaign, Outbox, Progress, SendingWindow, SettleAs


def _ordered(
    ledger: str | None, name: str, order: Callable[[Campaign], Coroutine[Any, Any, Any]]
) -> tuple[Progress, int]:
    async def give(outbox: Outbox) -> tuple[Progress, int]:
        campaign = await outbox.campaigns.get(name)
        await order(campaign)
        progress = await campaign.status()
        return progress, progress.messages["in_flight"]

    return with_outbox(ledger, give)


def _say(progress: Progress, line: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"campaign": progress.name, "state": progress.state, "reason": progress.reason})
    else:
        print_line(line)
    return Exit.FINE


def approve(
    ledger: str | None, name: str, *, second_person: bool, overlap_ok: bool, actor: str | None, as_json: bool
) -> int:
    """Approve a campaign."""
    more = {"second_person": second_person, "overlap_ok": overlap_ok}
    progress, _ = _ordered(ledger, name, lambda campaign: campaign.approve(actor=actor_of(actor), **more))
    line = f"{name} is approved: {count(progress.total, 'message')}. Start it: smspilot campaign start {name}"
    return _say(progress, line, as_json=as_json)


def change(
    ledger: str | None,
    name: str,
    changes: Mapping[str, Any],
    hours: WindowOptions | None,
    *,
    actor: str | None,
    as_json: bool,
) -> int:
    """Change what a campaign may use."""

    async def order(campaign: Campaign) -> None:
        window: dict[str, Any] = {} if hours is None else {"window": hours.change(await _window_of(campaign))}
        await campaign.change(**changes, **window, actor=actor_of(actor))

    progress, _ = _ordered(ledger, name, order)
    line = f"{name} is a draft again. Estimate, approve and start it: smspilot campaign estimate {name}"
    return _say(progress, line, as_json=as_json)


async def _window_of(campaign: Campaign) -> SendingWindow | None:
    from smspilot_async.outbox import SendingWindow  # noqa: PLC0415 - an extra

    written = (await campaign.info()).settings.window
    return None if written is None else SendingWindow.from_json(written)


def start(ledger: str | None, name: str, *, first: int | None, actor: str | None, as_json: bool) -> int:
    """Let a campaign send."""
    progress, _ = _ordered(ledger, name, lambda campaign: campaign.start(first=first, actor=actor_of(actor)))
    wave = "" if first is None else f", and pauses after {count(first, 'message')}"
    line = f"{name} is running{wave}. Send it here: smspilot campaign run {name}; or by smspilot worker."
    return _say(progress, line, as_json=as_json)


def pause(ledger: str | None, name: str, reason: str, *, actor: str | None, as_json: bool) -> int:
    """Let nothing more of a campaign leave."""
    progress, in_flight = _ordered(ledger, name, lambda campaign: campaign.pause(reason, actor=actor_of(actor)))
    line = f"{name} is paused: nothing more leaves{_still(in_flight)}. To go on: smspilot campaign resume {name}"
    return _say(progress, line, as_json=as_json)


def resume(ledger: str | None, name: str, *, first: int | None, actor: str | None, as_json: bool) -> int:
    """Let a campaign send again."""
    progress, _ = _ordered(ledger, name, lambda campaign: campaign.resume(first=first, actor=actor_of(actor)))
    line = f"{name} is running again. Send it here: smspilot campaign run {name}; or by smspilot worker."
    return _say(progress, line, as_json=as_json)


def cancel(ledger: str | None, name: str, reason: str | None, *, actor: str | None, as_json: bool) -> int:
    """End a campaign for good."""
    progress, in_flight = _ordered(ledger, name, lambda campaign: campaign.cancel(reason, actor=actor_of(actor)))
    kept = count(progress.messages[Outcome.NOT_SENT], "message")
    line = f"{name} is cancelled: {kept} not sent, {progress.messages[Outcome.ACCEPTED]:,} had been accepted"
    return _say(progress, f"{line}{_still(in_flight)}.", as_json=as_json)


def _still(in_flight: int) -> str:
    return f"; {count(in_flight, 'message')} in flight may still be accepted" if in_flight else ""


def retry(
    ledger: str | None,
    name: str,
    select: str,
    *,
    expect: int | None,
    why: str | None,
    actor: str | None,
    as_json: bool,
) -> int:
    """Send some of a campaign's messages again."""

    async def again(outbox: Outbox) -> Progress:
        campaign = await outbox.campaigns.get(name)
        if expect is None:
            found = await campaign.count_retried(select)
            raise Problem(
                f"{count(found, 'message')} would be sent again. Nothing was changed. To order it: --expect {found}."
                if found
                else f"no message of {name} that may be sent again is {select}. Nothing was changed."
            )
        await campaign.retry(select, expect=expect, why=why, actor=actor_of(actor))
        return await campaign.status()

    progress = with_outbox(ledger, again)
    line = f"{count(expect or 0, 'message')} of {name} will be sent again; it is {progress.state}."
    if progress.state == "paused":
        line += f" To go on: smspilot campaign resume {name}"
    return _say(progress, line, as_json=as_json)


def settle(
    ledger: str | None,
    name: str,
    select: str,
    as_: SettleAs,
    *,
    expect: int | None,
    why: str | None,
    actor: str | None,
    as_json: bool,
) -> int:
    """Settle unknown messages of a campaign."""

    async def decide(outbox: Outbox) -> Progress:
        campaign = await outbox.campaigns.get(name)
        if expect is None:
            found = await campaign.count_unsettled(select)
            raise Problem(
                f"{count(found, 'message')} would be settled as {as_}. Nothing was changed. To do it: --expect {found}."
                if found
                else f"no message of {name} can be settled that is {select}: those whose last request may still arrive "
                "have to wait. Nothing was changed."
            )
        await campaign.settle(select, as_=as_, expect=expect, why=why, actor=actor_of(actor))
        return await campaign.status()

    progress = with_outbox(ledger, decide)
    return _say(
        progress, f"{count(expect or 0, 'message')} of {name} settled as {as_}; nothing was sent.", as_json=as_json
    )
