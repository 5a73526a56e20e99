"""Draw the diagrams of the documentation, which are data in this file: ``python docs/tools/diagrams.py`` writes them.

They are SVG with a title and a description, in colours for light and dark. ``tests/docs/test_docs_diagrams.py`` fails
while a file in ``docs/images/`` is not what this would write. Coordinates are pixels, as wide as a page's column.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES: Final = Path(__file__).parent.parent / "images"
WIDTH: Final = 760
_LINE: Final = 17
_FONTS: Final = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', Arial, sans-serif"
_HEAD: Final = 'markerWidth="7" markerHeight="7" orient="auto"><path class="head" d="M0 0 10 5 0 10z"/>'
_STYLE: Final = """\
    .ground{fill:#fff;stroke:#dfe2dc}.ink{fill:#1b211e}.soft,.head{fill:#56605b}.line{stroke:#56605b}
    .work{fill:#eaf4f2;stroke:#0f766e}.good{fill:#e3f3ea;stroke:#1d8a5c}.bad{fill:#fbeae7;stroke:#c0392b}
    .open{fill:#fdf3df;stroke:#b97a08}.quiet{fill:#f2f3f0;stroke:#8b938e}.room{fill:none;stroke:#a9b1ac}
    @media (prefers-color-scheme:dark){
      .ground{fill:#1a1f1d;stroke:#2d3531}.ink{fill:#e6ebe8}.soft,.head{fill:#a3aea8}.line{stroke:#a3aea8}
      .work{fill:#17312d;stroke:#4fb8a9}.good{fill:#183324;stroke:#55c48f}.bad{fill:#3b211d;stroke:#ff8f82}
      .open{fill:#382c11;stroke:#f0b93a}.quiet{fill:#262c2a;stroke:#7d8984}.room{stroke:#4a5550}
    }
"""


@attrs.frozen
class Box:
    """A rectangle with text in its middle, the first line of it bold.

    Attributes:
        kind: ``work``, ``good``, ``bad``, ``open`` (nothing is known), ``quiet``; ``room`` has other boxes in it, and
            its text at the top.
    """

    x: int
    y: int
    width: int
    height: int
    text: str
    kind: str = "quiet"


@attrs.frozen
class Arrow:
    """A line with a head, in the words of an SVG path, and what is said beside it at ``x, y``."""

    path: str
    text: str = ""
    x: int = 0
    y: int = 0
    anchor: str = "middle"
    is_dashed: bool = False
    has_head: bool = True


@attrs.frozen
class Diagram:
    """A picture, and the same in words."""

    name: str
    height: int
    title: str
    description: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


MESSAGE_STATES: Final = Diagram(
    "message-states",
    424,
    "States of a message",
    "A message waits as pending. A sender claims it: in flight. From there it becomes accepted, refused or unknown, "
    "or goes back to pending. From pending it may become refused (suppressed, expired) or not sent (cancelled, given "
    "up). An unknown message becomes accepted by a proof, or pending again by an explicit order.",
    (
        Box(84, 186, 122, 46, "pending", "work"),
        Box(350, 186, 122, 46, "in_flight", "work"),
        Box(596, 56, 122, 46, "accepted", "good"),
        Box(596, 186, 122, 46, "refused", "bad"),
        Box(596, 316, 122, 46, "unknown", "open"),
        Box(24, 34, 122, 46, "not_sent", "quiet"),
        Box(280, 34, 122, 46, "refused", "bad"),
    ),
    (
        Arrow("M20 209H82", "enqueue", 50, 199),
        Arrow("M206 199H348", "claimed: the\nintent is durable", 278, 170),
        Arrow("M350 219H208", "certainly not sent:\nit waits again", 278, 242),
        Arrow("M472 199C530 190 530 90 594 79", "the gateway\ntook it", 516, 106, "end"),
        Arrow("M472 209H594", "it said no", 533, 202),
        Arrow("M472 219C530 228 530 328 594 339", "no answer to rely on,\nor its sender was killed", 506, 296, "end"),
        Arrow("M718 339C756 300 756 118 720 84", "a proof", 708, 279, "end"),
        Arrow("M594 352C420 412 170 400 140 234", "sent again: an order, or a policy that you chose", 392, 410),
        Arrow("M100 184V82", "cancelled,\ngiven up", 92, 128, "end"),
        Arrow("M172 184C186 110 220 62 278 57", "suppressed,\nexpired", 206, 122, "start"),
    ),
)
RETRIES: Final = Diagram(
    "retries",
    436,
    "What is retried, and why",
    "No byte of a request left: it is repeated, in at most four attempts. Something may have left and there is no "
    "answer to rely on: a read is asked again, a send is never repeated and its outcome is unknown. The gateway says "
    "that it is busy, 110 or 429: it took nothing, and is asked again after a pause. It says anything else: refused, "
    "and never repeated.",
    (
        Box(20, 28, 214, 62, "Did a byte leave?\nseen at the connection", "quiet"),
        Box(20, 168, 214, 62, "Is there an answer?\nof the gateway, and whole", "quiet"),
        Box(20, 328, 214, 62, "What does it say?", "quiet"),
        Box(462, 28, 278, 62, "Again, up to four attempts\nnothing can have been accepted", "good"),
        Box(462, 124, 278, 62, "A read: again\nasking twice costs nothing", "good"),
        Box(462, 204, 278, 62, "A send: never again\nunknown; a callback may prove it", "open"),
        Box(462, 288, 278, 62, "Again, after a pause\nnothing was accepted", "good"),
        Box(462, 366, 278, 50, "Refused: never again", "bad"),
    ),
    (
        Arrow("M234 59H460", "no", 347, 52),
        Arrow("M127 90V166", "yes, or it is not known", 137, 134, "start"),
        Arrow("M234 199C340 199 340 155 460 155"),
        Arrow("M234 199C340 199 340 235 460 235", "no: timeout, reset,\n5xx, HTML, half of it", 244, 240, "start"),
        Arrow("M127 230V326", "yes", 137, 290, "start"),
        Arrow("M234 359C340 359 340 319 460 319", "busy: 110, 429", 250, 328, "start"),
        Arrow("M234 359C340 359 340 391 460 391", "any other code", 250, 402, "start"),
    ),
)
CALLBACKS: Final = Diagram(
    "callbacks",
    446,
    "A status arrives by callback",
    "Your client sends a message with an address that is signed for it alone, and the gateway accepts it. At each "
    "change of the status the gateway calls that address. The inbox verifies the signature and stores the event before "
    "it answers OK; if it cannot store it, it answers 503. Your loop gets the event if it moves the message forward. "
    "The client asks for what no callback brought.",
    (
        Box(20, 24, 200, 62, "Your service\nClient", "work"),
        Box(280, 24, 200, 62, "SMSPILOT\nthe gateway", "quiet"),
        Box(540, 24, 200, 62, "Your service\nCallbackInbox", "work"),
        Box(540, 250, 200, 62, "Verify, then store\na forged address: 404", "good"),
    ),
    (
        Arrow("M120 86V430", is_dashed=True, has_head=False),
        Arrow("M380 86V430", is_dashed=True, has_head=False),
        Arrow("M640 86V250", is_dashed=True, has_head=False),
        Arrow("M120 148H378", "send, with an address\nsigned for this message", 250, 122),
        Arrow("M380 186H122", "accepted: server_id", 250, 179),
        Arrow("M380 224H640V248", "status 2, to that address", 510, 217),
        Arrow("M540 281H382", "OK once stored;\notherwise 503", 460, 300),
        Arrow("M640 312V366H122", "async for event in inbox", 250, 359),
        Arrow("M120 408H378", "check: what no callback brought", 250, 401),
    ),
)
LEDGER: Final = Diagram(
    "ledger",
    400,
    "The ledger and its workers",
    "Your transaction writes the order and its message into one database. A campaign writes its list there, too. A "
    "worker claims a packet, which makes its intent durable, sends it, and records the answer. Callbacks, checks and "
    "replies with STOP go into the ledger as well. A page, a report and metrics read it.",
    (
        Box(20, 24, 190, 62, "Your transaction\norder and enqueue", "work"),
        Box(20, 168, 190, 62, "A campaign\nlist, text, hours, budget", "work"),
        Box(20, 312, 190, 62, "Who looks after it\npage, command, metrics", "quiet"),
        Box(292, 24, 176, 350, "Ledger", "room"),
        Box(308, 60, 144, 62, "messages\nonce per key", "quiet"),
        Box(308, 140, 144, 62, "attempts\nthe intent, durable", "quiet"),
        Box(308, 220, 144, 62, "campaigns\nwaves, approvals", "quiet"),
        Box(308, 300, 144, 62, "opt-outs\nnever sent to", "quiet"),
        Box(550, 96, 190, 62, "Worker\none or many", "work"),
        Box(550, 288, 190, 62, "SMSPILOT\nthe gateway", "quiet"),
    ),
    (
        Arrow("M210 55C260 55 250 91 306 91", "commit", 250, 46),
        Arrow("M210 199C260 199 250 251 306 251", "draft,\napproved", 250, 180),
        Arrow("M210 343H290", "read", 248, 336),
        Arrow("M452 110C500 110 500 117 548 117", "claim", 510, 104),
        Arrow("M550 142C500 142 500 164 454 164", "record", 512, 172),
        Arrow("M620 158V286", "send", 612, 228, "end"),
        Arrow("M672 286V160", "answer", 680, 228, "start"),
        Arrow("M550 330C500 330 500 331 454 331", "STOP,\nstatus", 502, 349),
    ),
)
MACHINES: Final = Diagram(
    "machines",
    420,
    "Two machines on one ledger",
    "A worker on each machine holds slots of the ledger in PostgreSQL, for three seconds at a time: they are the "
    "account's connections. Rate, budget and pauses are kept in the ledger and hold for both machines. When a machine "
    "is gone, the other takes its slots over after three seconds; what was on the wire then is unknown.",
    (
        Box(20, 24, 210, 156, "Machine 1", "room"),
        Box(36, 56, 178, 46, "Application", "work"),
        Box(36, 116, 178, 46, "Worker", "work"),
        Box(290, 24, 180, 278, "PostgreSQL", "room"),
        Box(308, 56, 144, 62, "messages\nkeys, states", "quiet"),
        Box(308, 138, 144, 62, "slots\nheld for 3 s", "quiet"),
        Box(308, 220, 144, 62, "limits of all\nrate, budget, pause", "quiet"),
        Box(530, 24, 210, 156, "Machine 2, gone", "room"),
        Box(546, 56, 178, 46, "Application", "bad"),
        Box(546, 116, 178, 46, "Worker", "bad"),
        Box(290, 334, 180, 62, "SMSPILOT\nthe gateway", "quiet"),
        Box(536, 334, 204, 62, "What it had on the wire\nunknown, not sent again", "open"),
    ),
    (
        Arrow("M214 79H306", "enqueue", 260, 72),
        Arrow("M214 139C260 139 260 160 306 160", "its slots", 256, 132),
        Arrow("M190 162C200 214 250 214 306 186", "then those of the other", 135, 224, "start"),
        Arrow("M125 162V365H288", "send", 206, 358),
        Arrow("M546 139C500 139 500 169 454 169", "held, until\nit was cut off", 478, 204, "start", is_dashed=True),
        Arrow("M635 162V332", is_dashed=True),
    ),
)
DIAGRAMS: Final = (MESSAGE_STATES, RETRIES, CALLBACKS, LEDGER, MACHINES)


def main() -> None:
    """Write every diagram."""
    for diagram in DIAGRAMS:
        (IMAGES / f"{diagram.name}.svg").write_text(svg(diagram), encoding="utf-8")


def svg(diagram: Diagram) -> str:
    """Return a diagram as a file."""
    head = diagram.name
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {diagram.height}" role="img" '
            f'aria-labelledby="{head}-t {head}-d" font-family="{_FONTS}" font-size="14">'
        ),
        f'  <title id="{head}-t">{escape(diagram.title)}</title>',
        f'  <desc id="{head}-d">{escape(diagram.description)}</desc>',
        f"  <style>\n{_STYLE}  </style>",
        f'  <marker id="{head}-a" viewBox="0 0 10 10" refX="9" refY="5" {_HEAD}</marker>',
        f'  <rect class="ground" x="1" y="1" width="{WIDTH - 2}" height="{diagram.height - 2}" rx="14"/>',
        *(line for box in diagram.boxes for line in _box(box)),
        *(line for arrow in diagram.arrows for line in _arrow(arrow, f"{head}-a")),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _box(box: Box) -> Iterator[str]:
    dashes = ' stroke-dasharray="5 5"' if box.kind == "room" else ""
    place = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    yield f'  <rect class="{box.kind}" {place} rx="8" stroke-width="1.5"{dashes}/>'
    lines = box.text.split("\n")
    middle = box.x + box.width // 2
    top = box.y + 22 if box.kind == "room" else box.y + box.height // 2 + 5 - (len(lines) - 1) * _LINE // 2
    for number, line in enumerate(lines):
        look = 'class="soft" font-size="13"' if number else 'class="ink" font-weight="600"'
        yield f'  <text {look} x="{middle}" y="{top + number * (_LINE + 2)}" text-anchor="middle">{escape(line)}</text>'


def _arrow(arrow: Arrow, head: str) -> Iterator[str]:
    dashes = ' stroke-dasharray="5 5"' if arrow.is_dashed else ""
    end = f' marker-end="url(#{head})"' if arrow.has_head else ""
    yield f'  <path class="line" d="{arrow.path}" fill="none" stroke-width="1.5"{end}{dashes}/>'
    for number, line in enumerate(filter(None, arrow.text.split("\n"))):
        place = f'x="{arrow.x}" y="{arrow.y + number * _LINE}" text-anchor="{arrow.anchor}"'
        yield f'  <text class="soft" font-size="13" {place}>{escape(line)}</text>'


if __name__ == "__main__":
    main()
