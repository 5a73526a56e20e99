"""The page of a ledger in the browser: what it does now, drafts, campaigns that run, and what became of them.

It comes with the extra ``page``, and is served by ``smspilot outbox page``. It shows and orders, and sends nothing but
the message of a test to one's own phone: sending is the workers'.
"""

import importlib.util

for _module in ("starlette", "uvicorn", "sqlalchemy"):
    if importlib.util.find_spec(_module) is None:
        raise ImportError(f"the page needs {_module}: pip install 'smspilot-async[page]'", name=_module)

from smspilot_async.page._app import create_app  # noqa: E402 - after the extra is known to be there
from smspilot_async.page._people import People, Person, Role  # noqa: E402
from smspilot_async.page._serve import serve  # noqa: E402
from smspilot_async.page._settings import PageSettings  # noqa: E402

__all__ = ["PageSettings", "People", "Person", "Role", "create_app", "serve"]
