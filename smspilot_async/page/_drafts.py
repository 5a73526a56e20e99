"""*Draft*: a list is uploaded, its columns are named, and it is imported as a campaign."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smspilot_async._tools.files import create_private
from smspilot_async.errors import SmsPilotError
from smspilot_async.outbox import CampaignExists, ListError, ListRows, SendingWindow, read_rows, sample_list
from smspilot_async.page._shown import masked_runs

if TYPE_CHECKING:
    from smspilot_async.page._calls import Call

_LARGEST: Final = 2 * 1024**3
_LONGEST_CELL: Final = 80
_PATIENCE: Final = 3.0
"""Seconds for which the answer waits for an import; what takes longer goes on in the background."""
_importing: Final[set[asyncio.Task[Any]]] = set()
_upload_name = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,8}").fullmatch


async def upload(call: Call) -> Any:
    """Take a list, and return its columns and first rows, in which phones are masked."""
    suffix = Path(call.text("file")).suffix.casefold()
    name = f"{secrets.token_hex(16)}{suffix if re.fullmatch(r'[.][a-z0-9]{1,8}', suffix) else '.csv'}"
    path = call.desk.folder / name
    try:
        await _save(call, path)
        found = await asyncio.to_thread(sample_list, path)
    except ListError as error:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise ListError(_in_words_of_the_page(str(error), path)) from None
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise
    rows = [{column: masked_runs(cell)[:_LONGEST_CELL] for column, cell in row.items()} for row in found.rows]
    return {"upload": name, "columns": [one for one in found.columns if one], "rows": rows, "encoding": found.encoding}


def _in_words_of_the_page(error: str, path: Path) -> str:
    return re.sub(r"[,;] (?:if it comes.*|or )?(?:add|name the file's encoding with) --encoding.*", ".", error).replace(
        str(path), "the file"
    )


async def _save(call: Call, path: Path) -> None:
    size = 0
    file = await asyncio.to_thread(lambda: os.fdopen(create_private(str(path)), "wb"))
    try:
        async for piece in call.request.stream():
            size += len(piece)
            if size > _LARGEST:
                raise ValueError("the list is larger than 2 GiB: import it with smspilot campaign create")
            await asyncio.to_thread(file.write, piece)
    finally:
        await asyncio.to_thread(file.close)


async def create(call: Call) -> Any:
    """Import an uploaded list as a campaign. Nothing is sent."""
    name, upload_ = call.text("name"), call.text("upload")
    path = call.desk.folder / upload_
    if not _upload_name(upload_) or not await asyncio.to_thread(path.is_file):
        raise ValueError("the list is not here any more: upload it again")
    columns = {"to": call.text("to_column")}
    if call.optional_text("text_column"):
        columns["text"] = call.text("text_column")
    encoding = call.optional_text("encoding")
    more = {} if encoding is None else {"encoding": encoding}
    rows = await asyncio.to_thread(lambda: read_rows(path, map=columns, **more))
    settings = await asyncio.to_thread(_settings, call)
    known = {info.name for info in await call.desk.outbox.campaigns.list() if info.state != "importing"}
    if name in known:
        raise CampaignExists(f"there is a campaign {name!r} already. Nothing was changed.")
    task = asyncio.create_task(_import(call, name, rows, settings, path), name="smspilot import")
    _importing.add(task)
    task.add_done_callback(_importing.discard)
    await asyncio.wait({task}, timeout=_PATIENCE)
    if task.done() and (error := task.result()) is not None:
        raise error
    return {"name": name, "is_done": task.done()}


def _settings(call: Call) -> dict[str, Any]:
    rate = call.amount("rate_limit")
    return {
        "template": call.optional_text("template"),
        "sender": call.optional_text("sender"),
        "window": _window(call),
        "starts_at": _moment(call, "starts_at"),
        "expires_at": _moment(call, "expires_at"),
        "budget": call.amount("budget"),
        "rate_limit": None if rate is None else float(rate),
        "max_parts": call.optional_whole("max_parts") or 10,
        "kind": call.optional_text("kind") or "marketing",
    }


def _window(call: Call) -> SendingWindow | None:
    opens, closes = call.optional_text("opens"), call.optional_text("closes")
    if opens is None and closes is None:
        return None
    days = call.optional_text("days") or "mon-sun"
    zone, column = call.optional_text("tz"), call.optional_text("tz_column")
    return SendingWindow(opens or "00:00", closes or "24:00", days=days, tz=zone, column=column)


def _moment(call: Call, name: str) -> datetime | None:
    written = call.optional_text(name)
    if written is None:
        return None
    moment = datetime.fromisoformat(written)
    if moment.utcoffset() is None:
        raise ValueError(f"{name} needs a time zone")
    return moment


async def _import(call: Call, name: str, rows: ListRows, settings: dict[str, Any], path: Path) -> Exception | None:
    """Import a list, and forget it; return why it could not be, which the campaign shows as well."""
    desk = call.desk
    desk.failures.pop(name, None)
    try:
        await desk.outbox.campaigns.create(name, rows, **settings, actor=call.person.name)
    except (SmsPilotError, ValueError) as error:
        desk.failures[name] = f"{error} What was imported is kept: the same list, uploaded again, continues from there."
        return error
    finally:
        desk.looks.forget()
    await asyncio.to_thread(path.unlink, missing_ok=True)
    return None
