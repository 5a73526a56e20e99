"""The gateway over HTTP: the ASGI application, the control API, the page, and a server in a thread of its own."""
