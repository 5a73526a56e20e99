"""What goes wrong with a ledger. Nothing is sent because of any of these; each says what to do."""

from __future__ import annotations

from smspilot_async.errors import SmsPilotError

__all__ = [
    "CampaignExists",
    "CampaignMissing",
    "CampaignStateError",
    "KeyReused",
    "LedgerDamaged",
    "LedgerExists",
    "LedgerMissing",
    "LedgerMoved",
    "LedgerSchemaError",
    "LedgerUnavailable",
    "NetworkFileSystem",
    "OutboxError",
    "SenderBusy",
    "UnexpectedCount",
    "WrongClient",
]


class OutboxError(SmsPilotError):
    """The base of all errors of a ledger; nothing was sent."""


class LedgerMissing(OutboxError):
    """There is no ledger at this place. It is made on purpose: ``smspilot outbox init`` or :meth:`Outbox.create`."""


class LedgerExists(OutboxError):
    """There is a ledger at this place already."""


class LedgerSchemaError(OutboxError):
    """The ledger's tables are older, or newer, than this version of the library can work with."""


class LedgerMoved(OutboxError):
    """The ledger is not where it was made, or lacks what a sender had written: a copy, a restore, a failover."""


class LedgerUnavailable(OutboxError):
    """The database cannot be used now; what was asked may or may not have been done."""


class LedgerDamaged(LedgerUnavailable):
    """A SQLite ledger's file is damaged, or is no SQLite database. It does not recover."""


class NetworkFileSystem(OutboxError):
    """A SQLite ledger's folder is on a network file system, whose locks cannot be trusted."""


class WrongClient(OutboxError):
    """The client differs from what the ledger is bound to: account, endpoint, or live and test."""


class SenderBusy(OutboxError):
    """Another process, or another task of this one, sends from this SQLite ledger; one at a time may."""


class KeyReused(OutboxError):
    """The key was used for another message: another phone or another text. The transaction stays usable."""


class CampaignMissing(OutboxError):
    """No campaign has this name."""


class CampaignExists(OutboxError):
    """A campaign has this name already, with another list or other settings."""


class CampaignStateError(OutboxError):
    """The campaign is in a state in which this cannot be done to it, or it changed meanwhile; nothing was done."""


class UnexpectedCount(OutboxError):
    """An order would reach another number of messages than was expected; nothing was done.

    Attributes:
        difference: Both numbers: ``"0, not 300"``.
    """

    def __init__(self, message: str, difference: str = "") -> None:
        super().__init__(message)
        self.difference = difference
