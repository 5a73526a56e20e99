"""``python -m smspilot_async.cli`` is ``smspilot``."""

from smspilot_async._tools.loading import is_over
from smspilot_async_command import main

is_over()
main()
