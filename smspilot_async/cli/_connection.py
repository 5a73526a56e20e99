"""How a command reaches the gateway: the options that say where, and the client made from them.

The key comes from the environment or from a file, never from an argument, which every user of the machine could read.
"""

from __future__ import annotations

import enum
import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs

from smspilot_async import Client
from smspilot_async.cli._errors import Problem
from smspilot_async.cli._output import NOTHING_HANDED_OVER

if TYPE_CHECKING:
    WireName: TypeAlias = Literal["json", "xml"]


# Longer than a request's own timeout (30 s), so that a command gets the answer to what it has sent.
_DEADLINE: Final = 60.0

_MARK: Final = 8  # hexadecimal digits
_VENDOR: Final = "smspilot.ru"
_TEST_KEY: Final = "XXXXXXXXXXXXYYYYYYYYYYYYZZZZZZZZXXXXXXXXXXXXYYYYYYYYYYYYZZZZZZZZ"  # protocol page, "Authorisation"

_KEY_PLACES: Final = "into SMSPILOT_API_KEY, or into a file and that file's name into SMSPILOT_API_KEY_FILE"
# The library's messages name arguments of `Client`, which cannot be passed on the command line.
_IN_TERMS_OF_THE_COMMAND: Final = {
    "no API key": f"no API key: put it {_KEY_PLACES}.",
    "url must not hold credentials": f"the url must not hold credentials: put the API key {_KEY_PLACES}.",
    "an http: url": "an http: url beyond this machine would show the key and every text to everyone on the way: use "
    "https:, or a tunnel that starts on this machine, such as ssh -L, and its address http://127.0.0.1:PORT/. For an "
    "emulator in another container set SMSPILOT_ALLOW_HTTP=1.",
}


class Mode(enum.StrEnum):
    """What happens to messages, as far as is known here."""

    LIVE = "live"
    TEST = "test"
    TEST_KEY = "test_key"
    OTHER = "other"
    """Not a test, but the address is not the vendor's: an emulator, or a relay to the gateway."""

    @property
    def words(self) -> str:
        """The mode in words, for a person."""
        return {
            Mode.LIVE: "messages go to phones and are paid for",
            Mode.TEST: NOTHING_HANDED_OVER,
            Mode.TEST_KEY: "with the vendor's test key nothing is sent or paid for",
            Mode.OTHER: f"the address is not {_VENDOR}'s: an emulator reaches no phones, a relay to the gateway does",
        }[self]


@attrs.frozen
class ConnectionOptions:
    """Where the gateway is and how to reach it; ``None`` leaves a setting to the environment."""

    key_file: str | None = None
    url: str | None = None
    wire: WireName = "json"
    deadline: float | None = None

    def client(self, **settings: Any) -> Client:
        """Make a client.

        Raises:
            Problem: There is no key, or a setting is wrong.
        """
        try:
            deadline = _DEADLINE if self.deadline is None else self.deadline
            return Client(self._key, url=self.url, wire=self.wire, deadline=deadline, **settings)
        except ValueError as wrong:
            line = _setting_line(str(wrong))
        raise Problem(line)

    @cached_property
    def _key(self) -> str | None:
        # Read once: a pipe from the shell (`--key-file <(...)`) cannot be read again.
        from_environment = os.environ.get("SMSPILOT_API_KEY", "").strip()
        path = self.key_file or (not from_environment and os.environ.get("SMSPILOT_API_KEY_FILE"))
        if path:
            return read_key(path)
        return from_environment or None

    @property
    def account_mark(self) -> str:
        """A mark of the account: a few digits of its key's digest, too few to recover the key."""
        return hashlib.sha256((self._key or "").encode()).hexdigest()[:_MARK]

    def mode(self, client: Client) -> Mode:
        """Return what happens to a client's messages."""
        if client.is_test:
            return Mode.TEST
        if self._key == _TEST_KEY:
            return Mode.TEST_KEY
        host = host_of(client)
        return Mode.LIVE if host == _VENDOR or host.endswith(f".{_VENDOR}") else Mode.OTHER


def read_key(path: str) -> str:
    """Read a key from a file.

    Raises:
        Problem: It cannot be read; a decoder's own error would contain its content.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip()
    except OSError as wrong:
        line = f"the file with the key cannot be read: {path}: {wrong.strerror}."
    except UnicodeDecodeError:
        line = "the file with the key is not UTF-8 text."
    raise Problem(line)


def host_of(client: Client) -> str:
    """Return the host that a client sends to."""
    return urlsplit(client.url).hostname or ""


def gateway_of(client: Client) -> str:
    """Return the gateway a client sends to, with its port: another port may be an emulator, which reaches no phone."""
    url = urlsplit(client.url)
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{url.hostname}:{port}{url.path}"


def _setting_line(wrong: str) -> str:
    for start, line in _IN_TERMS_OF_THE_COMMAND.items():
        if wrong.startswith(start):
            return line
    return f"{wrong}."
