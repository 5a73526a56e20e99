"""Durable sending: a ledger on SQLite or PostgreSQL that survives a kill, and never claims what it cannot know.

Every packet's intent is durable before its first byte leaves. What was accepted, refused or not sent is recorded; what
cannot be known stays ``unknown``. Where to start reading:

- :mod:`._states`: what may become of a message, as a table.
- :mod:`._schema`: the tables, for both databases.
- :mod:`._ledger`: what a sender asks of a ledger, as a protocol with two implementations.
- :mod:`._deliver`: claim, send, record.
- :mod:`._account_rate`, :mod:`._grants`: how fast; :mod:`._slots`: on how many connections; :mod:`._upkeep`: when.
- :mod:`._fleet`: workers on many machines, woken by an engine (:mod:`._engine`).
- :mod:`._outbox`: what an application holds in its hand.

It comes with the extra ``outbox``, and with ``postgres`` for PostgreSQL; ``import smspilot_async`` does not import it.
"""

from smspilot_async.outbox._extras import require_outbox

require_outbox()

from smspilot_async.outbox._adopt import Adopted  # noqa: E402 - after the extra is known to be there
from smspilot_async.outbox._autogenerate import include_name  # noqa: E402 - after the extra is known to be there
from smspilot_async.outbox._campaign_info import (  # noqa: E402 - after the extra is known to be there
    CampaignInfo,
    CampaignMessage,
    Progress,
)
from smspilot_async.outbox._campaign_run import Run  # noqa: E402
from smspilot_async.outbox._campaigns import Campaign, Campaigns  # noqa: E402
from smspilot_async.outbox._deliver import Sent  # noqa: E402
from smspilot_async.outbox._enqueue import OutboxMessage  # noqa: E402
from smspilot_async.outbox._errors import (  # noqa: E402
    CampaignExists,
    CampaignMissing,
    CampaignStateError,
    KeyReused,
    LedgerDamaged,
    LedgerExists,
    LedgerMissing,
    LedgerMoved,
    LedgerSchemaError,
    LedgerUnavailable,
    NetworkFileSystem,
    OutboxError,
    SenderBusy,
    UnexpectedCount,
    WrongClient,
)
from smspilot_async.outbox._estimate import Estimate  # noqa: E402
from smspilot_async.outbox._fleet import FleetWorker  # noqa: E402
from smspilot_async.outbox._follow import Followed  # noqa: E402
from smspilot_async.outbox._ledger import AccountState  # noqa: E402
from smspilot_async.outbox._lists import (  # noqa: E402
    ListError,
    ListRows,
    ListSample,
    read_rows,
    sample_list,
    sql_rows,
)
from smspilot_async.outbox._metrics import prometheus  # noqa: E402
from smspilot_async.outbox._orders import Halted, Order  # noqa: E402
from smspilot_async.outbox._outbox import Outbox, OutboxStatus  # noqa: E402
from smspilot_async.outbox._overview import CampaignLine, KindWaiting, Overview  # noqa: E402
from smspilot_async.outbox._preview import Preview, PreviewRow  # noqa: E402
from smspilot_async.outbox._reconcile import Reconciled  # noqa: E402
from smspilot_async.outbox._records import Evidence, Forgotten, Purged  # noqa: E402
from smspilot_async.outbox._selection import Selection  # noqa: E402
from smspilot_async.outbox._settle import SettleAs  # noqa: E402
from smspilot_async.outbox._statement import Statement, StatementRow  # noqa: E402
from smspilot_async.outbox._unknown import AssumeSent, Hold, Probe, Resend, UnknownPolicy  # noqa: E402
from smspilot_async.outbox._windows import SendingWindow  # noqa: E402
from smspilot_async.outbox._worker import Worker  # noqa: E402
from smspilot_async.outbox._workers import WorkerInfo  # noqa: E402

__all__ = [
    "AccountState",
    "Adopted",
    "AssumeSent",
    "Campaign",
    "CampaignExists",
    "CampaignInfo",
    "CampaignLine",
    "CampaignMessage",
    "CampaignMissing",
    "CampaignStateError",
    "Campaigns",
    "Estimate",
    "Evidence",
    "FleetWorker",
    "Followed",
    "Forgotten",
    "Halted",
    "Hold",
    "KeyReused",
    "KindWaiting",
    "LedgerDamaged",
    "LedgerExists",
    "LedgerMissing",
    "LedgerMoved",
    "LedgerSchemaError",
    "LedgerUnavailable",
    "ListError",
    "ListRows",
    "ListSample",
    "NetworkFileSystem",
    "Order",
    "Outbox",
    "OutboxError",
    "OutboxMessage",
    "OutboxStatus",
    "Overview",
    "Preview",
    "PreviewRow",
    "Probe",
    "Progress",
    "Purged",
    "Reconciled",
    "Resend",
    "Run",
    "Selection",
    "SenderBusy",
    "SendingWindow",
    "Sent",
    "SettleAs",
    "Statement",
    "StatementRow",
    "UnexpectedCount",
    "UnknownPolicy",
    "Worker",
    "WorkerInfo",
    "WrongClient",
    "include_name",
    "prometheus",
    "read_rows",
    "sample_list",
    "sql_rows",
]
