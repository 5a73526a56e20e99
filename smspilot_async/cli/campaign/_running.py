"""``smspilot campaign run`` and ``test``: what sends from here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from smspilot_async.cli._collector import loaded_is_spared
from smspilot_async.cli._errors import Exit
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli._outbox import actor_of, with_outbox
from smspilot_async.cli._output import note, print_json, print_line
from smspilot_async.cli.campaign._showing import progress_as_json, stands
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from smspilot_async import Client
    from smspilot_async.models import SentMessage
    from smspilot_async.outbox import Campaign, Outbox, PreviewRow, Progress

_A_LINE_EACH: Final = 10.0  # seconds
_FIRST_WAVE: Final = "first"


def test(
    ledger: str | None,
    name: str,
    client: Client,
    *,
    to: str,
    line: int | None,
    actor: str | None,
    as_json: bool,
) -> int:
    """Send one real row to one's own phone."""

    async def send(outbox: Outbox) -> tuple[PreviewRow, SentMessage]:
        async with client:
            campaign = await outbox.campaigns.get(name)
            return await campaign.test(client, to=to, line=line, actor=actor_of(actor))

    row, sent = with_outbox(ledger, send)
    if as_json:
        print_json({"line": row.line, "text": row.text, "server_id": sent.server_id, "parts": sent.parts})
    else:
        sms = row.text
        print_line(f"Line {row.line} was sent to your phone, as server id {sent.server_id}: {sms}")
    return Exit.FINE


def run(ledger: str | None, name: str, client: Client, *, in_flight: int, packet_size: int, as_json: bool) -> int:
    """Send a campaign here, until it is finished, cancelled or paused, or a signal says stop."""

    async def send(outbox: Outbox) -> int:
        campaign = await outbox.campaigns.get(name)
        stopping = asyncio.Event()
        with Interrupts(stopping.set, stopping.set) as interrupts, loaded_is_spared():
            async with client, campaign.running(client, in_flight=in_flight, packet_size=packet_size) as running:
                note(f"sending {name} to {client.url}; Ctrl-C or SIGTERM ends it well")
                watching = asyncio.ensure_future(_watch(aiter(running), as_json=as_json))
                stopped = asyncio.ensure_future(stopping.wait())
                await asyncio.wait({watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
                running.stop()
                stopped.cancel()
                await watching
        if interrupts.exit_code == Exit.INTERRUPTED:
            return Exit.INTERRUPTED
        return await _end(campaign, as_json=as_json)

    return with_outbox(ledger, send)


async def _watch(looks: object, *, as_json: bool) -> None:
    """Print how far it is: a line every ten seconds, and at each change of state."""
    clock = asyncio.get_running_loop().time
    shown_at, shown_state = float("-inf"), ""
    async for progress in looks:  # type: ignore[attr-defined] # the run's own iterator
        if progress.state == shown_state and clock() < shown_at + _A_LINE_EACH:
            continue
        shown_at, shown_state = clock(), progress.state
        print_json(progress_as_json(progress)) if as_json else note(_line(progress))


def _line(progress: Progress) -> str:
    counts = progress.messages
    shown = ", ".join(f"{counts[state]:,} {state.replace('_', ' ')}" for state in counts if counts[state])
    pace = f"; {progress.per_second:,.0f} a second" if progress.per_second else ""
    return f"{progress.name} is {stands(progress)}: {shown}{pace}"


def _say_how_it_goes_on(progress: Progress) -> None:
    name = progress.name
    if progress.state == "paused" and progress.reason == _FIRST_WAVE:
        print_line(f"The first wave is out. Look at it: smspilot campaign messages {name} --outcome accepted")
    if progress.state == "paused":
        print_line(f"The rest waits until: smspilot campaign resume {name}")
    elif progress.is_over:
        print_line(f"See what became of it: smspilot campaign report {name} report.html")


async def _end(campaign: Campaign, *, as_json: bool) -> int:
    progress = await campaign.status()
    if as_json:
        print_json(progress_as_json(progress))
    else:
        print_line(_line(progress))
        _say_how_it_goes_on(progress)
    if progress.state == "paused":
        return Exit.FINE if progress.reason == _FIRST_WAVE else Exit.FAILED
    if progress.messages[Outcome.UNKNOWN]:
        return Exit.UNKNOWN
    return Exit.REFUSED if progress.messages[Outcome.REFUSED] else Exit.FINE
