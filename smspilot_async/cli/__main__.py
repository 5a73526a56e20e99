"""``python -m smspilot_async.cli`` is ``smspilot``."""

from smspilot_async.cli import main

main()
