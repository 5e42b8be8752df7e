"""Everything that happens to a container comes as one stream, which always ends with how the container ended."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from cgroup_host import HOST

from ocikit import runtime
from ocikit.errors import CgroupError
from ocikit.runtime import ExitStatus
from ocikit.runtime.cgroups.hierarchies import UNIFIED
from ocikit.runtime.events import Exited, OutOfMemory, Stall
from ocikit.spec import LinuxResources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peer_runc import Runc

    from ocikit.runtime.events import Event, EventStream

MB = 1 << 20
SMALL = {"memory": {"limit": 16 * MB, "swap": 16 * MB}}
SLOW = {"cpu": {"quota": 20000, "period": 100000}}
EAT = "a=x; while :; do a=$a$a; done"


def limited(**limits: object) -> dict[str, LinuxResources]:
    """Return the linux section of a configuration with limits."""
    return {"resources": LinuxResources.from_dict(limits)}


def polled(stream: EventStream) -> list[Event]:
    """Return the events of a stream, fetched as a program does that polls many things."""
    found = []
    while not stream.ended:
        assert select.select([stream], [], [], 60)[0] == [stream]
        while (event := stream.wait(0)) is not None:
            found.append(event)
    return found


def test_memory_that_is_used_up_and_the_end(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Each time comes as it happens, and what the program exits with comes last."""
    script = f"sh -c '{EAT}'; read x; sh -c '{EAT}'; read x; exit 7"
    bundle = make_bundle("sh", "-c", script, linux=limited(**SMALL))
    with runtime.create(root, container_id, bundle, stdin="pipe") as container, container.events() as stream:
        assert container.stdin is not None
        assert stream.wait(0) is None
        container.start()
        kills = 0
        for _ in range(2):
            event = next(stream)
            assert isinstance(event, OutOfMemory)
            assert event.times >= 1
            kills += event.kills or 0
            container.stdin.write(b"\n")
            container.stdin.flush()
        *more, last = stream
        assert more == []
        assert isinstance(last, Exited)
        assert last.status == container.wait(0)
        assert last.status.exit_code == 7
        assert stream.ended
        assert stream.wait() is None
        assert kills <= 2


@pytest.mark.parametrize("fetch", [list, polled])
def test_an_end_by_lack_of_memory(
    root: Path, make_bundle: Callable[..., Path], container_id: str, fetch: Callable[[EventStream], list[Event]]
) -> None:
    """What brought the end comes before the end, also when both are there at once."""
    bundle = make_bundle("sh", "-c", EAT, linux=limited(**SMALL))
    with runtime.create(root, container_id, bundle, stdin="null") as container, container.events() as stream:
        container.start()
        container.wait(60)
        *before, last = fetch(stream)
        assert before
        assert all(isinstance(event, OutOfMemory) for event in before)
        assert isinstance(last, Exited)
        assert last.status.signal == signal.SIGKILL


def test_waiting_too_long_in_a_poll_loop(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Whoever polls the stream is told of stalls; on hosts without v2 that is an error with a remedy."""
    bundle = make_bundle("sh", "-c", "while :; do :; done", linux=limited(**SLOW))
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        if UNIFIED not in HOST.by_key:
            with pytest.raises(CgroupError, match="v2"):
                container.events(pressure=("cpu",))
            return
        with container.events(pressure=("cpu",), stall=0.1) as stream:
            container.start()
            for _ in range(2):
                event = None
                while event is None:
                    assert select.select([stream], [], [], 60)[0] == [stream]
                    event = stream.wait(0)
                assert event == Stall("cpu")
            container.kill()
            assert isinstance(polled(stream)[-1], Exited)


def test_several_kinds_at_once(root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """One event never covers up another: stalls are told of beside memory that is used up all the time."""
    if UNIFIED not in HOST.by_key:
        with runtime.create(root, container_id, make_bundle(), stdin="null") as container:
            assert container.events().wait(0) is None
        return
    bundle = make_bundle("sh", "-c", f"while :; do sh -c '{EAT}'; done", linux=limited(**SMALL, **SLOW))
    with (
        runtime.create(root, container_id, bundle, stdin="null") as container,
        container.events(pressure=("cpu", "memory", "cpu"), stall=0.05) as stream,
    ):
        container.start()
        missing = {OutOfMemory, Stall}
        while missing:
            assert select.select([stream], [], [], 60)[0] == [stream]
            missing.discard(type(stream.wait(0)))
        container.kill()
        *_, last = polled(stream)
        assert isinstance(last, Exited)


def test_a_stream_of_what_has_ended(created: runtime.Container) -> None:
    """It says how, at once, for as long as somebody knows."""
    created.kill()
    created.wait(60)
    with created.events(pressure=("cpu",)) as stream:
        assert select.select([stream], [], [], 0)[0] == [stream]
        assert [event.status.signal for event in stream if isinstance(event, Exited)] == [signal.SIGKILL]
    created.destroy()
    assert list(created.events()) == [Exited(created.wait(0))]


def test_containers_that_are_destroyed(created: runtime.Container) -> None:
    """Who waits in another thread hears of the end, and of nothing else, when everything is removed."""
    with created.events() as stream:
        found: list[Event] = []
        thread = threading.Thread(target=lambda: found.extend(stream))
        thread.start()
        created.destroy(force=True)
        thread.join(60)
        assert [type(event) for event in found] == [Exited]


def test_a_memory_cgroup_that_is_gone(root: Path, bundle: Path, container_id: str) -> None:
    """Somebody moves the process away and removes its cgroups: no event comes of it, and the end still does."""
    with runtime.create(root, container_id, bundle, stdin="null") as container, container.events() as stream:
        container.start()
        path = container._readable_cgroups()["memory" if "memory" in HOST.by_key else UNIFIED]
        elsewhere = f"{path}-elsewhere"
        os.mkdir(elsewhere)
        try:
            with open(f"{elsewhere}/cgroup.procs", "w") as file:
                file.write(str(container.pid))
            os.rmdir(path)
            assert stream.wait(0) is None
            os.mkdir(path)  # a namesake, which is none of its business
            assert stream.wait(0) is None
            assert not stream.ended
            container.kill()
            assert [type(event) for event in stream] == [Exited]
        finally:
            container.kill() if not stream.ended else None
            container.wait(60)
            while os.path.exists(elsewhere):
                with contextlib.suppress(OSError):
                    os.rmdir(elsewhere)


def test_what_cannot_be_asked_for(created: runtime.Container) -> None:
    """Pressure that is none, and times that the kernel does not take, are errors that say so."""
    with pytest.raises(ValueError, match=r"pressure.*memory, cpu, io.*'disk'"):
        created.events(pressure=("disk",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found 'cpu'"):
        created.events(pressure="cpu")  # type: ignore[arg-type]
    with pytest.raises(CgroupError, match="v2"):
        created.events(pressure=("cpu",), window=100)


def test_streams_leave_nothing_open(created: runtime.Container) -> None:
    """Neither one that was closed, nor one that was forgotten, nor one that could not be made."""
    before = set(os.listdir("/proc/self/fd"))
    with created.events() as stream:
        stream.wait(0)
    stream.close()
    assert list(stream) == []
    created.events().wait(0)
    with pytest.raises(CgroupError):
        created.events(pressure=("cpu",), window=100)
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before


def test_containers_of_runc(runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Whoever made it, what happens to it is told."""
    runc.create(container_id, make_bundle("sh", "-c", EAT, linux=limited(**SMALL)))
    container = runtime.load(root, container_id)
    with container.events() as stream:
        container.start()
        *before, last = stream
        assert sum(event.times for event in before if isinstance(event, OutOfMemory)) >= 1
        assert isinstance(last, Exited)
        assert last.status in {ExitStatus(None, None, last.status.finished), container.wait(0)}
