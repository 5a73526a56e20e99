"""The version, in one place: the build and the User-Agent read it here."""

__version__ = "0.9.1"
