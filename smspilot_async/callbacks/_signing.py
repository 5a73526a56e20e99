"""The paths that the gateway calls: what is signed into one, and what a call proves.

The gateway's call carries no signature, so its address does. A path names one particular send: a random nonce, the
message's id and an expiry, and an HMAC over them all. It says nothing without the secret, and no other path can be made
from it. Pure functions of bytes; time comes in from outside.
"""

from __future__ import annotations

import hmac
import os
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

LIFETIME: Final = 41 * 24 * 3600
"""Seconds for which a path is good: the gateway remembers a message for 40 days, and then a day."""

_SEND, _ACCOUNT = "cb1-", "cb0-"
NONCE_SIZE: Final = 12
_FIELDS: Final = struct.Struct(f">I{NONCE_SIZE}sQ")  # expiry, nonce, id
_MAC_SIZE: Final = 18  # with the fields 42 bytes: base64 without padding, so that there is one way to write it
_SEND_SIZE: Final = len(_SEND) + (_FIELDS.size + _MAC_SIZE) * 4 // 3
_ACCOUNT_MAC_SIZE: Final = 30
_ACCOUNT_SIZE: Final = len(_ACCOUNT) + _ACCOUNT_MAC_SIZE * 4 // 3
_LATEST: Final = 2**32 - 1
_SHORTEST_SECRET: Final = 16

LONGEST_SEGMENT: Final = max(_SEND_SIZE, _ACCOUNT_SIZE)
"""Characters of the longest path that is looked at."""

_is_send = re.compile(rf"{_SEND}[A-Za-z0-9_-]{{{_SEND_SIZE - len(_SEND)}}}", re.ASCII).fullmatch
# Servers decode what a path encodes, so that `%63b1-` is the same path; some logs show it as it came.
_path = re.compile(r"((?:c|%63)(?:b|%62)(?:[01]|%3[01])(?:-|%2d))[a-z0-9_%-]+", re.ASCII | re.IGNORECASE)


@attrs.frozen
class SignedSend:
    """What a genuine path proves: this very send was ours.

    Attributes:
        nonce: Of this send, and no other.
        id: The message's id.
    """

    nonce: bytes = attrs.field(repr=False)
    id: int


class Signer:
    """Signs paths with the first secret, and accepts those that any of them signed.

    Raises:
        ValueError: There is no secret, or one is short enough to be guessed.
    """

    def __init__(self, secrets: str | bytes | Sequence[str | bytes]) -> None:
        given = [secrets] if isinstance(secrets, (str, bytes)) else list(secrets or ())
        keys = [secret.encode() if isinstance(secret, str) else bytes(secret) for secret in given]
        if not keys or min(map(len, keys)) < _SHORTEST_SECRET:
            raise ValueError(
                f"secret must have at least {_SHORTEST_SECRET} characters; to create one: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        self._keys = [hmac.digest(key, b"smspilot_async status callback of a send", "sha256") for key in keys]
        self._account = [_account_segment(key) for key in keys]

    def __repr__(self) -> str:
        return f"<Signer, {len(self._keys)} secrets>"

    @property
    def account_segment(self) -> str:
        """The one path that names no send: for the callback of the whole account."""
        return self._account[0]

    def sign(self, id_: int, now: float, nonce: bytes | None = None) -> str:
        """Make the path of a new send.

        Args:
            id_: The message's id.
            now: When it goes out, as seconds since 1970.
            nonce: Of this send, and no other; random by default.
        """
        expiry = min(int(now) + LIFETIME, _LATEST)
        fields = _FIELDS.pack(expiry, nonce or os.urandom(NONCE_SIZE), id_)
        return _SEND + urlsafe_b64encode(fields + _mac(self._keys[0], fields)).decode()

    def verify(self, segment: str, now: float) -> SignedSend | None:
        """Return which send a path names; ``None`` if it is not ours, or has expired."""
        if len(segment) != _SEND_SIZE or not _is_send(segment):
            return None
        signed = urlsafe_b64decode(segment[len(_SEND) :])
        fields, mac = signed[: _FIELDS.size], signed[_FIELDS.size :]
        # Every secret is tried, so that the time does not show which one it was.
        holds = sum([hmac.compare_digest(_mac(key, fields), mac) for key in self._keys])
        expiry, nonce, id_ = _FIELDS.unpack(fields)
        return SignedSend(nonce, id_) if holds and now < expiry else None

    def is_account(self, segment: str) -> bool:
        """Return whether it is the path of the whole account."""
        if len(segment) != _ACCOUNT_SIZE or not segment.isascii():
            return False
        return bool(sum([hmac.compare_digest(account, segment) for account in self._account]))


def _mac(key: bytes, fields: bytes) -> bytes:
    return hmac.digest(key, fields, "sha256")[:_MAC_SIZE]


def _account_segment(secret: bytes) -> str:
    mac = hmac.digest(secret, b"smspilot_async status callback of the account", "sha256")
    return _ACCOUNT + urlsafe_b64encode(mac[:_ACCOUNT_MAC_SIZE]).decode()


def nonce_in(url: str) -> bytes:
    """Return the nonce in a URL whose end :meth:`Signer.sign` made."""
    fields: tuple[int, bytes, int] = _FIELDS.unpack(urlsafe_b64decode(url[len(_SEND) - _SEND_SIZE :])[: _FIELDS.size])
    return fields[1]


def redact(text: str) -> str:
    """Remove the paths of callbacks from a text."""
    return _path.sub(r"\1…", text)
