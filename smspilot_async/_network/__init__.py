"""Bytes to the gateway and back: connections, proxies, and what a failure proves."""
