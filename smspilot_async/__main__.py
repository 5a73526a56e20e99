"""Runs the command ``smspilot`` by ``python -m smspilot_async``."""

from smspilot_async._tools.loading import is_over
from smspilot_async_command import main

is_over()
main()
