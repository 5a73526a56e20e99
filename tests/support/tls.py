"""TLS for tests: both ends of it, under an authority of their own."""

from __future__ import annotations

import ssl

import attrs
import trustme


@attrs.frozen
class Tls:
    """Both ends of TLS for 127.0.0.1, under an authority that no one else trusts."""

    authority: trustme.CA

    def server(self, host: str = "127.0.0.1") -> ssl.SSLContext:
        """The server's end, with a certificate for that host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(host).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """The client's end, which trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context
