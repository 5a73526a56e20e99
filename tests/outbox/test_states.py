"""What may become of a message: the table, and both databases' SQL held to it, every event in every state."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from ledgers import PHONE, accepted

from smspilot_async import Outcome
from smspilot_async.outbox._ledger import MessageAnswer
from smspilot_async.outbox._settle import settle
from smspilot_async.outbox._states import (
    CampaignEvent,
    CampaignState,
    Event,
    State,
    after,
    after_campaign,
    sources,
)

if TYPE_CHECKING:
    from ledgers import Desk

EVERY = list(itertools.product(State, Event))
RECORDED = {Event.ACCEPTED, Event.REFUSED, Event.PUT_BACK, Event.UNANSWERED}


@pytest.mark.parametrize(("state", "event"), EVERY)
def test_nothing_but_an_order_moves_a_message_from_an_outcome_to_the_queue(state: State, event: Event) -> None:
    if state.outcome is not None and after(state, event) is State.PENDING:
        # not_sent of the attempt that holds it may come late, from an owner that was stopped
        assert event is Event.RESEND or (state, event) == (State.UNKNOWN, Event.PUT_BACK)


def test_an_acceptance_is_the_end() -> None:
    assert {after(State.ACCEPTED, event) for event in Event} == {State.ACCEPTED}


def test_a_proof_of_acceptance_wins_from_any_state() -> None:
    assert {after(state, Event.PROOF) for state in State} == {State.ACCEPTED}


def test_only_what_is_pending_can_be_claimed() -> None:
    assert sources(Event.CLAIM) == (State.PENDING,)


def test_what_is_unknown_stays_so_but_for_an_answer_a_proof_or_an_order() -> None:
    moved_by = {event for event in Event if after(State.UNKNOWN, event) is not State.UNKNOWN}
    assert moved_by == {Event.ACCEPTED, Event.REFUSED, Event.PUT_BACK, Event.PROOF, Event.RESEND, Event.SETTLE}


def test_a_state_is_on_its_way_or_an_outcome() -> None:
    outcomes = {state.value: state.outcome for state in State}
    assert outcomes == {"pending": None, "in_flight": None, **{outcome.value: outcome for outcome in Outcome}}


def test_a_campaign_that_is_over_stays_so_unless_some_of_it_waits_again() -> None:
    assert {after_campaign(CampaignState.CANCELLED, event) for event in CampaignEvent} == {CampaignState.CANCELLED}
    finished = CampaignState.FINISHED
    moved = {event for event in CampaignEvent if after_campaign(finished, event) is not finished}
    assert moved == {CampaignEvent.RETRY, CampaignEvent.REOPEN}


def test_a_campaign_runs_only_once_it_was_approved() -> None:
    started = {state for state in CampaignState if after_campaign(state, CampaignEvent.START) is not state}
    assert started == {CampaignState.APPROVED}
    for state in (CampaignState.ESTIMATED, CampaignState.APPROVED, CampaignState.PAUSED):
        assert after_campaign(state, CampaignEvent.CHANGE) is CampaignState.DRAFT


@pytest.mark.parametrize(("state", "event"), [pair for pair in EVERY if pair[1] is not Event.RESEND])
async def test_the_ledger_moves_a_message_as_the_table_says(desk: Desk, state: State, event: Event) -> None:
    id_, attempt = await desk.in_state(state)
    expected = after(state, event)
    if event in RECORDED:
        if event is Event.ACCEPTED:  # whoever holds the message now, the gateway has it
            expected = after(state, Event.PROOF)
        await desk.record(attempt, MessageAnswer(id=id_, event=event, reason="why", server_id="1"))
    elif event is Event.PROOF:
        await desk.record(attempt + 1000, accepted(id_, "2"))  # an attempt that does not hold it
    elif event is Event.CLAIM:
        await desk.claim()
    elif event is Event.SUPPRESS:
        await desk.execute(sa.insert(desk.tables.suppression).values(phone=PHONE, list="all", at=0))
        await desk.claim()
    elif event is Event.EXPIRE:
        message = desk.tables.message
        await desk.execute(sa.update(message).where(message.c.id == id_).values(valid_until=1))
        await desk.claim()
    elif event is Event.SETTLE:
        await desk.turn(61)  # its lease is over
        message = desk.tables.message
        expect = int(state is State.UNKNOWN)
        async with desk.outbox._writing() as connection:
            now = await desk.outbox._now(connection)
            where = message.c.id == id_
            await settle(
                connection, desk.tables, now, where=where, as_="not_sent", expect=expect, actor="test", why=None
            )
    elif event is Event.CANCEL:
        await desk.outbox.cancel((await desk.row(id_)).key)
    else:  # what is put back for too long is given up at once
        assert event is Event.GIVE_UP
        await desk.record(attempt, MessageAnswer(id=id_, event=Event.PUT_BACK), give_up_after=0)
        put_back = after(state, Event.PUT_BACK)
        expected = state if put_back is state else after(put_back, Event.GIVE_UP)
    assert (await desk.row(id_)).state == expected.value
