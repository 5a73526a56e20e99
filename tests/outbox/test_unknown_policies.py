"""What is done about messages that may have been sent, at a gateway that refuses repetitions with 243."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from ledgers import PHONE, accepted

from smspilot_async import Client, Message, Outcome
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import AssumeSent, Hold, Outbox, OutboxError, Probe, Resend
from smspilot_async.outbox._deliver import SendOptions
from smspilot_async.outbox._states import State
from smspilot_async.outbox._unknown import policy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

WINDOW = 300
LEASE_OVER = 120.0
ACCEPTED, LOST = Fault.ACCEPT_THEN_RESET, Fault.RESET_BEFORE_READ
POLICIES = [Hold(), AssumeSent(), Resend(), Probe(WINDOW)]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with loop protection."""
    async with Emulator.serve(port=0, loop_protection=timedelta(seconds=WINDOW), seed=1) as emulator:
        yield emulator


async def unknown(outbox: Outbox, client: Client, emulator: Emulator, fault: Fault, key: str = "1") -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key=key)
    emulator.fail_next("send", fault)
    assert (await outbox.drain(client)).unknown == 1


async def apply(outbox: Outbox, client: Client, policy: Any) -> None:
    """Do once what a worker does every second."""
    async with outbox._sender(client, SendOptions()) as sender:
        await outbox._apply_policies(sender, policy, can_probe=True)


async def fate(outbox: Outbox, key: str = "1") -> tuple[str, str | None]:
    record = await outbox.get(key)
    assert record is not None
    return record.state, record.reason


@pytest.mark.parametrize("policy", POLICIES)
async def test_nothing_is_sent_before_the_lease_is_over(
    outbox: Outbox, client: Client, emulator: Emulator, policy: Any
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await apply(outbox, client, policy)
    await outbox.drain(client)
    assert not emulator.messages
    assert (await fate(outbox))[0] == "unknown"


@pytest.mark.parametrize("fault", [ACCEPTED, LOST])
async def test_what_is_held_stays_as_it_is(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, fault: Fault
) -> None:
    await unknown(outbox, client, emulator, fault)
    before = await fate(outbox), len(emulator.messages)
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Hold())
    await outbox.drain(client)
    assert (await fate(outbox), len(emulator.messages)) == before


async def test_what_is_assumed_sent_is_still_countable_as_unknown(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await apply(outbox, client, AssumeSent())
    assert await fate(outbox) == ("unknown", "assumed_sent")
    assert (await outbox.status()).messages["unknown"] == 1


@pytest.mark.parametrize(
    "case", [(LOST, "accepted", None), (ACCEPTED, "unknown", "duplicate")], ids=["lost", "accepted"]
)
async def test_what_is_sent_again_is_sent_once_more(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, case: tuple[Fault, str, str | None]
) -> None:
    await unknown(outbox, client, emulator, case[0])
    await desk.turn(LEASE_OVER)
    for _ in range(3):
        await apply(outbox, client, Resend())
        await outbox.drain(client)
        await desk.turn(LEASE_OVER)
    assert await fate(outbox) == case[1:]
    assert len(emulator.messages) == 1


async def test_what_is_unknown_again_after_it_was_sent_again_is_held(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Resend())
    emulator.fail_next("send", LOST)
    await outbox.drain(client)
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Resend())
    await outbox.drain(client)
    assert not emulator.messages


@pytest.mark.parametrize("against", ["refused", "suppressed", "expired", "cancelled", "gave_up"])
async def test_what_is_decided_against_it_when_it_is_sent_again_says_nothing_of_the_first_time(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, against: str
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Resend())
    message = desk.tables.message
    if against == "refused":
        emulator.refuse(code=223, text="Ready")
    elif against == "suppressed":
        await outbox.suppress([PHONE], everything=True)
    elif against == "expired":
        await desk.execute(sa.update(message).values(valid_until=1))
    elif against == "cancelled":
        await outbox.cancel("1")
    else:
        emulator.fail_next("send", Fault.BUSY)
    await outbox.drain(client, give_up_after=1)
    assert await fate(outbox) == ("unknown", None if against == "refused" else against)


async def test_a_243_that_another_keys_message_caused_is_no_refusal_and_no_proof(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    for key in ("1", "2"):
        await outbox.enqueue(Message(PHONE, "Ready"), key=key)
        await outbox.drain(client)
    assert await fate(outbox, "1") == ("accepted", None)
    assert await fate(outbox, "2") == ("unknown", "duplicate")
    await desk.turn(LEASE_OVER)
    for policy in (Resend(), Probe(WINDOW)):
        await apply(outbox, client, policy)
        await outbox.drain(client)
    assert await fate(outbox, "2") == ("unknown", "duplicate")
    assert len(emulator.messages) == 1


async def test_a_late_acceptance_after_a_resend_is_the_truth(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    first = (await desk.row(1)).attempt_id
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Resend())
    await outbox.drain(client)
    assert await fate(outbox) == ("unknown", "duplicate")
    await desk.record(first, accepted(1, emulator.messages[0].server_id))
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.sent_twice) == (Outcome.ACCEPTED, False)


async def test_a_late_acceptance_cancels_what_waits_to_be_sent_again(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    first = (await desk.row(1)).attempt_id
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Resend())
    assert (await fate(outbox))[0] == "pending"
    await desk.record(first, accepted(1, emulator.messages[0].server_id))
    emulator.clock.advance(seconds=WINDOW + 1)  # nothing but the ledger keeps it from a second one
    await outbox.drain(client)
    assert len(emulator.messages) == 1


async def test_an_acceptance_after_it_was_accepted_again_is_recorded_as_sent_twice(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    first = (await desk.row(1)).attempt_id
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Resend())
    emulator.clock.advance(seconds=WINDOW + 1)
    await outbox.drain(client)
    assert len(emulator.messages) == 2
    await desk.record(first, accepted(1, emulator.messages[0].server_id))
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.sent_twice) == (Outcome.ACCEPTED, True)


# --- probes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [(LOST, "accepted", None), (ACCEPTED, "unknown", "assumed_sent")], ids=["no", "yes"])
async def test_a_probe_tells_whether_it_was_sent_and_never_sends_it_twice(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, case: tuple[Fault, str, str | None]
) -> None:
    await unknown(outbox, client, emulator, case[0])
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Probe(WINDOW))
    assert await fate(outbox) == case[1:]
    assert len(emulator.messages) == 1


async def test_a_probe_that_would_arrive_after_the_window_is_not_sent(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    emulator.clock.advance(seconds=WINDOW - 30)
    await desk.turn(WINDOW - 30)  # still open, but a request may take longer than what is left of it
    await apply(outbox, client, Probe(WINDOW))
    assert (await desk.row(1)).tries == 1
    assert len(emulator.messages) == 1


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET_BEFORE_READ, Fault.SERVER_ERROR])
async def test_a_probe_without_a_clear_answer_changes_nothing_and_is_not_repeated(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, fault: Fault
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    await desk.turn(LEASE_OVER)
    emulator.fail_next("send", fault)
    await apply(outbox, client, Probe(WINDOW))
    assert (await fate(outbox))[0] == "unknown"
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Probe(1000))
    await outbox.drain(client)
    assert (await desk.row(1)).tries == 2
    assert len(emulator.messages) == 1


async def test_a_refusal_of_a_probe_says_nothing_of_the_first_time(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, ACCEPTED)
    await desk.turn(LEASE_OVER)
    emulator.refuse(code=223, text="Ready")
    await apply(outbox, client, Probe(WINDOW))
    assert (await fate(outbox))[0] == "unknown"


async def test_no_probe_is_sent_where_another_keys_message_could_cause_its_243(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await outbox.enqueue(Message(PHONE, "Ready"), key="2")
    await outbox.drain(client)
    assert await fate(outbox, "2") == ("accepted", None)
    await desk.turn(LEASE_OVER)
    await apply(outbox, client, Probe(WINDOW))
    assert (await fate(outbox))[0] == "unknown"
    assert (await fate(outbox))[1] != "assumed_sent"
    assert (await desk.row(1)).tries == 1


async def test_a_243_that_another_keys_message_caused_meanwhile_proves_nothing(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await desk.turn(LEASE_OVER)
    claim_probe = outbox._claim_probe

    async def overtaken(*arguments: Any) -> Any:
        """Another key's message with the same phone and text is sent between the probe's claim and the probe."""
        probe = await claim_probe(*arguments)
        id_ = await desk.pending("Ready")
        claim = await desk.claim(token="twin")
        await desk.send(client, id_, "Ready", token="twin")
        await desk.record(claim.attempt_id, accepted(id_, "1"))
        monkeypatch.setattr(outbox, "_claim_probe", claim_probe)
        return probe

    monkeypatch.setattr(outbox, "_claim_probe", overtaken)
    await apply(outbox, client, Probe(WINDOW))
    assert await fate(outbox) == ("unknown", "duplicate")
    assert len(emulator.messages) == 1


async def test_a_probe_of_unknown_fate_is_not_sent_and_ends_as_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await desk.turn(LEASE_OVER)
    claim_probe = outbox._claim_probe

    async def hung(*arguments: Any) -> Any:
        await claim_probe(*arguments)
        raise TimeoutError

    monkeypatch.setattr(outbox, "_claim_probe", hung)
    with pytest.raises(TimeoutError):
        await apply(outbox, client, Probe(WINDOW))
    assert (await desk.row(1)).state == State.IN_FLIGHT
    await desk.turn(LEASE_OVER)
    await outbox.drain(client)
    assert (await fate(outbox))[0] == "unknown"
    assert not emulator.messages


@pytest.mark.parametrize("order", ["halt", "suppress", "pause"])
async def test_probes_obey_what_keeps_messages_from_leaving(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, order: str
) -> None:
    await unknown(outbox, client, emulator, LOST)
    await desk.turn(LEASE_OVER)
    if order == "halt":
        await outbox.halt("wait", everything=True)
    elif order == "suppress":
        await outbox.suppress([PHONE], everything=True)
    else:
        await desk.hot.pause("InsufficientFunds 112")
    await apply(outbox, client, Probe(WINDOW))
    assert not emulator.messages


async def test_probe_is_refused_for_a_client_whose_bytes_may_arrive_late(outbox: Outbox, emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, transport=emulator.transport) as client:
        with pytest.raises(OutboxError, match="Probe"):
            await outbox.worker(client, unknown=Probe(WINDOW)).__aenter__()
        async with outbox.worker(client, unknown=Resend()):
            pass  # the ledger is free again, and other policies are not refused
    assert not emulator.messages


async def test_a_worker_applies_its_policy(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await unknown(outbox, client, emulator, LOST)
    await desk.turn(LEASE_OVER)
    async with outbox.worker(client, unknown=Probe(WINDOW)):
        while (await fate(outbox))[0] != "accepted":
            assert (await outbox.wait("1", timeout=10)).tries <= 2


# --- campaigns -----------------------------------------------------------------------------------


async def test_a_campaign_has_a_policy_of_its_own(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, LOST)
    tables = desk.tables
    settings = json.dumps({"unknown": AssumeSent().to_json()})
    campaign = {"id": 7, "name": "promo", "state": "running", "settings": settings, "created_at": 0}
    await desk.execute(sa.insert(tables.campaign).values(**campaign))
    await desk.execute(sa.insert(tables.stream).values(id=70, campaign_id=7, lane=2))
    id_ = await desk.pending("Sale")
    await desk.execute(sa.update(tables.message).where(tables.message.c.id == id_).values(stream_id=70))
    emulator.fail_next("send", LOST)
    await outbox.drain(client)
    await apply(outbox, client, Hold())
    assert (await desk.row(id_)).reason == "assumed_sent"
    assert (await fate(outbox))[1] != "assumed_sent"


async def test_a_policy_that_cannot_be_read_holds_and_keeps_nothing_else_from_leaving(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    settings = json.dumps({"unknown": "guess"})
    campaign = {"id": 7, "name": "promo", "state": "running", "settings": settings, "created_at": 0}
    await desk.execute(sa.insert(desk.tables.campaign).values(**campaign))
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.drain(client)
    assert len(emulator.messages) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_stands_in_a_campaigns_settings(policy: Any) -> None:
    assert policy_of(json.loads(json.dumps(policy.to_json()))) == policy


def test_without_a_policy_a_campaign_holds() -> None:
    assert policy_of(None) == Hold()


@pytest.mark.parametrize("setting", [{"policy": "guess"}, {"policy": "probe"}, {"policy": "hold", "x": 1}, "hold"])
def test_what_is_no_policy_is_refused(setting: Any) -> None:
    with pytest.raises(ValueError, match="policy"):
        policy_of(setting)


@pytest.mark.parametrize("window", [0, -1, float("inf")])
def test_a_window_is_a_number_of_seconds(window: float) -> None:
    with pytest.raises(ValueError, match="dup_window"):
        Probe(window)
