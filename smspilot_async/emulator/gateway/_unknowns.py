"""Switches for what is not known about the live gateway.

A client must be right whichever way they are set. Each is off by default, which is the likelier behaviour.
"""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo
from typing import Final, Literal

import attrs

MOSCOW: Final = timezone(timedelta(hours=3), "MSK")


@attrs.define(kw_only=True)
class Unknowns:
    """How the gateway behaves where the protocol is silent. Change the attributes at any time.

    Attributes:
        partly_accepted: Accept this many messages of a longer packet, then answer an error document.
        partly_accepted_code: The code of that document.
        rows_reordered: Shuffle the rows of a send answer.
        rows_missing: Leave this many of the last rows out of a send answer.
        ids_zero: Echo every message's id as 0.
        duplicate_phones_refused: Refuse a phone that a packet has named before (214).
        check_lag: For so long after accepting it, answer a check for a message with -2.
        one_bad_refuses_packet: One bad message refuses its whole packet with an error document; nothing is accepted.
        all_bad_refuses_packet: A packet of only bad messages is answered by the error document of its first.
        trial_refuses_packet: A packet of more than two messages from a trial account is answered by an error document
            242, and nothing of it is accepted. Otherwise its first two are.
        defaults_at_top: `from`, `ttl`, `callback` and `callback_method` beside the key are meant for all messages that
            have none of their own. Otherwise they mean nothing there. The vendor's text knows no such thing, but many
            clients send it. A `test` there is the whole packet's in any case.
        missing_id_refuses_check: One unknown id refuses a whole check (302). Otherwise it makes a row of status -2, as
            long as another id is known.
        error_status: The HTTP status of error documents.
        max_messages: The largest packet in messages; larger ones are refused with 240.
        max_bytes: The largest body; larger ones are answered 413 with HTML.
        messages_per_second: By the emulator's clock, for each account.
        requests_per_second: The same, in requests.
        connections_per_key: Sockets that one account may use at a time. The transport without a socket knows none.
        connection_close: Every answer says ``Connection: close`` and ends its connection, as the live gateway's have
            been seen to do. Otherwise only where the request asks for it.
        limit_answer: How the three limits above refuse: status 429 with Retry-After, or an error document 110.
        modified_zone: The time zone of `modified`, which the answer does not name.
        callbacks_repeated: How many times more each callback is made.
        callbacks_lost: The share of callbacks that are never made, drawn by the emulator's seed, as are the next two.
        callbacks_doubled: The share that are made twice.
        callbacks_late: The share that are made only after the same message's next one.
        pairs_split: Cut a long text at every 153rd septet or 67th unit, even between the two of `€` or of an emoji, so
            that it may take a part less. Otherwise the character goes into the next part whole.
        https_callback_refused: Refuse a callback URL with https (260), as the 2018 document says.
    """

    partly_accepted: int | None = None
    partly_accepted_code: int = 241
    rows_reordered: bool = False
    rows_missing: int = 0
    ids_zero: bool = False
    duplicate_phones_refused: bool = False
    check_lag: timedelta | None = None
    one_bad_refuses_packet: bool = False
    all_bad_refuses_packet: bool = False
    trial_refuses_packet: bool = False
    defaults_at_top: bool = False
    missing_id_refuses_check: bool = False
    error_status: int = 200
    max_messages: int | None = None
    max_bytes: int | None = None
    messages_per_second: int | None = None
    requests_per_second: int | None = None
    connections_per_key: int | None = None
    connection_close: bool = False
    limit_answer: Literal[429, 110] = 429
    modified_zone: tzinfo = MOSCOW
    callbacks_repeated: int = 0
    callbacks_lost: float = 0.0
    callbacks_doubled: float = 0.0
    callbacks_late: float = 0.0
    pairs_split: bool = False
    https_callback_refused: bool = False
