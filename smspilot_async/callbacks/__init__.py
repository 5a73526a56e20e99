"""Status callbacks: the gateway calls, and what it says is kept, checked and passed on.

The adapters are modules of their own: :mod:`smspilot_async.callbacks.asgi` for FastAPI, Starlette and any ASGI server,
and :mod:`smspilot_async.callbacks.aiohttp`.
"""

from smspilot_async._tools.public import name_after
from smspilot_async.callbacks._access_logs import RedactCallbackPaths, redact_access_logs
from smspilot_async.callbacks._event_log import Sink
from smspilot_async.callbacks._form import StatusEvent
from smspilot_async.callbacks._inbox import CallbackInbox
from smspilot_async.callbacks._sqlite import SQLiteSink

__all__ = ["CallbackInbox", "RedactCallbackPaths", "SQLiteSink", "Sink", "StatusEvent", "redact_access_logs"]

name_after(__name__)
