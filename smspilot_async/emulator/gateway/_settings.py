"""The gateway's settings: chosen when it is started, and changeable at any time."""

from __future__ import annotations

from datetime import timedelta

import attrs

from smspilot_async.emulator.gateway._wire import Profile


@attrs.define(kw_only=True)
class Settings:
    """The settings of an `Emulator`. Change the attributes at any time; a reset restores them.

    Attributes:
        profile: Which version's types the answers have: ``"2.6"`` numbers, ``"2.4.16"`` strings.
        loop_protection: How long the same text to the same phone is refused (243), for accounts without a setting of
            their own; `None` for never.
        undelivered: The share of messages, of those accepted from now on, that end undelivered (-1, with an error 600
            to 603).
        handover: The time from acceptance (or the scheduled time) to status 1, of messages accepted from now on.
        delivery: The same, to status 2 or -1. A message that takes longer than its `ttl`, or than a day with the
            operator, expires then: -1 with error 600.
    """

    profile: Profile = "2.6"
    loop_protection: timedelta | None = timedelta(minutes=5)
    undelivered: float = 0.0
    handover: timedelta = timedelta(seconds=5)
    delivery: timedelta = timedelta(seconds=30)
