"""``python -m smspilot_async`` is ``smspilot``."""

from smspilot_async.cli import main

main()
