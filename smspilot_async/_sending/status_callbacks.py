"""The interface between sending and the inbox of status callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable, Mapping

    from smspilot_async.errors import SmsPilotError
    from smspilot_async.models import Accepted, Message, MessageStatus, SendResult


class Sending(Protocol):
    """What the inbox needs of the client that sent a message."""

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        """Return the status of a message."""
        raise NotImplementedError

    def cleared_up(self, result: Accepted[Message], hooks_done: asyncio.Event) -> None:
        """Call the hooks, after ``hooks_done`` is set, with the result of a message whose outcome was unknown."""


@runtime_checkable
class StatusCallbacks(Protocol):
    """Receives the status callbacks of the messages that a client sends, as a ``CallbackInbox`` does."""

    def watch(self, server_ids: Collection[str]) -> AsyncIterable[MessageStatus]:
        """Yield statuses of messages as callbacks arrive."""
        raise NotImplementedError

    def attach(self, check: Callable[[str], Coroutine[Any, Any, MessageStatus | SmsPilotError]]) -> None:
        """Register a client's function for checking a message, for as long as the client lives."""

    def urls_for(
        self, messages: Iterable[tuple[int, Message]], nonces: Mapping[int, bytes] | None = None
    ) -> dict[int, str]:
        """Return a URL, by the message's id, for each message that is about to be sent and has no URL.

        Args:
            messages: Each with its id.
            nonces: What identifies the sends, by the message's id, if the sender has chosen it.
        """
        raise NotImplementedError

    def nonce_of(self, url: str) -> bytes:
        """Return the nonce that identifies the send of a URL."""
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
        """Record the result of a message sent with a URL; ``hooks_done`` is set once hooks were called with it."""
