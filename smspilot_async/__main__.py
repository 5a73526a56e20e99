"""Runs the command ``smspilot`` by ``python -m smspilot_async``."""

from smspilot_async.cli import main

main()
