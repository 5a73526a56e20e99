"""Keyword arguments that were renamed: the old name still works, warns where it stands, and is in no signature."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async import Client, InboundListener, MessageStatus, PacketChecks, Tracking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "every": lambda client, value: client.track("10005", every=value),
    "every of listen": lambda client, value: client.listen(every=value),
    "concurrency": lambda client, value: client.check_packets("1234", concurrency=value),
}


@pytest.mark.parametrize(
    ("call", "answer", "new"),
    [
        (CALLS["every"], Tracking, "poll_interval"),
        (CALLS["every of listen"], InboundListener, "poll_interval"),
        (CALLS["concurrency"], PacketChecks, "in_flight"),
    ],
    ids=["track", "listen", "check_packets"],
)
def test_a_former_name_means_the_new_one_and_warns_at_the_callers_line(
    call: Callable[[Any, Any], Any], answer: type, new: str
) -> None:
    client = Client("KEY")

    with pytest.warns(DeprecationWarning, match=f"is now called '{new}'") as warned:
        assert isinstance(call(client, 1), answer)
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=new), pytest.raises(ValueError, match=new):
        call(client, 0)


async def test_the_former_name_of_a_coroutine_functions_argument_warns_where_it_is_awaited(client: Client) -> None:
    wait_final: Any = client.wait_final

    async def statuses() -> AsyncIterator[MessageStatus]:
        yield MessageStatus(server_id="10005", status=2)

    with pytest.warns(DeprecationWarning, match="wait_final\\(\\): 'every' is now called 'poll_interval'") as warned:
        status: MessageStatus = await wait_final("10005", every=60, source=statuses())
    assert status.delivered
    assert warned[0].filename == __file__


def test_both_names_at_once_and_names_that_never_were_are_errors() -> None:
    track: Any = Client("KEY").track

    with pytest.raises(TypeError, match="'poll_interval' and 'every', its former name"):
        track("10005", every=1, poll_interval=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'interval'"):
        track("10005", interval=1)


@pytest.mark.parametrize("name", ["track", "listen", "check_packets", "wait_final"])
def test_a_signature_has_the_new_name_alone(name: str) -> None:
    parameters = inspect.signature(getattr(Client, name)).parameters

    assert {"every", "concurrency"}.isdisjoint(parameters)
    assert {"poll_interval", "in_flight"} & parameters.keys()
    assert inspect.iscoroutinefunction(getattr(Client, name)) is (name == "wait_final")
