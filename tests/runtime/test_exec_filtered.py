"""Further processes are filtered like the first one, whoever made the container."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from executing import facts, output
from seccomp_profiles import call, profile

from ocikit import runtime
from ocikit.errors import BundleError, SetupError
from ocikit.runtime.seccomp import ReceivedListener, notifications, receive_listener
from ocikit.spec import LinuxCapabilities, Process, Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peer_runc import Runc

#: Directories cannot be made, with an error that nothing else gives ("File descriptor in bad state").
NO_MKDIR = profile("SCMP_ACT_ALLOW", call("mkdir", "mkdirat", errnoRet=77))
MAKE = ("sh", "-c", "mkdir /tmp/x 2>&1; echo done")


@pytest.mark.parametrize("privileges", [{"no_new_privileges": True}, {"no_new_privileges": False}], ids=str)
def test_the_filter_of_the_container_holds(
    root: Path, make_bundle: Callable[..., Path], container_id: str, privileges: dict[str, bool]
) -> None:
    """It is loaded for arguments and for processes, and with no more capabilities left over than were asked for."""
    process: dict[str, Any] = {**privileges, "capabilities": LinuxCapabilities()}
    with runtime.create(
        root, container_id, make_bundle(process=process, linux={"seccomp": NO_MKDIR}), stdin="null"
    ) as container:
        container.start()
        for wanted in (None, Process(args=("cat", "/proc/self/status"), cwd="/", env=("PATH=/bin",))):
            found = facts(container, wanted)
            assert found["Seccomp"] == "2"
            assert {found[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
            assert found["NoNewPrivs"] == str(int(privileges["no_new_privileges"]))
        assert "bad state" in output(container, *MAKE)


def test_it_is_the_filter_that_the_container_was_made_with(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """What becomes of the bundle does not matter: neither another configuration nor none."""
    bundle = make_bundle(linux={"seccomp": NO_MKDIR})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        container.start()
        config = bundle / "config.json"
        spec = Spec.from_json(config.read_bytes())
        config.write_bytes(spec.with_linux(seccomp=None).with_process(env=()).to_json())
        assert "bad state" in output(runtime.load(root, container_id), *MAKE)
        config.unlink()
        assert "bad state" in output(runtime.load(root, container_id), *MAKE)


def test_a_filter_that_lets_nothing_be_executed(
    root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """What the filter answers to execve is the errno of the error."""
    # The first process would not come to run either: the container stays created.
    bundle = make_bundle(linux={"seccomp": profile("SCMP_ACT_ALLOW", call("execve", errnoRet=77))})
    with runtime.create(root, container_id, bundle, stdin="null") as container:
        with pytest.raises(SetupError, match="execute 'true'") as caught:
            container.exec(["true"])
        assert caught.value.errno == 77


def test_containers_of_runc(runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str) -> None:
    """Arguments get the process of the bundle; the filter, and what a process does not say, come from the state."""
    bundle = make_bundle(process={"cwd": "/tmp", "env": ("PATH=/bin", "A=1")}, linux={"seccomp": NO_MKDIR})
    runc.create(container_id, bundle)
    runc("start", container_id)
    container = runtime.load(root, container_id)
    assert output(container, "sh", "-c", "pwd; echo $A").split() == ["/tmp", "1"]
    assert "bad state" in output(container, *MAKE)
    (bundle / "config.json").unlink()
    container = runtime.load(root, container_id)
    with pytest.raises(BundleError):
        container.exec(["true"])
    found = facts(container, Process(args=("cat", "/proc/self/status"), cwd="/", env=("PATH=/bin",)))
    assert found["Seccomp"] == "2"
    assert found["NoNewPrivs"] == "1"
    with open(f"/proc/{container.pid}/status", encoding="ascii") as file:
        first = {line.split(":")[0]: line.split()[1:] for line in file}
    assert [found[name] for name in ("CapBnd", "CapPrm")] == [first[name][0] for name in ("CapBnd", "CapPrm")]


def test_runc_enters_with_the_same_filter(
    runc: Runc, root: Path, make_bundle: Callable[..., Path], container_id: str
) -> None:
    """runc, entering a container of ours, filters and limits like we do."""
    with runtime.create(root, container_id, make_bundle(linux={"seccomp": NO_MKDIR}), stdin="null") as container:
        container.start()
        told = runc("exec", container_id, "cat", "/proc/self/status").stdout
        theirs = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
        ours = facts(container)
        names = ("Seccomp", "NoNewPrivs", "CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb", "Uid", "Gid", "Umask")
        assert {name: ours[name] for name in names} == {name: theirs[name].strip() for name in names}


def test_an_agent_is_asked_about_further_processes(
    root: Path, make_bundle: Callable[..., Path], container_id: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The agent of the profile gets a listener of its own for each process, and is told which one it is about."""
    path = str(tmp_path_factory.mktemp("agent") / "s")
    told: list[ReceivedListener] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                told.append(receive_listener(connection))
        for notification in notifications(told[1].fd):
            notification.succeed(told[1].fd, 4242)
        for one in told:
            os.close(one.fd)

    asked = profile("SCMP_ACT_ALLOW", call("getppid", action="SCMP_ACT_NOTIFY"), listenerPath=path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        agent = threading.Thread(target=serve, args=(listener,))
        agent.start()
        bundle = make_bundle("sleep", "1000", linux={"seccomp": asked})
        with runtime.create(root, container_id, bundle, stdin="null") as container:
            with container.exec(["sh", "-c", "echo $PPID"], stdin="null", stdout="pipe") as process:
                assert process.communicate(timeout=60).stdout == b"4242\n"
                assert (told[1].state.pid, told[1].state.state.pid) == (process.pid, container.pid)
            agent.join(30)
    assert told[0].state.pid == told[1].state.state.pid
