"""Scene two of the demo: a campaign from a ledger, whose sender is killed with a packet on the wire.

What sends is ``smspilot worker``, in processes of its own; the first is killed, the second goes on. Callbacks reach
this process, which does not send, and prove what the gateway had accepted. The gateway is the emulator, with a typical
account: two registered senders, a blacklist, a filter, and a few phones that are switched off. Its clock is advanced by
hand, so that deliveries take no time. In the end ledger and gateway are compared, message by message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from functools import partial
from importlib.resources import as_file, files
from subprocess import PIPE, STDOUT, Popen
from typing import TYPE_CHECKING, Any, Final

from smspilot_async import Client
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks.asgi import callback_app
from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._output import Show, live_lines
from smspilot_async.cli.demo import _proofs
from smspilot_async.cli.demo._ending import MOMENTS, Played, compare
from smspilot_async.emulator import Account, Emulator, Fault
from smspilot_async.errors import Outcome
from smspilot_async.outbox import Outbox, read_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from smspilot_async.cli.demo._proofs import Doubt
    from smspilot_async.emulator import AcceptedMessage
    from smspilot_async.outbox import Campaign, CampaignMessage, Estimate

FAULTS: Final = {Fault.ACCEPT_THEN_RESET: 0.05, Fault.RESET_AFTER_READ: 0.02}  # of the packets
_LIST: Final = "recipients.csv"
_NAME: Final = "spring"
PACKET_SIZE: Final = 20
_KILLED_AFTER: Final = 620  # messages accepted: no later row of the list is one that the gateway refuses
_UNDELIVERED: Final = 0.02
_DELIVERY: Final = timedelta(seconds=30)
_HANDOVER: Final = timedelta(hours=1)  # the last status comes first: one callback for each message, not two
_FILTERED: Final = "Cкидка до вечера: Рaспродажа!"  # Latin letters in Cyrillic words: caught by the operators' filters
_CALLBACKS: Final = "https://shop.example/smspilot"
_PATIENCE: Final = 100.0
_LOOK: Final = 0.05


async def play(seed: int, folder: Path) -> Played:
    """Send the shipped list as a campaign, kill its sender, go on, and compare.

    Args:
        seed: Decides which packets are dropped.
        folder: For the ledger.

    Raises:
        Problem: A sender does not start.
    """
    # Loop protection would hide duplicates; it depends on the account, and lasts only minutes.
    times: Any = {"handover": _HANDOVER, "delivery": _DELIVERY, "loop_protection": None}
    async with Emulator.serve(account=_account(), seed=seed, undelivered=_UNDELIVERED, **times) as gateway:
        gateway.refuse(code=248, text=_FILTERED)
        gateway.random_faults(FAULTS, command="send", seed=seed)
        return await _Scene(gateway, folder).play()


class _Scene:
    """The scene, with what its parts share.

    Args:
        gateway: The emulator.
        folder: For the ledger.
    """

    def __init__(self, gateway: Emulator, folder: Path) -> None:
        self._gateway = gateway
        self._ledger = f"sqlite:///{folder / 'sms.db'}"
        self._secret = secrets.token_urlsafe(24)

    async def play(self) -> Played:
        """Make the campaign, send it with a kill in its middle, and compare."""
        async with Client(self._gateway.api_key, url=self._gateway.url) as client:
            await Outbox.create(self._ledger, client)
            async with Outbox(self._ledger) as outbox, self._web_application(outbox):
                campaign, estimate = await _started(outbox, client)
                with live_lines() as show:
                    killed = await self._killed(campaign, show)
                    async with self._sender() as second:
                        sent = await self._sent_to_its_end(campaign, second, killed["in_flight"], show)
                        doubts = _proofs.in_doubt(await _rows(campaign), PACKET_SIZE)
                        await self._proven(campaign, doubts, show)
                moments: dict[str, Mapping[str, int]] = dict(
                    zip(MOMENTS, (killed, sent, await _counts(campaign)), strict=True)
                )
                info = await campaign.info()
                ending = compare(info, await _rows(campaign), self._gateway.messages)
        return Played(info=info, estimate=estimate, moments=moments, doubts=doubts, ending=ending)

    @contextlib.asynccontextmanager
    async def _web_application(self, outbox: Outbox) -> AsyncIterator[None]:
        """Take the gateway's callbacks, as an application does that has opened the same ledger."""
        inbox = CallbackInbox(_CALLBACKS, secret=self._secret, sink=outbox.callback_sink())
        async with inbox:
            self._gateway.callbacks_to = callback_app(inbox)
            yield

    @contextlib.asynccontextmanager
    async def _sender(self) -> AsyncIterator[Popen[str]]:
        """Run ``smspilot worker``; leaving the block ends it as a deploy does."""
        command = [sys.executable, "-m", "smspilot_async", "worker", "--callbacks", _CALLBACKS]
        options = ["--packet-size", str(PACKET_SIZE), "--in-flight", "1"]  # one at a time: the seed decides everything
        pipes: Any = {"stdout": PIPE, "stderr": STDOUT, "env": self._environment()}
        process = await asyncio.to_thread(partial(Popen, [*command, *options], text=True, **pipes))
        try:
            yield process
        finally:
            process.terminate()
            await asyncio.to_thread(process.__exit__, None, None, None)  # waits, and closes the pipe

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("SMSPILOT_")}
        return others | {
            "SMSPILOT_LEDGER": self._ledger,
            "SMSPILOT_URL": self._gateway.url,
            "SMSPILOT_API_KEY": self._gateway.api_key,
            "SMSPILOT_CALLBACK_SECRET": self._secret,
        }

    async def _killed(self, campaign: Campaign, show: Show) -> Mapping[str, int]:
        """Run a sender until half is sent, and kill it while the answer to a packet is on its way."""
        is_held = self._hold_an_answer()
        async with self._sender() as first:
            await _until(lambda _: is_held.is_set(), campaign, first, show)
            first.kill()
            await asyncio.to_thread(first.wait)
        self._gateway.release()
        return await _counts(campaign)

    def _hold_an_answer(self) -> threading.Event:
        """Let the gateway hold back its answer to a packet in the middle.

        Returns:
            What is set once it has accepted that packet.
        """
        is_held = threading.Event()
        accepted: list[str] = []

        def on_message(message: AcceptedMessage) -> None:  # in the server's thread
            if len(accepted) < _KILLED_AFTER:
                accepted.append(message.server_packet_id)
                if len(accepted) == _KILLED_AFTER:
                    self._gateway.fail_next("send", Fault.SLOW)
            elif message.server_packet_id != accepted[-1]:
                is_held.set()

        self._gateway.subscribe(on_message)
        return is_held

    async def _sent_to_its_end(
        self, campaign: Campaign, sender: Popen[str], held: int, show: Show
    ) -> Mapping[str, int]:
        """Wait until nothing is left to send but what the killed sender holds."""
        await _until(lambda counts: not counts["pending"] and counts["in_flight"] <= held, campaign, sender, show)
        return await _counts(campaign)

    async def _proven(self, campaign: Campaign, doubts: Sequence[Doubt], show: Show) -> None:
        """Let the gateway call back, and show each proof as it arrives."""
        calling = asyncio.create_task(self._delivered())
        while not calling.done():
            left = _proofs.unproven(await _rows(campaign, "unknown,in_flight"))
            show(_proofs.rows(doubts, left, is_over=False))
            await asyncio.wait([calling], timeout=_LOOK)
        await calling

    async def _delivered(self) -> None:
        """Let the operators deliver, and the gateway call back."""
        self._gateway.clock.advance(seconds=_DELIVERY.total_seconds())
        await self._gateway.settled()


async def _until(
    is_so: Callable[[Mapping[str, int]], bool], campaign: Campaign, sender: Popen[str], show: Show
) -> None:
    """Wait for something that a sender does, and show how far it is.

    Raises:
        Problem: It ended before that, or takes too long.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE
    while not is_so(counts := await _counts(campaign)):
        accepted, unknown = counts[Outcome.ACCEPTED], counts[Outcome.UNKNOWN]
        show([(f"   {accepted:,} of {sum(counts.values()):,} accepted, {unknown:,} unknown", "quiet")])
        if sender.poll() is not None or loop.time() > until:
            raise Problem(f"the demo's sender got stuck. {await _last_words(sender)}", Exit.FAILED)
        await asyncio.sleep(_LOOK)


async def _last_words(sender: Popen[str]) -> str:
    sender.kill()
    assert sender.stdout is not None  # noqa: S101 - it is a pipe
    return (await asyncio.to_thread(sender.stdout.read)).strip()


async def _started(outbox: Outbox, client: Client) -> tuple[Campaign, Estimate]:
    """Make the campaign of the shipped list, and let it send."""
    with as_file(files("smspilot_async.cli").joinpath("demo_data", _LIST)) as path:
        rows = await asyncio.to_thread(read_rows, path)
        campaign = await outbox.campaigns.create(_NAME, rows, unique="text")
    estimate = await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    return campaign, estimate


async def _rows(campaign: Campaign, outcome: str | None = None) -> list[CampaignMessage]:
    return [message async for message in campaign.messages(outcome=outcome)]


async def _counts(campaign: Campaign) -> Mapping[str, int]:
    return (await campaign.status()).messages


def _account() -> Account:
    return Account(
        api_key="DEMO" * 16,
        name="Demo",
        balance=Decimal("10000.00"),
        prices={"TELE2": Decimal("2.19")},
        senders=("SHOP", "CLINIC"),
        default_sender="SHOP",
        any_sender=False,
        blacklist=("79087901700", "79087905100"),
    )
