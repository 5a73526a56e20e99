"""Inbound messages: the listener, and its cursor, which survives a restart."""
