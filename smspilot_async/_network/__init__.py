"""Bytes to the gateway and back: connections, ways through proxies, and what a failure proves."""
