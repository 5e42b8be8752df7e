"""Attacks by what lies in a root file system, what a configuration puts into /proc, and what the host left open."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attacking import TREASURE, Decoy, decoy_at, mounts_of_host
from launching import MOUNTS, default_spec, make_rootfs, run_plan

from ocikit import runtime
from ocikit.errors import OCIKitError, SetupError, ValidationError
from ocikit.runtime.host import surroundings
from ocikit.spec import Box, LinuxCapabilities, LinuxNamespace, Mount, Root, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WITHOUT_DEV = tuple(mount for mount in MOUNTS if not mount.destination.startswith("/dev") or mount.type == "devpts")


@pytest.fixture
def decoy(tmp_path: Path) -> Iterator[Decoy]:
    """Give a piece of the host, which has to be the same at the end."""
    made = decoy_at(tmp_path / "decoy")
    before = made.look(), mounts_of_host(tmp_path)
    yield made
    assert (made.look(), mounts_of_host(tmp_path)) == before


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Give a root file system, to be made hostile."""
    path = make_rootfs(tmp_path / "trap")
    for name in ("dev", "proc", "sys"):
        (path / name).mkdir()
    return path


def another(trap: Path, name: str) -> Path:
    """Return another one like it, without the directories for file systems of the kernel."""
    path = trap.with_name(name)
    (path / "bin").mkdir(parents=True)
    for program in ("busybox", "sh", "cat"):
        os.link(trap / "bin/busybox", path / "bin" / program)
    return path


def configured(trap: Path, script: str, mounts: tuple[Mount, ...] = MOUNTS, **process: Any) -> Spec:
    """Return the configuration of a script in a root file system."""
    spec = default_spec("/bin/sh", "-c", script, mounts=mounts).with_process(
        capabilities=LinuxCapabilities(), **process
    )
    return attrs.evolve(spec, root=Root(path=str(trap)))


def run(root: Path, container_id: str, bundle: Path, spec: Spec) -> str:
    """Run a container; return what it wrote."""
    with runtime.create(root, container_id, bundle, spec=spec, stdin="null", stdout="pipe", stderr="stdout") as one:
        one.start()
        assert one.stdout is not None
        return os.fsdecode(one.stdout.read())


# ------------------------------------------------------------------------------------------ what stands in the way

#: What an image may have at a place: each made at a path, with a place on the host to lead to.
OBSTACLES: dict[str, Callable[[Path, Path], object]] = {
    "a link out": lambda at, out: at.symlink_to(out),
    "a link up": lambda at, out: at.symlink_to("../" * 30 + str(out)),
    "a link to itself": lambda at, _: at.symlink_to(at.name),
    "a link into procfs": lambda at, _: at.symlink_to("/proc/self/fd"),
    "a link to the root of init": lambda at, _: at.symlink_to("/proc/1/root"),
    "a fifo": lambda at, _: os.mkfifo(at),
    "a socket": lambda at, _: bind(at),
    "a memory device": lambda at, _: os.mknod(at, stat.S_IFCHR | 0o666, os.makedev(1, 1)),
    "a disk": lambda at, _: os.mknod(at, stat.S_IFBLK | 0o666, os.makedev(7, 255)),
    "an endless device": lambda at, _: os.mknod(at, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
    "an endless file": lambda at, _: endless(at),
    "a directory": lambda at, _: (at / "deep").mkdir(parents=True),
    "a read-only file": lambda at, _: at.touch(0o000),
}

PLACES = (
    "dev", "dev/null", "dev/console", "dev/pts", "dev/ptmx", "dev/fd", "dev/shm",
    "proc", "proc/self", "proc/sys", "sys", "sys/fs", "etc", "etc/passwd", "work",
)  # fmt: skip


def endless(at: Path) -> None:
    """Make a file without anything in it, and without an end."""
    at.touch()
    os.truncate(at, 1 << 42)


def bind(at: Path) -> None:
    """Put a socket at a path, however long."""
    directory = os.open(at.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{directory}/{at.name}")
    os.close(directory)


@pytest.mark.parametrize("kind", OBSTACLES)
def test_obstacles(kind: str, trap: Path, decoy: Decoy) -> None:
    """Whatever an image has where a runtime goes is refused, or stays inside; nobody waits for it or reads it."""
    for number, place in enumerate(PLACES):
        path = another(trap, f"trap{number}")
        (path / place).parent.mkdir(exist_ok=True)
        OBSTACLES[kind](path / place, decoy.path)
        # Without HOME in its environment, the image's own list of users is read.
        spec = configured(
            path,
            "cat secret /work/secret /etc/secret; exit 0",
            WITHOUT_DEV if place.startswith("dev") else MOUNTS,
            cwd="/work/place",
            env=("PATH=/bin",),
        )
        with contextlib.suppress(SetupError):
            home = surroundings.home(spec, str(trap.parent))
            assert TREASURE not in run_plan(trap.parent, spec, home=home).out


@pytest.mark.parametrize("kind", ["a link out", "a link into procfs", "a fifo", "a memory device", "an endless device"])
def test_obstacles_to_a_terminal(kind: str, root: Path, trap: Path, decoy: Decoy, new_id: Callable[[], str]) -> None:
    """The terminal is that of a devpts, whatever the image has in its places (CVE-2025-52565)."""
    for number, place in enumerate(("dev/pts", "dev/ptmx", "dev/console", "dev/pts/ptmx")):
        path = another(trap, f"trap{number}")
        (path / place).parent.mkdir(parents=True)
        OBSTACLES[kind](path / place, decoy.path / "console")
        mounts = tuple(one for one in WITHOUT_DEV if one.type != "devpts" or place != "dev/pts/ptmx")
        spec = configured(path, "echo said", mounts, terminal=True, console_size=Box(width=9, height=9))
        with (
            contextlib.suppress(SetupError),
            runtime.create(root, new_id(), trap.parent, spec=spec) as container,
        ):
            container.start()
            assert container.console is not None
            assert b"".join(iter(container.console.read, b"")) == b"said\r\n"


# --------------------------------------------------------------------------- what a configuration puts into /proc

GADGETS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "kernel parameters": ("/proc/sys", "bind", ("rbind",)),
    "some of them": ("/proc/sys/net/ipv4", "bind", ("rbind",)),
    "one of them": ("/proc/sys/net/ipv4/ip_default_ttl", "bind", ("bind",)),
    "labels": ("/proc/self/attr", "bind", ("rbind",)),
    "labels of a thread": ("/proc/thread-self/attr/exec", "bind", ("bind",)),
    "labels of init": ("/proc/1/attr", "tmpfs", ()),
    "the processes": ("/proc", "tmpfs", ()),
    "before there are processes": ("/proc", "tmpfs", ()),
    "before there are any at all": ("/proc", "bind", ("rbind",)),
    "the processes by another name": ("/bin/../proc/.", "tmpfs", ()),
    "the processes of the image": ("/proc", "bind", ("rbind",)),
    "by way of a link": ("/innocent/sys", "bind", ("rbind",)),
    "what would restart the host": ("/proc/sysrq-trigger", "bind", ("bind",)),
}


@pytest.mark.parametrize("kind", GADGETS)
def test_gadgets(kind: str, root: Path, trap: Path, decoy: Decoy, container_id: str) -> None:
    """Nothing is put where kernel parameters and labels are written (CVE-2019-16884, CVE-2025-52881)."""
    destination, type_, options = GADGETS[kind]
    (trap / "innocent").symlink_to("/proc")
    source = decoy.path / "hosts" if options == ("bind",) else decoy.path
    mount = Mount(destination=destination, type=type_, source=str(source), options=options)
    mounts = (mount, *MOUNTS) if kind.startswith("before") else (*MOUNTS, mount)
    spec = configured(trap, "true", mounts).with_linux(sysctl={"net.ipv4.ip_default_ttl": "77"})
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    with pytest.raises(SetupError, match=r"procfs|not permitted"):
        run(root, container_id, trap.parent, spec)
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() == before


def test_parameters_are_written_to_the_kernel(root: Path, trap: Path, decoy: Decoy, container_id: str) -> None:
    """What an image has in its /proc gets nothing of what is written to the container's."""
    (trap / "proc/sys/net/ipv4").mkdir(parents=True)
    (trap / "proc/sys/net/ipv4/ip_default_ttl").symlink_to(decoy.path / "sysrq-trigger")
    mounts = tuple(mount for mount in MOUNTS if mount.destination != "/proc")
    spec = configured(trap, "cat /proc/sys/net/ipv4/ip_default_ttl", mounts)
    spec = spec.with_linux(sysctl={"net.ipv4.ip_default_ttl": "77"}, masked_paths=(), readonly_paths=())
    assert TREASURE not in run(root, container_id, trap.parent, spec)


@pytest.mark.parametrize(
    "name",
    [
        "net/../kernel/core_pattern", "net.ipv4/../../kernel/core_pattern", "net/ipv4/./../../kernel/core_pattern",
        "net..kernel.core_pattern", "kernel.core_pattern", "kernel/core_pattern", "kernel.sysrq", "vm.panic_on_oom",
        "fs.mqueue/../suid_dumpable", "/net/../kernel/core_pattern", "net/ipv4/\0", "",
        "kernel.shm_rmid_forced/../core_pattern",
    ],
)  # fmt: skip
def test_parameters_of_the_host(name: str, root: Path, trap: Path, container_id: str) -> None:
    """A parameter that is the host's is refused, however it is spelled, before anything is made."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    with pytest.raises((ValidationError, SetupError)):
        run(root, container_id, trap.parent, configured(trap, "true").with_linux(sysctl={name: "|/bin/evil"}))
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


# ------------------------------------------------------------------------------------------ what the host left open


@pytest.fixture
def left_open(decoy: Decoy) -> Iterator[list[int]]:
    """Let this process have descriptors that everybody inherits: the root of the host, directories and secrets."""
    fds: list[int] = []
    for path in ("/", "/proc", "/sys/fs/cgroup", decoy.path, decoy.path / "hosts") * 3:
        flags = os.O_PATH if len(fds) % 2 else os.O_RDONLY
        fds.append(os.open(path, flags))
        os.set_inheritable(fds[-1], True)
    yield fds
    for fd in fds:
        os.close(fd)


def test_descriptors_of_the_host(root: Path, trap: Path, left_open: list[int], new_id: Callable[[], str]) -> None:
    """A program has those that it is to have, and no other one, whatever the host has open for everybody."""
    script = "exec /bin/busybox ls -l /proc/self/fd"
    plain = run(root, new_id(), trap.parent, configured(trap, script))
    assert numbers(plain) == ["0", "1", "2"]
    given = (left_open[4], left_open[9], left_open[14])
    options = runtime.CreateOptions(preserve_fds=given)
    spec = configured(trap, script)
    with runtime.create(
        root, new_id(), trap.parent, spec=spec, stdin="null", stdout="pipe", stderr="stdout", options=options
    ) as container:
        container.start()
        assert container.stdout is not None
        shown = os.fsdecode(container.stdout.read())
    assert numbers(shown) == ["0", "1", "2", "3", "4", "5"]
    assert [line.rpartition(" -> ")[2] for line in shown.splitlines() if " 3 -> " in line] == [
        os.readlink(f"/proc/self/fd/{given[0]}")
    ]


def numbers(listing: str) -> list[str]:
    """Return the numbers of descriptors in a listing of them."""
    return sorted(line.split(" -> ")[0].split()[-1] for line in listing.splitlines() if " -> " in line)


@pytest.mark.usefixtures("left_open")
@pytest.mark.parametrize(("suffix", "numbers"), [("", range(41)), ("/../../../../..", range(16)), ("/..", range(16))])
def test_directories_by_descriptor(
    suffix: str, numbers: range, root: Path, trap: Path, new_id: Callable[[], str]
) -> None:
    """No working directory leads out by a descriptor, of the host or of the helper (CVE-2024-21626)."""
    for number in numbers:
        spec = configured(trap, "pwd; cat secret hosts", cwd=f"/proc/self/fd/{number}{suffix}")
        with pytest.raises(OCIKitError, match=rf"/proc/self/fd/{number}"):
            run(root, new_id(), trap.parent, spec)


@pytest.mark.usefixtures("left_open")
@pytest.mark.parametrize(
    ("suffix", "numbers"),
    [("", range(41)), ("/../../../../../../../../bin/busybox", range(41)), ("/1/root/bin/busybox", range(16))],
)
def test_programs_by_descriptor(suffix: str, numbers: range, root: Path, trap: Path, new_id: Callable[[], str]) -> None:
    """No program of the host is executed by a descriptor (CVE-2024-21626)."""
    (trap / "bin/busybox").unlink()  # else it might be that one
    for number in numbers:
        spec = configured(trap, "").with_process(args=(f"/proc/self/fd/{number}{suffix}", "echo", "out"))
        with pytest.raises(OCIKitError, match=rf"/proc/self/fd/{number}"):
            run(root, new_id(), trap.parent, spec)


@pytest.mark.parametrize("place", ["fd/0", "fd/0/a/..", "fd/133", "fd/133/a"])
def test_directories_that_were_handed_over(place: str, root: Path, trap: Path, decoy: Decoy, container_id: str) -> None:
    """A directory of the host that a program is handed on purpose is still not where it starts."""
    directory = os.open(decoy.path, os.O_RDONLY)
    options = runtime.CreateOptions(preserve_fds=(directory,))
    spec = configured(trap, "true")
    there = f"/proc/self/{place}"
    try:
        with (
            pytest.raises(SetupError, match="working directory"),
            runtime.create(
                root, container_id, trap.parent, spec=spec.with_process(cwd=there), stdin=directory, options=options
            ),
        ):
            pytest.fail("it was created")
        # Who enters sees itself in /proc only where the processes are those of the host.
        spec = spec.with_linux(
            namespaces=tuple(LinuxNamespace(type=kind) for kind in ("mount", "ipc", "network", "uts"))
        )
        with runtime.create(root, container_id, trap.parent, spec=spec, stdin="null", stdout="null") as container:
            with pytest.raises(SetupError, match="working directory"):
                container.exec(["true"], cwd=there, stdin=directory, preserve_fds=(directory,))
            assert container.processes() == [container.pid]
    finally:
        os.close(directory)
