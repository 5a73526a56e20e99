"""A local emulator of SMSPILOT's gateway, for development and tests.

    async with Emulator.serve() as emulator:
        client = Client(emulator.api_key, url=emulator.url)

It reads and writes the wire format with its own code and shares nothing with the client, whose mistakes it has to find.
`Emulator.serve` needs the extra ``emulator``; `Emulator.transport` works without it. Tests in other languages control
it over HTTP, under ``/_emulator``.
"""

from smspilot_async._tools.public import name_after
from smspilot_async.emulator._callbacks import CallbackCall
from smspilot_async.emulator._clock import Clock
from smspilot_async.emulator._emulator import Emulator
from smspilot_async.emulator._run import run
from smspilot_async.emulator.gateway._accounts import TEST_KEY, Account
from smspilot_async.emulator.gateway._faults import Fault
from smspilot_async.emulator.gateway._messages import AcceptedMessage, InboundSms, StatusChange
from smspilot_async.emulator.gateway._refusals import Refusal
from smspilot_async.emulator.gateway._requests import RecordedRequest
from smspilot_async.emulator.gateway._settings import Settings
from smspilot_async.emulator.gateway._unknowns import Unknowns
from smspilot_async.emulator.gateway._wire import Profile

__all__ = [
    "TEST_KEY",
    "AcceptedMessage",
    "Account",
    "CallbackCall",
    "Clock",
    "Emulator",
    "Fault",
    "InboundSms",
    "Profile",
    "RecordedRequest",
    "Refusal",
    "Settings",
    "StatusChange",
    "Unknowns",
    "run",
]

name_after(__name__)
