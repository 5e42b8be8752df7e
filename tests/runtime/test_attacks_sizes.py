"""Too much of everything, and partners that do not do their part: an error of its own kind, soon, and nothing left.

Hooks that talk or do not read are in ``test_hooks.py``, agents that do not answer in ``test_seccomp_agent.py``, damaged
messages to the helper in ``test_helper_plans.py`` (CVE-2021-43784 was a length that did not fit its field).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocikit import runtime
from ocikit.errors import LimitExceededError, OCIKitError, SetupError, StateError, ValidationError
from ocikit.runtime import console
from ocikit.runtime.plan import steps
from ocikit.spec import (
    Hook,
    Hooks,
    LinuxDevice,
    LinuxIDMapping,
    LinuxNamespace,
    LinuxSeccomp,
    LinuxSeccompArg,
    LinuxSyscall,
    Mount,
    Process,
    Root,
    Spec,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUIET: dict[str, Any] = {"stdin": "null", "stdout": "null", "stderr": "null"}


def process(**fields: Any) -> Callable[[Spec], Spec]:
    """Return what changes the process of a configuration."""
    return lambda spec: spec.with_process(**fields)


def linux(**fields: Any) -> Callable[[Spec], Spec]:
    """Return what changes its linux section."""
    return lambda spec: spec.with_linux(**fields)


def mounts(destination: str, count: int, *options: str) -> Callable[[Spec], Spec]:
    """Return what adds mounts."""
    return lambda spec: attrs.evolve(
        spec,
        mounts=(
            *spec.mounts,
            *(
                Mount(destination=destination.format(number), type="tmpfs", source="tmpfs", options=options)
                for number in range(count)
            ),
        ),
    )


def of_users(spec: Spec) -> Spec:
    """Ask for as many ranges of ids as there are users."""
    assert spec.linux is not None
    many = tuple(LinuxIDMapping(container_id=i, host_id=100_000 + i, size=1) for i in range(20_000))
    namespaces = (*spec.linux.namespaces, LinuxNamespace(type="user"))
    return spec.with_linux(namespaces=namespaces, uid_mappings=many, gid_mappings=many[:1])


def of_calls(spec: Spec) -> Spec:
    """Ask for a filter without end."""
    calls = tuple(
        LinuxSyscall(
            names=("read",), action="SCMP_ACT_ERRNO", args=(LinuxSeccompArg(index=0, value=i, op="SCMP_CMP_EQ"),)
        )
        for i in range(5_000)
    )
    return spec.with_linux(seccomp=LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=calls))


def told_to_hooks(spec: Spec) -> Spec:
    """Have hooks told more than a state may say."""
    hook = Hook(path="/bin/true")
    return attrs.evolve(spec, annotations={"long": "x" * 8_000_000}, hooks=Hooks(create_runtime=(hook,)))


TOO_MUCH: dict[str, tuple[Callable[[Spec], Spec], type[Exception]]] = {
    "variables": (process(env=tuple(f"A{i}=1" for i in range(70_000))), ValidationError),
    "a variable": (process(env=("A=" + "x" * 3_000_000,)), SetupError),
    "more than is written down": (process(env=("A=" + "x" * 5_000_000,)), LimitExceededError),
    "arguments": (process(args=("true", *["x" * 100_000] * 40)), SetupError),
    "groups": (process(user=User(uid=0, gid=0, additional_gids=tuple(range(70_000)))), SetupError),
    "places to look for a program": (
        process(args=("no",), env=("PATH=" + ":".join(["/bin"] * 70_000),)), ValidationError,
    ),
    "a name": (process(args=("/" + "a" * 5_000,)), SetupError),
    "a directory": (process(cwd="/" + "a" * 300), SetupError),
    "directories": (process(cwd="/" + ("a" * 250 + "/") * 17), SetupError),
    "a place to mount": (mounts("/" + ("a" * 250 + "/") * 17, 1), SetupError),
    "options of a mount": (mounts("/t", 1, *[f"size={i}k" for i in range(70_000)]), ValidationError),
    "ranges of users": (of_users, ValidationError),
    "a filter": (of_calls, LimitExceededError),
    "a parameter": (linux(sysctl={"net.ipv4.ip_default_ttl": "7" * 1_000_000}), SetupError),
    "annotations": (told_to_hooks, StateError),
    "a host name": (lambda spec: attrs.evolve(spec, hostname="x" * 70_000), ValidationError),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_too_much(kind: str, root: Path, bundle: Path, make_spec: Callable[..., Spec], container_id: str) -> None:
    """What cannot be had is refused in words that say so; no container, process, cgroup or descriptor is left."""
    change, error = TOO_MUCH[kind]
    base = make_spec("true", process={"env": ("PATH=/bin",)})
    base = attrs.evolve(base, root=Root(path=str(bundle / "rootfs")))
    (bundle / "rootfs").mkdir()
    for name in ("bin", "dev", "proc", "sys"):
        (bundle / "rootfs" / name).mkdir()
    (bundle / "rootfs/bin/true").write_bytes(b"\x7fELF")
    (bundle / "rootfs/bin/true").chmod(0o755)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(error), runtime.create(root, container_id, bundle, spec=change(base), **QUIET) as container:
        container.start()
    assert not (root / container_id).exists()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_much(root: Path, bundle: Path, make_spec: Callable[..., Spec], container_id: str) -> None:
    """What can be had is had: many variables, mounts, devices and paths that are hidden."""
    spec = make_spec("cat", "/proc/self/mounts", "/dev/many/1999", "/proc/self/environ")
    spec = mounts("/dev/shm/{}", 600)(spec).with_process(env=("PATH=/bin", *(f"A{i}={i}" for i in range(60_000))))
    spec = spec.with_linux(
        devices=tuple(LinuxDevice(path=f"/dev/many/{i}", type="c", major=1, minor=3) for i in range(2_000)),
        masked_paths=tuple(f"/proc/{i}" for i in range(100_000, 120_000)),
    )
    done = runtime.run(root, container_id, bundle, spec=spec, timeout=60)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count(b" /dev/shm/") == 600
    assert b"\0A59999=59999\0" in done.stdout


def test_much_for_a_further_process(created: runtime.Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits are those of processes that come later, and the container stays as it is."""
    monkeypatch.setattr(steps, "MAX_BYTES", 5_000_000)  # that of the helper is 64 MiB
    created.start()
    for wanted, error in (
        (Process(args=("true",), cwd="/", env=("A=" + "x" * 5_000_000,)), LimitExceededError),
        (Process(args=("true", "x" * 3_000_000), cwd="/"), SetupError),
        (Process(args=("true",) * 70_000, cwd="/"), ValidationError),
    ):
        with pytest.raises(error):
            created.exec(wanted, **QUIET)
    assert created.processes() == [created.pid]


# ---------------------------------------------------------------------------------------------------------- partners


@contextlib.contextmanager
def listening(path: Path, behave: Callable[[socket.socket], object] | None) -> Iterator[None]:
    """Listen at a path, and do something with whoever comes."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as others:
        listener.bind(str(path))
        listener.listen(0)
        if behave is None:  # nobody comes in any more
            others.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
            yield
            return

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(timeout=60)
        assert not thread.is_alive()


def say_nothing(connection: socket.socket) -> None:
    """Read nothing, until the other end is closed."""
    connection.settimeout(60)
    while not connection.recv(1, socket.MSG_PEEK):
        pass


PARTNERS: dict[str, Callable[[socket.socket], object] | None] = {
    "one that never comes": None,
    "one that leaves at once": lambda connection: connection.close(),
    "one that talks": lambda connection: connection.sendall(b"x" * 100_000),
    "one that hands things over": lambda connection: socket.send_fds(connection, [b"x"], [0] * 50),
    "one that does not listen": say_nothing,
}


@pytest.mark.parametrize("kind", PARTNERS)
def test_partners_at_a_console_socket(
    kind: str, root: Path, make_bundle: Callable[..., Path], container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is there gets the terminal or does not; the container is made or it is not, and not waited for long."""
    monkeypatch.setattr(console, "_TIMEOUT", 1)
    bundle = make_bundle("true", process={"terminal": True})
    before = set(os.listdir("/proc/self/fd"))
    options = runtime.CreateOptions(console_socket=str(bundle / "console"))
    with listening(bundle / "console", PARTNERS[kind]), contextlib.suppress(OCIKitError):
        with runtime.create(root, container_id, bundle, options=options) as container:
            assert container.console is None
        assert kind != "one that never comes"
    assert not (root / container_id).exists()
    assert set(os.listdir("/proc/self/fd")) <= before
