"""Keeps callback paths out of logs: with one, anyone could forge statuses."""

from __future__ import annotations

import logging
from copy import copy
from typing import Any

from smspilot_async.callbacks._signing import redact

__all__ = ["RedactCallbackPaths", "redact_access_logs"]


class RedactCallbackPaths(logging.Filter):
    """A logging filter that removes callback paths from records, and drops none.

    Access logs write paths down: uvicorn's, Gunicorn's and hypercorn's in a record's arguments, aiohttp's in its text
    and its extra fields. Whatever form they have, percent-encoded or not, ``/smspilot/cb1-…`` is what remains of one.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place."""
        for name, value in vars(record).items():
            if name not in {"exc_info", "exc_text"}:
                record.__dict__[name] = _redacted(value)
        return True


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes):
        return redact(value.decode("latin-1")).encode("utf-8")
    if isinstance(value, tuple):
        return tuple(map(_redacted, value))
    if isinstance(value, dict):
        redacted = copy(value)  # of its own kind: those of Gunicorn and hypercorn know what to say for a missing name
        redacted.update({name: _redacted(one) for name, one in value.items()})
        return redacted
    return value


def redact_access_logs(*loggers: str) -> None:
    """Keep callback paths out of access logs, from now on and in this process.

    Args:
        loggers: Names of loggers; left out, the access logs of uvicorn, Gunicorn, hypercorn and aiohttp.
    """
    for name in loggers or ("uvicorn.access", "gunicorn.access", "hypercorn.access", "aiohttp.access"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, RedactCallbackPaths) for known in logger.filters):
            logger.addFilter(RedactCallbackPaths())
