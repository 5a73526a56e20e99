"""What sending knows of status callbacks: URLs that are sent with messages, and who learns what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable

    from smspilot_async.errors import SmsPilotError
    from smspilot_async.models import Accepted, Message, MessageStatus, SendResult


class Sending(Protocol):
    """What the inbox needs of the client by which a message was sent."""

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        """Ask what became of a message."""
        raise NotImplementedError

    def cleared_up(self, result: Accepted[Message], hooks_done: asyncio.Event) -> None:
        """Call the hooks, after ``hooks_done``, with what became of a message whose outcome was unknown."""


@runtime_checkable
class StatusCallbacks(Protocol):
    """Receives the status callbacks of the messages that a client sends, as a ``CallbackInbox`` does."""

    def watch(self, server_ids: Collection[str]) -> AsyncIterable[MessageStatus]:
        """Return statuses of messages as calls bring them."""
        raise NotImplementedError

    def attach(self, check: Callable[[str], Coroutine[Any, Any, MessageStatus | SmsPilotError]]) -> None:
        """Learn how a client checks a message, for as long as that client lives."""

    def urls_for(self, messages: Iterable[tuple[int, Message]]) -> dict[int, str]:
        """Return a URL of its own for each message that is about to be sent and brings none, by the message's id."""
        raise NotImplementedError

    def nonce_of(self, url: str) -> bytes:
        """Return what identifies the send of a URL."""
        raise NotImplementedError

    def settled(
        self,
        url: str,
        id_: int,
        result: SendResult[Message],
        sending: Sending,
        hooks_done: asyncio.Event,
        *,
        is_late: bool,
    ) -> None:
        """Note what became of a message that was sent with a URL; its hooks were called once ``hooks_done`` is set."""
