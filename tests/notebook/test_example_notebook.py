"""The example notebook, run as its reader runs it: on a real kernel, which is really interrupted."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib.font_manager  # it makes its list of fonts, which the kernel would complain of
import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Mapping

FONTS: Final = matplotlib.font_manager.fontManager
ROOT: Final = Path(__file__).parents[2]
NOTEBOOK: Final = ROOT / "examples" / "notebook.ipynb"
FORMAT: Final[Any] = nbformat  # its functions have no types

# What the reader tries besides, before the notebook's last two cells.
LIVE: Final = """
emulator.fail_next("send", Fault.SLOW, delay=1.0)
async with progress(client.bulk(people[:10])) as run:
    pass_on = [result async for result in run]
"""
SEND_ASIDE: Final = """
emulator.fail_next("send", Fault.SLOW)
sending = asyncio.create_task(client.send("79087964783", "Sent aside"))
await emulator.wait_for(text="Sent aside")
"""
BUSY: Final = """
import time
print("Interrupt this cell now.")
time.sleep(60)
"""
AFTER_BUSY: Final = """
emulator.release()
[(await sending).accepted, sum(message.text == "Sent aside" for message in emulator.messages)]
"""


class Reader(NotebookClient):
    """Runs all cells, and presses stop where a cell asks for it.

    Attributes:
        drawn: What was displayed below each cell, one after the other, where its output changed.
    """

    def __init__(self, notebook: nbformat.NotebookNode, **settings: Any) -> None:
        super().__init__(notebook, **settings)
        self.drawn: dict[str, list[str]] = {}
        self._presses: set[asyncio.Future[None]] = set()

    def process_message(self, msg: dict[str, Any], cell: nbformat.NotebookNode, cell_index: int) -> Any:
        kind, content = msg["msg_type"], msg["content"]
        if kind in {"display_data", "update_display_data"}:
            self.drawn.setdefault(cell["id"], []).append(content["data"]["text/html"])
        if kind == "stream" and "Interrupt this cell now" in content["text"]:
            kernel: Any = self.km
            self._presses.add(asyncio.ensure_future(kernel.interrupt_kernel()))
        return super().process_message(msg, cell, cell_index)

    def below(self, cell_id: str, kind: str = "text/html") -> str:
        """The one output below a cell that ends with a value."""
        [output] = self.all_below(cell_id)
        return str(output["data"][kind])

    def all_below(self, cell_id: str) -> list[Any]:
        """All outputs below a cell."""
        [cell] = (cell for cell in self.nb["cells"] if cell["id"] == cell_id)
        return list(cell["outputs"])


def run(folder: Path) -> Reader:
    """Run the notebook from the first cell to the last, on a kernel that has nothing to say on its stderr."""
    notebook = FORMAT.read(NOTEBOOK, as_version=4)
    notebook["cells"][-2:-2] = [
        code("live", LIVE),
        code("send-aside", SEND_ASIDE),
        code("busy", BUSY, tags=["raises-exception"]),
        code("after-busy", AFTER_BUSY),
    ]
    # By sockets in a folder, whose names must be short: a kernel that is served over TCP warns of listeners.
    with tempfile.TemporaryDirectory(prefix="nb-") as short, (folder / "stderr").open("w+") as stderr:
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=f"{short}/kernel.json")
        reader = Reader(notebook, km=kernel, timeout=120, resources={"metadata": {"path": str(folder)}})
        asyncio.run(reader.async_execute(env=environment(folder), stderr=stderr, cleanup_kc=True))
        stderr.seek(0)
        # Told to shut down, ipykernel may close its sockets before it has answered, and says so in the end.
        said, _, _ = stderr.read().partition("ERROR:tornado.general:Uncaught exception in ZMQStream callback")
        assert said == ""
    return reader


def code(cell_id: str, source: str, *, tags: list[str] | None = None) -> nbformat.NotebookNode:
    cell: nbformat.NotebookNode = FORMAT.v4.new_code_cell(source, id=cell_id, metadata={"tags": tags or []})
    return cell


def environment(folder: Path) -> Mapping[str, str]:
    """The kernel's: this tree's library, warnings shown, and nothing of the reader's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SMSPILOT_", "JUPYTER_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return kept | {"PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython"), "PYTHONWARNINGS": "default"}


@pytest.mark.usefixtures("uncounted")
def test_the_notebook_runs_with_one_client_in_all_cells_also_after_interrupted_ones(tmp_path: Path) -> None:
    reader = run(tmp_path)
    only_the_interrupted_cells_end_with_an_error(reader)
    what_is_sent_is_shown_masked(reader)
    the_progress_of_a_bulk_run_is_drawn_as_it_goes(reader)
    an_interrupted_send_is_neither_lost_nor_repeated(reader)
    assert 'aria-label="Results of a bulk run by outcome' in reader.below("plot")
    assert "2,000 accepted." in reader.below("plot")
    assert "9 delivered, 0 on the way." in reader.below("track")
    assert "9 delivered" in reader.below("statuses")
    assert "1 received" in reader.below("inbound")
    assert "STOP" in reader.below("inbound")
    assert "balance" in reader.below("account")


def only_the_interrupted_cells_end_with_an_error(reader: Reader) -> None:
    errors = {
        cell["id"]: output["ename"]
        for cell in reader.nb["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == "error"
    }
    assert errors == {"interrupt": "CancelledError", "busy": "KeyboardInterrupt"}
    streams = [o for cell in reader.nb["cells"] for o in cell.get("outputs", ()) if o["output_type"] == "stream"]
    assert [stream["name"] for stream in streams] == ["stdout", "stdout"]  # what asks to be interrupted


def what_is_sent_is_shown_masked(reader: Reader) -> None:
    assert "1 accepted" in reader.below("send")
    assert "packet 5002, 9 accepted, 1 refused, cost 11.25 RUB" in reader.below("packet")
    assert "79087964781" not in reader.below("send") + reader.below("packet") + reader.below("account")
    assert "79087964781" in reader.below("private")
    assert "accepted" in reader.below("frame", "text/plain")
    assert "2500.00" in reader.below("frame", "text/plain")


def the_progress_of_a_bulk_run_is_drawn_as_it_goes(reader: Reader) -> None:
    assert "0 of 2,000" in reader.drawn["bulk"][0]
    assert "2,000 of 2,000" in reader.below("bulk")  # one output, that has changed
    first, *between, last = reader.drawn["live"]
    assert between
    assert all("0 of 10" in page for page in (first, *between))
    assert "10 of 10" in last
    assert len(reader.all_below("live")) == 1


def an_interrupted_send_is_neither_lost_nor_repeated(reader: Reader) -> None:
    assert "1 accepted" in reader.below("after")  # the same client, the next cell
    late = reader.below("late")
    assert "1 accepted" in late
    assert "Are you there?" in late
    assert reader.below("truth", "text/plain") == "1"
    assert reader.below("after-busy", "text/plain") == "[True, 1]"


def test_the_notebook_is_shipped_without_outputs() -> None:
    notebook = FORMAT.read(NOTEBOOK, as_version=4)
    FORMAT.validate(notebook)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 10
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
