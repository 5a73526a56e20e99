"""``smspilot outbox …`` and ``smspilot worker``: a ledger made, looked at, halted and worked from the command line."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from smspilot_async.cli._collector import loaded_is_spared
from smspilot_async.cli._errors import Exit, Problem, exit_code, explain, explain_end
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli._metrics import serving_metrics
from smspilot_async.cli._output import count, note, print_json, print_line
from smspilot_async.errors import GatewayBusy, InvalidMessage, SmsPilotError, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from smspilot_async import Client
    from smspilot_async.callbacks import CallbackInbox
    from smspilot_async.outbox import FleetWorker, Outbox, UnknownPolicy, Worker

Answer = TypeVar("Answer")

_OUTBOX_LOG: Final = logging.getLogger("smspilot_async.outbox")
_ENGINE_LOGS: Final = ("procrastinate", "psycopg.pool")
_TRY_AGAIN: Final = 5.0  # seconds before a worker that could not begin begins again


def init(ledger: str | None, client: Client, *, as_json: bool) -> int:
    """Make a ledger."""
    from smspilot_async.outbox import Outbox  # noqa: PLC0415 - an extra

    async def make() -> None:
        async with client:
            await Outbox.create(ledger, client)

    _run(make)
    mode = "test" if client.is_test else "live"
    if as_json:
        print_json({"created": True, "endpoint": client.url, "mode": mode})
    else:
        print_line(f"The ledger was made, for this account, {client.url}, {mode}.")
    return Exit.FINE


def upgrade(ledger: str | None, *, as_json: bool) -> int:
    """Bring a ledger's tables to this version."""
    from smspilot_async.outbox import Outbox  # noqa: PLC0415 - an extra

    before, version = _run(lambda: Outbox.upgrade(ledger))
    if as_json:
        print_json({"before": before, "version": version})
    elif before == version:
        print_line(f"The ledger's tables are of this version already ({version}).")
    else:
        print_line(f"The ledger's tables were upgraded from version {before} to {version}.")
    return Exit.FINE


def halt(ledger: str | None, reason: str, *, everything: bool, actor: str | None, as_json: bool) -> int:
    """Let nothing leave any more, and say how many still left."""
    order = with_outbox(ledger, lambda outbox: outbox.halt(reason, everything=everything, actor=actor_of(actor)))
    if as_json:
        print_json({"halted": "all" if everything else "marketing", "left_after": order.left_after})
    else:
        what = "Nothing" if everything else "No marketing"
        print_line(f"{what} leaves any more; {count(order.left_after, 'message')} left after the order.")
    return Exit.FINE


def release(ledger: str | None, reason: str | None, *, actor: str | None, as_json: bool) -> int:
    """Resume sending."""
    with_outbox(ledger, lambda outbox: outbox.release(reason, actor=actor_of(actor)))
    if as_json:
        print_json({"halted": None})
    else:
        print_line("Messages leave again.")
    return Exit.FINE


def suppress(ledger: str | None, phones: Sequence[str], *, everything: bool, actor: str | None, as_json: bool) -> int:
    """Write phones on a suppression list."""
    added = with_outbox(
        ledger, lambda outbox: outbox.suppress(phones, everything=everything, source=f"command, {actor_of(actor)}")
    )
    if as_json:
        print_json({"added": added, "list": "all" if everything else "marketing"})
    else:
        print_line(f"{count(added, 'phone')} added to the list of those who get no {_what(everything=everything)}.")
    return Exit.FINE


def _what(*, everything: bool) -> str:
    return "messages at all" if everything else "marketing"


def actor_of(given: str | None) -> str:
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that no name belongs to
        return f"user {os.getuid()}"


@attrs.frozen(kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        in_flight: Packets at once.
        packet_size: Messages in a packet.
        unknown: The policy for unknown messages of the outbox, in a word.
        opt_outs: Listen for STOP.
        purge_after: Days after which settled messages are purged.
        metrics: Where to serve them: ``PORT`` or ``ADDRESS:PORT``.
    """

    in_flight: int
    packet_size: int
    unknown: str
    opt_outs: bool
    purge_after: int | None
    metrics: str | None

    def policy(self) -> UnknownPolicy:
        """Return the policy for the unknown.

        Raises:
            Problem: It is not a policy.
        """
        from smspilot_async.outbox import AssumeSent, Hold, Probe, Resend  # noqa: PLC0415 - an extra

        name, _, window = self.unknown.partition(":")
        try:
            if name == "probe":
                return Probe(float(window))
            return {"hold": Hold(), "assume_sent": AssumeSent(), "resend": Resend()}[self.unknown]
        except (KeyError, ValueError):
            raise Problem(
                f"--unknown {self.unknown} is not a policy: write hold, assume_sent, resend or probe:300, with the "
                "seconds of the account's loop-protection window."
            ) from None


def inbox_of(url: str | None) -> CallbackInbox | None:
    """Return the inbox that signs callback URLs, if there is a URL.

    Raises:
        Problem: The secret is missing or too short, or the URL is not one.
    """
    if url is None:
        return None
    from smspilot_async.callbacks import CallbackInbox  # noqa: PLC0415 - only a worker with callbacks needs it

    secret = os.environ.get("SMSPILOT_CALLBACK_SECRET", "")
    try:
        return CallbackInbox(url, secret=secret)
    except ValueError as error:
        raise Problem(f"--callbacks: {_sentence(str(error))}") from None


def worker(ledger: str | None, client: Client, inbox: CallbackInbox | None, options: WorkerOptions) -> int:
    """Send what is due, until a signal says stop.

    Args:
        ledger: Its URL.
        client: What sends.
        inbox: The client's, which signs callback URLs; a web application receives the calls.
        options: How.

    Raises:
        Problem: The policy is invalid, or an error ended it.
    """
    options.policy()  # what is wrong with it is said before anything is opened

    async def work() -> int:
        stopping = _Stopping()
        with _reporting_trouble(), Interrupts(stopping.stop, stopping.stop) as interrupts:
            async with inbox or contextlib.nullcontext(), client:
                await _work(ledger, client, stopping, options)
        return Exit.INTERRUPTED if interrupts.exit_code == Exit.INTERRUPTED else Exit.FINE

    return _run(work)


class _Notes(logging.Handler):
    """Prints what is logged on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


@contextlib.contextmanager
def _reporting_trouble() -> Iterator[None]:
    """Print what the outbox reports: a ledger that is away, where answers are kept meanwhile, the brake."""
    notes = _Notes(logging.WARNING)
    _OUTBOX_LOG.addHandler(notes)
    for name in _ENGINE_LOGS:  # the outbox says in a line what they say in a traceback
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        yield
    finally:
        _OUTBOX_LOG.removeHandler(notes)


class _Stopping:
    """What a signal stops, at once."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.running: Worker | FleetWorker | None = None

    def stop(self) -> None:
        self.told.set()
        if self.running is not None:
            self.running.stop()


async def _work(ledger: str | None, client: Client, stopping: _Stopping, options: WorkerOptions) -> None:
    """Begin, again and again where the database or the gateway is away; then work until the end."""
    from smspilot_async.outbox import LedgerDamaged, LedgerUnavailable, Outbox  # noqa: PLC0415 - an extra

    while not stopping.told.is_set():
        try:
            async with Outbox(ledger) as outbox:
                make = outbox.fleet_worker if await outbox.can_have_a_fleet() else outbox.worker
                worker_ = make(
                    client,
                    in_flight=options.in_flight,
                    packet_size=options.packet_size,
                    unknown=options.policy(),
                    opt_outs=options.opt_outs,
                    purge_after=None if options.purge_after is None else timedelta(days=options.purge_after),
                )
                async with serving_metrics(outbox, client, options.metrics), worker_ as running:
                    note(f"sending from the ledger to {client.url}; Ctrl-C or SIGTERM ends it well")
                    stopping.running = running
                    with loaded_is_spared():
                        await _until(stopping.told, running)
                sent = running.sent
                note(f"ended: {sent.accepted} accepted, {sent.refused} refused, {sent.unknown} unknown")
        except LedgerDamaged:
            raise
        except (LedgerUnavailable, Unanswered, GatewayBusy) as error:
            note(f"{explain(error)} It is tried again in {_TRY_AGAIN:g} s.")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TRY_AGAIN):
                    await stopping.told.wait()


async def _until(stopped: asyncio.Event, running: Worker | FleetWorker) -> None:
    """Wait for a signal, or for the worker's own end, which only an error can be."""
    told = asyncio.ensure_future(stopped.wait())
    ended = asyncio.ensure_future(running.wait())
    await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    ended.cancel()


def with_outbox(ledger: str | None, work: Callable[[Outbox], Coroutine[Any, Any, Answer]]) -> Answer:
    async def opened() -> Answer:
        from smspilot_async.outbox import Outbox  # noqa: PLC0415 - an extra

        async with Outbox(ledger) as outbox:
            return await work(outbox)

    return _run(opened)


def _run(work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run it, and turn what ends it into one line and an exit code.

    Raises:
        Problem: It was ended by an error.
    """
    try:
        return asyncio.run(work())
    except (ImportError, ValueError) as error:
        if isinstance(error, InvalidMessage):
            raise Problem(explain(error), error=error) from None
        raise Problem(_sentence(str(error))) from None
    except SmsPilotError as error:
        raise Problem(explain_end(error), _code(error), error=error) from None


def _sentence(line: str) -> str:
    return line if line.endswith(".") else f"{line}."


def _code(error: SmsPilotError) -> int:
    """Wrong use, unless the gateway, the network or the database failed."""
    from smspilot_async.outbox import LedgerUnavailable, OutboxError  # noqa: PLC0415 - an extra

    if isinstance(error, OutboxError):
        return Exit.FAILED if isinstance(error, LedgerUnavailable) else Exit.USAGE
    return exit_code(error)
