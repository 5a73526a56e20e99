"""Requests to the gateway, from the command to the interpreted answer: retries, slots, rates, hooks."""
