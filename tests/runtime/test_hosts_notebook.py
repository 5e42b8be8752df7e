"""A notebook kernel as host: interrupted in the middle of everything, it goes on, and nothing is left."""

from __future__ import annotations

import os
import queue
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ocikit import runtime
from ocikit.runtime.cgroups.hierarchies import detect, place
from ocikit.spec import Hook, Hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.manager import KernelManager

PATIENCE = 60.0

LIFETIMES = ("scope", "process", "detached")

#: What every notebook begins with.
FIRST = """
from ocikit import runtime
root, name, bundle, lifetime = {0!r}, {1!r}, {2!r}, {3!r}

def create(stdin="null", bundle=bundle):
    output = "null" if lifetime == "scope" else "monitor"
    return runtime.create(root, name, bundle, lifetime=lifetime, stdin=stdin, stdout=output, stderr=output)
"""


class Cell(NamedTuple):
    """A cell that takes for ever, and the one before it."""

    before: str
    text: str
    #: The hooks of the bundle.
    hooks: Hooks | None = None
    #: Whether the container goes on when the cell was interrupted.
    goes_on: bool = True
    #: Whether it takes a monitor.
    monitored: bool = False


_SLOW = (Hook(path="/bin/sleep", args=("sleep", "1000")),)
_STARTED = "container = create(); container.start()"

CELLS = {
    "create": Cell("", "container = create()", Hooks(create_runtime=_SLOW), goes_on=False),
    "start": Cell("container = create()", "container.start()", Hooks(poststart=_SLOW), goes_on=False),
    "wait": Cell(_STARTED, "container.wait()"),
    "run": Cell("", "runtime.run(root, name, bundle)", goes_on=False),
    "exec": Cell(
        f"{_STARTED}; container.pause()",
        "try:\n    container.exec(['true'], stdin='null', ignore_paused=True)\nfinally:\n    container.resume()",
    ),
    "communicate": Cell(
        f"{_STARTED}; process = container.exec(['sleep', '1000'], stdin='pipe', stdout='pipe')",
        "try:\n    process.communicate(b'word')\nfinally:\n    process.end()",
    ),
    "logs": Cell(_STARTED, "with container.logs(follow=True) as log:\n    list(log)", monitored=True),
    "attach": Cell(_STARTED, "with container.attach() as attachment:\n    attachment.read()", monitored=True),
    "sample": Cell(_STARTED, "container.sample(None)"),
}


class Notebook:
    """A kernel, and who talks with it."""

    def __init__(self, manager: KernelManager) -> None:
        self._manager = manager
        self.client: BlockingKernelClient = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    @property
    def pid(self) -> int:
        """The process of the kernel."""
        return int(self._manager.provisioner.pid)  # type: ignore[union-attr]

    def interrupt(self) -> None:
        """Press the button."""
        self._manager.interrupt_kernel()

    def run(self, text: str) -> str:
        """Run a cell to its end; return what it wrote."""
        found = self.reply(self.client.execute(text))
        assert found["status"] == "ok", "\n".join(found["traceback"])
        return str(found["written"])

    def begin(self, text: str) -> str:
        """Begin a cell, and return when it has come to its first line."""
        message = str(self.client.execute(f"print('now', flush=True)\n{text}"))
        while self._heard(message)[0] != "stream":
            pass
        return message

    def _heard(self, message: str) -> tuple[Any, Any]:
        """Return what the kernel says next about a cell."""
        while True:
            try:
                heard = self.client.get_iopub_msg(timeout=PATIENCE)
            except queue.Empty:
                pytest.fail("the kernel says nothing any more")
            if heard["parent_header"].get("msg_id") == message:
                return heard["msg_type"], heard["content"]

    def reply(self, message: str) -> dict[str, Any]:
        """Wait for the end of a cell; return how it ended."""
        written = ""
        while True:
            kind, content = self._heard(message)
            if kind == "stream":
                written += content["text"]
            if kind == "status" and content["execution_state"] == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == message:
                return dict(reply["content"], written=written)


@pytest.fixture
def open_notebook(
    root: Path, container_id: str, make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Notebook]]:
    """Open notebooks; their kernels are shut down at the end."""
    from jupyter_client.manager import KernelManager  # noqa: PLC0415 - heavy
    from jupyter_core.utils import ensure_event_loop  # noqa: PLC0415

    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    managers: list[KernelManager] = []
    notebooks: list[Notebook] = []

    def start(lifetime: str, hooks: Hooks | None = None) -> Notebook:
        bundle = make_bundle("sleep", "1000", hooks=hooks)
        manager = KernelManager(transport="ipc", connection_file=str(tmp_path / "kernel"))
        manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"])
        managers.append(manager)
        notebooks.append(Notebook(manager))
        notebooks[-1].run(FIRST.format(str(root), container_id, str(bundle), lifetime))
        return notebooks[-1]

    yield start
    for notebook in notebooks:
        notebook.client.stop_channels()
    for manager in managers:
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy(linger=0)  # the sockets are descriptors of this process
    if managers:
        # The client keeps an event loop for its next call, and makes another one when that is closed.
        ensure_event_loop().close()


def cgroups_of(name: str) -> list[str]:
    """Return those cgroups of a container that exist."""
    return [path for path in place(detect(), "", name).values() if os.path.exists(path)]


def eventually_nothing(root: Path, name: str) -> None:
    """Wait until nothing is left of a container."""
    deadline = time.monotonic() + PATIENCE
    while list(root.iterdir()) or cgroups_of(name):
        assert time.monotonic() < deadline, (list(root.iterdir()), cgroups_of(name))
        time.sleep(0.02)


CASES = [
    (name, lifetime)
    for name, cell in CELLS.items()
    for lifetime in LIFETIMES
    if not (lifetime == "scope" and cell.monitored) and not (lifetime != "scope" and name == "run")
]


@pytest.mark.parametrize(("name", "lifetime"), CASES)
def test_a_cell_is_interrupted(
    open_notebook: Callable[..., Notebook], root: Path, container_id: str, name: str, lifetime: str
) -> None:
    """The cell ends with KeyboardInterrupt, the kernel goes on; the container does when that was promised."""
    cell = CELLS[name]
    notebook = open_notebook(lifetime, cell.hooks)
    notebook.run(cell.before or "pass")
    before = int(notebook.run("import os; print(len(os.listdir('/proc/self/fd')))"))
    message = notebook.begin(cell.text)
    time.sleep(0.2)  # into the middle of it; where exactly does not matter
    notebook.interrupt()
    reply = notebook.reply(message)
    assert (reply["status"], reply.get("ename")) == ("error", "KeyboardInterrupt"), reply
    assert notebook.run("print(6 * 7)") == "42\n"
    if cell.goes_on:
        assert notebook.run("print(container.status())") == "running\n"
        assert notebook.run(
            "print(container.exec(['sh', '-c', 'echo in'], stdin='null', stdout='pipe').communicate().stdout)"
        ) == ("b'in\\n'\n")
        notebook.run("container.destroy(force=True)")
    eventually_nothing(root, container_id)
    # What the interrupt held is let go; the traceback that IPython keeps for the user is not a leak.
    notebook.run("import sys, gc; sys.last_traceback = sys.last_value = sys.last_exc = None; gc.collect()")
    assert int(notebook.run("print(len(os.listdir('/proc/self/fd')))")) <= before
    # And another container can be made there.
    ran = "print(runtime.run(root, name, bundle, spec=spec).exit_code)"
    notebook.run(
        "import attrs; from ocikit.spec import Spec\n"
        "spec = Spec.from_json(open(f'{bundle}/config.json', 'rb').read()).with_process(args=('sh', '-c', 'exit 5'))\n"
        "spec = attrs.evolve(spec, hooks=None)"
    )
    assert notebook.run(ran) == "5\n"


#: Makes containers, and presses the button itself, so that it is never pressed between two cells: an interrupt of the
#: kernel's own work is no affair of ours. Python itself drops an interrupt that comes within a finalizer, and says so.
IMPATIENT = """
import os, random, signal, sys, threading, time

dropped = []
sys.unraisablehook = lambda said: dropped.append(said.exc_type)

def cycle():
    container = create()
    try:
        container.start()
        container.exec(["true"], stdin="null").wait()
    finally:
        container.destroy(force=True)

def press(ready, seconds):
    ready.wait()
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGINT)

def impatient(seconds):
    ready = threading.Event()
    thread = threading.Thread(target=press, args=(ready, seconds))
    thread.start()
    try:
        ready.set()
        cycle()
        thread.join()
        while not dropped:
            time.sleep(0.01)
        assert dropped.pop() is KeyboardInterrupt
    except KeyboardInterrupt:
        thread.join()

cycle()
began = time.monotonic()
cycle()
usual = time.monotonic() - began
chance = random.Random(3)
"""


def test_interrupts_at_any_moment(open_notebook: Callable[..., Notebook], root: Path, container_id: str) -> None:
    """Whenever the button is pressed, the kernel goes on, and nothing is left of the container."""
    notebook = open_notebook("process")
    notebook.run(IMPATIENT)
    for _ in range(40):
        notebook.run("impatient(chance.uniform(0, usual))")
        # Between the creation and the try nobody has the container: it is the process's.
        runtime.stop_and_remove(root, prefix=container_id)
        eventually_nothing(root, container_id)
    found = "import gc; gc.collect(); print(len([one for one in threading.enumerate()]) < 40)"
    assert notebook.run(found) == "True\n"
    assert notebook.run("cycle(); print('still there')") == "still there\n"


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_a_kernel_is_killed(
    open_notebook: Callable[..., Notebook], root: Path, container_id: str, lifetime: str
) -> None:
    """A kernel that is killed is a process that is killed."""
    notebook = open_notebook(lifetime)
    notebook.run(_STARTED)
    os.kill(notebook.pid, signal.SIGKILL)
    if lifetime != "process":
        container = runtime.load(root, container_id)
        assert container.status() is runtime.Status.RUNNING
        container.destroy(force=True)
    eventually_nothing(root, container_id)
